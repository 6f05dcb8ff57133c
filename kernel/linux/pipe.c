// SPDX-License-Identifier: Apache-2.0
// Pipes and fifos, pipe(7): a ring of pages. A write that fits behind the last byte is merged into its page, which also makes
// writes of up to PIPE_BUF bytes atomic: they lie in one page or in a fresh one.
#include <linux/fcntl.h>
#include <linux/stat.h>
#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "locks.h"
#include "page.h"
#include "process.h"
#include "signal_priv.h"
#include "syscalls.h"
#include "uaccess.h"

#define DEFAULT_SLOTS 16u           // 64 KiB
#define MAX_SIZE (1u << 20)         // /proc/sys/fs/pipe-max-size
#define F_SETPIPE_SZ_K 1031
#define F_GETPIPE_SZ_K 1032
#define FIONREAD_K 0x541b

struct slot {
    struct page *page;
    u32 off, len;
    bool packet;                    // O_DIRECT: read ends with it
};

struct pipe {
    struct mutex lock;              // guards all below but the queues
    struct waitq readable, writable;
    struct slot *slot;              // ring of nr_slots, a power of two
    u32 nr_slots, head, used;
    struct page *spare;             // the page freed last: a ping-pong needs no allocator
    u32 readers, writers;
    u32 r_count, w_count;           // opens so far, for fifo_open
    u32 refs;                       // files
    bool anon;                      // of pipe(2): opening it by /proc/self/fd waits for nobody
    struct path *name;              // and what that leads to, made when first asked for
};

static struct pipe *pipe_new(void)
{
    struct pipe *p = kzalloc(sizeof(*p));
    if (!p)
        return NULL;
    p->slot = kzalloc(DEFAULT_SLOTS * sizeof(*p->slot));
    if (!p->slot) {
        kfree(p);
        return NULL;
    }
    p->nr_slots = DEFAULT_SLOTS;
    mutex_init(&p->lock);
    waitq_init(&p->readable);
    waitq_init(&p->writable);
    return p;
}

static void pipe_free(struct pipe *p)
{
    for (u32 i = 0; i < p->used; i++)
        page_put(p->slot[(p->head + i) & (p->nr_slots - 1)].page);
    if (p->spare)
        page_put(p->spare);
    if (p->name) {
        path_inode(p->name)->priv = NULL;
        path_put(p->name);
    }
    kfree(p->slot);
    kfree(p);
}

static struct slot *slot_at(struct pipe *p, u32 i) { return &p->slot[(p->head + i) & (p->nr_slots - 1)]; }

// Waits on q with the pipe's lock released. 0 or -ERESTARTSYS.
static int pipe_wait(struct pipe *p, struct waitq *q)
{
    struct waiter w;
    waitq_prepare(q, &w);
    mutex_unlock(&p->lock);
    int err = waitq_sleep(&w, NO_DEADLINE, true);
    waitq_finish(&w);
    mutex_lock(&p->lock);
    return err;
}

static void slot_done(struct pipe *p, struct slot *s)
{
    if (p->spare)
        page_put(s->page);
    else
        p->spare = s->page;
    s->page = NULL;
    p->head = (p->head + 1) & (p->nr_slots - 1);
    p->used--;
}

static ssize_t take(struct pipe *p, struct iter *it)
{
    ssize_t done = 0;
    while (p->used && it->left) {
        struct slot *s = slot_at(p, 0);
        u32 n = (u32)MIN((u64)s->len, it->left);
        size_t moved = iter_put(it, (char *)page_va(s->page) + s->off, n);
        done += (ssize_t)moved;
        bool packet = s->packet;
        s->off += (u32)moved;
        s->len -= (u32)moved;
        if (moved < n)
            return done ? done : -EFAULT;
        if (!s->len || packet)              // what a packet's reader has no room for is lost
            slot_done(p, s);
        if (packet)
            break;
    }
    return done;
}

static ssize_t pipe_read(struct file *f, struct iter *it, u64 *pos)
{
    struct pipe *p = f->priv;
    ssize_t ret = 0;
    (void)pos;
    if (!it->left)
        return 0;
    mutex_lock(&p->lock);
    while (!p->used && p->writers && !ret)
        ret = f->flags & O_NONBLOCK ? -EAGAIN : pipe_wait(p, &p->readable);
    if (p->used && !ret) {
        bool was_full = p->used == p->nr_slots;
        ret = take(p, it);
        if (was_full && p->used < p->nr_slots)      // edge-triggered writers see one event for it, as on Linux
            waitq_wake(&p->writable, POLL_OUT | POLL_WRNORM);
    }
    mutex_unlock(&p->lock);
    return ret;
}

// Puts a small piece behind the last byte of the last page when all of it fits there.
static ssize_t merge(struct pipe *p, struct iter *it, u32 n)
{
    if (!p->used || !n)
        return 0;
    struct slot *s = slot_at(p, p->used - 1);
    if (s->packet || s->off + s->len + n > PAGE_SIZE)
        return 0;
    size_t got = iter_get(it, (char *)page_va(s->page) + s->off + s->len, n);
    s->len += (u32)got;
    return got < n ? -EFAULT : (ssize_t)got;
}

