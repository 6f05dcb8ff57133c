// SPDX-License-Identifier: Apache-2.0
// /proc/net/{snmp,netstat,snmp6,sockstat,sockstat6,igmp,igmp6,dev_mcast,ipv6_route} (proc(5), RFC 4293, RFC 4022, RFC 4113): what
// netstat -s, nstat, ss -s and the exporters of monitoring read, as Linux's net/ipv4/proc.c and net/ipv6/proc.c write it. Of TcpExt there
// is what this kernel counts.
#include "inet.h"

#include "lwip/igmp.h"
#include "lwip/mld6.h"
#include "lwip/priv/nd6_priv.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/stats.h"

#include "fs.h"
#include "lib.h"

#include "../net/net_priv.h"

u32 inet_udp_drops;

// What is not counted where it happens, but worked out when somebody looks.
static struct {
    u32 zero, one, ttl, forwarding, rto_min, rto_max, no_limit;
    u32 established, segments_out, received, udp_errors, delivered6;
} now = { .one = 1, .ttl = 64, .forwarding = 2, .rto_min = 200, .rto_max = 120000, .no_limit = ~0u };

#define MIB lwip_stats.mib2
#define NOTHING(name) { name, &now.zero }

struct field {
    const char *name;
    const u32 *value;
};

static const struct field ip[] = {
    { "Forwarding", &now.forwarding }, { "DefaultTTL", &now.ttl }, { "InReceives", &MIB.ipinreceives }, { "InHdrErrors", &MIB.ipinhdrerrors },
    { "InAddrErrors", &MIB.ipinaddrerrors }, NOTHING("ForwDatagrams"), { "InUnknownProtos", &MIB.ipinunknownprotos },
    { "InDiscards", &MIB.ipindiscards }, { "InDelivers", &MIB.ipindelivers }, { "OutRequests", &MIB.ipoutrequests },
    { "OutDiscards", &MIB.ipoutdiscards }, { "OutNoRoutes", &MIB.ipoutnoroutes }, NOTHING("ReasmTimeout"), { "ReasmReqds", &MIB.ipreasmreqds },
    { "ReasmOKs", &MIB.ipreasmoks }, { "ReasmFails", &MIB.ipreasmfails }, { "FragOKs", &MIB.ipfragoks }, { "FragFails", &MIB.ipfragfails },
    { "FragCreates", &MIB.ipfragcreates },
};
static const struct field icmp[] = {
    { "InMsgs", &MIB.icmpinmsgs }, { "InErrors", &MIB.icmpinerrors }, NOTHING("InCsumErrors"), { "InDestUnreachs", &MIB.icmpindestunreachs },
    { "InTimeExcds", &MIB.icmpintimeexcds }, { "InParmProbs", &MIB.icmpinparmprobs }, { "InSrcQuenchs", &MIB.icmpinsrcquenchs },
    { "InRedirects", &MIB.icmpinredirects }, { "InEchos", &MIB.icmpinechos }, { "InEchoReps", &MIB.icmpinechoreps },
    { "InTimestamps", &MIB.icmpintimestamps }, { "InTimestampReps", &MIB.icmpintimestampreps }, { "InAddrMasks", &MIB.icmpinaddrmasks },
    { "InAddrMaskReps", &MIB.icmpinaddrmaskreps }, { "OutMsgs", &MIB.icmpoutmsgs }, { "OutErrors", &MIB.icmpouterrors },
    { "OutDestUnreachs", &MIB.icmpoutdestunreachs }, { "OutTimeExcds", &MIB.icmpouttimeexcds }, NOTHING("OutParmProbs"), NOTHING("OutSrcQuenchs"),
    NOTHING("OutRedirects"), { "OutEchos", &MIB.icmpoutechos }, { "OutEchoReps", &MIB.icmpoutechoreps }, NOTHING("OutTimestamps"),
    NOTHING("OutTimestampReps"), NOTHING("OutAddrMasks"), NOTHING("OutAddrMaskReps"),
};
static const struct field tcp[] = {
    { "RtoAlgorithm", &now.one }, { "RtoMin", &now.rto_min }, { "RtoMax", &now.rto_max }, { "MaxConn", &now.no_limit },
    { "ActiveOpens", &MIB.tcpactiveopens }, { "PassiveOpens", &MIB.tcppassiveopens }, { "AttemptFails", &MIB.tcpattemptfails },
    { "EstabResets", &MIB.tcpestabresets }, { "CurrEstab", &now.established }, { "InSegs", &MIB.tcpinsegs }, { "OutSegs", &now.segments_out },
    { "RetransSegs", &net_tcp_counts.again }, { "InErrs", &MIB.tcpinerrs }, { "OutRsts", &MIB.tcpoutrsts }, { "InCsumErrors", &lwip_stats.tcp.chkerr },
};
static const struct field udp[] = {
    { "InDatagrams", &now.received }, { "NoPorts", &MIB.udpnoports }, { "InErrors", &now.udp_errors }, { "OutDatagrams", &MIB.udpoutdatagrams },
    { "RcvbufErrors", &inet_udp_drops }, NOTHING("SndbufErrors"), NOTHING("InCsumErrors"), NOTHING("IgnoredMulti"), NOTHING("MemErrors"),
};
static const struct field tcp_ext[] = {
    NOTHING("SyncookiesSent"), NOTHING("SyncookiesRecv"), NOTHING("SyncookiesFailed"), { "PAWSEstab", &net_tcp_counts.paws },
    { "ListenOverflows", &net_tcp_counts.overflows }, { "ListenDrops", &net_tcp_counts.overflows }, { "TCPSackRecovery", &net_tcp_counts.recoveries },
    { "TCPDSACKUndo", &net_tcp_counts.undone }, { "TCPTimeouts", &net_tcp_counts.timeouts }, { "TCPLossProbes", &net_tcp_counts.probes },
    { "TCPRcvQDrop", &now.zero }, { "TCPOFOQueue", &net_tcp_counts.early }, { "TCPSynRetrans", &net_tcp_counts.syns_again },
};
static const struct field six[] = {
    { "Ip6InReceives", &lwip_stats.ip6.recv }, { "Ip6InHdrErrors", &lwip_stats.ip6.lenerr }, { "Ip6InUnknownProtos", &lwip_stats.ip6.proterr },
    { "Ip6InDiscards", &lwip_stats.ip6.drop }, { "Ip6InDelivers", &now.delivered6 }, { "Ip6OutRequests", &lwip_stats.ip6.xmit },
    { "Ip6OutNoRoutes", &lwip_stats.ip6.rterr }, { "Icmp6InMsgs", &lwip_stats.icmp6.recv }, { "Icmp6InErrors", &lwip_stats.icmp6.chkerr },
    { "Icmp6OutMsgs", &lwip_stats.icmp6.xmit },
};

