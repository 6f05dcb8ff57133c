// SPDX-License-Identifier: Apache-2.0
// The vDSO: what the program runs instead of a system call to read the clock. vdso(7). Built as a shared object of one page,
// with the C library's names and version; it may use nothing but the clock's page and the system call instruction.
#include "time.h"

#define PUBLIC __attribute__((visibility("default")))
#define ALIAS(name) PUBLIC __attribute__((weak, alias(#name)))

// Volatile, not const: the kernel changes it under our feet, and a load that the compiler moves before that of seq breaks the time.
extern volatile struct clock_page clock_page __attribute__((visibility("hidden")));

enum { REALTIME = 0 };
#define NR_CLOCK_GETTIME 228
#define NR_CLOCK_GETRES 229

static inline long syscall2(long nr, long a, void *b)
{
    long ret;
    __asm__ volatile("syscall" : "=a"(ret) : "0"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory");
    return ret;
}

static inline u64 scaled_tsc(void)
{
    u32 a, d;
    __asm__ volatile("rdtsc" : "=a"(a), "=d"(d) : : "memory");
    return (u64)d << (32 + VDSO_TSC_SHIFT) | (u64)a << VDSO_TSC_SHIFT;
}

// The formula of include/time.h, under the page's sequence count.
static inline u64 now(u64 clock)
{
    u32 seq;
    u64 ns;
    do {
        seq = clock_page.seq;
        u64 delta = scaled_tsc() - clock_page.base_tsc;
        ns = clock_page.base[clock] + (u64)(((unsigned __int128)delta * clock_page.mult) >> 64);
    } while (__builtin_expect((seq & ~1u) != clock_page.seq, 0));       // odd before, or changed since
    return ns;
}

int __vdso_clock_gettime(int clock, struct timespec_k *t);
int __vdso_gettimeofday(i64 *tv, u32 *tz);
i64 __vdso_time(i64 *t);
int __vdso_getcpu(u32 *cpu, u32 *node, void *unused);
int __vdso_clock_getres(int clock, struct timespec_k *t);

PUBLIC int __vdso_clock_gettime(int clock, struct timespec_k *t)
{
    u64 id = (u32)clock < VDSO_CLOCKS ? (u32)clock : VDSO_CLOCKS;
    if (__builtin_expect(clock_page.base[id] == VDSO_NO_CLOCK, 0))
        return (int)syscall2(NR_CLOCK_GETTIME, clock, t);
    u64 ns = now(id), sec = ns / NSEC_PER_SEC;
    t->sec = (i64)sec;
    t->nsec = (i64)(ns - sec * NSEC_PER_SEC);
    return 0;
}

PUBLIC int __vdso_gettimeofday(i64 *tv, u32 *tz)
{
    if (tv) {
        u64 ns = now(REALTIME);
        tv[0] = (i64)(ns / NSEC_PER_SEC);
        tv[1] = (i64)(ns % NSEC_PER_SEC / 1000);
    }
    if (tz)
        tz[0] = tz[1] = 0;
    return 0;
}

PUBLIC i64 __vdso_time(i64 *t)
{
    i64 s = (i64)(now(REALTIME) / NSEC_PER_SEC);
    if (t)
        *t = s;
    return s;
}

// One CPU.
PUBLIC int __vdso_getcpu(u32 *cpu, u32 *node, void *unused)
{
    (void)unused;
    if (cpu)
        *cpu = 0;
    if (node)
        *node = 0;
    return 0;
}

PUBLIC int __vdso_clock_getres(int clock, struct timespec_k *t)
{
    return (int)syscall2(NR_CLOCK_GETRES, clock, t);
}

int clock_gettime(int clock, struct timespec_k *t) ALIAS(__vdso_clock_gettime);
int gettimeofday(i64 *tv, u32 *tz) ALIAS(__vdso_gettimeofday);
i64 time(i64 *t) ALIAS(__vdso_time);
int getcpu(u32 *cpu, u32 *node, void *unused) ALIAS(__vdso_getcpu);
int clock_getres(int clock, struct timespec_k *t) ALIAS(__vdso_clock_getres);
