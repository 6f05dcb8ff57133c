// SPDX-License-Identifier: Apache-2.0
// futex(2), futex_waitv(2); robust lists are in robust.c. There is one address space, so a futex is known
// by its address; only one in a shared mapping that is not called private is known by file and offset, as the file may be mapped twice.
#include <linux/futex.h>
#include "errno.h"
#include "fs.h"
#include "futex.h"
#include "kmalloc.h"
#include "lib.h"
#include "process.h"
#include "sched.h"
#include "syscalls.h"
#include "time.h"
#include "uaccess.h"

#define BUCKETS 64
#define WAITV_LIMIT 128

struct futex_bucket {
    spinlock_t lock;                // guards the list
    struct list waiters;
};

struct futex_key {
    u64 object, offset;             // 0 and the address, or the inode and the offset in it
};

// One address a thread waits on; on its kernel stack (on the heap for futex_waitv).
struct futex_waiter {
    struct list node;
    struct thread *thread;
    struct futex_key key;
    u32 bitset;
    struct futex_bucket *bucket;    // changes by requeue, under both locks
    volatile bool woken;
    volatile bool *flag;            // what the thread sleeps on: &woken, or one flag for all of a futex_waitv
};

static struct futex_bucket buckets[BUCKETS];

void futex_init(void)
{
    for (int i = 0; i < BUCKETS; i++)
        list_init(&buckets[i].waiters);
}

static struct futex_bucket *bucket_of(struct futex_key k)
{
    u64 h = ((k.offset >> 2) ^ k.object) * 0x9e3779b97f4a7c15ull;
    return &buckets[h >> 58];
}

static bool same_key(struct futex_key a, struct futex_key b)
{
    return a.offset == b.offset && a.object == b.object;
}

// A shared futex must be readable memory, a private one only an address (Linux, get_futex_key).
static int key_of(uptr addr, bool shared, struct futex_key *k)
{
    u32 word;
    *k = (struct futex_key){ 0, addr };
    if (!shared)
        return 0;
    if (user_read_u32(addr, &word))
        return -EFAULT;
    struct mm *m = &the_process->mm;
    rw_read_lock(&m->lock);
    const struct vma *v = vm_find(addr);
    if (v && v->start <= addr && (v->flags & VMA_SHARED) && v->file)
        *k = (struct futex_key){ (u64)v->file->inode, (v->pgoff << PAGE_SHIFT) + (addr - v->start) };
    rw_read_unlock(&m->lock);
    return 0;
}

static void lock_two(struct futex_bucket *a, struct futex_bucket *b)
{
    if (a > b) {
        struct futex_bucket *t = a;
        a = b;
        b = t;
    }
    spin_lock(&a->lock);
    if (a != b)
        spin_lock(&b->lock);
}

static void unlock_two(struct futex_bucket *a, struct futex_bucket *b)
{
    spin_unlock(&a->lock);
    if (a != b)
        spin_unlock(&b->lock);
}

static void enqueue(struct futex_waiter *w, struct futex_key key, u32 bitset)
{
    w->thread = current();
    w->key = key;
    w->bitset = bitset;
    w->woken = false;
    w->bucket = bucket_of(key);
    spin_lock(&w->bucket->lock);
    list_push(&w->bucket->waiters, &w->node);
    spin_unlock(&w->bucket->lock);
}

// Takes the waiter off its list unless a waker did; true when it was woken.
static bool dequeue(struct futex_waiter *w)
{
    for (;;) {
        struct futex_bucket *b = w->bucket;
        spin_lock(&b->lock);
        if (b == w->bucket) {
            if (!w->woken)
                list_remove(&w->node);
            spin_unlock(&b->lock);
            return w->woken;
        }
        spin_unlock(&b->lock);      // requeued in between
    }
}

static void wake_waiter(struct futex_waiter *w)
{
    struct thread *t = w->thread;
    list_remove(&w->node);
    *w->flag = true;
    w->woken = true;
    thread_wake(t);
}

static int wake_locked(struct futex_bucket *b, struct futex_key key, u32 n, u32 bitset)
{
    u32 woken = 0;
    for (struct list *l = b->waiters.next, *next; l != &b->waiters && woken < n; l = next) {
        struct futex_waiter *w = list_entry(l, struct futex_waiter, node);
        next = l->next;
        if (!same_key(w->key, key) || !(w->bitset & bitset))
            continue;
        wake_waiter(w);
        woken++;
    }
    return (int)woken;
}

