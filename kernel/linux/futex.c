// SPDX-License-Identifier: Apache-2.0
// futex(2); locks with priority inheritance are in futex_pi.c, robust lists in robust.c. There is one address space, so a futex is known
// by its address; only one in a shared mapping that is not called private is known by file and offset, as the file may be mapped twice.
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

struct futex_bucket futex_buckets[FUTEX_BUCKETS];

void futex_init(void)
{
    for (int i = 0; i < FUTEX_BUCKETS; i++)
        list_init(&futex_buckets[i].waiters);
}

struct futex_bucket *futex_bucket_of(struct futex_key k)
{
    u64 h = ((k.offset >> 2) ^ k.object) * 0x9e3779b97f4a7c15ull;
    return &futex_buckets[h >> 58];
}

// A shared futex must be readable memory, a private one only an address (Linux, get_futex_key).
int futex_key_of(uptr addr, bool shared, struct futex_key *k)
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

void futex_lock_two(struct futex_bucket *a, struct futex_bucket *b)
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

void futex_unlock_two(struct futex_bucket *a, struct futex_bucket *b)
{
    spin_unlock(&a->lock);
    if (a != b)
        spin_unlock(&b->lock);
}

// Behind those of its own priority: real-time threads are woken first (futex(2)).
void futex_insert(struct futex_bucket *b, struct futex_waiter *w)
{
    struct list *at = &b->waiters;
    if (w->thread->prio || (at->next != at && list_entry(at->prev, struct futex_waiter, node)->thread->prio < w->thread->prio))
        for (at = at->next; at != &b->waiters; at = at->next)
            if (list_entry(at, struct futex_waiter, node)->thread->prio < w->thread->prio)
                break;
    list_push(at, &w->node);
    w->bucket = b;
}

void futex_enqueue(struct futex_waiter *w, struct futex_key key, u32 bitset)
{
    struct futex_bucket *b = futex_bucket_of(key);
    w->thread = current();
    w->key = key;
    w->bitset = bitset;
    w->owner = 0;
    w->to_lock = false;
    w->woken = false;
    spin_lock(&b->lock);
    futex_insert(b, w);
    spin_unlock(&b->lock);
}

// Takes the waiter off its list unless a waker did; true when it was woken.
bool futex_dequeue(struct futex_waiter *w)
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

void futex_wake_waiter(struct futex_waiter *w)
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
        if (!futex_same_key(w->key, key))
            continue;
        if (w->owner || w->to_lock)
            return -EINVAL;         // waits for a lock: only the PI operations may wake it
        if (!(w->bitset & bitset))
            continue;
        futex_wake_waiter(w);
        woken++;
    }
    return (int)woken;
}

static int futex_wake(uptr addr, bool shared, u32 n, u32 bitset)
{
    struct futex_key key;
    if (!bitset)
        return -EINVAL;
    int err = futex_key_of(addr, shared, &key);
    if (err)
        return err;
    struct futex_bucket *b = futex_bucket_of(key);
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
    int err = futex_key_of(addr, shared, &key);
    if (err)
        return err;
    if (user_read_u32(addr, &now))
        return -EFAULT;
    if (now != val)
        return -EAGAIN;
    w.flag = &w.woken;
    futex_enqueue(&w, key, bitset);
    if (user_read_u32(addr, &now))
        return futex_dequeue(&w) ? 0 : -EFAULT;
    if (now != val)
        return futex_dequeue(&w) ? 0 : -EAGAIN;
    err = sleep_flag(&w.woken, deadline);
    if (futex_dequeue(&w))
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
    if (futex_key_of(from, shared, &key) || futex_key_of(to, shared, &to_key))
        return -EFAULT;
    struct futex_bucket *a = futex_bucket_of(key), *b = futex_bucket_of(to_key);
    u32 now;
    if (compare) {
        if (user_read_u32(from, &now))
            return -EFAULT;
        if (now != val)
            return -EAGAIN;
    }
    futex_lock_two(a, b);
    u32 woken = 0, moved = 0;
    for (struct list *l = a->waiters.next, *next; l != &a->waiters; l = next) {
        struct futex_waiter *w = list_entry(l, struct futex_waiter, node);
        next = l->next;
        if (!futex_same_key(w->key, key))
            continue;
        if (w->owner || w->to_lock) {
            futex_unlock_two(a, b);
            return -EINVAL;
        }
        if (woken < nwake) {
            futex_wake_waiter(w);
            woken++;
            continue;
        }
        if (moved == nrequeue)
            break;
        moved++;
        if (futex_same_key(key, to_key))
            continue;
        w->key = to_key;
        if (a != b) {
            list_remove(&w->node);
            futex_insert(b, w);
        }
    }
    futex_unlock_two(a, b);
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
    if (futex_key_of(addr, shared, &key) || futex_key_of(addr2, shared, &key2) || user_xchg_op_u32(addr2, (int)op, (u32)oparg, &old))
        return -EFAULT;
    struct futex_bucket *a = futex_bucket_of(key), *b = futex_bucket_of(key2);
    futex_lock_two(a, b);
    long woken = wake_locked(a, key, MAX(n, 1u), ~0u);
    if (woken >= 0 && wake_op_compare(cmp, (i32)old, cmparg)) {
        long more = wake_locked(b, key2, MAX(n2, 1u), ~0u);
        woken = more < 0 ? more : woken + more;
    }
    futex_unlock_two(a, b);
    return woken;
}

// --- the call ---------------------------------------------------------------------------------------------------------
// Relative for FUTEX_WAIT, absolute for the others; on the wall clock when asked for.
int futex_deadline(uptr p, int cmd, bool realtime, u64 *deadline)
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
        *deadline = MIN(ns, WALL_DEADLINE - 2) | WALL_DEADLINE;
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
    bool waits = cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET || cmd == FUTEX_LOCK_PI || cmd == FUTEX_LOCK_PI2 ||
                 cmd == FUTEX_WAIT_REQUEUE_PI;
    if (realtime && cmd != FUTEX_WAIT_BITSET && cmd != FUTEX_LOCK_PI2 && cmd != FUTEX_WAIT_REQUEUE_PI)
        return -ENOSYS;
    if (addr & 3)
        return -EINVAL;
    if (addr >= USER_MAX)
        return -EFAULT;
    if (waits) {
        int err = futex_deadline(r->arg[3], (int)cmd, realtime || cmd == FUTEX_LOCK_PI, &deadline);
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
    case FUTEX_WAIT_REQUEUE_PI:
        return addr2 & 3 ? -EINVAL : futex_wait_requeue_pi(addr, addr2, shared, val, deadline);
    case FUTEX_CMP_REQUEUE_PI:
        return addr2 & 3 ? -EINVAL : futex_cmp_requeue_pi(addr, addr2, shared, val, val2, val3);
    default:                        // FUTEX_FD is long gone
        return -ENOSYS;
    }
}
