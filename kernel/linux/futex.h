// SPDX-License-Identifier: Apache-2.0
#ifndef UNI_FUTEX_PRIV_H
#define UNI_FUTEX_PRIV_H

#include <linux/futex.h>
#include "list.h"
#include "sched.h"
#include "spinlock.h"

struct futex_bucket {
    spinlock_t lock;                // guards the list
    struct list waiters;            // real-time threads first, by priority
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
    u32 owner;                      // waits for a lock with priority inheritance: the number of the thread that has it; else 0
    uptr lock_addr;                 // and where its word is
    bool to_lock;                   // FUTEX_WAIT_REQUEUE_PI, not yet requeued, to `target`
    struct futex_key target;
    struct futex_bucket *bucket;    // changes by requeue, under both locks
    volatile bool woken;
    volatile bool *flag;            // what the thread sleeps on: &woken, or one flag for all of a futex_waitv
};

void futex_init(void);
void futex_thread_exit(struct thread *t);       // walks the robust list
int futex_wake_addr(uptr addr, u32 n);

// Between futex.c, futex_pi.c and futex_waitv.c.
#define FUTEX_BUCKETS 64
extern struct futex_bucket futex_buckets[FUTEX_BUCKETS];
struct futex_bucket *futex_bucket_of(struct futex_key k);
static inline bool futex_same_key(struct futex_key a, struct futex_key b) { return a.offset == b.offset && a.object == b.object; }
int futex_key_of(uptr addr, bool shared, struct futex_key *k);
void futex_enqueue(struct futex_waiter *w, struct futex_key key, u32 bitset);
void futex_insert(struct futex_bucket *b, struct futex_waiter *w);     // at its place in the locked bucket's list
bool futex_dequeue(struct futex_waiter *w);     // off the list unless a waker did that; true when it was woken
void futex_wake_waiter(struct futex_waiter *w); // its bucket is locked
void futex_lock_two(struct futex_bucket *a, struct futex_bucket *b);
void futex_unlock_two(struct futex_bucket *a, struct futex_bucket *b);
int futex_deadline(uptr timespec, int cmd, bool realtime, u64 *deadline);

long futex_lock_pi(uptr addr, bool shared, u64 deadline, bool try_only);
long futex_unlock_pi(uptr addr, bool shared);
long futex_wait_requeue_pi(uptr addr, uptr lock, bool shared, u32 val, u64 deadline);
long futex_cmp_requeue_pi(uptr addr, uptr lock, bool shared, u32 nwake, u32 nrequeue, u32 val);
void futex_pi_thread_exit(struct thread *t);    // its locks go to those who wait for them

#endif
