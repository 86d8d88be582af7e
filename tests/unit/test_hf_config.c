/* test_hf_config.c - both spellings of a config, the defaults, and refusals by name. */
#include "bridge/hf_config.h"
#include "bridge/hf_names.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

/* Everything that has no default; tests put more in front or behind. */
#define SIZES                                                                               \
    "\"num_hidden_layers\": 2, \"hidden_size\": 64, \"intermediate_size\": 192, "           \
    "\"num_attention_heads\": 4, \"vocab_size\": 512, \"max_position_embeddings\": 1024"
#define GEMMA "\"architectures\": [\"Gemma3ForCausalLM\"], "
#define LLAMA "\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "

static doppler_status parse(error *e, const char *config, const char *generation,
                            model_config *out) {
    *e = (error){0};
    hf_text c = {config, strlen(config)}, g = {generation, generation ? strlen(generation) : 0};
    doppler_status status = hf_config_parse(e, c, g, out);
    assert_int_equal(status, e->status);
    assert_null(strchr(e->message, '\n'));
    return status;
}

static model_config good(const char *config, const char *generation) {
    error e;
    model_config m;
    if (parse(&e, config, generation, &m)) fail_msg("%s", e.message);
    return m;
}

static void refused(const char *config, const char *generation, doppler_status wanted,
                    const char *part) {
    error e;
    model_config m;
    assert_int_equal(parse(&e, config, generation, &m), wanted);
    if (!strstr(e.message, part)) fail_msg("\"%s\" does not hold \"%s\"", e.message, part);
}

static void defaults_are_those_of_llama(void **state) {
    (void)state;
    model_config m = good("{" LLAMA SIZES "}", NULL);
    assert_string_equal(m.architecture, "llama");
    assert_int_equal(m.kv_heads, 4);
    assert_int_equal(m.head_dim, 16);
    assert_false(m.tied_head || m.attention_bias || m.attention_out_bias || m.mlp_bias);
    assert_false(m.has_bos);
    assert_int_equal(m.stop_count, 0);
    assert_true(m.rope[LAYER_FULL].theta == 10000 && m.rope[LAYER_FULL].type == ROPE_DEFAULT);
    assert_true(m.norm_eps == 1e-6f && m.attention_scale == 0.25f);
    m = good("{\"model_type\": \"llama\", " SIZES ", \"head_dim\": 32, \"num_key_value_heads\": 2, "
             "\"attention_bias\": true, \"mlp_bias\": true, \"tie_word_embeddings\": true, "
             "\"rope_scaling\": null, \"sliding_window\": null, \"quantization_config\": null}",
             NULL);
    assert_int_equal(m.kv_heads, 2);
    assert_int_equal(m.head_dim, 32);
    assert_true(m.tied_head && m.attention_bias && m.attention_out_bias && m.mlp_bias);
}

static void both_rope_spellings_mean_the_same(void **state) {
    (void)state;
#define FACTORS                                                                             \
    "\"factor\": 8.0, \"high_freq_factor\": 4.0, \"low_freq_factor\": 1.0, "                \
    "\"original_max_position_embeddings\": 32"
    static const char *const spellings[] = {
        "{" LLAMA SIZES ", \"rope_theta\": 500000.0, \"rope_scaling\": {" FACTORS
        ", \"rope_type\": \"llama3\"}}",
        "{" LLAMA SIZES ", \"rope_theta\": 500000.0, \"rope_scaling\": {" FACTORS
        ", \"type\": \"llama3\"}}",
        "{" LLAMA SIZES ", \"rope_parameters\": {" FACTORS
        ", \"rope_theta\": 500000.0, \"rope_type\": \"llama3\"}}"};
    for (size_t i = 0; i < 3; i++) {
        model_config m = good(spellings[i], NULL);
        const rope_config *r = &m.rope[LAYER_FULL];
        assert_int_equal(r->type, ROPE_LLAMA3);
        assert_true(r->theta == 500000 && r->factor == 8);
        assert_true(r->low_freq_factor == 1 && r->high_freq_factor == 4);
        assert_int_equal(r->original_context, 32);
    }
    model_config m = good("{" LLAMA SIZES ", \"rope_scaling\": {\"type\": \"linear\", "
                          "\"factor\": 2.5}}", NULL);
    const rope_config *linear = &m.rope[LAYER_FULL];
    assert_true(linear->type == ROPE_LINEAR && linear->factor == 2.5f && linear->theta == 10000);
}

