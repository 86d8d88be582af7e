/* threefry.h - Threefry-2x32-20, the counter-based random numbers of sampling.
 * Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3". */
#ifndef GPU_CPU_THREEFRY_H
#define GPU_CPU_THREEFRY_H

#include <stdint.h>

/* out = two words of 32 random bits at the counter, for the key. */
static inline void threefry(const uint32_t counter[2], const uint32_t key[2], uint32_t out[2]) {
    static const uint32_t rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const uint32_t keys[3] = {key[0], key[1], 0x1BD11BDA ^ key[0] ^ key[1]};
    uint32_t x = counter[0] + keys[0], y = counter[1] + keys[1];
    for (uint32_t round = 1; round <= 20; round++) {
        uint32_t r = rotations[(round - 1) % 8];
        x += y;
        y = (y << r | y >> (32 - r)) ^ x;
        if (round % 4 == 0) {
            uint32_t i = round / 4;
            x += keys[i % 3];
            y += keys[(i + 1) % 3] + i;
        }
    }
    out[0] = x;
    out[1] = y;
}

#endif
