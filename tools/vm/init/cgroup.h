/*
 * The container's control group: which devices it can open, and how many
 * processes it can have.
 */
#ifndef CGROUP_H
#define CGROUP_H

#include <stdbool.h>

#include "spec.h"

/* Makes the group, with the limits of a container whose spec has none. */
void cgroup_prepare(void);

/* Sets the limits that a spec has, before its container is started. */
void cgroup_configure(const struct spec *spec);

/* Moves the calling process into the group. */
void cgroup_enter(void);

/* Stops all processes of the group, or lets them go on. */
void cgroup_freeze(bool frozen);

#endif
