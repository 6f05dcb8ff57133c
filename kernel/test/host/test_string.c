// SPDX-License-Identifier: Apache-2.0
// sources: lib/string.c
#include "test.h"
#include <string.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *k_memcpy(void *, const void *, size_t);
void *k_memmove(void *, const void *, size_t);
void *k_memset(void *, int, size_t);
int k_memcmp(const void *, const void *, size_t);
void *k_memchr(const void *, int, size_t);
int k_strcmp(const char *, const char *);
int k_strncmp(const char *, const char *, size_t);
char *k_strchr(const char *, int);
char *k_strrchr(const char *, int);
size_t k_strlcpy(char *, const char *, size_t);
size_t k_strnlen(const char *, size_t);
bool parse_u64(const char *, unsigned, uint64_t *);

static void fill(unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(i * 31 + 7);
}

static void copies_every_size_and_alignment(void)
{
    for (size_t n = 0; n < 200; n++)
        for (size_t off = 0; off < 9; off++) {
            unsigned char *a = malloc(n + off + 1), *b = malloc(n + off + 1);
            fill(a, n + off + 1);
            memset(b, 0, n + off + 1);
            CHECK(k_memcpy(b + off, a + off, n) == b + off);
            CHECK(!memcmp(a + off, b + off, n) && b[n + off] == 0);
            free(a);
            free(b);
        }
}

static void moves_overlapping_ranges(void)
{
    for (size_t n = 1; n < 160; n++)
        for (size_t from = 0; from < 20; from++)
            for (size_t to = 0; to < 20; to++) {
                unsigned char a[200], b[200];
                fill(a, sizeof(a));
                fill(b, sizeof(b));
                k_memmove(a + to, a + from, n);
                memmove(b + to, b + from, n);
                CHECK(!memcmp(a, b, sizeof(a)));
            }
}

static void sets_and_compares(void)
{
    for (size_t n = 0; n < 150; n++) {
        unsigned char *a = malloc(n + 2), *b = malloc(n + 2);
        memset(a, 1, n + 2);
        memset(b, 1, n + 2);
        k_memset(a + 1, 0xa5, n);
        memset(b + 1, 0xa5, n);
        CHECK(!memcmp(a, b, n + 2));
        CHECK(k_memcmp(a, b, n + 2) == 0);
        b[n] ^= 0x80;
        CHECK((k_memcmp(a, b, n + 2) < 0) == (memcmp(a, b, n + 2) < 0));
        free(a);
        free(b);
    }
}

static void finds(void)
{
    const char *s = "a/b/c";
    CHECK(k_strchr(s, '/') == s + 1 && k_strrchr(s, '/') == s + 3 && k_strchr(s, 0) == s + 5 && !k_strchr(s, 'x'));
    CHECK(k_memchr(s, 'c', 5) == s + 4 && !k_memchr(s, 'c', 4));
    CHECK(k_strcmp("a", "b") < 0 && k_strcmp("b", "a") > 0 && !k_strcmp("ab", "ab") && k_strcmp("a", "ab") < 0);
    CHECK(k_strcmp("\xff", "a") > 0);
    CHECK(!k_strncmp("abc", "abd", 2) && k_strncmp("abc", "abd", 3) < 0 && !k_strncmp("a", "a", 9));
    CHECK(k_strnlen("abc", 2) == 2 && k_strnlen("abc", 9) == 3);
    char b[4];
    CHECK(k_strlcpy(b, "abcdef", sizeof(b)) == 6 && !strcmp(b, "abc"));
    CHECK(k_strlcpy(b, "x", sizeof(b)) == 1 && !strcmp(b, "x"));
}

static void parses_numbers(void)
{
    uint64_t v;
    CHECK(parse_u64("18446744073709551615", 10, &v) && v == ~0ull);
    CHECK(!parse_u64("18446744073709551616", 10, &v));
    CHECK(!parse_u64("", 10, &v) && !parse_u64("0x", 0, &v) && !parse_u64("12a", 10, &v) && !parse_u64(" 1", 10, &v) && !parse_u64("-1", 10, &v));
    CHECK(parse_u64("0xfEb00e00", 0, &v) && v == 0xfeb00e00);
    CHECK(parse_u64("0644", 0, &v) && v == 0644);
    CHECK(parse_u64("0", 0, &v) && v == 0);
    CHECK(!parse_u64("8", 8, &v));
}

TESTS({ "copies_every_size_and_alignment", copies_every_size_and_alignment }, { "moves_overlapping_ranges", moves_overlapping_ranges },
      { "sets_and_compares", sets_and_compares }, { "finds", finds }, { "parses_numbers", parses_numbers })
