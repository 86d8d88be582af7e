/* convert_part.c - makes ranges of a package's stream, a few rows at a time.
 *
 * Where the part stands in the stream says what comes next: zeros before a tensor, or a row of it.
 * Rows flow from `in` through `pending` into the block, which leaves when it is full; what is
 * stored as it is goes there at once. */
#include "loader/convert_plan.h"
#include "loader/quantize.h"
#include "loader/repack.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct convert_part {
    const convert *c;
    arena memory;
    uint64_t block, end_block;
    uint64_t block_at, end_at;   /* in the stream: the block being filled, the range's end */
    convert_step write;          /* of that block */
    uint8_t *bytes;              /* [RDRR_BLOCK_BYTES], used of it */
    uint32_t used;
    bool writing;                /* it was handed to the host in the last step */

    uint32_t tensor;
    source_rows rows;            /* how its source lies */
    uint32_t in_row, in_rows;    /* rows of it in `in`: the first, how many */
    uint32_t reads;              /* of those that bring them: done */
    uint8_t *in;                 /* source rows as they lie */
    uint8_t *close;              /* a row of them whose numbers do not stand close */
    float *decoded, *unordered;  /* a row */
    uint8_t *encoded;            /* a stored row */
    const uint8_t *pending;      /* NULL: zeros */
    uint64_t pending_bytes;
};

/* Decoders work in runs, which the length of a vector need not be: the last one reads and writes
 * into slack. */
enum { SLACK = CONVERT_RUN * CONVERT_WIDEST };

uint64_t convert_part_bytes(const convert *c) {
    return c->in_bytes + c->source_row_bytes + 2 * SLACK + 2 * c->cols * sizeof(float) +
           c->row_bytes + RDRR_BLOCK_BYTES;
}

static void turn_to_tensor(convert_part *p, uint32_t tensor) {
    p->tensor = tensor;
    p->in_rows = 0;
    p->rows = convert_rows(&p->c->input.sources[tensor]);
}

doppler_status convert_part_create(error *e, const convert *c, convert_part **out) {
    convert_part *p = *out = calloc(1, sizeof *p);
    if (p && convert_part_bytes(c) <= SIZE_MAX) {
        p->c = c;
        p->in = arena_alloc(&p->memory, (size_t)c->in_bytes + SLACK);
        p->close = arena_alloc(&p->memory, (size_t)c->source_row_bytes + SLACK);
        p->decoded = arena_array(&p->memory, c->cols, sizeof *p->decoded);
        p->unordered = arena_array(&p->memory, c->cols, sizeof *p->unordered);
        p->encoded = arena_alloc(&p->memory, (size_t)c->row_bytes);
        p->bytes = arena_alloc(&p->memory, RDRR_BLOCK_BYTES);
        if (p->in && p->close && p->decoded && p->unordered && p->encoded && p->bytes) {
            turn_to_tensor(p, 0);
            return DOPPLER_OK;
        }
    }
    convert_part_destroy(p);
    *out = NULL;
    return fail(e, DOPPLER_NO_MEMORY, "%llu bytes for rows and blocks",
                (unsigned long long)convert_part_bytes(c));
}

void convert_part_destroy(convert_part *p) {
    if (!p) return;
    arena_free(&p->memory);
    free(p);
}

static void turn_to(convert_part *p, uint64_t block) {
    p->block = block;
    p->used = 0;
    if (block == p->end_block) return;
    p->block_at = convert_block_start(p->c, block);
    p->write = convert_block(p->c, block);
    p->write.from = p->bytes;
}

void convert_part_begin(convert_part *p, uint64_t first, uint64_t end) {
    assert(first <= end && end <= p->c->blocks);
    p->end_block = end;
    p->end_at = convert_block_start(p->c, end);
    p->writing = false;
    p->pending_bytes = 0;
    turn_to(p, first);
    if (first < end && p->block_at < p->c->starts[p->tensor]) turn_to_tensor(p, 0);
}

uint8_t *convert_part_swap(convert_part *p, uint8_t *bytes) {
    uint8_t *was = p->bytes;
    assert(p->writing);
    p->bytes = bytes;
    return was;
}

/* ---- rows */

/* Whether rows keep their numbers, in the stored layout: no decoding, no quantizing. */
static bool keeps(const source_tensor *s, const rdrr_tensor *t) {
    return repack_is_exact(s->type) && repack_format(s->type) == t->format &&
           roles[s->role].matrix;
}

/* Whether they are stored byte by byte as they are. */
static bool is_copied(const source_tensor *s, const rdrr_tensor *t) {
    return source_types[s->type].block_weights == 1 && !s->interleaved_head && s->add == 0 &&
           repack_format(s->type) == t->format && convert_rows(s).is_close;
}

