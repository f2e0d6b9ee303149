/* From the container's first process to the image's program. */
#ifndef PROCESS_H
#define PROCESS_H

#include "spec.h"

/*
 * Gives up what the spec does not grant (limits, users, capabilities) and
 * executes the program.  The caller stands in the container's root.
 */
_Noreturn void process_execute(const struct process_spec *process);

#endif
