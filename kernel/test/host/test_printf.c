// SPDX-License-Identifier: Apache-2.0
// sources: lib/printf.c lib/string.c
// The host's snprintf is the oracle.
#include "test.h"
#include <string.h>

int k_snprintf(char *, size_t, const char *, ...) __attribute__((format(printf, 3, 4)));

#define SAME(...) do { \
        char a[128], b[128]; \
        int x = k_snprintf(a, sizeof(a), __VA_ARGS__), y = snprintf(b, sizeof(b), __VA_ARGS__); \
        if (x != y || strcmp(a, b)) \
            printf("got [%s] %d, want [%s] %d\n", a, x, b, y); \
        CHECK(x == y && !strcmp(a, b)); \
    } while (0)

#pragma GCC diagnostic ignored "-Wformat"

static void integers(void)
{
    static const long values[] = { 0, 1, -1, 7, 10, 255, -255, 65536, 2147483647, -2147483648l, 4294967295l };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        int v = (int)values[i];
        long l = values[i] * 1000003;
        SAME("%d|%5d|%-5d|%05d|%+d|% d|%.3d|%8.3d|%-8.3d|", v, v, v, v, v, v, v, v, v);
        SAME("%u|%x|%X|%o|%#x|%#o|%08x|%-8x|%#10x|%#010x|", v, v, v, v, v, v, v, v, v, v);
        SAME("%ld|%lu|%lx|%llx|%zu|%jd|%20ld|%020ld|", l, l, l, (long long)l, (size_t)l, l, l, l);
        SAME("%hd|%hu|%hhd|%hhu|%hx|%hhx", (short)v, (unsigned short)v, (signed char)v, (unsigned char)v, (unsigned short)v, (unsigned char)v);
    }
    SAME("%ld %ld", 0x7fffffffffffffffl, -0x7fffffffffffffffl - 1);
    SAME("%.0d", 1);
    SAME("%*d|%-*d|%.*d", 6, 42, 6, 42, 4, 42);
    SAME("%*d", -6, 42);
}

static void strings(void)
{
    SAME("%s|%10s|%-10s|%.2s|%10.2s|%-10.2s|", "abc", "abc", "abc", "abc", "abc", "abc");
    SAME("%c|%3c|%-3c|%%", 'x', 'x', 'x');
    SAME("%.*s", 2, "abcdef");
    char unterminated[3] = { 'a', 'b', 'c' }, out[8];
    k_snprintf(out, sizeof(out), "%.3s", unterminated);
    CHECK(!strcmp(out, "abc"));
    k_snprintf(out, sizeof(out), "%s", getenv("no such variable"));
    CHECK(!strcmp(out, "(null)"));
    SAME("%p", (void *)0x1234);
}

static void truncates(void)
{
    char *b = malloc(4);
    CHECK(k_snprintf(b, 4, "%s", "abcdef") == 6 && !strcmp(b, "abc"));
    CHECK(k_snprintf(b, 1, "abc") == 3 && !b[0]);
    b[0] = 'z';
    CHECK(k_snprintf(b, 0, "abc") == 3 && b[0] == 'z');
    free(b);
}

TESTS({ "integers", integers }, { "strings", strings }, { "truncates", truncates })
