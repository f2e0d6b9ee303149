#include "archive.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <termios.h>

#include "control.h"
#include "failure.h"
#include "files.h"

enum {
	BLOCK = 512,
	PIECE = 64 * 1024,
	NAME_SIZE = 100,
	/* What seven octal digits have room for. */
	MAX_SMALL = 07777777,
};
/* And eleven. */
#define MAX_LARGE 077777777777

/* POSIX.1-2017, pax, "ustar Interchange Format". */
struct header {
	char name[NAME_SIZE], mode[8], uid[8], gid[8], size[12], mtime[12];
	char checksum[8], type, link[NAME_SIZE], magic[6], version[2];
	char user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};

static struct {
	int port; /* 0: not open yet, as init's standard input has it */
	unsigned char data[PIECE];
	size_t used;
	uint64_t left; /* of what the host takes */
	bool full;
} output;

static void send_piece(void)
{
	write_all(output.port, output.data, output.used);
	output.used = 0;
}

void archive_begin(uint64_t limit)
{
	if (!output.port)
		output.port = port_open(PORT_STDOUT);
	output.used = 0;
	output.left = limit;
	output.full = false;
	/* From here on, what comes out of that port is the archive. */
	control_send(json_pack("{s:s}", "type", "archiving"));
}

bool archive_is_full(void)
{
	return output.full;
}

void archive_write(const void *data, size_t size)
{
	const char *from = data;

	if (size > output.left)
		output.full = true;
	if (output.full)
		return;
	output.left -= size;
	while (size > 0) {
		size_t room = PIECE - output.used;
		size_t part = size < room ? size : room;
		memcpy(output.data + output.used, from, part);
		output.used += part;
		from += part;
		size -= part;
		if (output.used == PIECE)
			send_piece();
	}
}

void archive_pad(uint64_t size)
{
	static const char zeros[BLOCK];

	archive_write(zeros, (size_t)(-size % BLOCK));
}

void archive_end(void)
{
	static const char zeros[2 * BLOCK];

	archive_write(zeros, sizeof zeros);
	send_piece();
	/* What is said next, through another port, comes after it. */
	tcdrain(output.port);
}

static size_t digits_of(size_t number)
{
	size_t digits = 1;

	while (number >= 10) {
		number /= 10;
		digits++;
	}
	return digits;
}

char *archive_add_record(char *text, size_t *length, const char *key,
			 const void *value, size_t value_length)
{
	/* "LENGTH KEY=VALUE\n", where LENGTH counts its own digits, too. */
	size_t rest = strlen(key) + value_length + 3;
	size_t size = rest + digits_of(rest);

	if (rest + digits_of(size) != size)
		size = rest + digits_of(size);
	text = realloc(text, *length + size + 1);
	if (!text)
		fail(CODE_ENGINE, "no memory for a file's attributes");
	int start = sprintf(text + *length, "%zu %s=", size, key);
	memcpy(text + *length + start, value, value_length);
	*length += size;
	text[*length - 1] = '\n';
	return text;
}

static char *add_text(char *text, size_t *length, const char *key,
		      const char *value)
{
	return archive_add_record(text, length, key, value, strlen(value));
}

static char *add_number(char *text, size_t *length, const char *key,
			uint64_t value)
{
	char digits[24];

	snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
	return add_text(text, length, key, digits);
}

/* An octal number with leading zeros, and a NUL where the field ends. */
static void put_octal(char *field, size_t size, uint64_t value)
{
	field[--size] = '\0';
	while (size > 0) {
		field[--size] = (char)('0' + (value & 7));
		value >>= 3;
	}
}

static void put_text(char *field, size_t size, const char *text)
{
	size_t length = strnlen(text, size);

	memcpy(field, text, length);
}

static char type_of(const struct member *member)
{
	if (member->is_hard_link)
		return '1';
	switch (member->status->st_mode & S_IFMT) {
	case S_IFLNK:
		return '2';
	case S_IFCHR:
		return '3';
	case S_IFBLK:
		return '4';
	case S_IFDIR:
		return '5';
	case S_IFIFO:
		return '6';
	default:
		return '0';
	}
}

