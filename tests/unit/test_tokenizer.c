/* test_tokenizer.c - streaming, long texts and hostile files. Ids: test_tokenizer_ids.c. */
#include "memory/utf8.h"
#include "tests/unit/tokenizer_test.h"
#include "tokenizer/sentencepiece.h"

/* A tokenizer.model of four pieces, cut and changed: [0x0A length piece]..., trainer,
 * normalizer. */
static void a_cut_or_changed_sentencepiece_model_is_survived(void **state) {
    (void)state;
    static const char good[] = "\x0A\x09\x0A\x05<unk>\x18\x02"       /* type 2: unknown */
                               "\x0A\x03\x0A\x01" "a"
                               "\x0A\x08\x0A\x01" "b\x15\0\0\x80\xBF" /* score -1 */
                               "\x0A\x04\x0A\x02" "ab"
                               "\x12\x05\x18\x02\xC8\x02\x03"           /* BPE; bos 3 */
                               "\x1A\x02\x20\0";                         /* spaces stay */
    enum { BYTES = sizeof good - 1 };
    tokenizer *t;
    error e = {0};
    uint32_t ids[8];
    char data[BYTES];
    memcpy(data, good, BYTES);
    if (tokenizer_read_sentencepiece(&e, data, BYTES, &t)) fail_msg("%s", e.message);
    assert_int_equal(tokenizer_encode(t, "ab", 2, TOKENIZE_TEMPLATE, ids, 8), 3);
    assert_int_equal(ids[0], 3);                                 /* bos, unknown space, ab */
    assert_int_equal(ids[2], 3);
    tokenizer_close(t);
    for (size_t i = 0; i < BYTES; i++) {
        char *exact = malloc(i ? i : 1);
        memcpy(exact, good, i);
        bool whole = i == BYTES - 4;             /* the defaults of a normalizer */
        doppler_status status = tokenizer_read_sentencepiece(&e, exact, i, &t);
        if (!status != whole) fail_msg("%zu bytes: status %d", i, (int)status);
        tokenizer_close(t);
        free(exact);
        for (int bit = 0; bit < 8; bit++) {
            data[i] = (char)(data[i] ^ 1 << bit);
            if (!tokenizer_read_sentencepiece(&e, data, BYTES, &t)) {
                tokenizer_encode(t, "ab ba", 5, TOKENIZE_SPECIAL, ids, 8);
                tokenizer_close(t);
            }
            data[i] = (char)(data[i] ^ 1 << bit);
        }
    }
}

/* ---- the compiled form */

static void a_cut_or_changed_compiled_form_is_survived(void **state) {
    (void)state;
    size_t bytes, survived = 0;
    char *json_text = load(FIXTURES "added.tokenizer.json", &bytes);
    tokenizer *t;
    error e = {0};
    text compiled = {0};
    assert_int_equal(tokenizer_read_json(&e, json_text, bytes, &t), DOPPLER_OK);
    tokenizer_compile(t, &compiled);
    tokenizer_close(t);
    for (size_t cut = 0; cut < compiled.bytes; cut++) {
        char *exact = malloc(cut ? cut : 1);
        memcpy(exact, compiled.data, cut);
        assert_int_equal(tokenizer_open(&e, exact, cut, &t), DOPPLER_BAD_FILE);
        free(exact);
    }
    for (size_t i = 0; i < compiled.bytes; i++) {
        static const unsigned char flips[] = {1, 0x80, 0xFF};
        for (size_t f = 0; f < sizeof flips; f++) {
            uint32_t ids[16];
            char out[4096];
            token_stream s = {0};
            compiled.data[i] = (char)(compiled.data[i] ^ flips[f]);
            if (!tokenizer_open(&e, compiled.data, compiled.bytes, &t)) {
                size_t count = tokenizer_encode(t, "abc <l> word", 12, 3, ids, 16);
                for (size_t k = 0; k < count && k < 16; k++)
                    if (tokenizer_stream_max(t) <= sizeof out) tokenizer_stream(t, &s, ids[k], out);
                tokenizer_close(t);
                survived++;
            }
            compiled.data[i] = (char)(compiled.data[i] ^ flips[f]);
        }
    }
    assert_in_range(survived, 1, compiled.bytes * 3 - 1);
    text_free(&compiled);
    free(json_text);
}

