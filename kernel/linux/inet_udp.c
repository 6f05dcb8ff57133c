// SPDX-License-Identifier: Apache-2.0
// UDP sockets (udp(7)), and the queue of datagrams that raw sockets share.
#include "inet.h"

#include "lwip/ip.h"
#include "lwip/udp.h"

#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "time.h"

#define SOL_IP_ 0
#define SOL_IPV6_ 41
#define SOL_SOCKET_ 1
enum { CM_IP_TTL = 2, CM_IP_PKTINFO = 8, CM_IP_TOS = 1, CM_V6_PKTINFO = 50, CM_TIMESTAMP = 29, CM_TIMESTAMPNS = 35 };
#define DGRAM_MAX 65507

static const struct socket_ops udp_ops;

struct dgram {
    struct list node;
    struct pbuf *p;
    struct inet_addr from;
    ip_addr_t to;
    u32 ifindex;
    u64 time_ns;
    u8 ttl, tos;
};

struct udp_sock *dgram_alloc(struct socket *s)
{
    struct udp_sock *u = kzalloc(sizeof(*u));
    if (!u)
        return NULL;
    inet_opts_init(&u->opt);
    u->s = s;
    list_init(&u->queue);
    list_init(&u->groups);
    ip_addr_set_any(s->domain == K_AF_INET6, &u->local.ip);
    s->priv = u;
    net_lock();
    list_push(&udp_socks, &u->all_node);
    net_unlock();
    return u;
}

void dgram_purge(struct udp_sock *u)
{
    struct list *n;
    while ((n = list_pop(&u->queue))) {
        struct dgram *d = list_entry(n, struct dgram, node);
        pbuf_free(d->p);
        kfree(d);
    }
    u->queued = 0;
}

int dgram_queue(struct udp_sock *u, struct pbuf *p, const ip_addr_t *from, u16 port, u8 ttl, u8 tos)
{
    u32 size = p->tot_len + 256u;             // with what the kernel adds, as Linux charges it
    struct dgram *d = u->queued + size > u->s->rcvbuf ? NULL : kmalloc(sizeof(*d), PA_ATOMIC);
    if (!d) {
        u->drops++;
        return -ENOBUFS;
    }
    d->p = p;
    d->from.ip = *from;
    d->from.port = port;
    d->to = *ip_current_dest_addr();
    d->ifindex = inet_ifindex(ip_current_input_netif());
    d->time_ns = u->s->timestamp || u->s->timestampns ? clock_real_ns() : 0;
    d->ttl = ttl;
    d->tos = tos;
    list_push(&u->queue, &d->node);
    u->queued += size;
    waitq_wake(&u->s->wq, POLL_IN | POLL_RDNORM);
    return 0;
}

static void on_datagram(void *arg, struct udp_pcb *pcb, struct pbuf *p, const ip_addr_t *from, u16_t port)
{
    (void)pcb;
    bool v6 = ip_current_is_v6();
    u8 ttl = v6 ? IP6H_HOPLIM(ip6_current_header()) : IPH_TTL(ip4_current_header());
    u8 tos = v6 ? 0 : IPH_TOS(ip4_current_header());
    if (dgram_queue(arg, p, from, port, ttl, tos))
        pbuf_free(p);
}

int udp_sock_create(struct socket *s)
{
    struct udp_sock *u = dgram_alloc(s);
    if (!u)
        return -ENOBUFS;
    net_lock();
    u->pcb = udp_new_ip_type(s->domain == K_AF_INET ? IPADDR_TYPE_V4 : IPADDR_TYPE_ANY);
    if (u->pcb) {
        ip_set_option(u->pcb, SOF_BROADCAST);  // SO_BROADCAST is checked here
        udp_recv(u->pcb, on_datagram, u);
    } else {
        list_remove(&u->all_node);
    }
    net_unlock();
    if (!u->pcb) {
        kfree(u);
        return -ENOBUFS;
    }
    s->ops = &udp_ops;
    return 0;
}

// --- Addresses ------------------------------------------------------------------------------------------------------------

static bool in_conflict(struct socket *s, struct udp_sock *u, const struct inet_addr *a)
{
    for (struct list *n = udp_socks.next; n != &udp_socks; n = n->next) {
        struct udp_sock *o = list_entry(n, struct udp_sock, all_node);
        if (o == u || !o->bound || !o->pcb || !inet_addrs_overlap(a, u->opt.v6only, &o->local, o->opt.v6only))
            continue;
        if (!(s->reuseaddr && o->s->reuseaddr) && !(s->reuseport && o->s->reuseport))
            return true;
    }
    return false;
}

