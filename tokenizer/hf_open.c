/* hf_open.c - a Hugging Face tokenizer.json: which components it names, and whether this version
 * does exactly what they say. What changes no ids (truncation, padding, offsets) is not looked
 * at; anything else unknown is refused by name. */
#include "tokenizer/spelling.h"
#include "tokenizer/words.h"

#include <stdlib.h>

enum { MAX_TEMPLATE = 64 };      /* parts of a post-processor's template, and ids of each side */

static bool absent(const json *node) {
    return !node || node->type == JSON_NULL;
}

static bool is_true(const json *object, const char *key) {
    const json *m = json_get(object, key);
    return m && m->type == JSON_BOOL && m->boolean;
}

static doppler_status unsupported(error *e, const char *component, const json *node) {
    const json *type = json_get(node, "type");
    return fail(e, DOPPLER_UNSUPPORTED, "%s: %s %.60s is not supported", hf_name, component,
                absent(node)                            ? "null"
                : type && type->type == JSON_STRING ? type->text
                                                        : "without a type");
}

/* Components come alone or as a Sequence of them; depth is limited by the JSON reader's. Calls
 * take for each and stops at a failure. */
typedef doppler_status (*component_fn)(error *e, tokenizer *t, const json *component);

static doppler_status each(error *e, tokenizer *t, const json *node, const char *list,
                           component_fn take) {
    if (absent(node)) return DOPPLER_OK;
    if (!json_is(json_get(node, "type"), "Sequence")) return take(e, t, node);
    const json *members = json_get(node, list);
    if (!members || members->type != JSON_ARRAY)
        return fail(e, DOPPLER_BAD_FILE, "%s: Sequence without %s", hf_name, list);
    for (const json *m = members->first; m; m = m->next) {
        doppler_status status = each(e, t, m, list, take);
        if (status) return status;
    }
    return DOPPLER_OK;
}

/* A pattern's or member's text equal to `text`. */
static bool has(const json *node, const char *key, const char *text) {
    return json_is(json_get(node, key), text);
}

/* SentencePiece's, as Hugging Face writes it: a mark before every text, marks for spaces. */
static doppler_status take_normalizer(error *e, tokenizer *t, const json *node) {
    bool prepend = has(node, "type", "Prepend") && has(node, "prepend", SPACE_MARK);
    bool replace = has(node, "type", "Replace") && has(node, "content", SPACE_MARK) &&
                   has(json_get(node, "pattern"), "String", " ");
    if (!prepend && !replace) return unsupported(e, "normalizer", node);
    t->flags |= TOKENIZER_NORMALIZED | (prepend ? TOKENIZER_PREFIX_SPACE : TOKENIZER_MARKED_SPACE);
    return DOPPLER_OK;
}

/* The bytes of words, cut before by a Split or here by GPT-2's regex. */
static doppler_status take_byte_level(error *e, tokenizer *t, const json *node) {
    const json *regex = json_get(node, "use_regex");     /* true where it is not said */
    bool cuts = !regex || regex->type != JSON_BOOL || regex->boolean;
    if (t->words == WORDS_BYTES || is_true(node, "add_prefix_space") ||
        cuts != (t->split == SPLIT_NONE))
        return fail(e, DOPPLER_UNSUPPORTED,
                    "%s: ByteLevel with add_prefix_space, with use_regex behind a Split or without "
                    "both is not supported", hf_name);
    if (cuts) t->split = SPLIT_GPT2;
    t->words = WORDS_BYTES;
    return DOPPLER_OK;
}

/* Marks for spaces, and one before a text that begins with none. */
static doppler_status take_metaspace(error *e, tokenizer *t, const json *node) {
    static const struct { const char *name; uint32_t flags; } schemes[] = {
        {"always", TOKENIZER_PREFIX_SPACE | TOKENIZER_PREFIX_MISSING},
        {"first", TOKENIZER_PREFIX_SPACE | TOKENIZER_PREFIX_MISSING | TOKENIZER_PREFIX_FIRST},
        {"never", 0}};
    const json *scheme = json_get(node, "prepend_scheme"), *split = json_get(node, "split");
    bool old = absent(scheme);                           /* files before 2023-11 */
    size_t i = 0, count = sizeof schemes / sizeof *schemes;
    if (old) i = is_true(node, "add_prefix_space") ? 0 : 2;
    while (!old && i < count && !json_is(scheme, schemes[i].name)) i++;
    if (i == count || !has(node, "replacement", SPACE_MARK) || t->flags || t->split != SPLIT_NONE)
        return unsupported(e, "pre_tokenizer", node);
    t->flags |= TOKENIZER_MARKED_SPACE | schemes[i].flags;
    if (!split || split->type != JSON_BOOL || split->boolean) t->split = SPLIT_SPACES;
    return DOPPLER_OK;
}

