/*
 * The one way an error ends things.
 *
 * Nothing in here can be half done: a container either starts or it does not.
 * So no function returns an error to be passed up; it calls fail(), which tells
 * the host (from init) or init (from the container's process) and ends.
 */
#ifndef FAILURE_H
#define FAILURE_H

/* The exit codes of docker. */
enum {
	CODE_ENGINE = 125,         /* the engine itself, here: the guest */
	CODE_NOT_EXECUTABLE = 126, /* found, but cannot be run */
	CODE_NOT_FOUND = 127,      /* not found */
};

typedef void failure_handler(const char *stage, int code, const char *message);

/* What fail() calls; it ends the process afterwards, should it return. */
void failure_set_handler(failure_handler *handler);

/* What is being done from here on: "mount", "bundle" or "start". */
void failure_set_stage(const char *stage);

_Noreturn void fail(int code, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The same, followed by ": " and what errno says. */
_Noreturn void fail_errno(int code, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
