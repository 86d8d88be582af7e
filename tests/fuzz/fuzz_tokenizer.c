/* fuzz_tokenizer.c - a tokenizer of any file that the engine or the converter opens: the compiled
 * form of packages ("DTOK"), tokenizer.json, and SentencePiece's tokenizer.model for the rest. */
#include "tests/fuzz/texts.h"
#include "tokenizer/sentencepiece.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    error e = {0};
    tokenizer *t;
    uint8_t *copy = malloc(bytes + !bytes);      /* aligned, as a compiled one must be */
    assert(copy);
    if (bytes) memcpy(copy, data, bytes);
    doppler_status status;
    if (bytes >= 4 && !memcmp(data, "DTOK", 4)) status = tokenizer_open(&e, copy, bytes, &t);
    else if (bytes && (*data == '{' || *data == ' '))
        status = tokenizer_read_json(&e, (const char *)copy, bytes, &t);
    else status = tokenizer_read_sentencepiece(&e, copy, bytes, &t);
    FUZZ_CHECK_ERROR(status, e);
    if (!status) fuzz_texts(t, data, bytes);
    tokenizer_close(t);
    free(copy);
    return 0;
}
