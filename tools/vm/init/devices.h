/* What the runtime spec wants in /dev. */
#ifndef DEVICES_H
#define DEVICES_H

#include "spec.h"

/* Makes the default devices and links, and the spec's own devices. */
void devices_create(int root, const struct spec *spec);

/*
 * Opens a new terminal in the container's devpts and makes it /dev/console.
 * Returns the master; *slave is the side of the container's process.
 */
int devices_open_terminal(int root, int *slave);

#endif
