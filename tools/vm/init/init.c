/*
 * PID 1 of the guest: makes the machine ready, waits for the host to say what
 * has changed since the snapshot, and runs one container.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container.h"
#include "control.h"
#include "failure.h"
#include "files.h"
#include "interpreters.h"
#include "machine.h"
#include "relay.h"
#include "spec.h"
#include "storage.h"

/* A failure of init's own: the host is told, and the machine stops. */
static void end_with_failure(const char *stage, int code, const char *message)
{
	control_send_failure(stage, code, message);
	machine_halt();
}

static void send(const char *type)
{
	control_send(json_pack("{s:s}", "type", type));
}

/* The kernel opened no console for init, as the initramfs has no nodes. */
static void open_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd < 2);
	if (fd > 2)
		close(fd);
}

static void mount_once(void)
{
	static bool mounted;

	if (mounted)
		return;
	failure_set_stage("mount");
	storage_mount();
	mounted = true;
}

static json_t *wait_for_start(void)
{
	json_t *message;

	send("ready");
	/*
	 * "scrub" comes before a snapshot is made of the machine, "hello" after
	 * it was resumed from one.  "prepare" may come when the tree has what
	 * the image needs to be translated, but not yet the image itself.
	 */
	for (;;) {
		message = control_wait();
		if (control_is(message, "start"))
			return message;
		if (control_is(message, "prepare")) {
			mount_once();
			interpreters_begin_warm_up();
		}
		if (control_is(message, "hello"))
			send("ready");
		if (control_is(message, "scrub")) {
			machine_scrub_memory();
			container_connect();
			send("scrubbed");
		}
		json_decref(message);
	}
}

static void send_exit(int status)
{
	if (WIFSIGNALED(status))
		control_send(json_pack("{s:s, s:i, s:i}", "type", "exit",
				       "code", 128 + WTERMSIG(status),
				       "signal", WTERMSIG(status)));
	else
		control_send(json_pack("{s:s, s:i}", "type", "exit", "code",
				       WEXITSTATUS(status)));
}

static void apply_size(struct process_spec *process, const json_t *start)
{
	/* What the host has now goes before what the spec was made for. */
	json_int_t rows = control_integer(start, "rows", 0);
	json_int_t cols = control_integer(start, "cols", 0);

	if (rows > 0 && cols > 0) {
		process->rows = (unsigned short)rows;
		process->cols = (unsigned short)cols;
	}
}

int main(void)
{
	struct spec spec;
	struct container container;

	machine_prepare();
	open_standard_streams();
	control_open();
	failure_set_handler(end_with_failure);
	/* When memory runs out, the container's processes go first. */
	write_string("/proc/self/oom_score_adj", "-1000");

	relay_prepare();
	storage_prepare();
	container_prepare();
	json_t *start = wait_for_start();
	interpreters_end_warm_up();
	failure_set_stage("mount");
	machine_wake(start);
	storage_fit_memory();
	mount_once();
	send("mounted");

	failure_set_stage("bundle");
	storage_make_bundle();
	spec_load(&spec, BUNDLE "/config.json");
	apply_size(&spec.process, start);

	failure_set_stage("start");
	if (json_is_false(json_object_get(start, "network")))
		container_without_network();
	else
		container_connect();
	container_start(&container, &spec);
	send("started");

	send_exit(relay_run(&container, &spec, start));
	machine_halt();
}
