// SPDX-License-Identifier: Apache-2.0
// The vDSO: what the program runs instead of a system call to read the clock. vdso(7). Built as a shared object of one page,
// with the C library's names and version; it may use nothing but the clock's page and the system call instruction.
#include "time.h"

#define PUBLIC __attribute__((visibility("default")))
#define ALIAS(name) PUBLIC __attribute__((weak, alias(#name)))

extern const struct clock_page clock_page __attribute__((visibility("hidden")));

enum { REALTIME = 0, MONOTONIC = 1, MONOTONIC_RAW = 4, REALTIME_COARSE = 5, MONOTONIC_COARSE = 6, BOOTTIME = 7, TAI = 11 };
#define REAL_CLOCKS (1u << REALTIME | 1u << REALTIME_COARSE | 1u << TAI)
#define MONO_CLOCKS (1u << MONOTONIC | 1u << MONOTONIC_RAW | 1u << MONOTONIC_COARSE | 1u << BOOTTIME)
#define NR_CLOCK_GETTIME 228
#define NR_CLOCK_GETRES 229

static inline long syscall2(long nr, long a, void *b)
{
    long ret;
    __asm__ volatile("syscall" : "=a"(ret) : "0"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory");
    return ret;
}

static inline u64 tsc(void)
{
    u32 a, d;
    __asm__ volatile("rdtsc" : "=a"(a), "=d"(d) : : "memory");
    return (u64)d << 32 | a;
}

// The kernel's formula (arch/x86_64/time.c), under the page's sequence count.
static inline u64 now(bool real)
{
    const struct clock_page *c = &clock_page;
    u32 seq;
    u64 ns;
    do {
        seq = __atomic_load_n(&c->seq, __ATOMIC_ACQUIRE);
        ns = c->base_ns + (u64)(((unsigned __int128)(tsc() - c->base_tsc) * c->mult) >> 32);
        if (real)
            ns += c->real_offset;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while ((seq & 1) || seq != c->seq);
    return ns;
}

int __vdso_clock_gettime(int clock, struct timespec_k *t);
int __vdso_gettimeofday(i64 *tv, u32 *tz);
i64 __vdso_time(i64 *t);
int __vdso_getcpu(u32 *cpu, u32 *node, void *unused);
int __vdso_clock_getres(int clock, struct timespec_k *t);

PUBLIC int __vdso_clock_gettime(int clock, struct timespec_k *t)
{
    u32 bit = (u32)clock < 32 ? 1u << clock : 0;
    if (!(bit & (REAL_CLOCKS | MONO_CLOCKS)))
        return (int)syscall2(NR_CLOCK_GETTIME, clock, t);
    u64 ns = now(bit & REAL_CLOCKS);
    t->sec = (i64)(ns / NSEC_PER_SEC);
    t->nsec = (i64)(ns % NSEC_PER_SEC);
    return 0;
}

PUBLIC int __vdso_gettimeofday(i64 *tv, u32 *tz)
{
    if (tv) {
        u64 ns = now(true);
        tv[0] = (i64)(ns / NSEC_PER_SEC);
        tv[1] = (i64)(ns % NSEC_PER_SEC / 1000);
    }
    if (tz)
        tz[0] = tz[1] = 0;
    return 0;
}

PUBLIC i64 __vdso_time(i64 *t)
{
    i64 s = (i64)(now(true) / NSEC_PER_SEC);
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
