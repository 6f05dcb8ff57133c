// SPDX-License-Identifier: Apache-2.0
// NETLINK_ROUTE: links, addresses, routes, neighbors and rules as rtnetlink(7) tells them; formats: linux/rtnetlink.h, if_link.h,
// if_addr.h, neighbour.h, fib_rules.h; which attributes there are: Linux's rtnl_fill_ifinfo, inet_fill_ifaddr, fib_dump_info.
#include "netlink.h"

#include "lwip/etharp.h"
#include "lwip/ip.h"
#include "lwip/priv/nd6_priv.h"

#include "cred.h"
#include "errno.h"
#include "lib.h"
#include "process.h"

#include "../net/net_priv.h"

#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>

#define RTCF_LOCAL_ 0x80000000u               // linux/in_route.h

// --- Links ------------------------------------------------------------------------------------------------------------------

static void put_stats(struct nl_out *o, const struct netdev *d)
{
    struct rtnl_link_stats64 st;
    struct rtnl_link_stats old;
    memset(&st, 0, sizeof(st));
    if (d) {
        st.rx_packets = d->rx_packets;
        st.tx_packets = d->tx_packets;
        st.rx_bytes = d->rx_bytes;
        st.tx_bytes = d->tx_bytes;
        st.rx_dropped = d->rx_dropped;
        st.tx_dropped = d->tx_dropped;
    }
    nl_attr(o, IFLA_STATS64, &st, sizeof(st));
    for (u32 i = 0; i < sizeof(old) / 4; i++)
        ((u32 *)&old)[i] = (u32)((u64 *)&st)[i];
    nl_attr(o, IFLA_STATS, &old, sizeof(old));
}

void nl_put_link(struct nl_out *o, struct netif *n, u16 type)
{
    static const u8 broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, none[6];
    struct netdev *d = netdev_of(n);
    struct ifinfomsg *m = nl_begin(o, type, sizeof(*m));
    char name[16];
    if (!m)
        return;
    bool up = netif_is_up(n);
    const char *queueing = d ? "pfifo_fast" : "noqueue";
    m->ifi_type = d ? 1 : 772;                // ARPHRD_ETHER, ARPHRD_LOOPBACK
    m->ifi_index = (int)inet_ifindex(n);
    m->ifi_flags = inet_ifflags(n) | (up && netif_is_link_up(n) ? 0x10000 : 0);   // IFF_LOWER_UP
    inet_ifname(n, name);
    nl_attr(o, IFLA_IFNAME, name, (u32)strlen(name) + 1);
    nl_attr_u32(o, IFLA_TXQLEN, 1000);
    nl_attr_u8(o, IFLA_OPERSTATE, d ? up ? 6 : 2 : 0);    // RFC 2863: up, down; unknown for loopback
    nl_attr_u8(o, IFLA_LINKMODE, 0);
    nl_attr_u32(o, IFLA_MTU, d ? n->mtu : 65536);
    nl_attr_u32(o, IFLA_MIN_MTU, d ? 68 : 0);
    nl_attr_u32(o, IFLA_MAX_MTU, d ? d->mtu : 0);
    nl_attr_u32(o, IFLA_GROUP, 0);
    nl_attr_u32(o, IFLA_PROMISCUITY, 0);
    nl_attr_u32(o, IFLA_NUM_TX_QUEUES, 1);
    nl_attr_u32(o, IFLA_NUM_RX_QUEUES, 1);
    nl_attr_u8(o, IFLA_CARRIER, netif_is_link_up(n));
    nl_attr(o, IFLA_QDISC, queueing, (u32)strlen(queueing) + 1);
    nl_attr_u32(o, IFLA_CARRIER_CHANGES, d ? 1 : 0);
    nl_attr_u8(o, IFLA_PROTO_DOWN, 0);
    nl_attr(o, IFLA_ADDRESS, d ? d->mac : none, 6);
    nl_attr(o, IFLA_BROADCAST, d ? broadcast : none, 6);
    put_stats(o, d);
    nl_end(o);
}

// --- Addresses --------------------------------------------------------------------------------------------------------------

static void put_cacheinfo(struct nl_out *o)
{
    const struct ifa_cacheinfo forever = { ~0u, ~0u, 0, 0 };
    nl_attr(o, IFA_CACHEINFO, &forever, sizeof(forever));
}

