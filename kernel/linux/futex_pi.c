// SPDX-License-Identifier: Apache-2.0
// Futexes that are locks with priority inheritance (futex(2), "Priority-inheritance futexes"). The word holds the owner's TID;
// while somebody waits, the owner runs with the highest priority among those who wait for it, directly or in a chain.
#include "errno.h"
#include "futex.h"
#include "lib.h"
#include "process.h"
#include "uaccess.h"

#define CHAIN_LIMIT 1024            // /proc/sys/kernel/max_lock_depth

static struct mutex pi_lock = MUTEX_INIT(pi_lock);     // the words and their waiters fit together; reading a word may sleep
static u32 nr_waiters;

// The first waiter that fits, NULL: none. pi_lock keeps those who wait for locks where they are.
static struct futex_waiter *find(bool (*fits)(const struct futex_waiter *w, const void *arg), const void *arg)
{
    for (int i = 0; i < FUTEX_BUCKETS; i++) {
        struct futex_bucket *b = &futex_buckets[i];
        struct futex_waiter *found = NULL;
        spin_lock(&b->lock);
        for (struct list *l = b->waiters.next; l != &b->waiters && !found; l = l->next) {
            struct futex_waiter *w = list_entry(l, struct futex_waiter, node);
            if (w->owner && fits(w, arg))
                found = w;
        }
        spin_unlock(&b->lock);
        if (found)
            return found;
    }
    return NULL;
}

static bool is_of(const struct futex_waiter *w, const void *thread) { return w->thread == thread; }
static bool waits_for(const struct futex_waiter *w, const void *tid) { return w->owner == *(const u32 *)tid; }

static bool highest(const struct futex_waiter *w, const void *arg)
{
    u32 *best = (u32 *)arg;         // the owner and the highest priority so far
    if (w->owner == best[0])
        best[1] = MAX(best[1], w->thread->prio);
    return false;
}

static struct thread *thread_of(u32 tid)
{
    spin_lock(&the_process->thread_lock);
    struct thread *t = process_find_thread((int)tid);
    spin_unlock(&the_process->thread_lock);
    return t;
}

// What waits for the thread changed: it gets the right priority, and those it waits for in turn.
static void lend(u32 tid)
{
    for (int i = 0; tid && i < CHAIN_LIMIT; i++) {
        u32 best[2] = { tid, 0 };
        struct thread *t = thread_of(tid);
        find(highest, best);
        if (!t || t->pi_prio == best[1])
            return;
        t->pi_prio = best[1];
        sched_set_prio(t);
        struct futex_waiter *w = find(is_of, t);
        if (!w)
            return;
        spin_lock(&w->bucket->lock);
        list_remove(&w->node);
        futex_insert(w->bucket, w);
        spin_unlock(&w->bucket->lock);
        tid = w->owner;
    }
}

static bool would_deadlock(u32 owner)
{
    for (int i = 0; i < CHAIN_LIMIT; i++) {
        struct thread *t = thread_of(owner);
        struct futex_waiter *w = t ? find(is_of, t) : NULL;
        if (!w)
            return false;
        owner = w->owner;
        if (owner == (u32)current()->tid)
            return true;
    }
    return true;
}

// The first waiter at a key.
static struct futex_waiter *top(struct futex_key key)
{
    struct futex_bucket *b = futex_bucket_of(key);
    struct futex_waiter *found = NULL;
    spin_lock(&b->lock);
    for (struct list *l = b->waiters.next; l != &b->waiters && !found; l = l->next)
        if (futex_same_key(list_entry(l, struct futex_waiter, node)->key, key))
            found = list_entry(l, struct futex_waiter, node);
    spin_unlock(&b->lock);
    return found;
}

// Takes the lock for thread tid where it is free: 0. Else marks that somebody waits: -EAGAIN and *owner.
static int acquire(uptr addr, struct futex_key key, u32 tid, bool waiters, bool mark, u32 *owner)
{
    u32 old, seen;
    struct futex_waiter *first = top(key);
    if (first && !first->owner)
        return -EINVAL;
    if (user_read_u32(addr, &old))
        return -EFAULT;
    for (;;) {
        *owner = old & FUTEX_TID_MASK;
        if (*owner == tid)
            return -EDEADLK;
        u32 new = old | FUTEX_WAITERS;
        if (!*owner)
            new = tid | (old & FUTEX_OWNER_DIED) | (first || waiters ? FUTEX_WAITERS : 0);
        else if (!mark || old == new)
            return -EAGAIN;
        if (user_cmpxchg_u32(addr, old, new, &seen))
            return -EFAULT;
        if (seen == old)
            return *owner ? -EAGAIN : 0;
        old = seen;
    }
}

