/*
 * The control channel to the host: one JSON object a line, in both directions,
 * over the second port of the virtio console.  web/vm/machine.js is its other
 * end and lists the messages.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include <jansson.h>
#include <stdbool.h>

/* The ports of the virtio console. */
#define PORT_TERMINAL "/dev/hvc0"
#define PORT_CONTROL "/dev/hvc1"
#define PORT_STDOUT "/dev/hvc2"
#define PORT_STDERR "/dev/hvc3"

/* Opens a port, once it is there, as a plain pipe of bytes: no echo, no translation. */
int port_open(const char *path);

void control_open(void);

/* To poll for incoming messages. */
int control_fd(void);

/* Takes the reference. */
void control_send(json_t *message);

/* Reports a failure; a failure_handler. */
void control_send_failure(const char *stage, int code, const char *message);

/* Reads what has arrived; false when nothing more is to be had now. */
bool control_fill(void);

/* The next complete message as a new reference, or NULL when there is none. */
json_t *control_next(void);

/* Waits for the next message. */
json_t *control_wait(void);

/* Whether a message is of this type. */
bool control_is(const json_t *message, const char *type);

/* An integer member of a message, or the given value when it has none. */
json_int_t control_integer(const json_t *message, const char *name,
			   json_int_t otherwise);

#endif
