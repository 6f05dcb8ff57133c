// SPDX-License-Identifier: Apache-2.0
// Clocks and timers. The clock source (TSC or kvmclock) and the event timer (LAPIC) are in arch/x86_64/time.c, the queue in sched/timer.c. Tickless.
#ifndef UNI_TIME_H
#define UNI_TIME_H

#include "rbtree.h"
#include "types.h"

#define NSEC_PER_SEC 1000000000ull

struct timespec_k {
    i64 sec, nsec;
};

u64 clock_mono_ns(void);            // since boot, never backwards
u64 clock_real_ns(void);            // since 1970-01-01 UTC
void clock_set_real_ns(u64 ns);     // clock_settime
u64 clock_real_offset(void);        // real - mono

// Runs fn in the timer softirq, once, at or soon after `deadline` (monotonic ns). fn may arm it again. No sleeping in fn.
struct timer {
    struct rbnode node;
    u64 deadline;
    bool armed;
    void (*fn)(struct timer *);
};
void timers_init(void);             // boot: before the first timer_arm
void timer_init(struct timer *t, void (*fn)(struct timer *));
void timer_arm(struct timer *t, u64 deadline_ns);   // also moves an armed one
bool timer_cancel(struct timer *t);                 // true when it was armed

void arch_timer_program(u64 deadline_ns);           // sched/timer.c -> arch: interrupt at that time (NO_DEADLINE: none)
void timer_interrupt(void);                         // arch -> sched/timer.c

// What the vDSO computes the clocks from, in a page of its own that the program may map read-only (vvar). Read like a seqlock: seq
// odd means that a change is under way. ns = base[clock] + high half of ((tsc << VDSO_TSC_SHIFT) - base_tsc) * mult, which is the
// kernel's own formula without a shift of a double word; it holds for a TSC of more than 63 MHz.
#define VDSO_TSC_SHIFT 4
#define VDSO_CLOCKS 12u             // clock ids below; base[VDSO_CLOCKS] stands for all others
#define VDSO_NO_CLOCK (~0ull)       // the kernel has to be asked
struct clock_page {
    u32 seq, unused;
    u64 base_tsc, mult, base[VDSO_CLOCKS + 1];
};
u64 clock_page_pa(void);
u64 clock_tsc_to_ns(u64 tsc);
void clock_set_rate(u64 mult);      // dev/rtc.c: correction of the rate, without a jump
u64 clock_rate(void);
void clock_adjust_real(u64 offset); // dev/rtc.c: wall clock minus monotonic clock
void clock_host_says(u64 real_ns);  // the wall clock, after the host held the machine up (linux/time.c)
bool clock_was_set(void);           // the program has set the wall clock: it is its own from then on

static inline u64 timespec_ns(const struct timespec_k *t) { return (u64)t->sec * NSEC_PER_SEC + (u64)t->nsec; }
// 0; -EFAULT; -EINVAL for negative or nsec >= 10^9. Very long times saturate.
int timespec_from_user(uptr p, u64 *ns);
int timespec_to_user(uptr p, u64 ns);
u64 deadline_after(u64 ns);         // monotonic now + ns, saturating below WALL_DEADLINE

#endif
