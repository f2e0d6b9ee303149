#include "storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"
#include "interpreters.h"

#define TREE "/run/tree"
#define UPPER "/run/upper"
#define WORK "/run/work"

/*
 * cache=loose: the tree never changes, so nothing is asked for twice.
 * access=any: one attach serves all users; the overlay looks at the tree as
 * root anyway, and compares the caller with the owners and modes it finds.
 * msize: the largest that the guest's virtio transport takes.
 */
#define TREE_OPTIONS \
	"trans=virtio,version=9p2000.L,msize=512000,cache=loose,access=any"

/*
 * metacopy: chown and chmod of a big file of the image need not fetch it.
 * redirect_dir: a directory of the image can be renamed, and metacopy needs it.
 */
#define OVERLAY_OPTIONS                                             \
	"lowerdir=" TREE "/rootfs,upperdir=" UPPER ",workdir=" WORK \
	",metacopy=on,redirect_dir=on"

/*
 * tmpfs takes memory only for what is in it.  Above this share of the memory,
 * writing fails with "no space left" rather than the machine for want of memory.
 */
#define MEMORY_OPTIONS "mode=0755,size=75%"

static void make_directory(const char *path)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		fail_errno(CODE_ENGINE, "mkdir %s", path);
}

void storage_mount(void)
{
	make_directory("/run");
	if (mount("tmpfs", "/run", "tmpfs", 0, MEMORY_OPTIONS) < 0)
		fail_errno(CODE_ENGINE, "mount a tmpfs");
	make_directory(TREE);
	make_directory(UPPER);
	make_directory(WORK);
	make_directory(BUNDLE);
	make_directory(BUNDLE_ROOTFS);
	if (mount("host9p", TREE, "9p", MS_RDONLY, TREE_OPTIONS) < 0)
		fail_errno(CODE_ENGINE, "mount the image's files");
	interpreters_register(TREE "/interpreters");

	/* The overlay's own root takes its owner and mode from the upper one. */
	struct stat root;
	if (stat(TREE "/rootfs", &root) < 0)
		fail_errno(CODE_ENGINE, "the tree has no rootfs");
	if (chmod(UPPER, root.st_mode & 07777) < 0 ||
	    chown(UPPER, root.st_uid, root.st_gid) < 0)
		fail_errno(CODE_ENGINE, "%s", UPPER);
	if (mount("overlay", BUNDLE_ROOTFS, "overlay", 0, OVERLAY_OPTIONS) < 0)
		fail_errno(CODE_ENGINE, "mount the root file system");
}

static void copy_file(int from, int to, const char *name, mode_t mode)
{
	size_t size;
	char *data = read_whole_file(from, name, &size);

	if (!data)
		fail_errno(CODE_ENGINE, "read config/%s", name);
	int fd = openat(to, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			mode & 0777);
	if (fd < 0 || !write_all(fd, data, size))
		fail_errno(CODE_ENGINE, "write %s", name);
	close(fd);
	free(data);
}

void storage_make_bundle(void)
{
	int from = open(TREE "/config", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int to = open(BUNDLE, O_PATH | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = from < 0 ? NULL : fdopendir(from);

	if (!entries || to < 0)
		fail_errno(CODE_ENGINE, "the tree has no config");
	struct dirent *entry;
	while ((entry = readdir(entries))) {
		struct stat status;
		if (fstatat(from, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(status.st_mode))
			copy_file(from, to, entry->d_name, status.st_mode);
	}
	closedir(entries);
	close(to);
}
