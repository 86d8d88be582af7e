/* ggml.c - see ggml.h. What the fields mean: llama.cpp, src/llama-vocab.cpp. */
#include "tokenizer/ggml.h"
#include "memory/utf8.h"
#include "tokenizer/spelling.h"
#include "tokenizer/words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    error *e;
    tokenizer *t;
    const ggml_vocabulary *v;
    arena scratch;               /* owned */
    vocabulary texts;            /* ids by the text of the file; in scratch */
    alphabet alphabet;
    char *buffer;                /* [longest text * 2]; in scratch */
    bool add_bos;                /* where the file does not say */
} reader;

static int32_t type_of(const ggml_vocabulary *v, uint32_t id) {
    return v->types ? v->types[id] : GGML_TOKEN_NORMAL;
}

static doppler_status no_memory(const reader *r) {
    return fail(r->e, DOPPLER_NO_MEMORY, "%s: %u tokens", r->v->file, r->v->count);
}

static doppler_status make_room(reader *r) {
    const ggml_vocabulary *v = r->v;
    tokenizer *t = r->t;
    uint64_t bytes = 0, longest = 1;
    for (uint32_t id = 0; id < v->count; id++) {
        if (v->tokens[id].bytes > ADDED_MAX_BYTES)
            return fail(r->e, DOPPLER_UNSUPPORTED, "%s: token %u of %llu bytes, at most %d",
                        v->file, id, (unsigned long long)v->tokens[id].bytes, ADDED_MAX_BYTES);
        bytes += v->tokens[id].bytes;
        if (v->tokens[id].bytes > longest) longest = v->tokens[id].bytes;
    }
    for (uint32_t i = 0; i < v->merge_count; i++)
        if (v->merges[i].bytes > longest) longest = v->merges[i].bytes;
    if (bytes > INT32_MAX) return no_memory(r);
    r->buffer = arena_array(&r->scratch, (size_t)longest, 2);
    t->marks = arena_array(&t->memory, v->count, sizeof *t->marks);
    bool room = r->buffer && t->marks &&
                vocabulary_init(&t->pieces, &t->memory, v->count, (size_t)bytes) &&
                vocabulary_init(&r->texts, &r->scratch, v->count, (size_t)bytes) &&
                added_init(&t->added[ADDED_RAW], &t->memory, v->count, (size_t)bytes);
    for (int byte = 0; byte < 256; byte++) t->byte_ids[byte] = NO_TOKEN;
    return room ? DOPPLER_OK : no_memory(r);
}

/* Tokens that stand for themselves wherever they are written: control tokens only where the caller
 * lets them, and decoding leaves them out. The first of two with one text counts. */
static void add_literal(reader *r, uint32_t id) {
    const ggml_text *token = &r->v->tokens[id];
    bool special = type_of(r->v, id) != GGML_TOKEN_USER;
    if (special) r->t->marks[id] |= TOKEN_SPECIAL;
    if (token->bytes)
        added_add(&r->t->added[ADDED_RAW], token->text, (size_t)token->bytes,
                  (added_token){id, special ? ADDED_SPECIAL : 0});
}

static bool is_literal(const ggml_vocabulary *v, uint32_t id) {
    int32_t type = type_of(v, id);
    return type == GGML_TOKEN_CONTROL || type == GGML_TOKEN_USER || type == GGML_TOKEN_UNKNOWN;
}

/* ---- byte-level BPE */

/* Names of tokenizer.ggml.pre, and what llama.cpp takes from them (src/llama-vocab.cpp). */
static const struct pre_rule {
    const char *name;
    splitter split;
    bool whole_words, add_bos;
} pre_rules[] = {
    {"llama-bpe", SPLIT_LLAMA3, true, true}, {"llama3", SPLIT_LLAMA3, true, true},
    {"llama-v3", SPLIT_LLAMA3, true, true}, {"smaug-bpe", SPLIT_LLAMA3, false, false},
    {"gpt-4o", SPLIT_O200K, false, false}, {"tekken", SPLIT_TEKKEN, true, true},
    {"gpt-2", SPLIT_GPT2, false, false},
};

static const struct pre_rule *find_pre(const char *name) {
    for (size_t i = 0; i < sizeof pre_rules / sizeof *pre_rules; i++)
        if (!strcmp(name, pre_rules[i].name)) return &pre_rules[i];
    return NULL;
}

