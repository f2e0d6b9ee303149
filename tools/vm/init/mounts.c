#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"

/*
 * All of this uses the mount calls that work on descriptors (fsopen, open_tree,
 * move_mount): a target that was looked up inside the root once is the target,
 * and no path is looked up again.
 */

/* What the options of one mount ask for. */
struct mount_plan {
	bool bind, recursive_bind;
	struct mount_attr attributes;           /* of this mount */
	struct mount_attr recursive_attributes; /* of it and all below */
	unsigned int propagation, recursive_propagation;
	const char **data; /* what is left for the file system; ends with NULL */
};

/* An option that sets or clears an attribute of the mount. */
static const struct {
	const char *name;
	unsigned int attribute;
	bool clear;
} attribute_options[] = {
	{"ro", MOUNT_ATTR_RDONLY, false},
	{"rw", MOUNT_ATTR_RDONLY, true},
	{"nosuid", MOUNT_ATTR_NOSUID, false},
	{"suid", MOUNT_ATTR_NOSUID, true},
	{"nodev", MOUNT_ATTR_NODEV, false},
	{"dev", MOUNT_ATTR_NODEV, true},
	{"noexec", MOUNT_ATTR_NOEXEC, false},
	{"exec", MOUNT_ATTR_NOEXEC, true},
	{"nodiratime", MOUNT_ATTR_NODIRATIME, false},
	{"diratime", MOUNT_ATTR_NODIRATIME, true},
	{"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, false},
	{"symfollow", MOUNT_ATTR_NOSYMFOLLOW, true},
};

/* How access times are kept: one of several values of one field. */
static const struct {
	const char *name;
	unsigned int value;
} atime_options[] = {
	{"relatime", MOUNT_ATTR_RELATIME},
	{"norelatime", MOUNT_ATTR_STRICTATIME},
	{"noatime", MOUNT_ATTR_NOATIME},
	{"atime", MOUNT_ATTR_RELATIME},
	{"strictatime", MOUNT_ATTR_STRICTATIME},
	{"nostrictatime", MOUNT_ATTR_RELATIME},
};

static const struct {
	const char *name;
	unsigned int flag;
} propagation_options[] = {
	{"private", MS_PRIVATE},
	{"shared", MS_SHARED},
	{"slave", MS_SLAVE},
	{"unbindable", MS_UNBINDABLE},
};

/* Options of mount(8) that mean nothing to a kernel. */
static const char *const void_options[] = {
	"defaults", "async", "nomand", "noiversion", "loud", "nolazytime",
	"tmpcopyup",
};

#define EACH(table, i) size_t i = 0; i < sizeof(table) / sizeof *(table); i++

static bool set_attribute(struct mount_attr *attributes, const char *option)
{
	for (EACH(attribute_options, i)) {
		if (strcmp(option, attribute_options[i].name) != 0)
			continue;
		unsigned int attribute = attribute_options[i].attribute;
		if (attribute_options[i].clear) {
			attributes->attr_set &= ~(__u64)attribute;
			attributes->attr_clr |= attribute;
		} else {
			attributes->attr_clr &= ~(__u64)attribute;
			attributes->attr_set |= attribute;
		}
		return true;
	}
	for (EACH(atime_options, i)) {
		if (strcmp(option, atime_options[i].name) != 0)
			continue;
		attributes->attr_set &= ~(__u64)MOUNT_ATTR__ATIME;
		attributes->attr_set |= atime_options[i].value;
		attributes->attr_clr |= MOUNT_ATTR__ATIME;
		return true;
	}
	return false;
}

static unsigned int propagation_flag(const char *option)
{
	for (EACH(propagation_options, i))
		if (strcmp(option, propagation_options[i].name) == 0)
			return propagation_options[i].flag;
	return 0;
}

static bool is_void_option(const char *option)
{
	for (EACH(void_options, i))
		if (strcmp(option, void_options[i]) == 0)
			return true;
	return false;
}

static void plan_option(struct mount_plan *plan, const char *option,
			size_t *data_count)
{
	unsigned int flag;

	if (strcmp(option, "bind") == 0) {
		plan->bind = true;
	} else if (strcmp(option, "rbind") == 0) {
		plan->bind = plan->recursive_bind = true;
	} else if (strcmp(option, "idmap") == 0 ||
		   strcmp(option, "ridmap") == 0) {
		fail(CODE_ENGINE, "config.json: mapped mounts are not supported");
	} else if (is_void_option(option) ||
		   set_attribute(&plan->attributes, option)) {
		/* done */
	} else if ((flag = propagation_flag(option))) {
		plan->propagation = flag;
	} else if (option[0] == 'r' &&
		   set_attribute(&plan->recursive_attributes, option + 1)) {
		/* "rro" and so on: for all mounts below, too */
	} else if (option[0] == 'r' && (flag = propagation_flag(option + 1))) {
		plan->recursive_propagation = flag;
	} else {
		plan->data[(*data_count)++] = option;
	}
}

static struct mount_plan make_plan(const struct mount_spec *spec)
{
	struct mount_plan plan = {0};
	size_t count = 0, data_count = 0;

	while (spec->options[count])
		count++;
	plan.data = calloc(count + 1, sizeof *plan.data);
	if (!plan.data)
		fail(CODE_ENGINE, "out of memory");
	for (size_t i = 0; i < count; i++)
		plan_option(&plan, spec->options[i], &data_count);
	if (spec->type && strcmp(spec->type, "bind") == 0)
		plan.bind = true;
	return plan;
}

static _Noreturn void fail_mount(const struct mount_spec *spec,
				 const char *step)
{
	fail_errno(CODE_ENGINE, "mount %s: %s", spec->destination, step);
}

/* The kernel's own words about a file system's option, where it has any. */
static _Noreturn void fail_option(const struct mount_spec *spec, int context,
				  const char *option)
{
	int error = errno;
	char words[256];
	ssize_t length = read(context, words, sizeof words - 1);

	if (length > 2) {
		words[length] = '\0';
		words[strcspn(words, "\n")] = '\0';
		fail(CODE_ENGINE, "mount %s: %s", spec->destination, words + 2);
	}
	errno = error;
	fail_errno(CODE_ENGINE, "mount %s: option \"%s\"", spec->destination,
		   option);
}

static void configure(const struct mount_spec *spec, int context,
		      const char *option)
{
	int result;
	const char *equals = strchr(option, '=');

	if (equals) {
		char *key = strndup(option, (size_t)(equals - option));
		result = fsconfig(context, FSCONFIG_SET_STRING, key, equals + 1,
				  0);
		free(key);
	} else {
		result = fsconfig(context, FSCONFIG_SET_FLAG, option, NULL, 0);
	}
	if (result < 0)
		fail_option(spec, context, option);
}

static int make_file_system(const struct mount_spec *spec,
			    const struct mount_plan *plan)
{
	const char *type = spec->type ? spec->type : "";

	/* There is only the unified hierarchy here, whatever it is called. */
	if (strcmp(type, "cgroup") == 0)
		type = "cgroup2";
	int context = fsopen(type, FSOPEN_CLOEXEC);
	if (context < 0)
		fail_errno(CODE_ENGINE, "mount %s: file system type \"%s\"",
			   spec->destination, type);
	if (spec->source && *spec->source &&
	    fsconfig(context, FSCONFIG_SET_STRING, "source", spec->source, 0) < 0)
		fail_option(spec, context, "source");
	for (const char **option = plan->data; *option; option++)
		configure(spec, context, *option);
	if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		fail_option(spec, context, "create");
	int tree = fsmount(context, FSMOUNT_CLOEXEC, 0);
	if (tree < 0)
		fail_mount(spec, "fsmount");
	close(context);
	return tree;
}

static int clone_tree(const struct mount_spec *spec,
		      const struct mount_plan *plan)
{
	unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;

	if (!spec->source || !*spec->source)
		fail(CODE_ENGINE, "mount %s: no source", spec->destination);
	if (plan->recursive_bind)
		flags |= AT_RECURSIVE;
	int tree = open_tree(AT_FDCWD, spec->source, flags);
	if (tree < 0)
		fail_mount(spec, spec->source);
	return tree;
}

static void set_attributes(const struct mount_spec *spec, int tree,
			   const struct mount_plan *plan)
{
	struct mount_attr own = plan->attributes;
	struct mount_attr recursive = plan->recursive_attributes;

	own.propagation = plan->propagation;
	recursive.propagation = plan->recursive_propagation;
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &own, sizeof own) < 0)
		fail_mount(spec, "options");
	if ((recursive.attr_set || recursive.attr_clr || recursive.propagation) &&
	    mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &recursive,
			  sizeof recursive) < 0)
		fail_mount(spec, "options");
}

