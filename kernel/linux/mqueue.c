// SPDX-License-Identifier: Apache-2.0
// POSIX message queues, mq_overview(7). A queue lives as long as its name or a descriptor of it.
#include "fileio.h"
#include "futex.h"
#include "procinfo.h"
#include "signal_priv.h"
#include "socket.h"
#include "time.h"

#define HARD_MSG_MAX 65536
#define HARD_MSGSIZE_MAX (16 * 1024 * 1024)
#define PRIORITY_MAX 32768u
#define CAP_SYS_RESOURCE_K 24
#define RLIMIT_MSGQUEUE_K 12
#define MESSAGE_COST 80u            // what Linux adds for each message to what RLIMIT_MSGQUEUE counts
#define SI_MESGQ_K (-3)
#define SIGEV_SIGNAL_K 0
#define SIGEV_NONE_K 1
#define SIGEV_THREAD_K 2
#define NOTIFY_COOKIE_LEN 32
enum { NOTIFY_WOKENUP = 1, NOTIFY_REMOVED = 2 };      // the cookie's last byte

struct message {
    struct list node;               // of the queue: the highest priority first, then the oldest
    u32 priority, len;
    char data[];
};

struct mq_attr_k {
    i64 flags, maxmsg, msgsize, curmsgs, reserved[4];
};

struct mqueue {
    struct list node;               // of all queues; names_lock, as name, refs
    char name[NAME_LEN_MAX + 1];    // empty: unlinked
    u32 refs;                       // files, and one for the name
    u32 mode, uid, gid;
    struct mutex lock;              // guards all below
    struct mq_attr_k attr;
    struct list messages;
    struct waitq readable, writable;
    u32 receivers;                  // waiting
    struct file *notify_owner;      // NULL: nobody registered
    int notify_kind, notify_sig;
    u64 notify_value;
    struct file *notify_socket;     // SIGEV_THREAD: the C library's netlink socket, and what it wants to read there
    u8 notify_cookie[NOTIFY_COOKIE_LEN];
};

// /proc/sys/fs/mqueue
static struct {
    const char *path;
    u32 value, least, most;
} limit[] = {
    { "/proc/sys/fs/mqueue/msg_max", 10, 1, HARD_MSG_MAX }, { "/proc/sys/fs/mqueue/msg_default", 10, 1, HARD_MSG_MAX },
    { "/proc/sys/fs/mqueue/msgsize_max", 8192, 128, HARD_MSGSIZE_MAX },
    { "/proc/sys/fs/mqueue/msgsize_default", 8192, 128, HARD_MSGSIZE_MAX },
    { "/proc/sys/fs/mqueue/queues_max", 256, 0, INT32_MAX },
};
enum { MSG_MAX, MSG_DEFAULT, MSGSIZE_MAX, MSGSIZE_DEFAULT, QUEUES_MAX };

void mqueue_proc(void)
{
    for (unsigned n = 0; n < ARRAY_SIZE(limit); n++)
        proc_number(limit[n].path, &limit[n].value, limit[n].least, limit[n].most);
}

static struct list queues = LIST_INIT(queues);
static struct mutex names_lock = MUTEX_INIT(names_lock);
static u32 nr_queues;

static u64 cost(const struct mqueue *q) { return (u64)q->attr.maxmsg * ((u64)q->attr.msgsize + MESSAGE_COST); }

// names_lock is held.
static void queue_put(struct mqueue *q)
{
    if (--q->refs)
        return;
    for (struct list *n; (n = list_pop(&q->messages));)
        kfree(list_entry(n, struct message, node));
    list_remove(&q->node);
    nr_queues--;
    kfree(q);
}

// The registration ends; a SIGEV_THREAD's waiter hears why.
static void unregister(struct mqueue *q, u8 why)
{
    struct file *s = q->notify_socket;
    q->notify_owner = NULL;
    q->notify_socket = NULL;
    if (!s)
        return;
    q->notify_cookie[NOTIFY_COOKIE_LEN - 1] = why;
    netlink_deliver(s, q->notify_cookie, NOTIFY_COOKIE_LEN);
    file_put(s);
}

static void mq_release(struct file *f)
{
    struct mqueue *q = f->priv;
    mutex_lock(&names_lock);
    if (q->notify_owner == f)
        unregister(q, NOTIFY_REMOVED);
    queue_put(q);
    mutex_unlock(&names_lock);
}

static u32 mq_poll(struct file *f, struct poll_table *pt)
{
    struct mqueue *q = f->priv;
    poll_wait(pt, f, &q->readable);
    poll_wait(pt, f, &q->writable);
    return (q->attr.curmsgs ? POLL_IN | POLL_RDNORM : 0) | (q->attr.curmsgs < q->attr.maxmsg ? POLL_OUT | POLL_WRNORM : 0);
}

