// SPDX-License-Identifier: Apache-2.0
// sources: lib/chacha.c lib/hash.c
#include "test.h"
#include "chacha.h"
#include "types.h"

u32 hash32(const void *data, size_t n, u32 seed);

// RFC 8439, section 2.3.2.
static void chacha_vector(void)
{
    u32 key[8], nonce[3] = { 0x09000000, 0x4a000000, 0 }, out[16];
    for (u32 i = 0; i < 8; i++)
        key[i] = 0x03020100 + i * 0x04040404;
    chacha20_block(key, 1, nonce, out);
    static const u32 want[16] = { 0xe4e7f110, 0x15593bd1, 0x1fdd0f50, 0xc47120a3, 0xc7f4d1c7, 0x0368c033, 0x9aaa2204, 0x4e6cd4c3,
                                  0x466482d2, 0x09aa9f07, 0x05d7c214, 0xa2028bd9, 0xd19c12b5, 0xb94e16de, 0xe883d0cb, 0x4e3c50a2 };
    for (int i = 0; i < 16; i++)
        CHECK(out[i] == want[i]);
}

// Published MurmurHash3_x86_32 values.
static void murmur_vectors(void)
{
    CHECK(hash32("", 0, 0) == 0 && hash32("", 0, 1) == 0x514e28b7);
    CHECK(hash32("test", 4, 0) == 0xba6bd213 && hash32("Hello, world!", 13, 0) == 0xc0363e43);
    CHECK(hash32("The quick brown fox jumps over the lazy dog", 43, 0) == 0x2e4ff723);
}

TESTS({ "chacha_vector", chacha_vector }, { "murmur_vectors", murmur_vectors })
