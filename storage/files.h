/* files.h - byte ranges of files on disk, and folders that appear whole or not at all. Failures
 * are IO with the path and the reason. */
#ifndef STORAGE_FILES_H
#define STORAGE_FILES_H

#include "memory/status.h"

/* Zero-initialise; storage_close accepts a closed or zeroed one. */
typedef struct storage_file {
    char *path;                  /* owned; NULL when closed */
    int descriptor;
    uint64_t bytes;              /* when it was opened for reading; so is the next */
    int64_t modified_ns;         /* since 1970 */
} storage_file;

doppler_status storage_open(error *e, storage_file *f, const char *folder, const char *name);
/* All of the range, or a failure. */
doppler_status storage_read(error *e, const storage_file *f, uint64_t offset, void *to,
                            size_t bytes);
void storage_close(storage_file *f);
bool storage_exists(const char *folder, const char *name);

/* A folder, or a single file, being written as TARGET.partial and renamed at the end. */
typedef struct staging {
    char *target, *partial;      /* owned */
    bool made, single;
} staging;

/* TARGET must not exist, or be an empty folder. What an earlier run left as TARGET.partial is
 * removed if ours() knows every file in it. staging_free in any case. */
doppler_status staging_open(error *e, staging *s, const char *target,
                            bool (*ours)(const char *name));
/* The same for a single file, whose name to the functions below is "". */
doppler_status staging_open_file(error *e, staging *s, const char *target);
/* For a folder, but what an earlier run left stays; *found: there is something. staging_free in any
 * case; it stays beyond that, too, unless it is committed or replaced by staging_open. */
doppler_status staging_resume(error *e, staging *s, const char *target, bool *found);
/* At offset of a file, which is made if need be. These three may be called by several threads. */
doppler_status staging_write(error *e, const staging *s, const char *name, uint64_t offset,
                             const void *data, size_t bytes);
doppler_status staging_read(error *e, const staging *s, const char *name, uint64_t offset,
                            void *to, size_t bytes);
/* Waits until what was written of a file is on the disk. */
doppler_status staging_sync(error *e, const staging *s, const char *name);
doppler_status staging_remove(error *e, const staging *s, const char *name);
/* Everything is on the disk, then the folder or file gets its name. */
doppler_status staging_commit(error *e, staging *s);
/* Leaves TARGET.partial to staging_resume of another run. */
void staging_keep(staging *s);
/* Removes what was neither committed nor kept. */
void staging_free(staging *s);

#endif
