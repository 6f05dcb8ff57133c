// SPDX-License-Identifier: Apache-2.0
// mremap, mprotect, madvise, mincore, mlock, brk and large reservations.
// oracle: libc=musl
#include "oracle.h"
#include <setjmp.h>

// The C library rounds; the kernel is to be asked.
#define mprotect(at, size, protection) syscall(SYS_mprotect, at, size, protection)
#define madvise(at, size, advice) syscall(SYS_madvise, at, size, advice)
#define mlock(at, size) syscall(SYS_mlock, at, size)

static sigjmp_buf back;

static void on_fault(int number)
{
    siglongjmp(back, number);
}

static int touch(volatile char *where, int writing)
{
    int number = sigsetjmp(back, 1);

    if (number)
        return number;
    if (writing)
        *where = 1;
    else
        (void)*where;
    return 0;
}

static char *pages(int count, int protection)
{
    return mmap(NULL, count * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void remapping(void)
{
    char *p = pages(8, PROT_READ | PROT_WRITE), *q;

    munmap(p + 4 * PAGE, 4 * PAGE);
    memset(p, 'm', 4 * PAGE);
    V(M(mremap(p, 4 * PAGE, 2 * PAGE, 0)) == p);
    V(touch(p + 2 * PAGE, 0));
    V(M(mremap(p, 2 * PAGE, 4 * PAGE, 0)) == p);
    V(p[2 * PAGE]);
    mmap(p + 4 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    M(mremap(p, 4 * PAGE, 6 * PAGE, 0));
    q = M(mremap(p, 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE));
    V(q != p);
    V(q[PAGE] + q[5 * PAGE]);
    V(touch(p, 0));
    char *target = pages(8, PROT_NONE);
    V(M(mremap(q, 6 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target)) == target);
    V(target[PAGE]);
    V(touch(q, 0));
    M(mremap(target, 8 * PAGE, 0, 0));
    M(mremap(target + 1, PAGE, PAGE, 0));
    M(mremap(target, PAGE, 2 * PAGE, MREMAP_FIXED, target));
    M(mremap(target, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target + PAGE));
    M(mremap(q, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
    M(mremap(target, 8 * PAGE, 8 * PAGE, 0x80));
    M(mremap(target, 16 * PAGE, 32 * PAGE, MREMAP_MAYMOVE));
    int fd = open("f", O_CREAT | O_TRUNC | O_RDWR, 0600);
    ftruncate(fd, 4 * PAGE);
    pwrite(fd, "Q", 1, 3 * PAGE);
    p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
    p = M(mremap(p, PAGE, 3 * PAGE, MREMAP_MAYMOVE));
    V(p[2 * PAGE]);
}

static void protecting(void)
{
    char *p = pages(4, PROT_READ | PROT_WRITE);

    memset(p, 'x', 4 * PAGE);
    T(mprotect(p + PAGE, PAGE, PROT_READ));
    V(touch(p + PAGE, 1));
    V(touch(p + PAGE, 0));
    T(mprotect(p + 2 * PAGE, PAGE, PROT_NONE));
    V(touch(p + 2 * PAGE, 0));
    T(mprotect(p, 4 * PAGE, PROT_READ | PROT_WRITE));
    V(touch(p + 2 * PAGE, 1));
    V(p[PAGE]);
    T(mprotect(p + 1, PAGE, PROT_READ));
    T(mprotect(p, 0, PROT_READ));
    T(mprotect(p, PAGE, 0x100));
    munmap(p + 3 * PAGE, PAGE);
    T(mprotect(p + 2 * PAGE, 2 * PAGE, PROT_READ));
    V(touch(p + 2 * PAGE, 1));
    T(mprotect(KERNEL_ADDRESS, PAGE, PROT_READ));
    T(mprotect(p, -1UL, PROT_READ));
    unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
    memcpy(p, code, sizeof code);
    T(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
    V(((int (*)(void))p)());
    T(mprotect(p, PAGE, PROT_READ));
    if (sigsetjmp(back, 1) == 0)
        V(((int (*)(void))p)());
    else
        SAY("not executable");
}

static void advising(void)
{
    unsigned char there[4];
    char *p = pages(4, PROT_READ | PROT_WRITE);

    memset(p, 'x', 4 * PAGE);
    T(madvise(p + PAGE, PAGE, MADV_DONTNEED));
    V(p[0] + p[PAGE] + p[2 * PAGE]);
    T(madvise(p, 4 * PAGE, MADV_WILLNEED));
    T(madvise(p, 4 * PAGE, MADV_SEQUENTIAL));
    T(madvise(p, 4 * PAGE, MADV_RANDOM));
    T(madvise(p, 4 * PAGE, MADV_NORMAL));
    T(madvise(p, 4 * PAGE, MADV_DONTFORK));
    T(madvise(p, 4 * PAGE, MADV_DONTDUMP));
    OK(madvise(p, 4 * PAGE, MADV_FREE));
    T(madvise(p, 4 * PAGE, 12345));
    T(madvise(p + 1, PAGE, MADV_DONTNEED));
    T(madvise(p, 0, MADV_DONTNEED));
    munmap(p + 3 * PAGE, PAGE);
    T(madvise(p, 4 * PAGE, MADV_DONTNEED));
    V(p[0]);
    p[0] = 1;
    T(mincore(p, 2 * PAGE, there));
    V(there[0] & 1);
    V(there[1] & 1);
    T(mincore(p + 1, PAGE, there));
    T(mincore(p, 4 * PAGE, there));
    T(mincore(p, PAGE, WILD));
    T(mlock(p, 2 * PAGE));
    T(munlock(p, 2 * PAGE));
    T(mlock(p, 8 * PAGE));
    T(mlockall(MCL_CURRENT));
    T(mlockall(0x100));
    T(munlockall());
    T(syscall(SYS_mlock2, p, PAGE, 1));
    T(syscall(SYS_mlock2, p, PAGE, 8));
    T(posix_madvise(p, PAGE, POSIX_MADV_DONTNEED));
}

static void breaking(void)
{
    char *start = (char *)syscall(SYS_brk, 0);

    V((long)syscall(SYS_brk, start + 3 * PAGE) - (long)start);
    V(start[0] + start[3 * PAGE - 1]);
    start[2 * PAGE] = 'b';
    V((long)syscall(SYS_brk, start + PAGE) - (long)start);
    V((long)syscall(SYS_brk, start + 3 * PAGE) - (long)start);
    V(start[2 * PAGE]);
    V((long)syscall(SYS_brk, 1) - (long)start);
    V((long)syscall(SYS_brk, -1L) - (long)start);
    V((long)syscall(SYS_brk, start + 10) - (long)start);
}

static void reservations(void)
{
    char *big = M(mmap(NULL, 64UL << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));

    V(touch(big + (5UL << 30), 0));
    T(mprotect(big + (5UL << 30), 16 * PAGE, PROT_READ | PROT_WRITE));
    V(touch(big + (5UL << 30), 1));
    V(touch(big + (5UL << 30) + 16 * PAGE, 1));
    M(mmap(big + (9UL << 30), PAGE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    V(touch(big + (9UL << 30), 1));
    T(madvise(big, 64UL << 30, MADV_DONTNEED));
    V(big[9UL << 30]);
    T(munmap(big, 64UL << 30));
    char *sparse = M(mmap(NULL, 1UL << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    long sum = 0;
    for (unsigned long at = 0; at < 1UL << 30; at += 8UL << 20)
        sparse[at] = 1, sum += sparse[at];
    V(sum);
    T(munmap(sparse, 1UL << 30));
    char *all = pages(1000, PROT_READ | PROT_WRITE);
    for (int i = 0; i < 1000; i += 2)
        munmap(all + i * PAGE, PAGE);
    for (int i = 1; i < 1000; i += 2)
        all[i * PAGE] = 1;
    T(munmap(all, 1000 * PAGE));
}

// C libraries pass the new address on for MREMAP_FIXED only.
static char *raw_mremap(void *old, size_t from, size_t to, int flags, void *where)
{
    return (char *)syscall(SYS_mremap, old, from, to, flags, where);
}

// MREMAP_DONTUNMAP: the pages go, the area stays; the new address is a hint, or with MREMAP_FIXED an order.
static void leaving(void)
{
    char *old = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *room = mmap(NULL, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *new;

    munmap(room, 8 * PAGE);
    old[0] = 'x';
    new = raw_mremap(old, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, room);
    V(new == room);
    V(new[0]);
    V(old[0]);
    T(raw_mremap(old, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, old) == MAP_FAILED ? errno : 0);
    T(raw_mremap(old, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, room + 1) == MAP_FAILED ? errno : 0);
    V(raw_mremap(new, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED, room + 4 * PAGE) == room + 4 * PAGE);
    V(room[4 * PAGE]);
    V(room[0]);
}

int main(void)
{
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    remapping();
    protecting();
    advising();
    breaking();
    reservations();
    leaving();
    return 0;
}
