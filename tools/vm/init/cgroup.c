#include "cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"

#define CGROUPS "/run/cgroup"
#define CONTAINER CGROUPS "/container"

/*
 * Of processes and threads.  Far more than the machine's one processor can do
 * something for, and few enough for its memory and for the shell of a person who
 * wants to end them.
 */
#define DEFAULT_PIDS "1024"

/* In the place of a minor number. */
#define ANY UINT_MAX

/*
 * Docker's, but for the console (5:1): it would be the machine's own.  Other
 * devices can be made, but not opened: the host's end of the control channel
 * and of the serial port must hear the guest's init and kernel alone.
 */
static const struct device {
	unsigned int major;
	unsigned int minor;
} default_devices[] = {
	{1, 3},	    /* null */
	{1, 5},	    /* zero */
	{1, 7},	    /* full */
	{1, 8},	    /* random */
	{1, 9},	    /* urandom */
	{5, 0},	    /* tty */
	{5, 2},	    /* ptmx */
	{136, ANY}, /* pts/... */
};

enum {
	DEFAULT_DEVICES = sizeof default_devices / sizeof *default_devices,
	/* The longest parts of the program that decides. */
	PROLOGUE = 6,
	RULE = 5,
	EPILOGUE = 2,
};

/* The program that is attached to the group. */
static int policy = -1;

static int bpf(int command, union bpf_attr *attributes)
{
	return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

/* -- A program for the kernel's BPF machine -------------------------------- */

struct program {
	struct bpf_insn *code;
	size_t length;
};

static void emit(struct program *program, struct bpf_insn instruction)
{
	program->code[program->length++] = instruction;
}

/* Loads a field of what the program is asked about, to which register 1 points. */
static void emit_load(struct program *program, uint8_t destination, size_t offset)
{
	emit(program, (struct bpf_insn){
		.code = BPF_LDX | BPF_MEM | BPF_W,
		.dst_reg = destination,
		.src_reg = BPF_REG_1,
		.off = (int16_t)offset,
	});
}

/* Skips some instructions where the condition holds for a register and a number. */
static void emit_jump(struct program *program, uint8_t condition,
		      uint8_t operand, int32_t number, int skipped)
{
	emit(program, (struct bpf_insn){
		.code = BPF_JMP | condition | BPF_K,
		.dst_reg = operand,
		.off = (int16_t)skipped,
		.imm = number,
	});
}

static void emit_return(struct program *program, int32_t value)
{
	emit(program, (struct bpf_insn){
		.code = BPF_ALU64 | BPF_MOV | BPF_K,
		.dst_reg = BPF_REG_0,
		.imm = value,
	});
	emit(program, (struct bpf_insn){.code = BPF_JMP | BPF_EXIT});
}

/* Registers: 2 the access and the type, 3 the major, 4 the minor number. */
static void emit_prologue(struct program *program)
{
	const int32_t opened = (BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE) << 16;

	emit_load(program, BPF_REG_2,
		  offsetof(struct bpf_cgroup_dev_ctx, access_type));
	emit_load(program, BPF_REG_3, offsetof(struct bpf_cgroup_dev_ctx, major));
	emit_load(program, BPF_REG_4, offsetof(struct bpf_cgroup_dev_ctx, minor));
	/* To be made only: allowed. */
	emit_jump(program, BPF_JSET, BPF_REG_2, opened, 2);
	emit_return(program, 1);
}

static void emit_rule(struct program *program, bool block, unsigned int major,
		      unsigned int minor)
{
	const int32_t other = block ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK;
	const int rest = minor == ANY ? 2 : 3;

	/* The type's number is one of two bits. */
	emit_jump(program, BPF_JSET, BPF_REG_2, other, rest + 1);
	emit_jump(program, BPF_JNE, BPF_REG_3, (int32_t)major, rest);
	if (minor != ANY)
		emit_jump(program, BPF_JNE, BPF_REG_4, (int32_t)minor, 2);
	emit_return(program, 1);
}

/* Loads the program that decides which devices can be opened. */
static int load_policy(const struct device_spec *devices, size_t count)
{
	struct program program = {
		.code = calloc(PROLOGUE + EPILOGUE +
				       RULE * (DEFAULT_DEVICES + count),
			       sizeof *program.code),
	};

	if (!program.code)
		fail(CODE_ENGINE, "out of memory");
	emit_prologue(&program);
	for (size_t i = 0; i < DEFAULT_DEVICES; i++)
		emit_rule(&program, false, default_devices[i].major,
			  default_devices[i].minor);
	for (size_t i = 0; i < count; i++)
		emit_rule(&program, S_ISBLK(devices[i].mode),
			  major(devices[i].device), minor(devices[i].device));
	emit_return(&program, 0);

	union bpf_attr attributes = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insns = (uintptr_t)program.code,
		.insn_cnt = (uint32_t)program.length,
		.license = (uintptr_t) "Apache-2.0",
	};
	int fd = bpf(BPF_PROG_LOAD, &attributes);
	if (fd < 0)
		fail_errno(CODE_ENGINE, "load the policy for devices");
	free(program.code);
	return fd;
}

