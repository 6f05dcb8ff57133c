// SPDX-License-Identifier: Apache-2.0
// Ancillary data of datagrams: what a sender asks for one packet (ip(7), ipv6(7), RFC 3542), what a receiver is told.
#include "inet.h"

#include "lwip/ip.h"

#include "errno.h"
#include "lib.h"
#include "time.h"

#define SOL_IP_ 0
#define SOL_SOCKET_ 1
#define SOL_IPV6_ 41
enum {
    CM_IP_TOS = 1, CM_IP_TTL = 2, CM_IP_RETOPTS = 7, CM_IP_PKTINFO = 8, CM_IP_RECVERR = 11,
    CM_V6_RECVERR = 25, CM_V6_PKTINFO = 50, CM_V6_HOPLIMIT = 52, CM_V6_TCLASS = 67,
    CM_TIMESTAMP = 29, CM_TIMESTAMPNS = 35, CM_TIMESTAMPING = 37, CM_RXQ_OVFL = 40,
};
#define STAMPS_SOFTWARE 16u                   // SOF_TIMESTAMPING_SOFTWARE
enum { ORIGIN_LOCAL = 1, ORIGIN_ICMP = 2, ORIGIN_ICMP6 = 3 };    // SO_EE_ORIGIN_*, linux/errqueue.h

// linux/in.h and linux/ipv6.h.
struct in_pktinfo { i32 ifindex; u32 spec_dst, addr; };
struct in6_pktinfo { u32 addr[4], ifindex; };
struct extended_err { u32 err; u8 origin, type, code, pad; u32 info, data; };

// --- Receiving --------------------------------------------------------------------------------------------------------------

static void put_int(struct msg *m, int level, int type, int v) { msg_put_control(m, level, type, &v, sizeof(v)); }

static void put_timestamp(struct socket *s, struct msg *m, const struct dgram *d)
{
    i64 tv[6] = { (i64)(d->time_ns / NSEC_PER_SEC), (i64)(d->time_ns % NSEC_PER_SEC) };      // linux/errqueue.h: struct scm_timestamping
    if (s->timestampns)
        msg_put_control(m, SOL_SOCKET_, CM_TIMESTAMPNS, tv, 16);
    if ((s->timestamping & STAMPS_SOFTWARE) && d->time_ns)
        msg_put_control(m, SOL_SOCKET_, CM_TIMESTAMPING, tv, sizeof(tv));
    tv[1] /= 1000;
    if (s->timestamp && !s->timestampns)
        msg_put_control(m, SOL_SOCKET_, CM_TIMESTAMP, tv, 16);
}

static void put_v4(const struct inet_opts *o, struct msg *m, const struct dgram *d)
{
    if (o->pktinfo) {
        struct in_pktinfo i = { (i32)d->ifindex, ip_2_ip4(&d->to)->addr, ip_2_ip4(&d->to)->addr };
        msg_put_control(m, SOL_IP_, CM_IP_PKTINFO, &i, sizeof(i));
    }
    if (o->recvttl)
        put_int(m, SOL_IP_, CM_IP_TTL, d->ttl);
    if (o->recvtos)
        msg_put_control(m, SOL_IP_, CM_IP_TOS, &d->tos, 1);
}

static void put_v6(const struct inet_opts *o, struct msg *m, const struct dgram *d)
{
    if (o->pktinfo6) {
        struct in6_pktinfo i = { .ifindex = d->ifindex };
        memcpy(i.addr, ip_2_ip6(&d->to)->addr, 16);
        msg_put_control(m, SOL_IPV6_, CM_V6_PKTINFO, &i, sizeof(i));
    }
    if (o->recvhops)
        put_int(m, SOL_IPV6_, CM_V6_HOPLIMIT, d->ttl);
    if (o->recvtclass)
        put_int(m, SOL_IPV6_, CM_V6_TCLASS, d->tos);
}

