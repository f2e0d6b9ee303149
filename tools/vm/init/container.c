#include "container.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroup.h"
#include "devices.h"
#include "failure.h"
#include "files.h"
#include "machine.h"
#include "mounts.h"
#include "process.h"
#include "storage.h"

/* Namespaces that are ready for a container, in the place of new ones. */
static struct {
	int type;
	const char *name;
	int fd;
} prepared[] = {
	{CLONE_NEWNET, "net", -1},
	{CLONE_NEWIPC, "ipc", -1},
};

enum { PREPARED = CLONE_NEWNET | CLONE_NEWIPC };

#define EACH_PREPARED(i) \
	size_t i = 0; i < sizeof prepared / sizeof *prepared; i++

/*
 * What the container's process tells init while it is being set up.  When the
 * image's program is executed, the socket closes: that is success.
 */
struct report {
	enum { REPORT_TERMINAL, REPORT_FAILURE } kind;
	int code;
	char message[512];
};

union descriptor_message {
	struct cmsghdr header; /* for the alignment */
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* -- In the container's process ------------------------------------------ */

static int report_socket;

static void send_failure(const char *stage, int code, const char *message)
{
	struct report report = {.kind = REPORT_FAILURE, .code = code};

	(void)stage; /* it is "start" in here */
	strncpy(report.message, message, sizeof report.message - 1);
	send(report_socket, &report, sizeof report, 0);
}

static void send_terminal(int terminal)
{
	struct report report = {.kind = REPORT_TERMINAL};
	struct iovec data = {.iov_base = &report, .iov_len = sizeof report};
	union descriptor_message control = {0};
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control,
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &terminal, sizeof terminal);
	if (sendmsg(report_socket, &message, 0) < 0)
		fail_errno(CODE_ENGINE, "hand over the terminal");
}

static void set_propagation(unsigned long flags)
{
	if (mount(NULL, "/", NULL, flags, NULL) < 0)
		fail_errno(CODE_ENGINE, "set the propagation of mounts");
}

/* "net.ipv4.ip_forward" or "net/ipv4/ip_forward" in /proc/sys. */
static void set_sysctl(const struct sysctl_spec *sysctl)
{
	char *path = format_string("/proc/sys/%s", sysctl->name);

	/* With a slash in it, a dot is part of a name (of an interface). */
	if (!strchr(sysctl->name, '/'))
		for (char *c = path; *c; c++)
			if (*c == '.')
				*c = '/';
	if (strstr(path, "/../") || !write_string(path, sysctl->value))
		fail_errno(CODE_ENGINE, "sysctl %s", sysctl->name);
	free(path);
}

static void set_names(const struct spec *spec)
{
	if (spec->hostname &&
	    sethostname(spec->hostname, strlen(spec->hostname)) < 0)
		fail_errno(CODE_ENGINE, "set the host name");
	if (spec->domainname &&
	    setdomainname(spec->domainname, strlen(spec->domainname)) < 0)
		fail_errno(CODE_ENGINE, "set the domain name");
}

/*
 * Makes the root file system "/".  pivot_root refuses to move the initramfs
 * away, so the root is moved on top of it, as at the end of any initramfs.
 */
static void enter_root(int root)
{
	/* Detached first: nothing of the machine's is left below. */
	static const char *const machine_mounts[] = {"/dev", "/proc", "/sys"};

	for (size_t i = 0; i < sizeof machine_mounts / sizeof *machine_mounts; i++)
		umount2(machine_mounts[i], MNT_DETACH);
	if (fchdir(root) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 ||
	    chroot(".") < 0 || chdir("/") < 0)
		fail_errno(CODE_ENGINE, "enter the root file system");
}

static void set_root_readonly(void)
{
	struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};

	if (mount_setattr(AT_FDCWD, "/", 0, &attributes, sizeof attributes) < 0)
		fail_errno(CODE_ENGINE, "make the root file system read-only");
}

static void create_working_directory(int root, const char *path)
{
	int fd = create_in(root, path, ENTRY_DIRECTORY);

	if (fd < 0 && errno != EACCES && errno != ENOTDIR)
		fail_errno(CODE_ENGINE, "create the working directory %s", path);
	close(fd);
}

static void prepare_root(const struct spec *spec)
{
	int root = open(BUNDLE_ROOTFS, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0 || chdir(BUNDLE) < 0)
		fail_errno(CODE_ENGINE, "enter the bundle");
	for (size_t i = 0; i < spec->mount_count; i++)
		mount_spec_apply(root, &spec->mounts[i]);
	devices_create(root, spec);
	for (size_t i = 0; i < spec->sysctl_count; i++)
		set_sysctl(&spec->sysctls[i]);
	create_working_directory(root, spec->process.cwd);

	int terminal = -1, slave = -1;
	if (spec->process.terminal) {
		const struct winsize size = {.ws_row = spec->process.rows,
					     .ws_col = spec->process.cols};
		terminal = devices_open_terminal(root, &slave);
		ioctl(terminal, TIOCSWINSZ, &size);
	}

	enter_root(root);
	close(root);
	if (spec->root_propagation)
		set_propagation(spec->root_propagation);
	for (const char **path = spec->masked_paths; *path; path++)
		mount_mask_path(*path);
	for (const char **path = spec->readonly_paths; *path; path++)
		mount_readonly_path(*path);
	if (spec->root_readonly)
		set_root_readonly();

	if (terminal >= 0) {
		if (fchown(slave, spec->process.uid, (gid_t)-1) < 0)
			fail_errno(CODE_ENGINE, "give the terminal to the user");
		send_terminal(terminal);
		close(terminal);
		if (ioctl(slave, TIOCSCTTY, 0) < 0 || dup2(slave, 0) < 0 ||
		    dup2(slave, 1) < 0 || dup2(slave, 2) < 0)
			fail_errno(CODE_ENGINE, "take the terminal");
	}
}

