/*
 * What a machine of container2wasm's does with WASI, without the machine: a terminal, and a card that has its
 * cable on a socket that is accepted, gets its address by DHCP (RFC 2131), and mounts the bundle, that is reads
 * it by 9P2000.L over TCP (RFC 9293). Both have just as much as a link needs that loses nothing.
 *
 * The terminal is raw, as that of such a machine is. Commands on it: cat PATH (of the bundle), wait MILLISECONDS, spin (until something is typed, without ever
 * waiting), flood KIBIBYTES, exit CODE, crash.
 */
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

#define LISTENER 4
#define MTU 1500

static int cable;
static uint8_t own_mac[6];
static const uint8_t everybody[6] = {255, 255, 255, 255, 255, 255};
static uint8_t their_mac[6];
static uint32_t own_address, server, router;
static uint8_t frame[MTU + 14];

static _Noreturn void die(const char *what)
{
    printf("failed: %s\r\n", what);
    exit(1);
}

/* -- The cable ------------------------------------------------------------------------------- */

static void wait_for(int fd, int milliseconds)
{
    struct pollfd it = {.fd = fd, .events = POLLIN};
    if (poll(&it, 1, milliseconds) < 1) die("nothing comes");
}

static void read_all(void *into, size_t size)
{
    for (size_t at = 0; at < size;) {
        wait_for(cable, 30000);
        ssize_t got = read(cable, (char *)into + at, size - at);
        if (got < 1) die("the cable");
        at += (size_t)got;
    }
}

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static uint32_t get32(const uint8_t *at) { return (uint32_t)get16(at) << 16 | get16(at + 2); }
static void put16(uint8_t *at, uint32_t value) { at[0] = value >> 8, at[1] = value; }
static void put32(uint8_t *at, uint32_t value) { put16(at, value >> 16), put16(at + 2, value); }

/* The next frame, and its size. */
static size_t receive(void)
{
    uint8_t head[4];
    read_all(head, 4);
    size_t size = get32(head);
    if (size > sizeof frame) die("a frame that is too large");
    read_all(frame, size);
    return size;
}

static void send_frame(const uint8_t *target, uint16_t kind, const uint8_t *data, size_t size)
{
    uint8_t head[4 + 14];
    put32(head, (uint32_t)size + 14);
    memcpy(head + 4, target, 6);
    memcpy(head + 10, own_mac, 6);
    put16(head + 16, kind);
    /* In two parts, as nobody promises that a frame is written at once. */
    if (write(cable, head, sizeof head) != sizeof head || write(cable, data, size) != (ssize_t)size)
        die("the cable does not take it");
}

