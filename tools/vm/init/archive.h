/*
 * A tar archive that is sent to the host through the port of standard output,
 * which nothing else uses meanwhile.  POSIX.1-2017 pax, with extended attributes
 * as star has them (SCHILY.xattr).
 */
#ifndef ARCHIVE_H
#define ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* A member; its content follows by archive_write(), padded by archive_pad(). */
struct member {
	const char *path; /* without a slash at either end */
	const struct stat *status;
	const char *link;     /* what a symlink or a hard link points to */
	int is_hard_link;     /* to link, a path of the archive */
	const char *xattrs;   /* records of archive_add_xattr() */
	size_t xattrs_length;
};

/*
 * Says {"type": "archiving"}, behind which the archive's bytes are all that comes
 * out of that port; of no more than so many.
 */
void archive_begin(uint64_t limit);

/* Whether it has become longer than that: it has no end then. */
bool archive_is_full(void);

/* Appends a pax record to text that is allocated; the result is its new place. */
char *archive_add_record(char *text, size_t *length, const char *key,
			 const void *value, size_t value_length);

void archive_member(const struct member *member);
void archive_write(const void *data, size_t size);

/* Ends a content of so many bytes. */
void archive_pad(uint64_t size);

void archive_end(void);

#endif
