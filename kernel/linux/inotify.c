// SPDX-License-Identifier: Apache-2.0
// inotify(7): watches on inodes, a queue of events per instance. The file system calls notify_* (fs/vfs.h) tell what happened.
#include "fileio.h"

#include <asm/ioctls.h>
#include <linux/inotify.h>

#define QUEUE_MAX 16384u            // /proc/sys/fs/inotify/max_queued_events
#define WATCHES_MAX 8192u
#define NAME_ALIGN 16u              // the name's room is a multiple of struct inotify_event

struct event {
    struct list node;
    int wd;
    u32 mask, cookie, len;          // len: of the name with its padding
    char name[];
};

struct instance {
    struct mutex lock;              // guards the queue
    struct list queue;
    u32 queued, bytes;
    struct waitq readable;
    int last_wd;
};

struct watch {                      // in `watches`, under watch_lock
    struct list node;
    struct instance *in;
    struct inode *inode;            // counted
    int wd;
    u32 mask;
};

u32 notify_watches;                 // how many there are: the hooks look at it first
static struct mutex watch_lock = MUTEX_INIT(watch_lock);
static struct list watches = LIST_INIT(watches);

static struct event *event_new(int wd, u32 mask, u32 cookie, const char *name)
{
    size_t n = name ? strlen(name) : 0;
    u32 len = name ? (u32)ALIGN_UP(n + 1, (size_t)NAME_ALIGN) : 0;
    struct event *e = kzalloc(sizeof(*e) + len);
    if (!e)
        return NULL;
    e->wd = wd;
    e->mask = mask;
    e->cookie = cookie;
    e->len = len;
    if (name)
        memcpy(e->name, name, n);
    return e;
}

static bool same(const struct event *a, const struct event *b)
{
    return a->wd == b->wd && a->mask == b->mask && a->cookie == b->cookie && a->len == b->len && !memcmp(a->name, b->name, a->len);
}

static void queue_event(struct instance *in, int wd, u32 mask, u32 cookie, const char *name)
{
    struct event *e = event_new(wd, mask, cookie, name);
    if (!e)
        return;
    mutex_lock(&in->lock);
    struct event *last = list_empty(&in->queue) ? NULL : list_entry(in->queue.prev, struct event, node);
    if (in->queued >= QUEUE_MAX && !(last->mask & IN_Q_OVERFLOW)) {
        kfree(e);
        e = event_new(-1, IN_Q_OVERFLOW, 0, NULL);
    }
    if (e && (in->queued > QUEUE_MAX || (last && same(last, e)))) {
        kfree(e);
        e = NULL;
    }
    if (e) {
        list_push(&in->queue, &e->node);
        in->queued++;
        in->bytes += (u32)sizeof(struct inotify_event) + e->len;
    }
    mutex_unlock(&in->lock);
    if (e)
        waitq_wake(&in->readable, POLL_IN | POLL_RDNORM);
}

// The lock is held. The inode's reference is handed to the caller, who puts it without the lock.
static struct inode *drop_watch(struct watch *w)
{
    struct inode *i = w->inode;
    list_remove(&w->node);
    kfree(w);
    notify_watches--;
    return i;
}

// Tells the watches of one inode. The inode must stay alive meanwhile.
void notify_inode(struct inode *i, u32 mask, u32 cookie, const char *name)
{
    u32 dropped = 0;
    if (!i)
        return;
    mutex_lock(&watch_lock);
    for (struct list *n = watches.next, *next; n != &watches; n = next) {
        struct watch *w = list_entry(n, struct watch, node);
        next = n->next;
        if (w->inode != i)
            continue;
        if (mask & w->mask & IN_ALL_EVENTS)
            queue_event(w->in, w->wd, mask & (w->mask | ~(u32)IN_ALL_EVENTS), cookie, name);
        else if (!(mask & IN_DELETE_SELF))
            continue;
        if ((mask & IN_DELETE_SELF) || (w->mask & IN_ONESHOT)) {
            queue_event(w->in, w->wd, IN_IGNORED, 0, NULL);
            drop_watch(w);
            dropped++;
        }
    }
    mutex_unlock(&watch_lock);
    while (dropped--)
        inode_put(i);
}

