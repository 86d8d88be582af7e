// sample.wgsl - draws a token, exactly, over the whole vocabulary, without sorting it.
//
//   p[i] ~ exp((x[i] - max x) / temperature)    x: logits after penalties
//   kept by top_k, then top_p, then min_p; what each means is said at sample_dims in gpu/dims.h
//
// Bindings and dims: logits.wgsl, with which it is linked. Twin: gpu/cpu/sample.c. Dispatch: rows;
// or for each PART_TOKENS tokens a workgroup, ceil(vocab / PART_TOKENS) by rows, five times, and rows:
//   PART   the largest key of its tokens
//   COUNT  the histogram of distances; where all tokens may be drawn each thread's mass
//   LIST   the tokens as near as the slot where the goal is reached, and that slot's histogram
//   FINE   the histogram of the slot where the goal is reached in that one; not if few are listed
//   MASS   the mass of each thread's tokens as near as that tells; not where few are listed
//   JOIN   the draw, among the tokens that are listed or by the threads' masses. Where the first
//          histogram does not reach the goal, and where too many tokens are listed for top_k and
//          top_p both, it does all from the start, as one dispatch does
//
// Probabilities are integers, in units of the most likely token's / 2^31, in 64 bits, so that sums
// do not depend on the order of additions. The draw is a number below the kept mass; its order of
// tokens is thread by thread, thread t having t, t + WG, t + 2 WG, ...
//
// Thresholds are found by radix select on distances from the largest key: a histogram of distances,
// then one of those in the slot where the goal is reached, 256 times as fine, and so on. When few
// tokens are left after the first, they are listed and each thread ranks one of them.
const UNIT: f32 = 2147483648.0;      // mass of the most likely token
const LIST: u32 = WG;                // most tokens listed
const NEAR: u32 = 16u;               // log2 of the first slot width: 1/128 of a power of two
const OFF: u32 = 0xFFFFFFFFu;
const COUNT: u32 = 16u;
const LIST_PART: u32 = 32u;
const FINE: u32 = 64u;
const MASS: u32 = 128u;
const STEPS: u32 = PART | COUNT | LIST_PART | FINE | MASS;

// In parts, for each row: how many tokens are listed; four times 256 slots, low words and high,
// three histograms and the masses of threads; ids and keys of the list; the largest key of each part.
const LISTED: u32 = 0u;
const SLOTS: u32 = 8u;
const THREADS: u32 = 3u;
const ENTRIES: u32 = SLOTS + 8u * WG;
const TOPS: u32 = ENTRIES + 2u * LIST;

// top_k and top_p may be OFF; top_p is of 2^32; least: mass that min_p asks for; random: 32 bits.
struct Settings { temperature: f32, top_k: u32, top_p: u32, least: u32, random: u32 }
struct Found { slot: u32, before: vec2u }            // 64-bit numbers are vec2u(low, high)

var<workgroup> settings: Settings;
var<workgroup> top_key: atomic<u32>;
var<workgroup> slot_low: array<atomic<u32>, WG>;     // a histogram or a list of masses
var<workgroup> slot_high: array<atomic<u32>, WG>;
var<workgroup> sums: array<vec2u, WG>;               // of the slots up to each
var<workgroup> found: Found;
var<workgroup> list_count: atomic<u32>;
var<workgroup> listed: u32;
var<workgroup> list_key: array<u32, LIST>;
var<workgroup> list_id: array<u32, LIST>;
var<workgroup> list_mass: array<u32, LIST>;
var<workgroup> list_kept: array<u32, LIST>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
    let row = select(group.x, group.y, (dims.flags & STEPS) != 0u);
    set_slot(t, vec2u(0u));          // Dawn in Node is told not to clear workgroup memory
    if (t == 0u) {
        atomicStore(&top_key, 0u);
        atomicStore(&list_count, 0u);
        settings = read_settings(row);
    }
    workgroupBarrier();
    let s = workgroupUniformLoad(&settings);
    if ((dims.flags & PART) != 0u) {
        find_top(row, t, group.x * PART_TOKENS, PART_TOKENS);
        if (t == 0u) { atomicStore(&parts[row_at(row) + TOPS + group.x], atomicLoad(&top_key)); }
        if (group.x == 0u) { clear_row(row, t); }
        return;
    }
    if ((dims.flags & (STEPS | JOIN)) != 0u) { find_top_of_parts(row, t); }
    else { find_top(row, t, 0u, dims.vocab); }
    var keep: Keep;
    keep.top_key = atomicLoad(&top_key);
    keep.top = key_value(keep.top_key);
    keep.temperature = s.temperature;
    keep.key = KEY_MINUS_INFINITY + 1u;
    keep.mass = s.least;
    if ((dims.flags & STEPS) != 0u) {
        step(row, t, group.x, keep, s);
        return;
    }
    var ready = Ready(0u, OFF, keep, vec2u());
    var way = ALONE;
    if ((dims.flags & JOIN) != 0u) { way = join(row, t, s, &ready); }
    if (way == ALONE) { way = choose(row, t, s, &ready); }
    if (way == BY_LIST) { draw_listed(row, t, ready, s); }
    else { draw(row, t, ready.keep, s.random); }
}

