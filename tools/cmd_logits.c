/* cmd_logits.c - `doppler logits`: the logits of every position of given ids, as raw floats. */
#include "tools/cmd.h"
#include "tools/file.h"
#include "tools/host.h"
#include "tools/ids.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int compute(host *h, const uint32_t *ids, size_t count, const char *out) {
    error e = {0};
    size_t bytes = count * doppler_model_vocab(h->model) * sizeof(float);
    float *logits = malloc(bytes ? bytes : 1);
    if (!logits) {
        fail(&e, DOPPLER_NO_MEMORY, "logits of %zu tokens", count);
        return command_failed(h->c, &e);
    }
    host_answer answer = {0};
    doppler_status status = doppler_logits(h->session, ids, count, logits, host_done, &answer);
    if (!status) status = host_wait(h, &answer);
    int code = status ? host_failed(h, status) : 0;
    if (!code && file_write(&e, out, logits, bytes)) code = command_failed(h->c, &e);
    if (!code)
        fprintf(stderr, "%s: [%zu, %" PRIu32 "] f32\n", out, count,
                doppler_model_vocab(h->model));
    free(logits);
    return code;
}

int cmd_logits(int argc, char **argv) {
    const char *folder = NULL, *list = NULL, *out = NULL;
    host_options ho = {0};
    const argument arguments[] = {{"DIR", &folder, "an RDRR package", false}};
    const option options[] = {
        {"ids", 0, OPTION_TEXT, &list, "1,2,3", "token ids", 0, 0},
        {"out", 'o', OPTION_TEXT, &out, "FILE", "raw little-endian f32 [tokens, vocab]", 0, 0},
        HOST_OPTIONS(ho)};
    const command c = {"logits", "Writes the logits of every position.", arguments, 1, options,
                       sizeof options / sizeof options[0]};
    int code = options_parse(&c, argc, argv);
    if (code >= 0) return code;
    if (!list || !out) {
        fprintf(stderr, "doppler logits: --ids and --out are needed\n");
        return 2;
    }
    error e = {0};
    uint32_t *ids = NULL;
    size_t count = 0;
    host h = {0};
    if (ids_parse(&e, list, &ids, &count)) code = command_failed(&c, &e);
    else code = host_open(&h, &c, folder, &ho);
    if (!code) code = compute(&h, ids, count, out);
    host_close(&h);
    free(ids);
    return code;
}
