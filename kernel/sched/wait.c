// SPDX-License-Identifier: Apache-2.0
// Wait queues: sleeping until an event, a time or a signal.
#include "errno.h"
#include "arch.h"
#include "sched.h"
#include "time.h"

// A deadline of a sleeping thread; on that thread's stack.
struct sleep_timer {
    struct timer timer;
    struct thread *thread;
    volatile bool fired;
    u64 wall;                       // the deadline on the wall clock; 0: a monotonic one
    struct list node;               // of wall_sleepers
};

static struct list wall_sleepers = LIST_INIT(wall_sleepers);
static spinlock_t wall_lock = SPINLOCK_INIT;        // interrupts off

void waitq_init(struct waitq *q)
{
    q->lock.locked = 0;
    list_init(&q->waiters);
}

void waitq_add(struct waitq *q, struct waiter *w)
{
    u64 flags = spin_lock_irqsave(&q->lock);
    w->queue = q;
    w->woken = false;
    // Exclusive waiters stand behind the others: a wake-up reaches everybody who is to know, then one of them.
    if (w->exclusive)
        list_push(&q->waiters, &w->node);
    else
        list_unshift(&q->waiters, &w->node);
    spin_unlock_irqrestore(&q->lock, flags);
}

void waitq_del(struct waiter *w)
{
    struct waitq *q = w->queue;
    if (!q)
        return;
    u64 flags = spin_lock_irqsave(&q->lock);
    list_remove(&w->node);
    w->queue = NULL;
    spin_unlock_irqrestore(&q->lock, flags);
}

void waitq_wake_n(struct waitq *q, u32 events, unsigned n)
{
    u64 flags = spin_lock_irqsave(&q->lock);
    for (struct list *l = q->waiters.next, *next; l != &q->waiters; l = next) {
        struct waiter *w = list_entry(l, struct waiter, node);
        next = l->next;
        if (events && w->events && !(events & w->events))
            continue;
        bool took = true;
        if (w->fn) {
            took = w->fn(w, events);
        } else {
            if (w->exclusive && w->woken)
                continue;               // already on its way for an earlier event
            w->woken = true;
            thread_wake(w->thread);
        }
        if (w->exclusive && took && --n == 0)
            break;
    }
    spin_unlock_irqrestore(&q->lock, flags);
}

void waitq_wake_all(struct waitq *q)
{
    waitq_wake_n(q, 0, ~0u);
}

void waitq_prepare(struct waitq *q, struct waiter *w)
{
    w->thread = current();
    w->fn = NULL;
    w->events = 0;
    w->exclusive = false;
    waitq_add(q, w);
}

static void sleep_timer_fired(struct timer *tm)
{
    struct sleep_timer *s = container_of(tm, struct sleep_timer, timer);
    s->fired = true;
    thread_wake(s->thread);
}

static void arm_wall(struct sleep_timer *s)
{
    u64 off = clock_real_offset();
    timer_arm(&s->timer, s->wall > off ? s->wall - off : 0);
}

static void begin_wall(struct sleep_timer *s, u64 wall)
{
    u64 flags = spin_lock_irqsave(&wall_lock);
    s->wall = MAX(wall, 1ull);
    list_push(&wall_sleepers, &s->node);
    arm_wall(s);
    spin_unlock_irqrestore(&wall_lock, flags);
}

static void end_wall(struct sleep_timer *s)
{
    u64 flags = spin_lock_irqsave(&wall_lock);
    list_remove(&s->node);
    spin_unlock_irqrestore(&wall_lock, flags);
}

void wall_sleepers_clock_set(void)
{
    u64 flags = spin_lock_irqsave(&wall_lock);
    for (struct list *n = wall_sleepers.next; n != &wall_sleepers; n = n->next)
        arm_wall(list_entry(n, struct sleep_timer, node));
    spin_unlock_irqrestore(&wall_lock, flags);
}

// Sleeps until *woken, a pending signal of `set`, the deadline or a deliverable signal. 0, -ETIMEDOUT, -ERESTARTSYS.
static int sleep_on(volatile bool *woken, sigset_k set, u64 deadline, bool interruptible)
{
    struct thread *t = current();
    struct sleep_timer s = { .thread = t, .fired = false, .wall = 0 };
    int err = 0;
    if (deadline != NO_DEADLINE) {
        timer_init(&s.timer, sleep_timer_fired);
        if (unlikely(deadline & WALL_DEADLINE))
            begin_wall(&s, deadline & ~WALL_DEADLINE);
        else
            timer_arm(&s.timer, deadline);
    }
    u64 flags = irq_save();         // between the test and the state no interrupt may wake us
    while (!*woken && !(set && (signal_pending_set(t) & set))) {
        if (s.fired)
            err = -ETIMEDOUT;
        else if (interruptible && t->interrupted && signal_pending(t))
            err = -ERESTARTSYS;
        if (err)
            break;
        t->sleep_intr = interruptible;
        t->state = T_SLEEPING;
        schedule();
    }
    t->sleep_intr = false;
    irq_restore(flags);
    if (unlikely(s.wall))
        end_wall(&s);
    if (deadline != NO_DEADLINE)
        timer_cancel(&s.timer);
    return err;
}

int waitq_sleep(struct waiter *w, u64 deadline_ns, bool interruptible)
{
    int err = sleep_on(&w->woken, 0, deadline_ns, interruptible);
    w->woken = false;
    return err;
}

// An exclusive wake-up that came after the last test of the condition belongs to somebody else.
void waitq_finish(struct waiter *w)
{
    struct waitq *q = w->queue;
    waitq_del(w);
    if (w->exclusive && w->woken && q)
        waitq_wake(q, 0);
}

int sleep_until(u64 deadline_ns, bool interruptible)
{
    bool never = false;
    int err = sleep_on(&never, 0, deadline_ns, interruptible);
    return err == -ETIMEDOUT ? 0 : err;
}

int sleep_signal(u64 deadline_ns, sigset_k set)
{
    bool never = false;
    return sleep_on(&never, set, deadline_ns, true);
}

int sleep_flag(volatile bool *flag, u64 deadline_ns)
{
    return sleep_on(flag, 0, deadline_ns, true);
}
