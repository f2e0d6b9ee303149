#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

#include "changes.h"
#include "control.h"
#include "failure.h"
#include "files.h"
#include "machine.h"
#include "ports.h"
#include "preread.h"
#include "storage.h"

enum { DEFAULT_GRACE_SECONDS = 10 };

/* One direction of output: from the container to a port of the host. */
struct stream {
	int source; /* -1: none, or at its end */
	int port;
};

static struct {
	int child_signals;
	int input_port;

	/*
	 * Input on its way to the container.  While it is full, nothing more
	 * is read from the port, so the host hears of no more being consumed
	 * and stops sending: a program that does not read stops the typing.
	 */
	int sink; /* -1: closed */
	char input[16384];
	size_t input_start, input_end;
	bool input_ends; /* the host has nothing more after this */

	struct stream streams[2];
	bool paused; /* the host wants no output now */
	bool said_full;

	const struct spec *spec;
	bool archives; /* the host wants to have what was changed */
	uint64_t archive_limit;
	pid_t container;
	int terminal;
	int64_t kill_at; /* in milliseconds; 0: not asked for */
	bool ended;
	int status;
} relay;

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void relay_prepare(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	relay.child_signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (relay.child_signals < 0)
		fail_errno(CODE_ENGINE, "signalfd");
	relay.input_port = port_open(PORT_TERMINAL);
}

/* -- Input --------------------------------------------------------------- */

static size_t pending_input(void)
{
	return relay.input_end - relay.input_start;
}

static void close_sink(void)
{
	/* A terminal has no end of input; its descriptor is also its output. */
	if (relay.sink >= 0 && relay.terminal < 0)
		close(relay.sink);
	relay.sink = -1;
}

/* Takes what the host sent, and tells it how much that was. */
static void read_input(void)
{
	ssize_t got = read(relay.input_port, relay.input + relay.input_end,
			   sizeof relay.input - relay.input_end);

	if (got <= 0)
		return;
	relay.input_end += (size_t)got;
	control_send(json_pack("{s:s, s:i}", "type", "consumed", "bytes",
			       (int)got));
}

static void write_input(void)
{
	if (relay.sink >= 0 && pending_input() > 0) {
		ssize_t written = write(relay.sink,
					relay.input + relay.input_start,
					pending_input());
		if (written > 0)
			relay.input_start += (size_t)written;
		else if (errno != EAGAIN && errno != EINTR)
			close_sink(); /* the process has closed its input */
	}
	if (relay.sink < 0)
		relay.input_start = relay.input_end; /* nobody reads it */
	if (pending_input() == 0)
		relay.input_start = relay.input_end = 0;
	if (pending_input() == 0 && relay.input_ends)
		close_sink();
}

static bool has_input_room(void)
{
	if (relay.input_end == sizeof relay.input && relay.input_start > 0) {
		memmove(relay.input, relay.input + relay.input_start,
			pending_input());
		relay.input_end -= relay.input_start;
		relay.input_start = 0;
	}
	return relay.input_end < sizeof relay.input;
}

/* -- Output -------------------------------------------------------------- */

/* Passes on what is there; false when nothing was. */
static bool pass_output(struct stream *stream)
{
	char data[16384];
	ssize_t got = read(stream->source, data, sizeof data);

	if (got > 0) {
		/* The host takes everything at once: this does not block. */
		write_all(stream->port, data, (size_t)got);
		ports_expect(now_ms());
		return true;
	}
	if (got == 0 || (errno != EAGAIN && errno != EINTR))
		stream->source = -1;
	return got < 0 && errno == EINTR;
}

static void drain_output(void)
{
	for (int i = 0; i < 2; i++) {
		struct stream *stream = &relay.streams[i];
		while (stream->source >= 0 && pass_output(stream))
			;
		if (stream->port >= 0)
			tcdrain(stream->port);
	}
}

/* -- Messages of the host ------------------------------------------------ */

static void resize(const json_t *message)
{
	const struct winsize size = {
		.ws_row = (unsigned short)control_integer(message, "rows", 24),
		.ws_col = (unsigned short)control_integer(message, "cols", 80),
	};

	if (relay.terminal >= 0)
		ioctl(relay.terminal, TIOCSWINSZ, &size);
}

static void terminate(const json_t *message)
{
	json_int_t seconds =
		control_integer(message, "seconds", DEFAULT_GRACE_SECONDS);

	kill(relay.container, SIGTERM);
	relay.kill_at = now_ms() + seconds * 1000;
}

/* What the host says of archives, in several messages. */
static void note_archive(const json_t *message)
{
	relay.archives = json_is_true(json_object_get(message, "archive"));
	relay.archive_limit = (uint64_t)control_integer(
		message, "archive_limit", INT64_MAX);
}

/* The machine was saved, and goes on now: elsewhere and later, perhaps twice. */
static void wake(const json_t *message)
{
	machine_wake(message);
	storage_fit_memory();
	note_archive(message);
	control_send(json_pack("{s:s}", "type", "awake"));
}

/* The machine is going to be saved: what is read now is there in each that goes on. */
static void read_ahead(const json_t *message)
{
	preread(json_object_get(message, "files"));
	control_send(json_pack("{s:s}", "type", "read"));
}

