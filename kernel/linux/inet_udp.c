// SPDX-License-Identifier: Apache-2.0
// UDP and UDP-Lite sockets (udp(7), RFC 3828).
#include "inet.h"

#include "lwip/ip.h"
#include "lwip/udp.h"

#include "errno.h"
#include "kmalloc.h"
#include "lib.h"

#include "../net/net_priv.h"

#include <linux/in.h>

#define UDPLITE 136
enum { SEND_CSCOV = 10, RECV_CSCOV = 11 };      // linux/udp.h

static const struct socket_ops udp_ops;

// SO_REUSEPORT: the sockets of one address share what comes, a peer always at the same one (Linux: reuseport_select_sock).
static struct udp_sock *share(struct udp_sock *u, const ip_addr_t *from, u16 port)
{
    u32 n = 0, key[2] = { port, hash32(from, sizeof(*from), 1) };
    if (!u->s->reuseport || u->connected || ip_addr_ismulticast(ip_current_dest_addr()))
        return u;
    for (u32 turn = 0, left = 0; turn < 2; turn++) {
        if (turn)
            left = hash32(key, sizeof(key), 0x9e3779b9u) % n;
        for (struct list *l = udp_socks.next; l != &udp_socks; l = l->next) {
            struct udp_sock *o = list_entry(l, struct udp_sock, all_node);
            if (!o->pcb || !o->s->reuseport || o->connected || o->local.port != u->local.port ||
                o->s->protocol != u->s->protocol || !ip_addr_cmp(&o->pcb->local_ip, &u->pcb->local_ip) ||
                IP_GET_TYPE(&o->pcb->local_ip) != IP_GET_TYPE(&u->pcb->local_ip))
                continue;
            if (turn && left-- == 0)
                return o;
            n += !turn;
        }
    }
    return u;
}

