/* test_tokenizer_hostile.c - tokenizers that ask for time or memory without end. */
#include "memory/text.h"
#include "tests/package.h"
#include "tokenizer/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Each part of a template adds the ids of its token: a file of 30 kB once took gigabytes. */
static void endless_templates_are_refused(void **state) {
    (void)state;
    static const struct { int parts, ids; doppler_status wanted; } cases[] = {
        {1, 1, DOPPLER_OK}, {8, 8, DOPPLER_OK}, {60, 2, DOPPLER_UNSUPPORTED},
        {1, 65, DOPPLER_UNSUPPORTED}, {1000, 0, DOPPLER_UNSUPPORTED},
        {1000, 1000, DOPPLER_UNSUPPORTED}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        text t = {0};
        text_add(&t, package_tokenizer, strlen(package_tokenizer) - 1);
        text_format(&t, ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [");
        for (int i = 0; i < cases[c].parts; i++)
            text_format(&t, "{\"SpecialToken\": {\"id\": \"a\"}}, ");
        text_format(&t, "{\"Sequence\": {\"id\": \"A\"}}], \"special_tokens\": {\"a\": {\"ids\": [");
        for (int i = 0; i < cases[c].ids; i++) text_format(&t, i ? ", 0" : "0");
        text_format(&t, "]}}}}");
        error e = {0};
        tokenizer *opened;
        assert_int_equal(tokenizer_read_json(&e, t.data, t.bytes, &opened), cases[c].wanted);
        tokenizer_close(opened);
        text_free(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endless_templates_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
