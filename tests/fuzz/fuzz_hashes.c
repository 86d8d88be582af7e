/* fuzz_hashes.c - a sound manifest whose shards, hashes.bin and spans are cut anew: either it is
 * refused, or what the loader asks for lies inside the files it names, each byte once.
 *
 * Input: bytes of hashes.bin in units of a hash, shard sizes, moves of spans, then the order in
 * which requests are answered. */
#include "loader/manifest.h"
#include "tests/fuzz/walk.h"
#include "tests/package.h"

enum { MOVES = 4 };

static const model_config model = {
    .architecture = "llama", .layers = 2, .dim = 64, .hidden = 96, .heads = 4, .kv_heads = 2,
    .head_dim = 16, .vocab = 40, .context = 64, .norm_eps = 1e-5f, .attention_scale = 0.25f,
    .embedding_scale = 1, .rope = {{.type = ROPE_DEFAULT, .theta = 10000}}};

/* Small, or anything below 2^63. */
static uint64_t amount(fuzz_input *in) {
    uint8_t kind = fuzz_u8(in);
    if (kind < 128) return kind;
    uint64_t low = fuzz_u32(in);
    if (kind < 192) return low;
    return ((uint64_t)fuzz_u32(in) << 32 | low) >> 1;
}

/* A page more or less here and there: an offset, a length or a shard of a span. */
static void move_span(manifest *m, fuzz_input *in) {
    rdrr_tensor *t = &m->tensors[fuzz_u8(in) % m->tensor_count];
    if (!t->span_count) return;
    rdrr_span *s = &t->spans[fuzz_u8(in) % t->span_count];
    uint8_t what = fuzz_u8(in);
    uint64_t by = (what >> 4) * (uint64_t)RDRR_ALIGN;
    if (what % 4 == 0) s->offset += by;
    else if (what % 4 == 1) s->bytes += by;
    else if (what % 4 == 2) s->bytes = amount(in);
    else s->shard += what >> 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    fuzz_input in = {data, data + bytes};
    manifest m, read;
    uint64_t shard_bytes = (fuzz_u8(&in) + 1) * (uint64_t)RDRR_ALIGN;
    if (!package_describe(&model, (weight_format)(fuzz_u8(&in) % FORMAT_COUNT), shard_bytes, &m))
        return 0;
    uint8_t changes = fuzz_u8(&in);
    if (changes & 1) m.hashes.bytes = amount(&in) * RDRR_HASH_BYTES;
    if (changes & 2) m.hashes.bytes = amount(&in);
    if (changes & 4) m.shards[fuzz_u8(&in) % m.shard_count].bytes = amount(&in);
    if (changes & 8) m.shards[fuzz_u8(&in) % m.shard_count].bytes += RDRR_BLOCK_BYTES;
    if (changes & 16) m.hashes.bytes += RDRR_HASH_BYTES;
    if (changes & 32) m.tokenizer.bytes = amount(&in);
    for (int i = 0; i < MOVES && changes & 64; i++) move_span(&m, &in);
    text json = {0};
    manifest_write(&m, &json);
    manifest_free(&m);
    assert(!json.failed);
    error e = {0};
    doppler_status status = manifest_parse(&e, &read, json.data, json.bytes);
    FUZZ_CHECK_ERROR(status, e);
    if (!status) walk_loader(&read, &walk_limits, in);
    manifest_free(&read);
    text_free(&json);
    return 0;
}
