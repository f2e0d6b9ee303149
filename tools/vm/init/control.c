#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"

/*
 * The host's longest message is "read", below one buffer of the virtio console
 * (4096 bytes).
 */
static struct {
	int fd;
	char data[8192];
	size_t used;
} channel = {.fd = -1};

/*
 * The kernel learns of the ports in messages of the device, which it may not
 * have read yet when init begins: the node is missing then, or has no device.
 */
static int open_when_there(const char *path)
{
	enum { INTERVAL_MS = 5, ATTEMPTS = 6000 };
	const struct timespec interval = {.tv_nsec = INTERVAL_MS * 1000000};

	for (int i = 0;; i++) {
		int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (fd >= 0 || (errno != ENOENT && errno != ENODEV) ||
		    i == ATTEMPTS)
			return fd;
		nanosleep(&interval, NULL);
	}
}

int port_open(const char *path)
{
	struct termios settings;
	int fd = open_when_there(path);

	if (fd < 0 || tcgetattr(fd, &settings) < 0)
		fail_errno(CODE_ENGINE, "%s", path);
	cfmakeraw(&settings);
	if (tcsetattr(fd, TCSANOW, &settings) < 0)
		fail_errno(CODE_ENGINE, "%s", path);
	return fd;
}

void control_open(void)
{
	channel.fd = port_open(PORT_CONTROL);
}

int control_fd(void)
{
	return channel.fd;
}

void control_send(json_t *message)
{
	/* Nobody is left to tell when this fails. */
	char *line = json_dumps(message, JSON_COMPACT);

	if (line) {
		size_t length = strlen(line);
		line[length] = '\n'; /* in the place of the NUL */
		write_all(channel.fd, line, length + 1);
		free(line);
	}
	json_decref(message);
}

void control_send_failure(const char *stage, int code, const char *message)
{
	/* An image's bytes may be in it, which need not be UTF-8. */
	json_t *text = json_string(message);

	if (!text)
		text = json_string("(a message that is not UTF-8)");
	control_send(json_pack("{s:s, s:s, s:i, s:o}", "type", "error", "stage",
			       stage, "code", code, "message", text));
}

bool control_fill(void)
{
	size_t room = sizeof channel.data - channel.used;

	if (room == 0) { /* no such line is ever sent; do not hang on one */
		channel.used = 0;
		room = sizeof channel.data;
	}
	ssize_t got = read(channel.fd, channel.data + channel.used, room);
	if (got <= 0)
		return false;
	channel.used += (size_t)got;
	return true;
}

json_t *control_next(void)
{
	for (;;) {
		char *end = memchr(channel.data, '\n', channel.used);
		if (!end)
			return NULL;
		size_t length = (size_t)(end - channel.data);
		json_t *message =
			json_loadb(channel.data, length, 0, NULL);
		channel.used -= length + 1;
		memmove(channel.data, end + 1, channel.used);
		if (message)
			return message;
	}
}

json_t *control_wait(void)
{
	json_t *message;

	while (!(message = control_next()))
		control_fill(); /* blocks */
	return message;
}

bool control_is(const json_t *message, const char *type)
{
	const char *actual = json_string_value(json_object_get(message, "type"));

	return actual && strcmp(actual, type) == 0;
}

json_int_t control_integer(const json_t *message, const char *name,
			   json_int_t otherwise)
{
	const json_t *value = json_object_get(message, name);

	return json_is_integer(value) ? json_integer_value(value) : otherwise;
}
