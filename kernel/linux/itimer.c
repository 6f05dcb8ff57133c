// SPDX-License-Identifier: Apache-2.0
// Timers of the program: setitimer(2), alarm(2), timer_create(2). Wall and monotonic ones stand in the kernel's timer queue;
// CPU-time ones are compared with the thread's or process's clock whenever a slice ends.
#include "itimer.h"
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "posix_clock.h"
#include "signal_priv.h"
#include "syscalls.h"
#include "time.h"
#include "uaccess.h"

#define TIMERS_MAX 1024
#define OVERRUN_MAX 0x7fffffff
#define SIGEV_SIGNAL_K 0
#define SIGEV_NONE_K 1
#define SIGEV_THREAD_ID_K 4
#define IDLE_PERIOD_NS 10000000ull  // the shortest period of a timer whose signal is ignored
#define CPU_CHECK_NS 4000000ull     // how often a CPU-time timer is looked at while its thread runs

// One timer. Ids 0..2 of setitimer are not in the table of timer_create.
struct itimer {
    struct timer timer;
    struct clock_ref clock;
    bool used;
    bool wall;                      // of CLOCK_REALTIME: relative times are not moved when that clock is set
    int id;
    int notify, sig, tid;           // SIGEV_*; the thread for SIGEV_THREAD_ID
    u64 value;                      // sigev_value
    u64 expires;                    // on `clock`; 0: disarmed
    u64 interval;
    i32 overrun_last;               // what timer_getoverrun reports
    bool queued;                    // its signal is pending
    bool setitimer;
};

static struct itimer *table[TIMERS_MAX];            // timers_lock
static struct itimer interval_timers[3];            // ITIMER_REAL, VIRTUAL, PROF
static spinlock_t timers_lock = SPINLOCK_INIT;      // interrupts off: timers fire in softirqs
static u32 nr_cpu_timers;

static bool on_cpu(const struct itimer *t) { return t->clock.kind >= CLOCK_KIND_CPU; }

static u64 to_mono(const struct itimer *t)
{
    if (t->clock.kind == CLOCK_KIND_REAL) {
        u64 off = clock_real_offset();
        return t->expires > off ? t->expires - off : 0;
    }
    return t->expires;
}

static void send(struct itimer *t)
{
    struct siginfo_k info;
    memset(&info, 0, sizeof(info));
    info.signo = t->sig;
    if (t->setitimer) {
        info.code = SI_KERNEL_K;
        signal_process(the_process, t->sig, &info);
        return;
    }
    if (t->notify == SIGEV_NONE_K)
        return;
    struct thread *th = t->notify == SIGEV_THREAD_ID_K ? process_find_thread(t->tid) : NULL;
    if ((t->notify == SIGEV_THREAD_ID_K && !th) || signal_ignored(the_process, th, t->sig))
        return;
    info.code = SI_TIMER_K;
    info.timer.timerid = t->id;
    info.timer.value = t->value;
    t->queued = true;
    if (th)
        signal_thread(th, t->sig, &info);
    else
        signal_process(the_process, t->sig, &info);
}

// The end of the first period after `now`; how many went by before.
static u64 forward(struct itimer *t, u64 now)
{
    u64 missed = now > t->expires ? (now - t->expires) / t->interval : 0;
    t->expires += (missed + 1) * t->interval;
    return missed;
}

// A period is over. While its signal waits the timer stands still, however short its period: the delivery counts what went by
// and starts it again, as on Linux. timers_lock held.
static void advance(struct itimer *t, u64 now)
{
    if (!t->interval)
        t->expires = 0;
    else if (!t->queued)
        forward(t, now + (t->interval < IDLE_PERIOD_NS && !t->setitimer ? IDLE_PERIOD_NS : 0));    // nobody takes the signal
}

static void fired(struct timer *tm)
{
    struct itimer *t = container_of(tm, struct itimer, timer);
    u64 flags = spin_lock_irqsave(&timers_lock);
    u64 now = clock_now(&t->clock);
    if (t->used && t->expires && now < t->expires) {
        timer_arm(&t->timer, to_mono(t));       // the wall clock was set back
    } else if (t->used && t->expires) {
        send(t);
        advance(t, now);
        if (t->expires && !t->queued)
            timer_arm(&t->timer, to_mono(t));
    }
    spin_unlock_irqrestore(&timers_lock, flags);
}

