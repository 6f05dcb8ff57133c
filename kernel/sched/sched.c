// SPDX-License-Identifier: Apache-2.0
// The scheduler: per CPU a round-robin queue and, before it, one of real-time threads by priority (sched(7)). A thread stays on
// its CPU's queue, so that CPU alone picks from it and the queue's lock may be dropped before the stacks are switched.
#include "arch.h"
#include "lib.h"
#include "process.h"
#include "sched_priv.h"
#include "time.h"

#define SLICE_NS (4 * 1000000ull)          // of nice 0
#define WAKE_PREEMPT_NS (1 * 1000000ull)   // what a running thread keeps against one that an interrupt woke
#define IDLE_SLICE_NS 100000ull            // SCHED_IDLE
#define ENDLESS_NS (1ull << 60)            // SCHED_FIFO
#define SAMPLE_NS (10 * 1000000ull)
// Linux's sched_rt_period_us and sched_rt_runtime_us: real-time threads that never wait leave the others a twentieth.
#define RT_PERIOD_NS (1000 * 1000000ull)
#define RT_RUNTIME_NS (950 * 1000000ull)

struct cpu cpus[NR_CPUS];
static struct thread idle_threads[NR_CPUS];
static struct timer slice_timers[NR_CPUS];  // one for all slices: re-armed only when it fires, so a switch never touches the hardware
static struct timer sample_timers[NR_CPUS]; // while the program runs

static u64 slice_of(const struct thread *t)
{
    if (t->prio)
        return t->sched_policy == POLICY_FIFO ? ENDLESS_NS : RR_SLICE_NS;
    if (t->sched_policy == POLICY_IDLE)
        return IDLE_SLICE_NS;
    // Each step of niceness is worth about 10 %, as in Linux's weights; between 0.1 and 40 ms.
    u64 ns = SLICE_NS;
    for (int n = t->nice; n < 0; n++)
        ns += ns / 8;
    for (int n = t->nice; n > 0; n--)
        ns -= ns / 6;
    return ns;
}

static void slice_timer_fired(struct timer *tm)
{
    (void)tm;
    sched_tick();
}

static void sample(struct timer *tm);

void sched_init(void)
{
    struct cpu *c = this_cpu();
    struct thread *t = &idle_threads[0];
    c->self = c;
    list_init(&c->rq);
    list_init(&c->rt_rq);
    t->state = T_RUNNING;
    t->affinity = ~0ull;
    list_init(&t->run_node);
    list_init(&t->proc_node);
    list_init(&t->pending.infos);
    __builtin_memcpy(t->name, "idle", 5);
    t->kstack_top = c->kstack_top;
    t->run_since = clock_mono_ns();
    c->idle = t;
    c->current = t;
    timer_init(&slice_timers[0], slice_timer_fired);
    timer_init(&sample_timers[0], sample);
}

u64 thread_cpu_ns(const struct thread *t)
{
    return t->cpu_ns + (t->state == T_RUNNING ? clock_mono_ns() - t->run_since : 0);
}

static void arm_slice_timer(struct cpu *c, u64 deadline)
{
    struct timer *tm = &slice_timers[c->id];
    if (!tm->armed || deadline < tm->deadline)
        timer_arm(tm, deadline);
}

// The slice timer's softirq: forces the current thread off when its slice is over and others wait.
void sched_tick(void)
{
    struct cpu *c = this_cpu();
    struct thread *t = c->current;
    u64 now = clock_mono_ns();
    if (t->cpu_timers) {
        t->interrupted = true;          // the CPU-time timers are checked on the way back to the program
        arm_slice_timer(c, now + SLICE_NS);
    }
    if (!c->nr_running)
        return;
    if (now >= t->slice_end || t == c->idle)
        t->resched = true;
    arm_slice_timer(c, now >= t->slice_end ? now + SLICE_NS : t->slice_end);
}

void sched_arm_tick(u64 ns)
{
    arm_slice_timer(this_cpu(), clock_mono_ns() + ns);
}