static void a_mistral_window_is_of_all_layers_or_none(void **state) {
    (void)state;
#define MISTRAL "\"architectures\": [\"MistralForCausalLM\"], \"num_key_value_heads\": 2, "
    model_config m = good("{" MISTRAL SIZES ", \"sliding_window\": 48}", NULL);
    assert_string_equal(m.architecture, "mistral");
    assert_int_equal(m.window, 48);
    assert_false(model_has_kind(&m, LAYER_FULL));
    assert_true(m.rope[LAYER_SLIDING].theta == 10000);
    m = good("{" MISTRAL SIZES ", \"sliding_window\": null}", NULL);
    assert_int_equal(m.window, 0);
    assert_false(model_has_kind(&m, LAYER_SLIDING));
    m = good("{" MISTRAL SIZES "}", NULL);               /* MistralConfig's default */
    assert_int_equal(m.window, 4096);
    assert_true(m.embedding_scale == 1 && !m.qk_norm && !m.post_norms);
}

/* google/gemma-3-1b-it as released, and gemma-3-4b-it, which leaves most to the defaults. */
static void gemma3_configs_come_in_three_spellings(void **state) {
    (void)state;
    model_config m = good(
        "{\"architectures\": [\"Gemma3ForCausalLM\"], \"attention_bias\": false, "
        "\"attn_logit_softcapping\": null, \"bos_token_id\": 2, \"eos_token_id\": [1, 106], "
        "\"final_logit_softcapping\": null, \"head_dim\": 256, \"hidden_activation\": "
        "\"gelu_pytorch_tanh\", \"hidden_size\": 1152, \"intermediate_size\": 6912, "
        "\"max_position_embeddings\": 32768, \"model_type\": \"gemma3_text\", "
        "\"num_attention_heads\": 4, \"num_hidden_layers\": 26, \"num_key_value_heads\": 1, "
        "\"query_pre_attn_scalar\": 256, \"rms_norm_eps\": 1e-06, \"rope_local_base_freq\": "
        "10000, \"rope_scaling\": null, \"rope_theta\": 1000000, \"sliding_window\": 512, "
        "\"sliding_window_pattern\": 6, \"vocab_size\": 262144}", NULL);
    assert_true(m.qk_norm && m.post_norms && m.tied_head);
    assert_int_equal(m.activation, ACTIVATION_GELU_TANH);
    assert_true(m.embedding_scale == sqrtf(1152) && m.attention_scale == 0.0625f);
    for (uint32_t i = 0; i < 26; i++)
        assert_int_equal(m.layer_kinds[i], i % 6 == 5 ? LAYER_FULL : LAYER_SLIDING);
    assert_true(m.rope[LAYER_FULL].theta == 1e6f && m.rope[LAYER_FULL].type == ROPE_DEFAULT);
    assert_true(m.rope[LAYER_SLIDING].theta == 1e4f);
    assert_int_equal(m.stop_count, 2);
    m = good("{\"architectures\": [\"Gemma3ForConditionalGeneration\"], \"model_type\": "
             "\"gemma3\", \"eos_token_id\": [1, 106], \"text_config\": {\"hidden_size\": 2560, "
             "\"intermediate_size\": 10240, \"model_type\": \"gemma3_text\", "
             "\"num_hidden_layers\": 34, \"rope_scaling\": {\"factor\": 8.0, \"rope_type\": "
             "\"linear\"}, \"sliding_window\": 1024}, \"vision_config\": {}}", NULL);
    assert_int_equal(m.heads, 8);
    assert_int_equal(m.kv_heads, 4);
    assert_int_equal(m.head_dim, 256);
    assert_int_equal(m.vocab, 262208);
    assert_int_equal(m.window, 1024);
    assert_int_equal(m.stops[1], 106);
    assert_true(m.rope[LAYER_FULL].type == ROPE_LINEAR && m.rope[LAYER_FULL].factor == 8);
    assert_true(m.rope[LAYER_SLIDING].type == ROPE_DEFAULT && m.tied_head);
    m = good("{" GEMMA SIZES ", \"head_dim\": 32, \"layer_types\": [\"full_attention\", "
             "\"sliding_attention\"], \"sliding_window\": 8, \"query_pre_attn_scalar\": 24, "
             "\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 5e5, \"factor\": 8.0, "
             "\"rope_type\": \"linear\"}, \"sliding_attention\": {\"rope_type\": \"default\", "
             "\"rope_theta\": 2e4}}}", NULL);
    assert_int_equal(m.layer_kinds[0], LAYER_FULL);
    assert_int_equal(m.layer_kinds[1], LAYER_SLIDING);
    assert_true(m.rope[LAYER_FULL].type == ROPE_LINEAR && m.rope[LAYER_FULL].theta == 5e5f);
    assert_true(m.rope[LAYER_SLIDING].theta == 2e4f && m.attention_scale == (float)(1 / sqrt(24)));
}

