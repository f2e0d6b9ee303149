#include "spec.h"

#include <fcntl.h>
#include <jansson.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "failure.h"
#include "files.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* -- Access to members, with their types checked ------------------------- */

static const char *const type_names[] = {
	[JSON_OBJECT] = "an object",  [JSON_ARRAY] = "an array",
	[JSON_STRING] = "a string",   [JSON_REAL] = "a number",
};

/* NULL when the member is missing or null. */
static json_t *member(const json_t *object, const char *name, json_type type)
{
	json_t *value = json_object_get(object, name);

	if (!value || json_is_null(value))
		return NULL;
	if (json_typeof(value) != type)
		fail(CODE_ENGINE, "config.json: \"%s\" is not %s", name,
		     type_names[type]);
	return value;
}

static const char *text(const json_t *object, const char *name)
{
	return json_string_value(member(object, name, JSON_STRING));
}

static const char *required_text(const json_t *object, const char *name)
{
	const char *value = text(object, name);

	if (!value || !*value)
		fail(CODE_ENGINE, "config.json: \"%s\" is missing", name);
	return value;
}

/*
 * The runtime spec's "unlimited" is 2^64-1, more than the JSON library's
 * integers hold.  So all numbers are read as floating point, which is exact for
 * everything else that is met.
 */
static int64_t integer(const json_t *object, const char *name,
		       int64_t otherwise)
{
	const json_t *value = member(object, name, JSON_REAL);

	return value ? (int64_t)json_real_value(value) : otherwise;
}

static bool boolean(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	if (!value || json_is_null(value))
		return false;
	if (!json_is_boolean(value))
		fail(CODE_ENGINE, "config.json: \"%s\" is not true or false",
		     name);
	return json_is_true(value);
}

static void *new_array(size_t count, size_t size)
{
	void *array = calloc(count ? count : 1, size);

	if (!array)
		fail(CODE_ENGINE, "out of memory");
	return array;
}

/* An array of strings that ends with NULL; empty when it is missing. */
static const char **texts(const json_t *object, const char *name)
{
	const json_t *array = member(object, name, JSON_ARRAY);
	size_t count = json_array_size(array);
	const char **strings = new_array(count + 1, sizeof *strings);

	for (size_t i = 0; i < count; i++) {
		strings[i] = json_string_value(json_array_get(array, i));
		if (!strings[i])
			fail(CODE_ENGINE,
			     "config.json: \"%s\" is not an array of strings",
			     name);
	}
	return strings;
}

/* An element of an array, which must be an object. */
static json_t *element(const json_t *array, size_t index, const char *name)
{
	json_t *value = json_array_get(array, index);

	if (!json_is_object(value))
		fail(CODE_ENGINE, "config.json: \"%s\" is not an array of objects",
		     name);
	return value;
}

/* -- process ------------------------------------------------------------- */

static const char *const capability_names[] = {
	[CAP_CHOWN] = "CAP_CHOWN",
	[CAP_DAC_OVERRIDE] = "CAP_DAC_OVERRIDE",
	[CAP_DAC_READ_SEARCH] = "CAP_DAC_READ_SEARCH",
	[CAP_FOWNER] = "CAP_FOWNER",
	[CAP_FSETID] = "CAP_FSETID",
	[CAP_KILL] = "CAP_KILL",
	[CAP_SETGID] = "CAP_SETGID",
	[CAP_SETUID] = "CAP_SETUID",
	[CAP_SETPCAP] = "CAP_SETPCAP",
	[CAP_LINUX_IMMUTABLE] = "CAP_LINUX_IMMUTABLE",
	[CAP_NET_BIND_SERVICE] = "CAP_NET_BIND_SERVICE",
	[CAP_NET_BROADCAST] = "CAP_NET_BROADCAST",
	[CAP_NET_ADMIN] = "CAP_NET_ADMIN",
	[CAP_NET_RAW] = "CAP_NET_RAW",
	[CAP_IPC_LOCK] = "CAP_IPC_LOCK",
	[CAP_IPC_OWNER] = "CAP_IPC_OWNER",
	[CAP_SYS_MODULE] = "CAP_SYS_MODULE",
	[CAP_SYS_RAWIO] = "CAP_SYS_RAWIO",
	[CAP_SYS_CHROOT] = "CAP_SYS_CHROOT",
	[CAP_SYS_PTRACE] = "CAP_SYS_PTRACE",
	[CAP_SYS_PACCT] = "CAP_SYS_PACCT",
	[CAP_SYS_ADMIN] = "CAP_SYS_ADMIN",
	[CAP_SYS_BOOT] = "CAP_SYS_BOOT",
	[CAP_SYS_NICE] = "CAP_SYS_NICE",
	[CAP_SYS_RESOURCE] = "CAP_SYS_RESOURCE",
	[CAP_SYS_TIME] = "CAP_SYS_TIME",
	[CAP_SYS_TTY_CONFIG] = "CAP_SYS_TTY_CONFIG",
	[CAP_MKNOD] = "CAP_MKNOD",
	[CAP_LEASE] = "CAP_LEASE",
	[CAP_AUDIT_WRITE] = "CAP_AUDIT_WRITE",
	[CAP_AUDIT_CONTROL] = "CAP_AUDIT_CONTROL",
	[CAP_SETFCAP] = "CAP_SETFCAP",
	[CAP_MAC_OVERRIDE] = "CAP_MAC_OVERRIDE",
	[CAP_MAC_ADMIN] = "CAP_MAC_ADMIN",
	[CAP_SYSLOG] = "CAP_SYSLOG",
	[CAP_WAKE_ALARM] = "CAP_WAKE_ALARM",
	[CAP_BLOCK_SUSPEND] = "CAP_BLOCK_SUSPEND",
	[CAP_AUDIT_READ] = "CAP_AUDIT_READ",
	[CAP_PERFMON] = "CAP_PERFMON",
	[CAP_BPF] = "CAP_BPF",
	[CAP_CHECKPOINT_RESTORE] = "CAP_CHECKPOINT_RESTORE",
};

