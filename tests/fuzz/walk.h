/* walk.h - drives a loader to its end on a device that allocates nothing, and checks each request
 * against the files that the manifest names and the buffers that the plan made. */
#ifndef TESTS_FUZZ_WALK_H
#define TESTS_FUZZ_WALK_H

#include "gpu/gpu.h"
#include "loader/manifest.h"
#include "tests/fuzz/fuzz.h"

/* WebGPU's default limits. */
extern const gpu_limits walk_limits;

/* m has been parsed. order: which requests are answered when. Plans too large to walk within a
 * test are only planned. */
void walk_loader(const manifest *m, const gpu_limits *limits, fuzz_input order);

#endif