static void write_header(struct header *header)
{
	unsigned int sum = 0;

	memcpy(header->magic, "ustar", 6);
	memcpy(header->version, "00", 2);
	memset(header->checksum, ' ', sizeof header->checksum);
	for (size_t i = 0; i < sizeof *header; i++)
		sum += ((unsigned char *)header)[i];
	put_octal(header->checksum, 7, sum);
	archive_write(header, sizeof *header);
}

/* What the plain header has no room for. */
static char *pax_records(const struct member *member, size_t *length)
{
	const struct stat *status = member->status;
	char *text = NULL;

	if (strlen(member->path) > NAME_SIZE - 1)
		text = add_text(text, length, "path", member->path);
	if (member->link && strlen(member->link) > NAME_SIZE)
		text = add_text(text, length, "linkpath", member->link);
	if (status->st_uid > MAX_SMALL)
		text = add_number(text, length, "uid", status->st_uid);
	if (status->st_gid > MAX_SMALL)
		text = add_number(text, length, "gid", status->st_gid);
	if (S_ISREG(status->st_mode) && (uint64_t)status->st_size > MAX_LARGE)
		text = add_number(text, length, "size",
				  (uint64_t)status->st_size);
	if (status->st_mtim.tv_nsec || status->st_mtim.tv_sec < 0 ||
	    (uint64_t)status->st_mtim.tv_sec > MAX_LARGE) {
		/* Before 1970 the nanoseconds count backwards in a decimal. */
		long long seconds = status->st_mtim.tv_sec;
		long nanoseconds = status->st_mtim.tv_nsec;
		bool before = seconds < 0;
		char time[40];

		if (before && nanoseconds) {
			seconds++;
			nanoseconds = 1000000000 - nanoseconds;
		}
		snprintf(time, sizeof time, "%s%lld.%09ld", before ? "-" : "",
			 before ? -seconds : seconds, nanoseconds);
		text = add_text(text, length, "mtime", time);
	}
	if (member->xattrs_length) {
		text = realloc(text, *length + member->xattrs_length);
		if (!text)
			fail(CODE_ENGINE, "no memory for a file's attributes");
		memcpy(text + *length, member->xattrs, member->xattrs_length);
		*length += member->xattrs_length;
	}
	return text;
}

void archive_member(const struct member *member)
{
	const struct stat *status = member->status;
	struct header header = {.type = type_of(member)};
	size_t length = 0;
	char *records = pax_records(member, &length);

	if (length > 0) {
		struct header extended = {.type = 'x'};
		put_text(extended.name, NAME_SIZE - 1, member->path);
		put_octal(extended.mode, sizeof extended.mode, 0644);
		put_octal(extended.uid, sizeof extended.uid, 0);
		put_octal(extended.gid, sizeof extended.gid, 0);
		put_octal(extended.size, sizeof extended.size, length);
		put_octal(extended.mtime, sizeof extended.mtime, 0);
		write_header(&extended);
		archive_write(records, length);
		archive_pad(length);
	}
	free(records);

	bool has_content = header.type == '0';
	put_text(header.name, NAME_SIZE - 1, member->path);
	if (S_ISDIR(status->st_mode) && strlen(member->path) < NAME_SIZE - 1)
		header.name[strlen(member->path)] = '/';
	if (member->link)
		put_text(header.link, NAME_SIZE, member->link);
	put_octal(header.mode, sizeof header.mode, status->st_mode & 07777);
	put_octal(header.uid, sizeof header.uid, status->st_uid);
	put_octal(header.gid, sizeof header.gid, status->st_gid);
	put_octal(header.size, sizeof header.size,
		  has_content ? (uint64_t)status->st_size : 0);
	put_octal(header.mtime, sizeof header.mtime,
		  status->st_mtim.tv_sec < 0
			  ? 0
			  : (uint64_t)status->st_mtim.tv_sec);
	if (S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode)) {
		put_octal(header.major, sizeof header.major,
			  major(status->st_rdev));
		put_octal(header.minor, sizeof header.minor,
			  minor(status->st_rdev));
	}
	write_header(&header);
}