// How to draw: all is to be done yet; by slots, which hold the mass of each thread's tokens; by the
// list. Each text that has barriers stands in one place: compilers put functions in where they are
// called, and some take seconds for such a text.
const ALONE: u32 = 0u;
const BY_MASS: u32 = 1u;
const BY_LIST: u32 = 2u;

// count: of listed tokens, of which thread t has number t; total: the mass of those that top_p
// chooses from, where top_k is OFF; else only listed ones can be.
struct Ready { count: u32, top_k: u32, keep: Keep, total: vec2u }

// ---- one workgroup for a row

// Has top_key be the largest of `count` tokens' from `first` on. Contains barriers.
fn find_top(row: u32, t: u32, first: u32, count: u32) {
    let end = min(first + count, dims.vocab);
    var key = 0u;
    for (var i = first + t; i < end; i += BATCH * WG) {
        var keys = logit_keys(row, i);
        for (var j = 0u; j < BATCH; j++) { key = max(key, keys[j]); }
    }
    atomicMax(&top_key, key);
    workgroupBarrier();
}

// By top_k, then top_p. Contains barriers.
fn choose(row: u32, t: u32, s: Settings, ready: ptr<function, Ready>) -> u32 {
    var keep = (*ready).keep;
    for (var turn = 0u; turn < 2u; turn++) {
        let by_mass = turn == 1u;
        let amount = select(s.top_k, s.top_p, by_mass);
        if (amount == OFF) { continue; }
        let limit = threshold(row, t, keep, by_mass, amount);
        let count = workgroupUniformLoad(&listed);
        if (count <= LIST) {
            *ready = Ready(count, select(amount, OFF, by_mass), keep, limit.total);
            return BY_LIST;
        }
        keep.key = max(keep.key, limit.key);
    }
    var sum = vec2u(0u);
    for (var i = t; i < dims.vocab; i += BATCH * WG) {
        var keys = logit_keys(row, i);
        for (var j = 0u; j < BATCH; j++) {
            sum = add64(sum, vec2u(kept_mass(keys[j], keep), 0u));
        }
    }
    set_slot(t, sum);
    (*ready).keep = keep;
    return BY_MASS;
}

// ---- many workgroups

fn part_count() -> u32 { return (dims.vocab + PART_TOKENS - 1u) / PART_TOKENS; }

fn row_at(row: u32) -> u32 { return row * (TOPS + part_count()); }

fn clear_row(row: u32, t: u32) {
    for (var i = t; i < 8u * WG; i += WG) { atomicStore(&parts[row_at(row) + SLOTS + i], 0u); }
    if (t == 0u) { atomicStore(&parts[row_at(row) + LISTED], 0u); }
}

// Contains barriers.
fn find_top_of_parts(row: u32, t: u32) {
    var key = 0u;
    for (var part = t; part < part_count(); part += WG) {
        key = max(key, atomicLoad(&parts[row_at(row) + TOPS + part]));
    }
    atomicMax(&top_key, key);
    workgroupBarrier();
}

// Any token may be drawn.
fn keeps_all(s: Settings) -> bool { return s.top_k == OFF && s.top_p == OFF; }

// How many tokens all parts have listed; OFF where it is too far to those that are wanted. Contains
// barriers.
fn count_listed(row: u32, t: u32, too_far: bool) -> u32 {
    if (t == 0u) { listed = select(atomicLoad(&parts[row_at(row) + LISTED]), OFF, too_far); }
    return workgroupUniformLoad(&listed);
}

