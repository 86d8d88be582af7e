// reduce/shared.wgsl - sums over teams of neighbouring threads, through workgroup memory. The kernel
// has WG threads, and VALUES numbers of each thread to add up.
var<workgroup> team_parts: array<f32, WG * VALUES>;  // [VALUES, WG]
var<private> team_threads: u32;

// The numbers of every thread, in teams of `team`, a power of two; a barrier follows.
fn team_store(t: u32, team: u32, values: ptr<function, array<f32, VALUES>>) {
    team_threads = team;
    for (var i = 0u; i < VALUES; i++) { team_parts[i * WG + t] = (*values)[i]; }
}

// The sum of number i over a team.
fn team_total(team: u32, i: u32) -> f32 {
    var total = 0.0;
    for (var j = 0u; j < team_threads; j++) {
        total += team_parts[i * WG + team * team_threads + j];
    }
    return total;
}