static void collect(void)
{
    now.established = 0;
    for (const struct tcp_pcb *p = tcp_active_pcbs; p; p = p->next)
        now.established += p->state == ESTABLISHED || p->state == CLOSE_WAIT;
    now.segments_out = lwip_stats.tcp.xmit - net_tcp_counts.again;
    now.received = MIB.udpindatagrams - inet_udp_drops;
    now.udp_errors = MIB.udpinerrors + inet_udp_drops;
    now.delivered6 = lwip_stats.ip6.recv - MIN(lwip_stats.ip6.recv, lwip_stats.ip6.drop);
}

// A line of names, a line of numbers.
static void put_pair(struct seqbuf *s, const char *head, const struct field *f, size_t n, bool counted)
{
    seq_printf(s, "%s:", head);
    for (size_t i = 0; i < n; i++)
        seq_printf(s, " %s", f[i].name);
    seq_printf(s, "\n%s:", head);
    for (size_t i = 0; i < n; i++)
        seq_printf(s, f[i].value == &now.no_limit ? " %d" : " %u", counted ? *f[i].value : 0);
    seq_printf(s, "\n");
}

static void show_snmp(struct seqbuf *s)
{
    collect();
    put_pair(s, "Ip", ip, ARRAY_SIZE(ip), true);
    put_pair(s, "Icmp", icmp, ARRAY_SIZE(icmp), true);
    put_pair(s, "Tcp", tcp, ARRAY_SIZE(tcp), true);
    put_pair(s, "Udp", udp, ARRAY_SIZE(udp), true);
    put_pair(s, "UdpLite", udp, ARRAY_SIZE(udp), false);  // is counted there, too
}

static void show_netstat(struct seqbuf *s)
{
    u64 in = 0, out = 0;
    put_pair(s, "TcpExt", tcp_ext, ARRAY_SIZE(tcp_ext), true);
    for (struct netif *n = netif_list; n; n = n->next) {
        const struct netdev *d = netdev_of(n);
        in += n->mib2_counters.ifinoctets + (d ? d->rx_bytes - 14 * d->rx_packets : 0);      // Ethernet's header is not IP's
        out += n->mib2_counters.ifoutoctets + (d ? d->tx_bytes - 14 * d->tx_packets : 0);
    }
    seq_printf(s, "IpExt: InOctets OutOctets\nIpExt: %lu %lu\n", in, out);
}

