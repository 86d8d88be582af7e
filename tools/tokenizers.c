/* tokenizers.c - see tokenizers.h. */
#include "tools/tokenizers.h"
#include "bridge/gguf_tokenizer.h"
#include "loader/manifest.h"
#include "storage/files.h"
#include "tokenizer/sentencepiece.h"
#include "tools/file.h"
#include "tools/local.h"
#include <stdlib.h>
#include <string.h>

static doppler_status load_gguf(error *e, const char *path, loaded_tokenizer *out) {
    checkpoint c = {0};
    doppler_status status = local_open(e, &c, path);
    if (!status) status = gguf_tokenizer(e, &c.ggufs[0], &out->t);
    checkpoint_free(&c);
    return status;
}

/* "tokenizer.model", "tokenizer.model.v3": JSON may begin with a newline, too. */
static bool ends_in_model(const char *path) {
    const char *last = strrchr(path, '/');
    return strstr(last ? last : path, ".model") != NULL;
}

static doppler_status load_file(error *e, const char *path, loaded_tokenizer *out) {
    size_t bytes;
    doppler_status status = file_read(e, path, &out->data, &bytes);
    if (status) return status;
    if (bytes >= 4 && !memcmp(out->data, "DTOK", 4))
        return tokenizer_open(e, out->data, bytes, &out->t);
    bool gguf = bytes >= 4 && !memcmp(out->data, "GGUF", 4);
    bool sentencepiece = bytes && *out->data == '\n';       /* the tag of a first piece */
    if (sentencepiece && ends_in_model(path))
        status = tokenizer_read_sentencepiece(e, out->data, bytes, &out->t);
    else if (!gguf) status = tokenizer_read_json(e, out->data, bytes, &out->t);
    free(out->data);
    out->data = NULL;
    return gguf ? load_gguf(e, path, out) : status;
}

doppler_status tokenizer_load(error *e, const char *path, loaded_tokenizer *out) {
    *out = (loaded_tokenizer){0};
    if (!file_is_folder(path)) return load_file(e, path, out);
    static const char json[] = "tokenizer.json", model[] = "tokenizer.model";
    bool is_package = storage_exists(path, RDRR_MANIFEST) && !local_is_doppler_gpu(path);
    const char *name = is_package ? RDRR_TOKENIZER
                       : storage_exists(path, json) || !storage_exists(path, model) ? json : model;
    char *joined = file_join(path, name);
    if (!joined) return fail(e, DOPPLER_NO_MEMORY, "%s", path);
    doppler_status status = load_file(e, joined, out);
    free(joined);
    return status;
}

void tokenizer_unload(loaded_tokenizer *l) {
    tokenizer_close(l->t);
    free(l->data);
    *l = (loaded_tokenizer){0};
}
