#include "preread.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "files.h"
#include "storage.h"

static void read_part(int fd, off_t offset, off_t size)
{
	static char data[16384];

	/* Few requests for much, and nothing beyond it. */
	posix_fadvise(fd, offset, size, POSIX_FADV_WILLNEED);
	while (size > 0) {
		ssize_t got = pread(fd, data,
				    size < (off_t)sizeof data ? (size_t)size
							      : sizeof data,
				    offset);
		if (got <= 0)
			return;
		offset += got;
		size -= got;
	}
}

/* The file behind an O_PATH descriptor; to open anything else may have effects. */
static int open_regular(int found)
{
	char path[64];
	struct stat status;

	if (fstat(found, &status) < 0 || !S_ISREG(status.st_mode))
		return -1;
	snprintf(path, sizeof path, "/proc/self/fd/%d", found);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void read_parts(int fd, const json_t *parts)
{
	size_t count = json_array_size(parts);

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	for (size_t i = 0; i + 1 < count; i += 2)
		read_part(fd, json_integer_value(json_array_get(parts, i)),
			  json_integer_value(json_array_get(parts, i + 1)));
	/* What the kernel asks for when it executes a program. */
	fgetxattr(fd, "security.capability", NULL, 0);
}

void preread(const json_t *files)
{
	int root = open(BUNDLE_ROOTFS, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < json_array_size(files); i++) {
		const json_t *file = json_array_get(files, i);
		const char *path =
			json_string_value(json_object_get(file, "path"));
		int found = path ? open_in(root, path) : -1;
		int fd = found < 0 ? -1 : open_regular(found);

		if (fd >= 0) {
			read_parts(fd, json_object_get(file, "parts"));
			close(fd);
		}
		if (found >= 0)
			close(found);
	}
	if (root >= 0)
		close(root);
}
