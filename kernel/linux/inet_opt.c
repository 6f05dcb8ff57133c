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

#include <linux/in.h>

#define IPV6_LEVEL 41
// linux/in6.h, whose structures would clash with linux/in.h's users here.
enum {
    V6_UNICAST_HOPS = 16, V6_MULTICAST_IF = 17, V6_MULTICAST_HOPS = 18, V6_MULTICAST_LOOP = 19, V6_ADD = 20, V6_DROP = 21,
    V6_MTU_DISCOVER = 23, V6_MTU = 24, V6_RECVERR = 25, V6_V6ONLY = 26, V6_RECVPKTINFO = 49, V6_PKTINFO = 50, V6_RECVHOPLIMIT = 51,
    V6_RECVTCLASS = 66, V6_TCLASS = 67, V6_FREEBIND = 78,
};

void inet_opts_init(struct inet_opts *o)
{
    o->ttl = 64;
    o->mcast_ttl = 1;
    o->v6hops = 64;
    o->mcast_loop = true;
    o->mtu_discover = IP_PMTUDISC_WANT;
}

// An int, or a single byte where Linux allows it.
static int small_int(const void *val, u32 len, int *v)
{
    if (len >= sizeof(int))
        memcpy(v, val, sizeof(int));
    else if (len >= 1)
        *v = *(const u8 *)val;
    else
        return -EINVAL;
    return 0;
}

static int set_u8(u8 *field, int v, int fallback)
{
    if (v < -1 || v > 255)
        return -EINVAL;
    *field = (u8)(v == -1 ? fallback : v);
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

static int set_ip(struct inet_opts *o, int name, const void *val, u32 len)
{
    int v, err;
    if (name == IP_MULTICAST_IF)
        return set_mcast_if(o, val, len);
    err = small_int(val, len, &v);
    if (err)
        return err;
    switch (name) {
    case IP_TOS: o->tos = (u8)v; return 0;
    case IP_TTL: return v == 0 ? -EINVAL : set_u8(&o->ttl, v, 64);
    case IP_MULTICAST_TTL: return set_u8(&o->mcast_ttl, v, 1);
    case IP_MULTICAST_LOOP: o->mcast_loop = v != 0; return 0;
    case IP_PKTINFO: o->pktinfo = v != 0; return 0;
    case IP_RECVTTL: o->recvttl = v != 0; return 0;
    case IP_RECVTOS: o->recvtos = v != 0; return 0;
    case IP_RECVERR: o->recverr = v != 0; return 0;
    case IP_FREEBIND: case IP_TRANSPARENT: o->freebind = v != 0; return 0;
    case IP_MTU_DISCOVER: o->mtu_discover = v; return v < 0 || v > 5 ? -EINVAL : 0;
    case IP_MULTICAST_ALL: case IP_BIND_ADDRESS_NO_PORT: case IP_RECVORIGDSTADDR: return 0;
    default: return -ENOPROTOOPT;
    }
}

static int set_ipv6(struct socket *s, struct inet_opts *o, int name, const void *val, u32 len)
{
    int v, err = sockopt_int(val, len, &v);
    if (s->domain != K_AF_INET6)
        return -ENOPROTOOPT;
    if (err)
        return err;
    switch (name) {
    case V6_V6ONLY:
        o->v6only = v != 0;
        return 0;
    case V6_UNICAST_HOPS: return set_u8(&o->v6hops, v, 64);
    case V6_MULTICAST_HOPS: return set_u8(&o->mcast_ttl, v, 1);
    case V6_MULTICAST_LOOP: o->mcast_loop = v != 0; return 0;
    case V6_MULTICAST_IF: o->mcast_if = (u32)v; return v && !inet_netif((u32)v) ? -ENODEV : 0;
    case V6_RECVPKTINFO: case V6_PKTINFO: o->pktinfo6 = v != 0; return 0;
    case V6_RECVERR: o->recverr = v != 0; return 0;
    case V6_TCLASS: return set_u8(&o->tclass, v, 0);
    case V6_RECVTCLASS: o->recvtclass = v != 0; return 0;
    case V6_RECVHOPLIMIT: o->recvhops = v != 0; return 0;
    case V6_MTU_DISCOVER: case V6_MTU: case V6_FREEBIND: return 0;
    default: return -ENOPROTOOPT;
    }
}

int inet_setopt(struct socket *s, int level, int name, const void *val, u32 len)
{
    struct inet_opts *o = inet_opts_of(s);
    if (level == IPPROTO_IP)
        return set_ip(o, name, val, len);
    return level == IPV6_LEVEL ? set_ipv6(s, o, name, val, len) : 1;
}

static int get_ip(const struct inet_opts *o, int name, int *v)
{
    switch (name) {
    case IP_TOS: *v = o->tos; return 0;
    case IP_TTL: *v = o->ttl; return 0;
    case IP_MULTICAST_TTL: *v = o->mcast_ttl; return 0;
    case IP_MULTICAST_LOOP: *v = o->mcast_loop; return 0;
    case IP_PKTINFO: *v = o->pktinfo; return 0;
    case IP_RECVTTL: *v = o->recvttl; return 0;
    case IP_RECVTOS: *v = o->recvtos; return 0;
    case IP_RECVERR: *v = o->recverr; return 0;
    case IP_FREEBIND: *v = o->freebind; return 0;
    case IP_MTU_DISCOVER: *v = o->mtu_discover; return 0;
    case IP_MTU: *v = 1500; return 0;
    case IP_OPTIONS: *v = 0; return 2;
    default: return -ENOPROTOOPT;
    }
}

static int get_ipv6(const struct inet_opts *o, int name, int *v)
{
    switch (name) {
    case V6_V6ONLY: *v = o->v6only; return 0;
    case V6_UNICAST_HOPS: *v = o->v6hops; return 0;
    case V6_MULTICAST_HOPS: *v = o->mcast_ttl; return 0;
    case V6_MULTICAST_LOOP: *v = o->mcast_loop; return 0;
    case V6_MULTICAST_IF: *v = (int)o->mcast_if; return 0;
    case V6_RECVPKTINFO: *v = o->pktinfo6; return 0;
    case V6_RECVERR: *v = o->recverr; return 0;
    case V6_TCLASS: *v = o->tclass; return 0;
    case V6_RECVTCLASS: *v = o->recvtclass; return 0;
    case V6_RECVHOPLIMIT: *v = o->recvhops; return 0;
    case V6_MTU: *v = 1500; return 0;
    default: return -ENOPROTOOPT;
    }
}

int inet_getopt(struct socket *s, int level, int name, void *val, u32 *len)
{
    const struct inet_opts *o = inet_opts_of(s);
    int v, err;
    if (level == IPPROTO_IP)
        err = get_ip(o, name, &v);
    else if (level == IPV6_LEVEL && s->domain == K_AF_INET6)
        err = get_ipv6(o, name, &v);
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