static int bind_locked(struct socket *s, struct udp_sock *u, struct inet_addr *a)
{
    if (u->bound)
        return -EINVAL;
    if (!u->opt.freebind && !inet_is_local(&a->ip))
        return -EADDRNOTAVAIL;
    if (a->port && in_conflict(s, u, a))
        return -EADDRINUSE;
    if (s->domain == K_AF_INET6 && ip_addr_isany(&a->ip) && !u->opt.v6only)
        a->ip = *IP_ANY_TYPE;
    ip_set_option(u->pcb, SOF_REUSEADDR);     // who may share a port was decided above
    int err = inet_errno(udp_bind(u->pcb, &a->ip, a->port));
    if (err)
        return err;
    u->local.ip = a->ip;
    u->local.port = u->pcb->local_port;
    u->bound = true;
    return 0;
}

static int op_bind(struct socket *s, const struct sockaddr_buf *sa, u32 len)
{
    struct inet_addr a;
    int err = inet_addr_in(s, sa, len, &a);
    if (!err)
        err = inet_check_port(a.port);
    if (err)
        return err;
    net_lock();
    err = bind_locked(s, s->priv, &a);
    net_unlock();
    return err;
}

static int connect_locked(struct socket *s, struct udp_sock *u, struct inet_addr *a)
{
    if (ip_addr_isany(&a->ip)) {
        if (IP_IS_V6_VAL(a->ip))
            IP_ADDR6_HOST(&a->ip, 0, 0, 0, 1);
        else
            IP_ADDR4(&a->ip, 127, 0, 0, 1);
    }
    if (s->domain == K_AF_INET6 && u->opt.v6only && IP_IS_V4_VAL(a->ip))
        return -ENETUNREACH;
    struct netif *n = ip_route(&u->pcb->local_ip, &a->ip);
    if (!n)
        return -ENETUNREACH;
    int err = inet_errno(udp_connect(u->pcb, &a->ip, a->port));
    if (err)
        return err;
    u->remote = *a;
    u->connected = true;
    if (ip_addr_isany(&u->local.ip)) {
        const ip_addr_t *src = ip_netif_get_local_ip(n, &a->ip);
        if (src)
            u->local.ip = *src;
    }
    u->local.port = u->pcb->local_port;
    return 0;
}

static int op_connect(struct socket *s, const struct sockaddr_buf *sa, u32 len, bool nonblock)
{
    struct udp_sock *u = s->priv;
    struct inet_addr a;
    (void)nonblock;
    if (len >= sizeof(sa->family) && sa->family == K_AF_UNSPEC) {
        net_lock();
        udp_disconnect(u->pcb);
        u->connected = false;
        net_unlock();
        return 0;
    }
    int err = inet_addr_in(s, sa, len, &a);
    if (err)
        return err;
    net_lock();
    err = connect_locked(s, u, &a);
    net_unlock();
    return err;
}

int dgram_getname(struct socket *s, struct sockaddr_buf *a, bool peer)
{
    struct udp_sock *u = s->priv;
    if (peer && !u->connected)
        return -ENOTCONN;
    return (int)inet_addr_out(s, peer ? &u->remote : &u->local, a);
}

int dgram_shutdown(struct socket *s, int how)
{
    struct udp_sock *u = s->priv;
    u->shut_rd |= how != K_SHUT_WR;
    u->shut_wr |= how != K_SHUT_RD;
    waitq_wake(&s->wq, POLL_IN | POLL_OUT | POLL_RDHUP | POLL_HUP);
    return u->connected ? 0 : -ENOTCONN;      // the flags are set all the same, as Linux's inet_shutdown does
}

// --- Messages -------------------------------------------------------------------------------------------------------------

struct pbuf *dgram_build(struct msg *m, int layer)
{
    size_t n = m->it->left;
    if (n > DGRAM_MAX)
        return err_ptr(-EMSGSIZE);
    struct pbuf *p = pbuf_alloc((pbuf_layer)layer, (u16_t)n, PBUF_RAM);
    if (!p)
        return err_ptr(-ENOBUFS);
    if (iter_get(m->it, p->payload, n) < n) {
        pbuf_free(p);
        return err_ptr(-EFAULT);
    }
    return p;
}