static doppler_status take_pre_tokenizer(error *e, tokenizer *t, const json *node) {
    if (has(node, "type", "ByteLevel")) return take_byte_level(e, t, node);
    if (has(node, "type", "Metaspace")) return take_metaspace(e, t, node);
    /* Gemma's: no space is left to cut at once spaces are marked. */
    bool split = has(node, "type", "Split"), inverted = is_true(node, "invert");
    if (split && t->flags & TOKENIZER_MARKED_SPACE && t->flags & TOKENIZER_NORMALIZED &&
        has(json_get(node, "pattern"), "String", " ") && !inverted)
        return DOPPLER_OK;
    if (!split || t->split != SPLIT_NONE) return unsupported(e, "pre_tokenizer", node);
    const json *regex = json_get(json_get(node, "pattern"), "Regex");
    if (!regex || regex->type != JSON_STRING || !has(node, "behavior", "Isolated") || inverted)
        return fail(e, DOPPLER_UNSUPPORTED,
                    "%s: Split is supported by a regex, Isolated and not inverted", hf_name);
    t->split = splitter_by_regex(regex->text);
    if (t->split == SPLIT_COUNT)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: pre_tokenizer regex is not known: %.150s",
                    hf_name, regex->text);
    return DOPPLER_OK;
}

/* Decoding joins the bytes of pieces, which is what ByteLevel, and of SentencePiece Replace,
 * ByteFallback and Fuse together do. */
static doppler_status take_decoder(error *e, tokenizer *t, const json *node) {
    bool bytes = t->words == WORDS_BYTES, marked = t->flags & TOKENIZER_MARKED_SPACE;
    if (bytes && has(node, "type", "ByteLevel")) return DOPPLER_OK;
    if (bytes || !marked) return unsupported(e, "decoder", node);
    if (has(node, "type", "ByteFallback") || has(node, "type", "Fuse")) return DOPPLER_OK;
    if (has(node, "type", "Replace") && has(node, "content", " ") &&
        has(json_get(node, "pattern"), "String", SPACE_MARK))
        return DOPPLER_OK;
    if (has(node, "type", "Metaspace") && has(node, "replacement", SPACE_MARK)) {
        const json *scheme = json_get(node, "prepend_scheme");
        bool strip = absent(scheme) ? is_true(node, "add_prefix_space") : !json_is(scheme, "never");
        if (strip) t->flags |= TOKENIZER_STRIP_TOKEN;
        return DOPPLER_OK;
    }
    uint32_t start, stop;
    static const char what[] = "tokenizer.json: decoder";
    if (!has(node, "type", "Strip") || !has(node, "content", " ") ||
        json_u32(e, what, node, "start", 1, 1, &start) ||
        json_u32(e, what, node, "stop", 0, 0, &stop))
        return unsupported(e, "decoder", node);
    t->flags |= TOKENIZER_STRIP_SPACE;
    return DOPPLER_OK;
}

bool hf_decodes(const json *root, const char *type, const char *before) {
    const json *decoder = json_get(root, "decoder"), *all = json_get(decoder, "decoders");
    for (const json *m = all ? all->first : NULL; m; m = m->next) {
        if (has(m, "type", type)) return true;
        if (before && has(m, "type", before)) return false;
    }
    return has(decoder, "type", type);
}

