// SPDX-License-Identifier: Apache-2.0
// AF_UNIX: messages; the files and credentials that travel in them are in unix_scm.c. unix(7).
#include "fasync.h"
#include "unix.h"
#include <asm/ioctls.h>
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "process.h"

#define STREAM_PIECE 16384u             // bytes of one piece of a stream
#define KMALLOC_MOST 32768u
#define COST_FIXED 256u                 // what a message counts beside its data, so that empty ones are not free
#define SIOCATMARK_K 0x8905

static struct unix_sock *sock_of(struct socket *s) { return s->priv; }

static u32 cost(const struct unix_msg *m) { return m->len + COST_FIXED; }

void unix_msg_free(struct unix_msg *m)
{
    unix_inflight -= unix_count_inflight(m->files);
    unix_files_free(m->files);
    unix_name_put(m->from);
    if (m->big)
        vfree(m);
    else
        kfree(m);
}

static struct unix_msg *msg_alloc(u32 len)
{
    size_t size = sizeof(struct unix_msg) + len;
    bool big = size > KMALLOC_MOST;
    struct unix_msg *m = big ? vmalloc(ALIGN_UP(size, PAGE_SIZE)) : kmalloc(size, 0);
    if (!m)
        return NULL;
    memset(m, 0, sizeof(*m));
    m->len = len;
    m->big = big;
    list_init(&m->node);
    m->cred = (struct unix_cred){ (u32)the_process->pid, current_cred()->uid, current_cred()->gid };
    return m;
}

// --- room -------------------------------------------------------------------------------------------------------------
bool unix_has_room(const struct unix_sock *u, const struct unix_sock *to)
{
    if (to->dead || to->rd_shut)
        return true;                    // the error is to be seen at once
    if (to->peer != u && to->rx_count > to->max_backlog)
        return false;
    return to->rx_cost < (u->sock ? u->sock->sndbuf : u->sndbuf);
}

static bool stream_room(struct socket *s)
{
    const struct unix_sock *u = sock_of(s), *p = u->peer;
    return u->wr_shut || !p || p->dead || p->rd_shut || p->rx_cost < s->sndbuf;
}

static bool dgram_room(struct socket *s)
{
    const struct unix_sock *u = sock_of(s);
    return !u->waits_for || unix_has_room(u, u->waits_for);
}

// Everybody who sends to u looks again. unix_lock held.
static void wake_senders(struct unix_sock *u)
{
    u32 ev = POLL_OUT | POLL_WRNORM | POLL_WRBAND;
    if (u->type != K_SOCK_DGRAM) {
        unix_wake(u->peer, ev);
        return;
    }
    if (u->refs == 1)
        return;                         // nobody is connected to it or waits
    for (struct list *l = unix_all.next; l != &unix_all; l = l->next) {
        struct unix_sock *o = list_entry(l, struct unix_sock, all);
        if (o->peer == u || o->waits_for == u)
            unix_wake(o, ev);
    }
}

static void queue(struct unix_sock *to, struct unix_msg *m)
{
    list_push(&to->rx, &m->node);
    to->rx_bytes += m->len;
    to->rx_count++;
    to->rx_cost += cost(m);
    unix_wake(to, POLL_IN | POLL_RDNORM);
}

static void unqueue(struct unix_sock *u, struct unix_msg *m)
{
    list_remove(&m->node);
    if (m->oob)
        u->urgent = false;
    u->rx_bytes -= m->len - m->off;
    u->rx_count--;
    u->rx_cost -= cost(m);
    wake_senders(u);
}

// --- sending ----------------------------------------------------------------------------------------------------------
// Only the latest urgent byte is one; an earlier one becomes ordinary data. unix_lock held.
static void mark_urgent(struct unix_sock *to, struct unix_msg *m)
{
    for (struct list *l = to->rx.next; l != &to->rx; l = l->next)
        list_entry(l, struct unix_msg, node)->oob = false;
    m->oob = to->urgent = true;
    if (to->sock)
        fasync_urgent(to->sock->file);
}