// The error, then the address of who reported it.
static void put_error(struct socket *s, struct msg *m, const struct dgram *d)
{
    struct { struct extended_err e; struct sockaddr_buf a; } out;
    bool v6 = IP_IS_V6_VAL(d->origin.ip);
    struct inet_addr offender = { d->offender, 0 };
    memset(&out, 0, sizeof(out));
    out.e = (struct extended_err){ .err = (u32)d->err, .origin = !d->icmp_type && !d->icmp_code && ip_addr_isany(&d->offender) ? ORIGIN_LOCAL : v6 ? ORIGIN_ICMP6 : ORIGIN_ICMP, .type = d->icmp_type,
                                   .code = d->icmp_code, .info = d->info };
    u32 n = inet_addr_out(s, &offender, &out.a);
    bool six = s->domain == K_AF_INET6;
    msg_put_control(m, six ? SOL_IPV6_ : SOL_IP_, six ? CM_V6_RECVERR : CM_IP_RECVERR, &out, (u32)sizeof(out.e) + n);
}

void inet_put_control(struct socket *s, const struct inet_opts *o, struct msg *m, const struct dgram *d)
{
    if (d->err) {
        put_error(s, m, d);
        return;
    }
    if (s->rxq_ovfl && d->drops)
        msg_put_control(m, SOL_SOCKET_, CM_RXQ_OVFL, &d->drops, sizeof(d->drops));
    if (s->timestampns || s->timestamp || s->timestamping)
        put_timestamp(s, m, d);
    if (IP_IS_V4_VAL(d->to))
        put_v4(o, m, d);
    else
        put_v6(o, m, d);
}

// --- Sending ----------------------------------------------------------------------------------------------------------------

static int take_int(const struct cmsg_view *v, int min, int max, int *out)
{
    if (v->len != sizeof(int))
        return -EINVAL;
    memcpy(out, v->data, sizeof(int));
    return *out < min || *out > max ? -EINVAL : 0;
}

static int take_v4(const struct cmsg_view *v, struct inet_control *c)
{
    struct in_pktinfo i;
    switch (v->type) {
    case CM_IP_PKTINFO:
        if (v->len != sizeof(i))
            return -EINVAL;
        memcpy(&i, v->data, sizeof(i));
        c->ifindex = (u32)i.ifindex;
        if (i.spec_dst) {
            ip_addr_set_ip4_u32(&c->source, i.spec_dst);
            c->has_source = true;
        }
        return 0;
    case CM_IP_TTL: return take_int(v, 1, 255, &c->ttl);
    case CM_IP_TOS:
        if (v->len == 1)
            c->tos = v->data[0];
        return v->len == 1 ? 0 : take_int(v, 0, 255, &c->tos);
    case CM_IP_RETOPTS: return 0;
    default: return -EINVAL;
    }
}

static int take_v6(const struct cmsg_view *v, struct inet_control *c)
{
    struct in6_pktinfo i;
    switch (v->type) {
    case CM_V6_PKTINFO:
        if (v->len < sizeof(i))
            return -EINVAL;
        memcpy(&i, v->data, sizeof(i));
        c->ifindex = i.ifindex;
        if (i.addr[0] | i.addr[1] | i.addr[2] | i.addr[3]) {
            IP_ADDR6(&c->source, i.addr[0], i.addr[1], i.addr[2], i.addr[3]);
            c->has_source = true;
        }
        return 0;
    case CM_V6_HOPLIMIT: return take_int(v, -1, 255, &c->ttl);
    case CM_V6_TCLASS: return take_int(v, -1, 255, &c->tos);
    default: return -EINVAL;
    }
}

int inet_take_control(const struct socket *s, const struct msg *m, struct inet_control *c)
{
    struct cmsg_view v;
    u32 at = 0;
    int err = 0;
    *c = (struct inet_control){ .ttl = -1, .tos = -1 };
    while (!err && msg_next_control(m, &at, &v, &err)) {
        if (v.level == SOL_IP_ && s->domain == K_AF_INET)
            err = take_v4(&v, c);
        else if (v.level == SOL_IPV6_ && s->domain == K_AF_INET6)
            err = take_v6(&v, c);
    }
    if (err)
        return err;
    if (c->ifindex && !inet_netif(c->ifindex))
        return -ENODEV;
    return c->has_source && !inet_is_local(&c->source) ? -EINVAL : 0;
}
