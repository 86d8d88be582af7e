/* hf_model.c - vocabulary, merges and added tokens of a Hugging Face tokenizer.json.
 *
 * A tokenizer holds pieces as the bytes they stand for, the file spells them (spelling.h). Merges
 * name pieces by text, so the texts are indexed too while reading. */
#include "tokenizer/spelling.h"

#include <string.h>

/* Ids without a piece that a file may have, beyond as many as it has pieces: bounds what a small
 * file can make us allocate. */
enum { MAX_GAPS = 65536 };

const char hf_name[] = "tokenizer.json";

typedef struct reader {
    error *e;
    tokenizer *t;
    arena *scratch;
    const json *vocab, *merges, *added;
    vocabulary texts;            /* ids by the text of the file; in scratch */
    alphabet alphabet;
    char *buffer;                /* [longest text * 2]; in scratch */
    size_t longest_bytes;        /* of a text in the file */
    bool decodes_bytes;          /* "<0x0A>" stands for its byte */
} reader;

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
        if (content->text_bytes > ADDED_MAX_BYTES)
            return fail(r->e, DOPPLER_UNSUPPORTED, "%s: added token %u of %u bytes, at most %d",
                        hf_name, id, content->text_bytes, ADDED_MAX_BYTES);
        if (id >= *ids) *ids = id + 1;
        if (content->text_bytes > r->longest_bytes) r->longest_bytes = content->text_bytes;
        *bytes += content->text_bytes;
    }
    return DOPPLER_OK;
}

/* A piece of byte-level BPE; text in other characters than the alphabet's is as it is. */
static void add_byte_piece(reader *r, uint32_t id, const char *text, size_t bytes, bool findable) {
    size_t piece_bytes;
    if (alphabet_bytes(&r->alphabet, text, bytes, r->buffer, &piece_bytes))
        vocabulary_add(&r->t->pieces, id, r->buffer, piece_bytes, findable);
    else vocabulary_add(&r->t->pieces, id, text, bytes, false);
}

/* A piece of characters, or of one byte. Where spaces are marked, texts have none of their own left
 * when pieces are looked up. findable: a piece of the model. */
static void add_character_piece(reader *r, uint32_t id, const char *text, size_t bytes,
                                bool findable) {
    tokenizer *t = r->t;
    int byte = r->decodes_bytes ? spelled_byte(text, bytes) : -1;
    if (byte >= 0) {
        if (findable) t->byte_ids[byte] = id;
        vocabulary_add(&t->pieces, id, (char[]){(char)byte}, 1, false);
    } else if (t->flags & TOKENIZER_MARKED_SPACE) {
        findable &= !memchr(text, ' ', bytes);
        vocabulary_add(&t->pieces, id, r->buffer, unmark_spaces(text, bytes, r->buffer), findable);
    } else {
        vocabulary_add(&t->pieces, id, text, bytes, findable);
    }
}

static void add_piece(reader *r, uint32_t id, const char *text, size_t bytes, bool findable) {
    (r->t->words == WORDS_BYTES ? add_byte_piece : add_character_piece)(r, id, text, bytes,
                                                                        findable);
}

static doppler_status read_vocab(reader *r) {
    tokenizer *t = r->t;
    uint32_t ids;
    size_t bytes;
    doppler_status status = measure(r, &ids, &bytes);
    if (status) return status;
    t->marks = arena_array(&t->memory, ids, sizeof *t->marks);
    r->buffer = arena_array(r->scratch, r->longest_bytes, 2);
    if (!t->marks || !r->buffer || !vocabulary_init(&t->pieces, &t->memory, ids, bytes) ||
        !vocabulary_init(&r->texts, r->scratch, ids, bytes))
        return fail(r->e, DOPPLER_NO_MEMORY, "%s: %u tokens", hf_name, ids);
    for (const json *v = r->vocab->first; v; v = v->next) {
        uint32_t id = (uint32_t)v->integer;
        if (vocabulary_has(&r->texts, id))
            return fail(r->e, DOPPLER_BAD_FILE, "%s: id %u belongs to two pieces", hf_name, id);
        vocabulary_add(&r->texts, id, v->key, v->key_bytes, true);
        add_piece(r, id, v->key, v->key_bytes, true);
    }
    for (int byte = 0; byte < 256 && t->words == WORDS_BYTES; byte++)
        t->byte_ids[byte] = vocabulary_find(&t->pieces, (char[]){(char)byte}, 1);
    return DOPPLER_OK;
}

/* The two texts of a merge: "a b" or ["a", "b"]. */
static bool merge_sides(const json *m, piece_text side[2]) {
    if (m->type == JSON_STRING) return merge_split(m->text, m->text_bytes, side);
    if (m->type != JSON_ARRAY || m->count != 2) return false;
    const json *part = m->first;
    for (int i = 0; i < 2; i++, part = part->next) {
        if (part->type != JSON_STRING) return false;
        side[i] = (piece_text){part->text, part->text_bytes};
    }
    return true;
}

