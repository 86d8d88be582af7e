/* hf_model.c - vocabulary, merges and added tokens of a Hugging Face tokenizer.json.
 *
 * The file names pieces in the byte-level alphabet, where each byte is a printable character; a
 * tokenizer holds them as the bytes they stand for. Merges name pieces by text, so the texts are
 * indexed too while reading. */
#include "memory/utf8.h"
#include "tokenizer/parts.h"

#include <string.h>

/* Ids without a piece that a file may have, beyond as many as it has pieces: bounds what a small
 * file can make us allocate. */
enum { MAX_GAPS = 65536, ALPHABET_CODES = 256 + 68 };

const char hf_name[] = "tokenizer.json";

typedef struct reader {
    error *e;
    tokenizer *t;
    arena *scratch;
    const json *vocab, *merges, *added;
    vocabulary texts;            /* ids by the text of the file; in scratch */
    int16_t bytes_of[ALPHABET_CODES];    /* byte of an alphabet character or -1 */
    char *buffer;                /* [longest text * 2]; in scratch */
    size_t longest_bytes;        /* of a text in the file */
} reader;

/* The byte-level alphabet: bytes that print as Latin-1 are their own character, the 68 others
 * are U+0100 and on (Radford et al. 2019, encoder.py, bytes_to_unicode). */
static void fill_alphabet(int16_t bytes_of[ALPHABET_CODES]) {
    for (int i = 0; i < ALPHABET_CODES; i++) bytes_of[i] = -1;
    int next = 256;
    for (int byte = 0; byte < 256; byte++) {
        bool prints = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
        bytes_of[prints ? byte : next++] = (int16_t)byte;
    }
}

/* Bytes that a text in the alphabet stands for, into out; false when it has another character. */
static bool from_alphabet(const reader *r, const char *text, size_t bytes, char *out,
                          size_t *out_bytes) {
    *out_bytes = 0;
    for (size_t at = 0; at < bytes;) {
        uint32_t code;
        at += utf8_decode(text + at, bytes - at, &code);
        if (code >= ALPHABET_CODES || r->bytes_of[code] < 0) return false;
        out[(*out_bytes)++] = (char)r->bytes_of[code];
    }
    return true;
}

/* Checks ids and lengths of all tokens; sets *ids, one more than the largest, and *bytes, of the
 * texts together. */
static doppler_status measure(reader *r, uint32_t *ids, size_t *bytes) {
    uint64_t limit = (uint64_t)r->vocab->count + (r->added ? r->added->count : 0) + MAX_GAPS;
    *ids = 0;
    *bytes = 0;
    for (const json *v = r->vocab->first; v; v = v->next) {
        if (v->type != JSON_NUMBER || !v->is_integer || v->integer < 0 ||
            (uint64_t)v->integer >= limit)
            return fail(r->e, DOPPLER_BAD_FILE,
                        "%s: id of \"%.60s\" is %.17g, wanted an integer below %llu", hf_name,
                        v->key, v->number, (unsigned long long)limit);
        if (v->integer >= *ids) *ids = (uint32_t)v->integer + 1;
        if (v->key_bytes > r->longest_bytes) r->longest_bytes = v->key_bytes;
        *bytes += v->key_bytes;
    }
    for (const json *a = r->added ? r->added->first : NULL; a; a = a->next) {
        uint32_t id;
        doppler_status status = json_u32(r->e, "tokenizer.json: added_tokens", a, "id", 0,
                                         (uint32_t)limit - 1, &id);
        if (status) return status;
        const json *content = json_get(a, "content");
        if (!content || content->type != JSON_STRING)
            return fail(r->e, DOPPLER_BAD_FILE, "%s: added token %u has no content", hf_name, id);
        if (id >= *ids) *ids = id + 1;
        if (content->text_bytes > r->longest_bytes) r->longest_bytes = content->text_bytes;
        *bytes += content->text_bytes;
    }
    return DOPPLER_OK;
}