static int futex_wake(uptr addr, bool shared, u32 n, u32 bitset)
{
    struct futex_key key;
    if (!bitset)
        return -EINVAL;
    int err = key_of(addr, shared, &key);
    if (err)
        return err;
    struct futex_bucket *b = bucket_of(key);
    if (list_empty(&b->waiters))
        return 0;
    spin_lock(&b->lock);
    int woken = wake_locked(b, key, MAX(n, 1u), bitset);
    spin_unlock(&b->lock);
    return woken;
}

int futex_wake_addr(uptr addr, u32 n)
{
    return futex_wake(addr, true, n, ~0u);
}

// The waiter stands in the queue before the value is read, so a change after the read finds it there. The kernel is not
// preemptible and reading may sleep only for a page that is not present; a wake-up in between counts.
static long futex_wait_deadline(uptr addr, bool shared, u32 val, u32 bitset, u64 deadline)
{
    struct futex_waiter w;
    struct futex_key key;
    u32 now;
    if (!bitset)
        return -EINVAL;
    int err = key_of(addr, shared, &key);
    if (err)
        return err;
    if (user_read_u32(addr, &now))
        return -EFAULT;
    if (now != val)
        return -EAGAIN;
    w.flag = &w.woken;
    enqueue(&w, key, bitset);
    if (user_read_u32(addr, &now))
        return dequeue(&w) ? 0 : -EFAULT;
    if (now != val)
        return dequeue(&w) ? 0 : -EAGAIN;
    err = sleep_flag(&w.woken, deadline);
    if (dequeue(&w))
        return 0;
    return err;
}

static long futex_wait_restart(struct thread *t)
{
    long err = futex_wait_deadline(t->restart_arg[0], t->restart_arg[3], (u32)t->restart_arg[1], (u32)(t->restart_arg[1] >> 32),
                                   t->restart_arg[2]);
    if (err == -ERESTARTSYS) {
        t->restart_fn = futex_wait_restart;
        err = -ERESTART_RESTARTBLOCK;
    }
    return err;
}

// With a timeout an interrupted wait goes on with the same end (restart block); without one it is simply run again.
static long futex_wait(uptr addr, bool shared, u32 val, u32 bitset, u64 deadline)
{
    if (deadline == NO_DEADLINE)
        return futex_wait_deadline(addr, shared, val, bitset, deadline);
    struct thread *t = current();
    t->restart_arg[0] = addr;
    t->restart_arg[1] = val | (u64)bitset << 32;
    t->restart_arg[2] = deadline;
    t->restart_arg[3] = shared;
    return futex_wait_restart(t);
}

static long futex_requeue(uptr from, uptr to, bool shared, u32 nwake, u32 nrequeue, bool compare, u32 val)
{
    struct futex_key key, to_key;
    if ((i32)nwake < 0 || (i32)nrequeue < 0)
        return -EINVAL;
    if (key_of(from, shared, &key) || key_of(to, shared, &to_key))
        return -EFAULT;
    struct futex_bucket *a = bucket_of(key), *b = bucket_of(to_key);
    u32 now;
    if (compare) {
        if (user_read_u32(from, &now))
            return -EFAULT;
        if (now != val)
            return -EAGAIN;
    }
    lock_two(a, b);
    u32 woken = 0, moved = 0;
    for (struct list *l = a->waiters.next, *next; l != &a->waiters; l = next) {
        struct futex_waiter *w = list_entry(l, struct futex_waiter, node);
        next = l->next;
        if (!same_key(w->key, key))
            continue;
        if (woken < nwake) {
            wake_waiter(w);
            woken++;
            continue;
        }
        if (moved == nrequeue)
            break;
        moved++;
        if (same_key(key, to_key))
            continue;
        w->key = to_key;
        if (a != b) {
            list_remove(&w->node);
            list_push(&b->waiters, &w->node);
            w->bucket = b;
        }
    }
    unlock_two(a, b);
    return woken + (compare ? moved : 0);
}

static bool wake_op_compare(u32 cmp, i32 old, i32 arg)
{
    switch (cmp) {
    case FUTEX_OP_CMP_EQ: return old == arg;
    case FUTEX_OP_CMP_NE: return old != arg;
    case FUTEX_OP_CMP_LT: return old < arg;
    case FUTEX_OP_CMP_LE: return old <= arg;
    case FUTEX_OP_CMP_GT: return old > arg;
    default: return old >= arg;
    }
}