// What a descriptor reads as: the form of /dev/mqueue.
static ssize_t mq_read(struct file *f, struct iter *it, u64 *pos)
{
    struct mqueue *q = f->priv;
    char text[96];
    u64 size = 0;
    mutex_lock(&q->lock);
    for (struct list *n = q->messages.next; n != &q->messages; n = n->next)
        size += list_entry(n, struct message, node)->len;
    int len = snprintf(text, sizeof(text), "QSIZE:%-10lu NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", (unsigned long)size,
                       q->notify_owner ? q->notify_kind : 0, q->notify_owner && !q->notify_kind ? q->notify_sig : 0, q->notify_owner ? 1 : 0);
    mutex_unlock(&q->lock);
    u64 at = pos ? *pos : 0;
    size_t n = at < (u64)len ? iter_put(it, text + at, MIN((u64)len - at, it->left)) : 0;
    if (pos)
        *pos += n;
    return (ssize_t)n;
}

static i64 mq_seek(struct file *f, i64 off, int whence)
{
    i64 to = whence == SEEK_CUR ? (i64)f->pos + off : whence == SEEK_SET ? off : -1;
    if (to < 0)
        return -EINVAL;
    f->pos = (u64)to;
    return to;
}

static const struct file_ops mq_ops = { .read = mq_read, .seek = mq_seek, .poll = mq_poll, .release = mq_release };

static struct mqueue *by_name(const char *name)
{
    for (struct list *n = queues.next; n != &queues; n = n->next)
        if (!strcmp(list_entry(n, struct mqueue, node)->name, name))
            return list_entry(n, struct mqueue, node);
    return NULL;
}

static int get_name(char *name, uptr user)
{
    ssize_t n = strncpy_from_user(name, user, NAME_LEN_MAX + 1);
    if (n <= 0)
        return n ? (int)n : -ENOENT;
    return strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..") ? -EACCES : 0;
}

static int check_sizes(const struct mq_attr_k *a)
{
    bool may = capable(CAP_SYS_RESOURCE_K);
    if (a->maxmsg <= 0 || a->msgsize <= 0 || a->maxmsg > (may ? HARD_MSG_MAX : limit[MSG_MAX].value) ||
        a->msgsize > (may ? HARD_MSGSIZE_MAX : limit[MSGSIZE_MAX].value))
        return -EINVAL;
    return 0;
}

// What RLIMIT_MSGQUEUE counts.
static u64 bytes_of(u32 uid)
{
    u64 sum = 0;
    for (struct list *n = queues.next; n != &queues; n = n->next) {
        const struct mqueue *q = list_entry(n, struct mqueue, node);
        sum += q->uid == uid ? cost(q) : 0;
    }
    return sum;
}

static struct mqueue *make(const char *name, u32 mode, const struct mq_attr_k *a)
{
    const struct process *p = the_process;
    const struct cred *c = current_cred();
    if (nr_queues >= limit[QUEUES_MAX].value && !capable(CAP_SYS_RESOURCE_K))
        return err_ptr(-ENOSPC);
    struct mqueue *q = kzalloc(sizeof(*q));
    if (!q)
        return err_ptr(-ENOMEM);
    q->attr = (struct mq_attr_k){ .maxmsg = a->maxmsg, .msgsize = a->msgsize };
    if (bytes_of(c->euid) + cost(q) > p->rlim[RLIMIT_MSGQUEUE_K].soft) {
        kfree(q);
        return err_ptr(-EMFILE);
    }
    nr_queues++;
    strlcpy(q->name, name, sizeof(q->name));
    q->refs = 1;
    q->mode = mode & ~p->umask & 0777;
    q->uid = c->fsuid;
    q->gid = c->fsgid;
    mutex_init(&q->lock);
    list_init(&q->messages);
    waitq_init(&q->readable);
    waitq_init(&q->writable);
    list_push(&queues, &q->node);
    return q;
}

static int may_open(const struct mqueue *q, u32 flags)
{
    const struct cred *c = current_cred();
    u32 acc = flags & O_ACCMODE, need = acc == O_RDONLY ? 4 : acc == O_WRONLY ? 2 : 6;
    u32 have = c->fsuid == q->uid ? q->mode >> 6 : cred_in_group(c, q->gid) ? q->mode >> 3 : q->mode;
    return acc == O_ACCMODE ? -EINVAL : (need & ~have) && !capable(CAP_DAC_OVERRIDE) ? -EACCES : 0;
}

// names_lock is held.
static struct mqueue *find_or_make(const char *name, u32 flags, u32 mode, const struct mq_attr_k *a)
{
    struct mqueue *q = by_name(name);
    if (!q) {
        int err = !(flags & O_CREAT) ? -ENOENT : check_sizes(a);
        return err ? err_ptr(err) : make(name, mode, a);
    }
    int err = (flags & O_CREAT) && (flags & O_EXCL) ? -EEXIST : may_open(q, flags);
    return err ? err_ptr(err) : q;
}

