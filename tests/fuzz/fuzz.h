/* fuzz.h - what fuzz targets share. A target is one function that any bytes may be given to; what
 * must hold whatever they are is an assert. tests/fuzz/run.sh searches for bytes that break one,
 * replay.c tries those that once did, and other seeds, in every `make test`. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* A failure has a one-line message, success none. */
#define FUZZ_CHECK_ERROR(status, e) \
    assert((status) == (e).status && !(status) == !(e).message[0])

/* The input, taken from its front. */
typedef struct fuzz_input { const uint8_t *at, *end; } fuzz_input;

/* The next byte; 0 at the end. */
uint8_t fuzz_u8(fuzz_input *in);
/* Four bytes, little-endian. */
uint32_t fuzz_u32(fuzz_input *in);
/* Bytes up to the next 0, which is skipped, or to the end. */
const char *fuzz_part(fuzz_input *in, size_t *bytes);

#endif
