#include "storage.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"
#include "interpreters.h"

#define TREE "/run/tree"
#define UPPER "/run/upper"
#define WORK "/run/work"

/* The directories of the tree. */
#define ROOTFS "/rootfs"
#define CONFIG "/config"

/*
 * cache=loose: the tree never changes, so nothing is asked for twice.
 * access=any: one attach serves all users; the overlay looks at the tree as
 * root anyway, and compares the caller with the owners and modes it finds.
 * ignoreqv: so that newer kernels do so also for servers whose files have no
 * version (older ones do not know the option, and ignore it).
 * msize: the largest that the guest's virtio transport takes.
 */
#define TREE_OPTIONS \
	"trans=virtio,version=9p2000.L,msize=512000,cache=loose,access=any" \
	",ignoreqv"

/*
 * metacopy: chown and chmod of a big file of the image need not fetch it.
 * redirect_dir: a directory of the image can be renamed, and metacopy needs it.
 */
#define OVERLAY_OPTIONS                                                \
	"lowerdir=" TREE "%s,upperdir=" UPPER "%s,workdir=" WORK "%s" \
	",metacopy=on,redirect_dir=on"

/*
 * tmpfs takes memory only for what is in it.  Above this share of the memory,
 * writing fails with "no space left" rather than the machine for want of memory.
 */
#define FILES_PERCENT 75
#define FILES "/run"

void storage_prepare(void)
{
	static const char *const directories[] = {
		TREE,
		UPPER,
		UPPER ROOTFS,
		UPPER CONFIG,
		/* In the bundle, where the root file system is mounted. */
		UPPER CONFIG ROOTFS,
		WORK,
		WORK ROOTFS,
		WORK CONFIG,
		BUNDLE,
	};

	mkdir(FILES, 0755);
	if (mount("tmpfs", FILES, "tmpfs", 0, "mode=0755") < 0)
		fail_errno(CODE_ENGINE, "mount a tmpfs");
	storage_fit_memory();
	for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
		if (mkdir(directories[i], 0755) < 0)
			fail_errno(CODE_ENGINE, "mkdir %s", directories[i]);
	/* The host need not be asked whether it has this one, too. */
	if (setxattr(UPPER CONFIG ROOTFS, "trusted.overlay.opaque", "y", 1, 0) < 0)
		fail_errno(CODE_ENGINE, "prepare the bundle");
}

void storage_fit_memory(void)
{
	struct sysinfo info;
	unsigned long long memory;
	char *options;

	if (sysinfo(&info) < 0)
		return;
	memory = (unsigned long long)info.totalram * info.mem_unit;
	/* As many files as the kernel would let it have by itself. */
	options = format_string("size=%llu,nr_inodes=%llu",
				memory / 100 * FILES_PERCENT,
				memory / (unsigned)getpagesize() / 2);
	/* It fails where more is in use: then the room stays what it was. */
	mount(NULL, FILES, NULL, MS_REMOUNT, options);
	free(options);
}

void storage_mount(void)
{
	if (mount("host9p", TREE, "9p", MS_RDONLY, TREE_OPTIONS) < 0)
		fail_errno(CODE_ENGINE, "mount the image's files");
	interpreters_register(TREE "/interpreters");
}

/* Mounts a directory of the tree so that it can be written to. */
static void mount_overlay(const char *name, const char *target)
{
	struct stat root;
	char *lower = format_string(TREE "%s", name);
	char *upper = format_string(UPPER "%s", name);
	char *options = format_string(OVERLAY_OPTIONS, name, name, name);

	if (stat(lower, &root) < 0)
		fail_errno(CODE_ENGINE, "the tree has no %s", name + 1);
	/* The overlay's own root takes its owner and mode from the upper one. */
	if (chmod(upper, root.st_mode & 07777) < 0 ||
	    chown(upper, root.st_uid, root.st_gid) < 0)
		fail_errno(CODE_ENGINE, "%s", upper);
	if (mount("overlay", target, "overlay", 0, options) < 0)
		fail_errno(CODE_ENGINE, "mount an overlay over %s", name + 1);
	free(lower);
	free(upper);
	free(options);
}

bool storage_image_has(const char *path)
{
	struct stat status;
	char *whole = format_string(TREE ROOTFS "/%s", path);
	bool has = lstat(whole, &status) == 0;

	free(whole);
	return has;
}

void storage_make_bundle(void)
{
	mount_overlay(CONFIG, BUNDLE);
	mount_overlay(ROOTFS, BUNDLE_ROOTFS);
}

unsigned storage_free(void)
{
	struct statvfs room;

	if (statvfs(FILES, &room) < 0 || !room.f_blocks)
		return 64;
	return (unsigned)(room.f_bfree * 64 / room.f_blocks);
}