void dgram_apply_options(struct udp_sock *u)
{
    struct udp_pcb *pcb = u->pcb;
    bool mcast = ip_addr_ismulticast(&u->remote.ip);
    pcb->tos = u->opt.tos;
    pcb->ttl = mcast ? u->opt.mcast_ttl : u->opt.ttl;
    udp_set_multicast_ttl(pcb, u->opt.mcast_ttl);
    struct netif *n = u->opt.mcast_if ? inet_netif(u->opt.mcast_if) : NULL;
    if (u->opt.mcast_loop && inet_ifindex(n ? n : netif_default) != 1)     // on loopback everything comes back by itself
        udp_set_flags(pcb, UDP_FLAGS_MULTICAST_LOOP);
    else
        udp_clear_flags(pcb, UDP_FLAGS_MULTICAST_LOOP);
    udp_set_multicast_netif_index(pcb, n ? netif_get_index(n) : NETIF_NO_INDEX);
}

static int send_locked(struct socket *s, struct udp_sock *u, struct pbuf *p, const struct inet_addr *to)
{
    if (!to && !u->connected)
        return -EDESTADDRREQ;
    const struct inet_addr *dst = to ? to : &u->remote;
    struct netif *n = ip_addr_ismulticast(&dst->ip) && u->opt.mcast_if ? inet_netif(u->opt.mcast_if) :
                      ip_route(&u->pcb->local_ip, &dst->ip);
    if (!n)
        return -ENETUNREACH;
    if (IP_IS_V4_VAL(dst->ip) && ip4_addr_isbroadcast(ip_2_ip4(&dst->ip), n) && !s->broadcast)
        return -EACCES;
    dgram_apply_options(u);
    int err = inet_errno(udp_sendto(u->pcb, p, &dst->ip, dst->port));
    u->local.port = u->pcb->local_port;
    return err == -EINVAL ? -ENETUNREACH : err;
}

static ssize_t op_send(struct socket *s, struct msg *m, u32 flags)
{
    struct udp_sock *u = s->priv;
    struct inet_addr to;
    if (flags & K_MSG_OOB)
        return -EOPNOTSUPP;
    if (m->addr_len) {
        int err = inet_addr_in(s, &m->addr, m->addr_len, &to);
        if (err)
            return err;
        if (to.port == 0)
            return -EINVAL;
        if (ip_addr_isany(&to.ip) && IP_IS_V4_VAL(to.ip))
            IP_ADDR4(&to.ip, 127, 0, 0, 1);
        else if (ip_addr_isany(&to.ip))
            IP_ADDR6_HOST(&to.ip, 0, 0, 0, 1);
    }
    if (u->shut_wr)
        return -EPIPE;
    if (s->error)
        return socket_take_error(s);
    ssize_t n = (ssize_t)m->it->left;
    struct pbuf *p = dgram_build(m, PBUF_TRANSPORT);
    if (is_err(p))
        return ptr_err(p);
    net_lock();
    int err = send_locked(s, u, p, m->addr_len ? &to : NULL);
    pbuf_free(p);
    net_unlock();
    return err ? err : n;
}

static bool can_recv(struct socket *s)
{
    struct udp_sock *u = s->priv;
    return !list_empty(&u->queue) || s->error || u->shut_rd;
}

static void put_info(struct socket *s, struct udp_sock *u, struct msg *m, const struct dgram *d)
{
    if (s->timestampns || s->timestamp) {
        i64 tv[2] = { (i64)(d->time_ns / NSEC_PER_SEC), (i64)(d->time_ns % NSEC_PER_SEC) };
        if (!s->timestampns)
            tv[1] /= 1000;
        msg_put_control(m, SOL_SOCKET_, s->timestampns ? CM_TIMESTAMPNS : CM_TIMESTAMP, tv, sizeof(tv));
    }
    if (IP_IS_V4_VAL(d->to) && u->opt.pktinfo) {
        struct { i32 ifindex; u32 spec_dst, addr; } i = { (i32)d->ifindex, ip_2_ip4(&d->to)->addr, ip_2_ip4(&d->to)->addr };
        msg_put_control(m, SOL_IP_, CM_IP_PKTINFO, &i, sizeof(i));
    }
    if (IP_IS_V6_VAL(d->to) && u->opt.pktinfo6) {
        struct { u32 addr[4]; u32 ifindex; } i;
        memcpy(i.addr, ip_2_ip6(&d->to)->addr, 16);
        i.ifindex = d->ifindex;
        msg_put_control(m, SOL_IPV6_, CM_V6_PKTINFO, &i, sizeof(i));
    }
    if (u->opt.recvttl) {
        int ttl = d->ttl;
        msg_put_control(m, SOL_IP_, CM_IP_TTL, &ttl, sizeof(ttl));
    }
    if (u->opt.recvtos)
        msg_put_control(m, SOL_IP_, CM_IP_TOS, &d->tos, 1);
}