static uint32_t sum(const uint8_t *data, size_t size, uint32_t sum)
{
    for (size_t i = 0; i < size; i += 2) sum += i + 1 < size ? get16(data + i) : (uint32_t)data[i] << 8;
    return sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* Sends what is behind the 20 bytes for the header. */
static void send_packet(const uint8_t *mac, uint8_t protocol, uint32_t to, uint8_t *packet, size_t size)
{
    memset(packet, 0, 20);
    packet[0] = 0x45, packet[8] = 64, packet[9] = protocol;
    put16(packet + 2, (uint32_t)size + 20);
    put32(packet + 12, own_address), put32(packet + 16, to);
    put16(packet + 10, fold(sum(packet, 20, 0)));
    send_frame(mac, 0x0800, packet, size + 20);
}

/* -- The address ----------------------------------------------------------------------------- */

static void send_dhcp(uint8_t kind)
{
    uint8_t packet[20 + 8 + 240 + 32] = {0}, *udp = packet + 20, *dhcp = udp + 8, *option = dhcp + 240;
    dhcp[0] = dhcp[1] = 1, dhcp[2] = 6;
    put32(dhcp + 4, 0x12345678);
    memcpy(dhcp + 28, own_mac, 6);
    put32(dhcp + 236, 0x63825363);
    *option++ = 53, *option++ = 1, *option++ = kind;
    if (kind == 3) {
        *option++ = 50, *option++ = 4, put32(option, own_address), option += 4;
        *option++ = 54, *option++ = 4, put32(option, router), option += 4;
    }
    *option++ = 255;
    size_t size = (size_t)(option - udp);
    put16(udp, 68), put16(udp + 2, 67), put16(udp + 4, (uint32_t)size);
    uint32_t offered = own_address;
    own_address = 0;
    send_packet(everybody, 17, 0xffffffff, packet, size);
    own_address = offered;
}

/* Waits for an answer of a kind, and takes what it gives. */
static void receive_dhcp(uint8_t kind)
{
    for (;;) {
        size_t size = receive();
        const uint8_t *udp = frame + 34, *dhcp = udp + 8, *end = frame + size;
        if (size < 34 + 8 + 240 || frame[23] != 17 || get16(udp + 2) != 68) continue;
        own_address = get32(dhcp + 16);
        uint8_t found = 0;
        for (const uint8_t *option = dhcp + 240; option + 2 < end && *option != 255; option += 2 + option[1]) {
            if (option[0] == 53) found = option[2];
            if (option[0] == 54) router = get32(option + 2);
        }
        if (found == kind) return;
    }
}

static const char *text(uint32_t address)
{
    static char text[16];
    snprintf(text, sizeof text, "%u.%u.%u.%u", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
    return text;
}

static void resolve(void)
{
    uint8_t arp[28] = {0, 1, 8, 0, 6, 4, 0, 1};
    memcpy(arp + 8, own_mac, 6);
    put32(arp + 14, own_address), put32(arp + 24, server);
    send_frame(everybody, 0x0806, arp, sizeof arp);
    while (receive() < 42 || get16(frame + 12) != 0x0806 || get32(frame + 28) != server) {}
    memcpy(their_mac, frame + 22, 6);
}

/* -- A connection ---------------------------------------------------------------------------- */

enum { FIN = 1, SYN = 2, PSH = 8, ACK = 16 };
static uint32_t next_sent = 1000, next_received;
static uint8_t unread[1 << 16];
static size_t waiting;

static void send_segment(uint8_t flags, const uint8_t *data, size_t size)
{
    uint8_t packet[MTU] = {0}, *tcp = packet + 20, pseudo[12];
    put16(tcp, 40000), put16(tcp + 2, 80);
    put32(tcp + 4, next_sent), put32(tcp + 8, next_received);
    tcp[12] = 5 << 4, tcp[13] = flags;
    put16(tcp + 14, 0xffff);
    if (size) memcpy(tcp + 20, data, size);
    put32(pseudo, own_address), put32(pseudo + 4, server);
    put16(pseudo + 8, 6), put16(pseudo + 10, (uint32_t)size + 20);
    put16(tcp + 16, fold(sum(tcp, size + 20, sum(pseudo, 12, 0))));
    send_packet(their_mac, 6, server, packet, size + 20);
    next_sent += (uint32_t)size + (flags & SYN ? 1 : 0);
}

/* The next segment with anything in it: its flags. What it has goes to what is unread. */
static uint8_t receive_segment(void)
{
    for (;;) {
        size_t size = receive();
        if (size < 54 || get16(frame + 12) != 0x0800 || frame[23] != 6 || get32(frame + 26) != server) continue;
        const uint8_t *tcp = frame + 34, *data = tcp + (tcp[12] >> 4) * 4;
        size_t length = get16(frame + 16) - 20 - (size_t)(data - tcp);
        uint8_t flags = tcp[13];
        if (flags & SYN) {
            next_received = get32(tcp + 4) + 1;
            return flags;
        }
        if (flags & 4) die("the connection was broken off");
        if (length == 0 || get32(tcp + 4) != next_received) continue;
        if (waiting + length > sizeof unread) die("too much came");
        memcpy(unread + waiting, data, length);
        waiting += length;
        next_received += (uint32_t)length;
        send_segment(ACK, NULL, 0);
        return flags;
    }
}

/* -- The bundle ------------------------------------------------------------------------------ */

static uint8_t message[MTU];

static void put_le(uint8_t *at, uint64_t value, int size)
{
    for (int i = 0; i < size; i++) at[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get_le(const uint8_t *at, int size)
{
    uint32_t value = 0;
    while (size--) value = value << 8 | at[size];
    return value;
}

/* One request: the fields are those of "what", by their sizes; s is a string. Returns what the reply has. */
static const uint8_t *ask(uint8_t type, const char *what, ...)
{
    size_t at = 7;
    va_list fields;
    va_start(fields, what);
    for (; *what; what++) {
        if (*what == 's') {
            const char *string = va_arg(fields, const char *);
            size_t length = strlen(string);
            put_le(message + at, length, 2);
            memcpy(message + at + 2, string, length);
            at += 2 + length;
        } else {
            put_le(message + at, va_arg(fields, uint64_t), *what - '0');
            at += (size_t)(*what - '0');
        }
    }
    va_end(fields);
    put_le(message, at, 4);
    message[4] = type;
    put_le(message + 5, type == 100 ? 0xffff : 1, 2);
    send_segment(PSH | ACK, message, at);
    waiting = 0;
    while (waiting < 4 || waiting < get_le(unread, 4)) receive_segment();
    return unread[4] == type + 1 ? unread + 7 : NULL;
}

#define N(value) ((uint64_t)(value))

static void mount_bundle(void)
{
    if (!ask(100, "4s", N(32768), "9P2000.L")) die("no 9P");
    if (!ask(104, "44ss4", N(0), N(0xffffffff), "root", "", N(0))) die("no tree");
}

static void cat(char *path)
{
    if (!ask(110, "442", N(0), N(1), N(0))) die("a walk to nowhere");
    for (char *name = strtok(path, "/"); name; name = strtok(NULL, "/"))
        if (!ask(110, "442s", N(1), N(1), N(1), name)) {
            printf("no %s\r\n", name);
            ask(120, "4", N(1));
            return;
        }
    if (ask(12, "44", N(1), N(0))) {
        const uint8_t *reply;
        for (uint64_t offset = 0;; offset += get_le(reply, 4)) {
            reply = ask(116, "484", N(1), offset, N(8192));
            if (!reply || get_le(reply, 4) == 0) break;
            fwrite(reply + 4, 1, get_le(reply, 4), stdout);
        }
    } else {
        printf("cannot be opened");
    }
    printf("\r\n");
    ask(120, "4", N(1));
}

/* -- The terminal ---------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

/* A line, as a terminal in raw mode gives it. */
static void read_line(char *line, size_t size)
{
    size_t at = 0;
    for (;;) {
        char c;
        if (read(0, &c, 1) != 1) die("the terminal");
        if (c == '\r' || c == '\n') break;
        if (at + 1 < size) line[at++] = c;
        write(1, &c, 1);
    }
    line[at] = 0;
    printf("\r\n");
}

/* Look for what is typed without ever waiting. It is said only after so many turns that a host for which
 * each costs a look at its page (milliseconds) has not said it for minutes. */
static void spin(void)
{
    struct pollfd it = {.fd = 0, .events = POLLIN};
    for (long turns = 0; poll(&it, 1, 0) == 0; turns++)
        if (turns == 50 * 1000) printf("spinning\r\n");
    char c;
    read(0, &c, 1);
    printf("spun until %c\r\n", c);
}

static void flood(long kibibytes)
{
    char block[1024];
    memset(block, 'x', sizeof block);
    memcpy(block + sizeof block - 2, "\r\n", 2);
    while (kibibytes-- > 0) fwrite(block, 1, sizeof block, stdout);
    printf("flooded\r\n");
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 4096);
    for (int i = 1; i < argc; i++) {
        unsigned octets[6];
        if (i + 1 < argc && !strcmp(argv[i], "--mac") &&
            sscanf(argv[i + 1], "%x:%x:%x:%x:%x:%x", octets, octets + 1, octets + 2, octets + 3, octets + 4,
                   octets + 5) == 6)
            for (int j = 0; j < 6; j++) own_mac[j] = (uint8_t)octets[j];
        sscanf(argv[i], "--external-bundle=9p=%u.%u.%u.%u", octets, octets + 1, octets + 2, octets + 3) == 4 &&
            (server = octets[0] << 24 | octets[1] << 16 | octets[2] << 8 | octets[3]);
    }
    if (!server) die("no bundle was named");
    __wasi_fd_t accepted;
    if (__wasi_sock_accept(LISTENER, __WASI_FDFLAGS_NONBLOCK, &accepted)) die("nobody is at the cable");
    cable = (int)accepted;
    send_dhcp(1), receive_dhcp(2);
    send_dhcp(3), receive_dhcp(5);
    printf("address %s\r\n", text(own_address));
    resolve();
    send_segment(SYN, NULL, 0);
    if (receive_segment() != (SYN | ACK)) die("no connection");
    send_segment(ACK, NULL, 0);
    mount_bundle();
    printf("mounted %s\r\n", text(server));
    for (char line[256];;) {
        printf("> ");
        fflush(stdout);
        read_line(line, sizeof line);
        if (!strncmp(line, "cat ", 4)) cat(line + 4);
        else if (!strncmp(line, "wait ", 5)) {
            double began = now();
            usleep((useconds_t)atoi(line + 5) * 1000);
            printf("waited %s\r\n", now() - began >= atoi(line + 5) ? "long enough" : "too short");
        } else if (!strcmp(line, "spin")) spin();
        else if (!strncmp(line, "flood ", 6)) flood(atol(line + 6));
        else if (!strncmp(line, "exit ", 5)) return atoi(line + 5);
        else if (!strcmp(line, "crash")) __builtin_trap();
        else printf("what is %s?\r\n", line);
    }
}
