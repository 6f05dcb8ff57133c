// SPDX-License-Identifier: Apache-2.0
// Network: devices below, lwIP in the middle (net/lwip_port.c), sockets above (net/socket.c ...).
#ifndef UNI_NET_H
#define UNI_NET_H

#include "list.h"
#include "types.h"

struct pbuf;

struct netdev {
    char name[16];              // "eth0"
    u8 mac[6];
    u16 mtu;
    bool tx_csum, tso;
    bool csum_ok;               // of the frame being received: the host vouches for its checksums
    // Queues a frame; the device holds a reference on the pbuf chain until it is sent. 0, -ENOBUFS.
    int (*xmit)(struct netdev *d, struct pbuf *p);
    void (*poll)(struct netdev *d);      // net softirq: takes received frames, calls net_receive; frees sent ones
    void (*kick)(struct netdev *d);      // end of a batch: tells the device about the frames queued
    void *priv;
    void *netif;                         // lwIP's
    u64 rx_bytes, tx_bytes, rx_packets, tx_packets, rx_dropped, tx_dropped;
    struct list node;
};

extern struct list netdevs;              // struct netdev.node; fixed after dev_init
void netdev_register(struct netdev *d);
void net_receive(struct netdev *d, struct pbuf *p);     // takes over the reference
// Sleeps. Every way from a program to lwIP begins here: without an interface there may be nobody who ever asks, so lwIP, its loopback
// and its timers start with the first who does.
void net_need(void);
void net_init(void);                                     // after devices: interfaces up, addresses as boot_config says
// lwIP's core runs under this lock: net softirq or a thread between these two. Nothing under it sleeps or touches user memory.
void net_lock(void);
void net_unlock(void);
u64 net_socket_count(void);
// The text of /etc/resolv.conf: boot_config's servers and search list, then DHCP's. Returns its length (truncated at size - 1).
size_t net_resolv_conf(char *buf, size_t size);

#endif
