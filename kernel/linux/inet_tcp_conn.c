// SPDX-License-Identifier: Apache-2.0
// TCP sockets: bind, connect, shutdown, close (tcp(7), Linux's net/ipv4/inet_connection_sock.c).
#include "inet.h"

#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"

#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "time.h"

#include "../net/net_priv.h"
#include "inet_tcp.h"

// --- bind -----------------------------------------------------------------------------------------------------------------

static bool in_conflict(struct socket *s, struct tcp_sock *t, const struct inet_addr *a)
{
    for (struct list *n = tcp_socks.next; n != &tcp_socks; n = n->next) {
        struct tcp_sock *o = list_entry(n, struct tcp_sock, all_node);
        if (o == t || !o->bound || !o->s || !inet_addrs_overlap(a, t->opt.v6only, &o->local, o->opt.v6only))
            continue;
        bool both_addr = s->reuseaddr && o->s->reuseaddr && o->phase != TCP_LISTENING;
        if (!both_addr && !(s->reuseport && o->s->reuseport))
            return true;
    }
    if (s->reuseaddr)
        return false;
    struct tcp_pcb *lists[2] = { tcp_active_pcbs, tcp_tw_pcbs };
    for (int i = 0; i < 2; i++)
        for (struct tcp_pcb *p = lists[i]; p; p = p->next)
            if (p->local_port == a->port && (ip_addr_isany(&a->ip) || ip_addr_cmp(&a->ip, &p->local_ip)))
                return true;
    return false;
}

static struct tcp_pcb *new_pcb(struct socket *s)
{
    struct tcp_pcb *pcb = tcp_new_ip_type(s->domain == K_AF_INET ? IPADDR_TYPE_V4 : IPADDR_TYPE_ANY);
    if (pcb) {
        ip_set_option(pcb, SOF_REUSEADDR);    // who may share a port is decided here, not there
        tcp_setprio(pcb, TCP_PRIO_MAX);
    }
    return pcb;
}

int tcp_bind_locked(struct socket *s, struct tcp_sock *t, struct inet_addr *a)
{
    if (t->phase != TCP_IDLE || t->bound)
        return -EINVAL;
    if (!t->opt.freebind && !t->opt.transparent && (!inet_is_local(&a->ip) || ip_addr_ismulticast(&a->ip)))
        return -EADDRNOTAVAIL;
    if (a->port && in_conflict(s, t, a))
        return -EADDRINUSE;
    if (s->domain == K_AF_INET6 && ip_addr_isany(&a->ip) && !t->opt.v6only)
        a->ip = *IP_ANY_TYPE;
    struct tcp_pcb *pcb = new_pcb(s);
    if (!pcb)
        return -ENOBUFS;
    int err = inet_errno(tcp_bind(pcb, &a->ip, a->port));
    if (err) {
        tcp_close(pcb);
        return err == -ENOBUFS ? -EADDRINUSE : err;
    }
    tcp_sock_attach(t, pcb);
    t->local.ip = a->ip;
    t->local.port = pcb->local_port;
    t->bound = true;
    return 0;
}

int tcp_op_bind(struct socket *s, const struct sockaddr_buf *sa, u32 len)
{
    struct inet_addr a;
    int err = inet_addr_in(s, sa, len, &a);
    if (!err)
        err = inet_check_port(a.port);
    if (err)
        return err;
    net_lock();
    err = tcp_bind_locked(s, s->priv, &a);
    net_unlock();
    return err;
}

// --- connect --------------------------------------------------------------------------------------------------------------

static bool connect_settled(struct socket *s) { return ((struct tcp_sock *)s->priv)->phase != TCP_CONNECTING; }

static void disconnect(struct socket *s, struct tcp_sock *t)
{
    struct tcp_pcb *pcb = t->pcb;
    tcp_group_leave(t);
    tcp_sock_detach(t);
    if (pcb && t->phase != TCP_IDLE)
        tcp_abort(pcb);
    else if (pcb)
        tcp_close(pcb);
    tcp_rx_purge(t);
    t->window_debt = 0;
    t->phase = TCP_IDLE;
    t->fin_received = t->shut_rd = t->shut_wr = t->ever_connected = t->bound = t->untold = false;
    ip_addr_set_any(s->domain == K_AF_INET6, &t->local.ip);
    t->local.port = 0;
    s->error = 0;
}

static int start_connect(struct socket *s, struct tcp_sock *t, struct inet_addr *a)
{
    if (s->domain == K_AF_INET6 && t->opt.v6only && IP_IS_V4_VAL(a->ip))
        return -ENETUNREACH;
    if (ip_addr_isany(&a->ip)) {              // as Linux: to oneself
        if (IP_IS_V6_VAL(a->ip))
            IP_ADDR6_HOST(&a->ip, 0, 0, 0, 1);
        else
            IP_ADDR4(&a->ip, 127, 0, 0, 1);
    }
    if (ip_addr_ismulticast(&a->ip))
        return -ENETUNREACH;
    if (!t->pcb) {
        struct tcp_pcb *pcb = new_pcb(s);
        if (!pcb)
            return -ENOBUFS;
        t->snd_total = pcb->snd_buf;
        tcp_sock_attach(t, pcb);
    }
    t->remote = *a;
    int err = inet_errno(tcp_connect(t->pcb, &a->ip, a->port, t->pcb->connected));
    if (err) {
        if (!t->bound) {
            struct tcp_pcb *pcb = t->pcb;
            tcp_sock_detach(t);
            tcp_close(pcb);
        }
        return err == -EADDRINUSE || err == -ENOBUFS ? -EADDRNOTAVAIL : err;
    }
    t->phase = TCP_CONNECTING;
    t->untold = true;
    t->local.ip = t->pcb->local_ip;
    t->local.port = t->pcb->local_port;
    return 0;
}

