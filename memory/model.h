/* model.h - what a model is, whoever wrote its file: the numbers of its architecture and the
 * roles its tensors play. Filled by bridge/ from foreign configs and by loader/ from manifests;
 * read by inference/. Nothing in it is inferred from names. */
#ifndef MEMORY_MODEL_H
#define MEMORY_MODEL_H

#include "memory/format.h"
#include "memory/status.h"

/* Bounds on what a file may claim: far above every published model, and low enough that no
 * product of two of them overflows 64 bits (nor heads * head_dim 32 bits). */
enum {
    MODEL_MAX_STOPS = 16,
    MODEL_MAX_LAYERS = 1024,
    MODEL_MAX_DIM = 1 << 17,
    MODEL_MAX_HIDDEN = 1 << 19,
    MODEL_MAX_HEADS = 1024,
    MODEL_MAX_HEAD_DIM = 1024,
    MODEL_MAX_VOCAB = 1 << 21,
    MODEL_MAX_CONTEXT = 1 << 24,
    MODEL_MAX_EXPERTS = 256,
    MODEL_MAX_EXPERTS_USED = 16
};

/* SWIGLU_CLAMPED, of gate and up together: g = min(gate, limit), u = clamp(up, -limit, limit),
 * (u + 1) * g * sigmoid(1.702 * g). */
typedef enum model_activation {
    ACTIVATION_SILU, ACTIVATION_GELU_TANH, ACTIVATION_SWIGLU_CLAMPED, ACTIVATION_COUNT
} model_activation;

/* What a layer attends to: everything before, or the last `window` tokens. */
typedef enum layer_kind { LAYER_FULL, LAYER_SLIDING, LAYER_KINDS } layer_kind;

typedef enum rope_type {
    ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN, ROPE_FACTORS, ROPE_COUNT
} rope_type;

/* Rotary position embedding, rotate-half, over the whole head (Su et al. 2021).
 * inv_freq[i] = theta^(-2i / head_dim), then scaled by type. */
typedef struct rope_config {
    rope_type type;
    float theta;
    float factor;                        /* linear, llama3, yarn */
    float low_freq_factor, high_freq_factor;   /* llama3 */
    float beta_fast, beta_slow;          /* yarn: rotations in original_context tokens */
    float attention_factor;              /* yarn: of cos and sin */
    uint32_t original_context;           /* llama3, yarn */
    bool truncate;                       /* yarn: the ramp's ends are whole numbers */
    float factors[MODEL_MAX_HEAD_DIM / 2];     /* factors: inv_freq[i] is divided by factors[i] */
} rope_config;

typedef struct model_config {
    char architecture[32];               /* one of model_architectures */
    uint32_t layers, dim, hidden, heads, kv_heads, head_dim, vocab, context;
    uint32_t window;                     /* of sliding layers: query i sees j, i - window < j <= i;
                                          * 0 where all are full */
    float norm_eps;
    float attention_scale;               /* usually head_dim^-0.5 */
    float embedding_scale;               /* factor of embedding rows, not of the tied head's */
    model_activation activation;
    float activation_limit;              /* of SWIGLU_CLAMPED; 0 of others */
    uint32_t experts, experts_used;      /* feed-forward networks of a layer, each `hidden` wide,
                                          * and how many a token goes through; 0, 0: dense. Those
                                          * of the highest router logits, ties to the lower index,
                                          * weighted by the softmax of the chosen logits and added
                                          * in descending order of these */
    bool router_bias;                    /* the router has a bias */
    bool attention_sinks;                /* a logit per head joins each softmax's denominator */
    bool tied_head;                      /* logits use the embedding matrix */
    bool attention_bias;                 /* q, k, v biases exist */
    bool attention_out_bias;             /* o bias exists */
    bool mlp_bias;                       /* gate, up, down biases exist, of all experts */
    bool qk_norm;                        /* q and k are normalized per head, before the rotation */
    bool post_norms;                     /* outputs of attention and MLP are normalized, too */
    uint8_t layer_kinds[MODEL_MAX_LAYERS];     /* layer_kind of each layer */
    rope_config rope[LAYER_KINDS];       /* of the kinds that occur */
    bool has_bos;
    uint32_t bos;                        /* informative: encode() asks the tokenizer instead */
    uint32_t stops[MODEL_MAX_STOPS], stop_count;
} model_config;

extern const char *const model_architectures[];                /* "llama" ...; NULL ends it */
extern const char *const activation_names[ACTIVATION_COUNT];   /* "silu", "gelu_tanh" ... */
extern const char *const layer_kind_names[LAYER_KINDS];        /* "full", "sliding" */
extern const char *const rope_names[ROPE_COUNT];               /* "default", "linear" ... */

/* X(role, name in manifests, per layer, is a matrix) Vectors are stored as f32.
 * Shapes are [rows, cols]; vectors are [1, n], biases of experts [experts, n]. A layer with experts
 * has FFN_GATE, FFN_UP and FFN_DOWN once for each of them. */
