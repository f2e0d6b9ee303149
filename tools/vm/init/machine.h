/* What init does for the machine as a whole. */
#ifndef MACHINE_H
#define MACHINE_H

#include <jansson.h>

/* Mounts proc, sys and dev, brings the loopback interface up. */
void machine_prepare(void);

/*
 * Gives free memory back as zeros, which a snapshot leaves out.  Boot leaves
 * several megabytes of the kernel's and initramfs' compressed files there.
 */
void machine_scrub_memory(void);

/*
 * A machine resumed from a snapshot has the snapshot's clock and the snapshot's
 * random numbers: this sets the one and reseeds the other, from "start".
 */
void machine_wake(const json_t *start);

/* Brings up "lo" of the network namespace that the caller is in. */
void machine_loopback_up(void);

/* Stops the machine; does not return. */
_Noreturn void machine_halt(void);

#endif
