/* trials.h - what selftest.c tries kernels with: operations of op.h, and operands made up here.
 *
 * A kernel whose variants are to be tested needs one row in trials.c, and a function of a few lines
 * where its operation has none yet. */
#ifndef INFERENCE_TRIALS_H
#define INFERENCE_TRIALS_H

#include "gpu/op.h"

typedef enum operand_kind {
    OPERAND_FLOATS,              /* count numbers of about [-1, 1) */
    OPERAND_WEIGHTS,             /* [count, width] in the program's format */
    OPERAND_FORM,                /* count numbers in a form, for each of `width` tokens (0: one): */
    OPERAND_FORM_F32, OPERAND_FORM_DIGITS, OPERAND_FORM_PACKED, OPERAND_FORM_HALF, /* the
                                  * program's, or this one */
    OPERAND_FORM_LANES,          /* that of lanes_format() */
    OPERAND_HALVES,              /* count f16 of about [-1, 1) */
    OPERAND_KV,                  /* count rows of width, in the program's KV format */
    OPERAND_IDS,                 /* count u32 below width, each as likely */
    OPERAND_STATE                /* a step_state at position count */
} operand_kind;

/* out: written, and compared with what the twin leaves. */
typedef struct operand { operand_kind kind; uint32_t count, width; bool out; } operand;

typedef struct trial {
    kernel_id base;              /* of all variants of this kernel */
    bool of_base;                /* of itself, too: sessions can do without it */
    void (*record)(op_context o, const gpu_buffer *buffers, const struct trial *t,
                   uint32_t format);
    uint32_t flags;              /* for record */
    float tolerance;             /* of an operand's largest number */
    operand operands[GPU_MAX_BINDINGS];          /* count 0 ends them */
} trial;

extern const trial trials[];
extern const uint32_t trial_count;

/* Whether a program is tried by this. */
bool trial_is_for(const trial *t, kernel_id id, uint32_t format);
/* Whether programs of a kernel are tried. */
bool trials_have(kernel_id id);

/* X_PLAIN: what is in no form. */
x_form operand_form(const operand *o, uint32_t format);
/* A multiple of 4. */
uint64_t operand_bytes(const operand *o, uint32_t format);
/* Its first contents, the same each time, malloc'ed; NULL when out of memory. */
void *operand_make(const operand *o, uint32_t format, uint32_t seed);

#endif
