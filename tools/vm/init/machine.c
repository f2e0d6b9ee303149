#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <net/if.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "failure.h"
#include "files.h"

static void mount_kernel_file_system(const char *type, const char *target)
{
	mkdir(target, 0755);
	/* devtmpfs may have been mounted by the kernel already */
	if (mount(type, target, type, MS_NOSUID | MS_NOEXEC, NULL) < 0 &&
	    errno != EBUSY)
		fail_errno(CODE_ENGINE, "mount %s", target);
}

void machine_prepare(void)
{
	umask(0);
	mount_kernel_file_system("devtmpfs", "/dev");
	mount_kernel_file_system("proc", "/proc");
	mount_kernel_file_system("sysfs", "/sys");
	machine_loopback_up();
}

void machine_loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		fail_errno(CODE_ENGINE, "loopback interface");
	request.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		fail_errno(CODE_ENGINE, "loopback interface");
	close(fd);
}

void machine_scrub_memory(void)
{
	struct sysinfo info;

	write_string("/proc/sys/vm/drop_caches", "3");
	if (sysinfo(&info) < 0)
		return;
	/*
	 * A little is left, or the allocation would run into the reserves.  It
	 * is taken in pieces: the kernel zeroes each page it hands out.
	 */
	const size_t piece = 1 << 20;
	size_t reserve = 12 << 20;
	size_t available = (size_t)info.freeram * info.mem_unit;
	size_t size = available > reserve ? (available - reserve) / piece * piece
					  : 0;
	if (size == 0)
		return;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory != MAP_FAILED)
		munmap(memory, size);
}

static void set_clock(json_int_t milliseconds)
{
	struct timespec now = {
		.tv_sec = (time_t)(milliseconds / 1000),
		.tv_nsec = (long)(milliseconds % 1000) * 1000000,
	};

	if (clock_settime(CLOCK_REALTIME, &now) < 0)
		fail_errno(CODE_ENGINE, "setting the clock");
}

static unsigned int hex_digit(char digit)
{
	return (unsigned int)(digit <= '9' ? digit - '0' : digit - 'a' + 10) & 15;
}

static void reseed_random(const char *hex)
{
	enum { MAX_SEED = 512 };
	struct {
		struct rand_pool_info info;
		uint8_t bytes[MAX_SEED];
	} seed;
	size_t size = 0;

	for (; size < MAX_SEED && hex[2 * size] && hex[2 * size + 1]; size++)
		seed.bytes[size] = (uint8_t)(hex_digit(hex[2 * size]) << 4 |
					     hex_digit(hex[2 * size + 1]));
	seed.info.entropy_count = (int)size * 8;
	seed.info.buf_size = (int)size;

	int fd = open("/dev/random", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &seed) < 0 ||
	    ioctl(fd, RNDRESEEDCRNG) < 0)
		fail_errno(CODE_ENGINE, "reseeding the random pool");
	close(fd);
}

void machine_wake(const json_t *start)
{
	json_int_t clock = control_integer(start, "clock_ms", 0);
	const char *seed = json_string_value(json_object_get(start, "seed"));

	if (clock > 0)
		set_clock(clock);
	if (!seed || strlen(seed) < 64)
		fail(CODE_ENGINE, "the host sent no seed of 32 bytes");
	reseed_random(seed);
}

void machine_halt(void)
{
	sync();
	reboot(RB_HALT_SYSTEM);
	for (;;)
		pause();
}
