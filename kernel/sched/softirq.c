// SPDX-License-Identifier: Apache-2.0
// Soft interrupts: what interrupt handlers leave for a moment when interrupts are on again.
#include "arch.h"
#include "sched.h"

#define ROUNDS 8        // of new work that one interrupt's end takes on; the rest is ksoftirqd's, so that threads run in between

static void (*handlers[SOFTIRQ_NR])(void);
static struct thread *ksoftirqd;

void softirq_register(int nr, void (*fn)(void))
{
    handlers[nr] = fn;
}

// Runs pending work with interrupts on. Called and returns with interrupts off, bh_count 0.
static void run_pending(struct cpu *c)
{
    c->bh_count++;
    for (int round = 0; c->softirq_pending && round < ROUNDS; round++) {
        u32 pending = c->softirq_pending;
        c->softirq_pending = 0;
        irq_enable();
        for (int i = 0; i < SOFTIRQ_NR; i++)
            if ((pending & (1u << i)) && handlers[i])
                handlers[i]();
        irq_disable();
    }
    c->bh_count--;
    if (unlikely(c->softirq_pending) && ksoftirqd)
        thread_wake(ksoftirqd);
}

void softirq_run(void)
{
    u64 flags = irq_save();
    struct cpu *c = this_cpu();
    if (c->softirq_pending && !c->bh_count)
        run_pending(c);
    irq_restore(flags);
}

void softirq_raise(int nr)
{
    u64 flags = irq_save();
    struct cpu *c = this_cpu();
    c->softirq_pending |= 1u << nr;
    if (!c->irq_count && !c->bh_count && ksoftirqd)
        thread_wake(ksoftirqd);
    irq_restore(flags);
}

void bh_disable(void)
{
    this_cpu()->bh_count++;
    __asm__ volatile("" ::: "memory");
}

void bh_enable(void)
{
    struct cpu *c = this_cpu();
    __asm__ volatile("" ::: "memory");
    if (--c->bh_count == 0 && unlikely(c->softirq_pending) && !c->irq_count)
        softirq_run();
}

static void ksoftirqd_main(void *arg)
{
    (void)arg;
    for (;;) {
        irq_disable();
        struct cpu *c = this_cpu();
        if (!c->softirq_pending) {
            current()->state = T_SLEEPING;
            schedule();
            irq_enable();
            continue;
        }
        run_pending(c);
        irq_enable();
        thread_yield();
    }
}

void softirq_init(void)
{
    ksoftirqd = kthread_create("ksoftirqd", ksoftirqd_main, NULL);
}
