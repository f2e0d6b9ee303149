/*
 * The TCP ports at which the container listens, as its kernel lists them.
 */
#ifndef PORTS_H
#define PORTS_H

#include <stdint.h>
#include <sys/types.h>

/* Look when something has happened: a program has written, or was started. */
void ports_expect(int64_t now_ms);

/* When to call ports_look(), in milliseconds; 0 for not at all. */
int64_t ports_due(void);

/* Look, and tell the host where there are others than before. */
void ports_look(pid_t container, int64_t now_ms);

#endif