#define TENSOR_ROLES(X)                                                       \
    X(EMBEDDING,  "embedding",  0, 1)   /* [vocab, dim] */                    \
    X(HEAD,       "head",       0, 1)   /* [vocab, dim], absent when tied */  \
    X(FINAL_NORM, "final_norm", 0, 0)   /* [dim] */                           \
    X(ATTN_NORM,  "attn_norm",  1, 0)   /* [dim] */                           \
    X(ATTN_Q,     "attn_q",     1, 1)   /* [heads * head_dim, dim] */         \
    X(ATTN_K,     "attn_k",     1, 1)   /* [kv_heads * head_dim, dim] */      \
    X(ATTN_V,     "attn_v",     1, 1)   /* [kv_heads * head_dim, dim] */      \
    X(ATTN_O,     "attn_o",     1, 1)   /* [dim, heads * head_dim] */         \
    X(ATTN_Q_BIAS, "attn_q_bias", 1, 0)                                       \
    X(ATTN_K_BIAS, "attn_k_bias", 1, 0)                                       \
    X(ATTN_V_BIAS, "attn_v_bias", 1, 0)                                       \
    X(ATTN_O_BIAS, "attn_o_bias", 1, 0)                                       \
    X(ATTN_SINKS, "attn_sinks", 1, 0)   /* [heads] */                         \
    X(ATTN_Q_NORM, "attn_q_norm", 1, 0) /* [head_dim] */                      \
    X(ATTN_K_NORM, "attn_k_norm", 1, 0) /* [head_dim] */                      \
    X(ATTN_POST_NORM, "attn_post_norm", 1, 0)   /* [dim] */                   \
    X(FFN_NORM,   "ffn_norm",   1, 0)   /* [dim] */                           \
    X(ROUTER,     "router",     1, 1)   /* [experts, dim]; floats */          \
    X(ROUTER_BIAS, "router_bias", 1, 0) /* [experts] */                       \
    X(FFN_GATE,   "ffn_gate",   1, 1)   /* [hidden, dim] */                   \
    X(FFN_UP,     "ffn_up",     1, 1)   /* [hidden, dim] */                   \
    X(FFN_DOWN,   "ffn_down",   1, 1)   /* [dim, hidden] */                   \
    X(FFN_GATE_BIAS, "ffn_gate_bias", 1, 0)                                   \
    X(FFN_UP_BIAS,   "ffn_up_bias",   1, 0)                                   \
    X(FFN_DOWN_BIAS, "ffn_down_bias", 1, 0)                                   \
    X(FFN_POST_NORM, "ffn_post_norm", 1, 0)     /* [dim] */

typedef enum tensor_role {
#define X(role, name, per_layer, matrix) ROLE_##role,
    TENSOR_ROLES(X)
#undef X
    ROLE_COUNT
} tensor_role;

typedef struct role_info { const char *name; bool per_layer, matrix; } role_info;
extern const role_info roles[ROLE_COUNT];

/* The f32 fields of a rope_config and the types that have them, a bit for each. */
typedef struct rope_field { const char *name; size_t offset; uint32_t types; } rope_field;
enum { ROPE_FIELDS = 7 };
extern const rope_field rope_fields[ROPE_FIELDS];
bool rope_has(rope_type type, const rope_field *field);
bool rope_has_context(rope_type type);                 /* original_context */

tensor_role role_by_name(const char *name);            /* ROLE_COUNT when unknown */
model_activation activation_by_name(const char *name); /* ACTIVATION_COUNT when unknown */
rope_type rope_by_name(const char *name);              /* ROPE_COUNT when unknown */
layer_kind layer_kind_by_name(const char *name);       /* LAYER_KINDS when unknown */
bool model_architecture_known(const char *name);
bool model_has_kind(const model_config *m, layer_kind kind);
uint32_t model_kind_layers(const model_config *m, layer_kind kind);    /* how many */
/* Whether the role is a matrix of an expert: FFN_GATE, FFN_UP, FFN_DOWN with experts. */
bool model_role_in_expert(const model_config *m, tensor_role role);
/* Tensors of the role in a layer: one for each expert, or one. */
uint32_t model_role_experts(const model_config *m, tensor_role role);
/* Shape the role must have in this model; false when the model has no such tensor. */
bool model_role_shape(const model_config *m, tensor_role role, uint32_t *rows, uint32_t *cols);
/* Tensors of the whole model, and the place of one of them in 0 to count - 1: by role, layer and
 * expert. */
uint32_t model_tensor_count(const model_config *m);
uint32_t model_tensor_index(const model_config *m, tensor_role role, uint32_t layer,
                            uint32_t expert);
/* Numbers that must fit each other and the kernels: every bound above, heads a multiple of
 * kv_heads, even head_dim, rows of whole runs of 32 weights, positive finite floats, token ids
 * below vocab. what names the file in messages. Status: BAD_FILE, UNSUPPORTED. */
doppler_status model_check(error *e, const char *what, const model_config *m);
/* Weights of all tensors the model has. */
uint64_t model_parameters(const model_config *m);
/* Of these, the ones that a token meets: of the experts only those it goes through. */
uint64_t model_active_parameters(const model_config *m);

#endif
