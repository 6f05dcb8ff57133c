// SPDX-License-Identifier: Apache-2.0
// /proc/net/{dev,tcp,tcp6,udp,udp6,raw,raw6,arp,route,if_inet6} (proc(5)), and the limits programs look up under /proc/sys/net.
#include "inet.h"

#include "lwip/etharp.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/udp.h"

#include "fs.h"
#include "lib.h"

#include "../net/net_priv.h"

static void show_dev(struct seqbuf *s)
{
    seq_printf(s, "Inter-|   Receive                                                |  Transmit\n");
    seq_printf(s, " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier "
                  "compressed\n");
    const struct stats_mib2_netif_ctrs *lo = &inet_netif(1)->mib2_counters;
    seq_printf(s, "    lo: %7u %7u    0    0    0     0          0         0 %8u %7u    0    0    0     0       0          0\n", lo->ifinoctets,
               lo->ifinucastpkts, lo->ifoutoctets, lo->ifoutucastpkts);
    for (struct list *n = netdevs.next; n != &netdevs; n = n->next) {
        struct netdev *d = list_entry(n, struct netdev, node);
        seq_printf(s, "%6s: %7lu %7lu    0 %4lu    0     0          0         0 %8lu %7lu    0 %4lu    0     0       0          0\n",
                   d->name, d->rx_bytes, d->rx_packets, d->rx_dropped, d->tx_bytes, d->tx_packets, d->tx_dropped);
    }
}

static void put_ip(struct seqbuf *s, const ip_addr_t *a, u16 port, bool six)
{
    if (!six) {
        seq_printf(s, "%08X:%04X ", IP_IS_V4(a) ? ip_2_ip4(a)->addr : 0, port);
        return;
    }
    u32 w[4] = { 0, 0, 0, 0 };
    if (IP_IS_V6(a)) {
        memcpy(w, ip_2_ip6(a)->addr, 16);
    } else if (!ip_addr_isany(a)) {
        w[2] = 0xffff0000;
        w[3] = ip_2_ip4(a)->addr;
    }
    seq_printf(s, "%08X%08X%08X%08X:%04X ", w[0], w[1], w[2], w[3], port);
}

// What the tables of sockets have in common (Linux: get_tcp4_sock, udp4_format_sock). Lines end in blanks up to a fixed width.
struct line {
    const struct inet_addr *local, *remote;
    const struct socket *s;
    u32 n, tx, rx, drops;
    u8 state;
    bool six, tcp, wide;        // wide: UDP's column of numbers
};

static void put_line(struct seqbuf *s, const struct line *l)
{
    seq_printf(s, l->wide ? "%5u: " : "%4u: ", l->n);
    put_ip(s, &l->local->ip, l->local->port, l->six);
    put_ip(s, &l->remote->ip, l->remote->port, l->six);
    seq_printf(s, "%02X %08X:%08X 00:00000000 00000000 %5u %8d %lu ", l->state, l->tx, l->rx, 0, 0, l->s ? socket_inode(l->s) : 0);
    if (l->tcp)
        seq_printf(s, "1 0000000000000000 100 0 0 10 0%s\n", l->six ? "" : "                      ");
    else
        seq_printf(s, "2 0000000000000000 %u%s\n", l->drops, l->six ? "" : "           ");
}

static void header(struct seqbuf *s, bool six, bool tcp, bool wide)
{
    seq_printf(s, "%s  sl  local_address %srem%s_address   %sst tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode%s%s\n", wide && !six ? " " : "",
               six ? "                        " : "", six ? "ote" : "", six ? "                     " : "", tcp ? "" : " ref pointer drops",
               six ? "" : tcp ? "                                                     " : "");
}

static u8 tcp_state(const struct tcp_sock *t)
{
    static const u8 map[] = { [CLOSED] = 7, [LISTEN] = 10, [SYN_SENT] = 2, [SYN_RCVD] = 3, [ESTABLISHED] = 1, [FIN_WAIT_1] = 4,
                              [FIN_WAIT_2] = 5, [CLOSE_WAIT] = 8, [CLOSING] = 11, [LAST_ACK] = 9, [TIME_WAIT] = 6 };
    return t->phase == TCP_LISTENING ? 10 : t->pcb ? map[t->pcb->state] : 7;
}

static void show_tcp_of(struct seqbuf *s, bool six)
{
    u32 i = 0;
    header(s, six, true, false);
    for (struct list *n = tcp_socks.next; n != &tcp_socks; n = n->next) {
        struct tcp_sock *t = list_entry(n, struct tcp_sock, all_node);
        if (!t->s || (t->s->domain == K_AF_INET6) != six || t->phase == TCP_IDLE)
            continue;
        u32 tx = t->pcb && t->phase == TCP_CONNECTED ? t->snd_total - MIN(t->snd_total, t->pcb->snd_buf) : 0;
        struct inet_addr none = { .port = 0 }, *r = t->phase == TCP_LISTENING ? &none : &t->remote;
        struct line l = { .local = &t->local, .remote = r, .s = t->s, .n = i++, .tx = tx, .six = six, .tcp = true, .state = tcp_state(t),
                          .rx = t->phase == TCP_LISTENING ? t->nr_accept : t->rx_bytes };
        put_line(s, &l);
    }
}

