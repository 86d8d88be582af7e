/* model.c - the role table: which tensors a model has and their shapes, and the checks that
 * every description of a model must pass, whichever file it came from. */
#include "memory/model.h"
#include <math.h>
#include <stddef.h>
#include <string.h>

const char *const model_architectures[] = {"llama", "mistral", "gemma3", "mixtral",
                                           "gpt-oss", NULL};
const char *const activation_names[ACTIVATION_COUNT] = {
    [ACTIVATION_SILU] = "silu", [ACTIVATION_GELU_TANH] = "gelu_tanh",
    [ACTIVATION_SWIGLU_CLAMPED] = "swiglu_clamped"};
const char *const layer_kind_names[LAYER_KINDS] = {
    [LAYER_FULL] = "full", [LAYER_SLIDING] = "sliding"};
const char *const rope_names[ROPE_COUNT] = {
    [ROPE_DEFAULT] = "default", [ROPE_LINEAR] = "linear", [ROPE_LLAMA3] = "llama3",
    [ROPE_YARN] = "yarn", [ROPE_FACTORS] = "factors"};

#define BIT(type) (1u << ROPE_##type)
const rope_field rope_fields[ROPE_FIELDS] = {
    {"theta", offsetof(rope_config, theta), (1u << ROPE_COUNT) - 1},
    {"factor", offsetof(rope_config, factor), BIT(LINEAR) | BIT(LLAMA3) | BIT(YARN)},
    {"low_freq_factor", offsetof(rope_config, low_freq_factor), BIT(LLAMA3)},
    {"high_freq_factor", offsetof(rope_config, high_freq_factor), BIT(LLAMA3)},
    {"beta_fast", offsetof(rope_config, beta_fast), BIT(YARN)},
    {"beta_slow", offsetof(rope_config, beta_slow), BIT(YARN)},
    {"attention_factor", offsetof(rope_config, attention_factor), BIT(YARN)},
};

bool rope_has(rope_type type, const rope_field *field) { return field->types >> type & 1; }

bool rope_has_context(rope_type type) { return (BIT(LLAMA3) | BIT(YARN)) >> type & 1; }

const role_info roles[ROLE_COUNT] = {
#define X(role, name, per_layer, matrix) [ROLE_##role] = {name, per_layer, matrix},
    TENSOR_ROLES(X)
#undef X
};

/* A role's rows and cols are one of these sizes of the model. */
enum {
    SIZE_1, SIZE_DIM, SIZE_HIDDEN, SIZE_VOCAB, SIZE_Q, SIZE_KV, SIZE_HEAD, SIZE_HEADS,
    SIZE_EXPERTS,                /* 1 of a dense model, whose biases are one row */
    SIZE_COUNT
};
/* When a model has the role. */
enum {
    ALWAYS, UNTIED, QKV_BIAS, OUT_BIAS, MLP_BIAS, QK_NORM, POST_NORMS, SINKS, EXPERTS, ROUTED_BIAS,
    CONDITION_COUNT
};

