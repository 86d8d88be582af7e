// reduce/shared.wgsl - sums over teams of threads, through workgroup memory. The kernel has WG
// threads in ROWS / R teams, and VALUES numbers of each thread to add up.
var<workgroup> team_parts: array<f32, WG * VALUES>;  // [VALUES, WG]

// The first `count` numbers of every thread; a barrier follows.
fn team_store(t: u32, count: u32, values: ptr<function, array<f32, VALUES>>) {
    for (var i = 0u; i < count; i++) { team_parts[i * WG + t] = (*values)[i]; }
}

// The sum of number i over a team.
fn team_total(team: u32, i: u32) -> f32 {
    let threads = WG / (ROWS / R);
    var total = 0.0;
    for (var j = 0u; j < threads; j++) { total += team_parts[i * WG + team * threads + j]; }
    return total;
}