void itimers_clock_set(void)
{
    u64 flags = spin_lock_irqsave(&timers_lock);
    for (int i = 0; i < TIMERS_MAX; i++) {
        struct itimer *t = table[i];
        if (t && t->used && t->expires && !t->queued && t->clock.kind == CLOCK_KIND_REAL && t->notify != SIGEV_NONE_K)
            timer_arm(&t->timer, to_mono(t));
    }
    spin_unlock_irqrestore(&timers_lock, flags);
}

// --- CPU-time timers ----------------------------------------------------------------------------------------------------
static void mark_threads(void)
{
    struct process *p = the_process;
    u64 flags = spin_lock_irqsave(&p->sig_lock);
    for (struct list *l = p->threads.next; l != &p->threads; l = l->next)
        list_entry(l, struct thread, proc_node)->cpu_timers = nr_cpu_timers != 0;
    spin_unlock_irqrestore(&p->sig_lock, flags);
    sched_arm_tick(CPU_CHECK_NS);
}

void cpu_timers_new_thread(struct thread *t)
{
    t->cpu_timers = nr_cpu_timers != 0;
}

static void check_one(struct itimer *t)
{
    if (!t->used || !t->expires || t->queued || !on_cpu(t))
        return;
    u64 now = clock_now(&t->clock);
    if (now < t->expires)
        return;
    send(t);
    advance(t, now);
    if (!t->expires)
        nr_cpu_timers--;
}

void cpu_timers_check(struct thread *t)
{
    u64 flags = spin_lock_irqsave(&timers_lock);
    for (int i = 0; i < 3; i++)
        check_one(&interval_timers[i]);
    for (int i = 0; i < TIMERS_MAX; i++)
        if (table[i])
            check_one(table[i]);
    t->cpu_timers = nr_cpu_timers != 0;
    spin_unlock_irqrestore(&timers_lock, flags);
}

// --- common ---------------------------------------------------------------------------------------------------------------
static void disarm(struct itimer *t)
{
    if (on_cpu(t) && t->expires)
        nr_cpu_timers--;
    t->expires = 0;
    t->queued = false;
    timer_cancel(&t->timer);
}

static void arm(struct itimer *t, u64 expires, u64 interval)
{
    t->interval = interval;
    t->expires = expires ? expires : 1;
    if (on_cpu(t))
        nr_cpu_timers++;
    else if (t->setitimer || t->notify != SIGEV_NONE_K)
        timer_arm(&t->timer, to_mono(t));
}

static void remaining(const struct itimer *t, u64 *left, u64 *interval)
{
    u64 now = t->expires ? clock_now(&t->clock) : 0;
    bool silent = !t->setitimer && t->notify == SIGEV_NONE_K;
    if (!t->expires)
        *left = 0;
    else if (t->interval && !t->setitimer)      // it may stand still
        *left = t->expires > now ? t->expires - now : t->interval - (now - t->expires) % t->interval;
    else
        *left = t->expires > now ? t->expires - now : !silent;
    *interval = t->interval;
}

// --- setitimer, alarm -------------------------------------------------------------------------------------------------
static struct itimer *interval_timer(int which)
{
    static const u8 sigs[3] = { SIG_ALRM, SIG_VTALRM, SIG_PROF };
    struct itimer *t = &interval_timers[which];
    if (!t->used) {
        timer_init(&t->timer, fired);
        t->clock.kind = which == 2 ? CLOCK_KIND_CPU : which ? CLOCK_KIND_USER : CLOCK_KIND_MONO;
        t->sig = sigs[which];
        t->setitimer = t->used = true;
    }
    return t;
}

static void set_interval(int which, u64 value, u64 interval, u64 *old, u64 *old_interval)
{
    struct itimer *t = interval_timer(which);
    u64 now = clock_now(&t->clock);
    u64 flags = spin_lock_irqsave(&timers_lock);
    remaining(t, old, old_interval);
    disarm(t);
    t->interval = which ? interval : 0;     // as Linux shows them while they stand
    if (value)
        arm(t, now + value < now ? NO_DEADLINE - 1 : now + value, interval);
    spin_unlock_irqrestore(&timers_lock, flags);
    if (which)
        mark_threads();
}

