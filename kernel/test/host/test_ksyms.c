// SPDX-License-Identifier: Apache-2.0
// sources: lib/ksyms.c
#include "test.h"
#include <string.h>
#include "ksyms.h"

// 128 stands for "ab", 129 for "abc".
static const u8 pairs[][2] = { { 'a', 'b' }, { 128, 'c' } };
static const u16 steps[] = { 16, 0x10, 0xffff };
static const u8 names[] = { 3, 'f', 128, 'x', 1, 129, 2, 129, 129 };
static const struct ksyms table = { 3, steps, pairs, names };

static bool is(u32 offset, const char *name, u32 start)
{
    char buf[16];
    u32 at = 0;
    return ksyms_find(&table, offset, &at, buf, sizeof(buf)) && !strcmp(buf, name) && at == start;
}

static void finds(void)
{
    CHECK(is(16, "fabx", 16));
    CHECK(is(31, "fabx", 16));
    CHECK(is(32, "abc", 32));
    CHECK(is(0x1001e, "abc", 32));
    CHECK(is(0x1001f, "abcabc", 0x1001f));
    CHECK(is(0x7fffffff, "abcabc", 0x1001f));
}

static void refuses(void)
{
    char buf[16];
    u32 at;
    const struct ksyms none = { 0, steps, pairs, names };
    CHECK(!ksyms_find(&table, 15, &at, buf, sizeof(buf)));
    CHECK(!ksyms_find(&none, 16, &at, buf, sizeof(buf)));
}

static void cuts(void)
{
    char buf[4] = "???";
    u32 at;
    CHECK(ksyms_find(&table, 0x1001f, &at, buf, sizeof(buf)) && !strcmp(buf, "abc"));
}

TESTS({ "finds", finds }, { "refuses", refuses }, { "cuts", cuts })
