// SPDX-License-Identifier: Apache-2.0
// Text that grows: the contents of files under /proc and /sys.
#include "vfs.h"

#include <stdarg.h>

static bool room(struct seqbuf *s, size_t n)
{
    if (s->len + n < s->cap)
        return true;
    size_t cap = s->cap ? s->cap : 512;
    while (cap <= s->len + n)
        cap *= 2;
    char *p = krealloc(s->buf, cap);
    if (!p) {
        s->full = true;
        return false;
    }
    s->buf = p;
    s->cap = cap;
    return true;
}

void seq_write(struct seqbuf *s, const void *data, size_t n)
{
    if (!room(s, n))
        return;
    memcpy(s->buf + s->len, data, n);
    s->len += n;
}

void seq_printf(struct seqbuf *s, const char *fmt, ...)
{
    for (int tries = 0; tries < 2; tries++) {
        size_t free = s->cap - s->len;
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(s->buf ? s->buf + s->len : NULL, free, fmt, ap);
        va_end(ap);
        if (n < 0)
            return;
        if ((size_t)n < free) {
            s->len += (size_t)n;
            return;
        }
        if (!room(s, (size_t)n + 1))
            return;
    }
}

int seq_tid(const struct seqbuf *s) { return s->tid ? s->tid : 1; }