fn step(row: u32, t: u32, part: u32, keep: Keep, s: Settings) {
    if ((dims.flags & COUNT) != 0u) {
        count_part(row, t, part, keep, s);
        return;
    }
    if (keeps_all(s)) { return; }
    let lists = (dims.flags & LIST_PART) != 0u;
    if (!lists && count_listed(row, t, false) <= LIST) { return; }
    let weighs = (dims.flags & MASS) != 0u;
    let limit = reach(row, t, s, select(select(2u, 3u, weighs), 1u, lists));
    if (weighs) {
        weigh_part(row, t, part, keep, limit);
        return;
    }
    if (lists) { list_part(row, t, part, keep, limit); }
    histogram_part(row, t, part, keep, s.top_k == OFF, limit.distance,
                   select(NEAR - 8u, NEAR, lists));
    save_slot(row, t, select(2u, 1u, lists));
}

fn count_part(row: u32, t: u32, part: u32, keep: Keep, s: Settings) {
    var keys = logit_keys(row, part * PART_TOKENS + t);
    var sum = vec2u(0u);             // where all may be drawn this thread's, else of the last slot
    let all = keeps_all(s);
    for (var j = 0u; j < BATCH; j++) {
        if (keys[j] < keep.key) { continue; }
        let slot = (keep.top_key - keys[j]) >> NEAR;
        var value = 1u;
        if (all) { value = kept_mass(keys[j], keep); }
        else if (s.top_k == OFF) { value = mass_of(keys[j], keep); }
        if (all || slot >= 255u) { sum = add64(sum, vec2u(value, 0u)); }
        else { add_slot(slot, vec2u(value, 0u)); }
    }
    if (all) { add_slot(t, sum); } else { add_slot(255u, sum); }
    workgroupBarrier();
    save_slot(row, t, 0u);
}

// Adds this workgroup's slot to histogram h of the row.
fn save_slot(row: u32, t: u32, h: u32) {
    let value = vec2u(atomicLoad(&slot_low[t]), atomicLoad(&slot_high[t]));
    let at = row_at(row) + SLOTS + 2u * WG * h + t;
    if (value.x == 0u && value.y == 0u) { return; }
    let old = atomicAdd(&parts[at], value.x);
    let high = value.y + select(0u, 1u, old + value.x < old);
    if (high > 0u) { atomicAdd(&parts[at + WG], high); }
}

fn load_slot(row: u32, t: u32, h: u32) {
    let at = row_at(row) + SLOTS + 2u * WG * h + t;
    set_slot(t, vec2u(atomicLoad(&parts[at]), atomicLoad(&parts[at + WG])));
}

// Where the goal is reached: slot of the first histogram, distance from the largest key, and what
// all of it has.
struct Reached { slot: u32, distance: u32, total: vec2u }

// By so many histograms, one in a slot of the one before. Contains barriers.
fn reach(row: u32, t: u32, s: Settings, histograms: u32) -> Reached {
    var r = Reached(0u, 0u, vec2u(0u));
    var goal = vec2u(0u);
    for (var h = 0u; h < histograms; h++) {
        workgroupBarrier();
        load_slot(row, t, h);
        let total = sum_slots(t);
        if (h == 0u) {
            r.total = total;
            goal = threshold_goal(total, s.top_k == OFF, select(s.top_k, s.top_p, s.top_k == OFF));
        }
        let digit = find_slot(t, goal);
        goal = sub64(goal, digit.before);
        r.distance += digit.slot << (NEAR - 8u * h);
        if (h == 0u) { r.slot = digit.slot; }
    }
    return r;
}

// Slots become a histogram of the part's tokens of one slot: those whose distance agrees with
// `distance` above bit `shift`, by the eight bits below. Contains barriers.
fn histogram_part(row: u32, t: u32, part: u32, keep: Keep, by_mass: bool, distance: u32,
                  shift: u32) {
    workgroupBarrier();
    set_slot(t, vec2u(0u));
    workgroupBarrier();
    var keys = logit_keys(row, part * PART_TOKENS + t);
    for (var j = 0u; j < BATCH; j++) {
        let d = keep.top_key - keys[j];
        if (keys[j] < keep.key || (d >> shift) != (distance >> shift)) { continue; }
        var value = 1u;
        if (by_mass) { value = mass_of(keys[j], keep); }
        add_slot((d >> (shift - 8u)) & 255u, vec2u(value, 0u));
    }
    workgroupBarrier();
}

