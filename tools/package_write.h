/* package_write.h - the host side of loader/convert.h: reads, writes and hashes what it is told to,
 * so that a package appears whole or not at all. */
#ifndef TOOLS_PACKAGE_WRITE_H
#define TOOLS_PACKAGE_WRITE_H

#include "loader/convert.h"

/* Brings step->bytes of source file step->source, from step->offset on, to step->to. */
typedef doppler_status (*read_source_fn)(error *e, void *user, const convert_step *step);

/* Makes the package in the folder out, which must not exist. Unless quiet, shows progress on
 * stderr and tells at the end what was made. */
doppler_status package_write(error *e, convert *c, const char *out, read_source_fn read,
                             void *user, bool quiet);

#endif