bool sched_others_runnable(void)
{
    return this_cpu()->nr_running != 0;
}

// True where real-time threads had their share of the period and somebody else wants the CPU.
static bool rt_throttled(struct cpu *c, u64 now)
{
    struct thread *cur = c->current;
    if (now - c->rt_period >= RT_PERIOD_NS) {
        c->rt_period = now;
        c->rt_used = 0;
    }
    u64 since = MAX(cur->run_since, c->rt_period);
    return c->rt_used + (cur->prio ? now - since : 0) >= RT_RUNTIME_NS && !list_empty(&c->rq);
}

// Process times are sampled, as on Linux without full accounting: a clock read at each entry would cost more than most calls.
static void sample(struct timer *tm)
{
    struct cpu *c = this_cpu();
    struct thread *t = c->current;
    u64 now = clock_mono_ns();
    if (t == c->idle)
        return;                         // schedule() arms it again
    if (c->irq_from_user)
        t->uticks++;
    else
        t->sticks++;
    if (t->proc && t->proc->rlim[RLIMIT_CPU_K].soft != ~0ull)
        t->interrupted = true;          // looked at on the way back to the program
    if (t->prio ? rt_throttled(c, now) : !list_empty(&c->rt_rq) && !rt_throttled(c, now))
        t->resched = true;
    timer_arm(tm, now + SAMPLE_NS);
}

static void enqueue(struct cpu *c, struct thread *t, bool front)
{
    struct list *at = &c->rt_rq;
    c->nr_running++;
    if (!t->prio) {
        if (front)
            list_unshift(&c->rq, &t->run_node);
        else
            list_push(&c->rq, &t->run_node);
        return;
    }
    for (at = at->next; at != &c->rt_rq; at = at->next) {
        u32 prio = list_entry(at, struct thread, run_node)->prio;
        if (prio < t->prio || (front && prio == t->prio))
            break;
    }
    list_push(at, &t->run_node);        // before that one
}

// A thread that an event woke goes before one that computes, but leaves it a moment.
static void preempt_after(struct cpu *c, struct thread *cur, bool event)
{
    u64 now = clock_mono_ns();
    if (event) {
        if (now - cur->run_since >= WAKE_PREEMPT_NS)
            cur->resched = true;
        else if (cur->slice_end > cur->run_since + WAKE_PREEMPT_NS)
            cur->slice_end = cur->run_since + WAKE_PREEMPT_NS;
    }
    arm_slice_timer(c, MAX(cur->slice_end, now));
}

void thread_wake(struct thread *t)
{
    struct cpu *c = &cpus[t->cpu];
    u64 flags = spin_lock_irqsave(&c->rq_lock);
    if (t->state == T_SLEEPING && t == c->idle) {
        t->state = T_RUNNABLE;          // the boot code, which sleeps in schedule() itself
    } else if (t->state == T_SLEEPING) {
        struct thread *cur = c->current;
        bool event = c->irq_count || c->bh_count;
        t->state = T_RUNNABLE;
        // Who waits for outside events and needs little time goes before those who compute.
        enqueue(c, t, !t->prio && event && t->last_burst < WAKE_PREEMPT_NS);
        if (cur == c->idle || t->prio > cur->prio)
            cur->resched = true;
        else if (!cur->prio && cur->proc)       // a kernel thread runs until it waits: no slice, no timer for its end
            preempt_after(c, cur, event);
        else if (cur->prio && t->prio == cur->prio && cur->sched_policy != POLICY_FIFO)
            arm_slice_timer(c, cur->slice_end);
    }
    spin_unlock_irqrestore(&c->rq_lock, flags);
}