static ssize_t send_stream(struct socket *s, struct msg *m, u32 flags, struct unix_scm *scm)
{
    struct unix_sock *u = sock_of(s);
    u64 sent = 0;
    int err = 0;
    if (m->addr_len)
        return u->state == UNIX_CONNECTED ? -EISCONN : -EOPNOTSUPP;
    if (u->state != UNIX_CONNECTED)
        return -ENOTCONN;
    do {
        u32 n = (u32)MIN(m->it->left, (u64)STREAM_PIECE);
        if (!n)
            break;
        if ((flags & K_MSG_OOB) && n > 1 && n == m->it->left)
            n--;                        // the last byte goes alone
        bool urgent = (flags & K_MSG_OOB) && n == m->it->left;
        err = socket_wait(s, stream_room, s->snd_timeout, flags & K_MSG_DONTWAIT);
        if (err)
            break;
        struct unix_msg *x = msg_alloc(n);
        if (!x) {
            err = -ENOBUFS;
            break;
        }
        if (iter_get(m->it, x->data, n) != n) {
            unix_msg_free(x);
            err = -EFAULT;
            break;
        }
        unix_give_scm(x, scm);
        spin_lock(&unix_lock);
        struct unix_sock *p = u->peer;
        bool broken = u->wr_shut || !p || p->dead || p->rd_shut;
        if (!broken)
            queue(p, x);
        if (!broken && urgent) {
            mark_urgent(p, x);
            unix_wake(p, POLL_PRI);
        }
        spin_unlock(&unix_lock);
        if (broken) {
            unix_msg_free(x);
            err = -EPIPE;
            break;
        }
        sent += n;
    } while (m->it->left);
    if (!sent && !err && (u->wr_shut || !u->peer || u->peer->dead || u->peer->rd_shut))
        err = -EPIPE;
    return sent ? (ssize_t)sent : err;
}

// Counted, or an error.
static struct unix_sock *destination(struct socket *s, const struct msg *m)
{
    struct unix_sock *u = sock_of(s), *to;
    if (u->type == K_SOCK_SEQPACKET && u->state != UNIX_CONNECTED)
        return err_ptr(-ENOTCONN);
    if (m->addr_len && u->type == K_SOCK_DGRAM) {
        to = unix_find(&m->addr, m->addr_len, u->type);
    } else {
        spin_lock(&unix_lock);
        to = u->peer ? unix_get(u->peer) : err_ptr(-ENOTCONN);
        spin_unlock(&unix_lock);
    }
    return to;
}

// A connected datagram socket whose destination is gone is told once and is then not connected any more.
static int dead_destination(struct unix_sock *u, struct unix_sock *to)
{
    if (u->type != K_SOCK_DGRAM)
        return -EPIPE;
    spin_lock(&unix_lock);
    struct unix_sock *old = u->peer == to ? u->peer : NULL;
    if (old) {
        u->peer = NULL;
        u->state = UNIX_CLOSED;
    }
    spin_unlock(&unix_lock);
    unix_put(old);
    return -ECONNREFUSED;
}

// 0 when queued; -EAGAIN: no room now.
static int try_queue(struct unix_sock *u, struct unix_sock *to, struct unix_msg *x)
{
    int err = 0;
    if (to->dead)
        return dead_destination(u, to);
    spin_lock(&unix_lock);
    if (to->peer && to->peer != u && u->type == K_SOCK_DGRAM)
        err = -EPERM;
    else if (to->rd_shut)
        err = -EPIPE;
    else if (!unix_has_room(u, to))
        err = -EAGAIN;
    else
        queue(to, x);
    u->waits_for = err == -EAGAIN ? to : NULL;
    spin_unlock(&unix_lock);
    return err;
}

static ssize_t send_record(struct socket *s, struct msg *m, u32 flags, struct unix_scm *scm)
{
    struct unix_sock *u = sock_of(s);
    u64 len = m->it->left;
    if (s->passcred && unix_autobind(u))
        return -ENOMEM;
    if (u->wr_shut && u->type != K_SOCK_DGRAM && u->state == UNIX_CONNECTED)
        return -EPIPE;
    struct unix_sock *to = destination(s, m);
    if (is_err(to))
        return ptr_err(to);
    struct unix_msg *x = NULL;
    int err = len + 32 > s->sndbuf ? -EMSGSIZE : u->wr_shut ? -EPIPE : 0;
    if (!err) {
        x = msg_alloc((u32)len);
        err = x ? 0 : -ENOBUFS;
    }
    if (!err && iter_get(m->it, x->data, len) != len)
        err = -EFAULT;
    if (!err) {
        unix_give_scm(x, scm);
        x->from = u->name;
        if (x->from)
            x->from->refs++;
    }
    while (!err) {
        err = try_queue(u, to, x);
        if (err != -EAGAIN || (flags & K_MSG_DONTWAIT))
            break;
        err = socket_wait(s, dgram_room, s->snd_timeout, false);
    }
    u->waits_for = NULL;
    if (err && x)
        unix_msg_free(x);
    unix_put(to);
    return err ? err : (ssize_t)len;
}