static void other_versions_of_the_compiled_form_are_refused(void **state) {
    (void)state;
    size_t bytes;
    char *json_text = load(FIXTURES "added.tokenizer.json", &bytes);
    tokenizer *t;
    error e = {0};
    text compiled = {0};
    assert_int_equal(tokenizer_read_json(&e, json_text, bytes, &t), DOPPLER_OK);
    tokenizer_compile(t, &compiled);
    tokenizer_close(t);
    compiled.data[4] = 2;
    assert_int_equal(tokenizer_open(&e, compiled.data, compiled.bytes, &t), DOPPLER_UNSUPPORTED);
    assert_string_equal(e.message, "tokenizer: version 2, this reads 1");
    compiled.data[4] = 1;
    compiled.data[16] = 100;
    assert_int_equal(tokenizer_open(&e, compiled.data, compiled.bytes, &t), DOPPLER_UNSUPPORTED);
    text_free(&compiled);
    free(json_text);
}

static tokenizer *open_micro(void) {
    tokenizer *t = open_file("tests/fixtures/micro/llama3/tokenizer.json");
    assert_non_null(t);
    return t;
}

static void streamed_text_is_whole_characters(void **state) {
    (void)state;
    tokenizer *t = open_micro();
    static const char text[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z";
    uint32_t ids[16];
    size_t count = tokenizer_encode(t, text, sizeof text - 1, 0, ids, 16);
    token_stream s = {0};
    char out[64];
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = tokenizer_stream(t, &s, ids[i], out);
        for (size_t j = 0; j < bytes;) {
            uint32_t code;
            j += utf8_decode(out + j, bytes - j, &code);
            assert_int_not_equal(code, UTF8_ILL_FORMED);
        }
        assert_memory_equal(text + at, out, bytes);
        at += bytes;
    }
    assert_int_equal(at, sizeof text - 1);
    assert_int_equal(tokenizer_stream_end(&s, out), 0);
    /* A cut character is one U+FFFD, also when a special token or an unknown id is between. */
    uint32_t emoji[8];
    assert_true(tokenizer_encode(t, "\xF0\x9F\x98\x80", 4, 0, emoji, 8) > 1);
    assert_int_equal(tokenizer_stream(t, &s, emoji[0], out), 0);
    assert_int_equal(tokenizer_stream(t, &s, 507, out), 0);
    assert_int_equal(tokenizer_stream(t, &s, UINT32_MAX, out), 0);
    assert_int_equal(tokenizer_stream_end(&s, out), 3);
    assert_memory_equal(out, UTF8_REPLACEMENT, 3);
    assert_int_equal(tokenizer_stream_end(&s, out), 0);
    assert_true(tokenizer_is_special(t, 507));
    assert_false(tokenizer_is_special(t, 0));
    assert_false(tokenizer_is_special(t, 512));
    size_t bytes;
    assert_string_equal(tokenizer_piece(t, 507, &bytes), "<|begin_of_text|>");
    assert_string_equal(tokenizer_piece(t, 512, &bytes), "");
    tokenizer_close(t);
}

/* The micro model's special tokens all begin with "<": with every "<" marked none is left, and
 * nothing else changes; with some marked, just those are none. */
static void marked_characters_are_in_no_special_token(void **state) {
    (void)state;
    static const struct { const char *marked, *plain; uint32_t plain_flags; } cases[] = {
        {"a <|eot_id|>\n b", "a <|eot_id|>\n b", TOKENIZE_SPECIAL},
        {"a \xFF<|eot_id|>\n b \xFF<", "a <|eot_id|>\n b <", 0},
        {"\xFF<\xFF|eot_id|>", "<|eot_id|>", 0},
        {"<|eot_id|\xFF>", "<|eot_id|>", 0},
        {"<|eo\xFFt_id|>x", "<|eot_id|>x", 0},
        {"\xFF\xFF<|eot_id|>", "<|eot_id|>", 0},
        {"<|eot_id|>\xFF", "<|eot_id|>", TOKENIZE_SPECIAL},
        {"\xFF""a\xFF \xFF\xC3\xA9", "a \xC3\xA9", 0},
        {"\xE2\x82\xFF<|eot_id|>", "\xEF\xBF\xBD<|eot_id|>", 0},
        {"", "", 0}};
    const uint32_t flags = TOKENIZE_SPECIAL | TOKENIZE_MARKED;
    tokenizer *t = open_micro();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t got[64], want[64];
        const char *marked = cases[i].marked, *plain = cases[i].plain;
        size_t count = tokenizer_encode(t, marked, strlen(marked), flags, got, 64);
        assert_int_equal(
            tokenizer_encode(t, plain, strlen(plain), cases[i].plain_flags, want, 64), count);
        assert_memory_equal(got, want, count * sizeof *got);
    }
    uint32_t ids[64];
    static const char both[] = "<|eot_id|>\xFF<|eot_id|><|eot_id|>";
    size_t count = tokenizer_encode(t, both, sizeof both - 1, flags, ids, 64), special = 0;
    for (size_t i = 0; i < count; i++) special += tokenizer_is_special(t, ids[i]);
    assert_int_equal(special, 2);
    assert_true(tokenizer_is_special(t, ids[0]) && tokenizer_is_special(t, ids[count - 1]));
    tokenizer_close(t);
}