fn list_part(row: u32, t: u32, part: u32, keep: Keep, limit: Reached) {
    var keys = logit_keys(row, part * PART_TOKENS + t);
    for (var j = 0u; j < BATCH; j++) {
        if (keys[j] < keep.key || (keep.top_key - keys[j]) >> NEAR > limit.slot) { continue; }
        let i = atomicAdd(&list_count, 1u);
        if (i < LIST) {
            list_id[i] = part * PART_TOKENS + t + j * WG;
            list_key[i] = keys[j];
        }
    }
    workgroupBarrier();
    let count = atomicLoad(&list_count);
    if (t == 0u) { listed = atomicAdd(&parts[row_at(row) + LISTED], count); }
    let at = workgroupUniformLoad(&listed) + t;
    if (t < count && at < LIST) {
        atomicStore(&parts[row_at(row) + ENTRIES + at], list_id[t]);
        atomicStore(&parts[row_at(row) + ENTRIES + LIST + at], list_key[t]);
    }
}

fn weigh_part(row: u32, t: u32, part: u32, given: Keep, limit: Reached) {
    var keep = given;
    keep.key = max(keep.key, keep.top_key - limit.distance);
    var keys = logit_keys(row, part * PART_TOKENS + t);
    var sum = vec2u(0u);
    for (var j = 0u; j < BATCH; j++) { sum = add64(sum, vec2u(kept_mass(keys[j], keep), 0u)); }
    set_slot(t, sum);
    save_slot(row, t, THREADS);
}

// Contains barriers.
fn join(row: u32, t: u32, s: Settings, ready: ptr<function, Ready>) -> u32 {
    let all = keeps_all(s);
    if (!all) {
        var limit = reach(row, t, s, 1u);
        let count = count_listed(row, t, limit.slot >= 255u);
        if (count == OFF || (count > LIST && s.top_k != OFF && s.top_p != OFF)) {
            return ALONE;
        }
        if (count <= LIST) {
            list_id[t] = atomicLoad(&parts[row_at(row) + ENTRIES + t]);
            list_key[t] = atomicLoad(&parts[row_at(row) + ENTRIES + LIST + t]);
            workgroupBarrier();
            *ready = Ready(count, s.top_k, (*ready).keep, limit.total);
            return BY_LIST;
        }
        limit = reach(row, t, s, 3u);
        let keep = (*ready).keep;
        (*ready).keep.key = max(keep.key, keep.top_key - limit.distance);
    }
    load_slot(row, t, select(THREADS, 0u, all));
    return BY_MASS;
}

fn read_settings(row: u32) -> Settings {
    let use_k = state.top_k > 0u && state.top_k < dims.vocab;
    var random = 0u;
    if ((dims.flags & STEPS) == 0u) {
        random = threefry(vec2u(state.position + dims.tokens + row, 0u), state.seed).x;
    }
    let share = u32(min(state.top_p, 0.99999994) * 4294967296.0);
    return Settings(max(state.temperature, 1e-6), select(OFF, state.top_k, use_k),
                    select(OFF, share, state.top_p < 1.0),
                    max(u32(min(state.min_p, 1.0) * UNIT), 1u), random);
}

// By the masses in slots.
fn draw(row: u32, t: u32, keep: Keep, random: u32) {
    let goal = add64(scale64(sum_slots(t), random), vec2u(1u, 0u));   // 1 .. total
    let owner = find_slot(t, goal);
    let rest = sub64(goal, owner.before);

    let steps = (dims.vocab + WG - 1u) / WG;         // of the owner, dealt to all threads
    let each = (steps + WG - 1u) / WG;
    let first = t * each;
    var sum = vec2u(0u);
    for (var n = first; n < first + each; n++) {
        sum = add64(sum, vec2u(kept_mass(step_key(row, owner.slot, n), keep), 0u));
    }
    set_slot(t, sum);
    let total = sum_slots(t);
    var before = sum_before(t);
    if (less64(before, rest) && !less64(add64(before, sum), rest)) {
        var id = owner.slot + first * WG;
        for (var n = first; n < first + each; n++) {
            before = add64(before, vec2u(kept_mass(step_key(row, owner.slot, n), keep), 0u));
            if (!less64(before, rest)) {
                id = owner.slot + n * WG;
                break;
            }
        }
        finish(row, id);
    } else if (t == 0u && total.x == 0u && total.y == 0u) {
        finish(row, 0u);                             // nothing to draw
    }
}

