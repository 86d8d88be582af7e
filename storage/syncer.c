/* syncer.c - see syncer.h. */
#include "storage/syncer.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Names that wait; what finds no room is left to staging_commit. */
enum { ROOM = 16 };

struct syncer {
    const staging *files;
    pthread_t thread;
    pthread_cond_t changed;
    pthread_mutex_t lock;        /* of everything below */
    const char *names[ROOM];
    uint32_t count;
    bool ended;
    error failure;
};

static void *work(void *of) {
    syncer *y = of;
    pthread_mutex_lock(&y->lock);
    for (;;) {
        while (!y->count && !y->ended) pthread_cond_wait(&y->changed, &y->lock);
        if (!y->count) break;
        const char *name = y->names[0];
        memmove(y->names, y->names + 1, --y->count * sizeof *y->names);
        pthread_mutex_unlock(&y->lock);
        error e = {0};
        e.status = staging_sync(&e, y->files, name);
        pthread_mutex_lock(&y->lock);
        if (e.status && !y->failure.status) y->failure = e;
    }
    pthread_mutex_unlock(&y->lock);
    return NULL;
}

static void destroy(syncer *y) {
    pthread_cond_destroy(&y->changed);
    pthread_mutex_destroy(&y->lock);
    free(y);
}

syncer *syncer_start(const staging *s) {
    syncer *y = calloc(1, sizeof *y);
    if (!y) return NULL;
    y->files = s;
    pthread_mutex_init(&y->lock, NULL);
    pthread_cond_init(&y->changed, NULL);
    if (!pthread_create(&y->thread, NULL, work, y)) return y;
    destroy(y);
    return NULL;
}

void syncer_ask(syncer *y, const char *name) {
    if (!y) return;
    pthread_mutex_lock(&y->lock);
    bool waits = false;
    for (uint32_t i = 0; i < y->count; i++) waits = waits || y->names[i] == name;
    if (!waits && y->count < ROOM) y->names[y->count++] = name;
    pthread_cond_signal(&y->changed);
    pthread_mutex_unlock(&y->lock);
}

doppler_status syncer_end(error *e, syncer *y) {
    if (!y) return DOPPLER_OK;
    pthread_mutex_lock(&y->lock);
    y->ended = true;
    pthread_cond_signal(&y->changed);
    pthread_mutex_unlock(&y->lock);
    pthread_join(y->thread, NULL);
    doppler_status status = y->failure.status;
    if (status) *e = y->failure;
    destroy(y);
    return status;
}
