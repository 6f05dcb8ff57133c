// SPDX-License-Identifier: Apache-2.0
// vsnprintf without floating point: d i u o x X p s c %, flags - 0 + # and space, width and precision (also *), sizes hh h l ll z j t.
#include "lib.h"

struct out {
    char *buf;
    size_t size, n;     // n counts what would have been written
};

struct spec {
    bool left, zero, plus, space, alt;
    int width, precision;   // precision -1: none given
    int size;               // bytes of the integer argument
};

static void put(struct out *o, char c)
{
    if (o->n + 1 < o->size)
        o->buf[o->n] = c;
    o->n++;
}

static void pad(struct out *o, char c, int n)
{
    while (n-- > 0)
        put(o, c);
}

static void put_string(struct out *o, const struct spec *f, const char *s)
{
    if (!s)
        s = "(null)";
    int len = (int)strnlen(s, f->precision >= 0 ? (size_t)f->precision : 0x7fffffff);
    if (!f->left)
        pad(o, ' ', f->width - len);
    for (int i = 0; i < len; i++)
        put(o, s[i]);
    if (f->left)
        pad(o, ' ', f->width - len);
}

static void put_number(struct out *o, const struct spec *f, u64 v, unsigned base, bool upper, bool negative, bool is_signed)
{
    char digits[24];
    int n = 0;
    const char *set = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    bool zero_value = v == 0;
    for (; v; v /= base)
        digits[n++] = set[v % base];
    int min = f->precision >= 0 ? f->precision : 1;
    if (base == 8 && f->alt && min <= n)
        min = n + 1;
    const char *prefix = negative ? "-" : is_signed && f->plus ? "+" : is_signed && f->space ? " " : "";
    if (base == 16 && f->alt && !zero_value)
        prefix = upper ? "0X" : "0x";
    int zeros = MAX(min - n, 0), plen = (int)strlen(prefix);
    if (f->zero && !f->left && f->precision < 0)
        zeros = MAX(zeros, f->width - plen - n);
    int fill = f->width - plen - zeros - n;
    if (!f->left)
        pad(o, ' ', fill);
    while (*prefix)
        put(o, *prefix++);
    pad(o, '0', zeros);
    while (n)
        put(o, digits[--n]);
    if (f->left)
        pad(o, ' ', fill);
}

static const char *parse_flags(const char *p, struct spec *f)
{
    for (;; p++) {
        if (*p == '-')
            f->left = true;
        else if (*p == '0')
            f->zero = true;
        else if (*p == '+')
            f->plus = true;
        else if (*p == ' ')
            f->space = true;
        else if (*p == '#')
            f->alt = true;
        else
            return p;
    }
}

static const char *parse_size(const char *p, struct spec *f)
{
    f->size = 4;
    if (*p == 'l' || *p == 'z' || *p == 'j' || *p == 't') {
        f->size = 8;
        p++;
        if (*p == 'l')
            p++;
    } else if (*p == 'h') {
        f->size = 2;
        if (*++p == 'h') {
            f->size = 1;
            p++;
        }
    }
    return p;
}

static u64 truncate_to(u64 v, int size, bool is_signed)
{
    if (size == 1)
        return is_signed ? (u64)(i64)(i8)v : (u8)v;
    if (size == 2)
        return is_signed ? (u64)(i64)(i16)v : (u16)v;
    return v;
}

static void put_integer(struct out *o, const struct spec *f, char conv, u64 v)
{
    if (conv == 'd' || conv == 'i') {
        i64 s = (i64)truncate_to(v, f->size, true);
        put_number(o, f, s < 0 ? 0 - (u64)s : (u64)s, 10, false, s < 0, true);
    } else {
        unsigned base = conv == 'u' ? 10 : conv == 'o' ? 8 : 16;
        put_number(o, f, truncate_to(v, f->size, false), base, conv == 'X', false, false);
    }
}

int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
    struct out o = { buf, size, 0 };
    va_list args;
    va_copy(args, ap);
    for (const char *p = fmt; *p; p++) {
        if (*p != '%') {
            put(&o, *p);
            continue;
        }
        struct spec f = { .precision = -1, .size = 4 };
        p = parse_flags(p + 1, &f);
        if (*p == '*') {
            f.width = va_arg(args, int);
            if (f.width < 0) {
                f.left = true;
                f.width = -f.width;
            }
            p++;
        }
        for (; *p >= '0' && *p <= '9'; p++)
            f.width = f.width * 10 + *p - '0';
        if (*p == '.') {
            f.precision = 0;
            if (*++p == '*') {
                f.precision = va_arg(args, int);
                p++;
            }
            for (; *p >= '0' && *p <= '9'; p++)
                f.precision = f.precision * 10 + *p - '0';
        }
        p = parse_size(p, &f);
        if (*p == 'd' || *p == 'i') {
            put_integer(&o, &f, *p, f.size == 8 ? va_arg(args, u64) : (u64)(i64)va_arg(args, int));
        } else if (*p == 'u' || *p == 'x' || *p == 'X' || *p == 'o') {
            put_integer(&o, &f, *p, f.size == 8 ? va_arg(args, u64) : va_arg(args, unsigned));
        } else if (*p == 'p') {
            f.alt = true;
            put_number(&o, &f, (u64)va_arg(args, void *), 16, false, false, false);
        } else if (*p == 's') {
            put_string(&o, &f, va_arg(args, const char *));
        } else if (*p == 'c') {
            char c[2] = { (char)va_arg(args, int), 0 };
            if (!f.left)
                pad(&o, ' ', f.width - 1);
            put(&o, c[0]);
            if (f.left)
                pad(&o, ' ', f.width - 1);
        } else if (*p == '%') {
            put(&o, '%');
        } else {
            break;      // unknown conversion: the arguments can no longer be trusted
        }
    }
    va_end(args);
    if (size)
        buf[MIN(o.n, size - 1)] = 0;
    return (int)o.n;
}

int snprintf(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(buf, size, fmt, ap);
    va_end(ap);
    return n;
}