/* What the pieces need, and the order in which it must come, so that joining bytes does it all. */
static doppler_status check_decoder(error *e, const tokenizer *t, const json *root) {
    bool none = absent(json_get(root, "decoder"));
    if (t->words == WORDS_BYTES) return none ? unsupported(e, "decoder", NULL) : DOPPLER_OK;
    const struct { bool needed; const char *type, *before; } needs[] = {
        {t->flags & TOKENIZER_MARKED_SPACE && !hf_decodes(root, "Metaspace", NULL), "Replace",
         "ByteFallback"},
        {t->flags & TOKENIZER_BYTE_FALLBACK, "ByteFallback", "Fuse"},
        {t->flags & TOKENIZER_STRIP_SPACE, "Fuse", "Strip"}};
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if (needs[i].needed && !hf_decodes(root, needs[i].type, needs[i].before))
            return fail(e, DOPPLER_UNSUPPORTED, "%s: decoder without %s before %s is not supported",
                        hf_name, needs[i].type, needs[i].before);
    return DOPPLER_OK;
}

/* Appends the ids that the template's special_tokens give a name. */
static doppler_status add_template_ids(error *e, tokenizer *t, const json *node, const json *name,
                                       token_list *to) {
    const json *ids = name && name->type == JSON_STRING
                          ? json_get(json_get(json_get(node, "special_tokens"), name->text), "ids")
                          : NULL;
    if (!ids || ids->type != JSON_ARRAY)
        return fail(e, DOPPLER_BAD_FILE, "%s: post_processor: special token without ids", hf_name);
    if (ids->count > MAX_TEMPLATE - to->count)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: post_processor: more than %d ids around a text",
                    hf_name, MAX_TEMPLATE);
    uint32_t *all = arena_array(&t->memory, (size_t)to->count + ids->count, sizeof *all);
    if (!all) return fail(e, DOPPLER_NO_MEMORY, "%s: post_processor", hf_name);
    for (uint32_t i = 0; i < to->count; i++) all[i] = to->ids[i];
    to->ids = all;
    for (const json *id = ids->first; id; id = id->next) {
        if (id->type != JSON_NUMBER || !id->is_integer || id->integer < 0 ||
            id->integer >= t->pieces.ids)
            return fail(e, DOPPLER_BAD_FILE, "%s: post_processor: id %.17g of %u tokens", hf_name,
                        id->number, t->pieces.ids);
        to->ids[to->count++] = (uint32_t)id->integer;
    }
    return DOPPLER_OK;
}

/* TemplateProcessing for a single text: special tokens around "A". ByteLevel moves offsets only. */
static doppler_status take_post_processor(error *e, tokenizer *t, const json *node) {
    const json *type = json_get(node, "type");
    if (json_is(type, "ByteLevel")) return DOPPLER_OK;
    if (!json_is(type, "TemplateProcessing") || t->prefix.ids || t->suffix.ids)
        return unsupported(e, "post_processor", node);
    const json *single = json_get(node, "single");
    bool text_seen = false;
    if (single && single->count > MAX_TEMPLATE)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: post_processor: a template of %u parts, at most "
                    "%d", hf_name, single->count, MAX_TEMPLATE);
    for (const json *m = single ? single->first : NULL; m; m = m->next) {
        const json *special = json_get(m, "SpecialToken");
        if (special) {
            doppler_status status = add_template_ids(e, t, node, json_get(special, "id"),
                                                     text_seen ? &t->suffix : &t->prefix);
            if (status) return status;
        } else if (!text_seen && json_is(json_get(json_get(m, "Sequence"), "id"), "A")) {
            text_seen = true;
        } else {
            return fail(e, DOPPLER_UNSUPPORTED, "%s: post_processor template is not known",
                        hf_name);
        }
    }
    if (!text_seen)
        return fail(e, DOPPLER_BAD_FILE, "%s: post_processor template without a text", hf_name);
    return DOPPLER_OK;
}

