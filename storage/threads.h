/* threads.h - work spread over threads, natively. Pages have no threads. */
#ifndef STORAGE_THREADS_H
#define STORAGE_THREADS_H

#include "memory/status.h"

enum { THREADS_MAX = 256 };

/* Processors that this program may use, 1 to THREADS_MAX. */
uint32_t threads_available(void);

/* One piece of the work. thread: below the number of threads, for memory that is each thread's
 * own. e belongs to the call. */
typedef doppler_status (*parallel_fn)(error *e, uint64_t index, uint32_t thread, void *user);

/* Calls fn once for every index below count, on at most `threads` threads (0: all that are
 * available), in ascending order of their starts; returns when all calls have. After a failure no
 * further index is started, and of several failures the one of the lowest index is reported: the
 * same as with one thread. */
doppler_status parallel_for(error *e, uint32_t threads, uint64_t count, parallel_fn fn,
                            void *user);

#endif
