// SPDX-License-Identifier: Apache-2.0
// epoll(7). An item registers a callback on its file's wait queues; the callback puts it on the ready list. epoll_wait asks the
// ready ones what they really have, so a stale wake-up costs a question and never a wrong answer.
#include <linux/fcntl.h>
#include <linux/stat.h>
#include "epoll.h"
#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "process.h"
#include "syscalls.h"
#include "uaccess.h"

#define EP_CTL_ADD 1
#define EP_CTL_DEL 2
#define EP_CTL_MOD 3
#define EP_EXCLUSIVE_OK (EP_EXCLUSIVE | EP_WAKEUP | EP_ET | POLL_IN | POLL_OUT | POLL_ERR | POLL_HUP)
#define EP_MAX_DEPTH 5              // epoll files watched by epoll files, as in Linux

struct adder {
    struct poll_table pt;
    struct epitem *item;
    int err;
};

static struct mutex files_lock = MUTEX_INIT(files_lock);    // every file->epoll_watches; taken before epoll->lock

bool epoll_item_ready(struct epitem *it)
{
    if (!list_empty(&it->ready_node))
        return false;
    list_push(&it->ep->ready, &it->ready_node);
    return true;
}

static bool epoll_callback(struct waiter *w, u32 events)
{
    struct epitem *it = container_of(w, struct epwait, w)->item;
    struct epoll *ep = it->ep;
    u64 flags = spin_lock_irqsave(&ep->ready_lock);
    bool wanted = (it->events & ~EP_PRIVATE) && (!events || (events & it->events));
    if (wanted)
        epoll_item_ready(it);
    spin_unlock_irqrestore(&ep->ready_lock, flags);
    if (!wanted)
        return false;
    bool sleeper = !list_empty(&ep->wait.waiters);
    waitq_wake(&ep->wait, POLL_IN);
    waitq_wake(&ep->poll_wait, POLL_IN | POLL_RDNORM);
    return sleeper;                 // an exclusive wake-up that reached nobody goes on to the next epoll
}

static void epoll_add_queue(struct poll_table *pt, struct file *f, struct waitq *q)
{
    struct adder *a = container_of(pt, struct adder, pt);
    struct epitem *it = a->item;
    struct epwait *e = it->nr_waits ? kzalloc(sizeof(*e)) : &it->first;
    (void)f;
    if (!e) {
        a->err = -ENOMEM;
        return;
    }
    e->item = it;
    if (it->nr_waits++) {
        e->next = it->more;
        it->more = e;
    }
    e->w.fn = epoll_callback;
    e->w.exclusive = it->events & EP_EXCLUSIVE;
    waitq_add(q, &e->w);
}

u32 epoll_item_poll(struct epitem *it, struct poll_table *pt)
{
    return it->file->ops->poll(it->file, pt) & it->events;
}

static int compare(const struct epitem *it, const struct file *f, int fd)
{
    if (it->file != f)
        return (u64)f < (u64)it->file ? -1 : 1;
    return fd < it->fd ? -1 : fd > it->fd;
}

static struct epitem *item_find(struct epoll *ep, const struct file *f, int fd)
{
    for (struct rbnode *n = ep->items.root; n;) {
        struct epitem *it = container_of(n, struct epitem, node);
        int c = compare(it, f, fd);
        if (!c)
            return it;
        n = c < 0 ? n->left : n->right;
    }
    return NULL;
}

static void item_link(struct epoll *ep, struct epitem *it)
{
    struct rbnode *parent = NULL, **link = &ep->items.root;
    while (*link) {
        parent = *link;
        link = compare(container_of(parent, struct epitem, node), it->file, it->fd) < 0 ? &parent->left : &parent->right;
    }
    rb_insert(&ep->items, &it->node, parent, link);
}

// files_lock and ep->lock held.
static void item_remove(struct epitem *it)
{
    struct epoll *ep = it->ep;
    waitq_del(&it->first.w);
    for (struct epwait *e = it->more, *next; e; e = next) {
        next = e->next;
        waitq_del(&e->w);
        kfree(e);
    }
    u64 flags = spin_lock_irqsave(&ep->ready_lock);
    list_remove(&it->ready_node);
    spin_unlock_irqrestore(&ep->ready_lock, flags);
    list_remove(&it->file_node);
    rb_erase(&ep->items, &it->node);
    kfree(it);
}