/* Added tokens that are not special are found through marks, with the white space they take. */
static void marks_do_not_hide_other_added_tokens(void **state) {
    (void)state;
    tokenizer *t = open_file(FIXTURES "added.tokenizer.json");
    assert_non_null(t);
    size_t found = 0;
    for (uint32_t id = 0; id < tokenizer_vocab(t); id++) {
        uint32_t want[64], got[64];
        size_t bytes;
        const char *piece = tokenizer_piece(t, id, &bytes);
        char plain[128], marked[128];
        if (!bytes || bytes > 60 || tokenizer_is_special(t, id)) continue;
        size_t length = (size_t)snprintf(plain, sizeof plain, "x %s y", piece);
        size_t count = tokenizer_encode(t, plain, length, 0, want, 64);
        size_t marked_bytes = (size_t)snprintf(marked, sizeof marked, "x \xFF%s y", piece);
        assert_int_equal(tokenizer_encode(t, marked, marked_bytes,
                                          TOKENIZE_SPECIAL | TOKENIZE_MARKED, got, 64), count);
        assert_memory_equal(got, want, count * sizeof *got);
        for (size_t i = 0; i < count; i++) found += want[i] == id;
    }
    assert_true(found > 0);
    tokenizer_close(t);
}

static void ill_formed_text_reads_as_replacement(void **state) {
    (void)state;
    tokenizer *t = open_micro();
    static const char ill[] = "a\xFF\xE2\x82z\xC3";
    static const char well[] = "a\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD";
    uint32_t got[64], want[64];
    size_t count = tokenizer_encode(t, ill, sizeof ill - 1, 0, got, 64);
    assert_int_equal(tokenizer_encode(t, well, sizeof well - 1, 0, want, 64), count);
    assert_memory_equal(got, want, count * sizeof *got);
    unsigned seed = 1;
    for (int i = 0; i < 2000; i++) {     /* any bytes: no crash, and whole characters back */
        char noise[40];
        for (size_t j = 0; j < sizeof noise; j++) {
            seed = seed * 1103515245 + 12345;
            noise[j] = (char)(seed >> 16);
        }
        uint32_t ids[160];
        size_t n = tokenizer_encode(t, noise, sizeof noise, TOKENIZE_SPECIAL, ids, 160);
        assert_true(n > 0 && n <= 120);
        text out = {0};
        decode(t, ids, n, &out);
        uint32_t code;
        for (size_t j = 0; j < out.bytes;) {
            j += utf8_decode(out.data + j, out.bytes - j, &code);
            assert_int_not_equal(code, UTF8_ILL_FORMED);
        }
        text_free(&out);
    }
    tokenizer_close(t);
}

static void long_runs_take_no_quadratic_time(void **state) {
    (void)state;
    static const char *const models[] = {"llama3", "llama2", "gptoss"};
    static const char *const units[] = {"a", " ", "\n", "=", "7", "the", "A", "\xF0\x9F\x98\x80"};
    enum { BYTES = 1 << 20, UNITS = sizeof units / sizeof *units };
    char *long_text = malloc(BYTES);
    assert_non_null(long_text);
    for (size_t i = 0; i < UNITS * sizeof models / sizeof *models; i++) {
        char path[100];
        snprintf(path, sizeof path, "tests/fixtures/micro/%s", models[i / UNITS]);
        tokenizer *t = open_file(path);
        assert_non_null(t);
        size_t unit = strlen(units[i % UNITS]), bytes = BYTES / unit * unit;
        for (size_t at = 0; at < bytes; at += unit) memcpy(long_text + at, units[i % UNITS], unit);
        check_round_trip(t, long_text, bytes);   /* hours, were it quadratic */
        tokenizer_close(t);
    }
    free(long_text);
}

