/* kernel_test.h - kernel tests as data, so that the same cases run on the CPU backend natively
 * (under sanitizers) and on WebGPU from wasm, where nothing may block.
 *
 * A suite makes one case at a time: buffers with their first contents, a function that records
 * the operation, and a check of what the device wrote against a plain double-precision
 * reference computed in the test. */
#ifndef TESTS_KERNEL_TEST_H
#define TESTS_KERNEL_TEST_H

#include "gpu/op.h"

/* Reductions: largest error relative to the largest value. Decoders: 0. */
#define KERNEL_TOLERANCE 1e-5

enum { KERNEL_MAX_BUFFERS = 10 };

typedef struct kernel_case {
    char name[96];               /* "matvec q4_k 37x512 bias" */
    kernel_id needs;             /* the case is left out where the device has not this program; */
    uint32_t format;             /* KERNEL_GATHER, 0: all have it */
    uint32_t buffer_count;
    struct {
        void *data;              /* malloc'ed by make, freed by the harness */
        size_t bytes;            /* multiple of 4 */
        bool read_back;          /* data holds what the device left there when check runs */
    } buffer[KERNEL_MAX_BUFFERS];
    void (*record)(op_context o, const gpu_buffer *buffers, const void *user);
    /* false: why says what was wrong, with numbers */
    bool (*check)(const struct kernel_case *c, char *why, size_t why_bytes);
    void *user;                  /* malloc'ed by make, freed by the harness */
} kernel_case;

typedef struct kernel_suite {
    const char *name;
    uint32_t cases;
    void (*make)(uint32_t index, kernel_case *c);
} kernel_suite;

/* One per tests/kernels/test_<kernel>.c. */
extern const kernel_suite suite_gather, suite_rmsnorm, suite_matvec, suite_matmul, suite_rope_kv,
    suite_attention, suite_act_mul, suite_route, suite_expert_tiles, suite_combine, suite_argmax,
    suite_sample, suite_nll, suite_form, suite_norm_form, suite_gather_form, suite_linear,
    suite_router, suite_matmul_variants, suite_matmul_packed, suite_matmul_matrix;

/* Runs the cases of all suites, one after another, never blocking: compiles every program that
 * they need in one batch first. `line` receives what went wrong, and the summary
 * `N passed, N failed` last; done is called once, from gpu_poll or the event loop, with
 * DOPPLER_OK when nothing failed. filter: only cases whose name contains it; "-text" those whose
 * name does not contain text; NULL or "" for all. varied: only suites of kernels whose programs
 * differ from those of the least device, or are not there on it. g must outlive done. */
typedef void (*kernel_line_fn)(const char *line, void *user);
void kernel_test_start(gpu *g, const char *filter, bool varied, kernel_line_fn line,
                       doppler_done_fn done, void *user);

/* max |got - want| / max |want|; infinity when anything is not finite or want is all zero and
 * got is not. */
double kernel_error(const float *got, const double *want, size_t count);
/* Deterministic values: uniform in [-1, 1), and random bits. */
float kernel_random(uint64_t *seed);
uint32_t kernel_random_bits(uint64_t *seed);

#endif
