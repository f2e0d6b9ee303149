#include "changes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "archive.h"
#include "cgroup.h"
#include "control.h"
#include "failure.h"
#include "files.h"
#include "storage.h"

#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"

/*
 * The overlay's upper directory says which files have changed, and the overlay
 * itself what they are now: there a file of which only the owner has changed
 * has its content, and a renamed directory what is below it.
 */
static struct {
	const struct spec *spec;
	char path[PATH_MAX];
	size_t length; /* of the path; it has no slash at either end */
	void *links;   /* files with several names that were sent; a tree */
	json_int_t left_out;
	char *failure; /* the first one; NULL: none */
} changes;

/* What the host gets is of no use then, and it is told so at the end. */
static void note_failure(int error)
{
	if (!changes.failure)
		changes.failure = format_string("read /%s: %s", changes.path,
						strerror(error));
}

struct sent_file {
	dev_t device;
	ino_t inode;
	char path[];
};

static int compare_files(const void *one, const void *other)
{
	const struct sent_file *a = one, *b = other;

	if (a->device != b->device)
		return a->device < b->device ? -1 : 1;
	if (a->inode != b->inode)
		return a->inode < b->inode ? -1 : 1;
	return 0;
}

/* The path under which a file was sent already; NULL where it was not. */
static const char *sent_before(const struct stat *status)
{
	struct sent_file *file = malloc(sizeof *file + changes.length + 1);

	if (!file)
		fail(CODE_ENGINE, "no memory for the list of links");
	file->device = status->st_dev;
	file->inode = status->st_ino;
	memcpy(file->path, changes.path, changes.length + 1);
	struct sent_file **found = tsearch(file, &changes.links, compare_files);
	if (!found)
		fail(CODE_ENGINE, "no memory for the list of links");
	if (*found == file)
		return NULL;
	free(file);
	return (*found)->path;
}

/* Appends a name to the path; false where that would be too long. */
static bool enter(const char *name)
{
	size_t length = strlen(name);
	bool slash = changes.length > 0;

	if (changes.length + slash + length + 1 > sizeof changes.path)
		return false;
	if (slash)
		changes.path[changes.length++] = '/';
	memcpy(changes.path + changes.length, name, length + 1);
	changes.length += length;
	return true;
}

static void leave(size_t length)
{
	changes.length = length;
	changes.path[length] = '\0';
}

/* -- Extended attributes ------------------------------------------------- */

static char *attributes(int directory, const char *name, size_t *length)
{
	char path[64 + NAME_MAX], names[XATTR_LIST_MAX], key[XATTR_NAME_MAX + 32];
	static char value[XATTR_SIZE_MAX];
	char *text = NULL;

	snprintf(path, sizeof path, "/proc/self/fd/%d/%s", directory, name);
	ssize_t size = llistxattr(path, names, sizeof names);
	for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t got = lgetxattr(path, names + at, value, sizeof value);
		if (got < 0)
			continue;
		snprintf(key, sizeof key, "SCHILY.xattr.%s", names + at);
		text = archive_add_record(text, length, key, value,
					  (size_t)got);
	}
	return text;
}

/* -- Members ------------------------------------------------------------- */

static void send_content(int directory, const char *name, uint64_t size)
{
	char data[16384];
	uint64_t left = size;
	int fd = openat(directory, name,
			O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	while (left > 0 && !archive_is_full()) {
		size_t part = left < sizeof data ? (size_t)left : sizeof data;
		ssize_t got = fd < 0 ? -1 : read(fd, data, part);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			note_failure(got < 0 ? errno : EIO);
			memset(data, 0, sizeof data);
			got = (ssize_t)part; /* the archive stays one */
		}
		archive_write(data, (size_t)got);
		left -= (uint64_t)got;
	}
	if (fd >= 0)
		close(fd);
	archive_pad(size);
}

/* Sends one file, without what a directory has in it. */
static void send_file(int directory, const char *name, const struct stat *status)
{
	char target[PATH_MAX];
	struct member member = {.path = changes.path, .status = status};

	if (!S_ISDIR(status->st_mode) && status->st_nlink > 1 &&
	    (member.link = sent_before(status))) {
		member.is_hard_link = true;
		archive_member(&member);
		return;
	}
	if (S_ISLNK(status->st_mode)) {
		ssize_t length = readlinkat(directory, name, target,
					    sizeof target - 1);
		if (length < 0) {
			note_failure(errno);
			return;
		}
		target[length] = '\0';
		member.link = target;
	}
	char *xattrs = attributes(directory, name, &member.xattrs_length);
	member.xattrs = xattrs;
	archive_member(&member);
	free(xattrs);
	if (S_ISREG(status->st_mode))
		send_content(directory, name, (uint64_t)status->st_size);
}

/* An empty file beside the others that says something about them. */
static void send_marker(const char *prefix, const char *name)
{
	const struct stat status = {.st_mode = S_IFREG | 0644, .st_nlink = 1};
	char marker[NAME_MAX + sizeof WHITEOUT];
	size_t length = changes.length;

	snprintf(marker, sizeof marker, "%s%s", prefix, name);
	if (strlen(marker) > NAME_MAX || !enter(marker)) {
		changes.left_out++;
		return;
	}
	archive_member(&(struct member){.path = changes.path, .status = &status});
	leave(length);
}

