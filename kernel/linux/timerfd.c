// SPDX-License-Identifier: Apache-2.0
// timerfd_create(2): timers that are read.
#include <linux/fcntl.h>
#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "posix_clock.h"
#include "process.h"
#include "syscalls.h"
#include "time.h"
#include "uaccess.h"

#define TFD_TIMER_ABSTIME_K 1u
#define TFD_TIMER_CANCEL_ON_SET_K 2u

struct timerfd {
    struct timer timer;
    spinlock_t lock;                // interrupts off: guards all below
    bool real;                      // CLOCK_REALTIME
    bool absolute;                  // of an absolute wall-clock time: moves when the clock is set
    bool cancel_on_set, canceled;
    u64 expires;                    // on its clock, ns; 0: disarmed
    u64 interval;
    u64 ticks;                      // expirations not yet read
    struct waitq readable;
    struct list node;               // real_list, under real_lock
};

struct itimerspec_k {
    struct timespec_k interval, value;
};

static struct list real_list = LIST_INIT(real_list);    // wall-clock timers
static spinlock_t real_lock = SPINLOCK_INIT;

static u64 now_of(const struct timerfd *t) { return t->real ? clock_real_ns() : clock_mono_ns(); }

static u64 to_mono(const struct timerfd *t, u64 at)
{
    u64 off = t->real ? clock_real_offset() : 0;
    return at > off ? at - off : 1;
}

// Counts what has expired until now and sets the next time. lock held.
static void advance(struct timerfd *t)
{
    u64 now = now_of(t);
    if (!t->expires || now < t->expires)
        return;
    if (!t->interval) {
        t->ticks++;
        t->expires = 0;
        return;
    }
    u64 n = (now - t->expires) / t->interval + 1;
    t->ticks += n;
    t->expires += n * t->interval;
}

static void fired(struct timer *timer)
{
    struct timerfd *t = container_of(timer, struct timerfd, timer);
    u64 flags = spin_lock_irqsave(&t->lock);
    advance(t);
    bool again = t->expires != 0;
    u64 next = again ? to_mono(t, t->expires) : 0;
    bool ready = t->ticks;
    spin_unlock_irqrestore(&t->lock, flags);
    // A periodic timer whose ticks nobody reads need not run: the reader counts what it missed. Waiters are woken each time, for
    // epoll's edge-triggered mode knows each tick as an event.
    if (again)
        timer_arm(timer, next);
    if (ready)
        waitq_wake(&t->readable, POLL_IN | POLL_RDNORM);
}

void timerfds_clock_set(void)
{
    u64 flags = spin_lock_irqsave(&real_lock);
    for (struct list *l = real_list.next; l != &real_list; l = l->next) {
        struct timerfd *t = list_entry(l, struct timerfd, node);
        if (!t->absolute || !t->expires)
            continue;
        if (t->cancel_on_set)
            t->canceled = true;
        timer_arm(&t->timer, to_mono(t, t->expires));
        if (t->canceled)
            waitq_wake(&t->readable, POLL_IN | POLL_RDNORM);
    }
    spin_unlock_irqrestore(&real_lock, flags);
}

static ssize_t timerfd_read(struct file *f, struct iter *it, u64 *pos)
{
    struct timerfd *t = f->priv;
    struct waiter w;
    u64 ticks = 0;
    int err = 0;
    (void)pos;
    if (it->left < sizeof(ticks))
        return -EINVAL;
    waitq_prepare(&t->readable, &w);
    for (;;) {
        u64 flags = spin_lock_irqsave(&t->lock);
        advance(t);
        if (t->canceled) {
            t->canceled = false;
            err = -ECANCELED;
        } else {
            ticks = t->ticks;
        }
        t->ticks = 0;
        spin_unlock_irqrestore(&t->lock, flags);
        if (ticks || err)
            break;
        err = f->flags & O_NONBLOCK ? -EAGAIN : waitq_sleep(&w, NO_DEADLINE, true);
        if (err)
            break;
    }
    waitq_finish(&w);
    if (err)
        return err;
    return iter_put(it, &ticks, sizeof(ticks)) == sizeof(ticks) ? (ssize_t)sizeof(ticks) : -EFAULT;
}

static u32 timerfd_poll(struct file *f, struct poll_table *pt)
{
    struct timerfd *t = f->priv;
    poll_wait(pt, f, &t->readable);
    u64 flags = spin_lock_irqsave(&t->lock);
    advance(t);
    bool ready = t->ticks || t->canceled;
    spin_unlock_irqrestore(&t->lock, flags);
    return ready ? POLL_IN | POLL_RDNORM : 0;
}