static doppler_status read_settings(error *e, tokenizer *t, const json *model) {
    static const struct { const char *name; uint32_t flag; } flags[] = {
        {"ignore_merges", TOKENIZER_WHOLE_WORDS}, {"byte_fallback", TOKENIZER_BYTE_FALLBACK},
        {"fuse_unk", TOKENIZER_FUSE_UNKNOWN}};
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const json *dropout = json_get(model, "dropout");
    if (!absent(dropout) && !(dropout->type == JSON_NUMBER && dropout->number == 0))
        return fail(e, DOPPLER_UNSUPPORTED, "%s: model with dropout is not supported", hf_name);
    for (int i = 0; i < 2; i++) {
        const json *affix = json_get(model, affixes[i]);
        if (!absent(affix) && !json_is(affix, ""))
            return fail(e, DOPPLER_UNSUPPORTED, "%s: model with %s is not supported", hf_name,
                        affixes[i]);
    }
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool set;
        doppler_status status = json_bool_or(e, "tokenizer.json: model", model, flags[i].name,
                                             false, &set);
        if (status) return status;
        if (set) t->flags |= flags[i].flag;
    }
    return DOPPLER_OK;
}

/* Words of bytes must consist of known pieces only, so that unk_token and byte_fallback never
 * act. */
static doppler_status check_bytes(error *e, tokenizer *t) {
    bool unknown = t->unknown != NO_TOKEN || t->flags & TOKENIZER_BYTE_FALLBACK;
    if (t->words != WORDS_BYTES) return DOPPLER_OK;
    for (int byte = 0; byte < 256 && unknown; byte++)
        if (t->byte_ids[byte] == NO_TOKEN)
            return fail(e, DOPPLER_UNSUPPORTED,
                        "%s: model with unk_token or byte_fallback is not supported", hf_name);
    t->unknown = NO_TOKEN;
    t->flags &= ~(uint32_t)(TOKENIZER_BYTE_FALLBACK | TOKENIZER_FUSE_UNKNOWN);
    return DOPPLER_OK;
}

static doppler_status read(error *e, tokenizer *t, const json *root, arena *scratch) {
    const json *model = json_get(root, "model");
    if (!model || model->type != JSON_OBJECT)
        return fail(e, DOPPLER_BAD_FILE, "%s: no model", hf_name);
    const json *type = json_get(model, "type");          /* absent in files before 2020-09 */
    if (!absent(type) && !json_is(type, "BPE")) return unsupported(e, "model", model);
    const json *pre_tokenizer = json_get(root, "pre_tokenizer");
    const json *decoder = json_get(root, "decoder");
    doppler_status status = each(e, t, json_get(root, "normalizer"), "normalizers",
                                 take_normalizer);
    if (!status) status = each(e, t, pre_tokenizer, "pretokenizers", take_pre_tokenizer);
    if (status) return status;
    if (t->words != WORDS_BYTES && t->split != SPLIT_NONE && t->split != SPLIT_SPACES)
        return unsupported(e, "pre_tokenizer", pre_tokenizer);
    if (t->words == WORDS_BYTES && t->flags) return unsupported(e, "normalizer", NULL);
    if (t->words != WORDS_BYTES) t->words = WORDS_CHARACTERS;
    if (t->flags & TOKENIZER_PREFIX_SPACE && !(t->flags & TOKENIZER_MARKED_SPACE))
        return fail(e, DOPPLER_UNSUPPORTED, "%s: Prepend without Replace is not supported",
                    hf_name);
    if (absent(decoder)) t->flags |= TOKENIZER_JOIN_SPACE;
    if ((status = each(e, t, decoder, "decoders", take_decoder)) ||
        (status = read_settings(e, t, model)) || (status = check_decoder(e, t, root)) ||
        (status = hf_read_model(e, t, root, scratch)) || (status = check_bytes(e, t)) ||
        (status = each(e, t, json_get(root, "post_processor"), "processors", take_post_processor)))
        return status;
    if (words_prepare(t)) return DOPPLER_OK;
    return fail(e, DOPPLER_NO_MEMORY, "%s: %u tokens", hf_name, t->pieces.ids);
}

doppler_status tokenizer_read_json(error *e, const char *text, size_t bytes, tokenizer **out) {
    *out = NULL;
    arena scratch = {0};
    json *root;
    doppler_status status = json_parse(e, &scratch, hf_name, text, bytes, &root);
    tokenizer *t = status ? NULL : tokenizer_new();
    if (!status && !t) status = fail(e, DOPPLER_NO_MEMORY, "%s: out of memory", hf_name);
    if (!status) status = read(e, t, root, &scratch);
    arena_free(&scratch);
    if (status) tokenizer_close(t);
    else *out = t;
    return status;
}
