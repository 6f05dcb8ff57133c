// SPDX-License-Identifier: Apache-2.0
// NETLINK_ROUTE: requests that change something (rtnetlink(7)): a link's flags and MTU, addresses, routes, ARP entries.
#include "netlink.h"

#include "lwip/etharp.h"

#include "errno.h"
#include "lib.h"

#include "../net/net_priv.h"
#include "inet_config.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>

static bool has(const struct nlmsghdr *h, size_t body) { return h->nlmsg_len >= NLMSG_LENGTH(body); }

static u32 u32_of(const void *p)
{
    u32 v = 0;
    if (p)
        memcpy(&v, p, sizeof(v));
    return v;
}

static int change_link(const struct nlmsghdr *h)
{
    const struct ifinfomsg *m = NLMSG_DATA(h);
    if (!has(h, sizeof(*m)))
        return -EINVAL;
    const char *name = nl_find(h, sizeof(*m), IFLA_IFNAME, 1);
    struct netif *n = m->ifi_index > 0 ? inet_netif((u32)m->ifi_index) : name ? inet_netif(netdev_number(name)) : NULL;
    if (!n)
        return nl_find(h, sizeof(*m), IFLA_LINKINFO, 0) && (h->nlmsg_flags & NLM_F_CREATE) ? -EOPNOTSUPP : -ENODEV;
    if (nl_find(h, sizeof(*m), IFLA_ADDRESS, 1) || nl_find(h, sizeof(*m), IFLA_MASTER, 4) ||
        (m->ifi_index > 0 && name && netdev_number(name) != (u32)m->ifi_index))
        return -EOPNOTSUPP;
    const void *mtu = nl_find(h, sizeof(*m), IFLA_MTU, 4);
    int err = mtu ? inet_set_mtu(n, u32_of(mtu)) : 0;
    if (!err && ((m->ifi_change & 1) || (!m->ifi_change && m->ifi_flags)))      // IFF_UP
        inet_set_up(n, m->ifi_flags & 1);
    return err;
}

static int change_addr6(struct netif *n, const void *raw, bool add)
{
    ip6_addr_t a;
    s8_t i;
    u32 w[4];
    memcpy(w, raw, 16);
    IP6_ADDR(&a, w[0], w[1], w[2], w[3]);
    ip6_addr_assign_zone(&a, IP6_UNICAST, n);
    i = netif_get_ip6_addr_match(n, &a);
    if (!add) {
        if (i < 0)
            return -EADDRNOTAVAIL;
        netif_ip6_addr_set_state(n, i, IP6_ADDR_INVALID);
        return 0;
    }
    if (i >= 0)
        return -EEXIST;
    if (!netdev_of(n) || netif_add_ip6_address(n, &a, &i) != ERR_OK)
        return -ENOBUFS;
    netif_ip6_addr_set_state(n, i, IP6_ADDR_PREFERRED);
    return 0;
}

static int change_addr(const struct nlmsghdr *h, bool add)
{
    const struct ifaddrmsg *m = NLMSG_DATA(h);
    if (!has(h, sizeof(*m)))
        return -EINVAL;
    bool v6 = m->ifa_family == K_AF_INET6;
    if (!v6 && m->ifa_family != K_AF_INET)
        return -EOPNOTSUPP;
    struct netif *n = inet_netif(m->ifa_index);
    const void *a = nl_find(h, sizeof(*m), IFA_LOCAL, v6 ? 16 : 4);
    if (!a)
        a = nl_find(h, sizeof(*m), IFA_ADDRESS, v6 ? 16 : 4);
    if (!n)
        return -ENODEV;
    if (!a || m->ifa_prefixlen > (v6 ? 128 : 32))
        return -EINVAL;
    if (v6)
        return change_addr6(n, a, add);
    u32 have = netif_ip4_addr(n)->addr, addr = u32_of(a);
    u32 mask = m->ifa_prefixlen ? lwip_htonl(~0u << (32 - m->ifa_prefixlen)) : 0;
    if (!add)
        return have != addr ? -EADDRNOTAVAIL : inet_set_addr4(n, 0, 0);
    if (have == addr)
        return h->nlmsg_flags & NLM_F_REPLACE ? inet_set_addr4(n, addr, mask) : -EEXIST;
    return have ? -EOPNOTSUPP : inet_set_addr4(n, addr, mask);       // lwIP has room for one
}

static int change_route(const struct nlmsghdr *h, bool add)
{
    const struct rtmsg *m = NLMSG_DATA(h);
    if (!has(h, sizeof(*m)))
        return -EINVAL;
    const void *gw = nl_find(h, sizeof(*m), RTA_GATEWAY, 4), *oif = nl_find(h, sizeof(*m), RTA_OIF, 4);
    if (m->rtm_family != K_AF_INET)
        return add ? -EOPNOTSUPP : -ESRCH;
    if (oif && !inet_netif(u32_of(oif)))
        return -ENODEV;
    if (m->rtm_dst_len) {
        const void *dst = nl_find(h, sizeof(*m), RTA_DST, 4);
        struct netif *n = oif ? inet_netif(u32_of(oif)) : NULL;
        if (!dst || m->rtm_dst_len > 32)
            return -EINVAL;
        u32 mask = lwip_htonl(~0u << (32 - m->rtm_dst_len));
        return add ? inet_add_route4(n, u32_of(dst), mask, u32_of(gw), h->nlmsg_flags & NLM_F_REPLACE) : inet_del_route4(n, u32_of(dst), mask, u32_of(gw));
    }
    if (!add)
        return inet_del_gateway4(u32_of(gw));
    return gw ? inet_add_gateway4(oif ? inet_netif(u32_of(oif)) : NULL, u32_of(gw), h->nlmsg_flags & NLM_F_REPLACE) : -EOPNOTSUPP;
}

static int change_neighbor(const struct nlmsghdr *h, bool add)
{
    const struct ndmsg *m = NLMSG_DATA(h);
    if (!has(h, sizeof(*m)))
        return -EINVAL;
    const void *dst = nl_find(h, sizeof(*m), NDA_DST, 4), *mac = nl_find(h, sizeof(*m), NDA_LLADDR, 6);
    if (m->ndm_family != K_AF_INET)
        return -EOPNOTSUPP;
    if (!dst || (add && !mac))
        return -EINVAL;
    ip4_addr_t ip = { u32_of(dst) };
    struct eth_addr hw;
    if (add)
        memcpy(hw.addr, mac, 6);
    err_t err = add ? etharp_add_static_entry(&ip, &hw) : etharp_remove_static_entry(&ip);
    return err == ERR_OK ? 0 : add ? inet_errno(err) : -ENOENT;
}

int nl_change(const struct nlmsghdr *h)
{
    switch (h->nlmsg_type) {
    case RTM_NEWLINK: case RTM_SETLINK: return change_link(h);
    case RTM_NEWADDR: case RTM_DELADDR: return change_addr(h, h->nlmsg_type == RTM_NEWADDR);
    case RTM_NEWROUTE: case RTM_DELROUTE: return change_route(h, h->nlmsg_type == RTM_NEWROUTE);
    case RTM_NEWNEIGH: case RTM_DELNEIGH: return change_neighbor(h, h->nlmsg_type == RTM_NEWNEIGH);
    default: return -EOPNOTSUPP;
    }
}
