/* The mounts of the runtime spec, below a root that is not to be trusted. */
#ifndef MOUNTS_H
#define MOUNTS_H

#include "spec.h"

/*
 * Mounts one of the spec's mounts inside the root file system, where missing
 * mount points are made.  Relative sources are looked up from the working
 * directory: the bundle.
 */
void mount_spec_apply(int root, const struct mount_spec *spec);

/* Bind-mounts what one descriptor is open on over what another is. */
void mount_bind_over(int source, int target);

/* Hides a path of the (current) root: a file by /dev/null, a directory. */
void mount_mask_path(const char *path);

/* Makes a path of the (current) root read-only. */
void mount_readonly_path(const char *path);

#endif