/* Row of the source that becomes row `row`: see source_tensor.interleaved_head. */
static uint32_t source_index(const source_tensor *s, uint32_t row) {
    if (!s->interleaved_head) return row;
    uint32_t half = s->interleaved_head / 2, in_head = row % s->interleaved_head;
    return row - in_head + in_head % half * 2 + in_head / half;
}

/* Numbers of a vector into their order; out and in do not overlap. */
static void order_vector(const source_tensor *s, const float *in, float *out) {
    for (uint32_t i = 0; i < s->cols; i++) out[i] = in[source_index(s, i)];
}

/* Largest magnitude that the format holds; of quantized ones, that its f16 scales surely hold. */
static float largest(weight_format format) {
    return format == FORMAT_F32 ? 0x1.FFFFFEp127f : format == FORMAT_BF16 ? 0x1.FEp127f : 65504.0f;
}

/* Row `row` of those in `in`, its numbers standing close, its scales behind them. */
static const uint8_t *close_row(convert_part *p, uint32_t row) {
    const source_tensor *s = &p->c->input.sources[p->tensor];
    const source_rows *r = &p->rows;
    const uint8_t *from = p->in + (row - p->in_row) * r->row_step;
    uint64_t each = source_types[s->type].block_bytes;
    if (r->span_bytes == r->row_bytes && !r->is_turned && !r->scale_bytes) return from;
    if (r->scale_bytes) {
        const uint8_t *scales = p->in + p->in_rows * r->row_step;
        memcpy(p->close, from, (size_t)r->row_bytes);
        memcpy(p->close + r->row_bytes, scales + (row - p->in_row) * r->scales_step,
               (size_t)r->scale_bytes);
        return p->close;
    }
    uint64_t step = r->is_turned ? p->in_rows * r->row_step : r->col_step;
    for (uint32_t c = 0; c < s->cols; c++)
        memcpy(p->close + c * each, from + c * step, (size_t)each);
    return p->close;
}

/* Row `row`, of which the source is in `in` -> pending. */
static doppler_status encode_row(error *e, convert_part *p, uint32_t row) {
    const source_tensor *s = &p->c->input.sources[p->tensor];
    const rdrr_tensor *t = &p->c->m.tensors[p->tensor];
    bool matrix = roles[t->role].matrix;
    p->pending_bytes = t->bytes / t->rows;
    p->pending = matrix ? p->encoded : (const uint8_t *)p->decoded;
    uint32_t from = matrix ? source_index(s, row) : row;
    const uint8_t *bytes = close_row(p, from);
    if (is_copied(s, t)) {
        p->pending = bytes;
        return DOPPLER_OK;
    }
    if (keeps(s, t)) {
        repack_row(s->type, bytes, s->cols, p->encoded);
        return DOPPLER_OK;
    }
    repack_decode(s->type, bytes, s->cols, matrix ? p->decoded : p->unordered);
    if (!matrix) order_vector(s, p->unordered, p->decoded);
    float limit = largest(t->format);
    for (uint32_t i = 0; s->add != 0 && i < s->cols; i++) p->decoded[i] += s->add;
    for (uint32_t i = 0; i < s->cols; i++)
        if (!(fabsf(p->decoded[i]) <= limit))
            return fail(e, DOPPLER_BAD_FILE, "tensor \"%.80s\": row %u, column %u is %g, which %s "
                        "cannot hold", s->name, row, i, (double)p->decoded[i],
                        formats[t->format].name);
    if (matrix) quantize_row(t->format, p->decoded, s->cols, p->encoded);
    return DOPPLER_OK;
}

/* How many reads bring the rows in `in`. */
static uint32_t reads_of(const convert_part *p) {
    return p->rows.is_turned ? p->c->input.sources[p->tensor].cols : p->rows.scale_bytes ? 2 : 1;
}

/* The next of these reads. */
static void ask_next(convert_part *p, convert_step *step) {
    const source_tensor *s = &p->c->input.sources[p->tensor];
    const source_rows *r = &p->rows;
    uint64_t skipped = (p->in_rows - 1) * r->row_step, each = source_types[s->type].block_bytes;
    uint32_t read = p->reads++;
    *step = (convert_step){
        .action = CONVERT_READ,
        .source = s->file,
        .offset = s->offset + p->in_row * r->row_step,
        .bytes = (uint32_t)(skipped + r->span_bytes),
        .to = p->in,
    };
    if (r->is_turned) {
        step->offset += read * r->col_step;
        step->bytes = (uint32_t)(skipped + each);
        step->to += read * p->in_rows * r->row_step;
    } else if (read) {
        step->source = s->scales_file;
        step->offset = s->scales_offset + p->in_row * r->scales_step;
        step->bytes = (uint32_t)((p->in_rows - 1) * r->scales_step + r->scale_bytes);
        step->to += p->in_rows * r->row_step;
    }
}