void notify_path(struct path *p, u32 mask)
{
    if (!p->inode)
        return;
    if (S_ISDIR(p->inode->mode))
        mask |= IN_ISDIR;
    if (p->parent && !p->dead)
        notify_inode(p->parent->inode, mask, 0, p->name);
    notify_inode(p->inode, mask, 0, NULL);
}

u32 notify_cookie(void)
{
    static u32 last;
    return ++last;
}

// --- The descriptor -----------------------------------------------------------------------------------------------------

static ssize_t put_event(struct iter *it, const struct event *e)
{
    struct inotify_event head = { .wd = e->wd, .mask = e->mask, .cookie = e->cookie, .len = e->len };
    if (iter_put(it, &head, sizeof(head)) != sizeof(head) || iter_put(it, e->name, e->len) != e->len)
        return -EFAULT;
    return (ssize_t)(sizeof(head) + e->len);
}

static ssize_t take_events(struct instance *in, struct iter *it)
{
    ssize_t total = 0;
    while (!list_empty(&in->queue)) {
        struct event *e = list_entry(in->queue.next, struct event, node);
        if (sizeof(struct inotify_event) + e->len > it->left)
            return total ? total : -EINVAL;
        ssize_t n = put_event(it, e);
        if (n < 0)
            return total ? total : n;
        total += n;
        list_remove(&e->node);
        in->queued--;
        in->bytes -= (u32)n;
        kfree(e);
    }
    return total;
}

static ssize_t inotify_read(struct file *f, struct iter *it, u64 *pos)
{
    struct instance *in = f->priv;
    struct waiter w;
    ssize_t r = 0;
    (void)pos;
    waitq_prepare(&in->readable, &w);
    for (;;) {
        mutex_lock(&in->lock);
        r = take_events(in, it);
        mutex_unlock(&in->lock);
        if (r)
            break;
        r = f->flags & O_NONBLOCK ? -EAGAIN : waitq_sleep(&w, NO_DEADLINE, true);
        if (r)
            break;
    }
    waitq_finish(&w);
    return r;
}

static u32 inotify_poll(struct file *f, struct poll_table *pt)
{
    struct instance *in = f->priv;
    poll_wait(pt, f, &in->readable);
    return in->queued ? POLL_IN | POLL_RDNORM : 0;
}

static long inotify_ioctl(struct file *f, u32 cmd, uptr arg)
{
    struct instance *in = f->priv;
    return cmd == FIONREAD ? user_write_u32(arg, in->bytes) : -ENOTTY;
}

static void inotify_release(struct file *f)
{
    struct instance *in = f->priv;
    struct inode *gone;
    do {                                        // one after the other: inode_put must not happen under the lock
        gone = NULL;
        mutex_lock(&watch_lock);
        for (struct list *n = watches.next; n != &watches && !gone; n = n->next)
            if (list_entry(n, struct watch, node)->in == in) {
                gone = drop_watch(list_entry(n, struct watch, node));
                break;
            }
        mutex_unlock(&watch_lock);
        inode_put(gone);
    } while (gone);
    for (struct list *n; (n = list_pop(&in->queue));)
        kfree(list_entry(n, struct event, node));
    kfree(in);
}

static const struct file_ops inotify_ops = {
    .read = inotify_read, .poll = inotify_poll, .ioctl = inotify_ioctl, .release = inotify_release,
};

