// SPDX-License-Identifier: Apache-2.0
// AF_INET and AF_INET6: creation by type, addresses in and out (ip(7), ipv6(7)).
#include "inet.h"

#include "lwip/err.h"
#include "lwip/ip.h"
#include "lwip/netif.h"

#include "errno.h"
#include "fs.h"
#include "lib.h"
#include "process.h"

#include "../net/net_priv.h"

struct list tcp_socks = LIST_INIT(tcp_socks), udp_socks = LIST_INIT(udp_socks);

struct in4 {
    u16 family, port;
    u32 addr;
    u8 zero[8];
};
struct in6 {
    u16 family, port;
    u32 flowinfo;
    u8 addr[16];
    u32 scope;
} PACKED;

static u16 swap16(u16 v) { return (u16)(v << 8 | v >> 8); }

static int create(struct socket *s)
{
    net_need();
    switch (s->type) {
    case K_SOCK_STREAM:
        if (s->protocol != 0 && s->protocol != 6)
            return -EPROTONOSUPPORT;
        s->protocol = 6;
        return tcp_sock_create(s);
    case K_SOCK_DGRAM:
        if (s->protocol == (s->domain == K_AF_INET ? 1 : 58))
            return raw_sock_create(s);        // "ping sockets", icmp(7)
        if (s->protocol != 0 && s->protocol != 17 && s->protocol != 136)      // UDP, UDP-Lite
            return -EPROTONOSUPPORT;
        s->protocol = s->protocol ? s->protocol : 17;
        return udp_sock_create(s);
    case K_SOCK_RAW:
        if (s->protocol <= 0 || s->protocol > 255)
            return -EPROTONOSUPPORT;
        return capable(CAP_NET_RAW) ? raw_sock_create(s) : -EPERM;
    default:
        return -ESOCKTNOSUPPORT;
    }
}

void inet_init(void)
{
    socket_family_register(K_AF_INET, create);
    socket_family_register(K_AF_INET6, create);
    proc_when_asked(inet_proc_init);
}

// --- Addresses ------------------------------------------------------------------------------------------------------------

static int in6_in(const struct sockaddr_buf *a, u32 len, struct inet_addr *out)
{
    const struct in6 *in = (const struct in6 *)a;
    static const u8 mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
    if (len < 24)                             // RFC 2133's structure, without a scope
        return -EINVAL;
    out->port = swap16(in->port);
    if (memcmp(in->addr, mapped, sizeof(mapped)) == 0) {
        u32 v4;
        memcpy(&v4, in->addr + 12, 4);
        ip_addr_set_ip4_u32(&out->ip, v4);
        return 0;
    }
    u32 w[4];
    memcpy(w, in->addr, 16);
    IP_ADDR6(&out->ip, w[0], w[1], w[2], w[3]);
    if (ip6_addr_has_scope(ip_2_ip6(&out->ip), IP6_UNKNOWN)) {
        struct netif *n = len >= sizeof(*in) && in->scope ? inet_netif(in->scope) : netif_default;
        if (n)
            ip6_addr_assign_zone(ip_2_ip6(&out->ip), IP6_UNKNOWN, n);
    }
    return 0;
}

int inet_addr_in(const struct socket *s, const struct sockaddr_buf *a, u32 len, struct inet_addr *out)
{
    const struct in4 *in = (const struct in4 *)a;
    memset(out, 0, sizeof(*out));
    if (len < sizeof(a->family))
        return -EINVAL;
    if (s->domain == K_AF_INET6) {
        if (a->family == K_AF_INET6)
            return in6_in(a, len, out);
        return len < 24 ? -EINVAL : -EAFNOSUPPORT;
    }
    if (len < sizeof(*in))
        return -EINVAL;
    // Linux takes AF_UNSPEC with the address 0 for AF_INET in bind (net/ipv4/af_inet.c).
    if (in->family != K_AF_INET && !(in->family == K_AF_UNSPEC && in->addr == 0))
        return -EAFNOSUPPORT;
    out->port = swap16(in->port);
    ip_addr_set_ip4_u32(&out->ip, in->addr);
    return 0;
}

u32 inet_addr_out(const struct socket *s, const struct inet_addr *in, struct sockaddr_buf *a)
{
    memset(a, 0, sizeof(*a));
    if (s->domain == K_AF_INET) {
        struct in4 *out = (struct in4 *)a;
        out->family = K_AF_INET;
        out->port = swap16(in->port);
        out->addr = IP_IS_V4_VAL(in->ip) ? ip_2_ip4(&in->ip)->addr : 0;
        return sizeof(*out);
    }
    struct in6 *out = (struct in6 *)a;
    out->family = K_AF_INET6;
    out->port = swap16(in->port);
    if (IP_IS_V6_VAL(in->ip)) {
        memcpy(out->addr, ip_2_ip6(&in->ip)->addr, 16);
        if (ip6_addr_has_zone(ip_2_ip6(&in->ip))) {
            struct netif *n = netif_get_by_index(ip6_addr_zone(ip_2_ip6(&in->ip)));
            out->scope = n ? inet_ifindex(n) : 0;
        }
    } else if (!ip_addr_isany(&in->ip)) {
        out->addr[10] = out->addr[11] = 0xff;
        memcpy(out->addr + 12, &ip_2_ip4(&in->ip)->addr, 4);
    }
    return sizeof(*out);
}

