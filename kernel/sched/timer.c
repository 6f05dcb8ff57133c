// SPDX-License-Identifier: Apache-2.0
// The queue of timers, ordered by deadline. Tickless: the hardware is programmed for the first deadline only, and left alone
// when that is already the one it waits for.
#include "sched.h"
#include "time.h"

static struct rbtree queue;                     // queue_lock, as all below
static struct timer *first;
static u64 programmed = NO_DEADLINE;
static bool expiring;                           // expire() programs the hardware once, when it is through
static spinlock_t queue_lock = SPINLOCK_INIT;   // interrupts off

void timer_init(struct timer *t, void (*fn)(struct timer *))
{
    t->armed = false;
    t->deadline = 0;
    t->fn = fn;
}

static void link_timer(struct timer *t)
{
    struct rbnode **link = &queue.root, *parent = NULL;
    while (*link) {
        parent = *link;
        struct timer *o = container_of(parent, struct timer, node);
        link = t->deadline < o->deadline ? &parent->left : &parent->right;
    }
    rb_insert(&queue, &t->node, parent, link);
    t->armed = true;
    if (!first || t->deadline < first->deadline)
        first = t;
}

static void unlink_timer(struct timer *t)
{
    if (first == t) {
        struct rbnode *n = rb_next(&t->node);
        first = n ? container_of(n, struct timer, node) : NULL;
    }
    rb_erase(&queue, &t->node);
    t->armed = false;
}

// A deadline further away than the programmed one needs nothing now: the earlier interrupt programs the next.
static void program(void)
{
    if (first && first->deadline < programmed && !expiring) {
        programmed = first->deadline;
        arch_timer_program(programmed);
    }
}

void timer_arm(struct timer *t, u64 deadline_ns)
{
    u64 flags = spin_lock_irqsave(&queue_lock);
    if (t->armed)
        unlink_timer(t);
    t->deadline = deadline_ns;
    link_timer(t);
    program();
    spin_unlock_irqrestore(&queue_lock, flags);
}

bool timer_cancel(struct timer *t)
{
    u64 flags = spin_lock_irqsave(&queue_lock);
    bool was = t->armed;
    if (was)
        unlink_timer(t);
    spin_unlock_irqrestore(&queue_lock, flags);
    return was;
}

void timer_interrupt(void)
{
    programmed = NO_DEADLINE;
    softirq_raise(SOFTIRQ_TIMER);
}

static void expire(void)
{
    u64 flags = spin_lock_irqsave(&queue_lock);
    expiring = true;
    for (;;) {
        struct timer *t = first;
        if (!t || t->deadline > clock_mono_ns())
            break;
        unlink_timer(t);
        spin_unlock_irqrestore(&queue_lock, flags);
        t->fn(t);
        flags = spin_lock_irqsave(&queue_lock);
    }
    expiring = false;
    program();
    spin_unlock_irqrestore(&queue_lock, flags);
}

void timers_init(void)
{
    softirq_register(SOFTIRQ_TIMER, expire);
}
