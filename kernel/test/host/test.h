// SPDX-License-Identifier: Apache-2.0
// Unit tests of the kernel's pure code on the build host. A test program names the kernel's sources in a line
// `// sources: lib/x.c ...`; it includes this, defines its tests and lists them in TESTS.
#ifndef UNI_TEST_H
#define UNI_TEST_H

#include <stdio.h>
#include <stdlib.h>

struct test {
    const char *name;
    void (*fn)(void);
};

static int checks_failed;

#define CHECK(cond) check((cond), #cond, __FILE__, __LINE__)

static inline void check(int ok, const char *what, const char *file, int line)
{
    if (ok)
        return;
    checks_failed++;
    printf("%s:%d: failed: %s\n", file, line, what);
}

// One line per failing test; the last line is what `make host-test` adds up.
static inline int run_tests(const struct test *t, int n)
{
    int failed = 0;
    for (int i = 0; i < n; i++) {
        int before = checks_failed;
        t[i].fn();
        if (checks_failed != before) {
            printf("FAILED %s\n", t[i].name);
            failed++;
        }
    }
    printf("%d passed, %d failed\n", n - failed, failed);
    return failed != 0;
}

#define TESTS(...) \
    int main(void) { \
        static const struct test tests[] = { __VA_ARGS__ }; \
        return run_tests(tests, (int)(sizeof(tests) / sizeof(tests[0]))); \
    }

#endif
