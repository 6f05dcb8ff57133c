// SPDX-License-Identifier: Apache-2.0
// Threads that map, protect, move and unmap at random in one address space; every page's contents are checked all the time.
#include "oracle.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { THREADS = 4, AREAS = 24, STEPS = 1500, MOST = 40 };

struct area {
    unsigned char *p;
    size_t pages;
    unsigned char mark;         // of every page's first and last byte, plus the page's number; 0: never written
};

static atomic_int wrong;
static int fd;

static unsigned next(unsigned *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 8;
}

static void fill(struct area *a, unsigned char mark)
{
    a->mark = mark;
    for (size_t i = 0; i < a->pages; i++)
        a->p[i * PAGE] = a->p[i * PAGE + PAGE - 1] = (unsigned char)(mark + i);
}

static void check(const struct area *a)
{
    for (size_t i = 0; i < a->pages; i++) {
        unsigned char want = a->mark ? (unsigned char)(a->mark + i) : 0;
        if (a->p[i * PAGE] != want || a->p[i * PAGE + PAGE - 1] != want)
            wrong++;
    }
}

static void make(struct area *a, unsigned *seed)
{
    a->pages = 1 + next(seed) % MOST;
    a->mark = 0;
    a->p = mmap(NULL, a->pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a->p == MAP_FAILED) {
        wrong++;
        a->p = NULL;
    } else if (next(seed) % 3) {
        fill(a, (unsigned char)(1 + next(seed) % 100));
    }
}

static void drop(struct area *a)
{
    check(a);
    if (munmap(a->p, a->pages * PAGE))
        wrong++;
    a->p = NULL;
}

static void move(struct area *a, unsigned *seed)
{
    size_t pages = 1 + next(seed) % MOST, kept = pages < a->pages ? pages : a->pages;
    void *p = mremap(a->p, a->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
    if (p == MAP_FAILED) {
        // The kernel may see two areas where a hole was filled: that is EFAULT, and nothing has changed.
        wrong += errno != EFAULT;
        return;
    }
    a->p = p;
    a->pages = kept;
    check(a);
    a->pages = pages;
    if (a->mark)
        fill(a, a->mark);
}

// A hole is punched in the middle and filled again by a fixed mapping.
static void punch(struct area *a)
{
    size_t at = a->pages / 3, n = a->pages / 3;
    if (!n)
        return;
    if (munmap(a->p + at * PAGE, n * PAGE))
        wrong++;
    // Another thread's mapping may take the hole at any time, so only a fixed one that replaces nothing is right.
    void *p = mmap(a->p + at * PAGE, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (p == MAP_FAILED) {
        munmap(a->p + (at + n) * PAGE, (a->pages - at - n) * PAGE);
        a->pages = at;
        if (!at)
            a->p = NULL;
        return;
    }
    if (a->mark)
        fill(a, a->mark);
}

static void protect(struct area *a, unsigned *seed)
{
    if (mprotect(a->p, a->pages * PAGE, next(seed) % 2 ? PROT_READ : PROT_NONE))
        wrong++;
    if (mprotect(a->p, a->pages * PAGE, PROT_READ | PROT_WRITE))
        wrong++;
    check(a);
}

static void forget(struct area *a)
{
    if (madvise(a->p, a->pages * PAGE, MADV_DONTNEED))
        wrong++;
    a->mark = 0;
    check(a);
}

// A private copy of the file sees the file until it is written to.
static void file_copy(unsigned *seed)
{
    size_t page = next(seed) % 16;
    unsigned char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, (off_t)(page * PAGE));
    if (p == MAP_FAILED) {
        wrong++;
        return;
    }
    if (p[7] != page + 1 || p[PAGE] != page + 2)
        wrong++;
    p[7] = 200;
    if (p[7] != 200 || p[8] != page + 1)
        wrong++;
    munmap(p, 2 * PAGE);
}

static void *work(void *arg)
{
    struct area a[AREAS] = {0};
    unsigned seed = (unsigned)(long)arg * 7919 + 1;

    for (int i = 0; i < STEPS; i++) {
        struct area *x = &a[next(&seed) % AREAS];
        if (!x->p) {
            make(x, &seed);
            continue;
        }
        switch (next(&seed) % 7) {
        case 0: drop(x); break;
        case 1: move(x, &seed); break;
        case 2: punch(x); break;
        case 3: protect(x, &seed); break;
        case 4: forget(x); break;
        case 5: file_copy(&seed); break;
        default: check(x); fill(x, (unsigned char)(1 + next(&seed) % 100)); break;
        }
    }
    for (int i = 0; i < AREAS; i++)
        if (a[i].p)
            drop(&a[i]);
    return NULL;
}

int main(void)
{
    pthread_t t[THREADS];
    static unsigned char page[PAGE];

    fd = open("pages", O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (int i = 0; i < 20; i++) {
        memset(page, i + 1, PAGE);
        if (write(fd, page, PAGE) != PAGE)
            wrong++;
    }
    for (long i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, work, (void *)i);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    V(atomic_load(&wrong));
    return wrong != 0;
}