static void handle_message(const json_t *message)
{
	if (control_is(message, "resize"))
		resize(message);
	else if (control_is(message, "signal"))
		kill(relay.container,
		     (int)control_integer(message, "signal", SIGTERM));
	else if (control_is(message, "stop"))
		terminate(message);
	else if (control_is(message, "eof"))
		relay.input_ends = true;
	else if (control_is(message, "flow"))
		relay.paused =
			json_is_true(json_object_get(message, "paused"));
	else if (control_is(message, "wake"))
		wake(message);
	else if (control_is(message, "read"))
		read_ahead(message);
	else if (control_is(message, "archive"))
		changes_send(relay.spec, (uint64_t)control_integer(
						 message, "limit", INT64_MAX));
}

static void read_control(void)
{
	json_t *message;

	control_fill();
	while ((message = control_next())) {
		handle_message(message);
		json_decref(message);
	}
}

/* -- The loop ------------------------------------------------------------ */

static void reap_children(void)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(relay.child_signals, &info, sizeof info) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != relay.container)
			continue;
		relay.ended = true;
		relay.status = status;
	}
}

/*
 * Tells the host, once, that there is little room for files: a program is told
 * only that there is none.  A large file of the image that is to be written to
 * is copied first, and where it has no room the copy is gone at once: so the
 * less there is, the more often this looks.
 */
static int watch_room(void)
{
	enum { LITTLE = 4, SELDOM_MS = 1000, OFTEN_MS = 200 }; /* 64ths */
	unsigned left;

	if (relay.said_full)
		return -1;
	left = storage_free();
	if (left < LITTLE) {
		relay.said_full = true;
		control_send(json_pack("{s:s}", "type", "full"));
		return -1;
	}
	return left < 32 ? OFTEN_MS : SELDOM_MS;
}

/* Does what the time asks for; returns the milliseconds until there is more. */
static int time_left(void)
{
	int64_t now = now_ms(), next = 0;
	int watch = watch_room();

	if (relay.kill_at && relay.kill_at <= now) {
		relay.kill_at = 0;
		kill(relay.container, SIGKILL);
	}
	if (ports_due() && ports_due() <= now)
		ports_look(relay.container, now);
	next = relay.kill_at;
	if (ports_due() && (!next || ports_due() < next))
		next = ports_due();
	if (watch >= 0 && (!next || now + watch < next))
		next = now + watch;
	if (!next)
		return -1;
	return next > now ? (int)(next - now) : 0;
}

static void wait_for_events(void)
{
	enum { CHILDREN, CONTROL, INPUT, SINK, FIRST_STREAM };
	struct pollfd events[] = {
		[CHILDREN] = {relay.child_signals, POLLIN, 0},
		[CONTROL] = {control_fd(), POLLIN, 0},
		[INPUT] = {has_input_room() ? relay.input_port : -1, POLLIN, 0},
		[SINK] = {pending_input() ? relay.sink : -1, POLLOUT, 0},
		[FIRST_STREAM] = {relay.paused ? -1 : relay.streams[0].source,
				  POLLIN, 0},
		{relay.paused ? -1 : relay.streams[1].source, POLLIN, 0},
	};

	if (poll(events, sizeof events / sizeof *events, time_left()) < 0)
		return;
	if (events[CONTROL].revents)
		read_control();
	if (events[INPUT].revents)
		read_input();
	write_input();
	for (int i = 0; i < 2; i++)
		if (events[FIRST_STREAM + i].revents)
			pass_output(&relay.streams[i]);
	if (events[CHILDREN].revents)
		reap_children();
}

/*
 * A terminal's master reports a hang-up, endlessly, while no process has the
 * other side open; so init has it open, too.
 */
static void hold_terminal(int terminal)
{
	if (ioctl(terminal, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC) < 0)
		fail_errno(CODE_ENGINE, "hold the terminal");
}

static void attach(const struct container *container)
{
	relay.container = container->pid;
	relay.terminal = container->terminal;
	relay.streams[1] = (struct stream){-1, -1};
	if (container->terminal >= 0) {
		hold_terminal(container->terminal);
		relay.sink = container->terminal;
		relay.streams[0] = (struct stream){container->terminal,
						   relay.input_port};
	} else {
		relay.sink = container->input;
		relay.streams[0] = (struct stream){container->output,
						   port_open(PORT_STDOUT)};
		relay.streams[1] = (struct stream){container->error,
						   port_open(PORT_STDERR)};
		set_nonblocking(container->output);
		set_nonblocking(container->error);
	}
	set_nonblocking(relay.sink);
}

int relay_run(const struct container *container, const struct spec *spec,
	      const json_t *start)
{
	relay.spec = spec;
	note_archive(start);
	attach(container);
	ports_expect(now_ms());
	while (!relay.ended)
		wait_for_events();
	/* Whatever is left, where it had no PID namespace of its own. */
	kill(-1, SIGKILL);
	drain_output();
	if (relay.archives)
		changes_send(spec, relay.archive_limit);
	return relay.status;
}
