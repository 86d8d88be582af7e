/* sentencepiece.c - protocol buffers, as far as sentencepiece_model.proto needs them: a message is
 * a row of fields, each a tag (number << 3 | wire type) and a value. Unknown fields are passed
 * over, as the format wants; those that change results are looked at. */
#include "tokenizer/sentencepiece.h"
#include "tokenizer/ggml.h"
#include "memory/arena.h"

#include <string.h>

static const char file[] = "tokenizer.model";    /* in messages */

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
/* ModelProto, ModelProto.SentencePiece, TrainerSpec, NormalizerSpec */
enum { MODEL_PIECE = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum { TRAINER_TYPE = 3, TRAINER_UNKNOWN = 40, TRAINER_BOS = 41, TRAINER_EOS = 42, TYPE_BPE = 2 };
enum { NORMALIZER_MAP = 2, NORMALIZER_PREFIX = 3, NORMALIZER_SPACES = 4, NORMALIZER_ESCAPE = 5 };

typedef struct message { const uint8_t *at; size_t bytes; } message;

typedef struct field {
    uint32_t number, wire;
    uint64_t value;              /* WIRE_VARINT, WIRE_64, WIRE_32 */
    message bytes;               /* WIRE_BYTES */
} field;

static bool take_varint(message *m, uint64_t *out) {
    *out = 0;
    for (uint32_t shift = 0; shift < 64 && m->bytes; shift += 7) {
        uint8_t byte = *m->at++;
        m->bytes--;
        *out |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return true;
    }
    return false;
}

static bool take_fixed(message *m, uint32_t bytes, uint64_t *out) {
    *out = 0;
    if (m->bytes < bytes) return false;
    for (uint32_t i = 0; i < bytes; i++) *out |= (uint64_t)m->at[i] << 8 * i;
    m->at += bytes;
    m->bytes -= bytes;
    return true;
}

/* The next field; false when the message is ill-formed. */
static bool take_field(message *m, field *f) {
    uint64_t tag;
    *f = (field){0};
    if (!take_varint(m, &tag) || tag > UINT32_MAX) return false;
    f->number = (uint32_t)tag >> 3;
    f->wire = tag & 7;
    if (f->wire == WIRE_VARINT) return take_varint(m, &f->value);
    if (f->wire == WIRE_64) return take_fixed(m, 8, &f->value);
    if (f->wire == WIRE_32) return take_fixed(m, 4, &f->value);
    if (f->wire != WIRE_BYTES || !take_varint(m, &f->value) || f->value > m->bytes) return false;
    f->bytes = (message){m->at, (size_t)f->value};
    m->at += f->bytes.bytes;
    m->bytes -= f->bytes.bytes;
    return true;
}

static doppler_status ill_formed(error *e, const char *what) {
    return fail(e, DOPPLER_BAD_FILE, "%s: %s is no well-formed message", file, what);
}

typedef struct reader {
    error *e;
    ggml_vocabulary v;
    ggml_text *tokens;
    int32_t *types;
    float *scores;
    uint64_t model_type;
    bool maps;                   /* the normalizer has a character map */
} reader;

static doppler_status read_piece(reader *r, message m) {
    uint32_t id = r->v.count;
    field f;
    r->types[id] = GGML_TOKEN_NORMAL;
    r->tokens[id].text = "";
    while (m.bytes) {
        if (!take_field(&m, &f)) return ill_formed(r->e, "a piece");
        if (f.number == PIECE_TEXT && f.wire == WIRE_BYTES)
            r->tokens[id] = (ggml_text){(const char *)f.bytes.at, f.bytes.bytes};
        uint32_t bits = (uint32_t)f.value;
        if (f.number == PIECE_SCORE && f.wire == WIRE_32)
            memcpy(&r->scores[id], &bits, sizeof bits);
        if (f.number == PIECE_TYPE && f.wire == WIRE_VARINT) r->types[id] = (int32_t)bits;
    }
    r->v.count++;
    return DOPPLER_OK;
}

/* Ids are int32; negative ones mean none, which is what UINT32_MAX says. */
static void take_id(const field *f, uint32_t *id) {
    *id = (int32_t)(uint32_t)f->value < 0 ? UINT32_MAX : (uint32_t)f->value;
}

static doppler_status read_trainer(reader *r, message m) {
    field f;
    while (m.bytes) {
        if (!take_field(&m, &f)) return ill_formed(r->e, "trainer_spec");
        if (f.wire != WIRE_VARINT) continue;
        if (f.number == TRAINER_TYPE) r->model_type = f.value;
        if (f.number == TRAINER_UNKNOWN) take_id(&f, &r->v.unknown);
        if (f.number == TRAINER_BOS) take_id(&f, &r->v.bos);
        if (f.number == TRAINER_EOS) take_id(&f, &r->v.eos);
    }
    return DOPPLER_OK;
}

static doppler_status read_normalizer(reader *r, message m) {
    field f;
    while (m.bytes) {
        if (!take_field(&m, &f)) return ill_formed(r->e, "normalizer_spec");
        if (f.number == NORMALIZER_MAP && f.wire == WIRE_BYTES) r->maps = f.bytes.bytes != 0;
        if (f.wire != WIRE_VARINT) continue;
        if (f.number == NORMALIZER_PREFIX) r->v.add_space = f.value != 0;
        if (f.number == NORMALIZER_SPACES) r->v.squeeze_space = f.value != 0;
        if (f.number == NORMALIZER_ESCAPE && !f.value)
            return fail(r->e, DOPPLER_UNSUPPORTED, "%s: spaces that are not escaped", file);
    }
    return DOPPLER_OK;
}

static doppler_status read_model(reader *r, message m) {
    field f;
    while (m.bytes) {
        doppler_status status = DOPPLER_OK;
        if (!take_field(&m, &f)) return ill_formed(r->e, "the model");
        if (f.wire != WIRE_BYTES) continue;
        if (f.number == MODEL_PIECE) status = read_piece(r, f.bytes);
        if (f.number == MODEL_TRAINER) status = read_trainer(r, f.bytes);
        if (f.number == MODEL_NORMALIZER) status = read_normalizer(r, f.bytes);
        if (status) return status;
    }
    if (!r->v.count) return fail(r->e, DOPPLER_BAD_FILE, "%s: no pieces", file);
    if (r->model_type != TYPE_BPE)
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: model type %llu, BPE (2) is known", file,
                    (unsigned long long)r->model_type);
    if (r->maps)
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: a normalizer that maps characters", file);
    return DOPPLER_OK;
}

