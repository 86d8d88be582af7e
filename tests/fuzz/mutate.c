/* mutate.c - changes JSON by whole values, wherever it stands in an input: random bytes rarely get
 * past a parser, a number that is too large in the right place does. Half of the changes, and all
 * of those of inputs without values, are libFuzzer's own. */
#include "tests/fuzz/fuzz.h"
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t capacity);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t capacity, unsigned int seed);

enum { SCRATCH = 1 << 16 };

static const char *const values[] = {
    "0", "1", "-1", "2", "3", "8", "12", "16", "31", "32", "33", "64", "127", "256", "1024", "4095",
    "4096", "8192", "65535", "65536", "1048576", "2147483647", "2147483648", "4294967295",
    "4294967296", "9007199254740993", "9223372036854775807", "18446744073709551615", "0.5", "1e300",
    "1e-45", "-0", "null", "true", "false", "\"\"", "\"a\"", "\"\\u0000\"", "[]", "{}", "[0,0]"};

static uint32_t draw(uint32_t *seed, size_t below) {
    *seed = *seed * 1664525 + 1013904223;
    return (uint32_t)((*seed >> 8) % (below ? below : 1));
}

/* Where the value that starts at `at` ends: at the next comma or bracket outside of it. */
static size_t value_end(const uint8_t *data, size_t bytes, size_t at) {
    size_t depth = 0;
    for (bool string = false; at < bytes; at++) {
        uint8_t c = data[at];
        if (string && c == '\\') at++;
        else if (c == '"') string = !string;
        else if (string) continue;
        else if (c == '[' || c == '{') depth++;
        else if (!depth && (c == ',' || c == ']' || c == '}' || !c)) break;
        else if (c == ']' || c == '}') depth--;
    }
    return at < bytes ? at : bytes;
}

/* A random value or member of the input; false: there is none. */
static bool choose(const uint8_t *data, size_t bytes, uint32_t *seed, size_t *from, size_t *to) {
    static const char starts[] = ":[,{";
    size_t first = draw(seed, bytes);
    for (size_t i = 0; i < bytes; i++) {
        size_t at = (first + i) % bytes;
        if (!data[at] || !strchr(starts, data[at])) continue;
        *from = at + 1;
        *to = value_end(data, bytes, at + 1);
        return true;
    }
    return false;
}

/* data[from, to) becomes with[0, count); the new size, or the old one where there is no room. */
static size_t splice(uint8_t *data, size_t bytes, size_t capacity, size_t from, size_t to,
                     const void *with, size_t count) {
    if (bytes - (to - from) + count > capacity) return bytes;
    memmove(data + from + count, data + to, bytes - to);
    memcpy(data + from, with, count);
    return bytes - (to - from) + count;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t capacity, unsigned int seed) {
    static uint8_t scratch[SCRATCH];
    uint32_t random = seed;
    size_t from, to, source, source_end;
    if (draw(&random, 2) || !choose(data, bytes, &random, &from, &to) ||
        !choose(data, bytes, &random, &source, &source_end))
        return LLVMFuzzerMutate(data, bytes, capacity);
    size_t count = source_end - source < SCRATCH - 1 ? source_end - source : 0;
    switch (draw(&random, 4)) {
    case 0:                              /* left out, with its comma */
        return splice(data, bytes, capacity, from, to + (to < bytes && data[to] == ','), "", 0);
    case 1:                              /* another one in front */
        memcpy(scratch, data + source, count);
        scratch[count] = ',';
        return splice(data, bytes, capacity, from, from, scratch, count + 1);
    case 2:                              /* another one instead */
        memcpy(scratch, data + source, count);
        return splice(data, bytes, capacity, from, to, scratch, count);
    default: {
        const char *value = values[draw(&random, sizeof values / sizeof *values)];
        return splice(data, bytes, capacity, from, to, value, strlen(value));
    }
    }
}