void nl_put_addr4(struct nl_out *o, struct netif *n, u32 addr, u32 mask, u16 type)
{
    bool lo = !netdev_of(n);
    struct ifaddrmsg *m = addr ? nl_begin(o, type, sizeof(*m)) : NULL;
    char name[16];
    if (!m)
        return;
    m->ifa_family = K_AF_INET;
    m->ifa_prefixlen = nl_prefix_length(mask);
    m->ifa_flags = IFA_F_PERMANENT;
    m->ifa_scope = lo ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
    m->ifa_index = inet_ifindex(n);
    nl_attr(o, IFA_ADDRESS, &addr, 4);
    nl_attr(o, IFA_LOCAL, &addr, 4);
    if (!lo && m->ifa_prefixlen < 31)
        nl_attr_u32(o, IFA_BROADCAST, addr | ~mask);
    inet_ifname(n, name);
    nl_attr(o, IFA_LABEL, name, (u32)strlen(name) + 1);
    nl_attr_u32(o, IFA_FLAGS, IFA_F_PERMANENT);
    put_cacheinfo(o);
    nl_end(o);
}

void nl_put_addr6(struct nl_out *o, struct netif *n, const ip6_addr_t *a, u32 flags, u16 type)
{
    struct ifaddrmsg *m = flags == ~0u ? NULL : nl_begin(o, type, sizeof(*m));
    if (!m)
        return;
    bool lo = !netdev_of(n);
    m->ifa_family = K_AF_INET6;
    m->ifa_prefixlen = lo ? 128 : 64;
    m->ifa_flags = (u8)flags;
    m->ifa_scope = lo ? RT_SCOPE_HOST : ip6_addr_islinklocal(a) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    m->ifa_index = inet_ifindex(n);
    nl_attr(o, IFA_ADDRESS, a->addr, 16);
    put_cacheinfo(o);
    nl_attr_u32(o, IFA_FLAGS, flags);
    nl_end(o);
}

// --- Routes -----------------------------------------------------------------------------------------------------------------

// A route's fixed part; what is not told is 0.
struct route {
    const void *dst, *gateway, *source;
    struct netif *n;
    u32 metric, flags;
    u8 family, prefix, table, protocol, scope, type;
};

static void put_route(struct nl_out *o, const struct route *r)
{
    struct rtmsg *m = nl_begin(o, RTM_NEWROUTE, sizeof(*m));
    u32 len = r->family == K_AF_INET6 ? 16 : 4;
    if (!m)
        return;
    m->rtm_family = r->family;
    m->rtm_dst_len = r->prefix;
    m->rtm_table = r->table;
    m->rtm_protocol = r->protocol;
    m->rtm_scope = r->scope;
    m->rtm_type = r->type;
    m->rtm_flags = r->flags;
    nl_attr_u32(o, RTA_TABLE, r->table);
    if (r->dst)
        nl_attr(o, RTA_DST, r->dst, len);
    if (r->metric)
        nl_attr_u32(o, RTA_PRIORITY, r->metric);
    if (r->source)
        nl_attr(o, RTA_PREFSRC, r->source, len);
    if (r->gateway)
        nl_attr(o, RTA_GATEWAY, r->gateway, len);
    nl_attr_u32(o, RTA_OIF, inet_ifindex(r->n));
    if (r->flags & RTM_F_CLONED)
        nl_attr_u32(o, RTA_UID, current_cred()->euid);
    if (r->family == K_AF_INET6 || (r->flags & RTM_F_CLONED)) {
        struct rta_cacheinfo c = { .rta_clntref = 0 };
        nl_attr(o, RTA_CACHEINFO, &c, sizeof(c));
    }
    if (r->family == K_AF_INET6)
        nl_attr_u8(o, RTA_PREF, 0);
    nl_end(o);
}

static void put_main4(struct nl_out *o, struct netif *n)
{
    u32 addr = netif_ip4_addr(n)->addr, mask = netif_ip4_netmask(n)->addr, gw = netif_ip4_gw(n)->addr, net = addr & mask;
    struct route r = { .n = n, .family = K_AF_INET, .table = RT_TABLE_MAIN, .type = RTN_UNICAST };
    if (gw && n == netif_default) {
        r.gateway = &gw;
        r.protocol = RTPROT_BOOT;
        put_route(o, &r);
        r.gateway = NULL;
    }
    for (const struct route4 *s = net_routes4; s < net_routes4 + net_nr_routes4; s++) {
        if (s->n != n)
            continue;
        struct route t = { .n = n, .family = K_AF_INET, .table = RT_TABLE_MAIN, .type = RTN_UNICAST, .protocol = RTPROT_BOOT, .dst = &s->net,
                           .prefix = nl_prefix_length(s->mask), .gateway = s->gw.addr ? &s->gw.addr : NULL,
                           .scope = s->gw.addr ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK };
        put_route(o, &t);
    }
    if (mask == ~0u)
        return;
    r.dst = &net;
    r.source = &addr;
    r.prefix = nl_prefix_length(mask);
    r.protocol = RTPROT_KERNEL;
    r.scope = RT_SCOPE_LINK;
    put_route(o, &r);
}

