/* test_tokenizer_ids.c - token ids and decoded texts against Hugging Face tokenizers (the committed
 * fixtures/tokenizer on our own vocabularies, and real ones where ../shared is present) and against
 * llama.cpp's vectors. */
#include "memory/utf8.h"
#include "tests/unit/tokenizer_test.h"
#include "tokenizer/unicode.h"

static void check_decoded(const tokenizer *t, const json *ids, const char *want, size_t bytes) {
    static uint32_t list[MAX_IDS];
    size_t count = 0;
    for (const json *id = ids->first; id && count < MAX_IDS; id = id->next)
        list[count++] = (uint32_t)id->integer;
    text out = {0};
    decode(t, list, count, &out);
    if (out.bytes != bytes || (bytes && memcmp(out.data, want, bytes)))
        fail_msg("\"%.200s\" comes back as \"%.200s\"", want, out.data ? out.data : "");
    text_free(&out);
}

/* With all its characters marked but white space, a text has the ids of one without special
 * tokens. */
static void check_marked(const tokenizer *t, const json *text) {
    static uint32_t want[MAX_IDS], got[MAX_IDS];
    char *marked = malloc(2 * text->text_bytes + 1);
    assert_non_null(marked);
    size_t n = 0;
    for (size_t at = 0, step; at < text->text_bytes; at += step) {
        uint32_t code;
        step = utf8_decode(text->text + at, text->text_bytes - at, &code);
        bool space = unicode_classes(code) & UNICODE_SPACE || code == 0x2581;
        if (!space) marked[n++] = (char)TOKENIZE_MARK;
        memcpy(marked + n, text->text + at, step);
        n += step;
    }
    size_t count = tokenizer_encode(t, text->text, text->text_bytes, 0, want, MAX_IDS);
    size_t marked_count = tokenizer_encode(t, marked, n, TOKENIZE_SPECIAL | TOKENIZE_MARKED, got,
                                           MAX_IDS);
    if (count != marked_count || memcmp(want, got, count * sizeof *got))
        fail_msg("\"%.200s\" marked: %zu ids, wanted %zu", text->text, marked_count, count);
    free(marked);
}

/* ---- committed vectors */

/* The file's tokenizer with each [old, new] of changes; NULL: not here. */
static tokenizer *open_changed(const char *path, const json *changes) {
    if (!changes || !changes->count) return open_file(path);
    size_t bytes;
    char *data = load(path, &bytes);
    assert_non_null(data);
    for (const json *c = changes->first; c; c = c->next) {
        const json *old = c->first, *new = old->next;
        char *at = strstr(data, old->text);
        if (!at) fail_msg("%s has no %s", path, old->text);
        size_t before = (size_t)(at - data), after = bytes - before - old->text_bytes;
        char *changed = malloc(bytes + new->text_bytes + 1);
        assert_non_null(changed);
        memcpy(changed, data, before);
        memcpy(changed + before, new->text, new->text_bytes);
        memcpy(changed + before + new->text_bytes, at + old->text_bytes, after);
        bytes = before + new->text_bytes + after;
        changed[bytes] = 0;
        free(data);
        data = changed;
    }
    error e = {0};
    tokenizer *t;
    if (tokenizer_read_json(&e, data, bytes, &t)) fail_msg("%s: %s", path, e.message);
    free(data);
    return compiled_again(t);
}

static void check_vectors(const char *name) {
    arena a = {0};
    char path[120];
    snprintf(path, sizeof path, FIXTURES "%s.vectors.json", name);
    json *root = load_json(&a, path);
    assert_non_null(root);
    tokenizer *t = open_changed(json_get(root, "tokenizer")->text, json_get(root, "changes"));
    if (!t) {
        arena_free(&a);
        skip();
    }
    for (const json *c = json_get(root, "cases")->first; c; c = c->next) {
        const json *text = json_get(c, "text"), *ids = json_get(c, "ids");
        const json *plain = json_get(c, "plain"), *around = json_get(c, "around");
        check_ids(t, text, TOKENIZE_SPECIAL, ids);
        check_ids(t, text, 0, plain ? plain : ids);
        check_marked(t, text);
        if (around) check_ids(t, text, TOKENIZE_SPECIAL | TOKENIZE_TEMPLATE, around);
    }
    for (const json *d = json_get(root, "decodes")->first; d; d = d->next) {
        const json *text = json_get(d, "text");
        check_decoded(t, json_get(d, "ids"), text->text, text->text_bytes);
    }
    tokenizer_close(t);
    arena_free(&a);
}

