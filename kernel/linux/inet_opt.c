// SPDX-License-Identifier: Apache-2.0
// Options at IPPROTO_IP and IPPROTO_IPV6 (ip(7), ipv6(7)); multicast membership.
#include "inet.h"

#include "lwip/igmp.h"
#include "lwip/ip.h"
#include "lwip/mld6.h"
#include "lwip/udp.h"

#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"

#include "../net/net_priv.h"

#include <linux/in.h>

#define IPV6_LEVEL 41
// linux/in6.h, whose structures would clash with linux/in.h's users here.
enum {
    V6_UNICAST_HOPS = 16, V6_MULTICAST_IF = 17, V6_MULTICAST_HOPS = 18, V6_MULTICAST_LOOP = 19, V6_ADD = 20, V6_DROP = 21,
    V6_MTU_DISCOVER = 23, V6_MTU = 24, V6_RECVERR = 25, V6_V6ONLY = 26, V6_MULTICAST_ALL = 29, V6_FLOWINFO = 11, V6_FLOWINFO_SEND = 33,
    V6_RECVPKTINFO = 49, V6_PKTINFO = 50, V6_RECVHOPLIMIT = 51, V6_RECVHOPOPTS = 53, V6_RECVRTHDR = 56, V6_RECVDSTOPTS = 58,
    V6_RECVPATHMTU = 60, V6_DONTFRAG = 62, V6_RECVTCLASS = 66, V6_TCLASS = 67, V6_AUTOFLOWLABEL = 70, V6_MINHOPCOUNT = 73,
    V6_TRANSPARENT = 75, V6_UNICAST_IF = 76, V6_RECVFRAGSIZE = 77, V6_FREEBIND = 78,
};

// An option that is one number: where it lies in struct inet_opts, and what it takes (Linux: do_ip_setsockopt,
// do_ipv6_setsockopt).
enum { BOOL = 1, RANGE = 2, BYTE = 4, EMPTY = 8, DGRAM = 16, RAW = 32, AUTO = 64 };
struct number {
    u8 name, at;
    u8 flags;                   // BOOL: anything, not 0 is 1; RANGE: min to max; BYTE: its low byte
                                // EMPTY: no value is 0; DGRAM, RAW: not on streams, on raw sockets only; AUTO: -1 is `unset`
    i16 min, max, unset;
};
#define AT(field) (u8)offsetof(struct inet_opts, field)

