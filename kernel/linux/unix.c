// SPDX-License-Identifier: Apache-2.0
// AF_UNIX: connections and state. Names are in unix_name.c, messages in unix_io.c. unix(7).
#include "unix.h"
#include "cred.h"
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "process.h"
#include <asm/socket.h>

#define ADDR_FAMILY 2u                  // bytes of sun_family

spinlock_t unix_lock = SPINLOCK_INIT;
struct list unix_all = LIST_INIT(unix_all);

static const struct socket_ops unix_ops;

static struct unix_sock *sock_of(struct socket *s) { return s->priv; }

struct unix_sock *unix_get(struct unix_sock *u)
{
    u->refs++;
    return u;
}

void unix_put(struct unix_sock *u)
{
    if (u && --u->refs == 0) {
        unix_name_put(u->name);
        kfree(u);
    }
}

void unix_wake(struct unix_sock *u, u32 events)
{
    if (u && u->sock)
        waitq_wake_n(&u->sock->wq, events, ~0u);
}

static struct unix_sock *unix_alloc(int type)
{
    const struct process *p = the_process;
    struct unix_sock *u = kzalloc(sizeof(*u));
    if (!u)
        return NULL;
    u->refs = 1;
    u->type = type;
    u->sndbuf = 212992;
    u->max_backlog = 10;                // datagrams: net.unix.max_dgram_qlen
    list_init(&u->backlog);
    list_init(&u->accept_node);
    list_init(&u->rx);
    mutex_init(&u->rx_lock);
    u->cred = (struct unix_cred){ (u32)p->pid, current_cred()->euid, current_cred()->egid };
    u->peer_cred = (struct unix_cred){ 0, ~0u, ~0u };
    spin_lock(&unix_lock);
    list_push(&unix_all, &u->all);
    spin_unlock(&unix_lock);
    return u;
}

static int unix_create(struct socket *s)
{
    if (s->protocol && s->protocol != K_AF_UNIX)
        return -EPROTONOSUPPORT;
    if (s->type == K_SOCK_RAW)
        s->type = K_SOCK_DGRAM;
    if (s->type != K_SOCK_STREAM && s->type != K_SOCK_DGRAM && s->type != K_SOCK_SEQPACKET)
        return -ESOCKTNOSUPPORT;
    struct unix_sock *u = unix_alloc(s->type);
    if (!u)
        return -ENOMEM;
    u->sock = s;
    s->ops = &unix_ops;
    s->priv = u;
    return 0;
}

static int unix_getname(struct socket *s, struct sockaddr_buf *a, bool peer)
{
    struct unix_sock *u = sock_of(s);
    spin_lock(&unix_lock);
    if (peer)
        u = u->peer;
    int len = u ? (int)unix_name_put_addr(u->name, a) : -ENOTCONN;
    spin_unlock(&unix_lock);
    return len;
}

// --- connections ------------------------------------------------------------------------------------------------------
static bool accept_ready(struct socket *s)
{
    struct unix_sock *u = sock_of(s);
    return !list_empty(&u->backlog) || u->state != UNIX_LISTENING || u->rd_shut;
}

static int unix_listen(struct socket *s, int backlog)
{
    struct unix_sock *u = sock_of(s);
    if (u->type == K_SOCK_DGRAM)
        return -EOPNOTSUPP;
    if (!u->name || u->state == UNIX_CONNECTED)
        return -EINVAL;
    spin_lock(&unix_lock);
    bool more = (u32)backlog > u->max_backlog;
    u->state = UNIX_LISTENING;
    u->max_backlog = (u32)backlog;
    u->cred = (struct unix_cred){ (u32)the_process->pid, current_cred()->euid, current_cred()->egid };
    s->listening = true;
    if (more)                           // connectors that wait for room
        for (struct list *l = unix_all.next; l != &unix_all; l = l->next)
            if (list_entry(l, struct unix_sock, all)->waits_for == u)
                unix_wake(list_entry(l, struct unix_sock, all), 0);
    spin_unlock(&unix_lock);
    return 0;
}

static int unix_accept(struct socket *s, struct socket *fresh, bool nonblock)
{
    struct unix_sock *u = sock_of(s);
    if (u->type == K_SOCK_DGRAM)
        return -EOPNOTSUPP;
    if (u->state != UNIX_LISTENING)
        return -EINVAL;
    for (;;) {
        int err = socket_wait(s, accept_ready, s->rcv_timeout, nonblock);
        if (err)
            return err;
        spin_lock(&unix_lock);
        struct list *n = list_pop(&u->backlog);
        if (!n) {
            bool over = u->state != UNIX_LISTENING || u->rd_shut;
            spin_unlock(&unix_lock);
            if (over)
                return -EINVAL;
            continue;
        }
        u->nr_backlog--;
        struct unix_sock *e = list_entry(n, struct unix_sock, accept_node);
        e->sock = fresh;                // takes over the backlog's reference
        fresh->priv = e;
        fresh->ops = &unix_ops;
        for (struct list *l = unix_all.next; l != &unix_all; l = l->next)
            if (list_entry(l, struct unix_sock, all)->waits_for == u)
                unix_wake(list_entry(l, struct unix_sock, all), 0);
        spin_unlock(&unix_lock);
        return 0;
    }
}

