// sample.wgsl - draws a token, exactly, over the whole vocabulary, without sorting it.
//
//   p[i] ~ exp((x[i] - max x) / temperature)    x: logits after penalties
//   kept by top_k, then top_p, then min_p; what each means is said at sample_dims in gpu/dims.h
//
// Bindings and dims: logits.wgsl, with which it is linked. Dispatch: rows. Twin: gpu/cpu/sample.c.
//
// Thresholds are keys, found by radix select: a histogram of the leading 8 bits, then of the next
// 8 bits of those keys that share the digit found, and so on. Probabilities are integers, in units
// of the most likely token's / 2^31, in 64 bits, so that sums do not depend on the order of
// additions. The draw is a number below the kept mass; its order of tokens is thread by thread,
// thread t having t, t + WG, t + 2 WG, ...
const UNIT: f32 = 2147483648.0;      // mass of the most likely token

struct Settings { temperature: f32, top_k: u32, top_p: f32, min_p: f32, counter: u32, seed: vec2u }
struct Found { slot: u32, before: vec2u }            // 64-bit numbers are vec2u(low, high)

var<workgroup> settings: Settings;
var<workgroup> top_key: atomic<u32>;
var<workgroup> slot_low: array<atomic<u32>, WG>;     // a histogram or a list of masses
var<workgroup> slot_high: array<atomic<u32>, WG>;
var<workgroup> sixteen: array<vec2u, 16>;            // sums of 16 slots each
var<workgroup> found: Found;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let row = group.x;
    if (t == 0u) {
        settings = Settings(max(state.temperature, 1e-6), state.top_k, state.top_p, state.min_p,
                            state.position + dims.tokens + row, state.seed);
    }
    let s = workgroupUniformLoad(&settings);
    var key = 0u;
    for (var i = t; i < dims.vocab; i += WG) { key = max(key, logit_key(row, i)); }
    atomicMax(&top_key, key);
    workgroupBarrier();

    var keep: Keep;
    keep.top = key_value(atomicLoad(&top_key));
    keep.temperature = s.temperature;
    keep.key = KEY_MINUS_INFINITY + 1u;
    if (s.top_k > 0u && s.top_k < dims.vocab) {
        keep.key = max(keep.key, threshold(row, t, keep, false, s.top_k));
    }
    if (s.top_p < 1.0) {
        keep.key = max(keep.key, threshold(row, t, keep, true, u32(s.top_p * 4294967296.0)));
    }
    keep.mass = max(u32(min(s.min_p, 1.0) * UNIT), 1u);

    var sum = vec2u(0u);
    for (var i = t; i < dims.vocab; i += WG) {
        sum = add64(sum, vec2u(kept_mass(row, i, keep), 0u));
    }
    let total = sum_slots(t, sum);
    let u = threefry(vec2u(s.counter, 0u), s.seed).x;
    let goal = add64(scale64(total, u), vec2u(1u, 0u));          // 1 .. total
    let owner = find_slot(t, goal);

    let steps = (dims.vocab + WG - 1u) / WG;
    let each = (steps + WG - 1u) / WG;
    let first = t * each;
    sum = vec2u(0u);
    for (var n = first; n < first + each; n++) {
        sum = add64(sum, vec2u(kept_mass(row, owner.slot + n * WG, keep), 0u));
    }
    sum_slots(t, sum);
    var rest = sub64(goal, owner.before);
    let run = find_slot(t, rest);
    if (t == run.slot) {
        rest = sub64(rest, run.before);
        var id = 0u;                                 // nothing to draw: all are -inf or NaN
        for (var n = first; n < first + each; n++) {
            let mass = vec2u(kept_mass(row, owner.slot + n * WG, keep), 0u);
            if (mass.x > 0u && !less64(mass, rest)) {
                id = owner.slot + n * WG;
                break;
            }
            rest = sub64(rest, mass);
        }
        finish(row, id);
    }
}

// ---- which tokens, and how likely

struct Keep { top: f32, temperature: f32, key: u32, mass: u32 }  // least key, least mass

// round(UNIT exp((x - top) / temperature)), where the exponent is kept finite.
fn mass_of(key: u32, keep: Keep) -> u32 {
    let d = max(key_value(key) - keep.top, -64.0 * keep.temperature);
    return select(u32(exp(d / keep.temperature) * UNIT + 0.5), u32(UNIT), d >= 0.0);
}

fn kept_mass(row: u32, i: u32, keep: Keep) -> u32 {
    if (i >= dims.vocab) { return 0u; }
    let key = logit_key(row, i);
    if (key < keep.key) { return 0u; }
    let mass = mass_of(key, keep);
    return select(0u, mass, mass >= keep.mass);
}

