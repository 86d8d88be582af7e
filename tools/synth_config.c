/* synth_config.c - config.json and generation_config.json of a shape, as the released checkpoints
 * of its family have them. */
#include "tools/synth.h"
#include <stdarg.h>
#include <stdio.h>

static const char transformers_version[] = "4.55.0";

static void add_field(text *out, const char *key, const char *format, ...) {
    char value[256];
    va_list args;
    va_start(args, format);
    vsnprintf(value, sizeof value, format, args);
    va_end(args);
    text_format(out, "%s\n  \"%s\": %s", out->bytes && out->data[out->bytes - 1] == '{' ? "" : ",",
                key, value);
}

/* Fields are written one a line in the order of their calls. */
static void add_u32(text *out, const char *key, uint32_t value) {
    add_field(out, key, "%u", value);
}

static void add_real(text *out, const char *key, double value) {
    add_field(out, key, value < 1e-3 ? "%.0e" : "%.1f", value);
}

/* A token's id; null when there is none. */
static void add_token(text *out, const char *key, uint32_t id) {
    if (id == SHAPE_NO_TOKEN) add_field(out, key, "null");
    else add_u32(out, key, id);
}

/* A number, or a list where there are several. */
static void add_stops(text *out, const shape *s) {
    if (s->stop_count == 1) {
        add_u32(out, "eos_token_id", s->stops[0]);
        return;
    }
    text_format(out, ",\n  \"eos_token_id\": [");
    for (uint32_t i = 0; i < s->stop_count; i++)
        text_format(out, "%s%u", i ? ", " : "", s->stops[i]);
    text_add(out, "]", 1);
}

/* What every family has, in one spelling. */
static void add_sizes(const synth *s, text *out) {
    const shape *of = s->shape;
    add_u32(out, "head_dim", of->head_dim);
    add_u32(out, "hidden_size", of->dim);
    add_field(out, "initializer_range", "0.02");
    add_u32(out, "intermediate_size", of->hidden);
    add_u32(out, "max_position_embeddings", of->context);
    add_u32(out, "num_attention_heads", of->heads);
    add_u32(out, "num_hidden_layers", s->layers);
    add_u32(out, "num_key_value_heads", of->kv_heads);
    add_real(out, "rms_norm_eps", of->norm_eps);
    add_real(out, "rope_theta", of->theta);
    add_field(out, "attention_dropout", "0.0");
    add_field(out, "torch_dtype", "\"bfloat16\"");
    add_field(out, "use_cache", "true");
    add_u32(out, "vocab_size", of->vocab);
}

static void add_no_scaling(const shape *of, text *out) {
    (void)of;
    add_field(out, "rope_scaling", "null");
}

static void add_linear(const shape *of, text *out) {
    add_field(out, "rope_scaling", "{\"factor\": %.1f, \"rope_type\": \"linear\"}", of->factor);
}

static void add_llama3(const shape *of, text *out) {
    add_field(out, "rope_scaling", "{\"factor\": %.1f, \"low_freq_factor\": %.1f, "
              "\"high_freq_factor\": %.1f, \"original_max_position_embeddings\": %u, "
              "\"rope_type\": \"llama3\"}", of->factor, of->low_factor, of->high_factor,
              of->original_context);
}

static void add_yarn(const shape *of, text *out) {
    add_field(out, "rope_scaling", "{\"beta_fast\": %.1f, \"beta_slow\": %.1f, \"factor\": %.1f, "
              "\"original_max_position_embeddings\": %u, \"rope_type\": \"yarn\", "
              "\"truncate\": false}", of->high_factor, of->low_factor, of->factor,
              of->original_context);
}

static void add_scaling(const shape *of, text *out) {
    static void (*const scalings[SCALING_COUNT])(const shape *, text *) = {
        [SCALING_NONE] = add_no_scaling, [SCALING_LINEAR] = add_linear,
        [SCALING_LLAMA3] = add_llama3, [SCALING_YARN] = add_yarn};
    scalings[of->scaling](of, out);
}

static void add_window(const shape *of, text *out) {
    if (of->window) add_u32(out, "sliding_window", of->window);
    else add_field(out, "sliding_window", "null");
}

static void add_layer_types(const synth *s, text *out) {
    text_format(out, ",\n  \"layer_types\": [");
    for (uint32_t i = 0; i < s->layers; i++)
        text_format(out, "%s\"%s_attention\"", i ? ", " : "",
                    shape_layer_is_full(s->shape, i) ? "full" : "sliding");
    text_add(out, "]", 1);
}

/* ---- families */

static void add_llama(const synth *s, text *out) {
    add_field(out, "hidden_act", "\"silu\"");
    add_field(out, "attention_bias", "false");
    add_field(out, "mlp_bias", "false");
    add_field(out, "pretraining_tp", "1");
    add_scaling(s->shape, out);
}

static void add_mistral(const synth *s, text *out) {
    add_field(out, "hidden_act", "\"silu\"");
    add_window(s->shape, out);
}

