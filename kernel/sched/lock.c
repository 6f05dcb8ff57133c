// SPDX-License-Identifier: Apache-2.0
// Locks that sleep. Only threads take them, so their inner spinlocks need no interrupt protection.
#include "sched.h"

// A thread that waits for a mutex or rwlock; on its stack.
struct lock_waiter {
    struct list node;
    struct thread *thread;
    bool write;
    volatile bool granted;      // rwlock: the releasing thread handed the lock over
};

static void sleep_once(struct lock_waiter *w, spinlock_t *lock)
{
    u64 flags = irq_save();
    w->thread->state = T_SLEEPING;
    spin_unlock(lock);
    schedule();
    irq_restore(flags);
}

void mutex_init(struct mutex *m)
{
    m->lock.locked = 0;
    m->owner = NULL;
    list_init(&m->waiters);
}

bool mutex_trylock(struct mutex *m)
{
    spin_lock(&m->lock);
    bool ok = m->owner == NULL;
    if (ok)
        m->owner = current();
    spin_unlock(&m->lock);
    return ok;
}

// A waiter keeps its place at the head until it owns the mutex.
void mutex_lock(struct mutex *m)
{
    spin_lock(&m->lock);
    if (likely(m->owner == NULL)) {
        m->owner = current();
        spin_unlock(&m->lock);
        return;
    }
    struct lock_waiter w = { .thread = current() };
    list_push(&m->waiters, &w.node);
    while (m->owner) {
        sleep_once(&w, &m->lock);
        spin_lock(&m->lock);
    }
    m->owner = w.thread;
    list_remove(&w.node);
    spin_unlock(&m->lock);
}

void mutex_unlock(struct mutex *m)
{
    spin_lock(&m->lock);
    m->owner = NULL;
    if (unlikely(!list_empty(&m->waiters)))
        thread_wake(list_entry(m->waiters.next, struct lock_waiter, node)->thread);
    spin_unlock(&m->lock);
}

void rw_init(struct rwlock *l)
{
    l->lock.locked = 0;
    l->readers = 0;
    list_init(&l->waiters);
}

static void rw_wait(struct rwlock *l, bool write)
{
    struct lock_waiter w = { .thread = current(), .write = write, .granted = false };
    list_push(&l->waiters, &w.node);
    while (!w.granted) {
        sleep_once(&w, &l->lock);
        spin_lock(&l->lock);
    }
    spin_unlock(&l->lock);
}

// Hands the free lock to the first in the queue: one writer, or all readers that stand together.
static void rw_grant(struct rwlock *l)
{
    while (!list_empty(&l->waiters) && l->readers >= 0) {
        struct lock_waiter *w = list_entry(l->waiters.next, struct lock_waiter, node);
        if (w->write && l->readers > 0)
            break;
        l->readers = w->write ? -1 : l->readers + 1;
        list_remove(&w->node);
        w->granted = true;
        thread_wake(w->thread);
    }
}

void rw_read_lock(struct rwlock *l)
{
    spin_lock(&l->lock);
    if (likely(l->readers >= 0 && list_empty(&l->waiters))) {
        l->readers++;
        spin_unlock(&l->lock);
        return;
    }
    rw_wait(l, false);
}

void rw_read_unlock(struct rwlock *l)
{
    spin_lock(&l->lock);
    if (--l->readers == 0 && unlikely(!list_empty(&l->waiters)))
        rw_grant(l);
    spin_unlock(&l->lock);
}

void rw_write_lock(struct rwlock *l)
{
    spin_lock(&l->lock);
    if (likely(l->readers == 0 && list_empty(&l->waiters))) {
        l->readers = -1;
        spin_unlock(&l->lock);
        return;
    }
    rw_wait(l, true);
}

void rw_write_unlock(struct rwlock *l)
{
    spin_lock(&l->lock);
    l->readers = 0;
    if (unlikely(!list_empty(&l->waiters)))
        rw_grant(l);
    spin_unlock(&l->lock);
}
