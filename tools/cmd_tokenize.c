/* cmd_tokenize.c - text to token ids and back, as any tokenizer says. */
#include "memory/json.h"
#include "memory/text.h"
#include "tools/cmd.h"
#include "tools/file.h"
#include "tools/options.h"
#include "tools/tokenizers.h"

#include <stdlib.h>
#include <string.h>

typedef struct job {
    error e;
    tokenizer *t;                /* borrowed */
    uint32_t flags;              /* of tokenizer_encode */
    uint32_t *ids;               /* owned, [capacity] */
    size_t capacity;
    text out;
} job;

/* Room for count ids. */
static doppler_status reserve(job *j, size_t count) {
    if (count <= j->capacity) return DOPPLER_OK;
    uint32_t *ids = realloc(j->ids, count * sizeof *ids);
    if (!ids) return fail(&j->e, DOPPLER_NO_MEMORY, "%zu ids", count);
    j->ids = ids;
    j->capacity = count;
    return DOPPLER_OK;
}

static doppler_status encode(job *j, const char *input, size_t bytes, size_t *count) {
    for (;;) {
        *count = tokenizer_encode(j->t, input, bytes, j->flags, j->ids, j->capacity);
        if (*count == (size_t)-1)
            return fail(&j->e, DOPPLER_NO_MEMORY, "a text of %zu bytes", bytes);
        if (*count <= j->capacity) return DOPPLER_OK;
        if (reserve(j, *count)) return j->e.status;
    }
}

/* Appends the text of ids, special tokens left out. */
static doppler_status decode(job *j, size_t count, text *to) {
    token_stream stream = {0};
    char *piece = malloc(tokenizer_stream_max(j->t));
    if (!piece) return fail(&j->e, DOPPLER_NO_MEMORY, "%zu bytes", tokenizer_stream_max(j->t));
    for (size_t i = 0; i < count; i++)
        text_add(to, piece, tokenizer_stream(j->t, &stream, j->ids[i], piece));
    text_add(to, piece, tokenizer_stream_end(&stream, piece));
    free(piece);
    return DOPPLER_OK;
}

static void add_ids(job *j, size_t count, const char *begin, const char *between, const char *end) {
    text_add(&j->out, begin, strlen(begin));
    for (size_t i = 0; i < count; i++) text_format(&j->out, "%s%u", i ? between : "", j->ids[i]);
    text_add(&j->out, end, strlen(end));
}

static doppler_status add_id(job *j, size_t *count, uint64_t id) {
    if (id >= tokenizer_vocab(j->t))
        return fail(&j->e, DOPPLER_BAD_ARGUMENT, "id %llu, the vocabulary has %u",
                    (unsigned long long)id, tokenizer_vocab(j->t));
    if (*count == j->capacity && reserve(j, *count * 2 + 64)) return j->e.status;
    j->ids[(*count)++] = (uint32_t)id;
    return DOPPLER_OK;
}

static doppler_status encode_all(job *j, const char *input, size_t bytes) {
    size_t count;
    doppler_status status = encode(j, input, bytes, &count);
    if (!status) add_ids(j, count, "", " ", "\n");
    return status;
}

/* Ids apart from each other by anything that is no digit. */
static doppler_status decode_all(job *j, const char *input, size_t bytes) {
    size_t count = 0;
    for (const char *at = input, *end = input + bytes; at < end;) {
        if (*at < '0' || *at > '9') {
            at++;
            continue;
        }
        uint64_t id = 0;
        for (; at < end && *at >= '0' && *at <= '9'; at++)
            if (id < UINT32_MAX) id = id * 10 + (uint64_t)(*at - '0');
        if (add_id(j, &count, id)) return j->e.status;
    }
    return decode(j, count, &j->out);
}

static doppler_status encode_line(job *j, const json *line) {
    if (line->type != JSON_STRING)
        return fail(&j->e, DOPPLER_BAD_ARGUMENT, "wanted a JSON string");
    size_t count;
    doppler_status status = encode(j, line->text, line->text_bytes, &count);
    if (!status) add_ids(j, count, "[", ",", "]\n");
    return status;
}

