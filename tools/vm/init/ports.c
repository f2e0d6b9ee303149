#include "ports.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "files.h"

/* More are not told of. */
enum { MAX_PORTS = 64 };

/* As in the kernel's include/net/tcp_states.h. */
enum { LISTEN = 10 };

struct set {
	unsigned int ports[MAX_PORTS];
	size_t count;
};

/*
 * The kernel tells nobody when a program begins to listen.  Programs that do
 * are starting, or have just said something; so it is looked after those, at
 * growing intervals, and not at all while nothing happens.
 */
static const int64_t DELAYS_MS[] = {200, 800, 2000, 7000};
enum { LOOKS = sizeof DELAYS_MS / sizeof *DELAYS_MS };

static struct {
	struct set told;
	size_t looks;
	int64_t due;
} state = {.looks = LOOKS};

void ports_expect(int64_t now_ms)
{
	/* Whoever writes all the time is looked at as often, and not never. */
	if (state.due && state.looks == 0)
		return;
	state.looks = 0;
	state.due = now_ms + DELAYS_MS[0];
}

int64_t ports_due(void)
{
	return state.due;
}

static void add(struct set *set, unsigned int port)
{
	size_t at = 0;

	while (at < set->count && set->ports[at] < port)
		at++;
	if (set->count == MAX_PORTS ||
	    (at < set->count && set->ports[at] == port))
		return;
	memmove(set->ports + at + 1, set->ports + at,
		(set->count - at) * sizeof *set->ports);
	set->ports[at] = port;
	set->count++;
}

/* Adds the ports of a table of the kernel's; those that listen come first. */
static void read_table(pid_t container, const char *name, struct set *set)
{
	char *path = format_string("/proc/%d/net/%s", (int)container, name);
	FILE *file = fopen(path, "re");
	char line[512];

	free(path);
	if (!file)
		return;
	while (fgets(line, sizeof line, file)) {
		unsigned int port, status;

		if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x",
			   &port, &status) != 2)
			continue; /* the heading */
		if (status != LISTEN)
			break;
		add(set, port);
	}
	fclose(file);
}

static void tell(const struct set *set)
{
	json_t *ports = json_array();

	for (size_t i = 0; i < set->count; i++)
		json_array_append_new(ports, json_integer(set->ports[i]));
	control_send(json_pack("{s:s, s:o}", "type", "ports", "tcp", ports));
}

void ports_look(pid_t container, int64_t now_ms)
{
	struct set found = {.count = 0};

	read_table(container, "tcp", &found);
	read_table(container, "tcp6", &found);
	if (found.count != state.told.count ||
	    memcmp(found.ports, state.told.ports,
		   found.count * sizeof *found.ports) != 0) {
		state.told = found;
		tell(&found);
	}
	state.looks++;
	state.due = state.looks < LOOKS ? now_ms + DELAYS_MS[state.looks] : 0;
}
