/* op.h - one function per kernel: shape checks, dims, grid, one recorded dispatch. Model code
 * calls these only. op_<kernel> records gpu/wgsl/<kernel>.wgsl, whose twin is gpu/cpu/<kernel>.c
 * and whose test is in tests/kernels/test_<kernel>.c. */
#ifndef GPU_OP_H
#define GPU_OP_H

#include "gpu/dims.h"
#include "gpu/kernel.h"

/* What a kernel is chosen by: a format, weights [rows, k], and tokens, as op_token_class has them.
 * Four words. */
typedef struct op_shape { uint32_t format, rows, k, tokens; } op_shape;

/* Which kernel was the fastest on this device for a shape, of base and those that do its work;
 * KERNEL_GATHER: the rule says it. */
typedef struct op_choice { op_shape shape; kernel_id base, best; } op_choice;
enum { OP_MAX_CHOICES = 48 };

/* What was measured for so many tokens counts for up to as many: 1, 8, 64, OP_MOST_TOKENS. */
enum { OP_MOST_TOKENS = 512 };
uint32_t op_token_class(uint32_t tokens);

/* Compiled programs, by kernel and format; 0 where not asked for. Operations take the kernel that a
 * choice names, else that of a rule, else another variant that is there. */
typedef struct op_programs {
    gpu_program of[KERNEL_COUNT][FORMAT_COUNT];
    op_choice choices[OP_MAX_CHOICES];
    uint32_t choice_count;
} op_programs;

/* Those of `all` among which operations find no variant of id's base but id, and no choices. */
void op_programs_only(const op_programs *all, kernel_id id, op_programs *out);
/* The choice for a shape between base and others, or NULL. */
const op_choice *op_chosen(const op_programs *programs, kernel_id base, op_shape shape);

/* What the rules say: of kinds of linear for a projection, of matvec, matmul and its variants for
 * x in a form and any number of tokens. */
kernel_id op_linear_rule(x_form form, const struct linear_dims *dims);
kernel_id op_project_rule(x_form form, op_shape shape);

/* Where operations are recorded. programs: borrowed. */
typedef struct op_context {
    gpu *g;
    const op_programs *programs;
} op_context;

/* Weights [rows, cols] in a GPU buffer, rows contiguous as format.h says. */
typedef struct matrix {
    weight_format format;
    uint32_t rows, cols;
    gpu_buffer buffer;
    uint64_t offset_bytes;       /* multiple of 256 */
} matrix;

/* K and V of a layer: heads KV heads in each buffer, fewer in the last. */
typedef struct kv_slabs {
    kv_format format;
    uint32_t heads;
    const gpu_buffer *buffers;
} kv_slabs;

/* A matrix larger than a binding is dispatched in slabs, which start at multiples of so many rows.
 * That keeps their offsets aligned, rows being multiples of 16 bytes and offsets of 256, and runs
 * of a projection's output whole. */
enum { OP_SLAB_ROWS = 32 };
/* Where the rows are those of experts, so many each, slabs start at multiples of this: whole
 * experts. */
uint32_t op_slab_rows(uint32_t rows);

/* y[t, :] = W[ids[t], :] * scale */
void op_gather(op_context o, gpu_buffer y, const matrix *w, gpu_buffer ids, uint32_t tokens,
               float scale);
kernel_id op_gather_kernel(x_form form);
/* y = W[ids[0], :] * scale, out = form of y * gain; gain: element of vectors */
void op_gather_form(op_context o, x_form form, gpu_buffer y, gpu_buffer out, const matrix *w,
                    gpu_buffer ids, gpu_buffer vectors, uint32_t gain, float scale);
/* y[t, :] = (RMSNORM_ADD: itself +) rmsnorm(x[dims.first + t, :]) * gain; gain: element of
 * vectors */
void op_rmsnorm(op_context o, gpu_buffer y, gpu_buffer x, gpu_buffer vectors,
                struct rmsnorm_dims dims);
/* y[t * y_stride + y_first + r] = (add ? itself : 0) + W[r, :] . x[t, :] + bias[r].
 * form: of each row of x, plain, packed or half. Plain: matvec for one token, matmul for more.
 * bias: element of vectors or OP_NO_BIAS. */
void op_project(op_context o, x_form form, gpu_buffer y, uint32_t y_first, uint32_t y_stride,
                const matrix *w, gpu_buffer x, uint32_t tokens, gpu_buffer vectors, uint32_t bias,
                bool add);
/* The same by a kernel of one's own choice: matvec, matmul or a variant of it that reads x in
 * its form. */
void op_project_by(op_context o, kernel_id kernel, gpu_buffer y, uint32_t y_first,
                   uint32_t y_stride, const matrix *w, gpu_buffer x, uint32_t tokens,
                   gpu_buffer vectors, uint32_t bias, bool add);

/* y [tokens, w->rows] = W x + bias, a token at a time by matvec: for matrices of so few rows that
 * tiles would leave most of a GPU idle, which the device binds at once. */
void op_project_each(op_context o, gpu_buffer y, const matrix *w, gpu_buffer x, uint32_t tokens,
                     gpu_buffer vectors, uint32_t bias);

/* ---- mixture of experts: a token goes through `used` of them, one a slot */

/* y [w->rows]: the router's logits of one token, its norm included. */
void op_router(op_context o, gpu_buffer y, const matrix *w, gpu_buffer x, gpu_buffer vectors,
               struct router_dims dims);