bool inet_addrs_overlap(const struct inet_addr *a, bool a_only6, const struct inet_addr *b, bool b_only6)
{
    if (a->port != b->port)
        return false;
    bool a6 = IP_IS_V6_VAL(a->ip) && !IP_IS_ANY_TYPE_VAL(a->ip), b6 = IP_IS_V6_VAL(b->ip) && !IP_IS_ANY_TYPE_VAL(b->ip);
    bool a_any = ip_addr_isany(&a->ip), b_any = ip_addr_isany(&b->ip);
    if (a_any && b_any)
        return !((a_only6 && !b6 && !IP_IS_ANY_TYPE_VAL(b->ip)) || (b_only6 && !a6 && !IP_IS_ANY_TYPE_VAL(a->ip)));
    if (a_any)
        return IP_IS_ANY_TYPE_VAL(a->ip) ? !a_only6 || b6 : a6 == b6;
    if (b_any)
        return IP_IS_ANY_TYPE_VAL(b->ip) ? !b_only6 || a6 : a6 == b6;
    return ip_addr_cmp(&a->ip, &b->ip);
}

bool inet_is_ours(const ip_addr_t *ip)
{
    for (struct netif *n = netif_list; n; n = n->next)
        if (IP_IS_V4(ip) ? ip4_addr_cmp(netif_ip4_addr(n), ip_2_ip4(ip)) : netif_get_ip6_addr_match(n, ip_2_ip6(ip)) >= 0)
            return true;
    return false;
}

bool inet_is_local(const ip_addr_t *ip)
{
    if (ip_addr_isany(ip) || ip_addr_ismulticast(ip) || inet_is_ours(ip))
        return true;
    for (struct netif *n = netif_list; n; n = n->next) {
        if (IP_IS_V4(ip) && ip4_addr_isbroadcast(ip_2_ip4(ip), n))
            return true;
    }
    return IP_IS_V4(ip) && ip4_addr_isloopback(ip_2_ip4(ip));
}

int inet_check_port(u16 port)
{
    // net.ipv4.ip_unprivileged_port_start
    return port && port < 1024 && !capable(CAP_NET_BIND_SERVICE) ? -EACCES : 0;
}

// Linux numbers loopback 1 and the others from 2 on, in their order; lwIP creates loopback first.
u32 inet_ifindex(const struct netif *n)
{
    struct netdev *d = n ? netdev_of((struct netif *)n) : NULL;
    u64 i = 0;
    if (d)
        parse_u64(d->name + 3, 10, &i);
    return d ? (u32)i + 2 : 1;
}

enum { DEPRECATED = 0x20, TENTATIVE = 0x40, PERMANENT = 0x80 };     // linux/if_addr.h

u32 inet_ip6_flags(const struct netif *n, int i)
{
    u8 state = netif_ip6_addr_state(n, i);
    if (!ip6_addr_isvalid(state) && !ip6_addr_istentative(state))
        return ~0u;
    if (!netdev_of((struct netif *)n))
        return PERMANENT;
    return (netif_ip6_addr_isstatic(n, i) ? (u32)PERMANENT : 0) | (ip6_addr_istentative(state) ? (u32)TENTATIVE : 0) |
           (ip6_addr_isvalid(state) && !ip6_addr_ispreferred(state) ? (u32)DEPRECATED : 0);
}

struct netif *inet_netif(u32 ifindex)
{
    for (struct netif *n = netif_list; n; n = n->next)
        if (inet_ifindex(n) == ifindex)
            return n;
    return NULL;
}

struct netif *inet_next_netif(u32 *ifindex)
{
    struct netif *found = NULL;
    for (struct netif *n = netif_list; n; n = n->next)
        if (inet_ifindex(n) > *ifindex && (!found || inet_ifindex(n) < inet_ifindex(found)))
            found = n;
    *ifindex = found ? inet_ifindex(found) : 0;
    return found;
}

int inet_errno(int e)
{
    switch (e) {
    case ERR_OK: return 0;
    case ERR_MEM: case ERR_BUF: return -ENOBUFS;
    case ERR_TIMEOUT: return -ETIMEDOUT;
    case ERR_RTE: return -ENETUNREACH;
    case ERR_INPROGRESS: return -EINPROGRESS;
    case ERR_VAL: case ERR_ARG: return -EINVAL;
    case ERR_WOULDBLOCK: return -EAGAIN;
    case ERR_USE: return -EADDRINUSE;
    case ERR_ALREADY: return -EALREADY;
    case ERR_ISCONN: return -EISCONN;
    case ERR_CONN: return -ENOTCONN;
    case ERR_IF: return -ENETDOWN;
    case ERR_ABRT: return -ECONNABORTED;
    case ERR_RST: return -ECONNRESET;
    case ERR_CLSD: return -EPIPE;
    default: return -EIO;
    }
}