static void show_snmp6(struct seqbuf *s)
{
    collect();
    for (size_t i = 0; i < ARRAY_SIZE(six); i++)
        seq_printf(s, "%-32s\t%u\n", six[i].name, *six[i].value);
}

// --- Sockets ------------------------------------------------------------------------------------------------------------------

static u32 length(const struct tcp_pcb *p)
{
    u32 n = 0;
    for (; p; p = p->next)
        n++;
    return n;
}

static void count_sockets(bool v6, u32 *tcp_used, u32 *udp_used, u32 *raw_used)
{
    for (struct list *n = tcp_socks.next; n != &tcp_socks; n = n->next) {
        const struct tcp_sock *t = list_entry(n, struct tcp_sock, all_node);
        *tcp_used += t->s && (t->s->domain == K_AF_INET6) == v6 && (t->pcb || t->phase == TCP_LISTENING);
    }
    for (struct list *n = udp_socks.next; n != &udp_socks; n = n->next) {
        const struct udp_sock *u = list_entry(n, struct udp_sock, all_node);
        if ((u->s->domain == K_AF_INET6) != v6)
            continue;
        *udp_used += u->pcb && u->local.port;
        *raw_used += u->raw != NULL;
    }
}

static void show_sockstat(struct seqbuf *s)
{
    u32 t = 0, u = 0, r = 0;
    count_sockets(false, &t, &u, &r);
    seq_printf(s, "sockets: used %lu\nTCP: inuse %u orphan 0 tw %u alloc %u mem 0\nUDP: inuse %u mem 0\nUDPLITE: inuse 0\nRAW: inuse %u\n"
               "FRAG: inuse 0 memory 0\n", socket_count(), t, length(tcp_tw_pcbs), length(tcp_active_pcbs) + length((void *)tcp_listen_pcbs.pcbs), u, r);
}

static void show_sockstat6(struct seqbuf *s)
{
    u32 t = 0, u = 0, r = 0;
    count_sockets(true, &t, &u, &r);
    seq_printf(s, "TCP6: inuse %u\nUDP6: inuse %u\nUDPLITE6: inuse 0\nRAW6: inuse %u\nFRAG6: inuse 0 memory 0\n", t, u, r);
}

// --- Groups and routes ----------------------------------------------------------------------------------------------------------

#define ALL_SYSTEMS PP_HTONL(0xe0000001u)     // 224.0.0.1, which every interface is in; loopback's comes before lwIP knows the number

static bool joined(const struct igmp_group *g) { return g->group_address.addr && g->group_address.addr != ALL_SYSTEMS; }

static void put_igmp(struct seqbuf *s, u32 group)
{
    seq_printf(s, "\t\t\t\t%08X %5d 0:00000000\t\t0\n", group, 1);
}

static void show_igmp(struct seqbuf *s)
{
    seq_printf(s, "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n");
    u32 i = 0;
    for (struct netif *n; (n = inet_next_netif(&i));) {
        char name[16];
        u32 count = 1;
        if (!netif_is_up(n))
            continue;
        for (const struct igmp_group *g = netif_igmp_data(n); g; g = g->next)
            count += joined(g);
        inet_ifname(n, name);
        seq_printf(s, "%u\t%-10s: %5u %7s\n", i, name, count, "V3");
        for (const struct igmp_group *g = netif_igmp_data(n); g; g = g->next)
            if (joined(g))
                put_igmp(s, g->group_address.addr);
        put_igmp(s, ALL_SYSTEMS);
    }
}

static void put_hex(struct seqbuf *s, const u32 *words)
{
    for (int i = 0; i < 4; i++)
        seq_printf(s, "%08x", lwip_ntohl(words[i]));
}

static void put_igmp6(struct seqbuf *s, u32 i, const char *name, const u32 *group, u32 flags)
{
    seq_printf(s, "%-4u %-15s ", i, name);
    put_hex(s, group);
    seq_printf(s, " %5d %08X %d\n", 1, flags, 0);
}