/* One token through the experts that its logits [dims.experts] choose: with LINEAR_ACT out = a form
 * [used, rows], else y, out as op_linear's of their sum, x being such a form. w: [experts, rows of
 * one, k], which the device binds at once. */
void op_linear_experts(op_context o, x_form form, gpu_buffer y, gpu_buffer out, const matrix *w,
                       gpu_buffer x, gpu_buffer vectors, gpu_buffer logits,
                       struct linear_dims dims);
/* ids, weights [tokens, used]: the experts of each token and their shares, by logits [tokens,
 * experts]. */
void op_route(op_context o, gpu_buffer ids, gpu_buffer weights, gpu_buffer logits,
              uint32_t tokens, struct route_dims dims);
/* Whether so many slots are sorted by expert, for tiles; few go one by one where x is plain. */
bool op_sorts_experts(x_form form, uint32_t slots, uint32_t experts);
/* Slots by expert, for op_project_experts of that form where op_sorts_experts(); routing has
 * op_routing_words(). */
void op_expert_tiles(op_context o, x_form form, gpu_buffer routing, gpu_buffer ids,
                     uint32_t slots, uint32_t experts);
uint32_t op_routing_words(uint32_t slots, uint32_t experts);
/* Slots of a tile. */
uint32_t op_expert_tile(x_form form, uint32_t slots, uint32_t experts);

typedef struct op_experts {
    uint32_t experts, used;
    uint32_t share;              /* slots of a row of x: used, or 1 */
    x_form form;                 /* of a row of x: plain, packed or half */
    gpu_buffer ids;              /* u32 [tokens, used] */
    gpu_buffer routing;          /* used where op_sorts_experts() */
} op_experts;

/* y[s * y_stride + y_first + r] = W[e, r, :] . x[s / share, :] + bias[e, r] for slot s of expert e,
 * s < tokens * used. w: [experts, rows, cols], its `rows` those of all experts; bias: element of
 * vectors where [experts, rows] start, or OP_NO_BIAS. */
void op_project_experts(op_context o, gpu_buffer y, uint32_t y_first, uint32_t y_stride,
                        const matrix *w, gpu_buffer x, uint32_t tokens, gpu_buffer vectors,
                        uint32_t bias, const op_experts *e);
/* y[t, :] = (COMBINE_ADD: itself +) sum over r of weights[t, r] x[t * used + r, :] */
void op_combine(op_context o, gpu_buffer y, gpu_buffer x, gpu_buffer weights,
                struct combine_dims dims);

/* kv_first and kv_count of dims are the operation's to fill. */
void op_rope_kv(op_context o, kv_slabs kv, gpu_buffer state, gpu_buffer rope, gpu_buffer vectors,
                gpu_buffer qkv, struct rope_kv_dims dims);
/* partial is used when dims.splits > 1; dims as above. Of several tokens by tiles of them, where
 * that program is compiled. */
void op_attention(op_context o, kv_slabs kv, gpu_buffer y, gpu_buffer partial, gpu_buffer state,
                  gpu_buffer vectors, gpu_buffer qkv, struct attention_dims dims);
/* The kernel of tiles for heads of that size. */
kernel_id op_attention_tile(uint32_t head_dim);
/* Of one token: y is left in a form; dims as above, so too lane_bits and group. */
void op_attention_token(op_context o, kv_slabs kv, x_form form, gpu_buffer y, gpu_buffer partial,
                        gpu_buffer state, gpu_buffer rope, gpu_buffer vectors, gpu_buffer qkv,
                        struct attention_token_dims dims);
static inline bool attention_token_fits(kv_format format, uint32_t head_dim) {
    return format == KV_F16 && head_dim >= 16 && head_dim <= ATTENTION_MAX_HEAD_DIM &&
           (head_dim & (head_dim - 1)) == 0;
}
void op_act_mul(op_context o, gpu_buffer y, gpu_buffer gate_up, struct act_mul_dims dims);
/* out = form of rows dims.first .. of x; dims.gain counts with FORM_GAIN */
void op_form(op_context o, x_form form, gpu_buffer out, gpu_buffer x, gpu_buffer vectors,
             struct form_dims dims);
/* One token: x += rmsnorm(y) * gain, out = form of x * next_gain */
void op_norm_form(op_context o, x_form form, gpu_buffer x, gpu_buffer out, gpu_buffer y,
                  gpu_buffer vectors, struct norm_form_dims dims);
/* One token: y, out = what the flags of dims say of W x, for x and out in a form. dims.rows and k
 * are w's, with LINEAR_ACT half its rows; y_first, bias and gain are of w's first row. */
void op_linear(op_context o, x_form form, gpu_buffer y, gpu_buffer out, const matrix *w,
               gpu_buffer x, gpu_buffer vectors, struct linear_dims dims);
/* Whether a device binds all of w at once: LINEAR_ACT and experts need that. */
bool op_binds(const gpu *g, const matrix *w);
void op_nll(op_context o, gpu_buffer nll, gpu_buffer logits, gpu_buffer targets,
            struct nll_dims dims);
/* kernel: KERNEL_ARGMAX or KERNEL_SAMPLE. parts: sample_part_words() for each row. */
void op_sample(op_context o, kernel_id kernel, gpu_buffer logits, gpu_buffer counts,
               gpu_buffer state, gpu_buffer ids, gpu_buffer ring, gpu_buffer parts,
               struct sample_dims dims);

#endif