// The largest key such that keys >= it number at least `amount`, or with by_mass: have at least
// amount / 2^32 of the mass of all keys >= keep.key.
fn threshold(row: u32, t: u32, keep: Keep, by_mass: bool, amount: u32) -> u32 {
    var goal = vec2u(amount, 0u);
    var prefix = 0u;
    var mask = 0u;
    for (var shift = 24u; shift < 32u; shift -= 8u) {            // 24 16 8 0
        atomicStore(&slot_low[t], 0u);
        atomicStore(&slot_high[t], 0u);
        workgroupBarrier();
        for (var i = t; i < dims.vocab; i += WG) {
            let key = logit_key(row, i);
            if (key >= keep.key && (key & mask) == prefix) {
                let slot = 255u - ((key >> shift) & 255u);       // large keys first
                var amount_here = 1u;
                if (by_mass) { amount_here = mass_of(key, keep); }
                let old = atomicAdd(&slot_low[slot], amount_here);
                if (old + amount_here < old) { atomicAdd(&slot_high[slot], 1u); }
            }
        }
        workgroupBarrier();
        let total = sum_slots(t, vec2u(atomicLoad(&slot_low[t]), atomicLoad(&slot_high[t])));
        if (by_mass && shift == 24u) {
            goal = add64(scale64(sub64(total, vec2u(1u, 0u)), amount), vec2u(1u, 0u));
        }
        if (less64(total, goal)) { goal = total; }               // fewer than asked for: all
        let digit = find_slot(t, goal);
        goal = sub64(goal, digit.before);
        prefix |= (255u - digit.slot) << shift;
        mask |= 255u << shift;
    }
    return prefix;
}

// ---- sums over slots

// Makes `mine` slot t, and returns the sum of all slots. Contains barriers.
fn sum_slots(t: u32, mine: vec2u) -> vec2u {
    atomicStore(&slot_low[t], mine.x);
    atomicStore(&slot_high[t], mine.y);
    workgroupBarrier();
    if (t < 16u) { sixteen[t] = sum_range(16u * t, 16u * t + 16u); }
    workgroupBarrier();
    var total = vec2u(0u);
    for (var i = 0u; i < 16u; i++) { total = add64(total, sixteen[i]); }
    return total;
}

fn sum_range(first: u32, end: u32) -> vec2u {
    var sum = vec2u(0u);
    for (var i = first; i < end; i++) {
        sum = add64(sum, vec2u(atomicLoad(&slot_low[i]), atomicLoad(&slot_high[i])));
    }
    return sum;
}

// The slot where the sum of slots 0 .. slot reaches goal, and the sum before it. After sum_slots;
// contains barriers. goal is in 1 .. total; with nothing to find, the result is any slot.
fn find_slot(t: u32, goal: vec2u) -> Found {
    var before = sum_range(t & ~15u, t);
    for (var i = 0u; i < t / 16u; i++) { before = add64(before, sixteen[i]); }
    let after = add64(before, sum_range(t, t + 1u));
    if (less64(before, goal) && !less64(after, goal)) { found = Found(t, before); }
    return workgroupUniformLoad(&found);
}

// ---- 64-bit numbers, and the random one

fn add64(a: vec2u, b: vec2u) -> vec2u {
    let low = a.x + b.x;
    return vec2u(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn sub64(a: vec2u, b: vec2u) -> vec2u {
    return vec2u(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

fn less64(a: vec2u, b: vec2u) -> bool { return a.y < b.y || (a.y == b.y && a.x < b.x); }

fn mul32(a: u32, b: u32) -> vec2u {
    let mid = (a >> 16u) * (b & 0xFFFFu) + (((a & 0xFFFFu) * (b & 0xFFFFu)) >> 16u);
    let mid2 = (a & 0xFFFFu) * (b >> 16u) + (mid & 0xFFFFu);
    return vec2u(a * b, (a >> 16u) * (b >> 16u) + (mid >> 16u) + (mid2 >> 16u));
}

// floor(a b / 2^32)
fn scale64(a: vec2u, b: u32) -> vec2u {
    return add64(mul32(a.y, b), vec2u(mul32(a.x, b).y, 0u));
}

// Threefry-2x32-20. Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3".
fn threefry(counter: vec2u, key: vec2u) -> vec2u {
    var keys = array<u32, 3>(key.x, key.y, 0x1BD11BDAu ^ key.x ^ key.y);
    var rotations = array<u32, 8>(13u, 15u, 26u, 6u, 17u, 29u, 16u, 24u);
    var x = counter + key;
    for (var round = 1u; round <= 20u; round++) {
        let r = rotations[(round - 1u) % 8u];
        x.x += x.y;
        x.y = ((x.y << r) | (x.y >> (32u - r))) ^ x.x;
        if (round % 4u == 0u) {
            let i = round / 4u;
            x += vec2u(keys[i % 3u], keys[(i + 1u) % 3u] + i);
        }
    }
    return x;
}