static const struct { uint8_t rows, cols, condition; } shapes[ROLE_COUNT] = {
    [ROLE_EMBEDDING] = {SIZE_VOCAB, SIZE_DIM, ALWAYS},
    [ROLE_HEAD] = {SIZE_VOCAB, SIZE_DIM, UNTIED},
    [ROLE_FINAL_NORM] = {SIZE_1, SIZE_DIM, ALWAYS},
    [ROLE_ATTN_NORM] = {SIZE_1, SIZE_DIM, ALWAYS},
    [ROLE_ATTN_Q] = {SIZE_Q, SIZE_DIM, ALWAYS},
    [ROLE_ATTN_K] = {SIZE_KV, SIZE_DIM, ALWAYS},
    [ROLE_ATTN_V] = {SIZE_KV, SIZE_DIM, ALWAYS},
    [ROLE_ATTN_O] = {SIZE_DIM, SIZE_Q, ALWAYS},
    [ROLE_ATTN_Q_BIAS] = {SIZE_1, SIZE_Q, QKV_BIAS},
    [ROLE_ATTN_K_BIAS] = {SIZE_1, SIZE_KV, QKV_BIAS},
    [ROLE_ATTN_V_BIAS] = {SIZE_1, SIZE_KV, QKV_BIAS},
    [ROLE_ATTN_O_BIAS] = {SIZE_1, SIZE_DIM, OUT_BIAS},
    [ROLE_ATTN_SINKS] = {SIZE_1, SIZE_HEADS, SINKS},
    [ROLE_ATTN_Q_NORM] = {SIZE_1, SIZE_HEAD, QK_NORM},
    [ROLE_ATTN_K_NORM] = {SIZE_1, SIZE_HEAD, QK_NORM},
    [ROLE_ATTN_POST_NORM] = {SIZE_1, SIZE_DIM, POST_NORMS},
    [ROLE_FFN_NORM] = {SIZE_1, SIZE_DIM, ALWAYS},
    [ROLE_ROUTER] = {SIZE_EXPERTS, SIZE_DIM, EXPERTS},
    [ROLE_ROUTER_BIAS] = {SIZE_1, SIZE_EXPERTS, ROUTED_BIAS},
    [ROLE_FFN_GATE] = {SIZE_HIDDEN, SIZE_DIM, ALWAYS},
    [ROLE_FFN_UP] = {SIZE_HIDDEN, SIZE_DIM, ALWAYS},
    [ROLE_FFN_DOWN] = {SIZE_DIM, SIZE_HIDDEN, ALWAYS},
    [ROLE_FFN_GATE_BIAS] = {SIZE_EXPERTS, SIZE_HIDDEN, MLP_BIAS},
    [ROLE_FFN_UP_BIAS] = {SIZE_EXPERTS, SIZE_HIDDEN, MLP_BIAS},
    [ROLE_FFN_DOWN_BIAS] = {SIZE_EXPERTS, SIZE_DIM, MLP_BIAS},
    [ROLE_FFN_POST_NORM] = {SIZE_1, SIZE_DIM, POST_NORMS},
};

tensor_role role_by_name(const char *name) {
    for (uint32_t i = 0; i < ROLE_COUNT; i++)
        if (!strcmp(roles[i].name, name)) return (tensor_role)i;
    return ROLE_COUNT;
}

model_activation activation_by_name(const char *name) {
    for (uint32_t i = 0; i < ACTIVATION_COUNT; i++)
        if (!strcmp(activation_names[i], name)) return (model_activation)i;
    return ACTIVATION_COUNT;
}

rope_type rope_by_name(const char *name) {
    for (uint32_t i = 0; i < ROPE_COUNT; i++)
        if (!strcmp(rope_names[i], name)) return (rope_type)i;
    return ROPE_COUNT;
}

layer_kind layer_kind_by_name(const char *name) {
    for (uint32_t i = 0; i < LAYER_KINDS; i++)
        if (!strcmp(layer_kind_names[i], name)) return (layer_kind)i;
    return LAYER_KINDS;
}

bool model_architecture_known(const char *name) {
    for (const char *const *known = model_architectures; *known; known++)
        if (!strcmp(*known, name)) return true;
    return false;
}

uint32_t model_kind_layers(const model_config *m, layer_kind kind) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->layers; i++) count += m->layer_kinds[i] == kind;
    return count;
}

bool model_has_kind(const model_config *m, layer_kind kind) {
    return model_kind_layers(m, kind) > 0;
}

bool model_role_in_expert(const model_config *m, tensor_role role) {
    return m->experts && (role == ROLE_FFN_GATE || role == ROLE_FFN_UP || role == ROLE_FFN_DOWN);
}

uint32_t model_role_experts(const model_config *m, tensor_role role) {
    return model_role_in_expert(m, role) ? m->experts : 1;
}

bool model_role_shape(const model_config *m, tensor_role role, uint32_t *rows, uint32_t *cols) {
    const uint32_t sizes[SIZE_COUNT] = {
        [SIZE_1] = 1,
        [SIZE_DIM] = m->dim,
        [SIZE_HIDDEN] = m->hidden,
        [SIZE_VOCAB] = m->vocab,
        [SIZE_Q] = m->heads * m->head_dim,
        [SIZE_KV] = m->kv_heads * m->head_dim,
        [SIZE_HEAD] = m->head_dim,
        [SIZE_HEADS] = m->heads,
        [SIZE_EXPERTS] = m->experts ? m->experts : 1,
    };
    const bool conditions[CONDITION_COUNT] = {
        [ALWAYS] = true,
        [UNTIED] = !m->tied_head,
        [QKV_BIAS] = m->attention_bias,
        [OUT_BIAS] = m->attention_out_bias,
        [MLP_BIAS] = m->mlp_bias,
        [QK_NORM] = m->qk_norm,
        [POST_NORMS] = m->post_norms,
        [SINKS] = m->attention_sinks,
        [EXPERTS] = m->experts != 0,
        [ROUTED_BIAS] = m->router_bias,
    };
    *rows = sizes[shapes[role].rows];
    *cols = sizes[shapes[role].cols];
    return conditions[shapes[role].condition];
}