static void yarn_has_transformers_defaults(void **state) {
    (void)state;
    model_config m = good("{" LLAMA SIZES ", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": "
                          "32.0, \"original_max_position_embeddings\": 128}}", NULL);
    const rope_config *r = &m.rope[LAYER_FULL];
    assert_int_equal(r->type, ROPE_YARN);
    assert_int_equal(r->original_context, 128);
    assert_true(r->beta_fast == 32 && r->beta_slow == 1 && r->truncate);
    assert_true(fabsf(r->attention_factor - 1.3465736f) < 1e-6f);
    m = good("{" LLAMA SIZES ", \"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 4, "
             "\"beta_fast\": 16, \"beta_slow\": 2, \"truncate\": false, \"attention_factor\": "
             "1.5, \"rope_theta\": 150000}}", NULL);
    assert_int_equal(r->original_context, 1024);
    assert_true(r->beta_fast == 16 && r->beta_slow == 2 && !r->truncate);
    assert_true(r->attention_factor == 1.5f && r->theta == 150000);
    m = good("{" LLAMA SIZES ", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 40, "
             "\"mscale\": 0.707, \"mscale_all_dim\": 0.707}}", NULL);
    assert_true(r->attention_factor == 1);
}

static void generation_config_wins_on_ids(void **state) {
    (void)state;
    static const char config[] =
        "{" LLAMA SIZES ", \"bos_token_id\": 507, \"eos_token_id\": [508, 509]}";
    model_config m = good(config, NULL);
    assert_int_equal(m.bos, 507);
    assert_int_equal(m.stop_count, 2);
    assert_int_equal(m.stops[1], 509);
    m = good(config, "{\"bos_token_id\": 1, \"eos_token_id\": 2}");
    assert_int_equal(m.bos, 1);
    assert_int_equal(m.stop_count, 1);
    assert_int_equal(m.stops[0], 2);
    m = good(config, "{\"eos_token_id\": null, \"do_sample\": true}");
    assert_int_equal(m.bos, 507);
    assert_int_equal(m.stop_count, 2);
    m = good(config, "{\"eos_token_id\": []}");
    assert_int_equal(m.stop_count, 0);
}

