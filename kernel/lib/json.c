// SPDX-License-Identifier: Apache-2.0
// A reader of flat JSON objects (RFC 8259): strings, integers, booleans, null; no nesting. What does not fit the grammar is refused whole.
#include "json.h"
#include "lib.h"

struct in {
    const char *p, *end;
};

static void blanks(struct in *in)
{
    while (in->p < in->end && (*in->p == ' ' || *in->p == '\t' || *in->p == '\r' || *in->p == '\n'))
        in->p++;
}

static bool take(struct in *in, char c)
{
    blanks(in);
    if (in->p == in->end || *in->p != c)
        return false;
    in->p++;
    return true;
}

static bool hex4(struct in *in, u32 *out)
{
    char s[5] = { 0 };
    u64 v;
    if (in->end - in->p < 4)
        return false;
    memcpy(s, in->p, 4);
    if (!parse_u64(s, 16, &v))
        return false;
    in->p += 4;
    *out = (u32)v;
    return true;
}

// One escaped character. Beyond ASCII nothing is expected here: it becomes '?'.
static bool escape(struct in *in, char *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    u32 v;
    if (in->p == in->end)
        return false;
    char c = *in->p++;
    if (c == 'u') {
        if (!hex4(in, &v))
            return false;
        *out = v && v < 0x80 ? (char)v : '?';
        return true;
    }
    const char *at = c ? strchr(from, c) : NULL;
    if (!at)
        return false;
    *out = to[at - from];
    return true;
}

static bool string(struct in *in, char *out, size_t size)
{
    size_t n = 0;
    if (!take(in, '"'))
        return false;
    for (;;) {
        if (in->p == in->end)
            return false;
        char c = *in->p++;
        if (c == '"')
            break;
        if ((u8)c < 0x20 || (c == '\\' && !escape(in, &c)))
            return false;
        if (n + 1 >= size)
            return false;
        out[n++] = c;
    }
    out[n] = 0;
    return true;
}

static bool integer(struct in *in, i64 *out)
{
    char s[24];
    size_t n = 0;
    u64 v;
    bool minus = in->p < in->end && *in->p == '-';
    in->p += minus;
    while (in->p < in->end && *in->p >= '0' && *in->p <= '9' && n + 1 < sizeof(s))
        s[n++] = *in->p++;
    s[n] = 0;
    if (!n || (n > 1 && s[0] == '0') || !parse_u64(s, 10, &v) || v > 0x7fffffffffffffffull)
        return false;
    *out = minus ? -(i64)v : (i64)v;
    return true;
}

static bool word(struct in *in, const char *w)
{
    size_t n = strlen(w);
    if ((size_t)(in->end - in->p) < n || strncmp(in->p, w, n))
        return false;
    in->p += n;
    return true;
}

static bool value(struct in *in, struct json_field *f)
{
    blanks(in);
    if (in->p == in->end)
        return false;
    if (*in->p == '"') {
        f->kind = JSON_STRING;
        return string(in, f->str, sizeof(f->str));
    }
    if (word(in, "true") || word(in, "false")) {
        f->kind = JSON_BOOL;
        f->num = in->p[-2] == 'u';      // tr-u-e
        return true;
    }
    if (word(in, "null")) {
        f->kind = JSON_NULL;
        return true;
    }
    f->kind = JSON_INT;
    return integer(in, &f->num);
}

int json_parse(const char *s, size_t n, struct json_field *f, int max)
{
    struct in in = { s, s + n };
    int k = 0;
    if (!take(&in, '{'))
        return -1;
    if (!take(&in, '}')) {
        do {
            if (k == max || !string(&in, f[k].key, sizeof(f[k].key)) || !take(&in, ':') || !value(&in, &f[k]))
                return -1;
            k++;
        } while (take(&in, ','));
        if (!take(&in, '}'))
            return -1;
    }
    blanks(&in);
    return in.p == in.end ? k : -1;
}

const struct json_field *json_find(const struct json_field *f, int n, const char *key, enum json_kind kind)
{
    for (int i = 0; i < n; i++)
        if (f[i].kind == kind && !strcmp(f[i].key, key))
            return &f[i];
    return NULL;
}