static bool backlog_ready(struct socket *s)
{
    const struct unix_sock *to = sock_of(s)->waits_for;
    return !to || to->dead || to->state != UNIX_LISTENING || to->rd_shut || to->nr_backlog <= to->max_backlog;
}

// Makes the server's end and puts it into the listener's backlog. unix_lock held.
static void join(struct unix_sock *u, struct unix_sock *listener, struct unix_sock *e)
{
    e->state = u->state = UNIX_CONNECTED;
    e->name = listener->name;
    if (e->name)
        e->name->refs++;
    e->peer = unix_get(u);
    u->peer = unix_get(e);
    u->cred = (struct unix_cred){ (u32)the_process->pid, current_cred()->euid, current_cred()->egid };
    u->peer_cred = listener->cred;
    e->peer_cred = u->cred;
    e->cred = listener->cred;
    list_push(&listener->backlog, &e->accept_node);
    listener->nr_backlog++;
    unix_wake(listener, POLL_IN | POLL_RDNORM);
}

static int try_connect(struct unix_sock *u, struct unix_sock *to, struct unix_sock *e, bool *full)
{
    *full = false;
    if (to->dead || to->state != UNIX_LISTENING || to->rd_shut)
        return -ECONNREFUSED;
    if (to->nr_backlog > to->max_backlog) {
        *full = true;
        return -EAGAIN;
    }
    if (u->state != UNIX_CLOSED)
        return u->state == UNIX_CONNECTED ? -EISCONN : -EINVAL;
    join(u, to, e);
    return 0;
}

static int connect_stream(struct socket *s, struct unix_sock *to, bool nonblock)
{
    struct unix_sock *u = sock_of(s);
    struct unix_sock *e = unix_alloc(u->type);
    if (!e)
        return -ENOMEM;
    int err;
    bool full;
    for (;;) {
        spin_lock(&unix_lock);
        err = try_connect(u, to, e, &full);
        u->waits_for = full ? to : NULL;
        spin_unlock(&unix_lock);
        if (!full || nonblock)
            break;
        err = socket_wait(s, backlog_ready, s->snd_timeout, false);
        if (err)
            break;
    }
    u->waits_for = NULL;
    if (err) {
        spin_lock(&unix_lock);
        list_remove(&e->all);
        spin_unlock(&unix_lock);
        unix_put(e);
    }
    return err;
}

// A datagram socket's connection is only its usual destination.
static int connect_dgram(struct unix_sock *u, struct unix_sock *to)
{
    struct unix_sock *old;
    spin_lock(&unix_lock);
    if (to && to->peer && to->peer != u) {
        spin_unlock(&unix_lock);
        return -EPERM;
    }
    old = u->peer;
    u->peer = to ? unix_get(to) : NULL;
    u->state = to ? UNIX_CONNECTED : UNIX_CLOSED;
    if (to)
        u->peer_cred = to->cred;
    spin_unlock(&unix_lock);
    unix_put(old);
    return 0;
}

static int unix_connect(struct socket *s, const struct sockaddr_buf *a, u32 len, bool nonblock)
{
    struct unix_sock *u = sock_of(s);
    if (u->type == K_SOCK_DGRAM && a->family == K_AF_UNSPEC && len >= ADDR_FAMILY)
        return connect_dgram(u, NULL);
    if (s->passcred) {
        int err = unix_autobind(u);
        if (err)
            return err;
    }
    struct unix_sock *to = unix_find(a, len, u->type);       // the reference keeps it while we wait
    if (is_err(to))
        return (int)ptr_err(to);
    int err = u->type == K_SOCK_DGRAM ? connect_dgram(u, to) : connect_stream(s, to, nonblock);
    unix_put(to);
    return err;
}

static int unix_pair(struct socket *a, struct socket *b)
{
    struct unix_sock *x = sock_of(a), *y = sock_of(b);
    x->state = y->state = UNIX_CONNECTED;
    x->peer = unix_get(y);
    y->peer = unix_get(x);
    x->peer_cred = y->peer_cred = x->cred;
    return 0;
}

static int unix_shutdown(struct socket *s, int how)
{
    struct unix_sock *u = sock_of(s), *p;
    spin_lock(&unix_lock);
    p = u->type == K_SOCK_DGRAM ? NULL : u->peer;
    if (how != K_SHUT_WR)
        u->rd_shut = true;
    if (how != K_SHUT_RD)
        u->wr_shut = true;
    if (p && u->type != K_SOCK_DGRAM) {
        if (how != K_SHUT_WR)
            p->wr_shut = true;
        if (how != K_SHUT_RD)
            p->rd_shut = true;
        unix_wake(p, 0);
    }
    unix_wake(u, 0);
    spin_unlock(&unix_lock);
    return 0;
}