static const struct number ip_numbers[] = {
    { IP_TOS, AT(tos), BYTE | EMPTY, 0, 0, 0 },
    { IP_TTL, AT(ttl), RANGE | AUTO, 1, 255, 64 },
    { IP_RECVOPTS, AT(recvopts), BOOL | EMPTY, 0, 0, 0 },
    { IP_RETOPTS, AT(retopts), BOOL | EMPTY, 0, 0, 0 },
    { IP_PKTINFO, AT(pktinfo), BOOL | EMPTY, 0, 0, 0 },
    { IP_MTU_DISCOVER, AT(mtu_discover), RANGE | EMPTY, 0, 5, 0 },
    { IP_RECVERR, AT(recverr), BOOL | EMPTY, 0, 0, 0 },
    { IP_RECVTTL, AT(recvttl), BOOL | EMPTY, 0, 0, 0 },
    { IP_RECVTOS, AT(recvtos), BOOL | EMPTY, 0, 0, 0 },
    { IP_FREEBIND, AT(freebind), BOOL, 0, 0, 0 },
    { IP_PASSSEC, AT(passsec), BOOL | EMPTY, 0, 0, 0 },
    { IP_TRANSPARENT, AT(transparent), BOOL, 0, 0, 0 },
    { IP_RECVORIGDSTADDR, AT(origdst), BOOL | EMPTY, 0, 0, 0 },
    { IP_MINTTL, AT(minttl), RANGE, 0, 255, 0 },
    { IP_NODEFRAG, AT(nodefrag), BOOL | EMPTY | RAW, 0, 0, 0 },
    { IP_CHECKSUM, AT(checksum), BOOL | EMPTY, 0, 0, 0 },
    { IP_BIND_ADDRESS_NO_PORT, AT(bind_no_port), BOOL | EMPTY, 0, 0, 0 },
    { IP_RECVFRAGSIZE, AT(recvfrag), BOOL | EMPTY | DGRAM, 0, 0, 0 },
    { IP_RECVERR_RFC4884, AT(rfc4884), RANGE | EMPTY, 0, 1, 0 },
    { IP_MULTICAST_TTL, AT(mcast_ttl), RANGE | AUTO | DGRAM, 0, 255, 1 },
    { IP_MULTICAST_LOOP, AT(mcast_loop), BOOL, 0, 0, 0 },
    { IP_MULTICAST_ALL, AT(mcast_all), RANGE, 0, 1, 0 },
};
static const struct number ipv6_numbers[] = {
    { V6_FLOWINFO, AT(flowinfo), BOOL, 0, 0, 0 },
    { V6_UNICAST_HOPS, AT(v6hops), RANGE | AUTO, 0, 255, 64 },
    { V6_MULTICAST_HOPS, AT(mcast_hops), RANGE | AUTO | DGRAM, 0, 255, 1 },
    { V6_MULTICAST_LOOP, AT(mcast_loop6), RANGE, 0, 1, 0 },
    { V6_MTU_DISCOVER, AT(mtu_discover6), RANGE, 0, 5, 0 },
    { V6_RECVERR, AT(recverr), BOOL, 0, 0, 0 },
    { V6_V6ONLY, AT(v6only), BOOL, 0, 0, 0 },
    { V6_MULTICAST_ALL, AT(mcast_all6), BOOL, 0, 0, 0 },
    { V6_FLOWINFO_SEND, AT(flowinfo_send), BOOL, 0, 0, 0 },
    { V6_RECVPKTINFO, AT(pktinfo6), BOOL, 0, 0, 0 },
    { V6_RECVHOPLIMIT, AT(recvhops), BOOL, 0, 0, 0 },
    { V6_RECVHOPOPTS, AT(hopopts), BOOL, 0, 0, 0 },
    { V6_RECVRTHDR, AT(rthdr), BOOL, 0, 0, 0 },
    { V6_RECVDSTOPTS, AT(dstopts), BOOL, 0, 0, 0 },
    { V6_RECVPATHMTU, AT(pathmtu), BOOL, 0, 0, 0 },
    { V6_DONTFRAG, AT(dontfrag), BOOL | EMPTY, 0, 0, 0 },
    { V6_RECVTCLASS, AT(recvtclass), BOOL, 0, 0, 0 },
    { V6_TCLASS, AT(tclass), RANGE | AUTO, 0, 255, 0 },
    { V6_AUTOFLOWLABEL, AT(autoflow), BOOL | EMPTY, 0, 0, 0 },
    { V6_MINHOPCOUNT, AT(minhops), RANGE, 0, 255, 0 },
    { V6_TRANSPARENT, AT(transparent), BOOL, 0, 0, 0 },
    { V6_RECVFRAGSIZE, AT(recvfrag6), BOOL | EMPTY, 0, 0, 0 },
    { V6_FREEBIND, AT(freebind), BOOL, 0, 0, 0 },
};

void inet_opts_init(struct inet_opts *o)
{
    o->ttl = 64;
    o->mcast_ttl = o->mcast_hops = 1;
    o->v6hops = 64;
    o->mcast_loop = o->mcast_loop6 = o->mcast_all = o->mcast_all6 = o->autoflow = true;
    o->mtu_discover = o->mtu_discover6 = IP_PMTUDISC_WANT;
}

static const struct number *find(const struct number *table, u32 n, int name)
{
    for (u32 i = 0; i < n; i++)
        if (table[i].name == name)
            return &table[i];
    return NULL;
}

