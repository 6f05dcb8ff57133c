// SPDX-License-Identifier: Apache-2.0
// The Internet checksum (RFC 1071), not complemented, in memory byte order, as lwIP wants it of LWIP_CHKSUM.
#include "lib.h"
#include "types.h"

u16 net_checksum(const void *data, int len);

static u64 load64(const u8 *p)
{
    u64 v;
    __builtin_memcpy(&v, p, 8);
    return v;
}

static u32 load32(const u8 *p)
{
    u32 v;
    __builtin_memcpy(&v, p, 4);
    return v;
}

// Sums of 32-bit halves in 64 bits: no carry can be lost within 2^32 of them, and no instruction needs the carry flag, which is
// what an emulated CPU is slow at.
static u16 fold(u64 sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (u16)sum;
}

u16 net_checksum(const void *data, int len)
{
    const u8 *p = data;
    u64 even = 0, odd = 0;
    if (len == 20) {                          // an IPv4 header: twice for each packet answered
        u64 a = load64(p), b = load64(p + 8);
        return fold((a & 0xffffffff) + (a >> 32) + (b & 0xffffffff) + (b >> 32) + load32(p + 16));
    }
    for (; len >= 32; len -= 32, p += 32) {
        u64 a = load64(p), b = load64(p + 8), c = load64(p + 16), d = load64(p + 24);
        even += (a & 0xffffffff) + (b & 0xffffffff) + (c & 0xffffffff) + (d & 0xffffffff);
        odd += (a >> 32) + (b >> 32) + (c >> 32) + (d >> 32);
    }
    for (; len >= 8; len -= 8, p += 8) {
        u64 a = load64(p);
        even += a & 0xffffffff;
        odd += a >> 32;
    }
    u64 tail = 0;
    for (int i = 0; i < len; i++)
        tail |= (u64)p[i] << (8 * i);
    return fold(even + odd + (tail & 0xffffffff) + (tail >> 32));
}