// --- the end ----------------------------------------------------------------------------------------------------------
static void drop_messages(struct unix_sock *u)
{
    struct list *n;
    while ((n = list_pop(&u->rx)))
        unix_msg_free(list_entry(n, struct unix_msg, node));
}

// unix_lock held. The other end sees the end of the stream, or ECONNRESET when data was left unread.
static void tell_peer(struct unix_sock *u, bool reset)
{
    struct unix_sock *p = u->peer;
    if (!p || u->type == K_SOCK_DGRAM)
        return;
    p->rd_shut = p->wr_shut = true;
    if (reset && p->sock)
        p->sock->error = ECONNRESET;
    unix_wake(p, 0);
}

static void unix_close(struct unix_sock *u)
{
    struct list *n;
    spin_lock(&unix_lock);
    tell_peer(u, !list_empty(&u->rx));
    u->dead = true;
    u->sock = NULL;
    list_remove(&u->all);
    if (u->name && u->name->inode && u->name->inode->priv == u)
        u->name->inode->priv = NULL;
    struct unix_sock *peer = u->peer;
    u->peer = NULL;
    // Who else may be waiting: connectors to a listener, senders to a datagram socket. A stream has told its only peer already.
    bool others = u->state == UNIX_LISTENING || (u->type == K_SOCK_DGRAM && u->refs > 1);
    for (struct list *l = unix_all.next; others && l != &unix_all; l = l->next) {
        struct unix_sock *o = list_entry(l, struct unix_sock, all);
        if (o->peer == u || o->waits_for == u)
            unix_wake(o, 0);
    }
    spin_unlock(&unix_lock);
    unix_put(peer);
    while ((n = list_pop(&u->backlog))) {
        struct unix_sock *e = list_entry(n, struct unix_sock, accept_node);
        if (e->peer && e->peer->sock)
            e->peer->sock->error = ECONNRESET;
        unix_close(e);
    }
    drop_messages(u);
    unix_put(u);
}

static void unix_release(struct socket *s)
{
    unix_close(sock_of(s));
    unix_collect();
}

// --- state ------------------------------------------------------------------------------------------------------------
static u32 unix_poll(struct socket *s)
{
    struct unix_sock *u = sock_of(s);
    u32 ev = s->error ? POLL_ERR : 0;
    spin_lock(&unix_lock);
    if (u->rd_shut && u->wr_shut)
        ev |= POLL_HUP;
    if (u->rd_shut)
        ev |= POLL_RDHUP | POLL_IN | POLL_RDNORM;
    if (!list_empty(&u->rx) || !list_empty(&u->backlog))
        ev |= POLL_IN | POLL_RDNORM;
    if (u->urgent)
        ev |= POLL_PRI;
    if (u->type != K_SOCK_DGRAM && u->state == UNIX_CLOSED)
        ev |= POLL_HUP;
    bool writable = u->state != UNIX_LISTENING;
    if (writable && u->peer)
        writable = u->type == K_SOCK_DGRAM ? unix_has_room(u, u->peer) : u->peer->rx_cost * 4 <= s->sndbuf;
    if (writable)
        ev |= POLL_OUT | POLL_WRNORM | POLL_WRBAND;
    spin_unlock(&unix_lock);
    return ev;
}

// unix(7): the peer's supplementary groups; whoever is connected here is this process.
static int peer_groups(const struct unix_sock *u, void *val, u32 *len)
{
    const struct group_list *g = current_cred()->groups;
    u32 size = g ? g->n * (u32)sizeof(g->gid[0]) : 0;
    if (!u->peer_cred.pid)
        return -ENODATA;
    if (*len < size)
        return -ERANGE;
    if (g)
        memcpy(val, g->gid, size);
    *len = size;
    return 0;
}

static int unix_getopt(struct socket *s, int level, int name, void *val, u32 *len)
{
    struct unix_sock *u = sock_of(s);
    if (level != 1)                             // SOL_SOCKET
        return -EOPNOTSUPP;
    if (name == SO_PEERGROUPS)
        return peer_groups(u, val, len);
    if (name != SO_PEERCRED)
        return -ENOPROTOOPT;
    *len = MIN(*len, (u32)sizeof(u->peer_cred));
    memcpy(val, &u->peer_cred, *len);
    return 0;
}

static const struct socket_ops unix_ops = {
    .bind = unix_bind,
    .connect = unix_connect,
    .listen = unix_listen,
    .accept = unix_accept,
    .getname = unix_getname,
    .send = unix_send,
    .recv = unix_recv,
    .shutdown = unix_shutdown,
    .poll = unix_poll,
    .getopt = unix_getopt,
    .ioctl = unix_ioctl,
    .pair = unix_pair,
    .release = unix_release,
};

void unix_init(void)
{
    socket_family_register(K_AF_UNIX, unix_create);
    unix_proc_init();
}