/* The status of opening text with the first `old` replaced by `new`. */
static doppler_status open_changed(const char *text, size_t bytes, const char *old,
                                   const char *new, error *e) {
    const char *at = strstr(text, old);
    if (!at) fail_msg("the fixture has no %s", old);
    char *changed = malloc(bytes + strlen(new));
    assert_non_null(changed);
    size_t before = (size_t)(at - text), after = bytes - before - strlen(old);
    memcpy(changed, text, before);
    memcpy(changed + before, new, strlen(new));
    memcpy(changed + before + strlen(new), at + strlen(old), after);
    tokenizer *t;
    *e = (error){0};
    doppler_status status = tokenizer_read_json(e, changed, before + strlen(new) + after, &t);
    assert_true(status ? t == NULL && e->message[0] : t != NULL);
    tokenizer_close(t);
    free(changed);
    return status;
}

static void unknown_components_are_named(void **state) {
    (void)state;
    static const struct {
        const char *old, *new;
        doppler_status status;
        const char *message;
    } cases[] = {
        {"\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}", DOPPLER_UNSUPPORTED,
         "normalizer NFC"},
        {"\"normalizer\": null", "\"normalizer\": {\"type\":\"Sequence\",\"normalizers\":[]}",
         DOPPLER_OK, ""},
        {"\"type\": \"BPE\"", "\"type\": \"Unigram\"", DOPPLER_UNSUPPORTED, "model Unigram"},
        {"\"type\": \"Split\"", "\"type\": \"Metaspace\"", DOPPLER_UNSUPPORTED, "Metaspace"},
        {"{1,3}", "{1,2}", DOPPLER_UNSUPPORTED, "regex is not known: (?i:"},
        {"\"Isolated\"", "\"Removed\"", DOPPLER_UNSUPPORTED, "Isolated"},
        {"\"invert\": false", "\"invert\": true", DOPPLER_UNSUPPORTED, "inverted"},
        {"\"use_regex\": false", "\"use_regex\": true", DOPPLER_UNSUPPORTED, "use_regex"},
        {"\"type\": \"TemplateProcessing\"", "\"type\": \"BertProcessing\"", DOPPLER_UNSUPPORTED,
         "BertProcessing"},
        {"\"dropout\": null", "\"dropout\": 0.1", DOPPLER_UNSUPPORTED, "dropout"},
        {"\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"</w>\"", DOPPLER_UNSUPPORTED,
         "end_of_word_suffix"},
        {"\"byte_fallback\": false", "\"byte_fallback\": true", DOPPLER_UNSUPPORTED,
         "byte_fallback"},
        {"\"decoder\": {", "\"decoder\": null, \"old\": {", DOPPLER_UNSUPPORTED, "decoder null"},
        {"\"ids\": [", "\"ids\": [100000,", DOPPLER_BAD_FILE, "id 100000"},
        {"\"id\": 38,", "\"id\": 4294967295,", DOPPLER_BAD_FILE, "4294967295"},
        {"\"id\": 38,", "\"id\": 0,", DOPPLER_BAD_FILE, "clashes"},
        {"\"id\": 37,", "\"id\": 50,", DOPPLER_BAD_FILE, "clashes"},
        {"\"content\": \"<r>\"", "\"content\": \"<l>\"", DOPPLER_BAD_FILE, "<l>"},
        {"\"content\": \"<r>\"", "\"content\": 5", DOPPLER_BAD_FILE, "no content"},
        {"\"lstrip\": false", "\"lstrip\": 1", DOPPLER_BAD_FILE, "lstrip"},
        {"\"a\": 0", "\"a\": 1", DOPPLER_BAD_FILE, "two pieces"},
        {"\"a\": 0", "\"a\": 0.5", DOPPLER_BAD_FILE, "0.5"},
        {"\"a\": 0", "\"a\": -1", DOPPLER_BAD_FILE, "-1"},
        {"\"a\": 0", "\"a\": 70000", DOPPLER_BAD_FILE, "70000"},
        {"\"a b\"", "\"a zz\"", DOPPLER_BAD_FILE, "\"zz\" is not in the vocabulary"},
        {"\"a b\"", "\"b a\"", DOPPLER_BAD_FILE, "makes \"ba\""},
        {"\"a b\"", "\"ab\"", DOPPLER_BAD_FILE, "merge 0"},
        {"\"a b\"", "\"a b c\"", DOPPLER_BAD_FILE, "merge 0"},
        {"\"a b\"", "[\"a\",\"b\",\"c\"]", DOPPLER_BAD_FILE, "merge 0"},
        {"\"a b\"", "[\"a\",\"b\"]", DOPPLER_OK, ""},
        {"\"a b\"", "7", DOPPLER_BAD_FILE, "merge 0"},
        {"\"merges\": [", "\"merges\": null, \"old\": [", DOPPLER_BAD_FILE, "no merges"},
    };
    size_t bytes;
    char *text = load(FIXTURES "added.tokenizer.json", &bytes);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        error e;
        doppler_status status = open_changed(text, bytes, cases[i].old, cases[i].new, &e);
        if (status != cases[i].status || !strstr(e.message, cases[i].message))
            fail_msg("%s: status %d, %s", cases[i].new, (int)status, e.message);
    }
    free(text);
}