/* Of the role, 0 when the model has none. */
static uint32_t tensors_of_role(const model_config *m, tensor_role role) {
    uint32_t rows, cols;
    if (!model_role_shape(m, role, &rows, &cols)) return 0;
    return (roles[role].per_layer ? m->layers : 1) * model_role_experts(m, role);
}

uint32_t model_tensor_count(const model_config *m) {
    uint32_t count = 0;
    for (uint32_t role = 0; role < ROLE_COUNT; role++)
        count += tensors_of_role(m, (tensor_role)role);
    return count;
}

uint32_t model_tensor_index(const model_config *m, tensor_role role, uint32_t layer,
                            uint32_t expert) {
    uint32_t index = layer * model_role_experts(m, role) + expert;
    for (uint32_t before = 0; before < (uint32_t)role; before++)
        index += tensors_of_role(m, (tensor_role)before);
    return index;
}

static bool positive(float x) { return isfinite(x) && x > 0; }

static doppler_status check_rope(error *e, const char *what, const rope_config *r,
                                 uint32_t head_dim) {
    for (size_t i = 0; i < ROPE_FIELDS; i++) {
        float value;
        memcpy(&value, (const char *)r + rope_fields[i].offset, sizeof value);
        if (rope_has(r->type, &rope_fields[i]) && !positive(value))
            return fail(e, DOPPLER_BAD_FILE, "%s: rope %s %g", what, rope_fields[i].name,
                        (double)value);
    }
    for (uint32_t i = 0; r->type == ROPE_FACTORS && i < head_dim / 2; i++)
        if (!positive(r->factors[i]))
            return fail(e, DOPPLER_BAD_FILE, "%s: rope factors[%u] is %g", what, i,
                        (double)r->factors[i]);
    if (r->type == ROPE_LLAMA3 && r->low_freq_factor >= r->high_freq_factor)
        return fail(e, DOPPLER_BAD_FILE, "%s: rope low_freq_factor %g and high_freq_factor %g",
                    what, (double)r->low_freq_factor, (double)r->high_freq_factor);
    if (r->type == ROPE_YARN && (r->beta_slow > r->beta_fast || r->theta <= 1))
        return fail(e, DOPPLER_BAD_FILE, "%s: rope beta_slow %g, beta_fast %g and theta %g", what,
                    (double)r->beta_slow, (double)r->beta_fast, (double)r->theta);
    if (rope_has_context(r->type) &&
        (r->original_context == 0 || r->original_context > MODEL_MAX_CONTEXT))
        return fail(e, DOPPLER_BAD_FILE, "%s: rope original context %u, 1 to %u are possible",
                    what, r->original_context, MODEL_MAX_CONTEXT);
    return DOPPLER_OK;
}

/* Kinds of layers, their window and their rotations. */
static doppler_status check_kinds(error *e, const char *what, const model_config *m) {
    for (uint32_t i = 0; i < m->layers; i++)
        if (m->layer_kinds[i] >= LAYER_KINDS)
            return fail(e, DOPPLER_BAD_FILE, "%s: layer %u is of kind %u", what, i,
                        m->layer_kinds[i]);
    bool sliding = model_has_kind(m, LAYER_SLIDING);
    if (sliding != (m->window != 0) || m->window > MODEL_MAX_CONTEXT)
        return fail(e, DOPPLER_BAD_FILE, "%s: window %u, %s", what, m->window,
                    sliding ? "which sliding layers cannot have" : "but no layer is sliding");
    for (uint32_t kind = 0; kind < LAYER_KINDS; kind++) {
        if (!model_has_kind(m, (layer_kind)kind)) continue;
        doppler_status status = check_rope(e, what, &m->rope[kind], m->head_dim);
        if (status) return status;
    }
    return DOPPLER_OK;
}

