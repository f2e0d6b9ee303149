/*
 * What a container has changed of its image, as a layer: a tar archive with
 * whiteouts (OCI image specification, layer.md), sent to the host.
 */
#ifndef CHANGES_H
#define CHANGES_H

#include <stdint.h>

#include "spec.h"

/*
 * Sends it, and then {"type": "archived", "left_out": N}: so many files cannot
 * be in a layer; or an error whose stage is "archive", also where the archive
 * would have more than so many bytes.  Sockets and what is
 * there only for our own mounts is not counted.  The container stands still
 * meanwhile.
 */
void changes_send(const struct spec *spec, uint64_t limit);

#endif
