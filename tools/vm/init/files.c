#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "failure.h"

/* As many symlinks as the kernel itself follows on one path. */
enum { MAX_SYMLINKS = 40 };

int open_in(int root, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

static int create_entry(int root, const char *path, enum entry_kind kind,
			int symlinks_left);

/* The directory that holds the path's last component. */
static int create_parent(int root, const char *path, int symlinks_left)
{
	char *copy = strdup(path);
	int fd = create_entry(root, dirname(copy), ENTRY_DIRECTORY,
			      symlinks_left);
	free(copy);
	return fd;
}

/* Goes on where the symlink at the end of a path points. */
static int create_behind_symlink(int root, const char *path, int parent,
				 const char *name, enum entry_kind kind,
				 int symlinks_left)
{
	char target[PATH_MAX];
	ssize_t length = readlinkat(parent, name, target, sizeof target - 1);

	if (length < 0)
		return -1;
	target[length] = '\0';
	if (symlinks_left == 0) {
		errno = ELOOP;
		return -1;
	}
	if (target[0] == '/')
		return create_entry(root, target, kind, symlinks_left - 1);
	char *copy = strdup(path);
	char *next = format_string("%s/%s", dirname(copy), target);
	free(copy);
	return create_entry(root, next, kind, symlinks_left - 1);
}

static int create_entry(int root, const char *path, enum entry_kind kind,
			int symlinks_left)
{
	int fd = open_in(root, path);

	if (fd >= 0 || errno != ENOENT)
		return fd;

	int parent = create_parent(root, path, symlinks_left);
	if (parent < 0)
		return -1;

	char *copy = strdup(path);
	const char *name = basename(copy);
	bool made;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		made = true; /* it exists as soon as its parent does */
	} else if (kind == ENTRY_DIRECTORY) {
		made = mkdirat(parent, name, 0755) == 0;
	} else {
		int file = openat(parent, name,
				  O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		made = file >= 0;
		if (made)
			close(file);
	}
	if (made)
		fd = open_in(root, path);
	else if (errno == EEXIST)
		fd = create_behind_symlink(root, path, parent, name, kind,
					   symlinks_left);
	int error = errno;
	free(copy);
	close(parent);
	errno = error;
	return fd;
}

int create_in(int root, const char *path, enum entry_kind kind)
{
	return create_entry(root, path, kind, MAX_SYMLINKS);
}

int create_parent_in(int root, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');

	*name = slash ? slash + 1 : path;
	return create_parent(root, path, MAX_SYMLINKS);
}

char *read_whole_file(int directory, const char *path, size_t *size)
{
	int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;

	char *data = NULL;
	size_t used = 0, capacity = 0;
	for (;;) {
		if (capacity - used < 4096) {
			capacity = capacity ? 2 * capacity : 16384;
			data = realloc(data, capacity);
			if (!data)
				fail(CODE_ENGINE, "out of memory");
		}
		ssize_t got = read(fd, data + used, capacity - used - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int error = errno;
			free(data);
			close(fd);
			errno = error;
			return NULL;
		}
		if (got == 0)
			break;
		used += (size_t)got;
	}
	close(fd);
	data[used] = '\0';
	*size = used;
	return data;
}

bool write_all(int fd, const void *data, size_t size)
{
	const char *next = data;

	while (size > 0) {
		ssize_t written = write(fd, next, size);
		if (written < 0) {
			if (errno == EINTR)
				continue;
			return false;
		}
		next += written;
		size -= (size_t)written;
	}
	return true;
}

bool write_string(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool written = write_all(fd, text, strlen(text));
	int error = errno;
	close(fd);
	errno = error;
	return written;
}

char *format_string(const char *format, ...)
{
	char *text;
	va_list arguments;

	va_start(arguments, format);
	int length = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (length < 0)
		fail(CODE_ENGINE, "out of memory");
	return text;
}

void set_nonblocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}