static doppler_status read_vocab(reader *r) {
    tokenizer *t = r->t;
    uint32_t ids;
    size_t bytes;
    doppler_status status = measure(r, &ids, &bytes);
    if (status) return status;
    t->special = arena_array(&t->memory, ids, sizeof *t->special);
    r->buffer = arena_array(r->scratch, r->longest_bytes, 2);
    if (!t->special || !r->buffer || !vocabulary_init(&t->pieces, &t->memory, ids, bytes) ||
        !vocabulary_init(&r->texts, r->scratch, ids, bytes))
        return fail(r->e, DOPPLER_NO_MEMORY, "%s: %u tokens", hf_name, ids);
    for (const json *v = r->vocab->first; v; v = v->next) {
        uint32_t id = (uint32_t)v->integer;
        if (vocabulary_has(&r->texts, id))
            return fail(r->e, DOPPLER_BAD_FILE, "%s: id %u belongs to two pieces", hf_name, id);
        vocabulary_add(&r->texts, id, v->key, v->key_bytes, true);
        size_t piece_bytes;
        bool known = from_alphabet(r, v->key, v->key_bytes, r->buffer, &piece_bytes);
        if (known) vocabulary_add(&t->pieces, id, r->buffer, piece_bytes, true);
        else vocabulary_add(&t->pieces, id, v->key, v->key_bytes, false);
    }
    for (int byte = 0; byte < 256; byte++)
        t->byte_ids[byte] = vocabulary_find(&t->pieces, (char[]){(char)byte}, 1);
    return DOPPLER_OK;
}

/* The two texts of a merge: "a b" or ["a", "b"]. */
static bool merge_sides(const json *m, const char *side[2], size_t bytes[2]) {
    if (m->type == JSON_ARRAY) {
        if (m->count != 2) return false;
        const json *part = m->first;
        for (int i = 0; i < 2; i++, part = part->next) {
            if (part->type != JSON_STRING) return false;
            side[i] = part->text;
            bytes[i] = part->text_bytes;
        }
        return true;
    }
    if (m->type != JSON_STRING) return false;
    const char *space = memchr(m->text, ' ', m->text_bytes);
    if (!space) return false;
    side[0] = m->text;
    side[1] = space + 1;
    bytes[0] = (size_t)(space - m->text);
    bytes[1] = m->text_bytes - bytes[0] - 1;
    return memchr(side[1], ' ', bytes[1]) == NULL;
}

static doppler_status read_merge(reader *r, const json *m, uint32_t rank) {
    const char *side[2];
    size_t bytes[2];
    if (!merge_sides(m, side, bytes))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: merge %u is not a pair of pieces", hf_name, rank);
    uint32_t ids[2];
    for (int i = 0; i < 2; i++) {
        ids[i] = vocabulary_find(&r->texts, side[i], bytes[i]);
        if (ids[i] == NO_TOKEN)
            return fail(r->e, DOPPLER_BAD_FILE, "%s: merge %u: \"%.*s\" is not in the vocabulary",
                        hf_name, rank, (int)(bytes[i] < 60 ? bytes[i] : 60), side[i]);
    }
    memcpy(r->buffer, side[0], bytes[0]);
    memcpy(r->buffer + bytes[0], side[1], bytes[1]);
    size_t both = bytes[0] + bytes[1];
    uint32_t merged = vocabulary_find(&r->texts, r->buffer, both);
    if (merged == NO_TOKEN)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: merge %u makes \"%.*s\", not in the vocabulary",
                    hf_name, rank, (int)(both < 60 ? both : 60), r->buffer);
    bpe_add(&r->t->rules, (bpe_rule){ids[0], ids[1], rank, merged});
    return DOPPLER_OK;
}

static doppler_status read_merges(reader *r) {
    if (!bpe_init(&r->t->rules, &r->t->memory, r->merges->count))
        return fail(r->e, DOPPLER_NO_MEMORY, "%s: %u merges", hf_name, r->merges->count);
    uint32_t rank = 0;
    for (const json *m = r->merges->first; m; m = m->next) {
        if (m->type == JSON_STRING && strncmp(m->text, "#version", 8) == 0) continue;
        doppler_status status = read_merge(r, m, rank++);
        if (status) return status;
    }
    return DOPPLER_OK;
}

