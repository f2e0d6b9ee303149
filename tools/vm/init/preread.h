/* Reading what a container is going to read, so that the kernel has it already. */
#ifndef PREREAD_H
#define PREREAD_H

#include <jansson.h>

/*
 * Looks each path of the container's root file system up, and reads some parts of
 * the file where it is one: an array of {"path": P, "parts": [OFFSET, SIZE, ...]}.
 * That there is no such file is worth to be known, too; nothing is an error.
 */
void preread(const json_t *files);

#endif
