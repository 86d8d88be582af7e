/* hf_open.c - a Hugging Face tokenizer.json: which components it names, and whether this version
 * does exactly what they say. What changes no ids (truncation, padding, offsets) is not looked
 * at; anything else unknown is refused by name. */
#include "tokenizer/parts.h"

#include <stdlib.h>

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

static doppler_status take_normalizer(error *e, tokenizer *t, const json *node) {
    (void)t;
    return unsupported(e, "normalizer", node);
}

/* Split by a known regex, then the bytes of the words. */
static doppler_status take_pre_tokenizer(error *e, tokenizer *t, const json *node) {
    const json *type = json_get(node, "type");
    if (json_is(type, "ByteLevel")) {
        if (!t->next_word || t->byte_level)
            return fail(e, DOPPLER_UNSUPPORTED, "%s: ByteLevel without Split is not supported",
                        hf_name);
        if (is_true(node, "add_prefix_space") || is_true(node, "use_regex"))
            return fail(e, DOPPLER_UNSUPPORTED,
                        "%s: ByteLevel with add_prefix_space or use_regex is not supported",
                        hf_name);
        t->byte_level = true;
        return DOPPLER_OK;
    }
    if (!json_is(type, "Split") || t->next_word) return unsupported(e, "pre_tokenizer", node);
    const json *regex = json_get(json_get(node, "pattern"), "Regex");
    if (!regex || regex->type != JSON_STRING || !json_is(json_get(node, "behavior"), "Isolated") ||
        is_true(node, "invert"))
        return fail(e, DOPPLER_UNSUPPORTED,
                    "%s: Split is supported by a regex, Isolated and not inverted", hf_name);
    t->next_word = pretokenize_by_regex(regex->text);
    if (!t->next_word)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: pre_tokenizer regex is not known: %.150s",
                    hf_name, regex->text);
    return DOPPLER_OK;
}

static doppler_status take_decoder(error *e, tokenizer *t, const json *node) {
    (void)t;
    return json_is(json_get(node, "type"), "ByteLevel") ? DOPPLER_OK
                                                        : unsupported(e, "decoder", node);
}

/* Appends the ids that the template's special_tokens give a name. */
static doppler_status add_template_ids(error *e, tokenizer *t, const json *node, const json *name,
                                       token_list *to) {
    const json *ids = name && name->type == JSON_STRING
                          ? json_get(json_get(json_get(node, "special_tokens"), name->text), "ids")
                          : NULL;
    if (!ids || ids->type != JSON_ARRAY)
        return fail(e, DOPPLER_BAD_FILE, "%s: post_processor: special token without ids", hf_name);
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

/* BPE whose words consist of known pieces only, so that unk_token and byte_fallback never act. */
static doppler_status check_model(error *e, const tokenizer *t, const json *model) {
    const json *dropout = json_get(model, "dropout");
    if (!absent(dropout) && !(dropout->type == JSON_NUMBER && dropout->number == 0))
        return fail(e, DOPPLER_UNSUPPORTED, "%s: model with dropout is not supported", hf_name);
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        const json *affix = json_get(model, affixes[i]);
        if (!absent(affix) && !json_is(affix, ""))
            return fail(e, DOPPLER_UNSUPPORTED, "%s: model with %s is not supported", hf_name,
                        affixes[i]);
    }
    bool unknown = !absent(json_get(model, "unk_token")) || is_true(model, "byte_fallback");
    for (int byte = 0; byte < 256 && unknown; byte++)
        if (t->byte_ids[byte] == NO_TOKEN)
            return fail(e, DOPPLER_UNSUPPORTED,
                        "%s: model with unk_token or byte_fallback is not supported", hf_name);
    return DOPPLER_OK;
}

static doppler_status read(error *e, tokenizer *t, const json *root, arena *scratch) {
    const json *model = json_get(root, "model");
    if (!model || model->type != JSON_OBJECT)
        return fail(e, DOPPLER_BAD_FILE, "%s: no model", hf_name);
    const json *type = json_get(model, "type");          /* absent in files before 2020-09 */
    if (!absent(type) && !json_is(type, "BPE")) return unsupported(e, "model", model);
    static const struct { const char *name, *list; component_fn take; } components[] = {
        {"normalizer", "normalizers", take_normalizer},
        {"pre_tokenizer", "pretokenizers", take_pre_tokenizer},
        {"decoder", "decoders", take_decoder},
        {"post_processor", "processors", take_post_processor},
    };
    doppler_status status = hf_read_model(e, t, root, scratch);
    if (!status) status = check_model(e, t, model);
    for (size_t i = 0; i < sizeof components / sizeof *components && !status; i++)
        status = each(e, t, json_get(root, components[i].name), components[i].list,
                      components[i].take);
    if (status) return status;
    if (!t->byte_level) return unsupported(e, "pre_tokenizer", json_get(root, "pre_tokenizer"));
    if (absent(json_get(root, "decoder"))) return unsupported(e, "decoder", NULL);
    return DOPPLER_OK;
}

doppler_status tokenizer_open(error *e, const char *text, size_t bytes, tokenizer **out) {
    *out = NULL;
    arena scratch = {0};
    json *root;
    doppler_status status = json_parse(e, &scratch, hf_name, text, bytes, &root);
    tokenizer *t = status ? NULL : calloc(1, sizeof *t);
    if (!status && !t) status = fail(e, DOPPLER_NO_MEMORY, "%s: out of memory", hf_name);
    if (!status) status = read(e, t, root, &scratch);
    arena_free(&scratch);
    if (status) tokenizer_close(t);
    else *out = t;
    return status;
}