static ssize_t add_page(struct pipe *p, struct iter *it, bool packet)
{
    struct page *pg = p->spare ? p->spare : page_alloc(0, 0);
    p->spare = NULL;
    if (!pg)
        return -ENOMEM;
    u32 n = (u32)MIN((u64)PAGE_SIZE, it->left);
    size_t got = iter_get(it, page_va(pg), n);
    if (got < n) {
        p->spare = pg;
        return -EFAULT;
    }
    *slot_at(p, p->used) = (struct slot){ pg, 0, n, packet };
    p->used++;
    return n;
}

static ssize_t fill(struct file *f, struct pipe *p, struct iter *it)
{
    bool packet = f->flags & O_DIRECT;
    ssize_t done = packet ? 0 : merge(p, it, (u32)(it->left & (PAGE_SIZE - 1)));
    if (done < 0)
        return done;
    while (it->left) {
        ssize_t n = !p->readers ? -EPIPE : 0;
        if (!n && p->used < p->nr_slots) {
            n = add_page(p, it, packet);
            if (n > 0) {
                done += n;
                continue;
            }
        } else if (!n) {
            waitq_wake(&p->readable, POLL_IN | POLL_RDNORM);
            n = f->flags & O_NONBLOCK ? -EAGAIN : pipe_wait(p, &p->writable);
            if (!n)
                continue;
        }
        return done ? done : n;
    }
    return done;
}

static ssize_t pipe_write(struct file *f, struct iter *it, u64 *pos)
{
    struct pipe *p = f->priv;
    (void)pos;
    if (!it->left)
        return 0;
    mutex_lock(&p->lock);
    ssize_t ret = p->readers ? fill(f, p, it) : -EPIPE;
    if (ret > 0)
        waitq_wake(&p->readable, POLL_IN | POLL_RDNORM);
    mutex_unlock(&p->lock);
    if (ret == -EPIPE)
        signal_thread(current(), SIG_PIPE, NULL);
    return ret;
}

static u32 pipe_poll(struct file *f, struct poll_table *pt)
{
    struct pipe *p = f->priv;
    u32 ev = 0, mode = f->flags & O_ACCMODE;
    if (mode != O_WRONLY) {
        poll_wait(pt, f, &p->readable);
        if (p->used)
            ev |= POLL_IN | POLL_RDNORM;
        if (!p->writers && p->w_count)
            ev |= POLL_HUP;
    }
    if (mode != O_RDONLY) {
        poll_wait(pt, f, &p->writable);
        if (p->used < p->nr_slots)
            ev |= POLL_OUT | POLL_WRNORM;
        if (!p->readers)
            ev |= POLL_ERR;
    }
    return ev;
}

static long pipe_ioctl(struct file *f, u32 cmd, uptr arg)
{
    struct pipe *p = f->priv;
    u32 n = 0;
    if (cmd != FIONREAD_K)
        return -ENOTTY;
    mutex_lock(&p->lock);
    for (u32 i = 0; i < p->used; i++)
        n += slot_at(p, i)->len;
    mutex_unlock(&p->lock);
    return user_write_u32(arg, n);
}

static void pipe_release(struct file *f)
{
    struct pipe *p = f->priv;
    u32 mode = f->flags & O_ACCMODE;
    mutex_lock(&p->lock);
    if (mode != O_WRONLY)
        p->readers--;
    if (mode != O_RDONLY)
        p->writers--;
    bool last = --p->refs == 0;
    if (last && f->inode && f->inode->priv == p)
        f->inode->priv = NULL;
    mutex_unlock(&p->lock);
    if (last) {
        pipe_free(p);
        return;
    }
    waitq_wake_all(&p->readable);
    waitq_wake_all(&p->writable);
}

static const struct file_ops pipe_ops = {
    .read = pipe_read, .write = pipe_write, .poll = pipe_poll, .ioctl = pipe_ioctl, .release = pipe_release,
    .async = true,
};

static int resize(struct pipe *p, u64 size)
{
    u32 slots = 1;
    if (size > MAX_SIZE)
        return size > 0x80000000ul ? -EINVAL : !capable(CAP_SYS_RESOURCE) ? -EPERM : -ENOMEM;
    while ((u64)slots * PAGE_SIZE < size)
        slots *= 2;
    if (slots < p->used)
        return -EBUSY;
    struct slot *ring = kzalloc(slots * sizeof(*ring));
    if (!ring)
        return -ENOMEM;
    for (u32 i = 0; i < p->used; i++)
        ring[i] = *slot_at(p, i);
    kfree(p->slot);
    p->slot = ring;
    p->nr_slots = slots;
    p->head = 0;
    waitq_wake(&p->writable, POLL_OUT | POLL_WRNORM);
    return (int)(slots * PAGE_SIZE);
}

long pipe_fcntl(struct file *f, u32 cmd, u64 arg)
{
    if (f->ops != &pipe_ops)
        return -EBADF;
    struct pipe *p = f->priv;
    mutex_lock(&p->lock);
    long ret = cmd == F_SETPIPE_SZ_K ? resize(p, arg) : (long)p->nr_slots * (long)PAGE_SIZE;
    mutex_unlock(&p->lock);
    return ret;
}