ssize_t unix_send(struct socket *s, struct msg *m, u32 flags)
{
    struct unix_scm scm = { 0 };
    if ((flags & K_MSG_OOB) && s->type != K_SOCK_STREAM)
        return -EOPNOTSUPP;
    int err = unix_take_control(m, &scm);
    if (err)
        return err;
    ssize_t n = s->type == K_SOCK_STREAM ? send_stream(s, m, flags, &scm) : send_record(s, m, flags, &scm);
    unix_files_free(scm.files);
    return n;
}

// --- receiving --------------------------------------------------------------------------------------------------------
static bool readable(struct socket *s)
{
    const struct unix_sock *u = sock_of(s);
    return !list_empty(&u->rx) || u->rd_shut || s->error;
}

static struct unix_msg *head(struct unix_sock *u)
{
    return list_empty(&u->rx) ? NULL : list_entry(u->rx.next, struct unix_msg, node);
}

// The next piece for a reader that holds rx_lock; it is released while waiting. NULL: *err is 0 at the end of the stream.
static struct unix_msg *wait_head(struct socket *s, bool nonblock, int *err)
{
    struct unix_sock *u = sock_of(s);
    for (;;) {
        struct unix_msg *x = head(u);
        *err = 0;
        if (x)
            return x;
        if (s->error) {
            *err = socket_take_error(s);
            return NULL;
        }
        if (u->rd_shut && (u->type != K_SOCK_DGRAM || !nonblock))
            return NULL;
        mutex_unlock(&u->rx_lock);
        *err = nonblock ? -EAGAIN : socket_wait(s, readable, s->rcv_timeout, false);
        mutex_lock(&u->rx_lock);
        if (*err)
            return NULL;
    }
}

static bool same_cred(const struct unix_cred *a, const struct unix_cred *b)
{
    return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid;
}

// Copies out of one piece; true when the reader has to stop behind it, because ancillary data came with it.
static bool read_piece(struct socket *s, struct msg *m, struct unix_msg *x, u32 flags, u64 *done, int *err)
{
    struct unix_sock *u = sock_of(s);
    u64 n = MIN(m->it->left, (u64)(x->len - x->off));
    size_t put = iter_put(m->it, x->data + x->off, n);
    if (put != n && !put) {
        *err = -EFAULT;
        return true;
    }
    *done += put;
    bool stop = x->files != NULL;
    if (x->files)
        unix_put_files(m, x->files, flags & K_MSG_CMSG_CLOEXEC);
    if (flags & K_MSG_PEEK)
        return true;
    if (x->files) {
        struct unix_files *files = x->files;
        unix_inflight -= unix_count_inflight(files);
        x->files = NULL;                // closing them may look through the queue
        unix_files_free(files);
    }
    spin_lock(&unix_lock);
    x->off += (u32)put;
    u->rx_bytes -= (u32)put;
    bool empty = x->off == x->len;
    if (empty)
        unqueue(u, x);
    spin_unlock(&unix_lock);
    if (empty)
        unix_msg_free(x);
    return stop || put != n;
}

static void drop_urgent(struct unix_sock *u, struct unix_msg *x)
{
    spin_lock(&unix_lock);
    unqueue(u, x);
    spin_unlock(&unix_lock);
    unix_msg_free(x);
}

static ssize_t recv_urgent(struct socket *s, struct msg *m, u32 flags)
{
    struct unix_sock *u = sock_of(s);
    ssize_t n = -EINVAL;
    mutex_lock(&u->rx_lock);
    for (struct list *l = u->rx.next; l != &u->rx && n == -EINVAL; l = l->next) {
        struct unix_msg *x = list_entry(l, struct unix_msg, node);
        if (!x->oob || s->oobinline)
            continue;
        n = iter_put(m->it, x->data, 1) == 1 ? 1 : -EFAULT;
        m->out_flags |= K_MSG_OOB;
        if (!(flags & K_MSG_PEEK)) {
            drop_urgent(u, x);
            break;
        }
    }
    mutex_unlock(&u->rx_lock);
    return n;
}