// Sleeps in the queue of the lock until unlock hands it over (0) or the wait ends otherwise. pi_lock is held, released meanwhile.
static long wait_for(struct futex_waiter *w, uptr addr, struct futex_key key, u32 owner, u64 deadline)
{
    w->flag = &w->woken;
    w->lock_addr = addr;
    futex_enqueue(w, key, FUTEX_BITSET_MATCH_ANY);
    w->owner = owner;
    nr_waiters++;
    lend(owner);
    mutex_unlock(&pi_lock);
    long err = sleep_flag(&w->woken, deadline);
    mutex_lock(&pi_lock);
    bool woken = futex_dequeue(w);
    nr_waiters--;
    owner = w->owner;               // it may have changed hands
    w->owner = 0;
    if (!woken)
        lend(owner);
    return woken ? 0 : err;
}

long futex_lock_pi(uptr addr, bool shared, u64 deadline, bool try_only)
{
    struct futex_waiter w;
    struct futex_key key;
    u32 tid = (u32)current()->tid, owner, now;
    long err = futex_key_of(addr, shared, &key);
    if (err)
        return err;
    mutex_lock(&pi_lock);
    for (;;) {
        err = acquire(addr, key, tid, false, !try_only, &owner);
        if (err != -EAGAIN || try_only)
            break;
        err = !thread_of(owner) ? -ESRCH : would_deadlock(owner) ? -EDEADLK : 0;
        if (!err)
            err = wait_for(&w, addr, key, owner, deadline);
        if (err || (!user_read_u32(addr, &now) && (now & FUTEX_TID_MASK) == tid))
            break;
    }
    mutex_unlock(&pi_lock);
    return err == -ERESTARTSYS ? -ERESTARTNOINTR : err;
}

// The lock goes to its first waiter, which is woken; those behind it now wait for that one.
static int hand_over(uptr addr, struct futex_waiter *heir, u32 old, u32 died)
{
    u32 seen, from = heir->owner, tid = (u32)heir->thread->tid;
    struct futex_key key = heir->key;
    struct futex_bucket *b = heir->bucket;
    if (addr && user_cmpxchg_u32(addr, old, tid | FUTEX_WAITERS | died, &seen))
        return -EFAULT;
    if (addr && seen != old)
        return -EAGAIN;
    spin_lock(&b->lock);
    futex_wake_waiter(heir);
    for (struct list *l = b->waiters.next; l != &b->waiters; l = l->next) {
        struct futex_waiter *w = list_entry(l, struct futex_waiter, node);
        if (w->owner && futex_same_key(w->key, key))
            w->owner = tid;
    }
    spin_unlock(&b->lock);
    lend(tid);
    lend(from);
    return 0;
}

long futex_unlock_pi(uptr addr, bool shared)
{
    u32 tid = (u32)current()->tid, old, seen;
    struct futex_key key;
    if (futex_key_of(addr, shared, &key))
        return -EFAULT;
    mutex_lock(&pi_lock);
    long err;
    do {
        err = user_read_u32(addr, &old);
        if (!err && (old & FUTEX_TID_MASK) != tid)
            err = -EPERM;
        struct futex_waiter *heir = err ? NULL : top(key);
        if (heir)
            err = heir->owner ? hand_over(addr, heir, old, 0) : -EINVAL;
        else if (!err)
            err = user_cmpxchg_u32(addr, old, 0, &seen) ? -EFAULT : seen == old ? 0 : -EAGAIN;
    } while (err == -EAGAIN);
    mutex_unlock(&pi_lock);
    return err;
}

void futex_pi_thread_exit(struct thread *t)
{
    u32 tid = (u32)t->tid, old;
    struct futex_waiter *w;
    if (!nr_waiters)
        return;
    mutex_lock(&pi_lock);
    while ((w = find(waits_for, &tid))) {
        struct futex_waiter *heir = top(w->key);
        int err;
        do {
            err = user_read_u32(heir->lock_addr, &old) ? -EFAULT : hand_over(heir->lock_addr, heir, old, FUTEX_OWNER_DIED);
        } while (err == -EAGAIN);
        if (err)
            hand_over(0, heir, 0, 0);       // the word cannot be written: the heir learns it by trying again
    }
    mutex_unlock(&pi_lock);
}