static void on_datagram(void *arg, struct udp_pcb *pcb, struct pbuf *p, const ip_addr_t *from, u16_t port)
{
    (void)pcb;
    if (dgram_queue(share(arg, from, port), p, from, port))
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
        if (s->protocol == UDPLITE)
            udp_setflags(u->pcb, UDP_FLAGS_UDPLITE);
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
        if (o == u || !o->bound || !o->pcb || o->s->protocol != s->protocol || !inet_addrs_overlap(a, u->opt.v6only, &o->local, o->opt.v6only))
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
    if (!u->opt.freebind && !u->opt.transparent && !inet_is_local(&a->ip))
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

// --- Messages -------------------------------------------------------------------------------------------------------------

static void apply_options(struct udp_sock *u, const ip_addr_t *to, const struct inet_control *c)
{
    struct udp_pcb *pcb = u->pcb;
    bool v6 = IP_IS_V6(to);
    pcb->tos = c->tos >= 0 ? (u8)c->tos : v6 ? u->opt.tclass : u->opt.tos;
    pcb->ttl = c->ttl >= 0 ? (u8)c->ttl : v6 ? u->opt.v6hops : u->opt.ttl;
    udp_set_multicast_ttl(pcb, c->ttl >= 0 ? (u8)c->ttl : v6 ? u->opt.mcast_hops : u->opt.mcast_ttl);
    u32 ifindex = c->ifindex ? c->ifindex : u->opt.mcast_if;
    struct netif *n = ifindex ? inet_netif(ifindex) : NULL;
    if ((v6 ? u->opt.mcast_loop6 : u->opt.mcast_loop) && inet_ifindex(n ? n : netif_default) != 1)     // on loopback everything comes back by itself
        udp_set_flags(pcb, UDP_FLAGS_MULTICAST_LOOP);
    else
        udp_clear_flags(pcb, UDP_FLAGS_MULTICAST_LOOP);
    udp_set_multicast_netif_index(pcb, n ? netif_get_index(n) : NETIF_NO_INDEX);
}

// IP_MTU_DISCOVER: a datagram that must not be cut has to fit (ip(7)). With IP_RECVERR the queue tells how much would.
static int check_mtu(struct socket *s, struct udp_sock *u, const struct pbuf *p, const struct inet_addr *dst, const struct netif *n)
{
    bool v6 = IP_IS_V6_VAL(dst->ip);
    u8 mode = v6 ? u->opt.mtu_discover6 : u->opt.mtu_discover;
    bool whole = mode == IP_PMTUDISC_DO || mode == IP_PMTUDISC_PROBE || (v6 && u->opt.dontfrag);
    u32 mtu = netdev_of((struct netif *)n) ? n->mtu : 65536;
    if (!whole || p->tot_len + 8u + (v6 ? 40u : 20u) <= mtu)
        return 0;
    if (u->opt.recverr) {
        struct icmp_report r = { .remote = *dst, .local = u->local, .err = EMSGSIZE, .info = mtu, .payload = p->payload, .len = p->len };
        dgram_queue_error(u, &r);
    }
    s->error = 0;
    return -EMSGSIZE;
}

static int send_locked(struct socket *s, struct udp_sock *u, struct pbuf *p, const struct inet_addr *to, const struct inet_control *c)
{
    if (!to && !u->connected)
        return -EDESTADDRREQ;
    const struct inet_addr *dst = to ? to : &u->remote;
    u32 ifindex = c->ifindex ? c->ifindex : ip_addr_ismulticast(&dst->ip) ? u->opt.mcast_if : u->opt.unicast_if;
    struct netif *n = ifindex ? inet_netif(ifindex) : u->pcb->netif_idx ? netif_get_by_index(u->pcb->netif_idx) :
                      ip_route(&u->pcb->local_ip, &dst->ip);
    if (!n)
        return -ENETUNREACH;
    if (IP_IS_V4_VAL(dst->ip) && ip4_addr_isbroadcast(ip_2_ip4(&dst->ip), n) && !s->broadcast)
        return -EACCES;
    int err = check_mtu(s, u, p, dst, n);
    if (err)
        return err;
    apply_options(u, &dst->ip, c);
    if (c->has_source)
        err = udp_sendto_if_src(u->pcb, p, &dst->ip, dst->port, n, &c->source);
    else if (c->ifindex || u->opt.unicast_if)
        err = udp_sendto_if(u->pcb, p, &dst->ip, dst->port, n);
    else
        err = udp_sendto(u->pcb, p, &dst->ip, dst->port);
    err = inet_errno(err);
    u->local.port = u->pcb->local_port;
    return err == -EINVAL ? -ENETUNREACH : err;
}

static ssize_t op_send(struct socket *s, struct msg *m, u32 flags)
{
    struct udp_sock *u = s->priv;
    struct inet_addr to;
    struct inet_control c;
    if (flags & K_MSG_OOB)
        return -EOPNOTSUPP;
    int bad = inet_take_control(s, m, &c);
    if (bad)
        return bad;
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
    int err = send_locked(s, u, p, m->addr_len ? &to : NULL, &c);
    pbuf_free(p);
    net_unlock();
    return err ? err : n;
}

// Which part of a UDP-Lite datagram its checksum covers (RFC 3828, section 3.1): with 0, all of it.
static int set_coverage(struct udp_sock *u, int name, int v)
{
    u16 n = v < 0 ? 0 : v && v < 8 ? 8 : (u16)MIN(v, 0xffff);
    net_lock();
    if (name == SEND_CSCOV)
        u->pcb->chksum_len_tx = n;
    else
        u->pcb->chksum_len_rx = n;
    net_unlock();
    return 0;
}

static int op_setopt(struct socket *s, int level, int name, const void *val, u32 len)
{
    int v;
    if (level == UDPLITE && s->protocol == UDPLITE && (name == SEND_CSCOV || name == RECV_CSCOV))
        return sockopt_int(val, len, &v) ? -EINVAL : set_coverage(s->priv, name, v);
    return dgram_setopt(s, level, name, val, len);
}

static int op_getopt(struct socket *s, int level, int name, void *val, u32 *len)
{
    const struct udp_sock *u = s->priv;
    if (level != UDPLITE || s->protocol != UDPLITE || (name != SEND_CSCOV && name != RECV_CSCOV))
        return dgram_getopt(s, level, name, val, len);
    sockopt_put_int(val, len, name == SEND_CSCOV ? u->pcb->chksum_len_tx : u->pcb->chksum_len_rx);
    return 0;
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
    .changed = dgram_changed,
    .release = dgram_release,
};
