// SPDX-License-Identifier: Apache-2.0
// A program changes interfaces, addresses and the default route: what netdevice(7)'s SIOCSIF* and rtnetlink(7) have in common, and
// who is told. lwIP knows one IPv4 address and one IPv4 gateway an interface.
#include "inet_config.h"

#include "lwip/etharp.h"
#include "lwip/ip.h"

#include "cred.h"
#include "errno.h"
#include "lib.h"

#include "../net/net_priv.h"

#include <linux/capability.h>
#include <linux/sockios.h>

int inet_set_addr4(struct netif *n, u32 addr, u32 mask)
{
    ip4_addr_t a = { addr }, m = { mask }, gw = *netif_ip4_gw(n);
    if (!netdev_of(n))
        return addr == netif_ip4_addr(n)->addr ? -EEXIST : -EOPNOTSUPP;
    if (gw.addr && !ip4_addr_netcmp(&gw, &a, &m))
        gw.addr = 0;                          // the way there went with the old address
    netif_set_addr(n, &a, &m, &gw);
    return 0;
}

int inet_set_mtu(struct netif *n, u32 mtu)
{
    const struct netdev *d = netdev_of(n);
    if (!d)
        return -EOPNOTSUPP;
    if (mtu < 68 || mtu > d->mtu)             // RFC 791; what the device takes
        return -EINVAL;
    n->mtu = n->mtu6 = (u16_t)mtu;
    inet_netif_changed(n);
    return 0;
}

void inet_set_up(struct netif *n, bool up)
{
    if (up)
        netif_set_up(n);
    else
        netif_set_down(n);
}

// The interface on whose network an address is.
static struct netif *near(u32 addr)
{
    ip4_addr_t a = { addr };
    for (struct netif *n = netif_list; n; n = n->next)
        if (netdev_of(n) && netif_ip4_addr(n)->addr && ip4_addr_netcmp(&a, netif_ip4_addr(n), netif_ip4_netmask(n)))
            return n;
    return NULL;
}

int inet_add_gateway4(struct netif *n, u32 gw, bool replace)
{
    ip4_addr_t a = { gw };
    if (!n)
        n = near(gw);
    if (!n || near(gw) != n || !netif_is_up(n))
        return -ENETUNREACH;
    if (netif_default && netif_ip4_gw(netif_default)->addr && !replace)
        return -EEXIST;
    netif_set_gw(n, &a);
    netif_set_default(n);
    return 0;
}

int inet_del_gateway4(u32 gw)
{
    ip4_addr_t none = { 0 };
    struct netif *n = netif_default;
    if (!n || !netif_ip4_gw(n)->addr || (gw && netif_ip4_gw(n)->addr != gw))
        return -ESRCH;
    netif_set_gw(n, &none);
    return 0;
}

// The network that comes and goes with an interface's address.
static struct netif *owner(u32 net, u32 mask)
{
    struct netif *n = near(net);
    return n && netif_ip4_netmask(n)->addr == mask && mask != ~0u ? n : NULL;
}

static struct route4 *find_route(u32 net, u32 mask)
{
    for (struct route4 *r = net_routes4; r < net_routes4 + net_nr_routes4; r++)
        if (r->net == net && r->mask == mask)
            return r;
    return NULL;
}

int inet_add_route4(struct netif *n, u32 net, u32 mask, u32 gw, bool replace)
{
    struct route4 *r = find_route(net, mask);
    if (gw && !n)
        n = near(gw);
    if (net & ~mask)
        return -EINVAL;
    if (!n || !netdev_of(n))
        return gw ? -ENETUNREACH : -ENODEV;
    if (!netif_is_up(n) || (gw && near(gw) != n))
        return !netif_is_up(n) ? -ENETDOWN : -ENETUNREACH;
    if ((r && !replace) || owner(net, mask))
        return -EEXIST;
    if (!r && net_nr_routes4 == MAX_ROUTES4)
        return -ENOBUFS;
    if (!r)
        r = &net_routes4[net_nr_routes4++];
    *r = (struct route4){ .net = net, .mask = mask, .gw.addr = gw, .n = n };
    return 0;
}

static void remove_route(struct route4 *r)
{
    *r = net_routes4[--net_nr_routes4];
}

int inet_del_route4(const struct netif *n, u32 net, u32 mask, u32 gw)
{
    struct route4 *r = find_route(net, mask);
    if (!r || (n && r->n != n) || (gw && r->gw.addr != gw))
        return owner(net, mask) && !gw ? -EOPNOTSUPP : -ESRCH;
    remove_route(r);
    return 0;
}

// Routes end with the interface's being up, and with the network where their gateways are.
static void check_routes(void)
{
    for (struct route4 *r = net_routes4 + net_nr_routes4; r-- > net_routes4;)
        if (!netif_is_up(r->n) || (r->gw.addr && near(r->gw.addr) != r->n))
            remove_route(r);
}