static void ids_outside_the_vocabulary_are_refused(void **state) {
    (void)state;
    static const char config[] = "{" LLAMA SIZES "}";
    static const char *const bad[] = {
        "{\"eos_token_id\": 512}", "{\"eos_token_id\": [1, -1]}", "{\"eos_token_id\": \"</s>\"}",
        "{\"eos_token_id\": 1.5}", "{\"eos_token_id\": [[1]]}",
        "{\"eos_token_id\": [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(config, bad[i], DOPPLER_BAD_FILE, "generation_config.json: ");
    refused(config, "{\"bos_token_id\": 9999}", DOPPLER_BAD_FILE, "9999");
    refused(config, "[]", DOPPLER_BAD_FILE, "generation_config.json");
    refused(config, "{", DOPPLER_BAD_FILE, "generation_config.json");
}

static void what_would_change_results_is_refused_by_name(void **state) {
    (void)state;
    static const struct { const char *field, *part; } cases[] = {
        {"\"hidden_act\": \"gelu\"", "hidden_act \"gelu\""},
        {"\"sliding_window\": 4096", "sliding_window 4096"},
        {"\"quantization_config\": {\"quant_method\": \"gptq\"}", "quantization_config"},
        {"\"partial_rotary_factor\": 0.5", "partial_rotary_factor 0.5"},
        {"\"rope_scaling\": {\"rope_type\": \"factors\"}", "rope type \"factors\""},
        {"\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 4}", "rope type \"dynamic\""},
        {"\"rope_parameters\": {\"partial_rotary_factor\": 0.25}", "partial_rotary_factor 0.25"},
        {"\"final_logit_softcapping\": 30.0", "final_logit_softcapping 30"},
        {"\"use_bidirectional_attention\": true", "use_bidirectional_attention true"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char config[1024];
        snprintf(config, sizeof config, "{" LLAMA SIZES ", %s}", cases[i].field);
        refused(config, NULL, DOPPLER_UNSUPPORTED, cases[i].part);
    }
    refused("{\"architectures\": [\"GemmaForCausalLM\"], " SIZES "}", NULL, DOPPLER_UNSUPPORTED,
            "GemmaForCausalLM");
    refused("{\"model_type\": \"qwen9\", " SIZES "}", NULL, DOPPLER_UNSUPPORTED, "qwen9");
    refused("{" LLAMA SIZES ", \"head_dim\": 20}", NULL, DOPPLER_UNSUPPORTED, "80");
}

static void missing_and_impossible_sizes_are_named(void **state) {
    (void)state;
    static const char *const sizes[] = {
        "\"num_hidden_layers\": 2", "\"hidden_size\": 64", "\"intermediate_size\": 192",
        "\"num_attention_heads\": 4", "\"vocab_size\": 512", "\"max_position_embeddings\": 1024"};
    static const char *const wrong[] = {"0", "-1", "2.5", "1e12", "99999999999999999999", "\"2\"",
                                        "null", "[]", "{}", "true"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char name[64];
        size_t key = strcspn(sizes[i], ":");
        snprintf(name, sizeof name, "%.*s", (int)key, sizes[i]);
        for (size_t w = 0; w <= sizeof wrong / sizeof *wrong; w++) {
            char config[1024];
            size_t used = (size_t)snprintf(config, sizeof config, "{" LLAMA "\"x\": 1");
            for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
                if (j != i)
                    used += (size_t)snprintf(config + used, sizeof config - used, ", %s", sizes[j]);
                else if (w < sizeof wrong / sizeof *wrong)
                    used += (size_t)snprintf(config + used, sizeof config - used, ", %s: %s", name,
                                             wrong[w]);
            }
            snprintf(config + used, sizeof config - used, "}");
            refused(config, NULL, DOPPLER_BAD_FILE, name);
        }
    }
    refused("{" LLAMA SIZES ", \"num_key_value_heads\": 3}", NULL, DOPPLER_BAD_FILE, "4 heads");
    refused("{" LLAMA SIZES ", \"rms_norm_eps\": 0}", NULL, DOPPLER_BAD_FILE, "norm_eps");
    refused("{" LLAMA SIZES ", \"tie_word_embeddings\": 1}", NULL, DOPPLER_BAD_FILE, "tie_word");
    refused("{" LLAMA SIZES ", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8}}", NULL,
            DOPPLER_BAD_FILE, "low_freq_factor");
    refused("{" LLAMA SIZES ", \"rope_scaling\": {\"factor\": 8}}", NULL, DOPPLER_BAD_FILE,
            "rope_type");
    refused("{" LLAMA SIZES ", \"rope_theta\": -1}", NULL, DOPPLER_BAD_FILE, "theta");
    refused("{" LLAMA SIZES ", \"rope_parameters\": {\"sliding_attention\": {}}}", NULL,
            DOPPLER_BAD_FILE, "full_attention");
    refused("{" GEMMA "\"layer_types\": [\"full_attention\"]}", NULL, DOPPLER_BAD_FILE,
            "layer_types");
    refused("{" GEMMA "\"sliding_window\": 0}", NULL, DOPPLER_BAD_FILE, "sliding_window");
    refused("{\"architectures\": [\"Gemma3ForConditionalGeneration\"]}", NULL, DOPPLER_BAD_FILE,
            "text_config");
}

static void chat_templates_have_several_forms(void **state) {
    (void)state;
    static const struct { const char *json, *want; } cases[] = {
        {"{\"chat_template\": \"{{ a }}\"}", "{{ a }}"},
        {"{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"t\"}, "
         "{\"name\": \"default\", \"template\": \"d\\n\"}]}",
         "{% if tools is defined and tools is not none %}\nt{{ '' }}{% else %}\n"
         "d{{ '' }}{% endif %}"},
        {"{\"chat_template\": [{\"name\": \"rag\", \"template\": \"r\"}, "
         "{\"name\": \"default\", \"template\": \"d\\n\"}]}", "d\n"},
        {"{\"chat_template\": null}", ""},
        {"{}", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        arena a = {0};
        error e = {0};
        const char *found;
        hf_text text = {cases[i].json, strlen(cases[i].json)};
        assert_int_equal(hf_chat_template(&e, &a, "t.json", text, &found), DOPPLER_OK);
        assert_string_equal(found, cases[i].want);
        arena_free(&a);
    }
    arena a = {0};
    error e = {0};
    const char *found;
    static const char bad[] = "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": 3}]}";
    assert_int_equal(hf_chat_template(&e, &a, "t.json", (hf_text){bad, sizeof bad - 1}, &found),
                     DOPPLER_BAD_FILE);
    assert_string_equal(e.message, "t.json: \"chat_template\" is no text");
    arena_free(&a);
}