/* Asks for rows from `row` on: whole heads where rows change places, as many as the range needs
 * and there is room for. */
static void ask_rows(convert_part *p, uint32_t row, convert_step *step) {
    const convert *c = p->c;
    const source_tensor *s = &c->input.sources[p->tensor];
    const rdrr_tensor *t = &c->m.tensors[p->tensor];
    uint64_t stored_bytes = t->bytes / t->rows;
    uint32_t together = p->rows.together;
    uint64_t needed = (p->end_at - c->starts[p->tensor] + stored_bytes - 1) / stored_bytes;
    uint64_t end = (needed + together - 1) / together * together;
    uint64_t room = c->in_bytes / p->rows.in_bytes / together * together;
    p->in_row = row - row % together;
    if (is_copied(s, t)) room = 1;                       /* cut by a block's end */
    if (end > s->rows) end = s->rows;
    if (end - p->in_row > room) end = p->in_row + room;
    p->in_rows = (uint32_t)(end - p->in_row);
    p->reads = 0;
    ask_next(p, step);
}

/* ---- blocks */

/* Asks for the rows from `row` on where they belong, in the block; false where not one has room. */
static bool ask_copy(convert_part *p, uint32_t row, convert_step *step) {
    const source_tensor *s = &p->c->input.sources[p->tensor];
    uint64_t row_bytes = s->bytes / s->rows, rows = (p->write.bytes - p->used) / row_bytes;
    assert(s->bytes == p->c->m.tensors[p->tensor].bytes);
    if (rows > s->rows - row) rows = s->rows - row;
    *step = (convert_step){
        .action = CONVERT_READ,
        .source = s->file,
        .offset = s->offset + row * row_bytes,
        .bytes = (uint32_t)(rows * row_bytes),
        .to = p->bytes + p->used,
    };
    p->used += step->bytes;
    return rows;
}

static void fill_block(convert_part *p) {
    uint64_t room = p->write.bytes - p->used;
    size_t bytes = (size_t)(p->pending_bytes < room ? p->pending_bytes : room);
    if (p->pending) {
        memcpy(p->bytes + p->used, p->pending, bytes);
        p->pending += bytes;
    } else memset(p->bytes + p->used, 0, bytes);
    p->used += (uint32_t)bytes;
    p->pending_bytes -= bytes;
}

/* With nothing pending: finds what comes at this place of the stream. *asked: a read. */
static doppler_status find_bytes(error *e, convert_part *p, convert_step *step, bool *asked) {
    const convert *c = p->c;
    uint64_t at = p->block_at + p->used;
    *asked = false;
    while (at >= c->starts[p->tensor] + c->m.tensors[p->tensor].bytes)
        turn_to_tensor(p, p->tensor + 1);
    if (at < c->starts[p->tensor]) {
        p->pending = NULL;
        p->pending_bytes = c->starts[p->tensor] - at;
        return DOPPLER_OK;
    }
    const rdrr_tensor *t = &c->m.tensors[p->tensor];
    uint64_t at_byte = at - c->starts[p->tensor], row_bytes = t->bytes / t->rows;
    uint32_t row = (uint32_t)(at_byte / row_bytes);
    bool known = row >= p->in_row && row - p->in_row < p->in_rows;
    *asked = !known || p->reads < reads_of(p);
    if (!*asked) {
        doppler_status status = encode_row(e, p, row);
        p->pending += at_byte % row_bytes;
        p->pending_bytes -= at_byte % row_bytes;
        return status;
    }
    if (known) {
        ask_next(p, step);
        return DOPPLER_OK;
    }
    bool copy = is_copied(&c->input.sources[p->tensor], t) && at_byte % row_bytes == 0;
    if (!copy || !ask_copy(p, row, step)) ask_rows(p, row, step);
    return DOPPLER_OK;
}

doppler_status convert_part_next(error *e, convert_part *p, convert_step *step) {
    if (p->writing) turn_to(p, p->block + 1);
    p->writing = false;
    while (p->block < p->end_block) {
        if (p->used == p->write.bytes) {
            *step = p->write;
            p->writing = true;
            return DOPPLER_OK;
        }
        bool asked = false;
        doppler_status status = DOPPLER_OK;
        if (p->pending_bytes) fill_block(p);
        else status = find_bytes(e, p, step, &asked);
        if (status || asked) return status;
    }
    *step = (convert_step){.action = CONVERT_DONE};
    return DOPPLER_OK;
}