void epoll_file_released(struct file *f)
{
    mutex_lock(&files_lock);
    while (!list_empty(&f->epoll_watches)) {
        struct epitem *it = list_entry(f->epoll_watches.next, struct epitem, file_node);
        struct epoll *ep = it->ep;
        mutex_lock(&ep->lock);
        item_remove(it);
        mutex_unlock(&ep->lock);
    }
    mutex_unlock(&files_lock);
}

// --- The epoll file ---------------------------------------------------------------------------------------------------

// Is anything really ready? Items that are not leave the list. ep->lock held.
static bool anything_ready(struct epoll *ep)
{
    for (;;) {
        u64 flags = spin_lock_irqsave(&ep->ready_lock);
        struct list *l = list_pop(&ep->ready);
        spin_unlock_irqrestore(&ep->ready_lock, flags);
        if (!l)
            return false;
        struct epitem *it = list_entry(l, struct epitem, ready_node);
        if (!epoll_item_poll(it, NULL))
            continue;
        flags = spin_lock_irqsave(&ep->ready_lock);
        if (list_empty(&it->ready_node))
            list_unshift(&ep->ready, &it->ready_node);
        spin_unlock_irqrestore(&ep->ready_lock, flags);
        return true;
    }
}

static u32 epoll_poll(struct file *f, struct poll_table *pt)
{
    struct epoll *ep = f->priv;
    poll_wait(pt, f, &ep->poll_wait);
    mutex_lock(&ep->lock);
    bool ready = anything_ready(ep);
    mutex_unlock(&ep->lock);
    return ready ? POLL_IN | POLL_RDNORM : 0;
}

static void epoll_release(struct file *f)
{
    struct epoll *ep = f->priv;
    mutex_lock(&files_lock);
    mutex_lock(&ep->lock);
    while (ep->items.root)
        item_remove(container_of(ep->items.root, struct epitem, node));
    mutex_unlock(&ep->lock);
    mutex_unlock(&files_lock);
    kfree(ep);
}

static void epoll_info(struct file *f, struct seqbuf *s)
{
    struct epoll *ep = f->priv;
    mutex_lock(&ep->lock);
    for (struct rbnode *n = rb_first(&ep->items); n; n = rb_next(n)) {
        const struct epitem *it = container_of(n, struct epitem, node);
        seq_printf(s, "tfd: %8d events: %8x data: %16lx  pos:%lu ino:%lx sdev:%x\n", it->fd, it->events, (unsigned long)it->data,
                   (unsigned long)it->file->pos, it->file->inode ? (unsigned long)it->file->inode->ino : 0,
                   it->file->inode ? (unsigned)it->file->inode->sb->dev : 0);
    }
    mutex_unlock(&ep->lock);
}

const struct file_ops epoll_ops = { .seek = seek_nowhere, .poll = epoll_poll, .release = epoll_release, .info = epoll_info };

static long epoll_create(u32 flags)
{
    struct epoll *ep = kzalloc(sizeof(*ep));
    if (!ep)
        return -ENOMEM;
    mutex_init(&ep->lock);
    list_init(&ep->ready);
    waitq_init(&ep->wait);
    waitq_init(&ep->poll_wait);
    struct file *f = anon_file(&epoll_ops, ep, O_RDWR, 0600, "anon_inode:[eventpoll]");
    if (!f) {
        kfree(ep);
        return -ENOMEM;
    }
    ep->file = f;
    int fd = fd_install(f, 0, flags & O_CLOEXEC);
    if (fd < 0)
        file_put(f);
    return fd;
}

long sys_epoll_create(struct regs *r) { return (int)r->arg[0] <= 0 ? -EINVAL : epoll_create(0); }

long sys_epoll_create1(struct regs *r)
{
    return (u32)r->arg[0] & ~(u32)O_CLOEXEC ? -EINVAL : epoll_create((u32)r->arg[0]);
}

// --- epoll_ctl ----------------------------------------------------------------------------------------------------------

