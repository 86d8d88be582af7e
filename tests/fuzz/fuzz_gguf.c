/* fuzz_gguf.c - a GGUF file from its first bytes to a package: header, metadata, tokenizer,
 * tensors.
 *
 * Input: target, kind, then the file. Kind odd: the file ends where the input does; else data as
 * long as any small model's follows. Kind / 2: how much of the file is handed over at first. */
#include "bridge/gguf_model.h"
#include "bridge/gguf_tokenizer.h"
#include "tests/fuzz/conversion.h"
#include "tests/fuzz/texts.h"
#include <stdlib.h>
#include <string.h>

enum { MORE_DATA = 1 << 19, MOST_HEADER = 1 << 20 };

/* The file's first bytes: the input, then zeros; exactly as many, so that reading on is seen. */
static uint8_t *first_bytes(fuzz_input in, size_t bytes) {
    size_t there = (size_t)(in.end - in.at);
    uint8_t *copy = calloc(1, bytes + !bytes);
    assert(copy);
    if (there > bytes) there = bytes;
    if (there) memcpy(copy, in.at, there);
    return copy;
}

/* As a host does: more bytes as long as they are asked for. NULL when it is no GGUF file, or one
 * whose header is larger than a test has time for. */
static uint8_t *parse(arena *a, fuzz_input in, uint64_t bytes, uint64_t file_bytes, gguf *g) {
    for (;;) {
        error e = {0};
        uint64_t need = 0;
        uint8_t *data = first_bytes(in, (size_t)bytes);
        doppler_status status = gguf_parse(&e, a, "f", data, (size_t)bytes, file_bytes, g, &need);
        FUZZ_CHECK_ERROR(status, e);
        if (!status && !need) return data;
        free(data);
        if (status || need > MOST_HEADER) return NULL;
        assert(need > bytes && need <= file_bytes);
        bytes = need;
    }
}

static void check_tensors(const gguf *g, uint64_t file_bytes) {
    uint64_t end = g->header_bytes;
    for (uint64_t i = 0; i < g->tensor_count; i++) {
        const gguf_tensor *t = &g->tensors[i];
        assert(t->offset >= end && t->offset % g->alignment == 0);
        assert(t->bytes <= file_bytes && t->offset <= file_bytes - t->bytes);
        end = t->offset + t->bytes;
    }
}

static void check_tokenizer(const gguf *g, fuzz_input in) {
    error e = {0};
    tokenizer *t;
    doppler_status status = gguf_tokenizer(&e, g, &t);
    FUZZ_CHECK_ERROR(status, e);
    if (!status) fuzz_texts(t, in.at, (size_t)(in.end - in.at));
    tokenizer_close(t);
}

static void convert_model(arena *a, const gguf *g, convert_target target, fuzz_source c) {
    error e = {0};
    model_config model;
    source_tensor *sources;
    uint32_t count, file;
    uint8_t factors[MODEL_MAX_HEAD_DIM * sizeof(float)];
    const gguf_tensor *t = gguf_rope_factors(g, 1, &file);
    if (t && t->bytes > sizeof factors) t = NULL;
    if (t) fuzz_read(&c, t->offset, factors, (size_t)t->bytes);
    doppler_status status = gguf_model(&e, a, g, 1, t ? factors : NULL, &model, &sources, &count);
    FUZZ_CHECK_ERROR(status, e);
    const convert_input input = {.model = &model, .sources = sources, .source_count = count,
                                 .tokenizer = "{}", .tokenizer_bytes = 2, .chat_template = "",
                                 .name = "fuzz", .source = "fuzz", .target = target};
    if (!status) fuzz_conversion(&input, &c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    fuzz_input in = {data, data + bytes};
    convert_target target = (convert_target)(fuzz_u8(&in) % TARGET_COUNT);
    uint8_t kind = fuzz_u8(&in);
    uint64_t there = (uint64_t)(in.end - in.at), file_bytes = there + (kind & 1 ? 0 : MORE_DATA);
    arena a = {0};
    gguf g;
    uint8_t *header = parse(&a, in, there * (kind / 2u + 1) / 128, file_bytes, &g);
    if (header) {
        error e = {0};
        const char *template;
        uint32_t number, count;
        check_tensors(&g, file_bytes);
        doppler_status status = gguf_chat_template(&e, &a, &g, &template);
        assert(status || template);
        status = gguf_split(&e, &g, &number, &count);
        assert(status || number < count);
        check_tokenizer(&g, in);
        convert_model(&a, &g, target, (fuzz_source){data, bytes, g.header_bytes, file_bytes});
    }
    free(header);
    arena_free(&a);
    return 0;
}
