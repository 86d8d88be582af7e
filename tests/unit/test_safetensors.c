/* test_safetensors.c - headers made here, and the public malformed files where ../shared is. */
#include "bridge/safetensors.h"
#include "memory/json.h"
#include "storage/files.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

/* A header and data_bytes behind it; the copy is exact, so that reading past it is caught. */
static doppler_status parse(error *e, arena *a, const char *json, uint64_t data_bytes,
                            safetensors *out) {
    size_t bytes = strlen(json);
    char *copy = malloc(bytes ? bytes : 1);
    memcpy(copy, json, bytes);
    *e = (error){0};
    doppler_status status = safetensors_parse(e, a, "f", copy, bytes,
                                              SAFETENSORS_PREFIX + bytes + data_bytes, out);
    free(copy);
    assert_int_equal(status, e->status);
    return status;
}

static void refused(const char *json, uint64_t data_bytes, const char *part) {
    arena a = {0};
    error e;
    safetensors s;
    if (!parse(&e, &a, json, data_bytes, &s)) fail_msg("accepted: %s", json);
    if (!strstr(e.message, part)) fail_msg("\"%s\" does not hold \"%s\"", e.message, part);
    assert_int_equal(e.status, DOPPLER_BAD_FILE);
    arena_free(&a);
}

static void tensors_come_in_data_order(void **state) {
    (void)state;
    static const char json[] =
        "{\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
        "\"__metadata__\":{\"format\":\"pt\"},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
        "\"none\":{\"dtype\":\"U8\",\"shape\":[0,7],\"data_offsets\":[4,4]}}";
    arena a = {0};
    error e;
    safetensors s;
    assert_int_equal(parse(&e, &a, json, 16, &s), DOPPLER_OK);
    assert_int_equal(s.count, 3);
    assert_string_equal(s.tensors[0].name, "a");
    assert_string_equal(s.tensors[2].name, "b");
    uint64_t data = SAFETENSORS_PREFIX + strlen(json);
    assert_int_equal(s.tensors[0].offset, data);
    assert_int_equal(s.tensors[2].offset, data + 4);
    assert_int_equal(s.tensors[2].bytes, 12);
    assert_int_equal(s.tensors[2].dims, 2);
    assert_int_equal(s.tensors[2].shape[1], 3);
    assert_int_equal(s.tensors[2].dtype, ST_BF16);
    arena_free(&a);
}

