/* Small programs whose time is measured: each is a kind of work that an emulated processor may be good or bad at.
 *
 *     works             runs all; prints for each its name, a checksum and the microseconds that it took
 *     works text BYTES  writes so many bytes of text, the same each time
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint32_t seed;

static uint32_t next(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static uint64_t loop(void)
{
    uint32_t x = 1;
    for (uint32_t i = 0; i < 20000000; i++)
        x = x * 5 + (x >> 3) + i;
    return x;
}

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static uint64_t sha256(void)
{
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    };
    uint32_t h[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, w[64];
    for (int block = 0; block < 100000; block++) {
        for (int i = 0; i < 16; i++)
            w[i] = block * 16 + i;
        for (int i = 16; i < 64; i++)
            w[i] = w[i - 16] + w[i - 7] + (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3)
                 + (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], j = h[7];
        for (int i = 0; i < 64; i++) {
            uint32_t x = j + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i];
            uint32_t y = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            j = g, g = f, f = e, e = d + x, d = c, c = b, b = a, a = x + y;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += j;
    }
    return h[0] ^ h[7];
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint64_t sort(void)
{
    size_t count = 300000;
    uint32_t *numbers = malloc(count * sizeof *numbers);
    for (size_t i = 0; i < count; i++)
        numbers[i] = next();
    qsort(numbers, count, sizeof *numbers, compare);
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum = sum * 31 + numbers[i];
    free(numbers);
    return sum;
}

/* A machine with a stack, whose instructions a table of jumps chooses. */
static uint64_t interpreter(void)
{
    static const uint8_t program[] = { 0, 1, 2, 3, 4, 5, 6, 2, 3, 1, 7 };
    uint32_t a = 1, b = 2, c = 0;
    for (uint32_t n = 3000000, at = 0; n != 0;) {
        switch (program[at++]) {
        case 0: a += b; break;
        case 1: b ^= a; break;
        case 2: c += a >> 1; break;
        case 3: a = a * 3 + 1; break;
        case 4: b -= c; break;
        case 5: c = c << 1 | c >> 31; break;
        case 6: a ^= c; break;
        default: at = 0; n--; break;
        }
    }
    return a ^ b ^ c;
}

static uint64_t strings(void)
{
    static char text[65536];
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = 'a' + next() % 20;
    uint64_t sum = 0;
    for (int round = 0; round < 1000; round++) {
        char *copy = strdup(text);
        for (char *at = copy; (at = strchr(at, 'e')) != NULL; at++)
            sum += at - copy;
        sum += strlen(copy) + (strstr(copy, "zzz") != NULL) + memcmp(copy, text, sizeof text);
        text[round % 60] = 'x';
        free(copy);
    }
    return sum;
}

/* Random places of 32 MiB. */
static uint64_t hash64(void)
{
    size_t size = 1 << 22;
    uint64_t *table = calloc(size, sizeof *table), x = 88172645463325252u, sum = 0;
    for (int i = 0; i < 3000000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t *slot = &table[x * 0x9e3779b97f4a7c15u >> 42];
        sum += *slot;
        *slot += x;
    }
    free(table);
    return sum;
}

__attribute__((noinline)) static uint32_t fibonacci(uint32_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t calls(void) { return fibonacci(32); }

static uint64_t matrix(void)
{
    enum { N = 200 };
    static double a[N][N], b[N][N], c[N][N];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = next() % 1000 / 7.0;
            b[i][j] = next() % 1000 / 3.0;
        }
    for (int round = 0; round < 5; round++)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                double sum = round;
                for (int k = 0; k < N; k++)
                    sum += a[i][k] * b[k][j];
                c[i][j] = sum;
            }
    double trace = 0;
    for (int i = 0; i < N; i++)
        trace += c[i][i];
    return (uint64_t)trace;
}

static const struct {
    const char *name;
    uint64_t (*run)(void);
} works[] = {
    { "loop", loop }, { "sha256", sha256 }, { "qsort", sort }, { "interpreter", interpreter },
    { "string", strings }, { "hash64", hash64 }, { "calls", calls }, { "matrix", matrix },
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

/* Words of different frequency, in lines, as compressors and sort like them. */
static void text(long bytes)
{
    long column = 0;
    while (bytes-- > 0) {
        uint32_t number = next();
        if (++column > 60 || number % 97 == 0) {
            putchar('\n');
            column = 0;
        } else if (number % 6 == 0) {
            putchar(' ');
        } else {
            putchar('a' + (number >> 4) % ((number >> 9) % 26 + 1));
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "text") == 0) {
        text(atol(argv[2]));
        return fflush(stdout) != 0;
    }
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        seed = 1;
        double begin = now();
        uint64_t sum = works[i].run();
        printf("%s %" PRIu64 " %.0f\n", works[i].name, sum, now() - begin);
    }
    return 0;
}