static void put_local4(struct nl_out *o, struct netif *n)
{
    u32 addr = netif_ip4_addr(n)->addr, mask = netif_ip4_netmask(n)->addr, net = addr & mask, last = addr | ~mask;
    struct route r = { .n = n, .family = K_AF_INET, .table = RT_TABLE_LOCAL, .type = RTN_LOCAL, .protocol = RTPROT_KERNEL,
                       .scope = RT_SCOPE_HOST, .source = &addr, .dst = &addr, .prefix = 32 };
    if (!netdev_of(n)) {
        r.dst = &net;
        r.prefix = nl_prefix_length(mask);
        put_route(o, &r);
        r.dst = &addr;
        r.prefix = 32;
    }
    put_route(o, &r);
    if (nl_prefix_length(mask) >= 31)
        return;
    r.dst = &last;
    r.type = RTN_BROADCAST;
    r.scope = RT_SCOPE_LINK;
    put_route(o, &r);
}

const ip6_addr_t *inet_gateway6(struct netif *n)
{
    const ip6_addr_t *gw = net_hook_gateway6(n, NULL);
    for (int i = 0; !gw && netdev_of(n) && i < LWIP_ND6_NUM_ROUTERS; i++)
        if (default_router_list[i].neighbor_entry && default_router_list[i].neighbor_entry->netif == n)
            gw = &default_router_list[i].neighbor_entry->next_hop_address;
    return gw;
}

static void put_main6(struct nl_out *o, struct netif *n)
{
    const ip6_addr_t *gw = inet_gateway6(n);
    struct route r = { .n = n, .family = K_AF_INET6, .table = RT_TABLE_MAIN, .type = RTN_UNICAST, .protocol = RTPROT_KERNEL,
                       .metric = 256, .prefix = 64 };
    for (int i = 0; netdev_of(n) && i < LWIP_IPV6_NUM_ADDRESSES; i++) {
        u32 net[4] = { netif_ip6_addr(n, i)->addr[0], netif_ip6_addr(n, i)->addr[1], 0, 0 };
        r.dst = net;
        if (ip6_addr_isvalid(netif_ip6_addr_state(n, i)))
            put_route(o, &r);
    }
    if (gw) {
        struct route d = { .n = n, .family = K_AF_INET6, .table = RT_TABLE_MAIN, .type = RTN_UNICAST, .protocol = RTPROT_BOOT,
                           .metric = 1024, .gateway = gw->addr };
        put_route(o, &d);
    }
}

static void put_local6(struct nl_out *o, struct netif *n)
{
    struct route r = { .n = n, .family = K_AF_INET6, .table = RT_TABLE_LOCAL, .type = RTN_LOCAL, .protocol = RTPROT_KERNEL, .prefix = 128 };
    for (int i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++) {
        r.dst = netif_ip6_addr(n, i)->addr;
        if (ip6_addr_isvalid(netif_ip6_addr_state(n, i)))
            put_route(o, &r);
    }
}

static void put_routes(struct nl_out *o, struct netif *n, u8 family, u8 table)
{
    bool have4 = !ip4_addr_isany_val(*netif_ip4_addr(n)) && family != K_AF_INET6, have6 = family != K_AF_INET;
    if (table != RT_TABLE_LOCAL && have4 && netdev_of(n))
        put_main4(o, n);
    if (table != RT_TABLE_MAIN && have4)
        put_local4(o, n);
    if (table != RT_TABLE_LOCAL && have6)
        put_main6(o, n);
    if (table != RT_TABLE_MAIN && have6)
        put_local6(o, n);
}

