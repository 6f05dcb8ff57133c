// SPDX-License-Identifier: Apache-2.0
// Names of functions, for backtraces.
#include "ksyms.h"

static size_t expand(const struct ksyms *t, u8 c, char *out, size_t n, size_t size)
{
    if (c >= 128) {
        n = expand(t, t->pairs[c - 128][0], out, n, size);
        return expand(t, t->pairs[c - 128][1], out, n, size);
    }
    if (n + 1 < size)
        out[n++] = (char)c;
    return n;
}

bool ksyms_find(const struct ksyms *t, u32 offset, u32 *start, char *name, size_t size)
{
    if (!t->count || t->step[0] > offset)
        return false;
    const u8 *s = t->names;
    u32 at = t->step[0];
    for (u32 i = 1; i < t->count && at + t->step[i] <= offset; i++) {
        at += t->step[i];
        s += *s + 1;
    }
    size_t n = 0;
    for (u8 k = 1; k <= *s; k++)
        n = expand(t, s[k], name, n, size);
    name[n] = 0;
    *start = at;
    return true;
}
