// SPDX-License-Identifier: Apache-2.0
// Interfaces, addresses and the default route as programs change them (linux/inet_config.c). net_lock held everywhere.
#ifndef UNI_INET_CONFIG_H
#define UNI_INET_CONFIG_H

#include "inet.h"

// linux/route.h: struct rtentry.
struct rtentry_k {
    u64 pad1;
    struct { u16 family, port; u32 addr; u64 zero; } dst, gw, mask;
    u16 flags;
    i16 pad2;
    u64 pad3, pad4;
    i16 metric;
    uptr dev;                                 // the name of its device, in the program's memory; 0: none
    u64 mtu, window;
    u16 irtt;
};

int inet_set_addr4(struct netif *n, u32 addr, u32 mask);
int inet_set_mtu(struct netif *n, u32 mtu);
void inet_set_up(struct netif *n, bool up);
int inet_add_gateway4(struct netif *n, u32 gw, bool replace);     // n NULL: whoever's network it is on
int inet_del_gateway4(u32 gw);                                    // 0: whatever it is
// A route to a network; `gw` 0: it is on the network of `n` itself, or (to be deleted) whatever it is.
int inet_add_route4(struct netif *n, u32 net, u32 mask, u32 gw, bool replace);
int inet_del_route4(const struct netif *n, u32 net, u32 mask, u32 gw);
long inet_ifset(struct netif *n, u32 cmd, u16 family, u32 value); // SIOCSIF*
long inet_route_ioctl(struct netif *n, bool add, const struct rtentry_k *r);

// linux/netlink.c: NETLINK_ROUTE's listeners hear of it.
void inet_link_changed(struct netif *n);
void inet_address4_changed(struct netif *n, u32 addr, u32 mask, bool added);
void inet_address6_changed(struct netif *n, const ip6_addr_t *a, u32 flags, bool added);

#endif