/* Experts, and the activation inside them. */
static doppler_status check_feed_forward(error *e, const char *what, const model_config *m) {
    if (m->experts > MODEL_MAX_EXPERTS)
        return fail(e, DOPPLER_UNSUPPORTED, "%s: experts %u, at most %d", what, m->experts,
                    MODEL_MAX_EXPERTS);
    uint32_t most = m->experts < MODEL_MAX_EXPERTS_USED ? m->experts : MODEL_MAX_EXPERTS_USED;
    if (m->experts_used > most || (m->experts && !m->experts_used))
        return fail(e, DOPPLER_BAD_FILE, "%s: experts_used %u of experts %u, at most %u", what,
                    m->experts_used, m->experts, most);
    if (m->router_bias && !m->experts)
        return fail(e, DOPPLER_BAD_FILE, "%s: router_bias, but no experts", what);
    bool clamped = m->activation == ACTIVATION_SWIGLU_CLAMPED;
    if (clamped ? positive(m->activation_limit) : m->activation_limit == 0) return DOPPLER_OK;
    return fail(e, DOPPLER_BAD_FILE, "%s: activation_limit %g of activation %s", what,
                (double)m->activation_limit, activation_names[m->activation]);
}

static doppler_status check_tokens(error *e, const char *what, const model_config *m) {
    if (m->has_bos && m->bos >= m->vocab)
        return fail(e, DOPPLER_BAD_FILE, "%s: bos id %u, the vocabulary has %u", what, m->bos,
                    m->vocab);
    if (m->stop_count > MODEL_MAX_STOPS)
        return fail(e, DOPPLER_BAD_FILE, "%s: %u stop ids, at most %u", what, m->stop_count,
                    MODEL_MAX_STOPS);
    for (uint32_t i = 0; i < m->stop_count; i++)
        if (m->stops[i] >= m->vocab)
            return fail(e, DOPPLER_BAD_FILE, "%s: stop id %u, the vocabulary has %u", what,
                        m->stops[i], m->vocab);
    return DOPPLER_OK;
}

doppler_status model_check(error *e, const char *what, const model_config *m) {
    const struct { const char *name; uint32_t value, max; } sizes[] = {
        {"layers", m->layers, MODEL_MAX_LAYERS},    {"dim", m->dim, MODEL_MAX_DIM},
        {"hidden", m->hidden, MODEL_MAX_HIDDEN},    {"heads", m->heads, MODEL_MAX_HEADS},
        {"kv_heads", m->kv_heads, MODEL_MAX_HEADS}, {"head_dim", m->head_dim, MODEL_MAX_HEAD_DIM},
        {"vocab", m->vocab, MODEL_MAX_VOCAB},       {"context", m->context, MODEL_MAX_CONTEXT},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value == 0 || sizes[i].value > sizes[i].max)
            return fail(e, DOPPLER_BAD_FILE, "%s: %s %u, 1 to %u are possible", what,
                        sizes[i].name, sizes[i].value, sizes[i].max);
    if (m->heads % m->kv_heads)
        return fail(e, DOPPLER_BAD_FILE, "%s: %u heads are no multiple of %u kv_heads", what,
                    m->heads, m->kv_heads);
    if (m->head_dim % 2)
        return fail(e, DOPPLER_BAD_FILE, "%s: head_dim %u is odd", what, m->head_dim);
    const struct { const char *name; uint32_t value; } rows[] = {
        {"dim", m->dim}, {"hidden", m->hidden}, {"heads * head_dim", m->heads * m->head_dim}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].value % 32)
            return fail(e, DOPPLER_UNSUPPORTED, "%s: %s is %u, which is no multiple of 32", what,
                        rows[i].name, rows[i].value);
    const struct { const char *name; float value; } reals[] = {
        {"norm_eps", m->norm_eps}, {"attention_scale", m->attention_scale},
        {"embedding_scale", m->embedding_scale}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (!positive(reals[i].value))
            return fail(e, DOPPLER_BAD_FILE, "%s: %s %g", what, reals[i].name,
                        (double)reals[i].value);
    doppler_status status = check_kinds(e, what, m);
    if (!status) status = check_feed_forward(e, what, m);
    return status != DOPPLER_OK ? status : check_tokens(e, what, m);
}

/* With this many experts of each layer. */
static uint64_t parameters(const model_config *m, uint32_t experts) {
    uint64_t total = 0;
    for (uint32_t role = 0; role < ROLE_COUNT; role++) {
        uint32_t rows, cols, copies = model_role_in_expert(m, (tensor_role)role) ? experts : 1;
        if (!model_role_shape(m, (tensor_role)role, &rows, &cols)) continue;
        if (m->experts && shapes[role].condition == MLP_BIAS) rows = experts;
        total += (uint64_t)rows * cols * copies * (roles[role].per_layer ? m->layers : 1);
    }
    return total;
}

uint64_t model_parameters(const model_config *m) { return parameters(m, m->experts); }

uint64_t model_active_parameters(const model_config *m) { return parameters(m, m->experts_used); }
