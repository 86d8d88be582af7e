// forms/staged.wgsl - packed x from workgroup memory, where all threads bring it first: for long
// rows, whose loads of x would wait behind those of the weights. What is behind STAGED vec4s, 14336
// elements, is read as it is bound.
const STAGED: u32 = 1344u;
var<workgroup> staged: array<vec4u, STAGED>;

// All threads of a workgroup come here.
fn x_begin(t: u32) {
    for (var i = t; i < min((dims.k + 255u) / 256u * 24u, STAGED); i += WG) { staged[i] = x[i]; }
    workgroupBarrier();
}

fn x_vec(i: u32) -> vec4u {
    if (i < STAGED) { return staged[i]; }
    return x[i];
}