static void small_vocabularies_give_reference_ids(void **state) {
    (void)state;
    static const char *const names[] = {"micro-llama3", "micro-llama2", "micro-gemma3",
                                        "micro-gptoss", "added"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) check_vectors(names[i]);
}

static void components_of_no_model_of_ours_give_reference_ids(void **state) {
    (void)state;
    static const char *const names[] = {"gpt2", "tekken", "metaspace-first", "metaspace-always",
                                        "normalized", "unknown", "unknown-each"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) check_vectors(names[i]);
}

static void stories_vocabulary_gives_reference_ids(void **state) {
    (void)state;
    check_vectors("stories");
}

static void golden_prompts_have_their_ids(void **state) {
    (void)state;
    static const char *const roots[] = {"tests/fixtures/micro/", SHARED "models/"};
    static const char *const models[] = {"llama2", "llama3", "mistral", "gemma3", "mixtral",
                                         "gptoss", "stories"};
    for (size_t i = 0; i < 2 * sizeof models / sizeof *models; i++) {
        arena a = {0};
        char folder[100], path[120];
        snprintf(folder, sizeof folder, "%s%s", roots[i % 2], models[i / 2]);
        if (access(folder, R_OK)) continue;              /* neither root has them all */
        snprintf(path, sizeof path, "%s/golden.json", folder);
        json *golden = load_json(&a, path);
        assert_non_null(golden);
        tokenizer *t = open_file(folder);
        for (const json *p = json_get(golden, "prompts")->first; p; p = p->next)
            check_ids(t, json_get(p, "text"), TOKENIZE_SPECIAL | TOKENIZE_TEMPLATE,
                      json_get(p, "ids"));
        tokenizer_close(t);
        arena_free(&a);
    }
}

/* ---- real vocabularies */

/* Ids of 1285 texts, of 453 with special tokens, and the way back. */
static const struct { const char *family, *file; uint32_t vocab; } families[] = {
    {"llama2", "llama2/tokenizer.json", 32000},
    {"llama2", "llama2/tokenizer.model", 32000},
    {"llama3", "llama3/tokenizer.json.gz", 128256},
    {"mistral_v1", "mistral/v1-hf/tokenizer.json", 32000},
    {"mistral_v1", "mistral/tokenizer.model.v1", 32000},
    {"mistral_v2", "mistral/mistral_instruct_tokenizer_240216.model.v2", 32768},
    {"mistral_v3", "mistral/v3-derived/tokenizer.json", 32768},
    {"mistral_v3", "mistral/mistral_instruct_tokenizer_240323.model.v3", 32768},
    {"mistral_v3_metaspace", "mistral/v3-derived/tokenizer.metaspace.json", 32768},
    {"nemo", "mistral/nemo/tokenizer.json.gz", 131072},
    {"gemma3", "gemma3/tokenizer.json.gz", 262145},
    {"gptoss", "gptoss/tokenizer.json.gz", 200019},
};

typedef struct golden {
    arena memory;                /* owned */
    json *texts, *special;
} golden;

static void check_texts(const tokenizer *t, const golden *g, const json *ids) {
    const json *want = json_get(ids, "ids")->first;
    const json *differ = json_get(ids, "decoded_where_different_from_text");
    uint32_t i = 0;
    assert_int_equal(g->texts->count, 1285);
    assert_int_equal(json_get(ids, "ids")->count, 1285);
    for (const json *c = g->texts->first; c; c = c->next, want = want->next, i++) {
        char number[12];
        snprintf(number, sizeof number, "%u", i);
        const json *text = json_get(c, "text"), *other = json_get(differ, number);
        check_ids(t, text, TOKENIZE_SPECIAL, want);
        check_marked(t, text);
        if (other) check_decoded(t, want, other->text, other->text_bytes);
        else check_decoded(t, want, text->text, text->text_bytes);
    }
}

