/* package.h - an RDRR package's manifest, read from its folder. */
#ifndef TOOLS_PACKAGE_H
#define TOOLS_PACKAGE_H

#include "loader/manifest.h"

typedef struct package {
    const char *folder;                   /* borrowed */
    manifest m;
    uint64_t manifest_bytes;
    uint8_t id[RDRR_HASH_BYTES];          /* SHA-256 of the manifest */
} package;

/* package_close whether it succeeded or not. */
doppler_status package_open(error *e, package *p, const char *folder);
void package_close(package *p);

#endif