static void add_experts(const synth *s, text *out) {
    add_u32(out, "num_local_experts", s->shape->experts);
    add_u32(out, "num_experts_per_tok", s->shape->experts_used);
    add_field(out, "output_router_logits", "false");
}

static void add_mixtral(const synth *s, text *out) {
    add_mistral(s, out);
    add_experts(s, out);
    add_field(out, "router_aux_loss_coef", "0.02");
}

static void add_gemma3(const synth *s, text *out) {
    add_field(out, "hidden_activation", "\"gelu_pytorch_tanh\"");
    add_field(out, "attention_bias", "false");
    add_field(out, "attn_logit_softcapping", "null");
    add_field(out, "final_logit_softcapping", "null");
    add_u32(out, "query_pre_attn_scalar", s->shape->head_dim);
    add_real(out, "rope_local_base_freq", s->shape->sliding_theta);
    add_scaling(s->shape, out);
    add_window(s->shape, out);
    add_u32(out, "sliding_window_pattern", s->shape->period);
}

static void add_gpt_oss(const synth *s, text *out) {
    add_field(out, "hidden_act", "\"silu\"");
    add_field(out, "attention_bias", "true");
    add_experts(s, out);
    add_u32(out, "experts_per_token", s->shape->experts_used);
    add_field(out, "router_aux_loss_coef", "0.9");
    add_field(out, "swiglu_limit", "7.0");
    add_u32(out, "initial_context_length", s->shape->original_context);
    add_scaling(s->shape, out);
    add_window(s->shape, out);
    add_layer_types(s, out);
    add_field(out, "quantization_config", "{\"modules_to_not_convert\": "
              "[\"model.layers.*.self_attn\", \"model.layers.*.mlp.router\", "
              "\"model.embed_tokens\", \"lm_head\"], \"quant_method\": \"mxfp4\"}");
}

static const struct { const char *architecture, *model_type; void (*add)(const synth *, text *); }
families[FAMILY_COUNT] = {
    [FAMILY_LLAMA] = {"LlamaForCausalLM", "llama", add_llama},
    [FAMILY_MISTRAL] = {"MistralForCausalLM", "mistral", add_mistral},
    [FAMILY_GEMMA3] = {"Gemma3ForCausalLM", "gemma3_text", add_gemma3},
    [FAMILY_MIXTRAL] = {"MixtralForCausalLM", "mixtral", add_mixtral},
    [FAMILY_GPT_OSS] = {"GptOssForCausalLM", "gpt_oss", add_gpt_oss},
};

/* What stands at the top, whether or not the language model's fields stand there too. */
static void add_top(const synth *s, text *out, const char *architecture) {
    text_format(out, "{\n  \"architectures\": [\"%s\"]", architecture);
    add_stops(out, s->shape);
}

static void add_language_model(const synth *s, text *out) {
    add_field(out, "model_type", "\"%s\"", families[s->shape->family].model_type);
    add_sizes(s, out);
    families[s->shape->family].add(s, out);
    add_token(out, "bos_token_id", s->shape->bos);
    add_token(out, "pad_token_id", s->shape->pad);
    add_field(out, "tie_word_embeddings", s->shape->tied_head ? "true" : "false");
}

void synth_config(const synth *s, text *out) {
    const shape *of = s->shape;
    if (!of->vision_layers) {
        add_top(s, out, families[of->family].architecture);
        add_language_model(s, out);
    } else {
        add_top(s, out, "Gemma3ForConditionalGeneration");
        add_field(out, "model_type", "\"gemma3\"");
        add_field(out, "boi_token_index", "255999");
        add_field(out, "eoi_token_index", "256000");
        add_field(out, "image_token_index", "262144");
        add_field(out, "mm_tokens_per_image", "256");
        add_field(out, "torch_dtype", "\"bfloat16\"");
        text_format(out, ",\n  \"text_config\": {");
        add_language_model(s, out);
        text_format(out, "\n  }");
        add_field(out, "vision_config", "{\"hidden_size\": 1152, \"image_size\": 896, "
                  "\"intermediate_size\": 4304, \"model_type\": \"siglip_vision_model\", "
                  "\"num_attention_heads\": 16, \"num_hidden_layers\": %u, \"patch_size\": 14, "
                  "\"vision_use_head\": false}", of->vision_layers);
    }
    add_field(out, "transformers_version", "\"%s\"", transformers_version);
    text_format(out, "\n}\n");
}

void synth_generation_config(const synth *s, text *out) {
    text_format(out, "{");
    add_u32(out, "bos_token_id", s->shape->bos);
    add_stops(out, s->shape);
    if (s->shape->pad != SHAPE_NO_TOKEN) add_u32(out, "pad_token_id", s->shape->pad);
    add_field(out, "do_sample", "true");
    add_field(out, "transformers_version", "\"%s\"", transformers_version);
    text_format(out, "\n}\n");
}
