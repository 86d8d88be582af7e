/* local.h - a checkpoint on this machine's disk. */
#ifndef TOOLS_LOCAL_H
#define TOOLS_LOCAL_H

#include "loader/checkpoint.h"
#include "storage/files.h"

/* path: a folder or a file, as checkpoint_open has them. checkpoint_free whether it succeeded or
 * not. */
doppler_status local_open(error *e, checkpoint *c, const char *path);
/* Whether a folder holds a package of doppler-gpu, not one of ours. */
bool local_is_doppler_gpu(const char *folder);

/* Opens every data file, each of the size that it had; files [data_count] are zeroed. */
doppler_status local_open_data(error *e, const checkpoint *c, storage_file *files);
/* A range of a source's bytes. */
doppler_status local_read(error *e, const checkpoint *c, const storage_file *files,
                          uint32_t source_file, uint64_t offset, void *to, size_t bytes);

#endif