// Copies a datagram out; the bytes copied, or -EFAULT.
static ssize_t deliver(struct socket *s, struct udp_sock *u, struct msg *m, const struct dgram *d, u32 flags)
{
    size_t want = MIN(m->it->left, (u64)d->p->tot_len), done = 0;
    bool cut = want < d->p->tot_len;
    for (struct pbuf *p = d->p; p && done < want; p = p->next) {
        size_t n = MIN(want - done, (size_t)p->len);
        if (iter_put(m->it, p->payload, n) < n)
            return -EFAULT;
        done += n;
    }
    m->addr_len = inet_addr_out(s, &d->from, &m->addr);
    put_info(s, u, m, d);
    if (cut)
        m->out_flags |= K_MSG_TRUNC;
    return cut && (flags & K_MSG_TRUNC) ? (ssize_t)d->p->tot_len : (ssize_t)done;
}

static struct dgram *take(struct udp_sock *u)
{
    net_lock();
    struct list *n = list_pop(&u->queue);
    struct dgram *d = n ? list_entry(n, struct dgram, node) : NULL;
    if (d)
        u->queued -= d->p->tot_len + 256u;
    net_unlock();
    return d;
}

ssize_t dgram_recv(struct socket *s, struct msg *m, u32 flags)
{
    struct udp_sock *u = s->priv;
    struct dgram *d;
    if (flags & K_MSG_OOB)
        return -EOPNOTSUPP;
    if (flags & K_MSG_ERRQUEUE)
        return -EAGAIN;
    do {
        if (s->error)
            return socket_take_error(s);
        if (list_empty(&u->queue) && u->shut_rd)
            return 0;
        int err = socket_wait(s, can_recv, s->rcv_timeout, flags & K_MSG_DONTWAIT);
        if (err)
            return err;
        d = take(u);
    } while (!d);
    ssize_t n = deliver(s, u, m, d, flags);
    net_lock();
    if (flags & K_MSG_PEEK) {
        list_unshift(&u->queue, &d->node);
        u->queued += d->p->tot_len + 256u;
    } else {
        pbuf_free(d->p);
        kfree(d);
    }
    net_unlock();
    return n;
}

u32 dgram_poll(struct socket *s)
{
    struct udp_sock *u = s->priv;
    u32 ev = POLL_OUT | POLL_WRNORM;
    if (!list_empty(&u->queue))
        ev |= POLL_IN | POLL_RDNORM;
    if (u->shut_rd)
        ev |= POLL_IN | POLL_RDNORM | POLL_RDHUP;
    if (u->shut_rd && u->shut_wr)
        ev |= POLL_HUP;
    return s->error ? ev | POLL_ERR : ev;
}

static int op_setopt(struct socket *s, int level, int name, const void *val, u32 len)
{
    net_lock();
    int err = inet_membership(s->priv, level, name, val, len);
    if (err == 1)
        err = inet_setopt(s, level, name, val, len);
    net_unlock();
    return err == 1 ? -ENOPROTOOPT : err;
}

static int op_getopt(struct socket *s, int level, int name, void *val, u32 *len)
{
    int err = inet_getopt(s, level, name, val, len);
    return err == 1 ? -ENOPROTOOPT : err;
}

static void op_release(struct socket *s)
{
    struct udp_sock *u = s->priv;
    net_lock();
    inet_drop_memberships(u);
    udp_remove(u->pcb);
    dgram_purge(u);
    list_remove(&u->all_node);
    net_unlock();
    kfree(u);
}

static const struct socket_ops udp_ops = {
    .bind = op_bind,
    .connect = op_connect,
    .getname = dgram_getname,
    .send = op_send,
    .recv = dgram_recv,
    .shutdown = dgram_shutdown,
    .poll = dgram_poll,
    .setopt = op_setopt,
    .getopt = op_getopt,
    .ioctl = inet_ioctl,
    .release = op_release,
};