void sched_set_prio(struct thread *t)
{
    struct cpu *c = &cpus[t->cpu];
    u64 flags = spin_lock_irqsave(&c->rq_lock);
    u32 old = t->prio;
    t->prio = MAX(policy_realtime(t->sched_policy) ? t->sched_prio : 0, t->pi_prio);
    if (t->state == T_RUNNABLE && t->prio != old) {
        list_remove(&t->run_node);
        c->nr_running--;
        enqueue(c, t, t->prio < old);   // sched(7): lowered it stands first among its equals, raised last
    }
    if (t == c->current)
        t->slice_end = clock_mono_ns() + slice_of(t);
    c->current->resched |= t != c->current ? t->prio > c->current->prio : t->prio < old && c->nr_running;
    spin_unlock_irqrestore(&c->rq_lock, flags);
}

static struct thread *pick(struct cpu *c, u64 now)
{
    struct list *n = list_empty(&c->rt_rq) || rt_throttled(c, now) ? NULL : list_pop(&c->rt_rq);
    if (!n)
        n = list_pop(&c->rq);
    if (!n)
        n = list_pop(&c->rt_rq);
    if (!n)
        return c->idle;
    c->nr_running--;
    return list_entry(n, struct thread, run_node);
}

// Makes a new thread runnable for the first time.
void sched_add(struct thread *t)
{
    t->cpu = this_cpu()->id;
    t->state = T_SLEEPING;
    thread_wake(t);
}

void schedule(void)
{
    u64 flags = irq_save();
    struct cpu *c = this_cpu();
    struct thread *prev = c->current;
    u64 now = clock_mono_ns();
    spin_acquire(&c->rq_lock);
    if (prev->state == T_RUNNING && prev != c->idle) {
        prev->state = T_RUNNABLE;
        enqueue(c, prev, prev->prio && now < prev->slice_end);     // a real-time thread that was pushed aside is the next of its priority
    }
    struct thread *next = pick(c, now);
    prev->resched = false;
    bool asleep = next == prev && prev->state == T_SLEEPING;
    next->state = T_RUNNING;
    if (asleep) {               // the boot code waits, and nobody else wants the CPU
        spin_release(&c->rq_lock);
        cpu_idle();
        irq_restore(flags);
        if (!(flags & BIT(9)))
            irq_disable();
        return;
    }
    if (next == prev) {
        prev->slice_end = now + slice_of(prev);
        spin_release(&c->rq_lock);
        irq_restore(flags);
        return;
    }
    prev->last_burst = now - prev->run_since;
    prev->cpu_ns += prev->last_burst;
    if (prev->state == T_RUNNABLE)
        prev->nivcsw++;
    else
        prev->nvcsw++;
    if (prev->prio)
        c->rt_used += now - MAX(prev->run_since, c->rt_period);
    next->run_since = now;
    next->slice_end = now + slice_of(next);
    c->current = next;
    spin_release(&c->rq_lock);
    if (next->proc) {
        if (c->nr_running || next->cpu_timers)
            arm_slice_timer(c, next->slice_end);
        if (!sample_timers[c->id].armed)
            timer_arm(&sample_timers[c->id], now + SAMPLE_NS);
    }
    arch_switch(prev, next);
    // Back on this thread's stack, perhaps much later. A thread that died in between is off its own stack by now.
    c = this_cpu();
    if (unlikely(c->dead != NULL)) {
        struct thread *d = c->dead;
        c->dead = NULL;
        thread_reap(d);
    }
    irq_restore(flags);
}

void thread_yield(void)
{
    if (!sched_others_runnable())
        return;
    current()->slice_end = 0;       // also a real-time thread goes behind its equals
    schedule();
}

// A thread that dies while another dead one still waits (a new thread ran in between and died at once) frees that one first.
void sched_set_dead(struct thread *t)
{
    struct cpu *c = this_cpu();
    struct thread *d = c->dead;
    c->dead = t;
    if (d)
        thread_reap(d);
}

void sched_idle_loop(void)
{
    for (;;) {
        irq_disable();
        if (this_cpu()->nr_running) {
            irq_enable();
            schedule();
            continue;
        }
        idle_wait(this_cpu());
    }
}
