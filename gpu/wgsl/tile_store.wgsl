// tile_store.wgsl - the end of a tile of matmul: bias, residual, y. Linked with part.wgsl and a
// kernel that binds vectors and y.

// v: sums of row r of number i of a part's rows, and of the three that follow it `apart`. What is
// beyond the end is left out.
fn tile_store(part: Part, i: u32, r: u32, apart: u32, v: vec4f) {
    if (i >= part.count) { return; }
    let y_first = part_row(part, i) * dims.y_stride + dims.y_first;
    let bias = dims.bias + part.matrix * dims.rows;
    for (var j = 0u; j < 4u; j++) {
        let at = r + j * apart;
        if (at < dims.rows) {
            var total = v[j];
            if ((dims.flags & BIAS) != 0u) { total += vectors[bias + at]; }
            if ((dims.flags & ADD) != 0u) { total += y[y_first + at]; }
            y[y_first + at] = total;
        }
    }
}