/* Names this kernel does not know are ignored, as the spec asks. */
static uint64_t capability_set(const json_t *object, const char *name)
{
	uint64_t set = 0;

	for (const char **wanted = texts(object, name); *wanted; wanted++)
		for (size_t i = 0; i < COUNT(capability_names); i++)
			if (strcmp(*wanted, capability_names[i]) == 0)
				set |= UINT64_C(1) << i;
	return set;
}

static void load_capabilities(struct capabilities_spec *capabilities,
			      const json_t *process)
{
	const json_t *object = member(process, "capabilities", JSON_OBJECT);

	if (!object)
		return;
	capabilities->present = true;
	capabilities->bounding = capability_set(object, "bounding");
	capabilities->effective = capability_set(object, "effective");
	capabilities->inheritable = capability_set(object, "inheritable");
	capabilities->permitted = capability_set(object, "permitted");
	capabilities->ambient = capability_set(object, "ambient");
}

static int limit_resource(const char *type)
{
	static const struct {
		const char *name;
		int resource;
	} names[] = {
		{"RLIMIT_AS", RLIMIT_AS},
		{"RLIMIT_CORE", RLIMIT_CORE},
		{"RLIMIT_CPU", RLIMIT_CPU},
		{"RLIMIT_DATA", RLIMIT_DATA},
		{"RLIMIT_FSIZE", RLIMIT_FSIZE},
		{"RLIMIT_LOCKS", RLIMIT_LOCKS},
		{"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
		{"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
		{"RLIMIT_NICE", RLIMIT_NICE},
		{"RLIMIT_NOFILE", RLIMIT_NOFILE},
		{"RLIMIT_NPROC", RLIMIT_NPROC},
		{"RLIMIT_RSS", RLIMIT_RSS},
		{"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
		{"RLIMIT_RTTIME", RLIMIT_RTTIME},
		{"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
		{"RLIMIT_STACK", RLIMIT_STACK},
	};

	for (size_t i = 0; i < COUNT(names); i++)
		if (strcmp(type, names[i].name) == 0)
			return names[i].resource;
	fail(CODE_ENGINE, "config.json: unknown limit \"%s\"", type);
}

static rlim64_t limit_value(const json_t *object, const char *name)
{
	const json_t *value = member(object, name, JSON_REAL);

	if (!value)
		fail(CODE_ENGINE, "config.json: a limit has no \"%s\"", name);
	double number = json_real_value(value);
	return number < 0 || number >= 0x1p63 ? RLIM64_INFINITY
					      : (rlim64_t)number;
}

static void load_limits(struct process_spec *process, const json_t *object)
{
	const json_t *array = member(object, "rlimits", JSON_ARRAY);

	process->limit_count = json_array_size(array);
	process->limits =
		new_array(process->limit_count, sizeof *process->limits);
	for (size_t i = 0; i < process->limit_count; i++) {
		const json_t *limit = element(array, i, "rlimits");
		process->limits[i] = (struct limit_spec){
			.resource = limit_resource(required_text(limit, "type")),
			.limit = {.rlim_cur = limit_value(limit, "soft"),
				  .rlim_max = limit_value(limit, "hard")},
		};
	}
}

static void load_user(struct process_spec *process, const json_t *user)
{
	const json_t *groups = member(user, "additionalGids", JSON_ARRAY);
	size_t count = json_array_size(groups);

	process->uid = (uid_t)integer(user, "uid", 0);
	process->gid = (gid_t)integer(user, "gid", 0);
	process->umask = (mode_t)integer(user, "umask", 0022);
	/* As with Docker, the primary group is one of them. */
	process->groups = new_array(count + 1, sizeof *process->groups);
	process->groups[process->group_count++] = process->gid;
	for (size_t i = 0; i < count; i++) {
		gid_t group = (gid_t)json_number_value(json_array_get(groups, i));
		if (group != process->gid)
			process->groups[process->group_count++] = group;
	}
}

static void load_process(struct process_spec *process, const json_t *object)
{
	const json_t *size = member(object, "consoleSize", JSON_OBJECT);

	process->terminal = boolean(object, "terminal");
	process->rows = (unsigned short)integer(size, "height", 0);
	process->cols = (unsigned short)integer(size, "width", 0);
	load_user(process, member(object, "user", JSON_OBJECT));
	process->args = texts(object, "args");
	if (!process->args[0])
		fail(CODE_ENGINE, "config.json: \"process.args\" is empty");
	process->env = texts(object, "env");
	process->cwd = required_text(object, "cwd");
	if (process->cwd[0] != '/')
		fail(CODE_ENGINE, "config.json: \"process.cwd\" is not absolute: %s",
		     process->cwd);
	load_capabilities(&process->capabilities, object);
	load_limits(process, object);
	process->no_new_privileges = boolean(object, "noNewPrivileges");
	if (member(object, "oomScoreAdj", JSON_REAL))
		process->oom_score_adj = format_string(
			"%d", (int)integer(object, "oomScoreAdj", 0));
}

/* -- mounts -------------------------------------------------------------- */

static void load_mounts(struct spec *spec, const json_t *config)
{
	const json_t *array = member(config, "mounts", JSON_ARRAY);

	spec->mount_count = json_array_size(array);
	spec->mounts = new_array(spec->mount_count, sizeof *spec->mounts);
	for (size_t i = 0; i < spec->mount_count; i++) {
		const json_t *mount = element(array, i, "mounts");
		if (json_array_size(json_object_get(mount, "uidMappings")) ||
		    json_array_size(json_object_get(mount, "gidMappings")))
			fail(CODE_ENGINE,
			     "config.json: mapped mounts are not supported");
		spec->mounts[i] = (struct mount_spec){
			.destination = required_text(mount, "destination"),
			.type = text(mount, "type"),
			.source = text(mount, "source"),
			.options = texts(mount, "options"),
		};
	}
}

/* -- linux --------------------------------------------------------------- */

static int namespace_flag(const char *type)
{
	static const struct {
		const char *name;
		int flag;
	} names[] = {
		{"cgroup", CLONE_NEWCGROUP}, {"ipc", CLONE_NEWIPC},
		{"mount", CLONE_NEWNS},      {"network", CLONE_NEWNET},
		{"pid", CLONE_NEWPID},       {"uts", CLONE_NEWUTS},
	};

	for (size_t i = 0; i < COUNT(names); i++)
		if (strcmp(type, names[i].name) == 0)
			return names[i].flag;
	fail(CODE_ENGINE, "config.json: a namespace of type \"%s\" is not supported",
	     type);
}

static int load_namespaces(const json_t *linux)
{
	const json_t *array = member(linux, "namespaces", JSON_ARRAY);
	/* What the container mounts must not be seen by init in any case. */
	int flags = CLONE_NEWNS;

	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *ns = element(array, i, "namespaces");
		if (text(ns, "path"))
			fail(CODE_ENGINE,
			     "config.json: joining a namespace is not supported");
		flags |= namespace_flag(required_text(ns, "type"));
	}
	return flags;
}

static unsigned long load_propagation(const json_t *linux)
{
	static const struct {
		const char *name;
		unsigned long flags;
	} names[] = {
		{"private", MS_PRIVATE},       {"rprivate", MS_PRIVATE | MS_REC},
		{"slave", MS_SLAVE},           {"rslave", MS_SLAVE | MS_REC},
		{"shared", MS_SHARED},         {"rshared", MS_SHARED | MS_REC},
		{"unbindable", MS_UNBINDABLE}, {"runbindable", MS_UNBINDABLE | MS_REC},
	};
	const char *value = text(linux, "rootfsPropagation");

	if (!value || !*value)
		return 0;
	for (size_t i = 0; i < COUNT(names); i++)
		if (strcmp(value, names[i].name) == 0)
			return names[i].flags;
	fail(CODE_ENGINE, "config.json: unknown propagation \"%s\"", value);
}

static mode_t device_type(const char *type)
{
	if (strcmp(type, "c") == 0 || strcmp(type, "u") == 0)
		return S_IFCHR;
	if (strcmp(type, "b") == 0)
		return S_IFBLK;
	if (strcmp(type, "p") == 0)
		return S_IFIFO;
	fail(CODE_ENGINE, "config.json: unknown type of device \"%s\"", type);
}

static void load_devices(struct spec *spec, const json_t *linux)
{
	const json_t *array = member(linux, "devices", JSON_ARRAY);

	spec->device_count = json_array_size(array);
	spec->devices = new_array(spec->device_count, sizeof *spec->devices);
	for (size_t i = 0; i < spec->device_count; i++) {
		const json_t *device = element(array, i, "devices");
		spec->devices[i] = (struct device_spec){
			.path = required_text(device, "path"),
			.mode = device_type(required_text(device, "type")) |
				((mode_t)integer(device, "fileMode", 0666) & 07777),
			.device = makedev((unsigned)integer(device, "major", 0),
					  (unsigned)integer(device, "minor", 0)),
			.uid = (uid_t)integer(device, "uid", 0),
			.gid = (gid_t)integer(device, "gid", 0),
		};
	}
}

static void load_sysctls(struct spec *spec, const json_t *linux)
{
	json_t *object = member(linux, "sysctl", JSON_OBJECT);
	const char *name;
	json_t *value;

	spec->sysctls =
		new_array(json_object_size(object), sizeof *spec->sysctls);
	json_object_foreach(object, name, value) {
		if (!json_is_string(value))
			fail(CODE_ENGINE, "config.json: sysctl \"%s\" is not a string",
			     name);
		spec->sysctls[spec->sysctl_count++] = (struct sysctl_spec){
			.name = name,
			.value = json_string_value(value),
		};
	}
}

/* Of linux.resources only the number of processes: the rest is the machine's. */
static int64_t load_pids_limit(const json_t *linux)
{
	const json_t *resources = member(linux, "resources", JSON_OBJECT);
	const json_t *pids = member(resources, "pids", JSON_OBJECT);
	int64_t limit = integer(pids, "limit", 0);

	/* 0 is none, too, where it was given. */
	return limit != 0 || !pids ? limit : -1;
}

static void load_linux(struct spec *spec, const json_t *linux)
{
	if (json_array_size(json_object_get(linux, "uidMappings")) ||
	    json_array_size(json_object_get(linux, "gidMappings")))
		fail(CODE_ENGINE, "config.json: user namespaces are not supported");
	spec->namespaces = load_namespaces(linux);
	spec->root_propagation = load_propagation(linux);
	load_devices(spec, linux);
	load_sysctls(spec, linux);
	spec->pids_limit = load_pids_limit(linux);
	spec->masked_paths = texts(linux, "maskedPaths");
	spec->readonly_paths = texts(linux, "readonlyPaths");
}

/* -- the whole ----------------------------------------------------------- */

static void refuse_hooks(const json_t *config)
{
	json_t *hooks = member(config, "hooks", JSON_OBJECT);
	const char *name;
	json_t *list;

	json_object_foreach(hooks, name, list)
		if (json_array_size(list))
			fail(CODE_ENGINE,
			     "config.json: hooks (\"%s\") are not supported",
			     name);
}

static void check_root(const json_t *root)
{
	const char *path = required_text(root, "path");

	if (strcmp(path, "rootfs") != 0 && strcmp(path, "./rootfs") != 0)
		fail(CODE_ENGINE,
		     "config.json: \"root.path\" is \"%s\" and not \"rootfs\"",
		     path);
}

void spec_load(struct spec *spec, const char *path)
{
	json_error_t error;
	/* The values are used until the container runs: never given back. */
	size_t size;
	char *data = read_whole_file(AT_FDCWD, path, &size);

	if (!data)
		fail_errno(CODE_ENGINE, "config.json");
	json_t *config = json_loadb(
		data, size, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL,
		&error);
	free(data);
	if (!config)
		fail(CODE_ENGINE, "config.json: line %d: %s", error.line,
		     error.text);
	if (!json_is_object(config))
		fail(CODE_ENGINE, "config.json: not an object");
	const json_t *process = member(config, "process", JSON_OBJECT);
	const json_t *root = member(config, "root", JSON_OBJECT);
	if (!process || !root)
		fail(CODE_ENGINE, "config.json: \"%s\" is missing",
		     process ? "root" : "process");

	*spec = (struct spec){0};
	check_root(root);
	spec->root_readonly = boolean(root, "readonly");
	spec->hostname = text(config, "hostname");
	spec->domainname = text(config, "domainname");
	load_process(&spec->process, process);
	load_mounts(spec, config);
	load_linux(spec, member(config, "linux", JSON_OBJECT));
	refuse_hooks(config);
}
