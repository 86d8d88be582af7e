/* synth_tokenizer.c - a byte-level tokenizer of a shape's vocabulary size: the 256 bytes, the
 * special tokens at the ids that the shape has them, and words that decode but that no text gives,
 * because there are no merges. */
#include "tokenizer/tokenizer.h"
#include "tools/synth.h"

#include <stdio.h>
#include <string.h>

enum { BYTES = 256 };

/* LLaMA 3's. */
static const char split_regex[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

enum { MAX_SPECIAL = SHAPE_MAX_STOPS + 2 };

/* Special ids, each once; returns how many there are. */
static uint32_t special_ids(const shape *s, uint32_t out[MAX_SPECIAL]) {
    uint32_t all[MAX_SPECIAL] = {s->bos, s->pad}, count = 0;
    memcpy(all + 2, s->stops, s->stop_count * sizeof *all);
    for (uint32_t i = 0; i < 2 + s->stop_count; i++) {
        uint32_t k = 0;
        while (k < count && out[k] != all[i]) k++;
        if (k == count && all[i] != SHAPE_NO_TOKEN) out[count++] = all[i];
    }
    return count;
}

/* A byte as the character of GPT-2's alphabet (Radford et al. 2019, encoder.py,
 * bytes_to_unicode): printable Latin-1 stays, the others follow U+00FF in order. */
static void spell_byte(uint32_t byte, char *out) {
    uint32_t code = 256, kept = 0;
    for (uint32_t b = 0; b <= byte; b++) {
        kept = (b > 32 && b < 127) || (b > 160 && b != 173);
        if (!kept && b < byte) code++;
    }
    if (kept) code = byte;
    if (code < 0x80) snprintf(out, SYNTH_TOKEN_BYTES, "%c", (char)code);
    else snprintf(out, SYNTH_TOKEN_BYTES, "%c%c", (char)(0xC0 | code >> 6),
                  (char)(0x80 | (code & 0x3F)));
}

/* A space and letters, the number in base 26: 0 is " a", 26 is " ba". */
static void spell_word(uint32_t number, char *out) {
    char letters[8];
    uint32_t count = 0;
    do letters[count++] = (char)('a' + number % 26);
    while ((number /= 26) && count < sizeof letters);
    size_t used = (size_t)snprintf(out, SYNTH_TOKEN_BYTES, "\xC4\xA0");
    while (count) out[used++] = letters[--count];
    out[used] = 0;
}

bool synth_token(const shape *s, uint32_t id, char spelled[SYNTH_TOKEN_BYTES]) {
    uint32_t special[MAX_SPECIAL], count = special_ids(s, special), before = 0;
    for (uint32_t i = 0; i < count; i++) {
        before += special[i] < id;
        if (special[i] != id) continue;
        if (id == s->bos) snprintf(spelled, SYNTH_TOKEN_BYTES, "<|bos|>");
        else if (id == s->stops[0]) snprintf(spelled, SYNTH_TOKEN_BYTES, "<|eos|>");
        else snprintf(spelled, SYNTH_TOKEN_BYTES, "<|special_%u|>", id);
        return true;
    }
    if (id - before < BYTES) spell_byte(id - before, spelled);
    else spell_word(id - before - BYTES, spelled);
    return false;
}

void synth_tokenizer(const synth *s, text *out) {
    const shape *of = s->shape;
    char spelled[SYNTH_TOKEN_BYTES];
    uint32_t special[MAX_SPECIAL], specials = special_ids(of, special);
    text_format(out, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, "
                "\"added_tokens\": [");
    for (uint32_t i = 0; i < specials; i++) {
        synth_token(of, special[i], spelled);
        text_format(out, "%s\n {\"id\": %u, \"content\": \"%s\", \"single_word\": false, "
                    "\"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
                    "\"special\": true}", i ? "," : "", special[i], spelled);
    }
    text_format(out, "],\n\"normalizer\": null,\n\"pre_tokenizer\": {\"type\": \"Sequence\", "
                "\"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": ");
    text_json(out, split_regex, strlen(split_regex));
    text_format(out, "}, \"behavior\": \"Isolated\", \"invert\": false}, {\"type\": "
                "\"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
                "\"use_regex\": false}]},\n\"post_processor\": {\"type\": \"TemplateProcessing\", "
                "\"single\": [{\"SpecialToken\": {\"id\": \"<|bos|>\", \"type_id\": 0}}, "
                "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], \"pair\": [{\"SpecialToken\": "
                "{\"id\": \"<|bos|>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", "
                "\"type_id\": 0}}, {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}], "
                "\"special_tokens\": {\"<|bos|>\": {\"id\": \"<|bos|>\", \"ids\": [%u], "
                "\"tokens\": [\"<|bos|>\"]}}},\n\"decoder\": {\"type\": \"ByteLevel\", "
                "\"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true},\n"
                "\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
                "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, "
                "\"fuse_unk\": false, \"byte_fallback\": false, \"ignore_merges\": false, "
                "\"vocab\": {", of->bos);
    const char *comma = "";
    for (uint32_t id = 0; id < of->vocab; id++) {
        if (synth_token(of, id, spelled)) continue;
        text_format(out, "%s\n", comma);
        text_json(out, spelled, strlen(spelled));
        text_format(out, ": %u", id);
        comma = ",";
    }
    text_format(out, "},\n\"merges\": []}}\n");
}

void synth_tokenizer_config(const synth *s, text *out) {
    text_format(out, "{\n  \"bos_token\": \"<|bos|>\",\n  \"eos_token\": \"<|eos|>\",\n  "
                "\"model_max_length\": %u,\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n"
                "}\n", s->shape->context);
}

doppler_status synth_tokenizer_compile(error *e, const synth *s, text *out) {
    tokenizer *t = NULL;
    text json = {0};
    synth_tokenizer(s, &json);
    doppler_status status = json.failed ? fail(e, DOPPLER_NO_MEMORY, "%s", s->shape->name)
                                        : tokenizer_read_json(e, json.data, json.bytes, &t);
    text_free(&json);
    if (status) return status;
    tokenizer_compile(t, out);
    tokenizer_close(t);
    return out->failed ? fail(e, DOPPLER_NO_MEMORY, "%s", s->shape->name) : DOPPLER_OK;
}
