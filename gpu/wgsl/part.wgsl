// part.wgsl - which matrix a workgroup of matvec or matmul multiplies with which rows of x.
//
// Dense: one matrix, and row i of x makes row i of y. With EXPERTS there is a matrix for each
// expert, those bound are first_matrix .. first_matrix + matrices - 1, [matrices, rows, k], and a
// row of y is a slot: slot t * used + r belongs to token t and the r-th of its experts. The slot's
// row of x is slot / share: share = used where the slots of a token share its row, 1 where each
// has a row of its own.
//
//   routing, matvec   u32 [slots]: the expert of each slot
//   routing, matmul   u32: what expert_tiles.wgsl writes. [order / 3, 3] tiles: an expert, the
//                     first of its slots in the list behind, their number; then that list
//
// A part whose expert is not bound has no rows: its workgroup ends, y stays as it is. matvec.wgsl
// and matmul.wgsl bind routing and dims.
const BIAS: u32 = 1u;
const ADD: u32 = 2u;
const EXPERTS: u32 = 4u;

struct Dims {
    rows: u32, k: u32, tokens: u32, y_first: u32, y_stride: u32, bias: u32, flags: u32,
    matrices: u32, first_matrix: u32, share: u32, order: u32
}

// The matrix of a slot among those bound; others are >= matrices (below first_matrix it wraps).
fn slot_matrix(slot: u32) -> u32 {
    if ((dims.flags & EXPERTS) == 0u) { return 0u; }
    return routing[slot] - dims.first_matrix;
}

struct Part { matrix: u32, first: u32, count: u32 }

// Up to `tokens` rows that go through one matrix.
fn part_of_tile(tile: u32, tokens: u32) -> Part {
    let first = tile * tokens;
    if ((dims.flags & EXPERTS) == 0u) { return Part(0u, first, min(tokens, dims.tokens - first)); }
    let matrix = routing[3u * tile] - dims.first_matrix;
    let count = select(0u, routing[3u * tile + 2u], matrix < dims.matrices);
    return Part(matrix, routing[3u * tile + 1u], count);
}

// Row of y of number i < count of a part; its row of x is that / share.
fn part_row(part: Part, i: u32) -> u32 {
    if ((dims.flags & EXPERTS) == 0u) { return part.first + i; }
    return routing[dims.order + part.first + i];
}
