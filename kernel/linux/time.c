// SPDX-License-Identifier: Apache-2.0
// Clocks and sleeping: clock_gettime(2), clock_nanosleep(2), adjtimex(2).
#include "errno.h"
#include "lib.h"
#include "process.h"
#include "posix_clock.h"
#include "signal_priv.h"
#include "syscalls.h"
#include "time.h"
#include "uaccess.h"

#define TIMER_ABSTIME_K 1
#define CAP_SYS_TIME_K 25
#define USEC_PER_SEC 1000000

u64 deadline_after(u64 ns)
{
    u64 now = clock_mono_ns();
    return ns >= WALL_DEADLINE - 1 - now ? WALL_DEADLINE - 1 : now + ns;
}

static u64 timespec_saturated(const struct timespec_k *t)
{
    if ((u64)t->sec >= (u64)INT64_MAX / NSEC_PER_SEC)
        return INT64_MAX;
    return timespec_ns(t);
}

int timespec_from_user(uptr p, u64 *ns)
{
    struct timespec_k t;
    if (copy_from_user(&t, p, sizeof(t)))
        return -EFAULT;
    if (t.sec < 0 || (u64)t.nsec >= NSEC_PER_SEC)
        return -EINVAL;
    *ns = timespec_saturated(&t);
    return 0;
}

int timespec_to_user(uptr p, u64 ns)
{
    struct timespec_k t = { (i64)(ns / NSEC_PER_SEC), (i64)(ns % NSEC_PER_SEC) };
    return copy_to_user(p, &t, sizeof(t));
}

// CPU-time clocks of a given process or thread have negative numbers: ~pid << 3 | thread << 2 | kind (posix-timers.h).
static int decode_cpu_clock(int id, int *tid)
{
    int pid = ~(id >> 3);
    if ((id & 3) > 2)
        return -EINVAL;
    spin_lock(&the_process->thread_lock);
    bool known = pid == 0 || process_find_thread(pid) != NULL || pid == the_process->pid;
    spin_unlock(&the_process->thread_lock);
    if (!known || pid < 0)
        return -EINVAL;
    *tid = id & 4 ? (pid ? pid : current()->tid) : 0;
    return 0;
}

int clock_resolve(int id, struct clock_ref *c)
{
    c->tid = 0;
    switch (id) {
    case CLOCK_REALTIME_K:
    case CLOCK_REALTIME_COARSE_K:
    case CLOCK_REALTIME_ALARM_K:
        c->kind = CLOCK_KIND_REAL;
        return 0;
    case CLOCK_TAI_K:               // no leap second table is kept: TAI = UTC, as on a Linux that was not told
        c->kind = CLOCK_KIND_REAL;
        return 0;
    case CLOCK_MONOTONIC_K:
    case CLOCK_MONOTONIC_RAW_K:
    case CLOCK_MONOTONIC_COARSE_K:
    case CLOCK_BOOTTIME_K:
    case CLOCK_BOOTTIME_ALARM_K:
        c->kind = CLOCK_KIND_MONO;
        return 0;
    case CLOCK_PROCESS_CPUTIME_K:
        c->kind = CLOCK_KIND_CPU;
        return 0;
    case CLOCK_THREAD_CPUTIME_K:
        c->kind = CLOCK_KIND_CPU;
        c->tid = current()->tid;
        return 0;
    }
    if (id >= 0)
        return -EINVAL;
    c->kind = CLOCK_KIND_CPU;
    return decode_cpu_clock(id, &c->tid);
}

u64 clock_now(const struct clock_ref *c)
{
    if (c->kind == CLOCK_KIND_REAL)
        return clock_real_ns();
    if (c->kind == CLOCK_KIND_MONO)
        return clock_mono_ns();
    if (c->kind == CLOCK_KIND_USER)
        return cputime_of(the_process, NULL).user;
    if (!c->tid)
        return process_cpu_ns(the_process);
    spin_lock(&the_process->thread_lock);
    struct thread *t = process_find_thread(c->tid);
    u64 ns = t ? thread_cpu_ns(t) : 0;
    spin_unlock(&the_process->thread_lock);
    return ns;
}

long sys_clock_gettime(struct regs *r)
{
    struct clock_ref c;
    int err = clock_resolve((int)r->arg[0], &c);
    return err ? err : timespec_to_user(r->arg[1], clock_now(&c));
}

long sys_clock_getres(struct regs *r)
{
    struct clock_ref c;
    int id = (int)r->arg[0], err = clock_resolve(id, &c);
    if (err || !r->arg[1])
        return err;
    bool coarse = id == CLOCK_REALTIME_COARSE_K || id == CLOCK_MONOTONIC_COARSE_K;
    return timespec_to_user(r->arg[1], coarse ? 4000000 : 1);
}

static void real_was_set(void)
{
    timerfds_clock_set();
    itimers_clock_set();
    wall_sleepers_clock_set();
}

void clock_host_says(u64 real_ns)
{
    if (clock_was_set())
        return;
    clock_adjust_real(real_ns - clock_mono_ns());
    real_was_set();
}

static long set_real(u64 ns)
{
    if (!capable(CAP_SYS_TIME_K))
        return -EPERM;
    clock_set_real_ns(ns);
    real_was_set();
    return 0;
}

long sys_clock_settime(struct regs *r)
{
    u64 ns;
    if ((int)r->arg[0] != CLOCK_REALTIME_K)
        return -EINVAL;
    int err = timespec_from_user(r->arg[1], &ns);
    return err ? err : set_real(ns);
}