// How a connection attempt ended, told once by connect(): Linux's SS_CONNECTING after the handshake.
static int tell(struct socket *s, struct tcp_sock *t)
{
    t->untold = false;
    if (t->phase == TCP_CONNECTED || (t->phase == TCP_DEAD && t->ever_connected && !s->error))
        return 0;
    t->phase = TCP_IDLE;
    t->ever_connected = false;
    int err = socket_take_error(s);
    return err ? err : -ECONNABORTED;
}

// 1: a new attempt is under way.
static int connect_locked(struct socket *s, struct tcp_sock *t, struct inet_addr *a, bool nonblock)
{
    if (t->phase == TCP_CONNECTING)
        return nonblock ? -EALREADY : 1;
    if (t->untold)
        return tell(s, t);
    if (t->phase != TCP_IDLE)
        return -EISCONN;
    int err = start_connect(s, t, a);
    return err ? err : 1;
}

int tcp_op_connect(struct socket *s, const struct sockaddr_buf *sa, u32 len, bool nonblock)
{
    struct tcp_sock *t = s->priv;
    struct inet_addr a;
    if (len >= sizeof(sa->family) && sa->family == K_AF_UNSPEC) {
        net_lock();
        disconnect(s, t);
        net_unlock();
        return 0;
    }
    int err = inet_addr_in(s, sa, len, &a);
    if (err)
        return err;
    net_lock();
    err = connect_locked(s, t, &a, nonblock);
    net_unlock();                             // sends to ourselves are delivered here
    if (err != 1)
        return err;
    if (nonblock)
        return -EINPROGRESS;                  // even where the peer is ourselves and the handshake is done by now, as on Linux
    err = socket_wait(s, connect_settled, s->snd_timeout, false);
    return err == -EAGAIN ? -EINPROGRESS : err ? err : tell(s, t);
}

// --- The end --------------------------------------------------------------------------------------------------------------

void tcp_sock_drop(struct tcp_sock *t)
{
    struct tcp_pcb *pcb = t->pcb;
    tcp_sock_detach(t);
    if (pcb)
        tcp_abort(pcb);
    tcp_rx_purge(t);
    list_remove(&t->accept_node);
    list_remove(&t->all_node);
    tcp_tune_forget(t);
    kfree(t);
}

static void shut_write(struct tcp_sock *t)
{
    if (t->shut_wr)
        return;
    t->shut_wr = true;
    tcp_shutdown(t->pcb, 0, 1);               // lwIP sends FIN after what is queued, or tries again when memory is short
    if (t->fin_received)
        tcp_sock_detach(t);
}

static int shutdown_locked(struct socket *s, struct tcp_sock *t, int how)
{
    switch (t->phase) {
    case TCP_IDLE: case TCP_DEAD:
        return -ENOTCONN;
    case TCP_LISTENING:
        if (how == K_SHUT_WR)
            return 0;
        tcp_group_leave(t);
        break;
    case TCP_CONNECTING:
        disconnect(s, t);
        break;
    case TCP_CONNECTED:
        if (how != K_SHUT_WR)
            t->shut_rd = true;
        if (how != K_SHUT_RD)
            shut_write(t);
        break;
    }
    tcp_sock_wake(t, POLL_IN | POLL_OUT | POLL_RDNORM | POLL_WRNORM | POLL_RDHUP | POLL_HUP);
    return 0;
}

int tcp_op_shutdown(struct socket *s, int how)
{
    net_lock();
    int err = shutdown_locked(s, s->priv, how);
    net_unlock();
    return err;
}

static bool all_sent(struct socket *s)
{
    struct tcp_sock *t = s->priv;
    return !t->pcb || (!t->pcb->unsent && !t->pcb->unacked);
}

static bool sent_pending(struct socket *s)
{
    struct tcp_sock *t = s->priv;
    t->nospace = true;                        // wake us when something was acknowledged
    return all_sent(s);
}

static void linger(struct socket *s, struct tcp_sock *t)
{
    net_lock();
    shut_write(t);
    net_unlock();
    u64 end = clock_mono_ns() + (u64)s->linger * NSEC_PER_SEC;
    while (!all_sent(s) && clock_mono_ns() < end)
        if (socket_wait(s, sent_pending, MIN(end - clock_mono_ns(), 50000000ull), false) == -ERESTARTSYS)
            break;
}

static void close_connection(struct socket *s, struct tcp_sock *t)
{
    struct tcp_pcb *pcb = t->pcb;
    bool unread = t->rx_bytes > 0;
    tcp_sock_detach(t);
    if (!pcb)
        return;
    if (!unread && pcb->state >= SYN_SENT)
        pcb->rcv_wnd = TCP_WND_MAX(pcb);      // where a smaller SO_RCVBUF is still owed: lwIP takes a window that is not whole for unread data
    if (s->linger == 0 || unread)
        tcp_abort(pcb);                       // RFC 2525, 2.17: data that nobody will read ends with a reset
    else if (tcp_close(pcb) != ERR_OK)
        tcp_abort(pcb);
}

void tcp_op_release(struct socket *s)
{
    struct tcp_sock *t = s->priv;
    if (s->linger > 0 && t->phase == TCP_CONNECTED && t->rx_bytes == 0)
        linger(s, t);
    net_lock();
    t->s = NULL;
    tcp_group_leave(t);
    close_connection(s, t);
    tcp_rx_purge(t);
    list_remove(&t->all_node);
    tcp_tune_forget(t);
    net_unlock();
    kfree(t);
}