/* -- The walk ------------------------------------------------------------ */

static int open_directory(int parent, const char *name)
{
	return openat(parent, name,
		      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool is_empty_directory(int parent, const char *name)
{
	int fd = open_directory(parent, name);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	int entries = 0;

	if (!list) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (entries < 3 && readdir(list))
		entries++;
	closedir(list);
	return entries == 2; /* "." and ".." */
}

static bool is_mount_of_ours(void)
{
	for (size_t i = 0; i < changes.spec->mount_count; i++) {
		const char *path = changes.spec->mounts[i].destination;
		while (*path == '/')
			path++;
		if (strcmp(path, changes.path) == 0)
			return true;
	}
	return false;
}

/* Whether a file is there only because something was mounted over it. */
static bool is_mount_point(int merged, const char *name,
			   const struct stat *status)
{
	if (S_ISDIR(status->st_mode) ? !is_empty_directory(merged, name)
				     : !S_ISREG(status->st_mode) ||
					       status->st_size != 0)
		return false;
	return is_mount_of_ours() && !storage_image_has(changes.path);
}

static void send_directory(int upper, int merged);

/* What is below a directory: all of it, or what the upper one has of it. */
static void descend(int upper, int merged, const char *name, bool whole)
{
	int below = open_directory(merged, name);
	int changed = whole ? -1 : open_directory(upper, name);

	if (below < 0 || (!whole && changed < 0)) {
		note_failure(errno);
	} else {
		send_directory(changed, below);
	}
	if (below >= 0)
		close(below);
	if (changed >= 0)
		close(changed);
}

static bool has_attribute(int parent, const char *name, const char *attribute)
{
	char path[64 + NAME_MAX];

	snprintf(path, sizeof path, "/proc/self/fd/%d/%s", parent, name);
	return lgetxattr(path, attribute, NULL, 0) >= 0;
}

/* Where upper is -1, the whole directory is new. */
static void send_entry(int upper, int merged, const char *name)
{
	struct stat status;
	bool whole = upper < 0, hides = false;

	if (upper >= 0) {
		if (fstatat(upper, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
			return;
		if (S_ISCHR(status.st_mode) && status.st_rdev == 0) {
			send_marker(WHITEOUT, name);
			return;
		}
		whole = has_attribute(upper, name, "trusted.overlay.redirect");
		hides = whole ||
			has_attribute(upper, name, "trusted.overlay.opaque");
	}
	if (strncmp(name, WHITEOUT, strlen(WHITEOUT)) == 0) {
		changes.left_out++; /* there would be no such file in a layer */
		return;
	}
	size_t length = changes.length;
	if (fstatat(merged, name, &status, AT_SYMLINK_NOFOLLOW) < 0 ||
	    S_ISSOCK(status.st_mode)) {
		/* A socket is nothing without its process, and tar has none. */
		return;
	}
	if (!enter(name)) {
		changes.left_out++;
		return;
	}
	if (!is_mount_point(merged, name, &status)) {
		send_file(merged, name, &status);
		if (S_ISDIR(status.st_mode)) {
			if (hides)
				send_marker(OPAQUE, "");
			descend(upper, merged, name, whole);
		}
	}
	leave(length);
}

static void send_directory(int upper, int merged)
{
	int copy = open_directory(upper >= 0 ? upper : merged, ".");
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;

	if (!list) {
		note_failure(errno);
		if (copy >= 0)
			close(copy);
		return;
	}
	while (!archive_is_full() && (entry = readdir(list)))
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			send_entry(upper, merged, entry->d_name);
	closedir(list);
}

/* As many descriptors as a path can name directories, three for each. */
static void allow_depth(void)
{
	const struct rlimit limit = {3 * PATH_MAX / 2, 3 * PATH_MAX / 2};

	setrlimit(RLIMIT_NOFILE, &limit);
}

void changes_send(const struct spec *spec, uint64_t limit)
{
	int upper = open(ROOTFS_UPPER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int merged = open(BUNDLE_ROOTFS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (upper < 0 || merged < 0)
		fail_errno(CODE_ENGINE, "open the container's files");
	allow_depth();
	cgroup_freeze(true);
	changes.spec = spec;
	changes.left_out = 0;
	changes.failure = NULL;
	leave(0);
	archive_begin(limit);
	send_directory(upper, merged);
	archive_end();
	cgroup_freeze(false);
	tdestroy(changes.links, free);
	changes.links = NULL;
	close(upper);
	close(merged);
	if (archive_is_full() && !changes.failure)
		changes.failure =
			format_string("more than %llu bytes have changed",
				      (unsigned long long)limit);
	if (changes.failure)
		control_send_failure("archive", CODE_ENGINE, changes.failure);
	else
		control_send(json_pack("{s:s, s:I}", "type", "archived",
				       "left_out", changes.left_out));
}