// RTM_GETROUTE of one address: the way there (Linux: inet_rtm_getroute).
static int get_route(struct nl_out *o, const struct nlmsghdr *h)
{
    const struct rtmsg *q = NLMSG_DATA(h);
    bool v6 = q->rtm_family == K_AF_INET6;
    const void *dst = nl_find(h, sizeof(*q), RTA_DST, v6 ? 16 : 4);
    if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*q)) || (q->rtm_family != K_AF_INET && !v6))
        return -EOPNOTSUPP;
    if (!dst)
        return -EINVAL;
    ip_addr_t to;
    u32 w[4];
    memcpy(w, dst, v6 ? 16 : 4);
    if (v6)
        IP_ADDR6(&to, w[0], w[1], w[2], w[3]);
    else
        ip_addr_set_ip4_u32_val(to, w[0]);
    bool ours = inet_is_ours(&to) || (!v6 && ip4_addr_isloopback(ip_2_ip4(&to)));
    struct netif *n = ours ? inet_netif(1) : ip_route(IP_ANY_TYPE, &to);
    if (!n)
        return -ENETUNREACH;
    const ip_addr_t *source = ours ? &to : ip_netif_get_local_ip(n, &to);
    const ip4_addr_t *via = v6 ? NULL : net_hook_gateway4(n, ip_2_ip4(&to));
    u32 gw4 = via ? via->addr == ip_2_ip4(&to)->addr ? 0 : via->addr : netif_ip4_gw(n)->addr;
    bool near = ours || v6 || ip4_addr_netcmp(ip_2_ip4(&to), netif_ip4_addr(n), netif_ip4_netmask(n)) || ip_addr_ismulticast(&to);
    struct route r = { .n = n, .family = q->rtm_family, .table = RT_TABLE_MAIN,
                       .flags = v6 ? 0 : RTM_F_CLONED | (ours ? RTCF_LOCAL_ : 0),
                       .type = ours ? RTN_LOCAL : ip_addr_ismulticast(&to) ? RTN_MULTICAST : RTN_UNICAST, .protocol = RTPROT_UNSPEC,
                       .prefix = v6 ? 128 : 32, .dst = dst, .gateway = near || !gw4 ? NULL : &gw4,
                       .source = source ? (const void *)(v6 ? ip_2_ip6(source)->addr : &ip_2_ip4(source)->addr) : NULL };
    put_route(o, &r);
    return 0;
}

// --- Neighbors and rules ------------------------------------------------------------------------------------------------------

static void put_neighbor(struct nl_out *o, struct netif *n, const void *addr, u32 len, const u8 *mac, u16 state)
{
    struct ndmsg *m = nl_begin(o, RTM_NEWNEIGH, sizeof(*m));
    if (!m)
        return;
    m->ndm_family = len == 4 ? K_AF_INET : K_AF_INET6;
    m->ndm_ifindex = (int)inet_ifindex(n);
    m->ndm_state = state;
    m->ndm_type = RTN_UNICAST;
    nl_attr(o, NDA_DST, addr, len);
    if (mac)
        nl_attr(o, NDA_LLADDR, mac, 6);
    nl_end(o);
}

static void dump_neighbors(struct nl_out *o, u8 family)
{
    static const u16 states[] = { [ND6_INCOMPLETE] = NUD_INCOMPLETE, [ND6_REACHABLE] = NUD_REACHABLE, [ND6_STALE] = NUD_STALE,
                                  [ND6_DELAY] = NUD_DELAY, [ND6_PROBE] = NUD_PROBE };
    for (size_t i = 0; family != K_AF_INET6 && i < ARP_TABLE_SIZE; i++) {
        ip4_addr_t *ip;
        struct netif *n;
        struct eth_addr *mac;
        if (etharp_get_entry(i, &ip, &n, &mac))
            put_neighbor(o, n, &ip->addr, 4, mac->addr, NUD_REACHABLE);
    }
    for (int i = 0; family != K_AF_INET && i < LWIP_ND6_NUM_NEIGHBORS; i++) {
        const struct nd6_neighbor_cache_entry *e = &neighbor_cache[i];
        if (e->state != ND6_NO_ENTRY)
            put_neighbor(o, e->netif, e->next_hop_address.addr, 16, e->state == ND6_INCOMPLETE ? NULL : e->lladdr, states[e->state]);
    }
}

// The three that every Linux begins with (two for IPv6).
static void dump_rules(struct nl_out *o, u8 family)
{
    static const struct { u8 table; u32 priority; } rules[] = { { RT_TABLE_LOCAL, 0 }, { RT_TABLE_MAIN, 32766 }, { RT_TABLE_DEFAULT, 32767 } };
    for (u32 i = 0; i < (family == K_AF_INET6 ? 2 : 3); i++) {
        struct fib_rule_hdr *m = nl_begin(o, RTM_NEWRULE, sizeof(*m));
        if (!m)
            return;
        m->family = family;
        m->table = rules[i].table;
        m->action = FR_ACT_TO_TBL;
        nl_attr_u32(o, FRA_TABLE, rules[i].table);
        nl_attr_u32(o, FRA_SUPPRESS_PREFIXLEN, ~0u);
        nl_attr_u8(o, FRA_PROTOCOL, RTPROT_KERNEL);
        if (rules[i].priority)
            nl_attr_u32(o, FRA_PRIORITY, rules[i].priority);
        nl_end(o);
    }
}

