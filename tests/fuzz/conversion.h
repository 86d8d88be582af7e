/* conversion.h - a whole conversion in memory: every read lies in the source's data, every file is
 * written without gaps, and the manifest that comes out describes what was written and is one that
 * the loader takes. */
#ifndef TESTS_FUZZ_CONVERSION_H
#define TESTS_FUZZ_CONVERSION_H

#include "loader/convert.h"
#include "tests/fuzz/fuzz.h"

/* One source file whose data is a few bytes over and over. */
typedef struct fuzz_source {
    const uint8_t *pattern;
    size_t pattern_bytes;
    uint64_t data, file_bytes;   /* where the data starts; of the file */
} fuzz_source;

void fuzz_read(const fuzz_source *c, uint64_t offset, uint8_t *to, size_t bytes);
void fuzz_conversion(const convert_input *input, const fuzz_source *c);

#endif