static doppler_status read_byte_level(reader *r) {
    const ggml_vocabulary *v = r->v;
    tokenizer *t = r->t;
    const struct pre_rule *pre = find_pre(v->pre);
    if (!pre)
        return fail(r->e, DOPPLER_UNSUPPORTED, "%s: tokenizer.ggml.pre \"%.60s\" is not known",
                    v->file, v->pre);
    t->words = WORDS_BYTES;
    t->split = pre->split;
    t->flags = pre->whole_words ? TOKENIZER_WHOLE_WORDS : 0;
    r->add_bos = pre->add_bos;
    alphabet_fill(&r->alphabet);
    for (uint32_t id = 0; id < v->count; id++) {
        const char *text = v->tokens[id].text;
        size_t bytes = (size_t)v->tokens[id].bytes, piece_bytes;
        bool normal = type_of(v, id) == GGML_TOKEN_NORMAL && bytes;
        if (bytes) vocabulary_add(&r->texts, id, text, bytes, normal);
        if (normal && alphabet_bytes(&r->alphabet, text, bytes, r->buffer, &piece_bytes))
            vocabulary_add(&t->pieces, id, r->buffer, piece_bytes, true);
        else vocabulary_add(&t->pieces, id, text, bytes, false);
        if (is_literal(v, id)) add_literal(r, id);
    }
    for (int byte = 0; byte < 256; byte++)
        t->byte_ids[byte] = vocabulary_find(&t->pieces, (char[]){(char)byte}, 1);
    if (!bpe_init(&t->rules, &t->memory, v->merge_count)) return no_memory(r);
    for (uint32_t i = 0; i < v->merge_count; i++) {
        piece_text side[2];
        if (!merge_split(v->merges[i].text, (size_t)v->merges[i].bytes, side))
            return fail(r->e, DOPPLER_BAD_FILE, "%s: merge %u is not a pair of pieces", v->file, i);
        doppler_status status = merge_add(r->e, v->file, t, &r->texts, side, r->buffer);
        if (status) return status;
    }
    return DOPPLER_OK;
}

/* ---- SentencePiece */

/* A rule and the score of what it makes. */
typedef struct scored { bpe_rule rule; float score; } scored;

/* Highest score first; of equals the order that Hugging Face's converter gives. */
static int compare_scored(const void *a, const void *b) {
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->rule.merged != y->rule.merged) return x->rule.merged < y->rule.merged ? -1 : 1;
    if (x->rule.left != y->rule.left) return x->rule.left < y->rule.left ? -1 : 1;
    return x->rule.right < y->rule.right ? -1 : x->rule.right > y->rule.right;
}

/* All ways to make a piece of two; counts them, and keeps them where out is given. */
static uint32_t ways_to_make(const reader *r, uint32_t id, scored *out) {
    size_t bytes;
    const char *piece = vocabulary_piece(&r->t->pieces, id, &bytes);
    uint32_t count = 0;
    if (type_of(r->v, id) != GGML_TOKEN_NORMAL) return 0;
    if (vocabulary_find(&r->t->pieces, piece, bytes) != id) return 0;
    for (size_t cut = 1; cut < bytes; cut++) {
        if ((piece[cut] & 0xC0) == 0x80) continue;
        uint32_t left = vocabulary_find(&r->t->pieces, piece, cut);
        uint32_t right = vocabulary_find(&r->t->pieces, piece + cut, bytes - cut);
        if (left == NO_TOKEN || right == NO_TOKEN) continue;
        if (out) out[count] = (scored){{left, right, id}, r->v->scores[id]};
        count++;
    }
    return count;
}

static doppler_status make_rules(reader *r) {
    const ggml_vocabulary *v = r->v;
    uint64_t total = 0, n = 0;
    for (uint32_t id = 0; id < v->count; id++) total += ways_to_make(r, id, NULL);
    scored *all = total < INT32_MAX ? arena_array(&r->scratch, (size_t)total, sizeof *all) : NULL;
    if (!all || !bpe_init(&r->t->rules, &r->t->memory, (uint32_t)total)) return no_memory(r);
    for (uint32_t id = 0; id < v->count; id++) n += ways_to_make(r, id, all + n);
    qsort(all, (size_t)n, sizeof *all, compare_scored);
    for (uint64_t i = 0; i < n; i++) bpe_add(&r->t->rules, all[i].rule);
    return DOPPLER_OK;
}

