// SPDX-License-Identifier: Apache-2.0
// eventfd(2): a counter that can be waited for.
#include <linux/fcntl.h>
#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "process.h"
#include "syscalls.h"
#include "uaccess.h"

#define EFD_SEMAPHORE_K 1u
#define COUNT_MAX 0xfffffffffffffffeull

struct eventfd {
    struct mutex lock;
    u64 count;
    bool semaphore;
    struct waitq readable, writable;
};

static int wait_for_change(struct file *f, struct eventfd *e, struct waitq *q)
{
    if (f->flags & O_NONBLOCK)
        return -EAGAIN;
    struct waiter w;
    waitq_prepare(q, &w);
    mutex_unlock(&e->lock);
    int err = waitq_sleep(&w, NO_DEADLINE, true);
    waitq_finish(&w);
    mutex_lock(&e->lock);
    return err;
}

static ssize_t eventfd_read(struct file *f, struct iter *it, u64 *pos)
{
    struct eventfd *e = f->priv;
    int err = 0;
    u64 v = 0;
    (void)pos;
    if (it->left < sizeof(v))
        return -EINVAL;
    mutex_lock(&e->lock);
    while (!e->count && !err)
        err = wait_for_change(f, e, &e->readable);
    if (!err) {
        v = e->semaphore ? 1 : e->count;
        e->count -= v;
        waitq_wake(&e->writable, POLL_OUT | POLL_WRNORM);
        if (e->count)
            waitq_wake(&e->readable, POLL_IN | POLL_RDNORM);
    }
    mutex_unlock(&e->lock);
    if (err)
        return err;
    return iter_put(it, &v, sizeof(v)) == sizeof(v) ? (ssize_t)sizeof(v) : -EFAULT;
}

static ssize_t eventfd_write(struct file *f, struct iter *it, u64 *pos)
{
    struct eventfd *e = f->priv;
    int err = 0;
    u64 v;
    (void)pos;
    if (it->left < sizeof(v))
        return -EINVAL;
    if (iter_get(it, &v, sizeof(v)) != sizeof(v))
        return -EFAULT;
    if (v == ~0ull)
        return -EINVAL;
    mutex_lock(&e->lock);
    while (v > COUNT_MAX - e->count && !err)
        err = wait_for_change(f, e, &e->writable);
    if (!err) {
        e->count += v;
        if (v)
            waitq_wake(&e->readable, POLL_IN | POLL_RDNORM);
    }
    mutex_unlock(&e->lock);
    return err ? err : (ssize_t)sizeof(v);
}

static u32 eventfd_poll(struct file *f, struct poll_table *pt)
{
    struct eventfd *e = f->priv;
    poll_wait(pt, f, &e->readable);
    poll_wait(pt, f, &e->writable);
    return (e->count ? POLL_IN | POLL_RDNORM : 0) | (e->count < COUNT_MAX ? POLL_OUT | POLL_WRNORM : 0);
}

static void eventfd_info(struct file *f, struct seqbuf *s)
{
    struct eventfd *e = f->priv;
    seq_printf(s, "eventfd-count: %16lx\n", (unsigned long)e->count);
}

static void eventfd_release(struct file *f) { kfree(f->priv); }

static const struct file_ops eventfd_ops = {
    .seek = seek_nowhere, .read = eventfd_read, .write = eventfd_write, .poll = eventfd_poll, .release = eventfd_release,
    .info = eventfd_info,
};

static long make_eventfd(u32 count, u32 flags)
{
    if (flags & ~(EFD_SEMAPHORE_K | (u32)O_CLOEXEC | (u32)O_NONBLOCK))
        return -EINVAL;
    struct eventfd *e = kzalloc(sizeof(*e));
    if (!e)
        return -ENOMEM;
    mutex_init(&e->lock);
    waitq_init(&e->readable);
    waitq_init(&e->writable);
    e->count = count;
    e->semaphore = flags & EFD_SEMAPHORE_K;
    struct file *f = anon_file(&eventfd_ops, e, O_RDWR | (flags & O_NONBLOCK), 0600, "anon_inode:[eventfd]");
    if (!f) {
        kfree(e);
        return -ENOMEM;
    }
    int fd = fd_install(f, 0, flags & O_CLOEXEC);
    if (fd < 0)
        file_put(f);
    return fd;
}

long sys_eventfd(struct regs *r) { return make_eventfd((u32)r->arg[0], 0); }
long sys_eventfd2(struct regs *r) { return make_eventfd((u32)r->arg[0], (u32)r->arg[1]); }