long sys_mq_open(struct regs *r)
{
    char name[NAME_LEN_MAX + 1];
    u32 flags = (u32)r->arg[1];
    struct mq_attr_k a = { .maxmsg = MIN(limit[MSG_MAX].value, limit[MSG_DEFAULT].value),
                           .msgsize = MIN(limit[MSGSIZE_MAX].value, limit[MSGSIZE_DEFAULT].value) };
    if (r->arg[3] && copy_from_user(&a, r->arg[3], sizeof(a)))
        return -EFAULT;
    long err = get_name(name, r->arg[0]);
    if (err)
        return err;
    mutex_lock(&names_lock);
    struct mqueue *q = find_or_make(name, flags, (u32)r->arg[2], &a);
    struct file *f = is_err(q) ? NULL : anon_file(&mq_ops, q, flags & (O_ACCMODE | O_NONBLOCK), S_IFREG | q->mode, name);
    if (f)
        q->refs++;
    mutex_unlock(&names_lock);
    if (is_err(q))
        return ptr_err(q);
    err = f ? fd_install(f, 0, flags & O_CLOEXEC) : -ENOMEM;
    if (err < 0 && f)
        file_put(f);
    return err;
}

long sys_mq_unlink(struct regs *r)
{
    char name[NAME_LEN_MAX + 1];
    long err = get_name(name, r->arg[0]);
    if (err)
        return err;
    mutex_lock(&names_lock);
    struct mqueue *q = by_name(name);
    if (!q)
        err = -ENOENT;
    else if (current_cred()->fsuid != q->uid && !capable(CAP_FOWNER))
        err = -EPERM;
    if (!err) {
        q->name[0] = 0;
        queue_put(q);
    }
    mutex_unlock(&names_lock);
    return err;
}

// --- messages -----------------------------------------------------------------------------------------------------------
static struct file *mq_file(int fd, int acc)
{
    struct file *f = fd_file(fd, acc);
    if (!is_err(f) && f->ops != &mq_ops) {
        file_put(f);
        f = err_ptr(-EBADF);
    }
    return f;
}

// Waits with the queue's lock released.
static int mq_wait(struct file *f, struct mqueue *q, struct waitq *on, u64 deadline)
{
    struct waiter w;
    if (f->flags & O_NONBLOCK)
        return -EAGAIN;
    waitq_prepare(on, &w);
    mutex_unlock(&q->lock);
    int err = waitq_sleep(&w, deadline, true);
    waitq_finish(&w);
    mutex_lock(&q->lock);
    return err;
}

static void tell_registered(struct mqueue *q)
{
    struct siginfo_k info;
    if (q->notify_kind == SIGEV_SIGNAL_K) {
        memset(&info, 0, sizeof(info));
        info.signo = q->notify_sig;
        info.code = SI_MESGQ_K;
        info.kill.pid = the_process->pid;
        info.kill.uid = current_cred()->uid;
        info.kill.value = q->notify_value;
        signal_process(the_process, q->notify_sig, &info);
    }
    unregister(q, NOTIFY_WOKENUP);
}

static void put(struct mqueue *q, struct message *m)
{
    struct list *at = q->messages.next;
    while (at != &q->messages && list_entry(at, struct message, node)->priority >= m->priority)
        at = at->next;
    list_push(at, &m->node);
    if (q->attr.curmsgs++ == 0 && q->notify_owner && !q->receivers)
        tell_registered(q);
    waitq_wake_all(&q->readable);
}

static long send_message(struct file *f, struct message *m, u64 deadline)
{
    struct mqueue *q = f->priv;
    int err = 0;
    mutex_lock(&q->lock);
    while (q->attr.curmsgs >= q->attr.maxmsg && !err)
        err = mq_wait(f, q, &q->writable, deadline);
    if (q->attr.curmsgs < q->attr.maxmsg) {
        err = 0;
        put(q, m);
    }
    mutex_unlock(&q->lock);
    return err;
}

long sys_mq_timedsend(struct regs *r)
{
    u64 deadline, len = r->arg[2];
    u32 priority = (u32)r->arg[3];
    long err = futex_deadline(r->arg[4], FUTEX_WAIT_BITSET, true, &deadline);
    if (err)
        return err;
    if (priority >= PRIORITY_MAX)
        return -EINVAL;
    struct file *f = mq_file((int)r->arg[0], O_WRONLY);
    if (is_err(f))
        return ptr_err(f);
    struct message *m = NULL;
    if (len > (u64)((struct mqueue *)f->priv)->attr.msgsize)
        err = -EMSGSIZE;
    else if (!(m = kmalloc(sizeof(*m) + len, 0)))
        err = -ENOMEM;
    else
        err = copy_from_user(m->data, r->arg[1], len);
    if (!err) {
        m->priority = priority;
        m->len = (u32)len;
        err = send_message(f, m, deadline);
    }
    if (err)
        kfree(m);
    file_put(f);
    return err;
}