// An int; IPv4 takes a single byte as well.
static int number_in(const void *val, u32 len, bool bytes, bool empty, int *v)
{
    *v = 0;
    if (len >= sizeof(int))
        memcpy(v, val, sizeof(int));
    else if (bytes && len >= 1)
        *v = *(const u8 *)val;
    else if (!empty)
        return -EINVAL;
    return 0;
}

static int set_number(const struct socket *s, const struct number *n, int v, bool v6)
{
    u8 *field = (u8 *)inet_opts_of((struct socket *)s) + n->at;
    bool stream = s->type == K_SOCK_STREAM;
    if ((n->flags & RAW) && s->type != K_SOCK_RAW)
        return -ENOPROTOOPT;
    if ((n->flags & DGRAM) && stream)
        return v6 ? -ENOPROTOOPT : -EINVAL;
    if ((n->flags & AUTO) && v == -1)
        v = n->unset;
    if ((n->flags & RANGE) && (v < n->min || v > n->max))
        return -EINVAL;
    *field = n->flags & BOOL ? v != 0 : (u8)v;
    if (stream && (n->at == AT(tos) || n->at == AT(tclass)))
        *field &= 0xfc;                       // ECN is TCP's own
    return 0;
}

static int set_mcast_if(struct inet_opts *o, const void *val, u32 len)
{
    struct { u32 group, addr; i32 ifindex; } m = { 0, 0, 0 };
    if (len >= sizeof(m))
        memcpy(&m, val, sizeof(m));
    else if (len >= 8)
        memcpy(&m, val, 8);
    else if (len >= 4)
        memcpy(&m.addr, val, 4);
    else
        return -EINVAL;
    o->mcast_if = (u32)m.ifindex;
    if (m.ifindex || !m.addr)
        return 0;
    for (struct netif *n = netif_list; n; n = n->next)
        if (netif_ip4_addr(n)->addr == m.addr)
            o->mcast_if = inet_ifindex(n);
    return o->mcast_if ? 0 : -EADDRNOTAVAIL;
}

// IP_UNICAST_IF, IPV6_UNICAST_IF: an interface's number in network order.
static int set_unicast_if(struct inet_opts *o, const void *val, u32 len)
{
    u32 v;
    if (len != sizeof(v))
        return -EINVAL;
    memcpy(&v, val, sizeof(v));
    if (v && !inet_netif(lwip_ntohl(v)))
        return -EADDRNOTAVAIL;
    o->unicast_if = lwip_ntohl(v);
    return 0;
}

static int set_ip(struct socket *s, struct inet_opts *o, int name, const void *val, u32 len)
{
    const struct number *n = find(ip_numbers, ARRAY_SIZE(ip_numbers), name);
    int v, err;
    if (name == IP_MULTICAST_IF)
        return s->type == K_SOCK_STREAM ? -EINVAL : set_mcast_if(o, val, len);
    if (name == IP_UNICAST_IF)
        return set_unicast_if(o, val, len);
    if (!n)
        return -ENOPROTOOPT;
    err = number_in(val, len, true, (n->flags & EMPTY) || ((n->flags & DGRAM) && s->type == K_SOCK_STREAM), &v);
    return err && !(n->flags & RAW) ? err : set_number(s, n, v, false);
}

static int set_ipv6(struct socket *s, struct inet_opts *o, int name, const void *val, u32 len)
{
    const struct number *n = find(ipv6_numbers, ARRAY_SIZE(ipv6_numbers), name == V6_PKTINFO ? V6_RECVPKTINFO : name);
    int v, err;
    if (s->domain != K_AF_INET6)
        return -ENOPROTOOPT;
    if (name == V6_UNICAST_IF)
        return set_unicast_if(o, val, len);
    if (name == V6_MULTICAST_IF && s->type == K_SOCK_STREAM)
        return -ENOPROTOOPT;
    if (n && (n->flags & DGRAM) && s->type == K_SOCK_STREAM)
        return -ENOPROTOOPT;
    err = number_in(val, len, n && (n->flags & EMPTY), n && (n->flags & EMPTY), &v);
    if (err)
        return err;
    if (n)
        return set_number(s, n, v, true);
    switch (name) {
    case V6_MULTICAST_IF: o->mcast_if = (u32)v; return v && !inet_netif((u32)v) ? -ENODEV : 0;
    case V6_MTU: return v && (v < 1280 || v > 65535) ? -EINVAL : 0;       // RFC 3542, section 11: smaller ones are not for a program
    default: return -ENOPROTOOPT;
    }
}

