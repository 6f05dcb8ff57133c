// SPDX-License-Identifier: Apache-2.0
// A fast hash for tables (MurmurHash3's 32-bit mixing, public domain algorithm by Austin Appleby). Callers seed it with a random number
// where an adversary picks the keys.
#include "lib.h"

static u32 rotl(u32 x, int r) { return (x << r) | (x >> (32 - r)); }

u32 hash32(const void *data, size_t n, u32 seed)
{
    const u8 *p = data;
    u32 h = seed, k;
    for (size_t left = n; left >= 4; left -= 4, p += 4) {
        k = (u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24;
        h = rotl(h ^ (rotl(k * 0xcc9e2d51u, 15) * 0x1b873593u), 13) * 5 + 0xe6546b64u;
    }
    k = 0;
    for (size_t i = n & 3; i; i--)
        k = k << 8 | p[i - 1];
    if (n & 3)
        h ^= rotl(k * 0xcc9e2d51u, 15) * 0x1b873593u;
    h ^= (u32)n;
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return h ^ h >> 16;
}