/* Signals as a program expects them to be when it starts. */
static void reset_signals(void)
{
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void enter_prepared_namespaces(int wanted)
{
	for (EACH_PREPARED(i))
		if (wanted & prepared[i].type &&
		    setns(prepared[i].fd, prepared[i].type) < 0)
			fail_errno(CODE_ENGINE, "enter a new %s namespace",
				   prepared[i].name);
}

static _Noreturn void run_container(const struct spec *spec)
{
	const char *score = spec->process.oom_score_adj;

	failure_set_handler(send_failure);
	setsid();
	/* init's own score, which keeps it alive, is inherited otherwise */
	if (!write_string("/proc/self/oom_score_adj", score ? score : "0"))
		fail_errno(CODE_ENGINE, "set oom_score_adj");
	cgroup_enter();
	if (spec->namespaces & CLONE_NEWCGROUP && unshare(CLONE_NEWCGROUP) < 0)
		fail_errno(CODE_ENGINE, "make a cgroup namespace");
	enter_prepared_namespaces(spec->namespaces);
	set_propagation(MS_PRIVATE | MS_REC);
	set_names(spec);
	prepare_root(spec);
	reset_signals();
	process_execute(&spec->process);
}

/* -- In init ------------------------------------------------------------- */

static int receive_report(int socket, struct report *report, int *descriptor)
{
	struct iovec data = {.iov_base = report, .iov_len = sizeof *report};
	union descriptor_message control = {0};
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control,
	};
	ssize_t got;

	do
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return 0;
	const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(descriptor, CMSG_DATA(header), sizeof *descriptor);
	return 1;
}

/*
 * What Docker sets in a container's network: ports below 1024, and ping, are for
 * all users.
 */
static void set_network_defaults(void)
{
	if (!write_string("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0") ||
	    !write_string("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"))
		fail_errno(CODE_ENGINE, "prepare the network");
}

static int open_namespace(const char *name)
{
	char *path = format_string("/proc/self/ns/%s", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	free(path);
	return fd;
}

void container_prepare(void)
{
	cgroup_prepare();
	for (EACH_PREPARED(i)) {
		int own = open_namespace(prepared[i].name);
		if (own < 0 || unshare(prepared[i].type) < 0)
			fail_errno(CODE_ENGINE, "make a %s namespace",
				   prepared[i].name);
		if (prepared[i].type == CLONE_NEWNET) {
			machine_loopback_up();
			set_network_defaults();
		}
		prepared[i].fd = open_namespace(prepared[i].name);
		if (prepared[i].fd < 0 || setns(own, prepared[i].type) < 0)
			fail_errno(CODE_ENGINE, "leave the %s namespace",
				   prepared[i].name);
		close(own);
	}
}

/*
 * A pipe for one of the process' standard streams.  It belongs to the user, so
 * that /dev/stdout and its like can be opened.
 */
static void make_pipe(int ends[2], uid_t owner)
{
	if (pipe2(ends, O_CLOEXEC) < 0 ||
	    fchown(ends[0], owner, (gid_t)-1) < 0 ||
	    fchown(ends[1], owner, (gid_t)-1) < 0)
		fail_errno(CODE_ENGINE, "make a pipe");
}

void container_start(struct container *container, const struct spec *spec)
{
	int sockets[2], pipes[3][2];
	bool terminal = spec->process.terminal;

	*container = (struct container){
		.terminal = -1, .input = -1, .output = -1, .error = -1};
	cgroup_configure(spec);
	for (int i = 0; !terminal && i < 3; i++)
		make_pipe(pipes[i], spec->process.uid);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		fail_errno(CODE_ENGINE, "socketpair");

	/* fork(), into new namespaces; others are for later. */
	int flags = spec->namespaces & ~(CLONE_NEWCGROUP | PREPARED);
	container->pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (container->pid < 0)
		fail_errno(CODE_ENGINE, "make the namespaces");
	if (container->pid == 0) {
		report_socket = sockets[1];
		for (int i = 0; !terminal && i < 3; i++)
			dup2(pipes[i][i == 0 ? 0 : 1], i);
		run_container(spec);
	}
	close(sockets[1]);
	if (!terminal) {
		container->input = pipes[0][1];
		container->output = pipes[1][0];
		container->error = pipes[2][0];
		close(pipes[0][0]);
		close(pipes[1][1]);
		close(pipes[2][1]);
	}

	struct report report;
	while (receive_report(sockets[0], &report, &container->terminal))
		if (report.kind == REPORT_FAILURE)
			fail(report.code, "%s", report.message);
	close(sockets[0]);
}