// --- condition variables: wait on one word, wake up with the lock of another -----------------------------------------------
long futex_wait_requeue_pi(uptr addr, uptr lock, bool shared, u32 val, u64 deadline)
{
    struct futex_waiter w = { .flag = &w.woken, .lock_addr = lock };
    struct futex_key key, target;
    u32 now;
    if (addr == lock)
        return -EINVAL;
    if (futex_key_of(addr, shared, &key) || futex_key_of(lock, shared, &target) || user_read_u32(addr, &now))
        return -EFAULT;
    if (now != val)
        return -EAGAIN;
    mutex_lock(&pi_lock);
    futex_enqueue(&w, key, FUTEX_BITSET_MATCH_ANY);
    w.to_lock = true;
    w.target = target;
    nr_waiters++;
    long err = user_read_u32(addr, &now) ? -EFAULT : now != val ? -EAGAIN : 0;
    mutex_unlock(&pi_lock);
    if (!err)
        err = sleep_flag(&w.woken, deadline);
    mutex_lock(&pi_lock);
    bool woken = futex_dequeue(&w);
    bool requeued = w.owner != 0;
    nr_waiters--;
    if (requeued && !woken)
        lend(w.owner);
    mutex_unlock(&pi_lock);
    if (woken)
        return 0;
    return err != -ERESTARTSYS ? err : requeued ? -EAGAIN : -ERESTARTNOINTR;
}

// Moves up to n waiters of `from` to the lock, whose owner is known. The number moved, or -EINVAL.
static long move(struct futex_key from, struct futex_key to, u32 owner, u32 n)
{
    struct futex_bucket *a = futex_bucket_of(from), *b = futex_bucket_of(to);
    long moved = 0;
    futex_lock_two(a, b);
    for (struct list *l = a->waiters.next, *next; l != &a->waiters && moved < (long)n; l = next) {
        struct futex_waiter *w = list_entry(l, struct futex_waiter, node);
        next = l->next;
        if (!futex_same_key(w->key, from))
            continue;
        if (!w->to_lock || !futex_same_key(w->target, to)) {
            moved = moved ? moved : -EINVAL;
            break;
        }
        list_remove(&w->node);
        w->key = to;
        w->to_lock = false;
        w->owner = owner;
        futex_insert(b, w);
        moved++;
    }
    futex_unlock_two(a, b);
    if (moved > 0)
        lend(owner);
    return moved;
}

static long requeue_pi(uptr lock, struct futex_key from, struct futex_key to, u32 nrequeue)
{
    struct futex_waiter *w = top(from);
    u32 owner;
    if (!w)
        return 0;
    if (!w->to_lock || !futex_same_key(w->target, to))
        return -EINVAL;
    long err = acquire(lock, to, (u32)w->thread->tid, nrequeue != 0, true, &owner);
    if (err && err != -EAGAIN)
        return err;
    if (err)
        return thread_of(owner) ? move(from, to, owner, nrequeue < 0x7fffffff ? nrequeue + 1 : nrequeue) : -ESRCH;
    owner = (u32)w->thread->tid;
    spin_lock(&w->bucket->lock);
    futex_wake_waiter(w);
    spin_unlock(&w->bucket->lock);
    long moved = move(from, to, owner, nrequeue);
    return moved < 0 ? moved : moved + 1;
}

long futex_cmp_requeue_pi(uptr addr, uptr lock, bool shared, u32 nwake, u32 nrequeue, u32 val)
{
    struct futex_key from, to;
    u32 now;
    if ((i32)nwake < 0 || (i32)nrequeue < 0 || addr == lock || nwake != 1)
        return -EINVAL;
    if (futex_key_of(addr, shared, &from) || futex_key_of(lock, shared, &to) || user_read_u32(lock, &now) || user_read_u32(addr, &now))
        return -EFAULT;
    if (futex_same_key(from, to))
        return -EINVAL;
    if (now != val)
        return -EAGAIN;
    mutex_lock(&pi_lock);
    long ret = requeue_pi(lock, from, to, nrequeue);
    mutex_unlock(&pi_lock);
    return ret;
}