int inet_setopt(struct socket *s, int level, int name, const void *val, u32 len)
{
    struct inet_opts *o = inet_opts_of(s);
    if (level == IPPROTO_IP)
        return set_ip(s, o, name, val, len);
    return level == IPV6_LEVEL ? set_ipv6(s, o, name, val, len) : 1;
}

u32 inet_path_mtu(const ip_addr_t *to)
{
    struct netif *n = ip_route(IP_ANY_TYPE, to);
    return !n ? 0 : netdev_of(n) && !inet_is_ours(to) ? n->mtu : IP_IS_V6(to) ? 65536 : 65535;
}

// IP_MTU, IPV6_MTU: of a connection's way.
static int get_mtu(struct socket *s, int *v)
{
    struct sockaddr_buf a;
    struct inet_addr peer;
    int len = s->ops->getname(s, &a, true);
    if (len < 0 || inet_addr_in(s, &a, (u32)len, &peer))
        return -ENOTCONN;
    net_lock();
    *v = (int)inet_path_mtu(&peer.ip);
    net_unlock();
    return *v ? 0 : -ENOTCONN;
}

static int get_ip(struct socket *s, const struct inet_opts *o, int name, int *v)
{
    const struct number *n = find(ip_numbers, ARRAY_SIZE(ip_numbers), name);
    if (n) {
        *v = ((const u8 *)o)[n->at];
        return 0;
    }
    switch (name) {
    case IP_MTU: return get_mtu(s, v);
    case IP_UNICAST_IF: *v = (int)lwip_htonl(o->unicast_if); return 0;
    case IP_HDRINCL: case IP_ROUTER_ALERT: *v = 0; return 0;
    case IP_OPTIONS: *v = 0; return 2;
    default: return -ENOPROTOOPT;
    }
}

static int get_ipv6(struct socket *s, const struct inet_opts *o, int name, int *v)
{
    const struct number *n = find(ipv6_numbers, ARRAY_SIZE(ipv6_numbers), name);
    if (n) {
        *v = ((const u8 *)o)[n->at];
        return 0;
    }
    switch (name) {
    case V6_MULTICAST_IF: *v = (int)o->mcast_if; return 0;
    case V6_UNICAST_IF: *v = (int)lwip_htonl(o->unicast_if); return 0;
    case V6_MTU: return get_mtu(s, v);
    default: return -ENOPROTOOPT;
    }
}

int inet_getopt(struct socket *s, int level, int name, void *val, u32 *len)
{
    const struct inet_opts *o = inet_opts_of(s);
    int v, err;
    if (level == IPPROTO_IP)
        err = get_ip(s, o, name, &v);
    else if (level == IPV6_LEVEL && s->domain == K_AF_INET6)
        err = get_ipv6(s, o, name, &v);
    else
        return s->domain == K_AF_INET && level != 1 && level != s->protocol ? -EOPNOTSUPP : 1;
    if (err == 2) {                           // no IP options: an empty answer
        *len = 0;
        return 0;
    }
    if (!err)
        sockopt_put_int(val, len, v);
    return err;
}

// --- Multicast ------------------------------------------------------------------------------------------------------------

