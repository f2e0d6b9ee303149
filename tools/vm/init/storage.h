/* Where the container's files come from: 9P below, memory on top. */
#ifndef STORAGE_H
#define STORAGE_H

#include <stdbool.h>

/* A directory as the OCI runtime spec has it: config.json and "rootfs". */
#define BUNDLE "/run/bundle"
#define BUNDLE_ROOTFS BUNDLE "/rootfs"

/* What has changed of it: the overlay's upper directory. */
#define ROOTFS_UPPER "/run/upper/rootfs"

/* Makes a file system in memory and what is needed of it, before "ready". */
void storage_prepare(void);

/*
 * Lets files take their share of the memory that the machine can have now, which
 * is another when it goes on elsewhere.
 */
void storage_fit_memory(void);

/* Mounts the host's tree. */
void storage_mount(void);

/*
 * Makes the bundle: an overlay that makes the tree's "config" writable, and in
 * it one that makes its "rootfs" writable.  The runtime spec bind-mounts some
 * files of the bundle (hosts, resolv.conf) into the container, which may write
 * to them; what is not looked at is not fetched.
 */
void storage_make_bundle(void);

/* Whether the image itself has a file with this path, relative to its root. */
bool storage_image_has(const char *path);

/* How much of the memory that the container's files may take is free, in 64ths. */
unsigned storage_free(void);

#endif