/* Pieces in the model; false when it is ill-formed. */
static bool count_pieces(message m, uint32_t *count) {
    field f;
    *count = 0;
    while (m.bytes) {
        if (!take_field(&m, &f)) return false;
        *count += f.number == MODEL_PIECE && f.wire == WIRE_BYTES;
    }
    return true;
}

doppler_status tokenizer_read_sentencepiece(error *e, const void *model, size_t bytes,
                                            tokenizer **out) {
    reader r = {.e = e, .model_type = 1,         /* the proto's defaults: unigram, ids 0, 1, 2 */
                .v = {.file = file, .model = "llama", .pre = "", .add_bos = 1,
                      .add_space = true, .squeeze_space = true, .bos = 1, .eos = 2}};
    message m = {model, bytes};
    arena scratch = {0};
    uint32_t count;
    *out = NULL;
    if (bytes > INT32_MAX || !count_pieces(m, &count)) return ill_formed(e, "the model");
    r.v.tokens = r.tokens = arena_array(&scratch, count, sizeof *r.tokens);
    r.v.types = r.types = arena_array(&scratch, count, sizeof *r.types);
    r.v.scores = r.scores = arena_array(&scratch, count, sizeof *r.scores);
    bool room = r.tokens && r.types && r.scores;
    doppler_status status = room ? read_model(&r, m)
                                 : fail(e, DOPPLER_NO_MEMORY, "%s: %u pieces", file, count);
    if (!status) status = tokenizer_read_ggml(e, &r.v, out);
    arena_free(&scratch);
    return status;
}
