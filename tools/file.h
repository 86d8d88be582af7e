/* file.h - whole files, for command line tools. Failures are IO with the path and the reason. */
#ifndef TOOLS_FILE_H
#define TOOLS_FILE_H

#include "memory/status.h"
#include <stdio.h>

/* Reads a file into malloc'ed memory with a NUL behind it; the caller frees. */
doppler_status file_read(error *e, const char *path, char **data, size_t *bytes);
/* The same for an open stream, to its end; name stands in messages. */
doppler_status file_read_stream(error *e, FILE *stream, const char *name, char **data,
                                size_t *bytes);
/* Writes all or nothing: a temporary file beside path, synced and renamed over it. */
doppler_status file_write(error *e, const char *path, const void *data, size_t bytes);

/* folder/name, malloc'ed; NULL when out of memory. */
char *file_join(const char *folder, const char *name);
bool file_is_folder(const char *path);

#endif
