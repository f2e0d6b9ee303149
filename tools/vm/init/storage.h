/* Where the container's files come from: 9P below, memory on top. */
#ifndef STORAGE_H
#define STORAGE_H

/* A directory as the OCI runtime spec has it: config.json and "rootfs". */
#define BUNDLE "/run/bundle"
#define BUNDLE_ROOTFS BUNDLE "/rootfs"

/* Mounts the host's tree, and an overlay that makes its rootfs writable. */
void storage_mount(void);

/*
 * Copies the files of the tree's "config" directory into the bundle.  The
 * runtime spec bind-mounts some of them (hosts, resolv.conf) into the
 * container, which may write to them; the tree is read-only.
 */
void storage_make_bundle(void);

#endif
