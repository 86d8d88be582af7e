/* doppler_gpu_read.h - the files of a doppler-gpu package: hashes checked, tensors read row by
 * row, however they lie in them. */
#ifndef TOOLS_DOPPLER_GPU_READ_H
#define TOOLS_DOPPLER_GPU_READ_H

#include "bridge/doppler_gpu.h"
#include "storage/files.h"

/* Every shard against its SHA-256, where it has one. */
doppler_status doppler_gpu_verify(error *e, const doppler_gpu *p, const storage_file *files,
                                  bool quiet);
/* Bytes of tensor `index` as a source_tensor has them (bridge/doppler_gpu.h). Of a matrix that is
 * not in order, whole rows only. */
doppler_status doppler_gpu_read(error *e, const doppler_gpu *p, const storage_file *files,
                                uint32_t index, uint64_t offset, void *to, size_t bytes);

#endif