/* ---- names */

static void names_map_to_roles(void **state) {
    (void)state;
    static const struct { const char *name; hf_name kind; tensor_role role; uint32_t layer; }
    cases[] = {
        {"model.embed_tokens.weight", HF_NAME_ROLE, ROLE_EMBEDDING, 0},
        {"lm_head.weight", HF_NAME_ROLE, ROLE_HEAD, 0},
        {"model.norm.weight", HF_NAME_ROLE, ROLE_FINAL_NORM, 0},
        {"model.layers.0.input_layernorm.weight", HF_NAME_ROLE, ROLE_ATTN_NORM, 0},
        {"model.layers.31.self_attn.o_proj.bias", HF_NAME_ROLE, ROLE_ATTN_O_BIAS, 31},
        {"model.layers.1023.mlp.down_proj.weight", HF_NAME_ROLE, ROLE_FFN_DOWN, 1023},
        {"model.layers.3.self_attn.rotary_emb.inv_freq", HF_NAME_SKIPPED, ROLE_COUNT, 3},
        {"model.layers.1024.mlp.down_proj.weight", HF_NAME_UNKNOWN, ROLE_COUNT, 0},
        {"model.layers.03.mlp.down_proj.weight", HF_NAME_UNKNOWN, ROLE_COUNT, 0},
        {"model.layers..mlp.down_proj.weight", HF_NAME_UNKNOWN, ROLE_COUNT, 0},
        {"model.layers.99999999999.mlp.up_proj.weight", HF_NAME_UNKNOWN, ROLE_COUNT, 0},
        {"model.layers.0.lm_head.weight", HF_NAME_UNKNOWN, ROLE_COUNT, 0},
        {"self_attn.q_proj.weight", HF_NAME_UNKNOWN, ROLE_COUNT, 0},
        {"", HF_NAME_UNKNOWN, ROLE_COUNT, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tensor_role role = ROLE_COUNT;
        uint32_t layer;
        assert_int_equal(hf_name_role("llama", cases[i].name, &role, &layer), cases[i].kind);
        assert_int_equal(role, cases[i].role);
        if (cases[i].kind == HF_NAME_ROLE) assert_int_equal(layer, cases[i].layer);
    }
}

/* post_attention_layernorm is another norm there, and a seeing model has prefixes. */
static void gemma_names_map_to_their_roles(void **state) {
    (void)state;
    static const struct { const char *name; hf_name kind; tensor_role role; } cases[] = {
        {"model.layers.5.post_attention_layernorm.weight", HF_NAME_ROLE, ROLE_ATTN_POST_NORM},
        {"model.layers.5.pre_feedforward_layernorm.weight", HF_NAME_ROLE, ROLE_FFN_NORM},
        {"language_model.model.layers.5.post_feedforward_layernorm.weight", HF_NAME_ROLE,
         ROLE_FFN_POST_NORM},
        {"model.language_model.layers.5.self_attn.q_norm.weight", HF_NAME_ROLE, ROLE_ATTN_Q_NORM},
        {"language_model.lm_head.weight", HF_NAME_ROLE, ROLE_HEAD},
        {"vision_tower.vision_model.embeddings.patch_embedding.weight", HF_NAME_VISION, ROLE_COUNT},
        {"multi_modal_projector.mm_input_projection_weight", HF_NAME_VISION, ROLE_COUNT},
        {"language_model.vision.weight", HF_NAME_UNKNOWN, ROLE_COUNT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tensor_role role = ROLE_COUNT;
        uint32_t layer;
        assert_int_equal(hf_name_role("gemma3", cases[i].name, &role, &layer), cases[i].kind);
        assert_int_equal(role, cases[i].role);
        if (role == ROLE_FFN_NORM) assert_int_equal(layer, 5);
    }
}

/* A one-layer model's tensors with one change. */
static void sources_are_complete_and_fit(void **state) {
    (void)state;
    static const uint64_t matrix[] = {64, 64}, wide[] = {32, 64}, up[] = {192, 64},
                          down[] = {64, 192}, norm[] = {64}, vocab[] = {512, 64};
    model_config m = good("{" LLAMA SIZES ", \"num_key_value_heads\": 2}", NULL);
    m.layers = 1;
    safetensors_tensor tensors[] = {
        {"lm_head.weight", ST_BF16, 2, vocab, 0, 65536},
        {"model.embed_tokens.weight", ST_F16, 2, vocab, 0, 65536},
        {"model.layers.0.input_layernorm.weight", ST_F32, 1, norm, 0, 256},
        {"model.layers.0.post_attention_layernorm.weight", ST_F32, 1, norm, 0, 256},
        {"model.layers.0.self_attn.q_proj.weight", ST_BF16, 2, matrix, 0, 8192},
        {"model.layers.0.self_attn.k_proj.weight", ST_BF16, 2, wide, 0, 4096},
        {"model.layers.0.self_attn.v_proj.weight", ST_BF16, 2, wide, 0, 4096},
        {"model.layers.0.self_attn.o_proj.weight", ST_BF16, 2, matrix, 0, 8192},
        {"model.layers.0.self_attn.rotary_emb.inv_freq", ST_F32, 1, norm, 0, 256},
        {"model.layers.0.mlp.gate_proj.weight", ST_BF16, 2, up, 0, 24576},
        {"model.layers.0.mlp.up_proj.weight", ST_BF16, 2, up, 0, 24576},
        {"model.layers.0.mlp.down_proj.weight", ST_BF16, 2, down, 0, 24576},
        {"model.norm.weight", ST_BF16, 1, norm, 0, 128},
    };
    enum { COUNT = sizeof tensors / sizeof *tensors };
    safetensors file = {"f", tensors, COUNT};
    arena a = {0};
    error e = {0};
    source_tensor *s;
    uint32_t count, vision;
    assert_int_equal(hf_sources(&e, &a, &m, &file, 1, &s, &count, &vision), DOPPLER_OK);
    assert_int_equal(count, COUNT - 1);
    assert_int_equal(s[0].role, ROLE_EMBEDDING);
    assert_int_equal(s[0].type, SOURCE_F16);
    assert_int_equal(s[count - 1].role, ROLE_HEAD);
    model_config tied = m;
    tied.tied_head = true;
    assert_int_equal(hf_sources(&e, &a, &tied, &file, 1, &s, &count, &vision), DOPPLER_OK);
    assert_int_equal(count, COUNT - 2);
    static const struct {
        uint32_t at;
        safetensors_tensor to;
        doppler_status want;
        const char *part;
    } changes[] = {
        {12, {"model.layers.0.input_layernorm.weight", ST_F32, 1, norm, 0, 256}, DOPPLER_BAD_FILE,
         "is there twice"},
        {12, {"model.rotary_emb.inv_freq", ST_F32, 1, norm, 0, 256}, DOPPLER_BAD_FILE,
         "\"model.norm.weight\" is missing"},
        {6, {"model.rotary_emb.inv_freq", ST_F32, 1, norm, 0, 256}, DOPPLER_BAD_FILE,
         "\"model.layers.0.self_attn.v_proj.weight\" is missing"},
        {8, {"model.layers.0.self_attn.q_norm.weight", ST_F32, 1, norm, 0, 256},
         DOPPLER_UNSUPPORTED, "q_norm"},
        {8, {"model.layers.0.self_attn.q_proj.bias", ST_F32, 1, norm, 0, 256}, DOPPLER_BAD_FILE,
         "q_proj.bias"},
        {8, {"model.layers.1.input_layernorm.weight", ST_F32, 1, norm, 0, 256}, DOPPLER_BAD_FILE,
         "layers.1"},
        {4, {"model.layers.0.self_attn.q_proj.weight", ST_BF16, 2, wide, 0, 4096},
         DOPPLER_BAD_FILE, "[32, 64]"},
        {4, {"model.layers.0.self_attn.q_proj.weight", ST_BF16, 1, norm, 0, 128},
         DOPPLER_BAD_FILE, "is [64]; the config says [64, 64]"},
        {4, {"model.layers.0.self_attn.q_proj.weight", ST_I8, 2, matrix, 0, 4096},
         DOPPLER_UNSUPPORTED, "I8"},
        {2, {"model.layers.0.input_layernorm.weight", ST_F32, 0, NULL, 0, 4}, DOPPLER_BAD_FILE,
         "is []; the config says [64]"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        safetensors_tensor before = tensors[changes[i].at];
        tensors[changes[i].at] = changes[i].to;
        assert_int_equal(hf_sources(&e, &a, &m, &file, 1, &s, &count, &vision), changes[i].want);
        if (!strstr(e.message, changes[i].part)) fail_msg("%s", e.message);
        tensors[changes[i].at] = before;
    }
    arena_free(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_llama),
        cmocka_unit_test(both_rope_spellings_mean_the_same),
        cmocka_unit_test(a_mistral_window_is_of_all_layers_or_none),
        cmocka_unit_test(gemma3_configs_come_in_three_spellings),
        cmocka_unit_test(yarn_has_transformers_defaults),
        cmocka_unit_test(generation_config_wins_on_ids),
        cmocka_unit_test(ids_outside_the_vocabulary_are_refused),
        cmocka_unit_test(what_would_change_results_is_refused_by_name),
        cmocka_unit_test(missing_and_impossible_sizes_are_named),
        cmocka_unit_test(chat_templates_have_several_forms),
        cmocka_unit_test(names_map_to_roles),
        cmocka_unit_test(gemma_names_map_to_their_roles),
        cmocka_unit_test(sources_are_complete_and_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