static bool attach(int tree, int target)
{
	return move_mount(tree, "", target, "",
			  MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0;
}

static enum entry_kind kind_of(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && !S_ISDIR(status.st_mode)
		       ? ENTRY_FILE
		       : ENTRY_DIRECTORY;
}

void mount_spec_apply(int root, const struct mount_spec *spec)
{
	struct mount_plan plan = make_plan(spec);
	int tree = plan.bind ? clone_tree(spec, &plan)
			     : make_file_system(spec, &plan);

	set_attributes(spec, tree, &plan);
	int target = create_in(root, spec->destination, kind_of(tree));
	if (target < 0)
		fail_mount(spec, "mount point");
	if (!attach(tree, target))
		fail_mount(spec, "attach");
	close(target);
	close(tree);
	free(plan.data);
}

void mount_bind_over(int source, int target)
{
	int tree = open_tree(source, "",
			     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

	if (tree < 0 || !attach(tree, target))
		fail_errno(CODE_ENGINE, "bind mount");
	close(tree);
}

static void mount_empty_directory(int target, const char *path)
{
	const char *no_options[] = {NULL};
	struct mount_spec spec = {
		.destination = path, .type = "tmpfs", .options = no_options};
	struct mount_plan plan = {
		.data = no_options,
		.attributes = {.attr_set = MOUNT_ATTR_RDONLY},
	};
	int tree = make_file_system(&spec, &plan);

	set_attributes(&spec, tree, &plan);
	if (!attach(tree, target))
		fail_mount(&spec, "mask");
	close(tree);
}

/* A path of these lists need not exist: -1 then. */
static int open_optional(const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
		fail_errno(CODE_ENGINE, "%s", path);
	return fd;
}

void mount_mask_path(const char *path)
{
	int target = open_optional(path);

	if (target < 0)
		return;
	if (kind_of(target) == ENTRY_DIRECTORY) {
		mount_empty_directory(target, path);
	} else {
		int null = open("/dev/null", O_PATH | O_CLOEXEC);
		if (null < 0)
			fail_errno(CODE_ENGINE, "/dev/null");
		mount_bind_over(null, target);
		close(null);
	}
	close(target);
}

void mount_readonly_path(const char *path)
{
	struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
	int target = open_optional(path);

	if (target < 0)
		return;
	int tree = open_tree(target, "",
			     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
				     AT_RECURSIVE);
	if (tree < 0 ||
	    mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
			  sizeof attributes) < 0 ||
	    !attach(tree, target))
		fail_errno(CODE_ENGINE, "make %s read-only", path);
	close(tree);
	close(target);
}