static long futex_wake_op(uptr addr, uptr addr2, bool shared, u32 n, u32 n2, u32 enc)
{
    struct futex_key key, key2;
    u32 op = (enc >> 28) & 7, cmp = (enc >> 24) & 15, old;
    i32 oparg = (i32)(enc << 8) >> 20, cmparg = (i32)(enc << 20) >> 20;
    if (enc & (FUTEX_OP_OPARG_SHIFT << 28))
        oparg = 1 << (oparg & 31);
    if (op > FUTEX_OP_XOR || cmp > FUTEX_OP_CMP_GE)
        return -ENOSYS;
    if (key_of(addr, shared, &key) || key_of(addr2, shared, &key2) || user_xchg_op_u32(addr2, (int)op, (u32)oparg, &old))
        return -EFAULT;
    struct futex_bucket *a = bucket_of(key), *b = bucket_of(key2);
    lock_two(a, b);
    long woken = wake_locked(a, key, MAX(n, 1u), ~0u);
    if (wake_op_compare(cmp, (i32)old, cmparg))
        woken += wake_locked(b, key2, MAX(n2, 1u), ~0u);
    unlock_two(a, b);
    return woken;
}

// --- priority inheritance: the lock protocol of futex(2), first come first served; priorities themselves are not inherited. -
static long futex_lock_pi(uptr addr, bool shared, u64 deadline, bool try_only)
{
    u32 tid = (u32)current()->tid, old, seen;
    for (;;) {
        if (user_cmpxchg_u32(addr, 0, tid, &old))
            return -EFAULT;
        if (old == 0)
            return 0;
        if ((old & FUTEX_TID_MASK) == tid)
            return -EDEADLK;
        if ((old & FUTEX_TID_MASK) == 0) {          // the owner died or waiters are left over
            u32 flags = old & (FUTEX_OWNER_DIED | FUTEX_WAITERS);
            if (user_cmpxchg_u32(addr, old, tid | flags, &seen))
                return -EFAULT;
            if (seen == old)
                return 0;
            continue;
        }
        if (try_only)
            return -EAGAIN;
        spin_lock(&the_process->thread_lock);
        bool alive = process_find_thread((int)(old & FUTEX_TID_MASK)) != NULL;
        spin_unlock(&the_process->thread_lock);
        if (!alive)
            return -ESRCH;
        if (!(old & FUTEX_WAITERS)) {
            if (user_cmpxchg_u32(addr, old, old | FUTEX_WAITERS, &seen))
                return -EFAULT;
            if (seen != old)
                continue;
            old |= FUTEX_WAITERS;
        }
        long err = futex_wait_deadline(addr, shared, old, FUTEX_BITSET_MATCH_ANY, deadline);
        if (user_read_u32(addr, &seen))
            return -EFAULT;
        if ((seen & FUTEX_TID_MASK) == tid)         // unlock handed it to us
            return 0;
        if (err && err != -EAGAIN)
            return err == -ERESTARTSYS ? -ERESTARTNOINTR : err;
    }
}

static long futex_unlock_pi(uptr addr, bool shared)
{
    u32 tid = (u32)current()->tid, old, seen;
    struct futex_key key;
    if (key_of(addr, shared, &key) || user_read_u32(addr, &old))
        return -EFAULT;
    struct futex_bucket *b = bucket_of(key);
    for (;;) {
        if ((old & FUTEX_TID_MASK) != tid)
            return -EPERM;
        struct futex_waiter *first = NULL;
        u32 waiting = 0;
        spin_lock(&b->lock);
        for (struct list *l = b->waiters.next; l != &b->waiters; l = l->next) {
            struct futex_waiter *w = list_entry(l, struct futex_waiter, node);
            if (!same_key(w->key, key))
                continue;
            waiting++;
            if (!first)
                first = w;
        }
        u32 heir = first ? (u32)first->thread->tid : 0;
        spin_unlock(&b->lock);
        if (user_cmpxchg_u32(addr, old, heir | (waiting > 1 ? FUTEX_WAITERS : 0), &seen))
            return -EFAULT;
        if (seen != old) {
            old = seen;
            continue;
        }
        if (heir)
            futex_wake(addr, shared, 1, ~0u);
        return 0;
    }
}

// --- the call ---------------------------------------------------------------------------------------------------------
// Relative for FUTEX_WAIT, absolute for the others; on the wall clock when asked for.
static int wait_deadline(uptr p, int cmd, bool realtime, u64 *deadline)
{
    u64 ns;
    *deadline = NO_DEADLINE;
    if (!p)
        return 0;
    int err = timespec_from_user(p, &ns);
    if (err)
        return err;
    if (cmd == FUTEX_WAIT)
        *deadline = deadline_after(ns);
    else if (realtime)
        *deadline = ns > clock_real_offset() ? ns - clock_real_offset() : 0;
    else
        *deadline = ns;
    return 0;
}

