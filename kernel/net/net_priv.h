// SPDX-License-Identifier: Apache-2.0
// Shared between the files of net/ and the inet sockets of linux/. Everything here under net_lock() unless said otherwise.
#ifndef UNI_NET_PRIV_H
#define UNI_NET_PRIV_H

#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "net.h"

void net_timers_start(void);               // net/timer.c
void tcptime_start(void);                  // net/tcptime.c
void net_configure(void);                  // net/config.c: addresses as boot_config says; waits for DHCP
struct netdev *netdev_of(struct netif *n); // NULL for loopback
// Routes that a program has set (net/routes.c); numbers as on the wire.
#define MAX_ROUTES4 16
struct route4 {
    u32 net, mask;
    ip4_addr_t gw;                         // 0: they are on the interface's network themselves
    struct netif *n;
};
extern struct route4 net_routes4[MAX_ROUTES4];
extern u32 net_nr_routes4;

void net_random_init(void);
void net_reclaim(void);                    // frees what the devices have sent

// lwIP's own, made public by fetch-lwip.sh: sends a neighbor advertisement. ND6_TO_ALL_NODES is a flag beside those of RFC 4861.
#define ND6_TO_ALL_NODES 2
void nd6_send_na(struct netif *netif, const ip6_addr_t *target_addr, u8_t flags);

// Something about an interface may have changed: its flags, its addresses (linux/inet_config.c).
void inet_netif_changed(struct netif *n) WEAK;
// ICMP errors, for the sockets they concern (linux/inet_error.c).
struct icmp_report;
void inet_icmp_error(const struct icmp_report *r) WEAK;
// A segment of the connection of callback_arg announces urgent data: the byte's sequence number.
void inet_tcp_urgent(void *callback_arg, u32 seq) WEAK;
// A SYN made a connection of a listener's: the lwIP side of its options.
struct tcp_pcb;
void inet_tcp_passive(void *callback_arg, struct tcp_pcb *pcb) WEAK;
// A SYN for a listening socket: false drops it (its queue is full).
bool inet_syn_allowed(void *callback_arg) WEAK;

#endif
