/* twins.h - the CPU twin of every kernel: gpu/cpu/NAME.c runs the whole dispatch of
 * gpu/wgsl/NAME.wgsl in plain C. Bindings and dims are in gpu/dims.h. */
#ifndef GPU_CPU_TWINS_H
#define GPU_CPU_TWINS_H

#include "gpu/gpu.h"

void twin_gather(const gpu_call *call);
void twin_rmsnorm(const gpu_call *call);
void twin_matvec(const gpu_call *call);
void twin_matmul(const gpu_call *call);
void twin_matmul_few(const gpu_call *call);
void twin_matmul_packed(const gpu_call *call);
void twin_matmul_few_packed(const gpu_call *call);
void twin_matmul_matrix(const gpu_call *call);
void twin_rope_kv(const gpu_call *call);
void twin_attention(const gpu_call *call);
void twin_attention_tile(const gpu_call *call);
void twin_attention_merge(const gpu_call *call);
void twin_act_mul(const gpu_call *call);
void twin_route(const gpu_call *call);
void twin_expert_tiles(const gpu_call *call);
void twin_combine(const gpu_call *call);
void twin_argmax(const gpu_call *call);
void twin_sample(const gpu_call *call);
void twin_nll(const gpu_call *call);
void twin_form(const gpu_call *call);
void twin_gather_form(const gpu_call *call);
void twin_gather_packed(const gpu_call *call);
void twin_gather_digits(const gpu_call *call);
void twin_norm_form(const gpu_call *call);
void twin_attention_token(const gpu_call *call);
void twin_attention_lanes(const gpu_call *call);
void twin_attention_whole(const gpu_call *call);
void twin_linear(const gpu_call *call);
void twin_linear_packed(const gpu_call *call);
void twin_linear_digits(const gpu_call *call);
void twin_linear_experts(const gpu_call *call);
void twin_linear_experts_packed(const gpu_call *call);
void twin_linear_experts_digits(const gpu_call *call);
void twin_router(const gpu_call *call);

#endif
