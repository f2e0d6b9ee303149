/*
 * Files and directories: small helpers, and paths inside a root that is not to
 * be trusted.
 *
 * The *_in functions take a path of the container's root file system.  The
 * kernel resolves it as if the process were chrooted there (RESOLVE_IN_ROOT),
 * so neither ".." nor a symlink of the image leads out of it.
 */
#ifndef FILES_H
#define FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum entry_kind { ENTRY_DIRECTORY, ENTRY_FILE };

/* An O_PATH descriptor, or -1 with errno set. */
int open_in(int root, const char *path);

/*
 * The same, but what is missing is made: directories on the way (0755), and a
 * directory or an empty file at the end.  A dangling symlink is followed to
 * where it points inside the root, as /etc/resolv.conf often is one.
 */
int create_in(int root, const char *path, enum entry_kind kind);

/* Opens the parent of a path, made when missing; *name is the last component. */
int create_parent_in(int root, const char *path, const char **name);

/* All of a file, followed by a NUL that *size does not count.  Or NULL. */
char *read_whole_file(int directory, const char *path, size_t *size);

/* Writes all of it, blocking; false with errno set when that fails. */
bool write_all(int fd, const void *data, size_t size);

/* Writes a string to an existing file, such as one of /proc. */
bool write_string(const char *path, const char *text);

/* printf into memory that is never freed: this program is short. */
char *format_string(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

void set_nonblocking(int fd);

#endif
