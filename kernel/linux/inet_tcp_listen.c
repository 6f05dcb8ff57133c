// SPDX-License-Identifier: Apache-2.0
// TCP sockets: listen and accept (tcp(7), Linux's net/ipv4/inet_connection_sock.c).
#include "inet.h"

#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"

#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"

#include "../net/net_priv.h"
#include "inet_tcp.h"

// The listening sockets of one address and port: several with SO_REUSEPORT, which take turns; they share one pcb.
struct tcp_group {
    struct tcp_pcb *pcb;
    struct list members;        // tcp_sock.group_node
    struct inet_addr addr;
};

bool inet_syn_allowed(void *arg)
{
    struct tcp_group *g = arg;
    for (struct list *n = g->members.next; n != &g->members; n = n->next) {
        struct tcp_sock *l = list_entry(n, struct tcp_sock, group_node);
        if (l->nr_accept <= l->backlog)
            return true;
    }
    return false;
}

// A connection's window is the one of its listener's options, from the first segment on.
void inet_tcp_passive(void *arg, struct tcp_pcb *pcb)
{
    struct tcp_group *g = arg;
    pcb->net.wnd_max = list_empty(&g->members) ? 0 : tcp_window_limit(list_entry(g->members.next, struct tcp_sock, group_node));
    pcb->rcv_wnd = pcb->rcv_ann_wnd = MIN(NET_TCP_WND(pcb), 0xffffu);
}

// The next member in turn that has room.
static struct tcp_sock *pick(struct tcp_group *g)
{
    struct tcp_sock *best = NULL;
    for (struct list *n = g->members.next; n != &g->members; n = n->next) {
        struct tcp_sock *l = list_entry(n, struct tcp_sock, group_node);
        if (!best || (best->nr_accept > best->backlog && l->nr_accept <= l->backlog))
            best = l;
    }
    if (best) {
        list_remove(&best->group_node);
        list_push(&g->members, &best->group_node);
    }
    return best;
}

void tcp_accept_ready(struct tcp_sock *t)
{
    list_push(&t->listener->accept_queue, &t->accept_node);
    tcp_sock_wake(t->listener, POLL_IN | POLL_RDNORM);
}

static void inherit(struct tcp_sock *t, const struct tcp_sock *l)
{
    t->opt = l->opt;
    t->nodelay = l->nodelay;
    t->cork = l->cork;
    t->snd_total = l->snd_total;
    t->keep_idle = l->keep_idle;
    t->keep_intvl = l->keep_intvl;
    t->keep_cnt = l->keep_cnt;
    t->user_timeout = l->user_timeout;
    t->maxseg = l->maxseg;
    t->linger2 = l->linger2;
    t->syncnt = l->syncnt;
    t->reno = l->reno;
    t->window_clamp = l->window_clamp;
    t->notsent_lowat = l->notsent_lowat;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
    struct tcp_group *g = arg;
    if (err != ERR_OK || !pcb)
        return ERR_VAL;
    tcp_backlog_accepted(pcb);                // lwIP's count is of half-open connections only; ours is of whole ones
    struct tcp_sock *l = pick(g);
    struct tcp_sock *t = l ? tcp_sock_alloc(PA_ATOMIC) : NULL;
    if (!t)
        return ERR_MEM;                       // lwIP resets the connection
    inherit(t, l);
    t->phase = TCP_CONNECTED;
    t->ever_connected = true;
    t->local = (struct inet_addr){ pcb->local_ip, pcb->local_port };
    t->remote = (struct inet_addr){ pcb->remote_ip, pcb->remote_port };
    t->read_seq = pcb->rcv_nxt;
    t->listener = l;
    l->nr_accept++;
    tcp_sock_attach(t, pcb);
    tcp_offload(t, pcb);
    if (!l->defer_accept)
        tcp_accept_ready(t);
    return ERR_OK;
}

