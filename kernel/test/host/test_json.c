// SPDX-License-Identifier: Apache-2.0
// sources: lib/json.c lib/string.c
#include "test.h"
#include <string.h>
#include "json.h"

static struct json_field f[4];

// Parsed from a block of exactly its size, so that a read beyond it is caught.
static int parse(const char *s)
{
    size_t n = strlen(s);
    char *copy = malloc(n ? n : 1);
    memcpy(copy, s, n);
    int k = json_parse(copy, n, f, 4);
    free(copy);
    return k;
}

static void accepts(void)
{
    CHECK(parse("{}") == 0 && parse(" { } ") == 0);
    CHECK(parse("{\"cmd\":\"signal\", \"id\":7,\"signo\" : -15}") == 3);
    CHECK(!strcmp(json_find(f, 3, "cmd", JSON_STRING)->str, "signal") && json_find(f, 3, "id", JSON_INT)->num == 7);
    CHECK(json_find(f, 3, "signo", JSON_INT)->num == -15 && !json_find(f, 3, "signo", JSON_STRING) && !json_find(f, 3, "x", JSON_INT));
    CHECK(parse("{\"on\":true,\"off\":false,\"n\":null}") == 3 && f[0].num == 1 && f[1].num == 0 && f[2].kind == JSON_NULL);
    CHECK(parse("{\"a\":\"\\u0041\\n\\\"\\u00e9\"}") == 1 && !strcmp(f[0].str, "A\n\"?"));
    CHECK(parse("{\"a\":9223372036854775807}") == 1 && f[0].num == 0x7fffffffffffffffll);
}

static void refuses(void)
{
    static const char *const bad[] = { "", "{", "[]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1}x", "{\"a\":01}", "{\"a\":{}}", "{\"a\":[]}",
        "{\"a\":1e5}", "{\"a\":9223372036854775808}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u00g0\"}", "{\"a\":\"", "{\"a\":\"\\", "{\"a\":tru}", "{\"a\":-}",
        "{\"a\":1 \"b\":2}", "{\"a\":\"\n\"}", "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5}", "{\"aaaaaaaaaaaaaaaaaaaaaaaa\":1}" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(parse(bad[i]) == -1);
}

static void survives_noise(void)
{
    static const char set[] = "{}\":,\\u01tfn-a ";
    unsigned seed = 99;
    for (int i = 0; i < 200000; i++) {
        char s[40];
        size_t n = 0;
        for (; n < sizeof(s) - 1; n++) {
            seed = seed * 1103515245 + 12345;
            if (seed >> 28 == 0)
                break;
            s[n] = set[(seed >> 16) % (sizeof(set) - 1)];
        }
        s[n] = 0;
        int k = parse(s);
        CHECK(k >= -1 && k <= 4);
    }
}

TESTS({ "accepts", accepts }, { "refuses", refuses }, { "survives_noise", survives_noise })
