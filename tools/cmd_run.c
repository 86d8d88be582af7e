/* cmd_run.c - `doppler run`: a prompt in, text out, token by token. */
#include "memory/text.h"
#include "tools/cmd.h"
#include "tools/file.h"
#include "tools/host.h"
#include "tools/ids.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct run {
    host h;
    host_answer answer;
    bool json;
    uint32_t *ids;
    size_t prompt_tokens;
    uint32_t *generated, generated_tokens;
    text written, stops;
    double start_ms, first_ms, end_ms;     /* first: when the first token came */
} run;

static bool take_token(uint32_t id, const char *bytes, size_t count, void *user) {
    run *r = user;
    if (r->generated_tokens == 0) r->first_ms = now_ms();
    if (id != DOPPLER_NO_TOKEN) r->generated[r->generated_tokens++] = id;
    text_add(&r->written, bytes, count);
    if (!r->json && count) {
        fwrite(bytes, 1, count, stdout);
        fflush(stdout);
    }
    return true;
}

static void finished(doppler_status status, void *user) {
    run *r = user;
    host_done(status, &r->answer);
}

/* "ids": prompt, "generated", "text", timings. */
static void print_json(const run *r) {
    text t = {0};
    double prefill_ms = r->first_ms - r->start_ms, decode_ms = r->end_ms - r->first_ms;
    text_format(&t, "{\"ids\":[");
    for (size_t i = 0; i < r->prompt_tokens; i++)
        text_format(&t, "%s%" PRIu32, i ? "," : "", r->ids[i]);
    text_format(&t, "],\"generated\":[");
    for (uint32_t i = 0; i < r->generated_tokens; i++)
        text_format(&t, "%s%" PRIu32, i ? "," : "", r->generated[i]);
    text_format(&t, "],\"text\":");
    text_json(&t, r->written.data ? r->written.data : "", r->written.bytes);
    text_format(&t, ",\"backend\":\"cpu\",\"load_ms\":%.1f,\"first_token_ms\":%.1f,"
                "\"decode_ms\":%.1f}\n", r->h.load_ms, prefill_ms, decode_ms);
    if (!t.failed) fwrite(t.data, 1, t.bytes, stdout);
    text_free(&t);
}

static void print_speed(const run *r) {
    double prefill_ms = r->first_ms - r->start_ms, decode_ms = r->end_ms - r->first_ms;
    uint32_t decoded = r->generated_tokens ? r->generated_tokens - 1 : 0;
    fprintf(stderr, "\ncpu backend: loaded in %.0f ms; %zu prompt tokens, first token after %.0f "
            "ms; %" PRIu32 " tokens, %.1f tokens/s\n", r->h.load_ms, r->prompt_tokens, prefill_ms,
            r->generated_tokens, decoded && decode_ms > 0 ? decoded / decode_ms * 1e3 : 0);
}

/* The prompt's ids into r->ids. */
static int encode(run *r, const char *prompt, bool bos, bool special) {
    error e = {0};
    size_t bytes = strlen(prompt);
    size_t count = doppler_model_encode(r->h.model, prompt, bytes, bos, special, NULL, 0);
    r->ids = count == SIZE_MAX ? NULL : malloc((count ? count : 1) * sizeof *r->ids);
    if (!r->ids) {
        fail(&e, DOPPLER_NO_MEMORY, "prompt of %zu bytes", bytes);
        return command_failed(r->h.c, &e);
    }
    r->prompt_tokens =
        doppler_model_encode(r->h.model, prompt, bytes, bos, special, r->ids, count);
    return 0;
}

static int generate(run *r, const doppler_sampling *sampling, uint32_t max_tokens) {
    r->generated = malloc((max_tokens ? max_tokens : 1) * sizeof *r->generated);
    error e = {0};
    if (!r->generated) {
        fail(&e, DOPPLER_NO_MEMORY, "%" PRIu32 " tokens", max_tokens);
        return command_failed(r->h.c, &e);
    }
    r->start_ms = r->first_ms = now_ms();
    doppler_status status = doppler_generate(r->h.session, r->ids, r->prompt_tokens, sampling,
                                             max_tokens, take_token, finished, r);
    if (!status) status = host_wait(&r->h, &r->answer);
    r->end_ms = now_ms();
    if (status == DOPPLER_CONTEXT_FULL && r->generated_tokens) {
        fprintf(stderr, "\ndoppler run: the context of %" PRIu32 " tokens is full\n",
                doppler_session_context(r->h.session));
        status = DOPPLER_OK;
    }
    return status ? host_failed(&r->h, status) : 0;
}