/* Returns how many there are. */
static uint32_t check_special(const tokenizer *t, const golden *g, const char *family) {
    uint32_t cases = 0;
    for (const json *c = json_get(g->special, "vectors")->first; c; c = c->next) {
        if (!json_is(json_get(c, "family"), family)) continue;
        const json *text = json_get(c, "text"), *ids = json_get(c, "ids");
        const json *decoded = json_get(c, "decoded_skip_special");
        check_ids(t, text, TOKENIZE_SPECIAL, ids);
        check_ids(t, text, TOKENIZE_SPECIAL | TOKENIZE_TEMPLATE, json_get(c, "ids_add_special"));
        check_marked(t, text);
        check_decoded(t, ids, decoded->text, decoded->text_bytes);
        cases++;
    }
    return cases;
}

static void real_vocabularies_give_reference_ids(void **state) {
    (void)state;
    golden g = {0};
    g.texts = load_json(&g.memory, SHARED "vectors/golden/tokenizer_texts.json");
    if (!g.texts) skip();
    g.special = load_json(&g.memory, SHARED "vectors/golden/tokenizer_special.json");
    assert_non_null(g.special);
    uint32_t special = 0;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char path[120];
        arena a = {0};
        bool again = i && !strcmp(families[i].family, families[i - 1].family);
        snprintf(path, sizeof path, SHARED "vectors/tokenizers/%s", families[i].file);
        tokenizer *t = open_file(path);
        if (!t) fail_msg("%s is not here", path);
        assert_int_equal(tokenizer_vocab(t), families[i].vocab);
        snprintf(path, sizeof path, SHARED "vectors/golden/tokenizer_ids_%s.json",
                 families[i].family);
        json *ids = load_json(&a, path);
        assert_non_null(ids);
        check_texts(t, &g, ids);
        uint32_t cases = check_special(t, &g, families[i].family);
        if (!again) special += cases;
        tokenizer_close(t);
        arena_free(&a);
    }
    assert_int_equal(special, 453);
    arena_free(&g.memory);
}

/* llama.cpp's own vectors: texts apart by a line, ids a line each, without BOS. */
static void llama_cpps_texts_have_its_ids(void **state) {
    (void)state;
#define GGUF SHARED "vectors/llamacpp-vocab/ggml-vocab-"
#define REAL SHARED "vectors/tokenizers/"
    static const struct { const char *name, *file; } cases[] = {
        {"llama-spm", GGUF "llama-spm.gguf"}, {"phi-3", GGUF "phi-3.gguf"},
        {"llama-spm", REAL "llama2/tokenizer.model"}, {"llama-spm", REAL "llama2/tokenizer.json"},
        {"llama-bpe", REAL "llama3/tokenizer.json.gz"},
        {"gpt-4o", REAL "gptoss/tokenizer.json.gz"},
        {"tekken", REAL "mistral/nemo/tokenizer.json.gz"},
        {"gemma-4", REAL "gemma3/tokenizer.json.gz"}};
    static const char between[] = "\n__ggml_vocab_test__\n";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[120];
        size_t in_bytes, out_bytes, texts = 0;
        snprintf(path, sizeof path, GGUF "%s.gguf.inp", cases[i].name);
        char *in = load(path, &in_bytes);
        if (!in) skip();
        strcpy(path + strlen(path) - 4, ".out");
        char *out = load(path, &out_bytes), *line = out;
        tokenizer *t = open_file(cases[i].file);
        assert_non_null(t);
        for (char *text = in, *end; text && *text; texts++) {
            uint32_t ids[4096];
            end = strstr(text, between);
            size_t bytes = end ? (size_t)(end - text) : strlen(text);
            size_t count = tokenizer_encode(t, text, bytes, 0, ids, 4096);
            for (size_t k = 0; k < count; k++)
                if (strtoul(line, &line, 10) != ids[k])
                    fail_msg("%s: \"%.80s\"", cases[i].file, text);
            line += strspn(line, " ");
            assert_int_equal(*line++, '\n');
            text = end ? end + sizeof between - 1 : NULL;
        }
        assert_int_equal(texts, 46);
        tokenizer_close(t);
        free(in);
        free(out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_vocabularies_give_reference_ids),
        cmocka_unit_test(components_of_no_model_of_ours_give_reference_ids),
        cmocka_unit_test(stories_vocabulary_gives_reference_ids),
        cmocka_unit_test(golden_prompts_have_their_ids),
        cmocka_unit_test(real_vocabularies_give_reference_ids),
        cmocka_unit_test(llama_cpps_texts_have_its_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