static doppler_status read_sentencepiece(reader *r) {
    const ggml_vocabulary *v = r->v;
    tokenizer *t = r->t;
    if (!v->scores) return fail(r->e, DOPPLER_BAD_FILE, "%s: a vocabulary without scores", v->file);
    t->words = WORDS_CHARACTERS;
    t->split = SPLIT_NONE;
    r->add_bos = true;
    t->flags = TOKENIZER_BYTE_FALLBACK | TOKENIZER_FUSE_UNKNOWN | TOKENIZER_MARKED_SPACE |
               TOKENIZER_NORMALIZED;
    if (v->squeeze_space) t->flags |= TOKENIZER_SQUEEZE_SPACE;
    if (v->add_space) t->flags |= TOKENIZER_PREFIX_SPACE | TOKENIZER_STRIP_SPACE;
    t->unknown = v->unknown;
    for (uint32_t id = 0; id < v->count; id++) {
        const ggml_text *token = &v->tokens[id];
        if (isnan(v->scores[id]))
            return fail(r->e, DOPPLER_BAD_FILE, "%s: the score of token %u is no number", v->file,
                        id);
        if (type_of(v, id) == GGML_TOKEN_BYTE) {
            int byte = spelled_byte(token->text, (size_t)token->bytes);
            if (byte < 0)
                return fail(r->e, DOPPLER_BAD_FILE, "%s: byte token %u is \"%.*s\", wanted <0xNN>",
                            v->file, id, (int)(token->bytes < 20 ? token->bytes : 20),
                            token->text);
            vocabulary_add(&t->pieces, id, (char[]){(char)byte}, 1, false);
            if (t->byte_ids[byte] == NO_TOKEN) t->byte_ids[byte] = id;
            continue;
        }
        /* Texts have no spaces of their own left when pieces are looked up. */
        bool findable = !memchr(token->text, ' ', (size_t)token->bytes);
        size_t bytes = unmark_spaces(token->text, (size_t)token->bytes, r->buffer);
        bool normal = type_of(v, id) == GGML_TOKEN_NORMAL && bytes && findable;
        vocabulary_add(&t->pieces, id, r->buffer, bytes, normal);
        if (is_literal(v, id)) add_literal(r, id);
    }
    return make_rules(r);
}

/* ---- the whole */

static doppler_status add_around(reader *r, token_list *list, const char *name, int said,
                                 bool unsaid, uint32_t id) {
    bool wanted = said < 0 ? unsaid : said;
    if (!wanted || id == NO_TOKEN) return DOPPLER_OK;
    if (id >= r->v->count)
        return fail(r->e, DOPPLER_BAD_FILE, "%s: the %s id is %u, there are %u tokens", r->v->file,
                    name, id, r->v->count);
    list->ids = arena_array(&r->t->memory, 1, sizeof *list->ids);
    if (!list->ids) return no_memory(r);
    list->ids[list->count++] = id;
    return DOPPLER_OK;
}

doppler_status tokenizer_read_ggml(error *e, const ggml_vocabulary *v, tokenizer **out) {
    static const struct { const char *model; doppler_status (*read)(reader *r); } kinds[] = {
        {"gpt2", read_byte_level}, {"llama", read_sentencepiece}};
    size_t kind = 0, count = sizeof kinds / sizeof *kinds;
    *out = NULL;
    while (kind < count && strcmp(kinds[kind].model, v->model)) kind++;
    if (kind == count)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: tokenizer.ggml.model \"%.60s\" is not known",
                    v->file, v->model);
    reader r = {.e = e, .t = tokenizer_new(), .v = v};
    if (!r.t) return no_memory(&r);
    doppler_status status = make_room(&r);
    if (!status) status = kinds[kind].read(&r);
    if (!status) status = add_around(&r, &r.t->prefix, "bos", v->add_bos, r.add_bos, v->bos);
    if (!status) status = add_around(&r, &r.t->suffix, "eos", v->add_eos, false, v->eos);
    if (!status && r.t->unknown != NO_TOKEN && r.t->unknown >= v->count)
        status = fail(e, DOPPLER_BAD_FILE, "%s: the unknown id is %u, there are %u tokens", v->file,
                      r.t->unknown, v->count);
    if (!status && (r.t->pieces.collides || r.t->rules.collides || r.texts.collides))
        status = fail(e, DOPPLER_BAD_FILE, "%s: tokens or merges made to collide", v->file);
    if (!status && !words_prepare(r.t)) status = no_memory(&r);
    arena_free(&r.scratch);
    if (status) tokenizer_close(r.t);
    else *out = r.t;
    return status;
}