// --- Dumps --------------------------------------------------------------------------------------------------------------------

static void dump_of(struct nl_out *o, const struct nlmsghdr *h, u8 family, u8 table, struct netif *n)
{
    if (h->nlmsg_type == RTM_GETLINK)
        nl_put_link(o, n, RTM_NEWLINK);
    if (h->nlmsg_type == RTM_GETADDR && family != K_AF_INET6)
        nl_put_addr4(o, n, netif_ip4_addr(n)->addr, netif_ip4_netmask(n)->addr, RTM_NEWADDR);
    for (int i = 0; h->nlmsg_type == RTM_GETADDR && family != K_AF_INET && i < LWIP_IPV6_NUM_ADDRESSES; i++)
        nl_put_addr6(o, n, netif_ip6_addr(n, i), inet_ip6_flags(n, i), RTM_NEWADDR);
    if (h->nlmsg_type == RTM_GETROUTE)
        put_routes(o, n, family, table);
}

// A dump's filter counts only where the program asked for strict checks; others send what they like there.
int nl_dump(struct nl_out *o, const struct nlmsghdr *h, bool strict)
{
    u8 family = ((const struct rtgenmsg *)NLMSG_DATA(h))->rtgen_family, table = 0;
    u32 only = 0;
    switch (h->nlmsg_type) {
    case RTM_GETNEIGH: dump_neighbors(o, family); return 0;
    case RTM_GETRULE: dump_rules(o, family == K_AF_INET6 ? K_AF_INET6 : K_AF_INET); return 0;
    case RTM_GETLINK: case RTM_GETADDR: case RTM_GETROUTE: break;
    default: return -EOPNOTSUPP;
    }
    if (strict && h->nlmsg_type == RTM_GETADDR && h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct ifaddrmsg)))
        only = ((const struct ifaddrmsg *)NLMSG_DATA(h))->ifa_index;
    if (strict && h->nlmsg_type == RTM_GETROUTE && h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct rtmsg))) {
        const u32 *t = nl_find(h, sizeof(struct rtmsg), RTA_TABLE, 4), *oif = nl_find(h, sizeof(struct rtmsg), RTA_OIF, 4);
        table = t ? (u8)*t : ((const struct rtmsg *)NLMSG_DATA(h))->rtm_table;
        only = oif ? *oif : 0;
    }
    if (table || only)
        o->flags |= NLM_F_DUMP_FILTERED;
    if (table && table != RT_TABLE_MAIN && table != RT_TABLE_LOCAL)
        return 0;
    u32 i = 0;
    for (struct netif *n; (n = inet_next_netif(&i));)
        if (!only || only == i)
            dump_of(o, h, family, table, n);
    return 0;
}

static struct netif *named(const char *want, u32 len)
{
    char name[16];
    for (struct netif *n = netif_list; n; n = n->next) {
        inet_ifname(n, name);
        if (strnlen(want, len) == strlen(name) && memcmp(want, name, strlen(name)) == 0)
            return n;
    }
    return NULL;
}

int nl_get(struct nl_out *o, const struct nlmsghdr *h)
{
    if (h->nlmsg_type == RTM_GETROUTE)
        return get_route(o, h);
    if (h->nlmsg_type != RTM_GETLINK)
        return -EOPNOTSUPP;
    if (h->nlmsg_len < NLMSG_LENGTH(sizeof(struct ifinfomsg)))
        return -EINVAL;
    const struct ifinfomsg *m = NLMSG_DATA(h);
    const char *name = nl_find(h, sizeof(*m), IFLA_IFNAME, 1);
    if (!name)
        name = nl_find(h, sizeof(*m), IFLA_ALT_IFNAME, 1);
    if (m->ifi_index <= 0 && !name)
        return -EINVAL;
    struct netif *n = m->ifi_index > 0 ? inet_netif((u32)m->ifi_index) : named(name, 16);
    if (!n)
        return -ENODEV;
    nl_put_link(o, n, RTM_NEWLINK);
    return 0;
}