long sys_futex(struct regs *r)
{
    uptr addr = r->arg[0], addr2 = r->arg[4];
    u32 op = (u32)r->arg[1], val = (u32)r->arg[2], val3 = (u32)r->arg[5], val2 = (u32)r->arg[3];
    u32 cmd = op & (u32)FUTEX_CMD_MASK;
    bool realtime = op & FUTEX_CLOCK_REALTIME, shared = !(op & FUTEX_PRIVATE_FLAG);
    u64 deadline = NO_DEADLINE;
    bool waits = cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET || cmd == FUTEX_LOCK_PI || cmd == FUTEX_LOCK_PI2;
    if (realtime && cmd != FUTEX_WAIT_BITSET && cmd != FUTEX_LOCK_PI2 && cmd != FUTEX_WAIT_REQUEUE_PI)
        return -ENOSYS;
    if (addr & 3)
        return -EINVAL;
    if (addr >= USER_MAX)
        return -EFAULT;
    if (waits) {
        int err = wait_deadline(r->arg[3], (int)cmd, realtime || cmd == FUTEX_LOCK_PI, &deadline);
        if (err)
            return err;
    }
    switch (cmd) {
    case FUTEX_WAIT:
        return futex_wait(addr, shared, val, FUTEX_BITSET_MATCH_ANY, deadline);
    case FUTEX_WAIT_BITSET:
        return futex_wait(addr, shared, val, val3, deadline);
    case FUTEX_WAKE:
        return futex_wake(addr, shared, val, FUTEX_BITSET_MATCH_ANY);
    case FUTEX_WAKE_BITSET:
        return futex_wake(addr, shared, val, val3);
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
        if ((addr2 & 3))
            return -EINVAL;
        return futex_requeue(addr, addr2, shared, val, val2, cmd == FUTEX_CMP_REQUEUE, val3);
    case FUTEX_WAKE_OP:
        if ((addr2 & 3))
            return -EINVAL;
        return futex_wake_op(addr, addr2, shared, val, val2, val3);
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
        return futex_lock_pi(addr, shared, deadline, false);
    case FUTEX_TRYLOCK_PI:
        return futex_lock_pi(addr, shared, NO_DEADLINE, true);
    case FUTEX_UNLOCK_PI:
        return futex_unlock_pi(addr, shared);
    default:                        // FUTEX_FD is long gone; the requeueing PI operations are not there
        return -ENOSYS;
    }
}

// --- waiting for several ----------------------------------------------------------------------------------------------
struct waitv_k {                    // struct futex_waitv
    u64 val, addr;
    u32 flags, reserved;
};

static int check_waitv(const struct waitv_k *v, u32 n)
{
    for (u32 i = 0; i < n; i++)
        if ((v[i].flags & ~(u32)(FUTEX_32 | FUTEX_PRIVATE_FLAG)) || v[i].reserved || !(v[i].flags & FUTEX_32) || (v[i].addr & 3))
            return -EINVAL;
    return 0;
}

static long wait_many(const struct waitv_k *v, struct futex_waiter *w, u32 n, u64 deadline)
{
    volatile bool any = false;
    long err = 0, hit = -1;
    u32 queued = 0;
    for (; queued < n && !err; queued++) {
        u32 now;
        struct futex_key key;
        err = key_of(v[queued].addr, !(v[queued].flags & FUTEX_PRIVATE_FLAG), &key);
        if (err)
            break;
        w[queued].flag = &any;
        enqueue(&w[queued], key, FUTEX_BITSET_MATCH_ANY);
        if (user_read_u32(v[queued].addr, &now))
            err = -EFAULT;
        else if (now != (u32)v[queued].val)
            err = -EAGAIN;
    }
    if (!err)
        err = sleep_flag(&any, deadline);
    for (u32 i = 0; i < queued; i++)
        if (dequeue(&w[i]))
            hit = i;
    return hit >= 0 ? hit : err;
}

long sys_futex_waitv(struct regs *r)
{
    u32 n = (u32)r->arg[1], clock = (u32)r->arg[4];
    u64 deadline = NO_DEADLINE;
    if (r->arg[2] || !n || n > WAITV_LIMIT || !r->arg[0])
        return -EINVAL;
    if (r->arg[3]) {
        if (clock > 1)              // CLOCK_REALTIME, CLOCK_MONOTONIC
            return -EINVAL;
        int err = wait_deadline(r->arg[3], FUTEX_WAIT_BITSET, clock == 0, &deadline);
        if (err)
            return err;
    }
    struct waitv_k *v = kmalloc(n * sizeof(*v), 0);
    struct futex_waiter *w = kmalloc(n * sizeof(*w), 0);
    long err = v && w ? 0 : -ENOMEM;
    if (!err)
        err = copy_from_user(v, r->arg[0], n * sizeof(*v));
    if (!err)
        err = check_waitv(v, n);
    if (!err)
        err = wait_many(v, w, n, deadline);
    kfree(v);
    kfree(w);
    return err;
}