int cmd_run(int argc, char **argv) {
    const char *folder = NULL, *prompt = NULL, *ids = NULL;
    bool json = false, no_bos = false, special = false, chat = false;
    uint32_t max_tokens = 64;
    host_options ho = {.precision = 1};          /* fast */
    doppler_sampling p = {0};
    option_list stops = {0};
    const argument arguments[] = {{"DIR", &folder, "an RDRR package", false}};
    const option options[] = {
        {"prompt", 'p', OPTION_TEXT, &prompt, "PROMPT", "the text to go on from", 0, 0},
        {"ids", 0, OPTION_TEXT, &ids, "1,2,3", "token ids to go on from, instead of a text", 0, 0},
        {"chat", 0, OPTION_FLAG, &chat, NULL, "a conversation; needs Node (use ./doppler)", 0, 0},
        {"tokens", 'n', OPTION_U32, &max_tokens, "N", "most tokens to generate; default 64", 0,
         1 << 24},
        {"temp", 't', OPTION_F32, &p.temperature, "T", "temperature; default 0: greedy", 0, 1e6},
        {"top-k", 0, OPTION_U32, &p.top_k, "K", "sample among the K most probable", 0, 1 << 24},
        {"top-p", 0, OPTION_F32, &p.top_p, "P", "the fewest whose probabilities sum to P", 0, 1},
        {"min-p", 0, OPTION_F32, &p.min_p, "P", "those at least P times the best's", 0, 1},
        {"repetition-penalty", 0, OPTION_F32, &p.repetition_penalty, "R",
         "divides logits of tokens seen; 1: none", 0, 1e6},
        {"presence-penalty", 0, OPTION_F32, &p.presence_penalty, "R",
         "lowers logits of tokens seen; 0: none", -1e6, 1e6},
        {"seed", 's', OPTION_U64, &p.seed, "N", "of the sampler; same seed, same text", 0, 0},
        {"stop", 0, OPTION_LIST, &stops, "TEXT", "ends the text before it; may be given again", 0,
         0},
        {"no-bos", 0, OPTION_FLAG, &no_bos, NULL, "no begin-of-text token before the prompt", 0, 0},
        {"special", 0, OPTION_FLAG, &special, NULL, "special tokens in the prompt count as such",
         0, 0},
        {"json", 0, OPTION_FLAG, &json, NULL, "print ids, text and timings as JSON", 0, 0},
        HOST_OPTIONS(ho)};
    const command c = {"run", "Generates text from a package.", arguments, 1, options,
                       sizeof options / sizeof options[0]};
    int code = options_parse(&c, argc, argv);
    if (code >= 0) return code;
    error e = {0};
    if (chat) {
        fail(&e, DOPPLER_UNSUPPORTED, "--chat needs Node: use ./doppler");
        return command_failed(&c, &e);
    }
    run r = {.json = json};
    for (uint32_t i = 0; i < stops.count; i++)
        text_add(&r.stops, stops.items[i], strlen(stops.items[i]) + 1);
    p.stops = r.stops.data;
    p.stops_bytes = r.stops.bytes;
    ho.tell_memory = !json;
    if (ids && ids_parse(&e, ids, &r.ids, &r.prompt_tokens)) code = command_failed(&c, &e);
    else code = host_open(&r.h, &c, folder, &ho);
    if (!code && !ids) code = encode(&r, prompt ? prompt : "", !no_bos, special);
    if (!code) code = generate(&r, &p, max_tokens);
    if (!code && json) print_json(&r);
    if (!code && !json) print_speed(&r);
    host_close(&r.h);
    free(r.ids);
    free(r.generated);
    text_free(&r.written);
    text_free(&r.stops);
    return code;
}