static void show_dgram_of(struct seqbuf *s, bool six, bool raw)
{
    u32 i = 0;
    header(s, six, false, !raw);
    for (struct list *n = udp_socks.next; n != &udp_socks; n = n->next) {
        struct udp_sock *u = list_entry(n, struct udp_sock, all_node);
        bool shown = raw ? u->raw && u->s->type == K_SOCK_RAW : u->pcb && u->local.port;
        if (!shown || (u->s->domain == K_AF_INET6) != six)
            continue;
        struct inet_addr local = { u->local.ip, raw ? u->proto : u->local.port };
        struct line l = { .local = &local, .remote = &u->remote, .s = u->s, .n = raw ? u->proto : i++, .rx = u->queued, .six = six,
                          .state = u->connected ? 1 : 7, .drops = (u32)u->drops, .wide = !raw };
        put_line(s, &l);
    }
}

static void show_tcp(struct seqbuf *s) { show_tcp_of(s, false); }
static void show_tcp6(struct seqbuf *s) { show_tcp_of(s, true); }
static void show_udp(struct seqbuf *s) { show_dgram_of(s, false, false); }
static void show_udp6(struct seqbuf *s) { show_dgram_of(s, true, false); }
static void show_raw(struct seqbuf *s) { show_dgram_of(s, false, true); }
static void show_raw6(struct seqbuf *s) { show_dgram_of(s, true, true); }

static void show_arp(struct seqbuf *s)
{
    seq_printf(s, "IP address       HW type     Flags       HW address            Mask     Device\n");
    for (size_t i = 0; i < ARP_TABLE_SIZE; i++) {
        ip4_addr_t *ip;
        struct netif *n;
        struct eth_addr *m;
        char text[16], name[16];
        if (!etharp_get_entry(i, &ip, &n, &m))
            continue;
        const u8 *b = (const u8 *)&ip->addr;
        snprintf(text, sizeof(text), "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
        inet_ifname(n, name);
        seq_printf(s, "%-16s 0x%-10x0x%-10x%02x:%02x:%02x:%02x:%02x:%02x     *        %s\n", text, 1, 2, m->addr[0], m->addr[1], m->addr[2],
                   m->addr[3], m->addr[4], m->addr[5], name);
    }
}

static void put_route(struct seqbuf *s, const struct netdev *d, u32 net, u32 mask, u32 gw)
{
    u32 flags = 1 | (gw ? 2 : 0) | (mask == ~0u ? 4 : 0);         // RTF_UP, RTF_GATEWAY, RTF_HOST
    seq_printf(s, "%s\t%08X\t%08X\t%04X\t0\t0\t0\t%08X\t0\t0\t0\n", d->name, net, gw, flags, mask);
}

static void show_route(struct seqbuf *s)
{
    seq_printf(s, "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n");
    for (struct netif *n = netif_list; n; n = n->next) {
        struct netdev *d = netdev_of(n);
        u32 addr = netif_ip4_addr(n)->addr, mask = netif_ip4_netmask(n)->addr, gw = netif_ip4_gw(n)->addr;
        if (!d || !addr)
            continue;
        if (gw && n == netif_default)
            put_route(s, d, 0, 0, gw);
        for (const struct route4 *r = net_routes4; r < net_routes4 + net_nr_routes4; r++)
            if (r->n == n)
                put_route(s, d, r->net, r->mask, r->gw.addr);
        put_route(s, d, addr & mask, mask, 0);
    }
}

static void show_if_inet6(struct seqbuf *s)
{
    for (struct netif *n = netif_list; n; n = n->next) {
        char name[16];
        inet_ifname(n, name);
        for (int i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++) {
            const ip6_addr_t *a = netif_ip6_addr(n, i);
            bool lo = !netdev_of(n);
            u32 flags = inet_ip6_flags(n, i);
            if (flags == ~0u)
                continue;
            for (int k = 0; k < 4; k++)
                seq_printf(s, "%08x", lwip_htonl(a->addr[k]));
            seq_printf(s, " %02x %02x %02x %02x %8s\n", inet_ifindex(n), lo ? 128 : 64,
                       lo ? 0x10 : ip6_addr_islinklocal(a) ? 0x20 : 0, (u8)flags, name);
        }
    }
}

static void show_somaxconn(struct seqbuf *s) { seq_printf(s, "4096\n"); }
static void show_port_range(struct seqbuf *s) { seq_printf(s, "32768\t60999\n"); }
static void show_one(struct seqbuf *s) { seq_printf(s, "1\n"); }
static void show_buffer_max(struct seqbuf *s) { seq_printf(s, "212992\n"); }

void inet_proc_init(void)
{
    static const struct { const char *path; void (*show)(struct seqbuf *); } files[] = {
        { "/proc/net/dev", show_dev }, { "/proc/net/tcp", show_tcp }, { "/proc/net/tcp6", show_tcp6 }, { "/proc/net/udp", show_udp }, { "/proc/net/udp6", show_udp6 },
        { "/proc/net/raw", show_raw }, { "/proc/net/raw6", show_raw6 }, { "/proc/net/arp", show_arp },
        { "/proc/net/route", show_route }, { "/proc/net/if_inet6", show_if_inet6 },
        { "/proc/sys/net/core/somaxconn", show_somaxconn }, { "/proc/sys/net/ipv4/ip_local_port_range", show_port_range },
        { "/proc/sys/net/ipv4/tcp_timestamps", show_one }, { "/proc/sys/net/ipv4/tcp_sack", show_one },
        { "/proc/sys/net/ipv4/tcp_window_scaling", show_one },
        { "/proc/sys/net/core/rmem_max", show_buffer_max }, { "/proc/sys/net/core/wmem_max", show_buffer_max },
    };
    net_need();                               // the files are about its interfaces
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        proc_register(files[i].path, 0444, files[i].show, NULL);
    inet_mib_init();
}
