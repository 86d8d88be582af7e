// fast.test.mjs - prompts read with int8 activations: near the exact logits, the same however a
// prompt is cut into steps, and the same on a GPU. Where one activation of a long prompt rounds the
// other way there, all that follows differs, so prompts are short.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { converted, cpu, f32, fixtures, golden, gpu, logits, longest, relativeError,
    within } from './oracle.mjs';

for (const name of ['gemma3', 'mixtral']) {
    test(`micro ${name}, q8_0, precision fast`, () => {
        const checkpoint = join(fixtures, name);
        const pack = converted(checkpoint, `micro-${name}`, 'q8_0');
        const ids = longest(golden(checkpoint)).prompts[0].ids.slice(0, 18);
        const fast = [...f32, '--precision', 'fast'];
        const whole = logits(pack, ids, ...cpu, ...fast);
        const error = relativeError(whole, logits(pack, ids, ...cpu, ...f32));
        within(error, 0.1);
        assert.ok(error > 1e-3, 'no activation was rounded');
        within(relativeError(logits(pack, ids, ...cpu, ...fast, '--prefill', 6), whole), 1e-6);
        within(relativeError(logits(pack, ids, ...gpu, ...fast), whole), 1e-5);
    });
}
