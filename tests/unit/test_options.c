/* test_options.c - command lines and whole files as the tools see them. */
#include "tools/file.h"
#include "tools/options.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef struct values {
    const char *in, *out, *prompt;
    bool chat;
    uint32_t tokens, kv;
    uint64_t seed, shard;
    float temp;
} values;

static int parse(values *v, int argc, char **argv) {
    *v = (values){.tokens = 64, .shard = 1};
    const argument arguments[] = {
        {"IN", &v->in, "what to read", false},
        {"OUT", &v->out, "where to write", true},
    };
    const option options[] = {
        {"prompt", 'p', OPTION_TEXT, &v->prompt, "TEXT", "what to say", 0, 0},
        {"chat", 0, OPTION_FLAG, &v->chat, NULL, "use the template", 0, 0},
        {"tokens", 'n', OPTION_U32, &v->tokens, "N", "how many", 1, 1000},
        {"kv", 0, OPTION_CHOICE, &v->kv, "f16|f32|q8_0", "cache format", 0, 0},
        {"seed", 0, OPTION_U64, &v->seed, "N", "of sampling", 0, 0},
        {"shard", 0, OPTION_SIZE, &v->shard, "SIZE", "of a shard", 0, 0},
        {"temp", 0, OPTION_F32, &v->temp, "T", "temperature", 0, 100},
        {"input", 0, OPTION_TEXT, &v->in, "IN", "as IN", 0, 0},
    };
    const command c = {"test", "Does nothing.", arguments, 2, options, 8};
    return options_parse(&c, argc, argv);
}

#define PARSE(v, ...) parse(v, sizeof((const char *[]){"test", __VA_ARGS__}) / sizeof(char *), \
                            (char **)(const char *[]){"test", __VA_ARGS__})

static void every_form_is_understood(void **state) {
    (void)state;
    values v;
    assert_int_equal(PARSE(&v, "a", "--prompt", "-x", "--chat", "-n", "7", "--kv=f32", "--seed",
                           "18446744073709551615", "--shard", "64MiB", "--temp=0.5", "b"), -1);
    assert_string_equal(v.in, "a");
    assert_string_equal(v.out, "b");
    assert_string_equal(v.prompt, "-x");
    assert_true(v.chat);
    assert_int_equal(v.tokens, 7);
    assert_int_equal(v.kv, 1);
    assert_true(v.seed == UINT64_MAX);
    assert_true(v.shard == 64 << 20);
    assert_true(v.temp == 0.5f);
    assert_int_equal(PARSE(&v, "-pabc", "-n9", "--prompt=", "--", "--chat"), -1);
    assert_string_equal(v.prompt, "");
    assert_string_equal(v.in, "--chat");
    assert_false(v.chat);
    assert_int_equal(v.tokens, 9);
    assert_null(v.out);
    assert_int_equal(PARSE(&v, "--input", "a", "b"), -1);
    assert_string_equal(v.in, "a");
    assert_string_equal(v.out, "b");
}

static void wrong_usage_is_exit_2(void **state) {
    (void)state;
    values v;
    assert_int_equal(PARSE(&v, "--chat"), 2);
    assert_int_equal(PARSE(&v, "a", "b", "c"), 2);
    assert_int_equal(PARSE(&v, "a", "--nope"), 2);
    assert_int_equal(PARSE(&v, "a", "--promptx", "b"), 2);
    assert_int_equal(PARSE(&v, "a", "-z"), 2);
    assert_int_equal(PARSE(&v, "a", "--prompt"), 2);
    assert_int_equal(PARSE(&v, "a", "--chat=yes"), 2);
    static const char *const bad[] = {
        "--tokens=", "--tokens=0", "--tokens=1001", "--tokens=-1", "--tokens=1x", "--tokens= 1",
        "--tokens=4294967297", "--kv=", "--kv=f1", "--kv=f16|f32", "--kv=q8",
        "--seed=18446744073709551616", "--shard=1.5", "--shard=1TB", "--shard=-1KB", "--shard=MiB",
        "--shard=nan", "--shard=99999999999GB", "--temp=x", "--temp=nan", "--temp=-1",
        "--temp=101", "--temp=1e40",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (PARSE(&v, "a", bad[i]) != 2) fail_msg("%s was accepted", bad[i]);
    assert_int_equal(PARSE(&v, "--help"), 0);
}

static void sizes_have_suffixes(void **state) {
    (void)state;
    static const struct { const char *text; uint64_t bytes; } cases[] = {
        {"0", 0}, {"4096", 4096}, {"1KB", 1000}, {"1KiB", 1024}, {"1.5MiB", 1572864},
        {"2MB", 2000000}, {"3GiB", 3221225472}, {"3GB", 3000000000}, {"7B", 7},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t bytes = 1;
        assert_true(parse_size(cases[i].text, &bytes));
        assert_true(bytes == cases[i].bytes);
    }
}

static void a_file_is_replaced_whole(void **state) {
    (void)state;
    char folder[] = "/tmp/doppler-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_true(file_is_folder(folder));
    char *path = file_join(folder, "a"), *data;
    size_t bytes;
    error e = {0};
    static char large[200000];
    memset(large, 'x', sizeof large);
    assert_int_equal(file_write(&e, path, large, sizeof large), DOPPLER_OK);
    assert_int_equal(file_read(&e, path, &data, &bytes), DOPPLER_OK);
    assert_int_equal(bytes, sizeof large);
    assert_memory_equal(data, large, bytes);
    assert_int_equal(data[bytes], 0);
    free(data);
    assert_int_equal(file_write(&e, path, "", 0), DOPPLER_OK);
    assert_int_equal(file_read(&e, path, &data, &bytes), DOPPLER_OK);
    assert_int_equal(bytes, 0);
    free(data);
    assert_int_equal(file_read(&e, folder, &data, &bytes), DOPPLER_IO);
    assert_non_null(strstr(e.message, folder));
    char *inside = file_join(path, "b");         /* a file is no folder */
    assert_int_equal(file_write(&e, inside, "x", 1), DOPPLER_IO);
    assert_int_equal(file_read(&e, inside, &data, &bytes), DOPPLER_IO);
    assert_null(data);
    unlink(path);
    assert_int_equal(rmdir(folder), 0);          /* no temporary file was left */
    free(inside);
    free(path);
}

static void a_pipe_reads_to_its_end(void **state) {
    (void)state;
    FILE *pipe = popen("head -c 300000 /dev/zero", "r");
    assert_non_null(pipe);
    error e = {0};
    char *data;
    size_t bytes;
    assert_int_equal(file_read_stream(&e, pipe, "pipe", &data, &bytes), DOPPLER_OK);
    assert_int_equal(bytes, 300000);
    free(data);
    pclose(pipe);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_understood),
        cmocka_unit_test(wrong_usage_is_exit_2),
        cmocka_unit_test(sizes_have_suffixes),
        cmocka_unit_test(a_file_is_replaced_whole),
        cmocka_unit_test(a_pipe_reads_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
