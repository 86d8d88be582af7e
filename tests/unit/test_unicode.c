/* test_unicode.c - the generated classes, and the words that the LLaMA 3 regex cuts. */
#include "tokenizer/pretokenize.h"
#include "tokenizer/unicode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void tables_agree_with_the_reference(void **state) {
    (void)state;
    /* Code points that Hugging Face tokenizers 0.23.2 matches with \p{L}, \p{N} and \s. */
    enum { LETTERS = 141028, NUMBERS = 1911, SPACES = 25 };
    uint32_t letters = 0, numbers = 0, spaces = 0;
    for (uint32_t code = 0; code < 0x110000; code++) {
        uint32_t classes = unicode_classes(code);
        letters += (classes & UNICODE_LETTER) != 0;
        numbers += (classes & UNICODE_NUMBER) != 0;
        spaces += (classes & UNICODE_SPACE) != 0;
        assert_int_equal(classes, unicode_search(code));     /* the ASCII shortcut, too */
        uint32_t exclusive = classes & (UNICODE_LETTER | UNICODE_NUMBER | UNICODE_SPACE);
        assert_int_equal(exclusive & (exclusive - 1), 0);
        if (classes & UNICODE_LETTER) assert_true(classes & UNICODE_WORD);
        if (classes & UNICODE_SPACE) assert_false(classes & UNICODE_WORD);
    }
    assert_int_equal(letters, LETTERS);
    assert_int_equal(numbers, NUMBERS);
    assert_int_equal(spaces, SPACES);
}