static void bad_headers_name_the_tensor(void **state) {
    (void)state;
    refused("{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "\"t\"");
    refused("{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, "end at byte");
    refused("{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "its shape");
    refused("{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,12]}}", 8, "of 8");
    refused("{\"t\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "F33");
    refused("{\"t\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "whole number");
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],"
            "\"data_offsets\":[0,4]}}", 4, "overflows");
    refused("{\"t\":{\"dtype\":\"F64\",\"shape\":[4294967296,2147483647],"
            "\"data_offsets\":[0,4]}}", 4, "overflows");
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"q\":1}}", 1, "\"q\"");
    refused("{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "U+0000");
    refused("{\"__metadata__\":{\"x\":1}}", 0, "__metadata__");
    refused("[]", 0, "no object");
}

static void header_length_is_bounded(void **state) {
    (void)state;
    static const struct { uint8_t prefix[8]; size_t bytes; uint64_t file; doppler_status want; }
    cases[] = {
        {{2}, 8, 10, DOPPLER_OK},
        {{2}, 8, 9, DOPPLER_BAD_FILE},
        {{2}, 7, 7, DOPPLER_BAD_FILE},
        {{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 8, UINT64_MAX, DOPPLER_BAD_FILE},
        {{0x01, 0xE1, 0xF5, 0x05}, 8, UINT64_MAX, DOPPLER_BAD_FILE},     /* 100,000,001 */
        {{0x00, 0xE1, 0xF5, 0x05}, 8, UINT64_MAX, DOPPLER_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        error e = {0};
        uint64_t bytes;
        assert_int_equal(safetensors_header_bytes(&e, "f", cases[i].prefix, cases[i].bytes,
                                                  cases[i].file, &bytes), cases[i].want);
    }
}

/* ---- index */

static doppler_status index_of(error *e, arena *a, const char *json, safetensors_index *out) {
    *e = (error){0};
    return safetensors_index_parse(e, a, "i", json, strlen(json), out);
}

static void index_must_match_the_files(void **state) {
    (void)state;
    arena a = {0};
    error e;
    safetensors_index index;
    assert_int_equal(index_of(&e, &a, "{\"weight_map\":{\"x\":\"2.st\",\"y\":\"1.st\","
                              "\"z\":\"2.st\"}}", &index), DOPPLER_OK);
    assert_int_equal(index.file_count, 2);
    assert_string_equal(index.files[0], "1.st");
    safetensors_tensor one[] = {{.name = "y"}, {.name = "w"}};
    safetensors_tensor two[] = {{.name = "z"}, {.name = "x"}, {.name = "y"}};
    safetensors files[] = {{"1.st", one, 1}, {"2.st", two, 2}};
    assert_int_equal(safetensors_index_check(&e, &a, "i", &index, files), DOPPLER_OK);
    files[1].count = 1;
    assert_int_equal(safetensors_index_check(&e, &a, "i", &index, files), DOPPLER_BAD_FILE);
    assert_non_null(strstr(e.message, "\"x\" is not in 2.st"));
    files[1].count = 3;
    assert_int_equal(safetensors_index_check(&e, &a, "i", &index, files), DOPPLER_BAD_FILE);
    assert_non_null(strstr(e.message, "two files"));
    files[1].count = 2;
    files[0].count = 2;
    assert_int_equal(safetensors_index_check(&e, &a, "i", &index, files), DOPPLER_BAD_FILE);
    assert_non_null(strstr(e.message, "\"w\""));
    arena_free(&a);
}

static void index_names_stay_in_the_folder(void **state) {
    (void)state;
    static const char *const bad[] = {
        "{\"weight_map\":{\"x\":\"../2.st\"}}", "{\"weight_map\":{\"x\":\"/etc/passwd\"}}",
        "{\"weight_map\":{\"x\":\"\"}}", "{\"weight_map\":{\"x\":\".hidden\"}}",
        "{\"weight_map\":{\"x\":3}}", "{\"weight_map\":{}}", "{}", "[]", "{\"weight_map\":"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        arena a = {0};
        error e;
        safetensors_index index;
        assert_int_equal(index_of(&e, &a, bad[i], &index), DOPPLER_BAD_FILE);
        arena_free(&a);
    }
}

/* ---- ../shared */

static doppler_status read_whole(error *e, const char *folder, const char *name, char **data,
                                 size_t *bytes) {
    storage_file f = {0};
    doppler_status status = storage_open(e, &f, folder, name);
    *bytes = status ? 0 : (size_t)f.bytes;
    *data = malloc(*bytes ? *bytes : 1);
    if (!status) status = storage_read(e, &f, 0, *data, *bytes);
    storage_close(&f);
    return status;
}

static doppler_status open_file(error *e, arena *a, const char *folder, const char *name,
                                safetensors *out) {
    char *data;
    size_t bytes;
    uint64_t header;
    doppler_status status = read_whole(e, folder, name, &data, &bytes);
    assert_int_equal(status, DOPPLER_OK);
    status = safetensors_header_bytes(e, name, (uint8_t *)data, bytes < 8 ? bytes : 8, bytes,
                                      &header);
    if (!status) status = safetensors_parse(e, a, name, data + 8, (size_t)header, bytes, out);
    free(data);
    return status;
}

static void public_malformed_files_are_judged_right(void **state) {
    (void)state;
    static const char folder[] = "../shared/vectors/malformed";
    if (!storage_exists(folder, "manifest.json")) {
        print_message("skipped: %s is absent\n", folder);
        skip();
    }
    arena tree = {0};
    error e = {0};
    char *text;
    size_t bytes;
    json *root;
    uint32_t judged = 0;
    assert_int_equal(read_whole(&e, folder, "manifest.json", &text, &bytes), DOPPLER_OK);
    assert_int_equal(json_parse(&e, &tree, "manifest", text, bytes, &root), DOPPLER_OK);
    for (const json *node = json_get(root, "files")->first; node; node = node->next) {
        const char *name = json_get(node, "file")->text;
        if (strncmp(name, "safetensors/", 12)) continue;
        arena a = {0};
        safetensors s;
        e = (error){0};
        doppler_status status = open_file(&e, &a, folder, name, &s);
        bool accept = json_is(json_get(node, "expect"), "accept");
        bool reject = json_is(json_get(node, "expect"), "reject");
        if ((accept && status) || (reject && status != DOPPLER_BAD_FILE))
            fail_msg("%s: %s", name, status ? e.message : "accepted");
        assert_null(strchr(e.message, '\n'));
        judged++;
        arena_free(&a);
    }
    assert_in_range(judged, 40, 1000);
    free(text);
    arena_free(&tree);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_come_in_data_order),
        cmocka_unit_test(bad_headers_name_the_tensor),
        cmocka_unit_test(header_length_is_bounded),
        cmocka_unit_test(index_must_match_the_files),
        cmocka_unit_test(index_names_stay_in_the_folder),
        cmocka_unit_test(public_malformed_files_are_judged_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