static ssize_t recv_stream(struct socket *s, struct msg *m, u32 flags)
{
    struct unix_sock *u = sock_of(s);
    struct unix_cred cred = { 0, 0, 0 };
    u64 done = 0, want = flags & K_MSG_WAITALL ? m->it->left : 1;
    int err = 0;
    bool stop = false, first = true;
    if (u->state != UNIX_CONNECTED)
        return -EINVAL;
    mutex_lock(&u->rx_lock);
    while (m->it->left && !stop && !err) {
        bool enough = done >= want && done;
        struct unix_msg *x = enough ? head(u) : wait_head(s, flags & K_MSG_DONTWAIT, &err);
        if (!x)
            break;
        if (x->oob && !s->oobinline) {
            if (done)
                break;                  // the mark: a reader stops before it
            drop_urgent(u, x);          // and then passes over it
            continue;
        }
        if (!first && ((s->passcred && !same_cred(&cred, &x->cred)) || x->files))
            break;
        if (first && s->passcred)
            unix_put_cred(m, &x->cred);
        cred = x->cred;
        first = false;
        stop = read_piece(s, m, x, flags, &done, &err);
    }
    mutex_unlock(&u->rx_lock);
    return done ? (ssize_t)done : err;
}

static ssize_t recv_record(struct socket *s, struct msg *m, u32 flags)
{
    struct unix_sock *u = sock_of(s);
    int err;
    if (u->type == K_SOCK_SEQPACKET && u->state != UNIX_CONNECTED)
        return -ENOTCONN;
    mutex_lock(&u->rx_lock);
    struct unix_msg *x = wait_head(s, flags & K_MSG_DONTWAIT, &err);
    if (!x) {
        mutex_unlock(&u->rx_lock);
        return err;
    }
    u64 n = MIN(m->it->left, (u64)x->len);
    ssize_t ret = flags & K_MSG_TRUNC ? (ssize_t)x->len : (ssize_t)n;
    if (n < x->len)
        m->out_flags |= K_MSG_TRUNC;
    if (x->from)
        m->addr_len = unix_name_put_addr(x->from, &m->addr);
    else
        m->addr_len = 0;
    if (!(flags & K_MSG_PEEK)) {
        spin_lock(&unix_lock);
        unqueue(u, x);
        spin_unlock(&unix_lock);
    }
    if (iter_put(m->it, x->data, n) != n)
        ret = -EFAULT;
    else
        unix_put_control(s, m, x, flags);
    if (!(flags & K_MSG_PEEK))
        unix_msg_free(x);
    mutex_unlock(&u->rx_lock);
    return ret;
}

ssize_t unix_recv(struct socket *s, struct msg *m, u32 flags)
{
    if (flags & K_MSG_OOB)
        return s->type == K_SOCK_STREAM ? recv_urgent(s, m, flags) : -EOPNOTSUPP;
    return s->type == K_SOCK_STREAM ? recv_stream(s, m, flags) : recv_record(s, m, flags);
}

long unix_ioctl(struct socket *s, u32 cmd, uptr arg)
{
    struct unix_sock *u = sock_of(s);
    u32 n = 0;
    spin_lock(&unix_lock);
    struct unix_msg *x = head(u);
    bool ok = true;
    if (cmd == FIONREAD && u->state == UNIX_LISTENING)
        ok = false;
    else if (cmd == FIONREAD)
        n = u->type == K_SOCK_DGRAM ? (x ? x->len : 0) : u->rx_bytes;
    else if (cmd == TIOCOUTQ)
        n = u->peer ? u->peer->rx_bytes : 0;
    spin_unlock(&unix_lock);
    if (cmd == SIOCATMARK_K && u->type == K_SOCK_STREAM)
        return user_write_u32(arg, x && x->oob);
    if (cmd != FIONREAD && cmd != TIOCOUTQ)
        return -ENOTTY;
    return ok ? user_write_u32(arg, n) : -EINVAL;
}
