// SPDX-License-Identifier: Apache-2.0
// futex_waitv(2): waiting for several futexes at once.
#include "errno.h"
#include "futex.h"
#include "kmalloc.h"
#include "lib.h"
#include "syscalls.h"
#include "uaccess.h"

#define WAITV_LIMIT 128
#ifndef FUTEX_32                    // headers older than Linux 5.16 (Ubuntu 22.04)
#define FUTEX_32 2
#endif

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
        err = futex_key_of(v[queued].addr, !(v[queued].flags & FUTEX_PRIVATE_FLAG), &key);
        if (err)
            break;
        w[queued].flag = &any;
        futex_enqueue(&w[queued], key, FUTEX_BITSET_MATCH_ANY);
        if (user_read_u32(v[queued].addr, &now))
            err = -EFAULT;
        else if (now != (u32)v[queued].val)
            err = -EAGAIN;
    }
    if (!err)
        err = sleep_flag(&any, deadline);
    for (u32 i = 0; i < queued; i++)
        if (futex_dequeue(&w[i]))
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
        int err = futex_deadline(r->arg[3], FUTEX_WAIT_BITSET, clock == 0, &deadline);
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