// The groups of all nodes (RFC 4291, section 2.7.1) are not in lwIP's list.
static void show_igmp6(struct seqbuf *s)
{
    static const u32 of_link[4] = { PP_HTONL(0xff020000u), 0, 0, PP_HTONL(1u) }, of_interface[4] = { PP_HTONL(0xff010000u), 0, 0, PP_HTONL(1u) };
    u32 i = 0;
    for (struct netif *n; (n = inet_next_netif(&i));) {
        char name[16];
        if (!netif_is_up(n))
            continue;
        inet_ifname(n, name);
        for (const struct mld_group *g = netdev_of(n) ? netif_mld6_data(n) : NULL; g; g = g->next)
            put_igmp6(s, i, name, g->group_address.addr, 4);
        put_igmp6(s, i, name, of_link, 12);
        put_igmp6(s, i, name, of_interface, 8);
    }
}

static void put_mac(struct seqbuf *s, u32 i, const char *name, u32 high, u32 low)
{
    seq_printf(s, "%-4u %-15s %-5d %-5d %04x%08x\n", i, name, 1, 0, high, low);
}

// The Ethernet addresses that groups have: RFC 1112, section 6.4, RFC 2464, section 7.
static void show_dev_mcast(struct seqbuf *s)
{
    u32 i = 0;
    for (struct netif *n; (n = inet_next_netif(&i));) {
        char name[16];
        if (!netdev_of(n))
            continue;
        inet_ifname(n, name);
        put_mac(s, i, name, 0x3333, 1);
        put_mac(s, i, name, 0x0100, 0x5e000001);
        for (const struct igmp_group *g = netif_igmp_data(n); g; g = g->next)
            if (joined(g))
                put_mac(s, i, name, 0x0100, 0x5e000000 | (lwip_ntohl(g->group_address.addr) & 0x7fffff));
        for (const struct mld_group *g = netif_mld6_data(n); g; g = g->next)
            put_mac(s, i, name, 0x3333, lwip_ntohl(g->group_address.addr[3]));
    }
}

static void put_route6(struct seqbuf *s, struct netif *n, const u32 *dst, u32 prefix, const u32 *hop, u32 metric, u32 flags)
{
    static const u32 any[4];
    char name[16];
    inet_ifname(n, name);
    put_hex(s, dst ? dst : any);
    seq_printf(s, " %02x ", prefix);
    put_hex(s, any);
    seq_printf(s, " 00 ");
    put_hex(s, hop ? hop : any);
    seq_printf(s, " %08x %08x %08x %08x %8s\n", metric, 1, 0, flags, name);
}

enum { UP = 1, GATEWAY = 2, REJECT = 0x200, NO_HOP = 0x200000 };
#define LOCAL 0x80000000u                     // RTF_*: linux/route.h, linux/ipv6_route.h

static void show_ipv6_route(struct seqbuf *s)
{
    static const u32 multicast[4] = { PP_HTONL(0xff000000u) };
    for (struct netif *n = netif_list; n; n = n->next) {
        bool real = netdev_of(n) != NULL;
        const ip6_addr_t *gw = real ? inet_gateway6(n) : NULL;
        for (int i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++) {
            const u32 *a = netif_ip6_addr(n, i)->addr, net[4] = { a[0], a[1], 0, 0 };
            if (inet_ip6_flags(n, i) == ~0u)
                continue;
            if (real)
                put_route6(s, n, net, 64, NULL, 256, UP);
            put_route6(s, n, a, 128, NULL, 0, LOCAL | NO_HOP | UP);
        }
        if (gw)
            put_route6(s, n, NULL, 0, gw->addr, 1024, UP | GATEWAY);
        if (real)
            put_route6(s, n, multicast, 8, NULL, 256, UP);
    }
    for (int table = 0; table < 2; table++)
        put_route6(s, inet_netif(1), NULL, 0, NULL, ~0u, REJECT | NO_HOP);
}

void inet_mib_init(void)
{
    static const struct { const char *path; void (*show)(struct seqbuf *); } files[] = {
        { "/proc/net/snmp", show_snmp }, { "/proc/net/netstat", show_netstat }, { "/proc/net/snmp6", show_snmp6 },
        { "/proc/net/sockstat", show_sockstat }, { "/proc/net/sockstat6", show_sockstat6 }, { "/proc/net/igmp", show_igmp },
        { "/proc/net/igmp6", show_igmp6 }, { "/proc/net/dev_mcast", show_dev_mcast }, { "/proc/net/ipv6_route", show_ipv6_route },
    };
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        proc_register(files[i].path, 0444, files[i].show, NULL);
}
