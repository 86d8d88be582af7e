/* test_bpe.c - merging against its definition: the pair of lowest rank, the leftmost of equals,
 * until there is none; and the queue that finds it. */
#include "tokenizer/bpe.h"
#include "tokenizer/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t random_below(uint32_t *seed, uint32_t n) {
    *seed = *seed * 1103515245 + 12345;
    return (*seed >> 8) % n;
}

static void merge_by_definition(const bpe_rule *rules, uint32_t rule_count, uint32_t *ids,
                                size_t *count) {
    for (;;) {
        size_t at = 0;
        uint32_t best = rule_count;
        for (size_t i = 0; i + 1 < *count; i++)
            for (uint32_t rank = 0; rank < best; rank++)
                if (rules[rank].left == ids[i] && rules[rank].right == ids[i + 1]) {
                    best = rank;
                    at = i;
                }
        if (best == rule_count) return;
        ids[at] = rules[best].merged;
        memmove(ids + at + 1, ids + at + 2, (*count - at - 2) * sizeof *ids);
        --*count;
    }
}

static void words_merge_as_defined(void **state) {
    (void)state;
    enum { RULES = 60, LETTERS = 3, LONGEST = 200 };
    uint32_t seed = 1;
    for (int round = 0; round < 100; round++) {
        arena a = {0};
        bpe b;
        bpe_work w = {0};
        bpe_rule rules[RULES];
        uint32_t count = 0;
        assert_true(bpe_init(&b, &a, RULES));
        while (count < RULES) {                  /* of earlier ids, later ones, and themselves */
            bpe_rule r = {.merged = LETTERS + count};
            r.left = random_below(&seed, LETTERS + count);
            r.right = random_below(&seed, LETTERS + count);
            if (!random_below(&seed, 4)) r.merged = random_below(&seed, LETTERS + RULES);
            bool again = false;
            for (uint32_t i = 0; i < count; i++)
                again |= rules[i].left == r.left && rules[i].right == r.right;
            if (again) continue;
            rules[count++] = r;
            bpe_add(&b, r);
        }
        for (int word = 0; word < 20; word++) {
            uint32_t got[LONGEST], want[LONGEST];
            size_t got_count = random_below(&seed, LONGEST), want_count = got_count;
            for (size_t i = 0; i < got_count; i++) got[i] = want[i] = random_below(&seed, LETTERS);
            assert_true(bpe_merge(&b, &w, got, &got_count));
            merge_by_definition(rules, RULES, want, &want_count);
            assert_int_equal(got_count, want_count);
            assert_memory_equal(got, want, want_count * sizeof *got);
        }
        bpe_work_free(&w);
        arena_free(&a);
    }
}

/* Random numbers fill all runs and the heap; rising ones stay in the runs. */
static void the_smallest_comes_first(void **state) {
    (void)state;
    enum { ROOM = 300 };
    uint32_t seed = 7;
    queue q = {0};
    for (int round = 0; round < 200; round++) {
        uint64_t held[ROOM], number;
        size_t count = 0;
        bool rising = round % 2;
        assert_true(queue_reset(&q, ROOM));
        for (uint32_t step = 0; step < 2000; step++) {
            if (count < ROOM && random_below(&seed, 2)) {
                held[count] = rising ? step : random_below(&seed, 1000);
                queue_push(&q, held[count++]);
            } else if (count) {
                size_t smallest = 0;
                for (size_t i = 1; i < count; i++)
                    if (held[i] < held[smallest]) smallest = i;
                assert_true(queue_pop(&q, &number));
                assert_int_equal(number, held[smallest]);
                held[smallest] = held[--count];
            }
            if (rising) assert_int_equal(q.heap_count, 0);
        }
        while (count--) assert_true(queue_pop(&q, &number));
        assert_false(queue_pop(&q, &number));
    }
    queue_free(&q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_merge_as_defined),
        cmocka_unit_test(the_smallest_comes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
