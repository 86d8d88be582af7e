/* manifest_read.h - what the files that read manifest.json share. Nothing is assumed: a field that
 * is missing, unknown or out of range is refused by name, and what two fields say about one thing
 * is compared. */
#ifndef LOADER_MANIFEST_READ_H
#define LOADER_MANIFEST_READ_H

#include "loader/manifest.h"
#include "memory/json.h"

enum { WHAT_BYTES = 64 };

/* One reading: the tree is dropped at the end, what the manifest keeps is copied. */
typedef struct manifest_reading {
    error *e;
    manifest *m;
    arena tree;                  /* owned */
    bool newer;                  /* a minor version after ours: unknown fields are passed over */
} manifest_reading;

doppler_status manifest_no_memory(manifest_reading *r);
/* A member of this type; what names the object in messages. */
doppler_status manifest_member(manifest_reading *r, const char *what, const json *object,
                               const char *key, json_type type, const json **out);
doppler_status manifest_bool(manifest_reading *r, const char *what, const json *object,
                             const char *key, bool *out);
/* A copy that the manifest keeps. */
doppler_status manifest_text(manifest_reading *r, const char *what, const json *object,
                             const char *key, const char **out);
/* Refuses members that names, a NULL-terminated list, does not hold. "x-" fields are free. */
doppler_status manifest_only(manifest_reading *r, const char *what, const json *object,
                             const char *const *names);

/* "model" and "tokens"; then the whole model has been checked. */
doppler_status manifest_read_model(manifest_reading *r, const json *root);
/* "tensors", after the model and the shards. */
doppler_status manifest_read_tensors(manifest_reading *r, const json *root);

#endif
