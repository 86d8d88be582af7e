/* threads.c - see threads.h. The caller's thread works too; a thread that cannot be started is
 * done without. */
#include "storage/threads.h"
#include <pthread.h>
#include <unistd.h>

typedef struct crew {
    pthread_mutex_t lock;        /* of everything below it */
    uint64_t next, count;        /* indices not yet started */
    error failure;
    uint64_t failed_index;
    bool failed;
    parallel_fn fn;
    void *user;
} crew;

typedef struct worker { crew *crew; uint32_t thread; } worker;

uint32_t threads_available(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > THREADS_MAX ? THREADS_MAX : (uint32_t)n;
}

/* The next index; false when there is none. */
static bool claim(crew *c, uint64_t *index) {
    pthread_mutex_lock(&c->lock);
    bool more = !c->failed && c->next < c->count;
    if (more) *index = c->next++;
    pthread_mutex_unlock(&c->lock);
    return more;
}

static void report(crew *c, uint64_t index, const error *e) {
    pthread_mutex_lock(&c->lock);
    if (!c->failed || index < c->failed_index) {
        c->failure = *e;
        c->failed_index = index;
        c->failed = true;
    }
    pthread_mutex_unlock(&c->lock);
}

static void *work(void *of) {
    const worker *w = of;
    uint64_t index;
    while (claim(w->crew, &index)) {
        error e = {0};
        e.status = w->crew->fn(&e, index, w->thread, w->crew->user);
        if (e.status) report(w->crew, index, &e);
    }
    return NULL;
}

doppler_status parallel_for(error *e, uint32_t threads, uint64_t count, parallel_fn fn,
                            void *user) {
    crew c = {.count = count, .fn = fn, .user = user};
    worker workers[THREADS_MAX];
    pthread_t handles[THREADS_MAX];
    uint32_t started = 1;
    if (!threads) threads = threads_available();
    if (threads > THREADS_MAX) threads = THREADS_MAX;
    if (threads > count) threads = count ? (uint32_t)count : 1;
    pthread_mutex_init(&c.lock, NULL);
    for (uint32_t i = 0; i < threads; i++) workers[i] = (worker){&c, i};
    while (started < threads && !pthread_create(&handles[started], NULL, work, &workers[started]))
        started++;
    work(&workers[0]);
    for (uint32_t i = 1; i < started; i++) pthread_join(handles[i], NULL);
    pthread_mutex_destroy(&c.lock);
    if (c.failed) *e = c.failure;
    return c.failure.status;
}