static doppler_status read_flags(error *e, const json *a, added_token *token, bool *normalized) {
    const struct { const char *name; bool *value; } flags[] = {
        {"special", &token->special}, {"single_word", &token->single_word},
        {"lstrip", &token->lstrip}, {"rstrip", &token->rstrip}, {"normalized", normalized},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        doppler_status status = json_bool_or(e, "tokenizer.json: added_tokens", a, flags[i].name,
                                             false, flags[i].value);
        if (status) return status;
    }
    return DOPPLER_OK;
}

/* An added token may name a piece of the model, by its text; else its id is its own. */
static doppler_status read_added_token(reader *r, const json *a) {
    tokenizer *t = r->t;
    added_token token = {.id = (uint32_t)json_get(a, "id")->integer};
    const json *content = json_get(a, "content");
    if (content->text_bytes == 0) return DOPPLER_OK;
    bool normalized;
    doppler_status status = read_flags(r->e, a, &token, &normalized);
    if (status) return status;
    uint32_t known = vocabulary_find(&r->texts, content->text, content->text_bytes);
    if (known != token.id && (known != NO_TOKEN || vocabulary_has(&t->pieces, token.id)))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: added token %u \"%.60s\" clashes with another",
                    hf_name, token.id, content->text);
    if (known == NO_TOKEN) {
        size_t bytes;
        bool alphabet = from_alphabet(r, content->text, content->text_bytes, r->buffer, &bytes);
        if (alphabet) vocabulary_add(&t->pieces, token.id, r->buffer, bytes, false);
        else vocabulary_add(&t->pieces, token.id, content->text, content->text_bytes, false);
    }
    t->special[token.id] = token.special;
    if (!added_add(&t->added[normalized ? ADDED_NORMALIZED : ADDED_RAW], content->text,
                   content->text_bytes, token))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: added token \"%.60s\" appears twice", hf_name,
                    content->text);
    return DOPPLER_OK;
}

static doppler_status read_added(reader *r) {
    if (!r->added) return DOPPLER_OK;
    size_t bytes = 0;
    for (const json *a = r->added->first; a; a = a->next)
        bytes += json_get(a, "content")->text_bytes;
    for (int pass = 0; pass < ADDED_PASSES; pass++)
        if (!added_init(&r->t->added[pass], &r->t->memory, r->added->count, bytes))
            return fail(r->e, DOPPLER_NO_MEMORY, "%s: %u added tokens", hf_name, r->added->count);
    for (const json *a = r->added->first; a; a = a->next) {
        doppler_status status = read_added_token(r, a);
        if (status) return status;
    }
    return DOPPLER_OK;
}

doppler_status hf_read_model(error *e, tokenizer *t, const json *root, arena *scratch) {
    const json *model = json_get(root, "model"), *added = json_get(root, "added_tokens");
    reader r = {.e = e, .t = t, .scratch = scratch, .vocab = json_get(model, "vocab"),
                .merges = json_get(model, "merges"),
                .added = added && added->type != JSON_NULL ? added : NULL};
    if (!r.vocab || r.vocab->type != JSON_OBJECT)
        return fail(e, DOPPLER_BAD_FILE, "%s: model has no vocab", hf_name);
    if (!r.merges || r.merges->type != JSON_ARRAY)
        return fail(e, DOPPLER_BAD_FILE, "%s: model has no merges", hf_name);
    if (r.added && r.added->type != JSON_ARRAY)
        return fail(e, DOPPLER_BAD_FILE, "%s: added_tokens is not a list", hf_name);
    fill_alphabet(r.bytes_of);
    doppler_status status = json_bool_or(e, "tokenizer.json: model", model, "ignore_merges", false,
                                         &t->whole_words);
    if (!status) status = read_vocab(&r);
    if (!status) status = read_merges(&r);
    if (!status) status = read_added(&r);
    return status;
}