fn step_key(row: u32, owner: u32, n: u32) -> u32 {
    let i = owner + n * WG;
    if (i >= dims.vocab) { return 0u; }
    return logit_key(row, i);
}

fn draw_listed(row: u32, t: u32, ready: Ready, s: Settings) {
    let count = ready.count;
    let key = list_key[t];
    let order = list_order(list_id[t]);
    var rank = 0u;
    for (var j = 0u; j < count; j++) { rank += select(0u, 1u, list_key[j] > key); }
    var mass = 0u;
    if (t < count && rank < ready.top_k) { mass = mass_of(key, ready.keep); }
    list_mass[t] = mass;
    workgroupBarrier();

    var above = vec2u(0u);
    var total = vec2u(0u);
    for (var j = 0u; j < count; j++) {
        let m = vec2u(list_mass[j], 0u);
        total = add64(total, m);
        if (list_key[j] > key) { above = add64(above, m); }
    }
    if (ready.top_k == OFF) { total = ready.total; }
    let out = s.top_p != OFF && !less64(above, share_goal(total, s.top_p));
    if (out || mass < ready.keep.mass) { mass = 0u; }
    list_kept[t] = mass;
    workgroupBarrier();

    var before = vec2u(0u);
    total = vec2u(0u);
    for (var j = 0u; j < count; j++) {
        let m = vec2u(list_kept[j], 0u);
        total = add64(total, m);
        if (list_order(list_id[j]) < order) { before = add64(before, m); }
    }
    let goal = add64(scale64(total, s.random), vec2u(1u, 0u));
    if (less64(before, goal) && !less64(add64(before, vec2u(mass, 0u)), goal)) {
        finish(row, list_id[t]);
    } else if (t == 0u && count == 0u) {
        finish(row, 0u);                             // nothing to draw: all are -inf or NaN
    }
}

// Where a token comes in the order thread by thread.
fn list_order(id: u32) -> u32 { return ((id % WG) << 24u) | (id / WG); }

// ---- which tokens, and how likely

struct Keep {
    top_key: u32, top: f32, temperature: f32,
    key: u32, mass: u32              // least key, least mass
}

// round(UNIT exp((x - top) / temperature)), where the exponent is kept finite.
fn mass_of(key: u32, keep: Keep) -> u32 {
    let d = max(key_value(key) - keep.top, -64.0 * keep.temperature);
    return select(u32(exp(d / keep.temperature) * UNIT + 0.5), u32(UNIT), d >= 0.0);
}

fn kept_mass(key: u32, keep: Keep) -> u32 {
    if (key < keep.key) { return 0u; }
    let mass = mass_of(key, keep);
    return select(0u, mass, mass >= keep.mass);
}

struct Limit { key: u32, total: vec2u }              // least key; what all keys have or number

// The largest key such that keys >= it number at least `amount`, or by_mass: have at least
// amount / 2^32 of the mass of all keys >= keep.key. Stops when it has listed these tokens and at
// most LIST in all: `listed` is their number then, else it is more than LIST. Contains barriers.
fn threshold(row: u32, t: u32, keep: Keep, by_mass: bool, amount: u32) -> Limit {
    var shift = NEAR;
    var distance = 0u;
    var goal = vec2u(0u);
    var total = vec2u(0u);
    var begins = true;               // no slot is known yet
    var near = true;
    loop {
        let sum = histogram(row, t, keep, by_mass, distance, shift, near);
        if (near) {
            total = sum;
            goal = threshold_goal(total, by_mass, amount);
        }
        let digit = find_slot(t, goal);
        if (near && digit.slot == 255u) {            // too far: from the start, coarsely
            near = false;
            shift = 24u;
            continue;
        }
        near = false;
        distance += digit.slot << shift;
        if (begins) {
            list_tokens(row, t, keep, distance + ((1u << shift) - 1u));
            if (workgroupUniformLoad(&listed) <= LIST) { return Limit(0u, total); }
            begins = false;
        }
        if (shift == 0u) { break; }
        shift -= 8u;
        goal = sub64(goal, digit.before);
    }
    return Limit(keep.top_key - distance, total);
}