// fifo(7): open waits for the other end, except O_RDWR; O_NONBLOCK readers do not wait, O_NONBLOCK writers get ENXIO.
static int fifo_wait(struct pipe *p, u32 *count, const volatile u32 *others, struct waitq *q)
{
    u32 seen = *count;
    while (!*others && *count == seen) {
        int err = pipe_wait(p, q);
        if (err)
            return err;
    }
    return 0;
}

static int fifo_meet(struct file *f, struct pipe *p)
{
    switch (f->flags & O_ACCMODE) {
    case O_RDONLY:
        p->readers++;
        p->r_count++;
        waitq_wake_all(&p->writable);
        return p->anon || (f->flags & O_NONBLOCK) ? 0 : fifo_wait(p, &p->w_count, &p->writers, &p->readable);
    case O_WRONLY:
        if ((f->flags & O_NONBLOCK) && !p->readers && !p->anon)
            return -ENXIO;
        p->writers++;
        p->w_count++;
        waitq_wake_all(&p->readable);
        return p->anon ? 0 : fifo_wait(p, &p->r_count, &p->readers, &p->writable);
    }
    p->readers++;
    p->writers++;
    p->r_count++;
    p->w_count++;
    waitq_wake_all(&p->readable);
    waitq_wake_all(&p->writable);
    return 0;
}

struct path *pipe_name(struct file *f)
{
    struct pipe *p = f->priv;
    if (f->ops != &pipe_ops || !p->anon)
        return NULL;
    mutex_lock(&p->lock);
    if (!p->name) {
        p->name = anon_path(f);
        if (p->name)
            path_inode(p->name)->priv = p;
    }
    struct path *name = p->name ? path_get(p->name) : err_ptr(-ENOMEM);
    mutex_unlock(&p->lock);
    return name;
}

int fifo_open(struct file *f)
{
    static struct mutex making = MUTEX_INIT(making);
    mutex_lock(&making);
    struct pipe *p = f->inode->priv;
    if (!p)
        p = f->inode->priv = pipe_new();
    if (!p) {
        mutex_unlock(&making);
        return -ENOMEM;
    }
    mutex_lock(&p->lock);
    mutex_unlock(&making);
    p->refs++;
    int err = fifo_meet(f, p);
    if (err == -ENXIO) {
        bool last = --p->refs == 0;
        if (last)
            f->inode->priv = NULL;
        mutex_unlock(&p->lock);
        if (last)
            pipe_free(p);
        return err;
    }
    mutex_unlock(&p->lock);
    f->ops = &pipe_ops;             // from here on release() undoes what was done
    f->priv = p;
    return err;
}

static long make_pipe(uptr ufds, u32 flags)
{
    if (flags & ~(u32)(O_CLOEXEC | O_NONBLOCK | O_DIRECT))
        return -EINVAL;
    struct pipe *p = pipe_new();
    if (!p)
        return -ENOMEM;
    p->anon = true;
    u32 status = flags & (O_NONBLOCK | O_DIRECT);
    struct file *r = anon_file(&pipe_ops, p, O_RDONLY | (status & O_NONBLOCK), S_IFIFO | 0600, "pipe");
    struct file *w = anon_file(&pipe_ops, p, O_WRONLY | status, S_IFIFO | 0600, "pipe");
    p->refs = p->readers = p->writers = p->r_count = p->w_count = 1;
    if (!r || !w) {
        if (r)
            file_put(r);
        else if (w)
            file_put(w);
        else
            pipe_free(p);
        return -ENOMEM;
    }
    p->refs = 2;
    int fds[2];
    long err = fds[0] = fd_install(r, 0, flags & O_CLOEXEC);
    if (err < 0) {
        file_put(r);
        file_put(w);
        return err;
    }
    err = fds[1] = fd_install(w, 0, flags & O_CLOEXEC);
    if (err < 0) {
        fd_close(fds[0]);
        file_put(w);
        return err;
    }
    if (copy_to_user(ufds, fds, sizeof(fds))) {
        fd_close(fds[0]);
        fd_close(fds[1]);
        return -EFAULT;
    }
    return 0;
}

long sys_pipe(struct regs *r) { return make_pipe(r->arg[0], 0); }
long sys_pipe2(struct regs *r) { return make_pipe(r->arg[0], (u32)r->arg[1]); }

// tee(2): up to n bytes from the front that stay where they are. 0: no data and no writer; -EAGAIN: no data yet.
ssize_t pipe_peek(struct file *f, void *buf, size_t n)
{
    struct pipe *p = f->priv;
    size_t done = 0;
    mutex_lock(&p->lock);
    for (u32 i = 0; i < p->used && done < n; i++) {
        struct slot *s = slot_at(p, i);
        size_t k = MIN((size_t)s->len, n - done);
        memcpy((char *)buf + done, (char *)page_va(s->page) + s->off, k);
        done += k;
    }
    bool ended = !p->writers;
    mutex_unlock(&p->lock);
    return done || ended ? (ssize_t)done : -EAGAIN;
}
