// SPDX-License-Identifier: Apache-2.0
// Files that signal their owner: O_ASYNC, F_SETOWN, F_SETSIG (fcntl(2), socket(7)); SIGURG. As Linux's fs/fcntl.c and net/socket.c:
// who is told is kept with the open file, and a callback on its wait queues tells.
#include "errno.h"
#include "fasync.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "poll.h"
#include "process.h"
#include "signal_priv.h"
#include "uaccess.h"

#include <linux/fcntl.h>

#define SIG_URG 23
#define SIG_IO 29
// asm-generic/siginfo.h: what happened, and as poll(2) has it.
enum { CODE_IN = 1, CODE_OUT = 2, CODE_ERR = 4, CODE_PRI = 5, CODE_HUP = 6 };
#define MAX_QUEUES 2

struct fasync {
    struct file *file;          // not counted: it goes with the file
    int owner, type;            // as set, F_OWNER_*; 0: nobody
    int sig;                    // F_SETSIG
    int fd;                     // through which O_ASYNC was set
    u32 nr_queues;
    struct queue {              // those of the file
        struct waiter w;
        struct fasync *async;
    } queue[MAX_QUEUES];
};

static struct fasync *fasync_of(struct file *f)
{
    if (!f->async) {
        f->async = kzalloc(sizeof(*f->async));
        if (f->async) {
            f->async->file = f;
            f->async->type = F_OWNER_PID;
        }
    }
    return f->async;
}

// --- Signals ----------------------------------------------------------------------------------------------------------------

static int deliver(const struct fasync *a, int sig, const struct siginfo_k *info)
{
    struct process *p = the_process;
    if (a->type != F_OWNER_TID)
        return signal_process(p, sig, info);
    struct thread *t = process_find_thread(a->owner);
    return t ? signal_thread(t, sig, info) : 0;
}

static void tell(const struct fasync *a, int code)
{
    static const u16 band[] = {
        [CODE_IN] = POLL_IN | POLL_RDNORM, [CODE_OUT] = POLL_OUT | POLL_WRNORM | POLL_WRBAND, [CODE_ERR] = POLL_ERR,
        [CODE_PRI] = POLL_PRI | POLL_RDBAND, [CODE_HUP] = POLL_HUP | POLL_ERR,
    };
    struct siginfo_k info = { .code = code, .poll = { .band = band[code], .fd = a->fd } };
    if (!a->owner)
        return;
    if (!a->sig || deliver(a, a->sig, &info))   // no room for another one: fcntl(2), F_SETSIG
        deliver(a, SIG_IO, NULL);
}

static int code_of(u32 events, bool writers)
{
    if (!events)
        return writers ? CODE_OUT : CODE_IN;
    if (events & POLL_ERR)
        return CODE_ERR;
    if (events & POLL_HUP)
        return CODE_HUP;
    if (events & POLL_RDNORM)
        return CODE_IN;
    return events & POLL_OUT ? CODE_OUT : events & POLL_IN ? CODE_IN : CODE_PRI;
}

static bool on_event(struct waiter *w, u32 events)
{
    struct queue *q = container_of(w, struct queue, w);
    struct fasync *a = q->async;
    bool writers = q != &a->queue[0] || (a->file->flags & O_ACCMODE) == O_WRONLY;
    int code = code_of(events, writers);
    if (code != CODE_PRI || a->sig)             // of urgent data SIGURG tells, unless another signal was asked for
        tell(a, code);
    return false;
}

void fasync_urgent(struct file *f)
{
    if (f && f->async && f->async->owner)
        deliver(f->async, SIG_URG, NULL);
}

// --- O_ASYNC ----------------------------------------------------------------------------------------------------------------

struct adder {
    struct poll_table pt;
    struct fasync *a;
};

static void add_queue(struct poll_table *pt, struct file *f, struct waitq *q)
{
    struct fasync *a = container_of(pt, struct adder, pt)->a;
    (void)f;
    if (a->nr_queues == MAX_QUEUES)
        return;
    struct queue *mine = &a->queue[a->nr_queues++];
    *mine = (struct queue){ { .fn = on_event }, a };
    waitq_add(q, &mine->w);
}

static void stop(struct fasync *a)
{
    for (u32 i = 0; i < a->nr_queues; i++)
        waitq_del(&a->queue[i].w);
    a->nr_queues = 0;
}

int fasync_set(struct file *f, int fd, bool on)
{
    if (!f->ops || !f->ops->async)
        return 0;                               // the flag stays, as on Linux, and does nothing
    struct fasync *a = fasync_of(f);
    if (!a)
        return -ENOMEM;
    a->fd = fd;
    if (!on) {
        stop(a);
    } else if (!a->nr_queues) {
        struct adder add = { { add_queue }, a };
        f->ops->poll(f, &add.pt);
    }
    return 0;
}

void fasync_file_released(struct file *f)
{
    stop(f->async);
    kfree(f->async);
}

// --- fcntl ------------------------------------------------------------------------------------------------------------------

struct owner_ex {
    i32 type, pid;
};

static bool exists(int type, int pid)
{
    if (pid == the_process->pid)
        return true;
    if (type == F_OWNER_PGRP)
        return false;
    spin_lock(&the_process->thread_lock);
    bool found = process_find_thread(pid) != NULL;
    spin_unlock(&the_process->thread_lock);
    return found;
}

static long set_owner(struct file *f, int type, int pid)
{
    if (pid && (pid < 0 || !exists(type, pid)))
        return -ESRCH;
    struct fasync *a = fasync_of(f);
    if (!a)
        return -ENOMEM;
    a->type = type;
    a->owner = pid;
    return 0;
}

static long set_owner_ex(struct file *f, uptr arg)
{
    struct owner_ex o;
    if (copy_from_user(&o, arg, sizeof(o)))
        return -EFAULT;
    if (o.type < F_OWNER_TID || o.type > F_OWNER_PGRP)
        return -EINVAL;
    return set_owner(f, o.type, o.pid);
}

static long set_own(struct file *f, int who)
{
    if (who == (int)0x80000000)
        return -EINVAL;
    return who < 0 ? set_owner(f, F_OWNER_PGRP, -who) : set_owner(f, F_OWNER_PID, who);
}

static long get_own(const struct file *f)
{
    const struct fasync *a = f->async;
    return !a ? 0 : a->type == F_OWNER_PGRP ? -a->owner : a->owner;
}

long fasync_fcntl(struct file *f, u32 cmd, u64 arg)
{
    switch (cmd) {
    case F_SETOWN:
        return set_own(f, (int)arg);
    case F_GETOWN:
        return get_own(f);
    case F_SETOWN_EX:
        return set_owner_ex(f, arg);
    case F_GETOWN_EX: {
        struct owner_ex o = { f->async ? f->async->type : F_OWNER_TID, f->async ? f->async->owner : 0 };
        return copy_to_user(arg, &o, sizeof(o));
    }
    case F_SETSIG:
        if (arg > SIG_MAX)
            return -EINVAL;
        if (!fasync_of(f))
            return -ENOMEM;
        f->async->sig = (int)arg;
        return 0;
    case F_GETSIG:
        return f->async ? f->async->sig : 0;
    default:
        return -EINVAL;
    }
}

// socket(7): the same by ioctl.
long fasync_ioctl(struct file *f, u32 cmd, uptr arg)
{
    u32 who;
    if (cmd == FIOGETOWN_K || cmd == SIOCGPGRP_K)
        return user_write_u32(arg, (u32)get_own(f));
    return user_read_u32(arg, &who) ? -EFAULT : set_own(f, (int)who);
}