// --- Who is told --------------------------------------------------------------------------------------------------------------

#define MAX_SEEN 8

// An interface as everybody knows it.
static struct seen {
    struct netif *n;
    u32 addr, mask, mtu, flags;
    ip6_addr_t addr6[LWIP_IPV6_NUM_ADDRESSES];
    u32 flags6[LWIP_IPV6_NUM_ADDRESSES];      // ~0: none
} seen[MAX_SEEN];

static struct seen *seen_of(struct netif *n)
{
    for (u32 i = 0; i < MAX_SEEN; i++) {
        if (seen[i].n == n)
            return &seen[i];
        if (!seen[i].n) {
            seen[i].n = n;
            memset(seen[i].flags6, 0xff, sizeof(seen[i].flags6));
            return &seen[i];
        }
    }
    return NULL;
}

void inet_netif_changed(struct netif *n)
{
    struct seen *s = seen_of(n);
    u32 addr = netif_ip4_addr(n)->addr, mask = netif_ip4_netmask(n)->addr, flags = inet_ifflags(n);
    check_routes();
    if (!s)
        return;
    if (s->flags != flags || s->mtu != n->mtu) {
        s->flags = flags;
        s->mtu = n->mtu;
        inet_link_changed(n);
    }
    if (s->addr != addr || s->mask != mask) {
        inet_address4_changed(n, s->addr, s->mask, false);
        s->addr = addr;
        s->mask = mask;
        inet_address4_changed(n, addr, mask, true);
    }
    for (int i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++) {
        u32 now = inet_ip6_flags(n, i);
        bool same = ip6_addr_cmp_zoneless(&s->addr6[i], netif_ip6_addr(n, i));
        if (now == s->flags6[i] && (same || now == ~0u))
            continue;
        if (s->flags6[i] != ~0u && (!same || now == ~0u))
            inet_address6_changed(n, &s->addr6[i], s->flags6[i], false);
        if (now != ~0u)
            inet_address6_changed(n, netif_ip6_addr(n, i), now, true);
        s->addr6[i] = *netif_ip6_addr(n, i);
        s->flags6[i] = now;
    }
}

// --- ioctl ----------------------------------------------------------------------------------------------------------------------

// The mask that comes with an address before SIOCSIFNETMASK (Linux: inet_abc_len).
static u32 class_mask(u32 addr)
{
    u8 first = (u8)addr;
    return first < 128 ? 0xffu : first < 192 ? 0xffffu : 0xffffffu;
}

long inet_ifset(struct netif *n, u32 cmd, u16 family, u32 value)
{
    if (!capable(CAP_NET_ADMIN))
        return -EPERM;
    switch (cmd) {
    case SIOCSIFADDR:
        return family != K_AF_INET ? -EINVAL : inet_set_addr4(n, value, class_mask(value));
    case SIOCSIFNETMASK: {
        ip4_addr_t mask = { value };
        if (ip4_addr_isany_val(*netif_ip4_addr(n)))
            return -EADDRNOTAVAIL;
        netif_set_netmask(n, &mask);
        inet_netif_changed(n);
        return 0;
    }
    case SIOCSIFBRDADDR:                      // it follows from address and mask
        return value == (netif_ip4_addr(n)->addr | ~netif_ip4_netmask(n)->addr) ? 0 : -EINVAL;
    case SIOCSIFFLAGS:
        inet_set_up(n, value & 1);            // IFF_UP
        return 0;
    case SIOCSIFMTU: return inet_set_mtu(n, value);
    case SIOCSIFTXQLEN: case SIOCSIFMETRIC: return (int)value < 0 ? -EINVAL : 0;
    default: return -EOPNOTSUPP;
    }
}

// SIOCADDRT, SIOCDELRT (Linux: ip_rt_ioctl). `n`: the device that it names; NULL: none.
long inet_route_ioctl(struct netif *n, bool add, const struct rtentry_k *r)
{
    bool through = r->flags & 2;              // RTF_GATEWAY
    u32 mask = r->flags & 4 ? ~0u : r->mask.addr, hosts = ~lwip_ntohl(mask);      // RTF_HOST: whatever the mask is
    if (!capable(CAP_NET_ADMIN))
        return -EPERM;
    if (r->dst.family != K_AF_INET)
        return -EAFNOSUPPORT;
    if ((r->dst.addr & ~mask) || (hosts & (hosts + 1)))
        return -EINVAL;
    u32 gw = through ? r->gw.addr : 0;
    if (r->dst.addr || mask)
        return add ? inet_add_route4(n, r->dst.addr, mask, gw, false) : inet_del_route4(n, r->dst.addr, mask, gw);
    if (!add)
        return inet_del_gateway4(gw);
    return through ? inet_add_gateway4(n, gw, false) : -EOPNOTSUPP;
}
