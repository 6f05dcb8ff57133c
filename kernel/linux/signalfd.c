// SPDX-License-Identifier: Apache-2.0
// signalfd(2): pending signals, read as records.
#include <linux/fcntl.h>
#include <linux/signalfd.h>
#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "process.h"
#include "signal_priv.h"
#include "syscalls.h"
#include "uaccess.h"

struct sigfd {
    sigset_k mask;
};

static void fill(struct signalfd_siginfo *out, const struct siginfo_k *in)
{
    memset(out, 0, sizeof(*out));
    out->ssi_signo = (u32)in->signo;
    out->ssi_errno = in->err;
    out->ssi_code = in->code;
    if (in->code == SI_TIMER_K) {
        out->ssi_tid = (u32)in->timer.timerid;
        out->ssi_overrun = (u32)in->timer.overrun;
        out->ssi_ptr = in->timer.value;
        out->ssi_int = (i32)in->timer.value;
    } else if (in->code > 0 && in->code != SI_KERNEL_K && (SIGBIT(in->signo) & SIG_SYNCHRONOUS)) {
        out->ssi_addr = in->fault.addr;
    } else {
        out->ssi_pid = (u32)in->kill.pid;
        out->ssi_uid = in->kill.uid;
        out->ssi_ptr = in->kill.value;
        out->ssi_int = (i32)in->kill.value;
    }
}

static ssize_t sigfd_read(struct file *f, struct iter *it, u64 *pos)
{
    struct sigfd *s = f->priv;
    struct signalfd_siginfo rec;
    struct siginfo_k info;
    struct waiter w;
    ssize_t done = 0;
    int err = 0;
    (void)pos;
    if (it->left < sizeof(rec))
        return -EINVAL;
    waitq_prepare(&the_process->signal_wait, &w);
    while (it->left >= sizeof(rec)) {
        if (!signal_dequeue(current(), s->mask, &info)) {
            if (done)
                break;
            err = f->flags & O_NONBLOCK ? -EAGAIN : waitq_sleep(&w, NO_DEADLINE, true);
            if (err)
                break;
            continue;
        }
        fill(&rec, &info);
        if (iter_put(it, &rec, sizeof(rec)) != sizeof(rec)) {
            err = -EFAULT;
            break;
        }
        done += (ssize_t)sizeof(rec);
    }
    waitq_finish(&w);
    return done ? done : err;
}

static u32 sigfd_poll(struct file *f, struct poll_table *pt)
{
    struct sigfd *s = f->priv;
    poll_wait(pt, f, &the_process->signal_wait);
    return (current()->pending.set | the_process->pending.set) & s->mask ? POLL_IN | POLL_RDNORM : 0;
}

static void sigfd_info(struct file *f, struct seqbuf *s)
{
    seq_printf(s, "sigmask:\t%016lx\n", (unsigned long)((struct sigfd *)f->priv)->mask);
}

static void sigfd_release(struct file *f) { kfree(f->priv); }

static const struct file_ops sigfd_ops = { .seek = seek_nowhere, .read = sigfd_read, .poll = sigfd_poll, .release = sigfd_release,
                                            .info = sigfd_info };

static long change_mask(int fd, sigset_k mask)
{
    struct file *f = fd_get(fd);
    if (!f)
        return -EBADF;
    bool ours = f->ops == &sigfd_ops;
    if (ours) {
        ((struct sigfd *)f->priv)->mask = mask;
        waitq_wake_all(&the_process->signal_wait);
    }
    file_put(f);
    return ours ? fd : -EINVAL;
}

static long make_sigfd(int fd, uptr umask, u64 size, u32 flags)
{
    sigset_k mask;
    if (flags & ~(u32)(O_CLOEXEC | O_NONBLOCK))
        return -EINVAL;
    if (size != sizeof(mask))
        return -EINVAL;
    if (copy_from_user(&mask, umask, sizeof(mask)))
        return -EFAULT;
    mask &= ~SIG_UNMASKABLE;
    if (fd != -1)
        return change_mask(fd, mask);
    struct sigfd *s = kzalloc(sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->mask = mask;
    struct file *f = anon_file(&sigfd_ops, s, O_RDWR | (flags & O_NONBLOCK), 0600, "anon_inode:[signalfd]");
    if (!f) {
        kfree(s);
        return -ENOMEM;
    }
    fd = fd_install(f, 0, flags & O_CLOEXEC);
    if (fd < 0)
        file_put(f);
    return fd;
}

long sys_signalfd(struct regs *r) { return make_sigfd((int)r->arg[0], r->arg[1], r->arg[2], 0); }
long sys_signalfd4(struct regs *r) { return make_sigfd((int)r->arg[0], r->arg[1], r->arg[2], (u32)r->arg[3]); }
