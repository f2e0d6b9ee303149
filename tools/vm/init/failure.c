#include "failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static failure_handler *current_handler;
static const char *current_stage = "start";

void failure_set_handler(failure_handler *handler)
{
	current_handler = handler;
}

void failure_set_stage(const char *stage)
{
	current_stage = stage;
}

static _Noreturn void report(int code, const char *message)
{
	if (current_handler)
		current_handler(current_stage, code, message);
	_exit(code);
}

void fail(int code, const char *format, ...)
{
	char message[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	report(code, message);
}

void fail_errno(int code, const char *format, ...)
{
	int error = errno;
	char message[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	size_t length = strlen(message);
	snprintf(message + length, sizeof message - length, ": %s",
		 strerror(error));
	report(code, message);
}
