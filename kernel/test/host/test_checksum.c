// SPDX-License-Identifier: Apache-2.0
// sources: net/checksum.c
// The Internet checksum against the two-bytes-at-a-time definition of RFC 1071.
#include "test.h"
#include <stdlib.h>
#include <string.h>
#include "types.h"

char host_ram[1], host_vmemmap[1];
u16 net_checksum(const void *data, int len);

static u16 reference(const u8 *p, int len)
{
    u32 sum = 0;
    for (int i = 0; i < len; i += 2)
        sum += p[i] | (i + 1 < len ? (u32)p[i + 1] << 8 : 0);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (u16)sum;
}

static void every_length_and_alignment(void)
{
    static u8 data[2100];
    srand(1);
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (u8)rand();
    for (int off = 0; off < 9; off++)
        for (int len = 0; len < 2000; len += len < 130 ? 1 : 61)
            CHECK(net_checksum(data + off, len) == reference(data + off, len));
}

static void carries_are_not_lost(void)
{
    static u8 ones[65536];
    memset(ones, 0xff, sizeof(ones));
    for (int len = 0; len <= (int)sizeof(ones); len += 1021)
        CHECK(net_checksum(ones, len) == reference(ones, len));
}

TESTS({ "every_length_and_alignment", every_length_and_alignment }, { "carries_are_not_lost", carries_are_not_lost })
