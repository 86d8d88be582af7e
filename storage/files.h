/* files.h - byte ranges of files on disk, and folders that appear whole or not at all. Failures
 * are IO with the path and the reason. */
#ifndef STORAGE_FILES_H
#define STORAGE_FILES_H

#include "memory/status.h"

/* Zero-initialise; storage_close accepts a closed or zeroed one. */
typedef struct storage_file {
    char *path;                  /* owned; NULL when closed */
    int descriptor;
    uint64_t bytes;              /* when it was opened for reading */
} storage_file;

doppler_status storage_open(error *e, storage_file *f, const char *folder, const char *name);
/* All of the range, or a failure. */
doppler_status storage_read(error *e, const storage_file *f, uint64_t offset, void *to,
                            size_t bytes);
void storage_close(storage_file *f);
bool storage_exists(const char *folder, const char *name);

/* A folder, or a single file, being written under the name TARGET.partial and renamed at the end.
 * What an earlier run left there is removed, a folder only if ours() knows every file in it. */
typedef struct staging {
    char *target, *partial;      /* owned */
    storage_file file;           /* being written */
    const char *name;            /* of file; borrowed; "" of a single file */
    bool made, single;
} staging;

/* TARGET must not exist, or be an empty folder. staging_free in any case. */
doppler_status staging_open(error *e, staging *s, const char *target,
                            bool (*ours)(const char *name));
/* The same for a single file, whose name to staging_write is "". */
doppler_status staging_open_file(error *e, staging *s, const char *target);
/* Writes at offset of a file; a new name closes the file before. name lives until the next. */
doppler_status staging_write(error *e, staging *s, const char *name, uint64_t offset,
                             const void *data, size_t bytes);
/* The folder or file gets its name. */
doppler_status staging_commit(error *e, staging *s);
/* Removes what was not committed. */
void staging_free(staging *s);

#endif
