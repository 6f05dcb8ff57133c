// SPDX-License-Identifier: Apache-2.0
// lwIP's place in the kernel: its lock, its memory, its interfaces; received frames come in, notifications go out in batches.
#include "lwip/etharp.h"
#include "lwip/ethip6.h"
#include "lwip/init.h"
#include "lwip/mld6.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/snmp.h"
#include "netif/ethernet.h"

#include "arch.h"
#include "boot.h"
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "net.h"
#include "net_priv.h"
#include "recovery.h"
#include "page.h"
#include "printk.h"
#include "sched.h"
#include "time.h"

struct list netdevs = LIST_INIT(netdevs);
static u32 depth;                             // of net_lock(); one CPU runs the stack at a time, softirqs are off
u32 net_tcp_wnd = 65536, net_tcp_sndbuf = 65536;

// --- Lock -----------------------------------------------------------------------------------------------------------------

void net_lock(void)
{
    bh_disable();
    depth++;
}

// What an interface sends to its own address never left memory: it has no checksum where the device makes them, and needs none.
static void take_loop(struct netif *n)
{
    u16 flags = n->chksum_flags;
    NETIF_SET_CHECKSUM_CTRL(n, flags & (u16)~(NETIF_CHECKSUM_CHECK_TCP | NETIF_CHECKSUM_CHECK_UDP));
    netif_poll(n);
    NETIF_SET_CHECKSUM_CTRL(n, flags);
}

static void flush(void)
{
    // Packets to ourselves were queued by lwIP; taking them may queue more.
    for (struct netif *n = netif_list; n; n = n->next)
        if (n->loop_first)
            take_loop(n);
    for (struct list *n = netdevs.next; n != &netdevs; n = n->next) {
        struct netdev *d = list_entry(n, struct netdev, node);
        if (d->kick)
            d->kick(d);
    }
}

void net_unlock(void)
{
    if (depth == 1)
        flush();
    depth--;
    bh_enable();
}

// --- Memory and numbers for lwIP ------------------------------------------------------------------------------------------

void *net_mem_alloc(size_t n) { return kmalloc(n, PA_ATOMIC); }
void *net_mem_calloc(size_t n, size_t size) { return kmalloc(n * size, PA_ATOMIC | PA_ZERO); }
void net_mem_free(void *p) { kfree(p); }
u32_t sys_now(void);
u32_t sys_now(void) { return (u32_t)(clock_mono_ns() / 1000000); }

u32 net_rand(void)
{
    u32 v;
    random_bytes(&v, sizeof(v));
    return v;
}

// --- Interfaces -----------------------------------------------------------------------------------------------------------

struct netdev *netdev_of(struct netif *n)
{
    return n->name[0] == 'e' && n->name[1] == 't' ? n->state : NULL;
}

static err_t link_output(struct netif *n, struct pbuf *p)
{
    struct netdev *d = n->state;
    if (d->xmit(d, p)) {
        d->tx_dropped++;
        return ERR_OK;                        // as a wire that lost it; TCP sends it again
    }
    d->tx_packets++;
    d->tx_bytes += p->tot_len;
    return ERR_OK;
}

static err_t netif_setup(struct netif *n)
{
    struct netdev *d = n->state;
    n->name[0] = 'e';
    n->name[1] = 't';
    n->mtu = d->mtu;
    n->hwaddr_len = 6;
    memcpy(n->hwaddr, d->mac, 6);
    n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_IGMP | NETIF_FLAG_MLD6;
    n->output = etharp_output;
    n->output_ip6 = ethip6_output;
    n->linkoutput = link_output;
    u16 flags = NETIF_CHECKSUM_ENABLE_ALL;
    if (d->tx_csum)
        flags &= (u16)~(NETIF_CHECKSUM_GEN_TCP | NETIF_CHECKSUM_GEN_UDP);
    NETIF_SET_CHECKSUM_CTRL(n, flags);
    return ERR_OK;
}

static void add_netif(struct netdev *d)
{
    struct netif *n = kzalloc(sizeof(*n));
    if (!n || !netif_add_noaddr(n, d, netif_setup, ethernet_input)) {
        kfree(n);
        printk(LOG_ERR, "%s: out of memory\n", d->name);
        return;
    }
    d->netif = n;
    if (inet_netif_changed)
        netif_set_status_callback(n, inet_netif_changed);
    netif_set_link_up(n);
    netif_set_up(n);
    netif_create_ip6_linklocal_address(n, 1);
    netif_set_ip6_autoconfig_enabled(n, 1);
}

void netdev_register(struct netdev *d)
{
    static u32 count;
    snprintf(d->name, sizeof(d->name), "eth%u", count++);
    list_push(&netdevs, &d->node);
}

void net_receive(struct netdev *d, struct pbuf *p)
{
    struct netif *n = d->netif;
    const u16 checks = NETIF_CHECKSUM_CHECK_TCP | NETIF_CHECKSUM_CHECK_UDP;
    d->rx_packets++;
    d->rx_bytes += p->tot_len;
    if (n)
        NETIF_SET_CHECKSUM_CTRL(n, d->csum_ok ? n->chksum_flags & (u16)~checks : n->chksum_flags | checks);
    if (!n || n->input(p, n) != ERR_OK) {
        d->rx_dropped++;
        pbuf_free(p);
    }
}

void net_reclaim(void)
{
    sack_batch(true);
    for (struct list *n = netdevs.next; n != &netdevs; n = n->next) {
        struct netdev *d = list_entry(n, struct netdev, node);
        d->poll(d);
    }
    sack_batch(false);
}

static void net_softirq(void)
{
    net_lock();
    net_reclaim();
    net_unlock();
}

// Windows by the machine's memory: a small one must not promise what it cannot hold.
static void set_windows(void)
{
    struct mem_stats m;
    mem_stats(&m);
    u64 mb = m.total >> 20;
    net_tcp_wnd = mb < 12 ? 16384 : mb < 48 ? 65536 : mb < 200 ? 131072 : 262144;
    net_tcp_sndbuf = net_tcp_wnd;
}

static struct mutex init_lock = MUTEX_INIT(init_lock);   // one starts the network, the others wait
static bool started;

static void start(void)
{
    set_windows();
    net_lock();
    lwip_init();
    for (struct netif *n = netif_list; n; n = n->next)      // loopback: what never leaves memory needs no checksum
        NETIF_SET_CHECKSUM_CTRL(n, NETIF_CHECKSUM_DISABLE_ALL);
    for (struct list *n = netdevs.next; n != &netdevs; n = n->next)
        add_netif(list_entry(n, struct netdev, node));
    softirq_register(SOFTIRQ_NET, net_softirq);
    net_timers_start();
    net_unlock();
    softirq_raise(SOFTIRQ_NET);
    net_configure();
}

void net_need(void)
{
    if (__atomic_load_n(&started, __ATOMIC_ACQUIRE))
        return;
    mutex_lock(&init_lock);
    if (!started) {
        start();
        __atomic_store_n(&started, true, __ATOMIC_RELEASE);
    }
    mutex_unlock(&init_lock);
}

void net_init(void)
{
    if (!list_empty(&netdevs) || boot_config.ip.n)
        net_need();
}
