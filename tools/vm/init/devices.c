#include "devices.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"
#include "mounts.h"

static void create_device(int root, const struct device_spec *device)
{
	const char *name;
	int parent = create_parent_in(root, device->path, &name);

	if (parent < 0)
		fail_errno(CODE_ENGINE, "device %s", device->path);
	/* What the image or an earlier mount has there is replaced. */
	unlinkat(parent, name, 0);
	if (mknodat(parent, name, device->mode, device->device) < 0 ||
	    fchownat(parent, name, device->uid, device->gid,
		     AT_SYMLINK_NOFOLLOW) < 0)
		fail_errno(CODE_ENGINE, "device %s", device->path);
	close(parent);
}

static void create_link(int root, const char *path, const char *target)
{
	const char *name;
	int parent = create_parent_in(root, path, &name);

	if (parent < 0)
		fail_errno(CODE_ENGINE, "link %s", path);
	unlinkat(parent, name, 0);
	if (symlinkat(target, parent, name) < 0 && errno != EEXIST)
		fail_errno(CODE_ENGINE, "link %s", path);
	close(parent);
}

void devices_create(int root, const struct spec *spec)
{
	static const struct {
		const char *path;
		unsigned int major, minor;
	} devices[] = {
		{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},
		{"/dev/full", 1, 7},   {"/dev/random", 1, 8},
		{"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
	};
	static const struct {
		const char *path, *target;
	} links[] = {
		{"/dev/fd", "/proc/self/fd"},
		{"/dev/stdin", "/proc/self/fd/0"},
		{"/dev/stdout", "/proc/self/fd/1"},
		{"/dev/stderr", "/proc/self/fd/2"},
		{"/dev/ptmx", "pts/ptmx"},
	};

	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		struct device_spec device = {
			.path = devices[i].path,
			.mode = S_IFCHR | 0666,
			.device = makedev(devices[i].major, devices[i].minor),
		};
		create_device(root, &device);
	}
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		create_link(root, links[i].path, links[i].target);
	for (size_t i = 0; i < spec->device_count; i++)
		create_device(root, &spec->devices[i]);
}

/* Reopens what was looked up inside the root, to read and write it. */
static int reopen(int fd)
{
	char *path = format_string("/proc/self/fd/%d", fd);

	return open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

int devices_open_terminal(int root, int *slave)
{
	int ptmx = open_in(root, "/dev/pts/ptmx");
	if (ptmx < 0)
		fail_errno(CODE_ENGINE,
			   "a terminal needs a devpts at /dev/pts");
	int master = reopen(ptmx);
	close(ptmx);
	int unlocked = 0;
	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0)
		fail_errno(CODE_ENGINE, "open a terminal");
	*slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*slave < 0)
		fail_errno(CODE_ENGINE, "open a terminal");

	int console = create_in(root, "/dev/console", ENTRY_FILE);
	if (console < 0)
		fail_errno(CODE_ENGINE, "/dev/console");
	mount_bind_over(*slave, console);
	close(console);
	return master;
}