static void every_cut_and_flipped_file_is_survived(void **state) {
    (void)state;
    size_t bytes;
    char *text = load(FIXTURES "added.tokenizer.json", &bytes);
    assert_non_null(text);
    tokenizer *t;
    error e = {0};
    while (bytes && text[bytes - 1] != '}') bytes--;     /* the document without its newline */
    for (size_t cut = 0; cut < bytes; cut++)
        assert_int_equal(tokenizer_read_json(&e, text, cut, &t), DOPPLER_BAD_FILE);
    for (size_t i = 0; i < bytes; i++) {
        static const char values[] = "\0\"\\{}[],:0919-a \xFF";
        char keep = text[i];
        for (size_t v = 0; v < sizeof values - 1; v++) {
            text[i] = values[v];
            uint32_t ids[16];
            if (tokenizer_read_json(&e, text, bytes, &t)) continue;
            tokenizer_encode(t, "abc <l> word", 12, TOKENIZE_SPECIAL, ids, 16);
            tokenizer_close(t);
        }
        text[i] = keep;
    }
    free(text);
}

static void malformed_files_are_refused(void **state) {
    (void)state;
    arena a = {0};
    json *manifest = load_json(&a, SHARED "vectors/malformed/manifest.json");
    if (!manifest) skip();
    int files = 0;
    for (const json *f = json_get(manifest, "files")->first; f; f = f->next) {
        const char *name = json_get(f, "file")->text;
        if (strncmp(name, "tokenizer_json/", 15) != 0) continue;
        char path[200];
        size_t bytes;
        snprintf(path, sizeof path, SHARED "vectors/malformed/%s", name);
        char *text = load(path, &bytes);
        assert_non_null(text);
        error e = {0};
        tokenizer *t;
        doppler_status status = tokenizer_read_json(&e, text, bytes, &t);
        bool accept = json_is(json_get(f, "expect"), "accept");
        bool reject = json_is(json_get(f, "expect"), "reject");
        bool refused = status == DOPPLER_BAD_FILE || status == DOPPLER_UNSUPPORTED;
        bool right = !(accept && status) && !(reject && !refused);
        if (!right) fail_msg("%s: status %d, %s", name, (int)status, e.message);
        tokenizer_close(t);
        free(text);
        files++;
    }
    assert_int_equal(files, 18);
    arena_free(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_or_changed_sentencepiece_model_is_survived),
        cmocka_unit_test(a_cut_or_changed_compiled_form_is_survived),
        cmocka_unit_test(other_versions_of_the_compiled_form_are_refused),
        cmocka_unit_test(streamed_text_is_whole_characters),
        cmocka_unit_test(marked_characters_are_in_no_special_token),
        cmocka_unit_test(marks_do_not_hide_other_added_tokens),
        cmocka_unit_test(ill_formed_text_reads_as_replacement),
        cmocka_unit_test(long_runs_take_no_quadratic_time),
        cmocka_unit_test(unknown_components_are_named),
        cmocka_unit_test(every_cut_and_flipped_file_is_survived),
        cmocka_unit_test(malformed_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
