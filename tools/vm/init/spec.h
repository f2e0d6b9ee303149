/*
 * The part of the OCI runtime spec (config.json) that is carried out here.
 * Reading it checks types and refuses what cannot be carried out, so that the
 * rest of the program deals with plain values.
 */
#ifndef SPEC_H
#define SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct mount_spec {
	const char *destination;
	const char *type;   /* NULL for a bind mount without one */
	const char *source; /* may be NULL */
	const char **options; /* ends with NULL */
};

struct device_spec {
	const char *path;
	mode_t mode; /* type and permissions */
	dev_t device;
	uid_t uid;
	gid_t gid;
};

struct limit_spec {
	int resource;
	struct rlimit64 limit;
};

struct sysctl_spec {
	const char *name;
	const char *value;
};

struct capabilities_spec {
	bool present; /* without the member, root keeps all of them */
	uint64_t bounding, effective, inheritable, permitted, ambient;
};

struct process_spec {
	bool terminal;
	unsigned short rows, cols; /* 0: not given */
	uid_t uid;
	gid_t gid;
	mode_t umask;
	gid_t *groups;
	size_t group_count;
	const char **args; /* both end with NULL */
	const char **env;
	const char *cwd;
	struct capabilities_spec capabilities;
	struct limit_spec *limits;
	size_t limit_count;
	bool no_new_privileges;
	const char *oom_score_adj; /* as text, for /proc; NULL: not given */
};

struct spec {
	struct process_spec process;
	bool root_readonly;
	const char *hostname;
	const char *domainname;
	struct mount_spec *mounts;
	size_t mount_count;
	int namespaces; /* CLONE_NEW... */
	unsigned long root_propagation; /* MS_... of linux.rootfsPropagation */
	struct device_spec *devices;
	size_t device_count;
	struct sysctl_spec *sysctls;
	size_t sysctl_count;
	int64_t pids_limit; /* 0: not given, less: none */
	const char **masked_paths; /* both end with NULL */
	const char **readonly_paths;
};

/* Reads a bundle's config.json; fails with a message that names the member. */
void spec_load(struct spec *spec, const char *path);

#endif