static long init(u32 flags)
{
    if (flags & ~(u32)(IN_CLOEXEC | IN_NONBLOCK))
        return -EINVAL;
    struct instance *in = kzalloc(sizeof(*in));
    struct file *f = in ? anon_file(&inotify_ops, in, O_RDONLY | (flags & O_NONBLOCK), 0600, "anon_inode:inotify") : NULL;
    if (!f) {
        kfree(in);
        return -ENOMEM;
    }
    mutex_init(&in->lock);
    list_init(&in->queue);
    waitq_init(&in->readable);
    int fd = fd_install(f, 0, flags & IN_CLOEXEC);
    if (fd < 0)
        file_put(f);
    return fd;
}

long sys_inotify_init(struct regs *r)
{
    (void)r;
    return init(0);
}

long sys_inotify_init1(struct regs *r) { return init((u32)r->arg[0]); }

static struct file *instance_file(int fd)
{
    struct file *f = fd_file(fd, -1);
    if (is_err(f) || f->ops == &inotify_ops)
        return f;
    file_put(f);
    return err_ptr(-EINVAL);
}

static int set_watch(struct instance *in, struct inode *i, u32 mask)
{
    struct watch *fresh = kzalloc(sizeof(*fresh));
    int wd = fresh ? 0 : -ENOMEM;
    mutex_lock(&watch_lock);
    for (struct list *n = watches.next; !wd && n != &watches; n = n->next) {
        struct watch *w = list_entry(n, struct watch, node);
        if (w->in != in || w->inode != i)
            continue;
        wd = (mask & IN_MASK_CREATE) ? -EEXIST : w->wd;
        if (wd > 0)
            w->mask = (mask & IN_MASK_ADD) ? w->mask | mask : mask;
    }
    if (!wd && notify_watches >= WATCHES_MAX)
        wd = -ENOSPC;
    if (!wd) {
        *fresh = (struct watch){ .in = in, .inode = inode_get(i), .wd = ++in->last_wd, .mask = mask };
        list_push(&watches, &fresh->node);
        notify_watches++;
        wd = fresh->wd;
        fresh = NULL;
    }
    mutex_unlock(&watch_lock);
    kfree(fresh);
    return wd;
}

long sys_inotify_add_watch(struct regs *r)
{
    u32 mask = (u32)r->arg[2], known = IN_ALL_EVENTS | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_CREATE | IN_MASK_ADD | IN_ONESHOT | IN_ISDIR | IN_UNMOUNT | IN_IGNORED | IN_Q_OVERFLOW;
    if (!(mask & known) || ((mask & IN_MASK_ADD) && (mask & IN_MASK_CREATE)))
        return -EINVAL;
    struct file *f = instance_file((int)r->arg[0]);
    if (is_err(f))
        return ptr_err(f);
    struct path *p = at_path(AT_FDCWD, r->arg[1], ((mask & IN_DONT_FOLLOW) ? 0 : WALK_FOLLOW) | ((mask & IN_ONLYDIR) ? WALK_DIRECTORY : 0));
    long ret = is_err(p) ? ptr_err(p) : inode_permission(p->inode, MAY_READ);
    if (!ret)
        ret = set_watch(f->priv, p->inode, mask);
    if (!is_err(p))
        path_put(p);
    file_put(f);
    return ret;
}

long sys_inotify_rm_watch(struct regs *r)
{
    struct file *f = instance_file((int)r->arg[0]);
    if (is_err(f))
        return ptr_err(f);
    struct inode *gone = NULL;
    int wd = (int)r->arg[1];
    mutex_lock(&watch_lock);
    for (struct list *n = watches.next; n != &watches; n = n->next) {
        struct watch *w = list_entry(n, struct watch, node);
        if (w->in == f->priv && w->wd == wd) {
            gone = drop_watch(w);
            break;
        }
    }
    mutex_unlock(&watch_lock);
    if (gone)
        queue_event(f->priv, wd, IN_IGNORED, 0, NULL);
    file_put(f);
    inode_put(gone);
    return gone ? 0 : -EINVAL;
}