static struct tcp_group *find_group(struct tcp_sock *t)
{
    for (struct list *n = tcp_socks.next; n != &tcp_socks; n = n->next) {
        struct tcp_sock *o = list_entry(n, struct tcp_sock, all_node);
        if (o != t && o->group && o->local.port == t->local.port && ip_addr_cmp(&o->local.ip, &t->local.ip) &&
            IP_GET_TYPE(&o->local.ip) == IP_GET_TYPE(&t->local.ip))
            return o->group;
    }
    return NULL;
}

static int make_group(struct tcp_sock *t)
{
    struct tcp_group *g = kmalloc(sizeof(*g), PA_ATOMIC);
    if (!g)
        return -ENOBUFS;
    err_t err;
    struct tcp_pcb *pcb = t->pcb;
    tcp_sock_detach(t);
    g->pcb = tcp_listen_with_backlog_and_err(pcb, 255, &err);
    if (!g->pcb) {
        kfree(g);
        tcp_sock_attach(t, pcb);
        return inet_errno(err);
    }
    list_init(&g->members);
    g->addr = t->local;
    tcp_arg(g->pcb, g);
    tcp_accept(g->pcb, on_accept);
    t->group = g;
    return 0;
}

static int listen_locked(struct socket *s, struct tcp_sock *t, int backlog)
{
    if (t->phase == TCP_LISTENING) {
        t->backlog = (u32)backlog;
        return 0;
    }
    if (t->phase != TCP_IDLE)
        return -EINVAL;
    int err = 0;
    if (!t->bound) {
        struct inet_addr any = { .port = 0 };
        ip_addr_set_any(s->domain == K_AF_INET6, &any.ip);
        err = tcp_bind_locked(s, t, &any);
    }
    if (err)
        return err;
    struct tcp_group *g = find_group(t);
    if (g && !s->reuseport)
        return -EADDRINUSE;
    if (g) {
        struct tcp_pcb *pcb = t->pcb;
        tcp_sock_detach(t);
        tcp_close(pcb);
        t->group = g;
    } else {
        err = make_group(t);
    }
    if (err)
        return err;
    list_push(&t->group->members, &t->group_node);
    t->phase = TCP_LISTENING;
    t->backlog = (u32)backlog;
    s->listening = true;
    return 0;
}

int tcp_op_listen(struct socket *s, int backlog)
{
    net_lock();
    int err = listen_locked(s, s->priv, backlog);
    net_unlock();
    return err;
}

static bool accept_settled(struct socket *s)
{
    struct tcp_sock *t = s->priv;
    return !list_empty(&t->accept_queue) || t->phase != TCP_LISTENING;
}

int tcp_op_accept(struct socket *s, struct socket *fresh, bool nonblock)
{
    struct tcp_sock *t = s->priv;
    for (;;) {
        if (t->phase != TCP_LISTENING)
            return -EINVAL;
        int err = socket_wait(s, accept_settled, s->rcv_timeout, nonblock);
        if (err)
            return err;
        if (!socket_fd_room())
            return -EMFILE;                   // the connection stays in the queue, as on Linux
        net_lock();
        struct list *n = list_pop(&t->accept_queue);
        if (n) {
            struct tcp_sock *c = list_entry(n, struct tcp_sock, accept_node);
            t->nr_accept--;
            c->listener = NULL;
            tcp_adopt(c, fresh);
        }
        net_unlock();
        if (n)
            return 0;
    }
}

// Every connection that waits for accept() is reset; the last member takes the pcb with it.
void tcp_group_leave(struct tcp_sock *t)
{
    struct tcp_group *g = t->group;
    if (!g)
        return;
    for (struct list *n = tcp_socks.next, *next; n != &tcp_socks; n = next) {
        struct tcp_sock *c = list_entry(n, struct tcp_sock, all_node);
        next = n->next;
        if (c->listener == t)
            tcp_sock_drop(c);
    }
    list_remove(&t->group_node);
    t->group = NULL;
    t->nr_accept = 0;
    t->phase = TCP_IDLE;
    if (t->s)
        t->s->listening = false;
    if (list_empty(&g->members)) {
        tcp_close(g->pcb);
        kfree(g);
    }
}