// Does `from` (an epoll file) reach `target` through the epoll files it watches, or lie too deep? files_lock held.
static bool reaches(struct file *from, const struct file *target, int depth)
{
    if (from == target || depth > EP_MAX_DEPTH)
        return true;
    struct epoll *ep = from->priv;
    for (struct rbnode *n = rb_first(&ep->items); n; n = rb_next(n)) {
        struct epitem *it = container_of(n, struct epitem, node);
        if (it->file->ops == &epoll_ops && reaches(it->file, target, depth + 1))
            return true;
    }
    return false;
}

static int depth_above(struct file *f, int depth)
{
    int most = depth;
    if (depth > EP_MAX_DEPTH)
        return depth;
    for (struct list *l = f->epoll_watches.next; l != &f->epoll_watches; l = l->next)
        most = MAX(most, depth_above(list_entry(l, struct epitem, file_node)->ep->file, depth + 1));
    return most;
}

static int item_add(struct epoll *ep, struct file *f, int fd, const struct event_k *ev)
{
    struct epitem *it = kzalloc(sizeof(*it));
    if (!it)
        return -ENOMEM;
    it->ep = ep;
    it->file = f;
    it->fd = fd;
    it->events = ev->events | POLL_ERR | POLL_HUP;
    it->data = ev->data;
    list_init(&it->ready_node);
    list_push(&f->epoll_watches, &it->file_node);
    item_link(ep, it);
    struct adder a = { .pt.add = epoll_add_queue, .item = it, .err = 0 };
    u32 now = epoll_item_poll(it, &a.pt);
    if (a.err) {
        item_remove(it);
        return a.err;
    }
    if (now)
        epoll_callback(&it->first.w, now);
    return 0;
}

// The waiters stay: they do not filter by events, the callback does.
static void item_modify(struct epitem *it, const struct event_k *ev)
{
    u64 flags = spin_lock_irqsave(&it->ep->ready_lock);
    it->events = ev->events | POLL_ERR | POLL_HUP;
    it->data = ev->data;
    spin_unlock_irqrestore(&it->ep->ready_lock, flags);
    u32 now = epoll_item_poll(it, NULL);
    if (now)
        epoll_callback(&it->first.w, now);
}

static long ctl_locked(struct epoll *ep, int op, struct file *f, int fd, struct event_k *ev)
{
    struct epitem *it = item_find(ep, f, fd);
    switch (op) {
    case EP_CTL_ADD:
        return it ? -EEXIST : item_add(ep, f, fd, ev);
    case EP_CTL_DEL:
        if (it)
            item_remove(it);
        return it ? 0 : -ENOENT;
    case EP_CTL_MOD:
        if (!it)
            return -ENOENT;
        if ((it->events | ev->events) & EP_EXCLUSIVE)
            return -EINVAL;
        item_modify(it, ev);
        return 0;
    }
    return -EINVAL;
}

static long ctl(struct file *epf, int op, struct file *f, int fd, struct event_k *ev)
{
    if (!f->ops || !f->ops->poll)
        return -EPERM;
    if (f == epf || epf->ops != &epoll_ops)
        return -EINVAL;
    if (op != EP_CTL_DEL && (ev->events & EP_EXCLUSIVE) &&
        (op == EP_CTL_MOD || f->ops == &epoll_ops || (ev->events & ~EP_EXCLUSIVE_OK)))
        return -EINVAL;
    struct epoll *ep = epf->priv;
    long ret = 0;
    mutex_lock(&files_lock);
    if (op == EP_CTL_ADD && f->ops == &epoll_ops && reaches(f, epf, depth_above(epf, 0)))
        ret = -ELOOP;
    mutex_lock(&ep->lock);
    if (!ret)
        ret = ctl_locked(ep, op, f, fd, ev);
    mutex_unlock(&ep->lock);
    mutex_unlock(&files_lock);
    return ret;
}

long sys_epoll_ctl(struct regs *r)
{
    int op = (int)r->arg[1], fd = (int)r->arg[2];
    struct event_k ev = { 0, 0 };
    if (op != EP_CTL_DEL && copy_from_user(&ev, r->arg[3], sizeof(ev)))
        return -EFAULT;
    struct file *epf = fd_get((int)r->arg[0]);
    struct file *f = epf ? fd_get(fd) : NULL;
    long ret = f ? ctl(epf, op, f, fd, &ev) : -EBADF;
    if (f)
        file_put(f);
    if (epf)
        file_put(epf);
    return ret;
}