static int apply(const struct mcast_member *m, bool join)
{
    struct netif *only = m->ifindex ? inet_netif(m->ifindex) : NULL;
    err_t err = ERR_VAL;
    for (struct netif *n = netif_list; n; n = n->next) {
        if (only ? n != only : n != netif_default && netif_default)
            continue;
        if (IP_IS_V4(&m->group))
            err = join ? igmp_joingroup_netif(n, ip_2_ip4(&m->group)) : igmp_leavegroup_netif(n, ip_2_ip4(&m->group));
        else
            err = join ? mld6_joingroup_netif(n, ip_2_ip6(&m->group)) : mld6_leavegroup_netif(n, ip_2_ip6(&m->group));
    }
    return err == ERR_VAL ? -ENODEV : inet_errno(err);
}

static struct mcast_member *find_member(struct udp_sock *u, const struct mcast_member *m)
{
    for (struct list *n = u->groups.next; n != &u->groups; n = n->next) {
        struct mcast_member *o = list_entry(n, struct mcast_member, node);
        if (ip_addr_cmp(&o->group, &m->group) && (o->ifindex == m->ifindex || !m->ifindex))
            return o;
    }
    return NULL;
}

static int join(struct udp_sock *u, const struct mcast_member *want)
{
    if (find_member(u, want))
        return -EADDRINUSE;
    struct mcast_member *m = kmalloc(sizeof(*m), PA_ATOMIC);
    if (!m)
        return -ENOBUFS;
    *m = *want;
    int err = apply(m, true);
    if (err) {
        kfree(m);
        return err;
    }
    list_push(&u->groups, &m->node);
    return 0;
}

static int leave(struct udp_sock *u, const struct mcast_member *want)
{
    struct mcast_member *m = find_member(u, want);
    if (!m)
        return -EADDRNOTAVAIL;
    apply(m, false);
    list_remove(&m->node);
    kfree(m);
    return 0;
}

void inet_drop_memberships(struct udp_sock *u)
{
    while (!list_empty(&u->groups))
        leave(u, list_entry(u->groups.next, struct mcast_member, node));
}

static int membership4(const void *val, u32 len, struct mcast_member *m)
{
    struct { u32 group, addr; i32 ifindex; } r = { 0, 0, 0 };       // ip_mreq, ip_mreqn
    if (len < 8)
        return -EINVAL;
    memcpy(&r, val, len >= sizeof(r) ? sizeof(r) : 8);
    ip_addr_set_ip4_u32(&m->group, r.group);
    m->ifindex = (u32)r.ifindex;
    for (struct netif *n = netif_list; n && !m->ifindex && r.addr; n = n->next)
        if (netif_ip4_addr(n)->addr == r.addr)
            m->ifindex = inet_ifindex(n);
    return 0;
}

static int membership6(const void *val, u32 len, struct mcast_member *m)
{
    struct { u32 addr[4]; i32 ifindex; } r;                         // ipv6_mreq
    if (len < sizeof(r))
        return -EINVAL;
    memcpy(&r, val, sizeof(r));
    IP_ADDR6(&m->group, r.addr[0], r.addr[1], r.addr[2], r.addr[3]);
    m->ifindex = (u32)r.ifindex;
    return 0;
}

int inet_membership(struct udp_sock *u, int level, int name, const void *val, u32 len)
{
    struct mcast_member m;
    memset(&m, 0, sizeof(m));
    bool four = level == IPPROTO_IP && (name == IP_ADD_MEMBERSHIP || name == IP_DROP_MEMBERSHIP);
    bool six = level == IPV6_LEVEL && (name == V6_ADD || name == V6_DROP);
    if (!four && !six)
        return 1;
    int err = four ? membership4(val, len, &m) : membership6(val, len, &m);
    if (err)
        return err;
    if (!ip_addr_ismulticast(&m.group))
        return -EINVAL;
    if (m.ifindex && !inet_netif(m.ifindex))
        return -ENODEV;
    return name == IP_ADD_MEMBERSHIP || name == V6_ADD ? join(u, &m) : leave(u, &m);
}
