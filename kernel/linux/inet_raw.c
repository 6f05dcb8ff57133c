// SPDX-License-Identifier: Apache-2.0
// Raw sockets (raw(7)) and ICMP echo sockets of type SOCK_DGRAM (icmp(7)).
#include "inet.h"

#include "lwip/inet_chksum.h"
#include "lwip/ip.h"
#include "lwip/raw.h"

#include "errno.h"
#include "kmalloc.h"
#include "lib.h"

#define SOL_RAW_ 255
#define ICMP_FILTER_ 1
#define IP_HDRINCL_ 3
#define ICMPV6 58

static const struct socket_ops raw_ops;

static bool wants(const struct udp_sock *u, const u8 *icmp, u32 len)
{
    if (u->proto != 1 && u->proto != ICMPV6)
        return true;
    if (u->s->type == K_SOCK_RAW)
        return u->proto != 1 || len == 0 || icmp[0] > 31 || !(u->icmp_filter & BIT(icmp[0]));
    // An echo socket sees the replies that carry its identifier.
    return len >= 8 && icmp[0] == (u->proto == 1 ? 0 : 129) && (u16)(icmp[4] << 8 | icmp[5]) == u->ping_id;
}

// A copy is kept, lwIP goes on with its own: an echo request is still answered.
static u8_t on_packet(void *arg, struct raw_pcb *pcb, struct pbuf *p, const ip_addr_t *from)
{
    struct udp_sock *u = arg;
    (void)pcb;
    bool v6 = ip_current_is_v6();
    u32 hlen = v6 ? 40 : IPH_HL_BYTES(ip4_current_header());
    if (p->len < hlen || !wants(u, (u8 *)p->payload + hlen, p->len - hlen))
        return 0;
    struct pbuf *copy = pbuf_clone(PBUF_RAW, PBUF_RAM, p);
    if (!copy)
        return 0;
    // raw(7): IPv4 sockets see the header, IPv6 and echo sockets do not.
    if (v6 || u->s->type == K_SOCK_DGRAM)
        pbuf_remove_header(copy, hlen);
    if (dgram_queue(u, copy, from, 0))
        pbuf_free(copy);
    return 0;
}

int raw_sock_create(struct socket *s)
{
    struct udp_sock *u = dgram_alloc(s);
    if (!u)
        return -ENOBUFS;
    u->proto = (u8)s->protocol;
    net_lock();
    u->raw = raw_new_ip_type(s->domain == K_AF_INET ? IPADDR_TYPE_V4 : IPADDR_TYPE_V6, u->proto);
    if (u->raw) {
        raw_recv(u->raw, on_packet, u);
        ip_set_option(u->raw, SOF_BROADCAST);
        u->ping_id = (u16)(net_rand() | 1);
    } else {
        list_remove(&u->all_node);
    }
    net_unlock();
    if (!u->raw) {
        kfree(u);
        return -ENOBUFS;
    }
    if (s->type == K_SOCK_DGRAM)
        u->local.port = u->ping_id;
    s->ops = &raw_ops;
    s->reuseaddr = true;
    return 0;
}

static int op_bind(struct socket *s, const struct sockaddr_buf *sa, u32 len)
{
    struct udp_sock *u = s->priv;
    struct inet_addr a;
    int err = inet_addr_in(s, sa, len, &a);
    if (err)
        return err;
    net_lock();
    err = inet_is_local(&a.ip) ? inet_errno(raw_bind(u->raw, &a.ip)) : -EADDRNOTAVAIL;
    if (!err) {
        u->local.ip = a.ip;
        if (s->type == K_SOCK_DGRAM && a.port)
            u->ping_id = u->local.port = a.port;
    }
    net_unlock();
    return err;
}

static int op_connect(struct socket *s, const struct sockaddr_buf *sa, u32 len, bool nonblock)
{
    struct udp_sock *u = s->priv;
    struct inet_addr a;
    (void)nonblock;
    int err = inet_addr_in(s, sa, len, &a);
    if (err)
        return err;
    net_lock();
    err = inet_errno(raw_connect(u->raw, &a.ip));
    if (!err) {
        u->remote = a;
        u->connected = true;
    }
    net_unlock();
    return err;
}

// An echo request gets the socket's identifier and its checksum (icmp(7)).
static int stamp_echo(struct udp_sock *u, struct pbuf *p)
{
    u8 *icmp = p->payload;
    if (p->len < 8 || icmp[0] != (u->proto == 1 ? 8 : 128))
        return -EINVAL;
    icmp[4] = (u8)(u->ping_id >> 8);
    icmp[5] = (u8)u->ping_id;
    icmp[2] = icmp[3] = 0;
    if (u->proto == 1) {
        u16 sum = inet_chksum(icmp, p->len);
        memcpy(icmp + 2, &sum, 2);
    }
    return 0;
}

static int send_locked(struct socket *s, struct udp_sock *u, struct pbuf *p, const ip_addr_t *to, const struct inet_control *c)
{
    if (!to && !u->connected)
        return -EDESTADDRREQ;
    const ip_addr_t *dst = to ? to : &u->remote.ip;
    if (s->type == K_SOCK_DGRAM) {
        int err = stamp_echo(u, p);
        if (err)
            return err;
    }
    if (!ip_route(&u->raw->local_ip, dst))
        return -ENETUNREACH;
    if (u->hdrincl)
        raw_set_flags(u->raw, RAW_FLAGS_HDRINCL);
    bool v6 = IP_IS_V6(dst);
    u->raw->ttl = c->ttl >= 0 ? (u8)c->ttl : ip_addr_ismulticast(dst) ? (v6 ? u->opt.mcast_hops : u->opt.mcast_ttl) : v6 ? u->opt.v6hops : u->opt.ttl;
    u->raw->tos = c->tos >= 0 ? (u8)c->tos : v6 ? u->opt.tclass : u->opt.tos;
    if (u->proto == ICMPV6) {
        u->raw->chksum_reqd = 1;
        u->raw->chksum_offset = 2;
    }
    return inet_errno(raw_sendto(u->raw, p, dst));
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
    }
    ssize_t n = (ssize_t)m->it->left;
    struct pbuf *p = dgram_build(m, PBUF_IP);
    if (is_err(p))
        return ptr_err(p);
    net_lock();
    int err = send_locked(s, u, p, m->addr_len ? &to.ip : NULL, &c);
    pbuf_free(p);
    net_unlock();
    return err ? err : n;
}

static int op_setopt(struct socket *s, int level, int name, const void *val, u32 len)
{
    struct udp_sock *u = s->priv;
    int v;
    if (level == SOL_RAW_ && name == ICMP_FILTER_) {
        if (len < 4)
            return -EINVAL;
        memcpy(&u->icmp_filter, val, 4);
        return 0;
    }
    if (level == ICMPV6)
        return 0;                             // ICMP6_FILTER: everything passes
    if (level == 0 && name == IP_HDRINCL_) {
        v = len ? *(const u8 *)val : 0;
        if (len >= sizeof(v))
            memcpy(&v, val, sizeof(v));
        u->hdrincl = v != 0;
        return 0;
    }
    return dgram_setopt(s, level, name, val, len);
}

static int op_getopt(struct socket *s, int level, int name, void *val, u32 *len)
{
    const struct udp_sock *u = s->priv;
    if (level != 0 || name != IP_HDRINCL_)
        return dgram_getopt(s, level, name, val, len);
    sockopt_put_int(val, len, u->hdrincl);
    return 0;
}

static const struct socket_ops raw_ops = {
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