/* Makes a program decide, in the place of the one that did so far. */
static void attach_policy(int program)
{
	int group = open(CONTAINER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* The container may restrict its own groups further. */
	union bpf_attr attributes = {
		.target_fd = (uint32_t)group,
		.attach_bpf_fd = (uint32_t)program,
		.attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_MULTI,
	};

	if (policy >= 0) {
		attributes.attach_flags |= BPF_F_REPLACE;
		attributes.replace_bpf_fd = (uint32_t)policy;
	}
	if (group < 0 || bpf(BPF_PROG_ATTACH, &attributes) < 0)
		fail_errno(CODE_ENGINE, "set the policy for devices");
	close(group);
	if (policy >= 0)
		close(policy);
	policy = program;
}

/* -- The group ------------------------------------------------------------ */

static void set_limit_of_processes(const char *limit)
{
	if (!write_string(CONTAINER "/pids.max", limit))
		fail_errno(CODE_ENGINE, "limit the processes");
}

void cgroup_prepare(void)
{
	if (mkdir(CGROUPS, 0755) < 0 ||
	    mount("cgroup2", CGROUPS, "cgroup2", 0, NULL) < 0 ||
	    !write_string(CGROUPS "/cgroup.subtree_control", "+pids") ||
	    mkdir(CONTAINER, 0755) < 0)
		fail_errno(CODE_ENGINE, "make a cgroup");
	set_limit_of_processes(DEFAULT_PIDS);
	attach_policy(load_policy(NULL, 0));
}

void cgroup_configure(const struct spec *spec)
{
	if (spec->device_count > 0)
		attach_policy(load_policy(spec->devices, spec->device_count));
	if (spec->pids_limit > 0) {
		char *limit = format_string("%lld", (long long)spec->pids_limit);
		set_limit_of_processes(limit);
		free(limit);
	} else if (spec->pids_limit < 0) {
		set_limit_of_processes("max");
	}
}

void cgroup_enter(void)
{
	if (!write_string(CONTAINER "/cgroup.procs", "0"))
		fail_errno(CODE_ENGINE, "enter the cgroup");
}

void cgroup_freeze(bool frozen)
{
	const struct timespec interval = {.tv_nsec = 2 * 1000000};
	enum { ATTEMPTS = 500 };

	if (!write_string(CONTAINER "/cgroup.freeze", frozen ? "1" : "0"))
		fail_errno(CODE_ENGINE, "stop the container");
	/* Those that are in the kernel stop a moment later. */
	for (int i = 0; frozen && i < ATTEMPTS; i++) {
		size_t size;
		char *events = read_whole_file(
			AT_FDCWD, CONTAINER "/cgroup.events", &size);
		bool done = events && strstr(events, "frozen 1");
		free(events);
		if (done)
			return;
		nanosleep(&interval, NULL);
	}
}
