#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"
#include "interpreters.h"

static void set_limits(const struct process_spec *process)
{
	for (size_t i = 0; i < process->limit_count; i++)
		if (prlimit64(0, process->limits[i].resource,
			      &process->limits[i].limit, NULL) < 0)
			fail_errno(CODE_ENGINE, "set a resource limit");
}

static void drop_bounding_set(uint64_t keep)
{
	for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
		if (!(keep >> capability & 1) &&
		    prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 &&
		    errno != EINVAL)
			fail_errno(CODE_ENGINE, "drop capabilities");
}

static void set_capabilities(const struct capabilities_spec *wanted)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++) {
		data[i].effective = (uint32_t)(wanted->effective >> 32 * i);
		data[i].permitted = (uint32_t)(wanted->permitted >> 32 * i);
		data[i].inheritable = (uint32_t)(wanted->inheritable >> 32 * i);
	}
	if (syscall(SYS_capset, &header, data) < 0)
		fail_errno(CODE_ENGINE, "set capabilities");
	/* Only what is also permitted and inheritable can be ambient. */
	uint64_t ambient =
		wanted->ambient & wanted->permitted & wanted->inheritable;
	for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
		if (ambient >> capability & 1 &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0,
			  0) < 0)
			fail_errno(CODE_ENGINE, "set ambient capabilities");
}

static void set_user(const struct process_spec *process)
{
	if (setgroups(process->group_count, process->groups) < 0 ||
	    setresgid(process->gid, process->gid, process->gid) < 0 ||
	    setresuid(process->uid, process->uid, process->uid) < 0)
		fail_errno(CODE_ENGINE, "set the user and groups");
}

static void set_identity(const struct process_spec *process)
{
	const struct capabilities_spec *capabilities = &process->capabilities;

	if (capabilities->present) {
		drop_bounding_set(capabilities->bounding);
		/* Or the change of user would clear the permitted ones. */
		if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
			fail_errno(CODE_ENGINE, "keep capabilities");
	}
	set_user(process);
	if (capabilities->present) {
		prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
		set_capabilities(capabilities);
	}
	if (process->no_new_privileges &&
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fail_errno(CODE_ENGINE, "set no_new_privs");
}

/* The user's home directory in the image's /etc/passwd, or "/". */
static char *home_directory(uid_t uid)
{
	/*
	 * Not getpwuid(): statically linked, it would load the name service
	 * modules that the image names.
	 */
	char *home = NULL;
	struct passwd *entry;
	FILE *file = fopen("/etc/passwd", "re");

	while (file && !home && (entry = fgetpwent(file)))
		if (entry->pw_uid == uid && *entry->pw_dir)
			home = strdup(entry->pw_dir);
	if (file)
		fclose(file);
	return home ? home : strdup("/");
}

static const char *find_variable(const char **env, const char *name)
{
	size_t length = strlen(name);

	for (; *env; env++)
		if (strncmp(*env, name, length) == 0 && (*env)[length] == '=')
			return *env + length + 1;
	return NULL;
}

/* The environment, with HOME where the image does not set it. */
static const char **complete_environment(const struct process_spec *process)
{
	size_t count = 0;
	const char *home = find_variable(process->env, "HOME");

	if (home && *home)
		return process->env;
	while (process->env[count])
		count++;
	const char **env = calloc(count + 2, sizeof *env);
	if (!env)
		fail(CODE_ENGINE, "out of memory");
	size_t used = 0;
	for (size_t i = 0; i < count; i++)
		if (strncmp(process->env[i], "HOME=", 5) != 0)
			env[used++] = process->env[i];
	env[used] = format_string("HOME=%s", home_directory(process->uid));
	return env;
}

/* Whether a path is a file that may be executed; else errno says why not. */
static bool is_executable(const char *path)
{
	struct stat status;

	if (stat(path, &status) < 0)
		return false;
	if (S_ISDIR(status.st_mode)) {
		errno = EISDIR;
		return false;
	}
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0;
}

static _Noreturn void fail_lookup(const char *program, const char *reason)
{
	if (errno == ENOENT || errno == ENOTDIR)
		fail(CODE_NOT_FOUND, "exec: \"%s\": %s", program, reason);
	fail(CODE_NOT_EXECUTABLE, "exec: \"%s\": %s", program,
	     errno == EISDIR ? "is a directory" : "permission denied");
}

static const char *find_program(const char *program, const char *path)
{
	static const char not_found[] = "executable file not found in $PATH";
	bool denied = false;

	if (strchr(program, '/')) {
		if (!is_executable(program))
			fail_lookup(program, "no such file or directory");
		return program;
	}
	while (path && *program) {
		const char *end = strchrnul(path, ':');
		char *candidate =
			end == path ? format_string("./%s", program)
				    : format_string("%.*s/%s", (int)(end - path),
						    path, program);
		if (is_executable(candidate))
			return candidate;
		denied |= errno == EACCES;
		free(candidate);
		path = *end ? end + 1 : NULL;
	}
	errno = denied ? EACCES : ENOENT;
	fail_lookup(program, not_found);
}

void process_execute(const struct process_spec *process)
{
	const char **env = complete_environment(process);

	set_limits(process);
	/*
	 * As root when that works, since the user need not be able to enter
	 * each directory on the way; else as the user.
	 */
	bool entered = chdir(process->cwd) == 0;
	set_identity(process);
	if (!entered && chdir(process->cwd) < 0)
		fail_errno(CODE_NOT_EXECUTABLE, "chdir to \"%s\"", process->cwd);
	umask(process->umask);

	const char *program =
		find_program(process->args[0], find_variable(env, "PATH"));
	execve(program, (char *const *)process->args, (char *const *)env);
	if (errno == ENOEXEC)
		fail(CODE_NOT_EXECUTABLE, "exec %s: exec format error: %s",
		     program, interpreters_explain(program));
	fail_errno(errno == ENOENT ? CODE_NOT_FOUND : CODE_NOT_EXECUTABLE,
		   "exec %s", program);
}