// Makes slots count tokens, or by_mass: hold their mass, by distance from the largest key: slot i
// from first + (i << shift) on, with `rest` the last one without end. Returns the sum of slots.
fn histogram(row: u32, t: u32, keep: Keep, by_mass: bool, first: u32, shift: u32,
             rest: bool) -> vec2u {
    set_slot(t, vec2u(0u));
    workgroupBarrier();
    var far = vec2u(0u);
    for (var i = t; i < dims.vocab; i += BATCH * WG) {
        var keys = logit_keys(row, i);
        for (var j = 0u; j < BATCH; j++) {
            let slot = (keep.top_key - keys[j] - first) >> shift;    // wraps to more than 255
            if (keys[j] >= keep.key && (rest || slot < 256u)) {
                var value = 1u;
                if (by_mass) { value = mass_of(keys[j], keep); }
                if (slot < 255u || !rest) { add_slot(slot, vec2u(value, 0u)); }
                else { far = add64(far, vec2u(value, 0u)); }
            }
        }
    }
    if (rest) { add_slot(255u, far); }
    return sum_slots(t);
}

// Lists the tokens within a distance of the largest key; sets `listed` to their number.
fn list_tokens(row: u32, t: u32, keep: Keep, distance: u32) {
    if (t == 0u) { atomicStore(&list_count, 0u); }
    workgroupBarrier();
    for (var i = t; i < dims.vocab; i += BATCH * WG) {
        var keys = logit_keys(row, i);
        for (var j = 0u; j < BATCH; j++) {
            if (keys[j] >= keep.key && keep.top_key - keys[j] <= distance) {
                let at = atomicAdd(&list_count, 1u);
                if (at < LIST) {
                    list_key[at] = keys[j];
                    list_id[at] = i + j * WG;
                }
            }
        }
    }
    workgroupBarrier();
    if (t == 0u) { listed = atomicLoad(&list_count); }
}

fn threshold_goal(total: vec2u, by_mass: bool, amount: u32) -> vec2u {
    var goal = vec2u(amount, 0u);
    if (by_mass) { goal = share_goal(total, amount); }
    if (less64(total, goal)) { goal = total; }       // fewer than asked for: all
    return goal;
}

// The least mass that is share / 2^32 of the total.
fn share_goal(total: vec2u, share: u32) -> vec2u {
    return add64(scale64(sub64(total, vec2u(1u, 0u)), share), vec2u(1u, 0u));
}

// ---- sums over slots

fn set_slot(t: u32, value: vec2u) {
    atomicStore(&slot_low[t], value.x);
    atomicStore(&slot_high[t], value.y);
}

fn add_slot(slot: u32, value: vec2u) {
    let old = atomicAdd(&slot_low[slot], value.x);
    let high = value.y + select(0u, 1u, old + value.x < old);
    if (high > 0u) { atomicAdd(&slot_high[slot], high); }
}

// The sum of all slots, after they were set or added to; sums of the first ones are in `sums` then.
// Contains barriers.
fn sum_slots(t: u32) -> vec2u {
    workgroupBarrier();
    var sum = vec2u(atomicLoad(&slot_low[t]), atomicLoad(&slot_high[t]));
    sums[t] = sum;
    for (var distance = 1u; distance < WG; distance *= 2u) {
        workgroupBarrier();
        var other = vec2u(0u);
        if (t >= distance) { other = sums[t - distance]; }
        workgroupBarrier();
        sum = add64(sum, other);
        sums[t] = sum;
    }
    workgroupBarrier();
    return sums[WG - 1u];
}

// The sum of slots before t; after sum_slots.
fn sum_before(t: u32) -> vec2u {
    if (t == 0u) { return vec2u(0u); }
    return sums[t - 1u];
}

// The slot where the sum of slots 0 .. slot reaches goal, and the sum before it; after sum_slots.
// Contains barriers. goal is in 1 .. total; with nothing to find, the result is any slot.
fn find_slot(t: u32, goal: vec2u) -> Found {
    let before = sum_before(t);
    if (less64(before, goal) && (!less64(sums[t], goal) || t == WG - 1u)) {
        found = Found(t, before);
    }
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