static void classes_of_known_characters(void **state) {
    (void)state;
    static const struct { uint32_t code, classes; } cases[] = {
        {'a', UNICODE_LETTER | UNICODE_WORD | UNICODE_LOWER},
        {'A', UNICODE_LETTER | UNICODE_WORD | UNICODE_UPPER},
        {0x1C5, UNICODE_LETTER | UNICODE_WORD | UNICODE_UPPER},      /* Lt */
        {0x2B0, UNICODE_LETTER | UNICODE_WORD | UNICODE_UPPER | UNICODE_LOWER},      /* Lm */
        {'5', UNICODE_NUMBER | UNICODE_WORD},
        {'_', UNICODE_WORD},
        {'-', 0},
        {0x0B, UNICODE_SPACE},
        {0x1C, 0},
        {0x85, UNICODE_SPACE},
        {0xA0, UNICODE_SPACE},
        {0xBD, UNICODE_NUMBER},
        {0x301, UNICODE_WORD | UNICODE_UPPER | UNICODE_LOWER},
        {0x180E, 0},
        {0x200B, 0},
        {0x200D, UNICODE_WORD},
        {0x3000, UNICODE_SPACE},
        {0x4E00, UNICODE_LETTER | UNICODE_WORD | UNICODE_UPPER | UNICODE_LOWER},
        {0x9FFF, UNICODE_LETTER | UNICODE_WORD | UNICODE_UPPER | UNICODE_LOWER},
        {0x1F600, 0},
        /* of Unicode 15.1 and 16.0 */
        {0x2EBF0, UNICODE_LETTER | UNICODE_WORD | UNICODE_UPPER | UNICODE_LOWER},
        {0x1C89, UNICODE_LETTER | UNICODE_WORD | UNICODE_UPPER},
        {0x10FFFF, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(unicode_classes(cases[i].code), cases[i].classes);
    assert_string_equal(unicode_version, "16.0.0");
}

static const char llama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

#define P "[^\\r\\n\\p{L}\\p{N}]?"
#define U "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define V "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define C "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
static const char gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char o200k[] = P U "*" V "+" C "|" P U "+" V "*" C "|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char tekken[] = P U "*" V "+|" P U "+" V "*|\\p{N}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* A text and where each of its words ends. */
typedef struct cut { const char *text; size_t ends[8]; } cut;

static void check_cuts(const char *regex, const cut *cases, size_t count) {
    pretokenize_fn next = splitter_match(splitter_by_regex(regex));
    assert_non_null(next);
    for (size_t i = 0; i < count; i++) {
        size_t at = 0, bytes = strlen(cases[i].text);
        for (size_t word = 0; at < bytes; word++) {
            at += next(cases[i].text + at, bytes - at);
            if (at != cases[i].ends[word]) fail_msg("\"%s\": word %zu", cases[i].text, word);
        }
        assert_int_equal(at, bytes);
    }
}

static void llama3_words_end_where_the_regex_does(void **state) {
    (void)state;
    static const cut cases[] = {
        {"it's a test", {2, 4, 6, 11}},
        {"'sword", {2, 6}},
        {"'\xC5\xBFx", {3, 4}},
        {"we'LLama", {2, 5, 8}},
        {"12345", {3, 5}},
        {" 12", {1, 3}},
        {"   a", {2, 4}},
        {"   !", {2, 4}},
        {"   1", {2, 3, 4}},
        {"a   ", {1, 4}},
        {" \n \n  a", {4, 5, 7}},
        {" \n \n", {4}},
        {"!\n\n a", {3, 5}},
        {"\ta\n", {2, 3}},
        {"\r\nab", {2, 4}},
        {"(ab)", {3, 4}},
        {"-_-ab", {3, 5}},
        {"--\xE2\x82\xAC\r\n", {7}},
        {"a\xC2\xA0\xC2\xA0" "b", {1, 3, 6}},
        {"\xF0\x9F\x98\x80\xC3\xA9", {6}},
    };
    check_cuts(llama3, cases, sizeof cases / sizeof *cases);
}

static void gpt2_words_end_where_the_regex_does(void **state) {
    (void)state;
    static const cut cases[] = {
        {"it's IT'S", {2, 4, 7, 8, 9}},
        {"12345 678", {5, 9}},
        {"a  b", {1, 2, 4}},
        {"a\n\nb", {1, 2, 3, 4}},
        {" \n \n", {4}},
        {"!?\n", {2, 3}},
        {" !?a", {3, 4}},
        {"e\xCC\x81", {1, 3}},
    };
    check_cuts(gpt2, cases, sizeof cases / sizeof *cases);
}

static void o200k_words_end_where_the_regex_does(void **state) {
    (void)state;
    static const cut cases[] = {
        {"HTTPServer", {10}},
        {"aBc", {1, 3}},
        {"ABc'LLx", {6, 7}},
        {"'s", {2}},
        {"1234 5", {3, 4, 5, 6}},
        {"!/\n/a", {4, 5}},
        {"\xE4\xB8\xAD" "A", {3, 4}},         /* gives back the A */
        {"\xCC\x81" "A", {2, 3}},             /* a mark as P, then without it */
        {"\xCC\x81" "Ab", {4}},
        {"!\xCC\x81" "A", {3, 4}},
        {"A\xC7\x85" "b", {4}},
        {"  a", {1, 3}},
    };
    check_cuts(o200k, cases, sizeof cases / sizeof *cases);
}

static void tekken_words_end_where_the_regex_does(void **state) {
    (void)state;
    static const cut cases[] = {
        {"123", {1, 2, 3}},
        {"Abc'll", {3, 6}},
        {"a's", {1, 3}},
        {"ABcDE f", {3, 5, 7}},
        {"x//\n", {1, 4}},
    };
    check_cuts(tekken, cases, sizeof cases / sizeof *cases);
}

static void unknown_regex_has_no_matcher(void **state) {
    (void)state;
    assert_int_equal(splitter_by_regex(""), SPLIT_COUNT);
    assert_int_equal(splitter_by_regex("\\s+"), SPLIT_COUNT);
    assert_int_equal(splitter_by_regex(llama3 + 1), SPLIT_COUNT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_agree_with_the_reference),
        cmocka_unit_test(classes_of_known_characters),
        cmocka_unit_test(llama3_words_end_where_the_regex_does),
        cmocka_unit_test(gpt2_words_end_where_the_regex_does),
        cmocka_unit_test(o200k_words_end_where_the_regex_does),
        cmocka_unit_test(tekken_words_end_where_the_regex_does),
        cmocka_unit_test(unknown_regex_has_no_matcher),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