static doppler_status decode_line(job *j, const json *line) {
    if (line->type != JSON_ARRAY)
        return fail(&j->e, DOPPLER_BAD_ARGUMENT, "wanted a JSON array of ids");
    size_t count = 0;
    for (const json *id = line->first; id; id = id->next) {
        if (id->type != JSON_NUMBER || !id->is_integer)
            return fail(&j->e, DOPPLER_BAD_ARGUMENT, "an id is no integer");
        if (add_id(j, &count, (uint64_t)id->integer)) return j->e.status;
    }
    text decoded = {0};
    doppler_status status = decode(j, count, &decoded);
    text_json(&j->out, decoded.data, decoded.bytes);
    text_add(&j->out, "\n", 1);
    text_free(&decoded);
    return status;
}

static doppler_status each_line(job *j, const char *input, size_t bytes,
                                doppler_status (*take)(job *j, const json *line)) {
    size_t number = 1;
    for (const char *at = input, *end = input + bytes; at < end; number++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t line_bytes = (size_t)((newline ? newline : end) - at);
        char what[40];
        snprintf(what, sizeof what, "line %zu", number);
        arena a = {0};
        json *line;
        doppler_status status = json_parse(&j->e, &a, what, at, line_bytes, &line);
        if (!status && (status = take(j, line)) != DOPPLER_OK) {
            error inner = j->e;
            fail(&j->e, status, "%s: %s", what, inner.message);
        }
        arena_free(&a);
        if (status) return status;
        at += line_bytes + (newline != NULL);
    }
    return DOPPLER_OK;
}

int cmd_tokenize(int argc, char **argv) {
    const char *path = NULL;
    bool jsonl = false, no_bos = false, no_special = false, decoding = false;
    const argument arguments[] = {
        {"DIR", &path, "a folder, a package, a tokenizer.json, tokenizer.bin or GGUF file", false},
    };
    const option options[] = {
        {"jsonl", 0, OPTION_FLAG, &jsonl, NULL, "a JSON string per line -> a JSON array of ids",
         0, 0},
        {"no-bos", 0, OPTION_FLAG, &no_bos, NULL, "add no tokens around the text", 0, 0},
        {"no-special", 0, OPTION_FLAG, &no_special, NULL,
         "special tokens in the text are plain text", 0, 0},
        {"decode", 0, OPTION_FLAG, &decoding, NULL,
         "ids on stdin -> text (with --jsonl: both JSON)", 0, 0},
    };
    const command c = {"tokenize", "Reads text on stdin and prints its token ids in one line.",
                       arguments, 1, options, sizeof options / sizeof *options};
    int exit_code = options_parse(&c, argc, argv);
    if (exit_code >= 0) return exit_code;

    job j = {.flags = (no_bos ? 0 : TOKENIZE_TEMPLATE) | (no_special ? 0 : TOKENIZE_SPECIAL)};
    char *input = NULL;
    size_t bytes = 0;
    loaded_tokenizer loaded;
    doppler_status status = tokenizer_load(&j.e, path, &loaded);
    j.t = loaded.t;
    if (!status) status = file_read_stream(&j.e, stdin, "stdin", &input, &bytes);
    if (!status && jsonl)
        status = each_line(&j, input, bytes, decoding ? decode_line : encode_line);
    else if (!status)
        status = decoding ? decode_all(&j, input, bytes) : encode_all(&j, input, bytes);
    if (!status && j.out.failed) status = fail(&j.e, DOPPLER_NO_MEMORY, "output");
    if (j.out.data && fwrite(j.out.data, 1, j.out.bytes, stdout) < j.out.bytes && !status)
        status = fail(&j.e, DOPPLER_IO, "stdout cannot be written");
    free(input);
    free(j.ids);
    text_free(&j.out);
    tokenizer_unload(&loaded);
    return status ? command_failed(&c, &j.e) : 0;
}
