/* Starts the container's first process. */
#ifndef CONTAINER_H
#define CONTAINER_H

#include <sys/types.h>

#include "spec.h"

struct container {
	pid_t pid;
	/* A terminal: both sides of it are this one.  Otherwise -1. */
	int terminal;
	/* Without a terminal: init's ends of three pipes.  Otherwise -1. */
	int input, output, error;
};

/*
 * Makes what no spec changes and takes long, before "ready": it is in the
 * snapshot then.
 */
void container_prepare(void);

/*
 * Brings the network card up, unless that was done.  Its driver then takes some
 * megabytes for what will come, so that this belongs behind the cleaning of the
 * memory: what is zero is not in the snapshot.
 */
void container_connect(void);

/* Leaves the next container nothing but the loopback interface. */
void container_without_network(void);

/* Returns once the image's program is being executed; else fails. */
void container_start(struct container *container, const struct spec *spec);

#endif