static doppler_status read_merges(reader *r) {
    if (!bpe_init(&r->t->rules, &r->t->memory, r->merges->count))
        return fail(r->e, DOPPLER_NO_MEMORY, "%s: %u merges", hf_name, r->merges->count);
    for (const json *m = r->merges->first; m; m = m->next) {
        piece_text side[2];
        if (m->type == JSON_STRING && strncmp(m->text, "#version", 8) == 0) continue;
        if (!merge_sides(m, side))
            return fail(r->e, DOPPLER_BAD_FILE, "%s: merge %u is not a pair of pieces", hf_name,
                        r->t->rules.count);
        doppler_status status = merge_add(r->e, hf_name, r->t, &r->texts, side, r->buffer);
        if (status) return status;
    }
    return DOPPLER_OK;
}

static doppler_status read_flags(error *e, const json *a, added_token *token, bool *normalized) {
    static const char what[] = "tokenizer.json: added_tokens";
    static const struct { const char *name; uint32_t flag; } flags[] = {
        {"special", ADDED_SPECIAL}, {"single_word", ADDED_SINGLE_WORD},
        {"lstrip", ADDED_LSTRIP}, {"rstrip", ADDED_RSTRIP},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool set;
        doppler_status status = json_bool_or(e, what, a, flags[i].name, false, &set);
        if (status) return status;
        if (set) token->flags |= flags[i].flag;
    }
    return json_bool_or(e, what, a, "normalized", false, normalized);
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
    if (known == NO_TOKEN) add_piece(r, token.id, content->text, content->text_bytes, false);
    if (token.flags & ADDED_SPECIAL) t->marks[token.id] |= TOKEN_SPECIAL;
    const char *text = content->text;
    size_t bytes = content->text_bytes;
    if (normalized && t->flags & TOKENIZER_NORMALIZED) {
        if (token.flags & (ADDED_LSTRIP | ADDED_RSTRIP))
            return fail(r->e, DOPPLER_UNSUPPORTED,
                        "%s: added token \"%.60s\": normalized with lstrip or rstrip", hf_name,
                        text);
        size_t prefix = (t->flags & TOKENIZER_PREFIX_SPACE) != 0;
        r->buffer[0] = ' ';
        bytes = prefix + unmark_spaces(text, bytes, r->buffer + prefix);
        text = r->buffer;
    }
    if (!added_add(&t->added[normalized ? ADDED_NORMALIZED : ADDED_RAW], text, bytes, token))
        return fail(r->e, DOPPLER_BAD_FILE, "%s: added token \"%.60s\" appears twice", hf_name,
                    content->text);
    return DOPPLER_OK;
}

static doppler_status read_added(reader *r) {
    if (!r->added) return DOPPLER_OK;
    size_t bytes = 0;
    for (const json *a = r->added->first; a; a = a->next)
        bytes += (size_t)json_get(a, "content")->text_bytes + 1;      /* a prefix */
    for (int pass = 0; pass < ADDED_PASSES; pass++)
        if (!added_init(&r->t->added[pass], &r->t->memory, r->added->count, bytes))
            return fail(r->e, DOPPLER_NO_MEMORY, "%s: %u added tokens", hf_name, r->added->count);
    for (const json *a = r->added->first; a; a = a->next) {
        doppler_status status = read_added_token(r, a);
        if (status) return status;
    }
    return DOPPLER_OK;
}

static doppler_status read_unknown(reader *r, const json *name) {
    if (!name || name->type == JSON_NULL) return DOPPLER_OK;
    if (name->type == JSON_STRING)
        r->t->unknown = vocabulary_find(&r->texts, name->text, name->text_bytes);
    if (r->t->unknown != NO_TOKEN) return DOPPLER_OK;
    return fail(r->e, DOPPLER_BAD_FILE, "%s: unk_token is not in the vocabulary", hf_name);
}

doppler_status hf_read_model(error *e, tokenizer *t, const json *root, arena *scratch) {
    const json *model = json_get(root, "model"), *added = json_get(root, "added_tokens");
    reader r = {.e = e, .t = t, .scratch = scratch, .vocab = json_get(model, "vocab"),
                .merges = json_get(model, "merges"),
                .decodes_bytes = hf_decodes(root, "ByteFallback", NULL),
                .added = added && added->type != JSON_NULL ? added : NULL};
    if (!r.vocab || r.vocab->type != JSON_OBJECT)
        return fail(e, DOPPLER_BAD_FILE, "%s: model has no vocab", hf_name);
    if (!r.merges || r.merges->type != JSON_ARRAY)
        return fail(e, DOPPLER_BAD_FILE, "%s: model has no merges", hf_name);
    if (r.added && r.added->type != JSON_ARRAY)
        return fail(e, DOPPLER_BAD_FILE, "%s: added_tokens is not a list", hf_name);
    alphabet_fill(&r.alphabet);
    for (int byte = 0; byte < 256; byte++) t->byte_ids[byte] = NO_TOKEN;
    doppler_status status = read_vocab(&r);
    if (!status) status = read_unknown(&r, json_get(model, "unk_token"));
    if (!status) status = read_merges(&r);
    if (!status) status = read_added(&r);
    if (!status && (t->pieces.collides || t->rules.collides || r.texts.collides))
        status = fail(e, DOPPLER_BAD_FILE, "%s: pieces or merges made to collide", hf_name);
    return status;
}
