/* package.h - packages made up for tests: a manifest of any model, sane or not, and a run of the
 * engine on a package whose weights are noise. */
#ifndef TESTS_PACKAGE_H
#define TESTS_PACKAGE_H

#include "loader/manifest.h"

/* A tokenizer.json of one token, "a". */
extern const char package_tokenizer[];

/* Describes a package of the model in *m: every tensor in f32, or in format where rows of its
 * length can be. Nothing is checked; what lies beyond a few thousand shards has no spans. All of it
 * lives in m->memory: manifest_free. False: out of memory. */
bool package_describe(const model_config *model, weight_format format, uint64_t shard_bytes,
                      manifest *m);

/* How to run a session. Zeros: the engine's defaults. */
typedef struct package_session { uint32_t context, chunk; doppler_kv kv; float temperature; }
    package_session;

/* What came of a run, and the last message. */
typedef struct package_result { doppler_status status; char message[256]; } package_result;

/* Loads the package of this manifest on the CPU backend, brings noise for its weights and
 * package_tokenizer, compiled, for its tokenizer, then for each session in turn generates two
 * tokens and scores the prompt. Ends at the first failure; CONTEXT_FULL is none. */
package_result package_run(const char *json, size_t bytes, const package_session *sessions,
                           size_t count);

#endif
