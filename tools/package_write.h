/* package_write.h - the host side of loader/convert.h: reads, writes and hashes what it is told to,
 * on several threads, so that a package appears whole or not at all. */
#ifndef TOOLS_PACKAGE_WRITE_H
#define TOOLS_PACKAGE_WRITE_H

#include "loader/convert.h"

/* Brings step->bytes of source file step->source, from step->offset on, to step->to. Several
 * threads call it at once. */
typedef doppler_status (*read_source_fn)(error *e, void *user, const convert_step *step);

typedef struct package_job {
    const char *out;             /* the folder, which must not exist */
    read_source_fn read;
    void *user;                  /* of read */
    uint32_t threads;            /* 0: as many as there are processors */
    uint64_t memory;             /* at most, for what is being made; 0: 256 MiB */
    bool resume;                 /* goes on with OUT.partial, if there is one of the same plan */
    const char *inputs;          /* what tells these sources from others of the same plan;
                                    NULL: no run of this job is ever resumed */
    bool quiet;
} package_job;

/* Makes the package. Unless quiet, shows progress on stderr and tells at the end what was made.
 * What is done stays in OUT.partial when an interrupt (tools/interrupt.h: CANCELLED) or a failure
 * of storage (IO) comes between, if the job can be resumed. */
doppler_status package_write(error *e, convert *c, const package_job *job);

#endif
