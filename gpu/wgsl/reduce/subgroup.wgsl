// reduce/subgroup.wgsl - as reduce/shared.wgsl, by subgroups of any size: a team is a part of one,
// one, or several. Neighbouring threads of a workgroup are taken for neighbours in their subgroup,
// which WGSL does not promise: a device is tested before this is used on it.
var<workgroup> team_parts: array<f32, WG / 4u * VALUES>;     // [parts, VALUES]
var<private> lanes: u32;             // of a team in one subgroup, at least 4
var<private> team_parts_each: u32;

fn team_store(t: u32, team: u32, values: ptr<function, array<f32, VALUES>>) {
    lanes = min(min(team, 32u), subgroupAdd(1u));
    team_parts_each = team / lanes;
    for (var i = 0u; i < VALUES; i++) {
        var sum = (*values)[i];
        if (lanes > 16u) { sum += subgroupShuffleXor(sum, 16u); }
        if (lanes > 8u) { sum += subgroupShuffleXor(sum, 8u); }
        if (lanes > 4u) { sum += subgroupShuffleXor(sum, 4u); }
        sum += subgroupShuffleXor(sum, 2u);
        sum += subgroupShuffleXor(sum, 1u);
        if (t % lanes == 0u) { team_parts[t / lanes * VALUES + i] = sum; }
    }
}

fn team_total(team: u32, i: u32) -> f32 {
    var total = 0.0;
    for (var j = 0u; j < team_parts_each; j++) {
        total += team_parts[(team * team_parts_each + j) * VALUES + i];
    }
    return total;
}
