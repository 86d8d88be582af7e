/* host.h - the native host of the engine: opens a package from a folder on the CPU backend, brings
 * the loader its bytes, and polls until callbacks have come. */
#ifndef TOOLS_HOST_H
#define TOOLS_HOST_H

#include "doppler.h"
#include "tools/options.h"

typedef struct host {
    const command *c;            /* borrowed; names the verb in messages */
    doppler *d;
    doppler_model *model;
    doppler_session *session;
    double load_ms;
} host;

/* What --device, --kv, --precision, --context and so on say. Indices are those of the choices. */
typedef struct host_options {
    uint32_t device, kv, precision, context, prefill, limits;
    bool tell_memory;            /* say on stderr what is about to be allocated */
} host_options;

/* The options themselves, for tables of verbs that run a model. */
#define HOST_OPTIONS(o)                                                                        \
    {"device", 0, OPTION_CHOICE, &(o).device, "auto|cpu|gpu",                                  \
     "where to run; gpu needs Node (use ./doppler)", 0, 0},                                    \
    {"kv", 0, OPTION_CHOICE, &(o).kv, "f16|f32|q8_0", "format of the KV cache", 0, 0},         \
    {"precision", 0, OPTION_CHOICE, &(o).precision, "exact|fast",                              \
     "fast permits kernels that round activations", 0, 0},                                     \
    {"context", 0, OPTION_U32, &(o).context, "TOKENS", "KV capacity; default: the model's, "   \
     "at most 8192", 1, 16777216},                                                             \
    {"prefill", 0, OPTION_U32, &(o).prefill, "TOKENS", "most tokens of one step while reading, "\
     "default 512", 1, 16777216},                                                              \
    {"limits", 0, OPTION_CHOICE, &(o).limits, "device|default|1MiB",                           \
     "plan as for a device of WebGPU's default limits, or of 1 MiB bindings", 0, 0}

/* A callback's answer; host_wait polls until it has come. */
typedef struct host_answer { bool done; doppler_status status; } host_answer;
void host_done(doppler_status status, void *answer);
doppler_status host_wait(host *h, host_answer *answer);

/* Loads the package in folder and makes a session. Returns 0, or the exit code after having told
 * the failure. host_close in either case. */
int host_open(host *h, const command *c, const char *folder, const host_options *options);
void host_close(host *h);
/* Tells the engine's last failure; returns exit code 1. */
int host_failed(const host *h, doppler_status status);

double now_ms(void);             /* monotonic */

#endif
