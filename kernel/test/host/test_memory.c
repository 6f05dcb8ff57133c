// SPDX-License-Identifier: Apache-2.0
// sources: mm/page.c mm/kmalloc.c lib/string.c
// The page allocator and the heap over an array that plays the machine's RAM.
#include "test.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include "ram.h"

static jmp_buf on_panic;
void panic(const char *fmt, ...) __attribute__((noreturn));
void panic(const char *fmt, ...) { (void)fmt; longjmp(on_panic, 1); }

static void start(void)
{
    static int once;
    if (once++)
        return;
    mem_ranges[0] = (struct mem_range){ 0x123000, 0x400000 };       // begins inside a section
    mem_ranges[1] = (struct mem_range){ 0x500000, 0x7ff000 };
    nr_mem_ranges = 2;
    mem_top = 0x7ff000;
    page_init();
    kmalloc_init();
}

static u64 free_pages(void) { return mem_free_pages(); }

static void pages_are_distinct_and_all_come_back(void)
{
    start();
    static struct page *all[4096];
    static char seen[RAM / 4096];
    unsigned n = 0;
    memset(seen, 0, sizeof(seen));
    for (struct page *p; (p = page_alloc(0, PA_ATOMIC)); n++) {
        u64 pa = page_pa(p);
        CHECK((pa >= 0x123000 && pa < 0x400000) || (pa >= 0x500000 && pa < 0x7ff000));
        CHECK(!seen[pa >> 12]++);
        CHECK(page_from_pa(pa) == p && p->refs == 1);
        all[n] = p;
    }
    CHECK(n > 1300 && free_pages() == 0);
    for (unsigned i = 0; i < n; i++)
        page_put(all[i]);
    CHECK(free_pages() == n);
    // Freed singles must have joined again.
    struct page *big = page_alloc(9, PA_ATOMIC);
    CHECK(big == NULL || (page_pa(big) & 0x1fffff) == 0);
    if (big)
        page_put(big);
    struct page *mid = page_alloc(8, PA_ATOMIC);
    CHECK(mid && (page_pa(mid) & 0xfffff) == 0);
    page_put(mid);
    CHECK(free_pages() == n);
}

static void zero_and_references(void)
{
    start();
    u64 before = free_pages();
    struct page *p = page_alloc(1, PA_ZERO);
    memset(page_va(p), 0x55, 8192);
    page_get(p);
    page_put(p);
    CHECK(free_pages() == before - 2);
    page_put(p);
    CHECK(free_pages() == before);
    p = page_alloc(1, PA_ZERO);
    for (int i = 0; i < 8192; i++)
        CHECK(((char *)page_va(p))[i] == 0);
    page_put(p);
    if (setjmp(on_panic) == 0) {
        page_put(p);
        CHECK(!"a page was freed twice");
    }
}

static void user_pages_leave_a_reserve(void)
{
    start();
    static struct page *all[4096];
    unsigned n = 0;
    while ((all[n] = page_alloc(0, PA_USER | PA_ATOMIC)))
        n++;
    CHECK(free_pages() >= 16);
    struct page *k = page_alloc(0, PA_ATOMIC);
    CHECK(k != NULL);
    page_put(k);
    while (n)
        page_put(all[--n]);
}

// Before anything else asked for blocks: the first of 18 sizes share pages, where their alignment allows it, and know how large they are.
static void heap_small_beginnings(void)
{
    static const unsigned sizes[] = { 2048, 512, 192, 1024, 64, 16, 32, 48, 80, 96, 128, 160, 256, 320, 384, 672, 816, 1360 };
    start();
    u64 before = kmalloc_pages();
    char *p[ARRAY_SIZE(sizes)];
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        p[i] = kmalloc(sizes[i], PA_ZERO);
        CHECK(p[i] && ksize(p[i]) >= sizes[i] && !((u64)p[i] & ((sizes[i] & -sizes[i]) - 1)));
        for (unsigned k = 0; k < sizes[i]; k++)
            CHECK(!p[i][k]);
        memset(p[i], 0x11, ksize(p[i]));
    }
    CHECK(kmalloc_pages() - before <= 10);
    for (unsigned n = 0; n < 4096 / 16 * 2; n++)        // two pages' worth: most in pages of their own, or they would take 16
        CHECK(kmalloc(16, 0) != NULL);
    CHECK(kmalloc_pages() - before <= 12);
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
        kfree(p[i]);
}

static void heap_random_use(void)
{
    start();
    enum { N = 300 };
    static unsigned char *p[N];
    static size_t size[N];
    u64 before = free_pages() + kmalloc_pages();
    unsigned seed = 7;
    for (int step = 0; step < 60000; step++) {
        seed = seed * 1103515245 + 12345;
        int i = (int)((seed >> 8) % N);
        if (p[i]) {
            for (size_t k = 0; k < size[i]; k++)
                CHECK(p[i][k] == (unsigned char)i);
            kfree(p[i]);
            p[i] = NULL;
        } else {
            size[i] = (seed >> 20) % (step % 50 ? 600 : 9000);
            p[i] = kmalloc(size[i], 0);
            CHECK(p[i] && !((u64)p[i] & 15) && ksize(p[i]) >= size[i]);
            memset(p[i], i, size[i]);
        }
    }
    for (int i = 0; i < N; i++)
        kfree(p[i]);
    CHECK(kmalloc_pages() <= 90);       // four blocks of each size are kept for the next use
    kmalloc_drain();
    CHECK(free_pages() + kmalloc_pages() == before);
    CHECK(kmalloc_pages() <= 20);       // one kept slab per size at most
}

static void heap_catches_misuse(void)
{
    start();
    char *b = kmalloc(100, 0);
    if (setjmp(on_panic) == 0) {
        kfree(b + 16);
        CHECK(!"a pointer into a block was freed");
    }
    kfree(b);
    if (setjmp(on_panic) == 0) {
        kfree(b);
        CHECK(!"a block was freed twice");
    }
    cpus[0].bh_count = 0;
    CHECK(kmalloc(100, 0) == b);        // the one just freed, and once only
    CHECK(kmalloc(100, 0) != b);
    kfree(b);
    CHECK(kmalloc(3u << 20, 0) == NULL);
    char *r = krealloc(NULL, 10);
    memcpy(r, "123456789", 10);
    r = krealloc(r, 5000);
    CHECK(!strcmp(r, "123456789"));
    kfree(r);
    kfree(NULL);
}

TESTS({ "heap_small_beginnings", heap_small_beginnings }, { "pages_are_distinct_and_all_come_back", pages_are_distinct_and_all_come_back }, { "zero_and_references", zero_and_references },
      { "user_pages_leave_a_reserve", user_pages_leave_a_reserve }, { "heap_random_use", heap_random_use },
      { "heap_catches_misuse", heap_catches_misuse })