static void timerfd_release(struct file *f)
{
    struct timerfd *t = f->priv;
    u64 flags = spin_lock_irqsave(&real_lock);
    list_remove(&t->node);
    spin_unlock_irqrestore(&real_lock, flags);
    timer_cancel(&t->timer);
    kfree(t);
}

static const struct file_ops timerfd_ops = { .seek = seek_nowhere, .read = timerfd_read, .poll = timerfd_poll, .release = timerfd_release };

long sys_timerfd_create(struct regs *r)
{
    int clock = (int)r->arg[0];
    u32 flags = (u32)r->arg[1];
    bool real = clock == CLOCK_REALTIME_K || clock == CLOCK_REALTIME_ALARM_K;
    if (!real && clock != CLOCK_MONOTONIC_K && clock != CLOCK_BOOTTIME_K && clock != CLOCK_BOOTTIME_ALARM_K)
        return -EINVAL;
    if (flags & ~(u32)(O_CLOEXEC | O_NONBLOCK))
        return -EINVAL;
    struct timerfd *t = kzalloc(sizeof(*t));
    if (!t)
        return -ENOMEM;
    timer_init(&t->timer, fired);
    waitq_init(&t->readable);
    list_init(&t->node);
    t->real = real;
    struct file *f = anon_file(&timerfd_ops, t, O_RDWR | (flags & O_NONBLOCK), 0600, "anon_inode:[timerfd]");
    if (!f) {
        kfree(t);
        return -ENOMEM;
    }
    if (real) {
        u64 irq = spin_lock_irqsave(&real_lock);
        list_push(&real_list, &t->node);
        spin_unlock_irqrestore(&real_lock, irq);
    }
    int fd = fd_install(f, 0, flags & O_CLOEXEC);
    if (fd < 0)
        file_put(f);
    return fd;
}

static void describe(struct timerfd *t, struct itimerspec_k *out)
{
    u64 flags = spin_lock_irqsave(&t->lock);
    advance(t);
    u64 now = now_of(t), left = t->expires > now ? t->expires - now : 0, every = t->interval;
    spin_unlock_irqrestore(&t->lock, flags);
    out->interval = (struct timespec_k){ (i64)(every / NSEC_PER_SEC), (i64)(every % NSEC_PER_SEC) };
    out->value = (struct timespec_k){ (i64)(left / NSEC_PER_SEC), (i64)(left % NSEC_PER_SEC) };
}

static void set(struct timerfd *t, u64 value, u64 interval, u32 how)
{
    timer_cancel(&t->timer);
    u64 flags = spin_lock_irqsave(&t->lock);
    t->ticks = 0;
    t->canceled = false;
    t->interval = interval;
    t->absolute = t->real && (how & TFD_TIMER_ABSTIME_K);
    t->cancel_on_set = t->absolute && (how & TFD_TIMER_CANCEL_ON_SET_K);
    if (!value || (how & TFD_TIMER_ABSTIME_K))
        t->expires = value;
    else
        t->expires = value > ~0ull - now_of(t) ? ~0ull - 1 : now_of(t) + value;
    u64 at = t->expires ? to_mono(t, t->expires) : 0;
    spin_unlock_irqrestore(&t->lock, flags);
    if (at)
        timer_arm(&t->timer, at);
}

static struct timerfd *get(int fd, struct file **f, long *err)
{
    *f = fd_get(fd);
    *err = !*f ? -EBADF : (*f)->ops != &timerfd_ops ? -EINVAL : 0;
    if (*err && *f)
        file_put(*f);
    return *err ? NULL : (*f)->priv;
}

long sys_timerfd_settime(struct regs *r)
{
    u64 value, interval;
    u32 how = (u32)r->arg[1];
    struct itimerspec_k old;
    if (how & ~(TFD_TIMER_ABSTIME_K | TFD_TIMER_CANCEL_ON_SET_K))
        return -EINVAL;
    long err = timespec_from_user(r->arg[2], &interval);
    if (!err)
        err = timespec_from_user(r->arg[2] + sizeof(struct timespec_k), &value);
    if (err)
        return err;
    struct file *f;
    struct timerfd *t = get((int)r->arg[0], &f, &err);
    if (!t)
        return err;
    describe(t, &old);
    set(t, value, interval, how);
    file_put(f);
    return r->arg[3] ? copy_to_user(r->arg[3], &old, sizeof(old)) : 0;
}

long sys_timerfd_gettime(struct regs *r)
{
    struct itimerspec_k now;
    struct file *f;
    long err;
    struct timerfd *t = get((int)r->arg[0], &f, &err);
    if (!t)
        return err;
    describe(t, &now);
    file_put(f);
    return copy_to_user(r->arg[1], &now, sizeof(now));
}