static long take(struct file *f, struct message **m, u64 deadline)
{
    struct mqueue *q = f->priv;
    int err = 0;
    mutex_lock(&q->lock);
    q->receivers++;
    while (!q->attr.curmsgs && !err)
        err = mq_wait(f, q, &q->readable, deadline);
    q->receivers--;
    if (q->attr.curmsgs) {
        err = 0;
        *m = list_entry(list_pop(&q->messages), struct message, node);
        q->attr.curmsgs--;
        waitq_wake_all(&q->writable);
    }
    mutex_unlock(&q->lock);
    return err;
}

long sys_mq_timedreceive(struct regs *r)
{
    u64 deadline;
    struct message *m = NULL;
    long err = futex_deadline(r->arg[4], FUTEX_WAIT_BITSET, true, &deadline);
    if (err)
        return err;
    struct file *f = mq_file((int)r->arg[0], O_RDONLY);
    if (is_err(f))
        return ptr_err(f);
    err = r->arg[2] < (u64)((struct mqueue *)f->priv)->attr.msgsize ? -EMSGSIZE : take(f, &m, deadline);
    file_put(f);
    if (err)
        return err;
    long len = (long)m->len;
    if ((r->arg[3] && user_write_u32(r->arg[3], m->priority)) || copy_to_user(r->arg[1], m->data, (size_t)len))
        len = -EFAULT;
    kfree(m);
    return len;
}

long sys_mq_getsetattr(struct regs *r)
{
    struct mq_attr_k new, old;
    if (r->arg[1] && copy_from_user(&new, r->arg[1], sizeof(new)))
        return -EFAULT;
    if (r->arg[1] && (new.flags & ~(i64)O_NONBLOCK))
        return -EINVAL;
    struct file *f = mq_file((int)r->arg[0], -1);
    if (is_err(f))
        return ptr_err(f);
    struct mqueue *q = f->priv;
    mutex_lock(&q->lock);
    old = q->attr;
    old.flags = f->flags & O_NONBLOCK;
    if (r->arg[1])
        f->flags = (f->flags & ~(u32)O_NONBLOCK) | (u32)new.flags;
    mutex_unlock(&q->lock);
    file_put(f);
    return r->arg[2] ? copy_to_user(r->arg[2], &old, sizeof(old)) : 0;
}

struct mq_event {
    u64 value;
    i32 sig, kind;
    u64 pad[6];
    struct file *socket;            // of SIGEV_THREAD: `sig` is its descriptor, `value` points to the cookie
    u8 cookie[NOTIFY_COOKIE_LEN];
};

static long get_event(uptr user, struct mq_event *ev)
{
    if (copy_from_user(ev, user, offsetof(struct mq_event, socket)))
        return -EFAULT;
    if (ev->kind == SIGEV_NONE_K)
        return 0;
    if (ev->kind == SIGEV_SIGNAL_K)
        return (u32)ev->sig > SIG_MAX ? -EINVAL : 0;
    if (ev->kind != SIGEV_THREAD_K)
        return -EINVAL;
    if (copy_from_user(ev->cookie, ev->value, sizeof(ev->cookie)))
        return -EFAULT;
    struct file *f = fd_get(ev->sig);
    long err = f ? netlink_deliver(f, NULL, 0) : -EBADF;
    if (!err)
        ev->socket = f;
    else if (f)
        file_put(f);
    return err;
}

static long register_event(struct file *f, struct mq_event *ev)
{
    struct mqueue *q = f->priv;
    if (q->notify_owner)
        return -EBUSY;
    q->notify_owner = f;
    q->notify_kind = ev->kind;
    q->notify_sig = ev->sig;
    q->notify_value = ev->value;
    q->notify_socket = ev->socket;
    memcpy(q->notify_cookie, ev->cookie, sizeof(ev->cookie));
    ev->socket = NULL;
    return 0;
}

long sys_mq_notify(struct regs *r)
{
    struct mq_event ev = { .socket = NULL };
    long err = r->arg[1] ? get_event(r->arg[1], &ev) : 0;
    if (err)
        return err;
    struct file *f = mq_file((int)r->arg[0], -1);
    if (!is_err(f)) {
        struct mqueue *q = f->priv;
        mutex_lock(&q->lock);
        if (r->arg[1])
            err = register_event(f, &ev);
        else if (q->notify_owner)
            unregister(q, NOTIFY_REMOVED);
        mutex_unlock(&q->lock);
        file_put(f);
    }
    if (ev.socket)
        file_put(ev.socket);
    return is_err(f) ? (long)ptr_err(f) : err;
}