long sys_alarm(struct regs *r)
{
    u64 old, interval;
    set_interval(0, (u64)(u32)r->arg[0] * NSEC_PER_SEC, 0, &old, &interval);
    return (long)((old + NSEC_PER_SEC / 2) / NSEC_PER_SEC + (old && old < NSEC_PER_SEC / 2));
}

static int put_itimerval(uptr p, u64 value, u64 interval)
{
    value += 999;                   // a running timer never shows zero
    i64 v[4] = { (i64)(interval / NSEC_PER_SEC), (i64)(interval % NSEC_PER_SEC / 1000),
                 (i64)(value / NSEC_PER_SEC), (i64)(value % NSEC_PER_SEC / 1000) };
    return copy_to_user(p, v, sizeof(v));
}

long sys_getitimer(struct regs *r)
{
    u64 left, interval;
    u32 which = (u32)r->arg[0];
    if (which > 2)
        return -EINVAL;
    struct itimer *t = interval_timer((int)which);
    u64 flags = spin_lock_irqsave(&timers_lock);
    remaining(t, &left, &interval);
    spin_unlock_irqrestore(&timers_lock, flags);
    return put_itimerval(r->arg[1], left, interval);
}

static u64 timeval_ns(i64 s, i64 us)
{
    return s >= INT64_MAX / (i64)NSEC_PER_SEC ? INT64_MAX : (u64)s * NSEC_PER_SEC + (u64)us * 1000;
}

long sys_setitimer(struct regs *r)
{
    i64 v[4] = { 0 };
    u64 old, old_interval;
    u32 which = (u32)r->arg[0];
    if (r->arg[1] && copy_from_user(v, r->arg[1], sizeof(v)))
        return -EFAULT;
    if (which > 2 || v[0] < 0 || v[2] < 0 || v[1] < 0 || v[3] < 0 || v[1] >= 1000000 || v[3] >= 1000000)
        return -EINVAL;
    set_interval((int)which, timeval_ns(v[2], v[3]), timeval_ns(v[0], v[1]), &old, &old_interval);
    return r->arg[2] ? put_itimerval(r->arg[2], old, old_interval) : 0;
}

// --- timer_create -----------------------------------------------------------------------------------------------------
struct sigevent_k {
    u64 value;
    i32 signo, notify, tid;
    i32 pad[11];
};

static struct itimer *lookup(int id)
{
    return id >= 0 && id < TIMERS_MAX ? table[id] : NULL;
}

static int check_event(const struct sigevent_k *ev)
{
    if (ev->notify != SIGEV_NONE_K && ev->notify != SIGEV_SIGNAL_K && ev->notify != 2 && ev->notify != SIGEV_THREAD_ID_K)
        return -EINVAL;
    if (ev->notify != SIGEV_NONE_K && (ev->signo < 1 || ev->signo > SIG_MAX))
        return -EINVAL;
    if (ev->notify == SIGEV_THREAD_ID_K) {
        spin_lock(&the_process->thread_lock);
        bool known = process_find_thread(ev->tid) != NULL;
        spin_unlock(&the_process->thread_lock);
        return known ? 0 : -EINVAL;
    }
    return 0;
}

static int install(struct itimer *t)
{
    u64 flags = spin_lock_irqsave(&timers_lock);
    int id = 0;
    while (id < TIMERS_MAX && table[id])
        id++;
    if (id < TIMERS_MAX) {
        t->id = id;
        table[id] = t;
    }
    spin_unlock_irqrestore(&timers_lock, flags);
    return id < TIMERS_MAX ? id : -EAGAIN;
}

