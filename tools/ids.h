/* ids.h - token ids on the command line. */
#ifndef TOOLS_IDS_H
#define TOOLS_IDS_H

#include "memory/status.h"

/* "1,2,3" to numbers; *ids is malloc'ed, the caller's, also after a failure. Status: BAD_ARGUMENT,
 * NO_MEMORY. */
doppler_status ids_parse(error *e, const char *list, uint32_t **ids, size_t *count);

#endif