long sys_time(struct regs *r)
{
    i64 s = (i64)(clock_real_ns() / NSEC_PER_SEC);
    if (r->arg[0] && copy_to_user(r->arg[0], &s, sizeof(s)))
        return -EFAULT;
    return s;
}

long sys_gettimeofday(struct regs *r)
{
    u64 ns = clock_real_ns();
    i64 tv[2] = { (i64)(ns / NSEC_PER_SEC), (i64)(ns % NSEC_PER_SEC / 1000) };
    u64 tz = 0;
    if (r->arg[0] && copy_to_user(r->arg[0], tv, sizeof(tv)))
        return -EFAULT;
    return r->arg[1] ? copy_to_user(r->arg[1], &tz, sizeof(tz)) : 0;
}

long sys_settimeofday(struct regs *r)
{
    i64 tv[2];
    if (r->arg[0] && copy_from_user(tv, r->arg[0], sizeof(tv)))
        return -EFAULT;
    if (!r->arg[0])
        return capable(CAP_SYS_TIME_K) ? 0 : -EPERM;
    if (tv[0] < 0 || tv[1] < 0 || tv[1] >= USEC_PER_SEC)
        return -EINVAL;
    return set_real((u64)tv[0] * NSEC_PER_SEC + (u64)tv[1] * 1000);
}

// --- sleeping -----------------------------------------------------------------------------------------------------------
static void write_remaining(uptr rem, u64 deadline)
{
    u64 now = clock_mono_ns();
    if (rem)
        (void)timespec_to_user(rem, deadline > now ? deadline - now : 0);
}

static long nanosleep_restart(struct thread *t)
{
    u64 deadline = t->restart_arg[0];
    if (!sleep_until(deadline, true))
        return 0;
    write_remaining(t->restart_arg[1], deadline);
    t->restart_fn = nanosleep_restart;
    return -ERESTART_RESTARTBLOCK;
}

static long sleep_relative(u64 ns, uptr rem)
{
    struct thread *t = current();
    t->restart_arg[0] = deadline_after(ns);
    t->restart_arg[1] = rem;
    return nanosleep_restart(t);
}

// A sleep on the CPU-time clock looks again at the end: the clock may have gone at another pace.
static long sleep_absolute(const struct clock_ref *c, u64 at)
{
    for (u64 now; (now = clock_now(c)) < at;)
        if (sleep_until(c->kind == CLOCK_KIND_REAL ? MIN(at, WALL_DEADLINE - 2) | WALL_DEADLINE : deadline_after(at - now), true))
            return -ERESTARTNOHAND;
    return 0;
}

long sys_nanosleep(struct regs *r)
{
    u64 ns;
    int err = timespec_from_user(r->arg[0], &ns);
    return err ? err : sleep_relative(ns, r->arg[1]);
}

long sys_clock_nanosleep(struct regs *r)
{
    struct clock_ref c;
    u64 ns;
    int id = (int)r->arg[0], err = clock_resolve(id, &c);
    if (err)
        return err;
    if (id == CLOCK_THREAD_CPUTIME_K || id == CLOCK_REALTIME_COARSE_K || id == CLOCK_MONOTONIC_COARSE_K || id == CLOCK_MONOTONIC_RAW_K)
        return -EOPNOTSUPP;
    err = timespec_from_user(r->arg[2], &ns);
    if (err)
        return err;
    bool absolute = (u32)r->arg[1] & TIMER_ABSTIME_K;
    if (c.kind == CLOCK_KIND_CPU)
        return sleep_absolute(&c, absolute ? ns : clock_now(&c) + ns);
    if (!absolute)
        return sleep_relative(ns, r->arg[3]);
    return sleep_absolute(&c, ns);
}

// --- adjtimex: the clock is not disciplined; reading works, steering is refused. -------------------------------------
struct timex_k {
    u32 modes, pad0;
    i64 offset, freq, maxerror, esterror;
    i32 status, pad1;
    i64 constant, precision, tolerance, sec, usec, tick, ppsfreq, jitter;
    i32 shift, pad2;
    i64 stabil, jitcnt, calcnt, errcnt, stbcnt;
    i32 tai, pad3[11];
};

static long adjust(uptr p)
{
    struct timex_k t;
    u32 modes;
    if (user_read_u32(p, &modes))
        return -EFAULT;
    if (modes)
        return capable(CAP_SYS_TIME_K) ? -EINVAL : -EPERM;
    memset(&t, 0, sizeof(t));
    u64 ns = clock_real_ns();
    t.sec = (i64)(ns / NSEC_PER_SEC);
    t.usec = (i64)(ns % NSEC_PER_SEC / 1000);
    t.maxerror = t.esterror = 16000000;
    t.status = 0x40;                // STA_UNSYNC
    t.constant = 2;
    t.precision = 1;
    t.tolerance = 32768000;
    t.tick = 10000;
    return copy_to_user(p, &t, sizeof(t)) ? -EFAULT : 5;     // TIME_ERROR: not synchronised
}

long sys_adjtimex(struct regs *r) { return adjust(r->arg[0]); }

long sys_clock_adjtime(struct regs *r)
{
    struct clock_ref c;
    int err = clock_resolve((int)r->arg[0], &c);
    if (err)
        return err;
    return (int)r->arg[0] == CLOCK_REALTIME_K ? adjust(r->arg[1]) : -EOPNOTSUPP;
}