long sys_timer_create(struct regs *r)
{
    struct sigevent_k ev = { .signo = SIG_ALRM, .notify = SIGEV_SIGNAL_K };
    struct clock_ref c;
    int id = (int)r->arg[0];
    if (r->arg[1] && copy_from_user(&ev, r->arg[1], sizeof(ev)))
        return -EFAULT;
    int err = clock_resolve(id, &c);
    if (err)
        return err;
    if (id == CLOCK_MONOTONIC_RAW_K || id == CLOCK_REALTIME_COARSE_K || id == CLOCK_MONOTONIC_COARSE_K)
        return -EOPNOTSUPP;
    err = check_event(&ev);
    struct itimer *t = err ? NULL : kzalloc(sizeof(*t));
    if (!t)
        return err ? err : -EAGAIN;
    timer_init(&t->timer, fired);
    t->clock = c;
    t->wall = c.kind == CLOCK_KIND_REAL;
    t->used = true;
    t->notify = ev.notify;
    t->sig = ev.signo;
    t->tid = ev.tid;
    id = install(t);
    if (id < 0) {
        kfree(t);
        return id;
    }
    t->value = r->arg[1] ? ev.value : (u64)id;
    if (user_write_u32(r->arg[2], (u32)id)) {
        u64 flags = spin_lock_irqsave(&timers_lock);
        table[id] = NULL;
        spin_unlock_irqrestore(&timers_lock, flags);
        kfree(t);
        return -EFAULT;
    }
    return 0;
}

static int put_itimerspec(uptr p, u64 value, u64 interval)
{
    u64 v[4] = { interval / NSEC_PER_SEC, interval % NSEC_PER_SEC, value / NSEC_PER_SEC, value % NSEC_PER_SEC };
    return copy_to_user(p, v, sizeof(v));
}

long sys_timer_settime(struct regs *r)
{
    u64 interval, value, old = 0, old_interval = 0;
    if (!r->arg[2])
        return -EINVAL;
    int err = timespec_from_user(r->arg[2], &interval);
    if (!err)
        err = timespec_from_user(r->arg[2] + 16, &value);
    if (err)
        return err;
    u64 flags = spin_lock_irqsave(&timers_lock);
    struct itimer *t = lookup((int)r->arg[0]);
    if (t) {
        remaining(t, &old, &old_interval);
        disarm(t);
        t->interval = interval;
        t->overrun_last = 0;
        bool absolute = (u32)r->arg[1] & 1;
        if (t->wall)
            t->clock.kind = absolute ? CLOCK_KIND_REAL : CLOCK_KIND_MONO;
        if (value)
            arm(t, absolute ? value : clock_now(&t->clock) + value, interval);
    }
    bool cpu = t && on_cpu(t);
    spin_unlock_irqrestore(&timers_lock, flags);
    if (!t)
        return -EINVAL;
    if (cpu)
        mark_threads();
    return r->arg[3] ? put_itimerspec(r->arg[3], old, old_interval) : 0;
}

long sys_timer_gettime(struct regs *r)
{
    u64 left = 0, interval = 0;
    u64 flags = spin_lock_irqsave(&timers_lock);
    struct itimer *t = lookup((int)r->arg[0]);
    if (t)
        remaining(t, &left, &interval);
    spin_unlock_irqrestore(&timers_lock, flags);
    return t ? put_itimerspec(r->arg[1], left, interval) : -EINVAL;
}

long sys_timer_getoverrun(struct regs *r)
{
    u64 flags = spin_lock_irqsave(&timers_lock);
    struct itimer *t = lookup((int)r->arg[0]);
    long n = t ? t->overrun_last : -EINVAL;
    spin_unlock_irqrestore(&timers_lock, flags);
    return n;
}

static bool delete(int id)
{
    u64 flags = spin_lock_irqsave(&timers_lock);
    struct itimer *t = lookup(id);
    if (t) {
        disarm(t);
        t->used = false;
        table[id] = NULL;
    }
    spin_unlock_irqrestore(&timers_lock, flags);
    kfree(t);
    return t != NULL;
}

long sys_timer_delete(struct regs *r)
{
    return delete((int)r->arg[0]) ? 0 : -EINVAL;
}

void itimers_exec(struct process *p)
{
    (void)p;
    for (int i = 0; i < TIMERS_MAX; i++)
        if (table[i])
            delete(i);
}

void posix_timer_delivered(struct siginfo_k *info)
{
    u64 flags = spin_lock_irqsave(&timers_lock);
    struct itimer *t = lookup(info->timer.timerid);
    if (t && t->queued) {
        t->queued = false;
        t->overrun_last = 0;
        if (t->expires) {
            u64 missed = forward(t, clock_now(&t->clock));
            t->overrun_last = (i32)MIN(missed, (u64)OVERRUN_MAX);
            if (!on_cpu(t))
                timer_arm(&t->timer, to_mono(t));
        }
        info->timer.overrun = t->overrun_last;
    }
    spin_unlock_irqrestore(&timers_lock, flags);
}
