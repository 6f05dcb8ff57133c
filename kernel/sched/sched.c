// SPDX-License-Identifier: Apache-2.0
// The scheduler: one round-robin queue per CPU. A thread stays on its CPU's queue, so that CPU alone picks from it and the
// queue's lock may be dropped before the stacks are switched.
#include "arch.h"
#include "sched_priv.h"
#include "time.h"

#define SLICE_NS (4 * 1000000ull)          // of nice 0
#define WAKE_PREEMPT_NS (1 * 1000000ull)   // what a running thread keeps against one that an interrupt woke

struct cpu cpus[NR_CPUS];
static struct thread idle_threads[NR_CPUS];
static struct timer slice_timers[NR_CPUS];  // one for all slices: re-armed only when it fires, so a switch never touches the hardware



static u64 slice_of(const struct thread *t)
{
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

void sched_init(void)
{
    struct cpu *c = this_cpu();
    struct thread *t = &idle_threads[0];
    c->self = c;
    list_init(&c->rq);
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
        if (event && t->last_burst < WAKE_PREEMPT_NS)
            list_unshift(&c->rq, &t->run_node);
        else
            list_push(&c->rq, &t->run_node);
        c->nr_running++;
        if (cur == c->idle) {
            cur->resched = true;
        } else {
            u64 now = clock_mono_ns();
            if (event) {
                if (now - cur->run_since >= WAKE_PREEMPT_NS)
                    cur->resched = true;
                else if (cur->slice_end > cur->run_since + WAKE_PREEMPT_NS)
                    cur->slice_end = cur->run_since + WAKE_PREEMPT_NS;
            }
            arm_slice_timer(c, MAX(cur->slice_end, now));
        }
    }
    spin_unlock_irqrestore(&c->rq_lock, flags);
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
    spin_acquire(&c->rq_lock);
    if (prev->state == T_RUNNING && prev != c->idle) {
        prev->state = T_RUNNABLE;
        list_push(&c->rq, &prev->run_node);
        c->nr_running++;
    }
    struct list *n = list_pop(&c->rq);
    struct thread *next = c->idle;
    if (n) {
        next = list_entry(n, struct thread, run_node);
        c->nr_running--;
    }
    prev->resched = false;
    bool asleep = next == prev && prev->state == T_SLEEPING;
    next->state = T_RUNNING;
    u64 now = clock_mono_ns();
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
    next->run_since = now;
    next->slice_end = now + slice_of(next);
    c->current = next;
    spin_release(&c->rq_lock);
    if (c->nr_running || next->cpu_timers)
        arm_slice_timer(c, next->slice_end);
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
    if (sched_others_runnable())
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
        cpu_idle();
    }
}
