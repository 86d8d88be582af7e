/* syncer.h - sends what was written of a folder's files to the disk while others go on: the disk
 * works meanwhile, and the wait at the end is short. */
#ifndef STORAGE_SYNCER_H
#define STORAGE_SYNCER_H

#include "storage/files.h"

typedef struct syncer syncer;

/* s is borrowed until syncer_end. NULL where there is no thread to be had: all is done at the
 * end then. */
syncer *syncer_start(const staging *s);
/* Returns at once; may be called by several threads. name lives until syncer_end. */
void syncer_ask(syncer *y, const char *name);
/* Waits for what was asked; the first failure. y may be NULL. */
doppler_status syncer_end(error *e, syncer *y);

#endif
