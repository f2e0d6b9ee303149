/* Carries bytes and messages between the host and the running container. */
#ifndef RELAY_H
#define RELAY_H

#include <jansson.h>

#include "container.h"

/*
 * Opens what it needs before the host hears "ready": it may send input from
 * then on, which a port that is not open yet would echo.
 */
void relay_prepare(void);

/*
 * Returns when the container's process has ended and all of its output is with
 * the host, and what it has changed, too, where "start" asks for that; the
 * result is its wait status.
 */
int relay_run(const struct container *container, const struct spec *spec,
	      const json_t *start);

#endif
