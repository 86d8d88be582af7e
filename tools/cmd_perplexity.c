/* cmd_perplexity.c - `doppler perplexity`: exp of the mean negative log-likelihood of a text's
 * tokens. The text is encoded once, with the tokens that the tokenizer adds, and cut into chunks;
 * each chunk starts from an empty timeline and predicts all of its tokens but the first. */
#include "tools/cmd.h"
#include "tools/file.h"
#include "tools/host.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct score { double sum; uint64_t tokens; } score;

static int score_chunk(host *h, const uint32_t *ids, size_t count, float *nll, score *total) {
    host_answer answer = {0};
    doppler_status status = doppler_score(h->session, ids, count, nll, host_done, &answer);
    if (!status) status = host_wait(h, &answer);
    if (status) return host_failed(h, status);
    double sum = 0;
    for (size_t i = 0; i + 1 < count; i++) sum += nll[i];
    total->sum += sum;
    total->tokens += count - 1;
    return 0;
}

static int score_text(host *h, const uint32_t *ids, size_t count, uint32_t chunk,
                      uint32_t chunks) {
    size_t all = count / chunk + (count % chunk > 1);
    size_t wanted = chunks && chunks < all ? chunks : all;
    score total = {0};
    float *nll = malloc(chunk * sizeof *nll);
    int code = nll ? 0 : 1;
    for (size_t i = 0; i < wanted && !code; i++) {
        size_t left = count - i * chunk;
        code = score_chunk(h, ids + i * chunk, left < chunk ? left : chunk, nll, &total);
        if (!code)
            fprintf(stderr, "chunk %zu/%zu: perplexity so far %.4f\n", i + 1, wanted,
                    exp(total.sum / (double)total.tokens));
    }
    free(nll);
    if (!code)
        printf("%" PRIu64 " tokens\nperplexity %.6f\n", total.tokens,
               exp(total.sum / (double)total.tokens));
    return code;
}

static int encode_and_score(host *h, const char *bytes, size_t count, uint32_t chunk,
                            uint32_t chunks) {
    error e = {0};
    size_t tokens = doppler_model_encode(h->model, bytes, count, true, false, NULL, 0);
    uint32_t *ids = tokens == SIZE_MAX ? NULL : malloc((tokens + 1) * sizeof *ids);
    int code = 0;
    if (!ids) fail(&e, DOPPLER_NO_MEMORY, "text of %zu bytes", count);
    else if (tokens < 2) fail(&e, DOPPLER_BAD_ARGUMENT, "the text has %zu tokens", tokens);
    if (e.status) {
        code = command_failed(h->c, &e);
    } else {
        doppler_model_encode(h->model, bytes, count, true, false, ids, tokens);
        code = score_text(h, ids, tokens, chunk, chunks);
    }
    free(ids);
    return code;
}

int cmd_perplexity(int argc, char **argv) {
    const char *folder = NULL, *path = NULL;
    uint32_t chunk = 512, chunks = 0;
    host_options ho = {0};
    const argument arguments[] = {{"DIR", &folder, "an RDRR package", false},
                                  {"TEXT", &path, "a UTF-8 file", false}};
    const option options[] = {
        {"chunk", 0, OPTION_U32, &chunk, "TOKENS", "length of a chunk; default 512", 2, 1 << 24},
        {"chunks", 0, OPTION_U32, &chunks, "N", "only the first N chunks", 1, 1e9},
        HOST_OPTIONS(ho)};
    const command c = {"perplexity", "Measures how well a model predicts a text.", arguments, 2,
                       options, sizeof options / sizeof options[0]};
    int code = options_parse(&c, argc, argv);
    if (code >= 0) return code;
    error e = {0};
    char *bytes = NULL;
    size_t count = 0;
    host h = {0};
    if (!ho.context) ho.context = chunk;
    if (file_read(&e, path, &bytes, &count)) code = command_failed(&c, &e);
    else code = host_open(&h, &c, folder, &ho);
    if (!code) code = encode_and_score(&h, bytes, count, chunk, chunks);
    host_close(&h);
    free(bytes);
    return code;
}
