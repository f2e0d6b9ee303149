#include "interpreters.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"

#define FORMATS "/run/formats"

/* Small programs of each processor, made of tools/vm/warmup. */
#define WARM_UP "/warmup"

/* How often each is run: more brings nothing, and costs the host its battery. */
enum { WARM_UP_ROUNDS = 16 };

#ifndef EM_RISCV
#define EM_RISCV 243
#endif

static struct processor {
	const char *name;     /* as uname -m has it */
	const char *platform; /* as images have it */
	uint16_t machine;     /* e_machine */
	bool registered;
} processors[] = {
/* What the guest's own processor runs is not translated. */
#ifndef __x86_64__
	{"x86_64", "linux/amd64", EM_X86_64, false},
#endif
	{"aarch64", "linux/arm64", EM_AARCH64, false},
	{"riscv64", "linux/riscv64", EM_RISCV, false},
};

enum { PROCESSORS = sizeof processors / sizeof *processors };

/*
 * P: the interpreter is told the program's own argv[0].
 * C: setuid and capabilities are the program's, not the interpreter's; so the
 *    kernel opens the program itself (O), which need not be readable.
 * F: the interpreter is opened now, in here: no root file system needs it.
 * K: its processes get a file, where they keep what they have translated
 *    (kernel/patches-6.12/binfmt-translations.patch).
 */
#ifdef __x86_64__
#define FLAGS "POCFK"
#else
#define FLAGS "POCF"
#endif

/* A 64-bit little-endian ELF program or shared object, of any system's ABI. */
static char *format_of(const struct processor *processor, const char *path)
{
	return format_string(
		":%s:M::\\x7fELF\\x02\\x01\\x01\\x00"
		"\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00"
		"\\x02\\x00\\x%02x\\x%02x:"
		"\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00"
		"\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff"
		"\\xfe\\xff\\xff\\xff:%s:" FLAGS,
		processor->name, processor->machine & 255,
		processor->machine >> 8, path);
}

static void mount_formats(void)
{
	if ((mkdir(FORMATS, 0755) < 0 && errno != EEXIST) ||
	    mount("binfmt_misc", FORMATS, "binfmt_misc", 0, NULL) < 0)
		fail_errno(CODE_ENGINE, "mount binfmt_misc");
}

void interpreters_register(const char *directory)
{
	bool mounted = false;

	if (access(directory, F_OK) < 0)
		return;
	for (size_t i = 0; i < PROCESSORS; i++) {
		char *path =
			format_string("%s/%s", directory, processors[i].name);
		if (access(path, F_OK) < 0)
			continue;
		if (!mounted)
			mount_formats();
		mounted = true;
		if (!write_string(FORMATS "/register",
				  format_of(&processors[i], path)))
			fail_errno(CODE_ENGINE, "register the interpreter %s",
				   processors[i].name);
		processors[i].registered = true;
	}
}

static pid_t warm_up;

static void run_once(const char *program)
{
	pid_t pid = fork();

	if (pid == 0) {
		execl(program, program, (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static _Noreturn void run_warm_up(void)
{
	setpgid(0, 0);
	nice(19);
	write_string("/proc/self/oom_score_adj", "1000");
	for (int round = 0; round < WARM_UP_ROUNDS; round++)
		for (size_t i = 0; i < PROCESSORS; i++)
			if (processors[i].registered)
				run_once(format_string(WARM_UP "/%s",
						       processors[i].name));
	_exit(0);
}

void interpreters_begin_warm_up(void)
{
	warm_up = fork();
	if (warm_up == 0)
		run_warm_up();
	/* In both processes: whichever comes first. */
	if (warm_up > 0)
		setpgid(warm_up, warm_up);
}

void interpreters_end_warm_up(void)
{
	if (warm_up <= 0)
		return;
	kill(-warm_up, SIGKILL);
	/* What it was running has become a child of ours. */
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	warm_up = 0;
}

const char *interpreters_explain(const char *program)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf32_Ehdr header; /* all of it that is looked at is the same in Elf64_Ehdr */
	} file;
	int fd = open(program, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, &file, sizeof file);

	if (fd >= 0)
		close(fd);
	if (got < 0)
		return strerror(ENOEXEC);
	if (got == 0)
		return "the file is empty";
	if (got < (ssize_t)sizeof file ||
	    memcmp(file.ident, ELFMAG, SELFMAG) != 0)
		return "neither a program for Linux nor a script that begins with #!";
	for (size_t i = 0; i < PROCESSORS; i++)
		if (file.header.e_machine == processors[i].machine &&
		    file.ident[EI_DATA] == ELFDATA2LSB)
			return format_string(
				"a program for %s, which is not translated here",
				processors[i].platform);
	return format_string("a program for another processor (ELF machine %u)",
			     file.header.e_machine);
}
