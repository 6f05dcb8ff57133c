// SPDX-License-Identifier: Apache-2.0
// What lwIP leaves to its port: ICMP errors reach the sockets that caused them, and a full accept queue drops connections early.
#include "lwip/icmp.h"
#include "lwip/inet_chksum.h"
#include "lwip/ip.h"
#include "lwip/prot/icmp.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/ip6.h"
#include "lwip/priv/tcp_priv.h"

#include "errno.h"
#include "icmp_report.h"
#include "lib.h"
#include "net_priv.h"
#include "recovery.h"

// An errno and whether it is a hard error.
struct verdict {
    u8 err;
    bool hard;
};

// RFC 1122, section 4.2.3.9, and Linux's table icmp_err_convert (net/ipv4/icmp.c), by the code of destination unreachable.
static const struct verdict unreachable4[] = {
    { ENETUNREACH, false }, { EHOSTUNREACH, false }, { ENOPROTOOPT, true }, { ECONNREFUSED, true }, { EMSGSIZE, false },
    { EOPNOTSUPP, false }, { ENETUNREACH, true }, { EHOSTDOWN, true }, { ENONET, true }, { ENETUNREACH, true },
    { EHOSTUNREACH, true }, { ENETUNREACH, false }, { EHOSTUNREACH, false }, { EHOSTUNREACH, true }, { EHOSTUNREACH, true },
    { EHOSTUNREACH, true },
};
// RFC 4443, section 3.1, and Linux's tab_unreach (net/ipv6/icmp.c).
static const struct verdict unreachable6[] = {
    { ENETUNREACH, false }, { EACCES, true }, { EHOSTUNREACH, false }, { EHOSTUNREACH, false }, { ECONNREFUSED, true },
    { EACCES, true }, { EACCES, true },
};

#define ICMP6_PP_ 4                           // parameter problem, of IPv6; ICMP's 4 is a source quench, which nobody heeds

static void judge(struct icmp_report *r, const struct verdict *table, u32 n, bool unreachable)
{
    static const struct verdict other = { EHOSTUNREACH, false }, problem = { EPROTO, true };
    const struct verdict *v = r->type == ICMP_PP || r->type == ICMP6_PP_ ? &problem : unreachable && r->code < n ? &table[r->code] : &other;
    r->err = v->err;
    r->hard = v->hard;
}

// The transport header of our packet, as far as ports go, and what follows a UDP header.
static void report(struct icmp_report *r, const u8 *transport, u32 len)
{
    r->local.port = (u16)(transport[0] << 8 | transport[1]);
    r->remote.port = (u16)(transport[2] << 8 | transport[3]);
    r->payload = transport + 8;
    r->len = len - 8;
    if (inet_icmp_error)
        inet_icmp_error(r);
}

// An ICMP error quotes the packet that we sent: its IP header and at least eight bytes more (RFC 792).
static void icmp4_error(const struct ip_hdr *outer, const u8 *icmp, u32 len)
{
    const struct ip_hdr *inner = (const struct ip_hdr *)(icmp + 8);
    if (len < 8 + 20 + 8 || IPH_V(inner) != 4)
        return;
    u32 hlen = IPH_HL_BYTES(inner);
    if (hlen < 20 || len < 8 + hlen + 8)
        return;
    struct icmp_report r = { .proto = IPH_PROTO(inner), .type = icmp[0], .code = icmp[1] };
    ip_addr_copy_from_ip4(r.local.ip, inner->src);
    ip_addr_copy_from_ip4(r.remote.ip, inner->dest);
    ip_addr_copy_from_ip4(r.offender, outer->src);
    judge(&r, unreachable4, ARRAY_SIZE(unreachable4), icmp[0] == ICMP_DUR);
    if (icmp[0] == ICMP_DUR && icmp[1] == 4)
        r.info = (u32)icmp[6] << 8 | icmp[7];
    report(&r, (const u8 *)inner + hlen, len - 8 - hlen);
}

int net_hook_ip4(struct pbuf *p, struct netif *n)
{
    const struct ip_hdr *ip = p->payload;
    if (likely(IPH_PROTO(ip) != IP_PROTO_ICMP) || p->len < 20)
        return 0;
    unsigned hlen = IPH_HL_BYTES(ip), total = lwip_ntohs(IPH_LEN(ip));
    if (hlen < 20 || total > p->len || total < hlen + 8 || (IPH_OFFSET(ip) & PP_HTONS(IP_OFFMASK | IP_MF)))
        return 0;
    const u8 *icmp = (const u8 *)ip + hlen;
    if (icmp[0] != ICMP_DUR && icmp[0] != ICMP_TE && icmp[0] != ICMP_PP)
        return 0;
    if (!(n->chksum_flags & NETIF_CHECKSUM_CHECK_ICMP) || inet_chksum(icmp, (u16)(total - hlen)) == 0)
        icmp4_error(ip, icmp, total - hlen);
    return 0;
}

#define ICMP6_DU 1
#define ICMP6_PTB 2
#define IP6_HLEN_ 40u

// Errors without extension headers before or within them.
int net_hook_ip6(struct pbuf *p, struct netif *n)
{
    const struct ip6_hdr *ip = p->payload, *inner;
    if (likely(p->len < IP6_HLEN_ || IP6H_NEXTH(ip) != IP6_NEXTH_ICMP6))
        return 0;
    const u8 *icmp = (const u8 *)(ip + 1);
    u32 len = IP6H_PLEN(ip);
    inner = (const struct ip6_hdr *)(icmp + 8);
    if (len < 8 + IP6_HLEN_ + 8 || len + IP6_HLEN_ > p->len || icmp[0] < ICMP6_DU || icmp[0] > ICMP6_PP_)
        return 0;
    struct icmp_report r = { .proto = (u8)IP6H_NEXTH(inner), .type = icmp[0], .code = icmp[1] };
    ip6_addr_t local, remote, offender;
    ip6_addr_copy_from_packed(local, inner->src);
    ip6_addr_copy_from_packed(remote, inner->dest);
    ip6_addr_copy_from_packed(offender, ip->src);
    if ((n->chksum_flags & NETIF_CHECKSUM_CHECK_ICMP6)) {
        ip6_addr_t dest;
        ip6_addr_copy_from_packed(dest, ip->dest);
        struct pbuf body = *p;
        body.payload = (void *)(uptr)icmp;
        body.len = body.tot_len = (u16)len;
        body.next = NULL;
        if (ip6_chksum_pseudo(&body, IP6_NEXTH_ICMP6, (u16)len, &offender, &dest))
            return 0;
    }
    ip_addr_copy_from_ip6(r.local.ip, local);
    ip_addr_copy_from_ip6(r.remote.ip, remote);
    ip_addr_copy_from_ip6(r.offender, offender);
    judge(&r, unreachable6, ARRAY_SIZE(unreachable6), icmp[0] == ICMP6_DU);
    if (icmp[0] == ICMP6_PTB) {
        r.err = EMSGSIZE;
        r.info = (u32)icmp[4] << 24 | (u32)icmp[5] << 16 | (u32)icmp[6] << 8 | icmp[7];
    }
    report(&r, (const u8 *)(inner + 1), len - 8 - IP6_HLEN_);
    return 0;
}

// The oldest half-open connection of a listener whose table of them is full makes room: a flood of SYNs ages out, a real client
// that answers in time gets through.
static void evict_half_open(struct tcp_pcb_listen *l)
{
    struct tcp_pcb *oldest = NULL;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next)
        if (pcb->state == SYN_RCVD && pcb->listener == l && (!oldest || (s32_t)(pcb->tmr - oldest->tmr) < 0))
            oldest = pcb;
    if (oldest)
        tcp_abandon(oldest, 0);
}

#define USUAL PP_HTONL(0x0101080au)           // two NOPs before the timestamps, nothing after them: RFC 7323, appendix A

// Nearly every segment of a connection: timestamps that are not old.
static bool usual(struct tcp_pcb *pcb, const struct tcp_hdr *hdr, u32 len, u32 len1, u32 data)
{
    const u32 *o = (const u32 *)(hdr + 1);
    if (len != 12 || len1 != 12 || o[0] != USUAL || !(pcb->flags & TF_TIMESTAMP) || (TCPH_FLAGS(hdr) & (TCP_RST | TCP_SYN | TCP_FIN)))
        return false;
    u32 value = lwip_ntohl(o[1]);
    if ((i32)(value - pcb->ts_recent) < 0)
        return false;
    pcb->net.echo = lwip_ntohl(o[2]);
    stamps_remember(pcb, value, hdr->seqno, data);
    return true;
}

static bool options(struct tcp_pcb *pcb, const struct tcp_hdr *hdr, u32 len, u32 len1, const u8 *rest, u32 data)
{
    u8 all[40];
    const u8 *first = (const u8 *)(hdr + 1);
    if (rest && len1 < len && len <= sizeof(all)) {       // they go on in a second buffer
        memcpy(all, first, len1);
        memcpy(all + len1, rest, len - len1);
        first = all;
    }
    pcb->net.echo = 0;
    if (!stamps_input(pcb, hdr, first, len, data))        // lwIP has brought the header's fields into host order
        return false;
    if (len && (TCPH_FLAGS(hdr) & TCP_ACK))
        recovery_input(pcb, first, len, hdr->ackno);
    return true;
}

void net_tcp_passive(struct tcp_pcb *pcb)
{
    if (inet_tcp_passive && pcb->callback_arg)
        inet_tcp_passive(pcb->callback_arg, pcb);
}

// `data`: bytes after the header.
int net_hook_tcp(struct tcp_pcb *pcb, const struct tcp_hdr *hdr, u32 len, u32 len1, const u8 *rest, u32 data)
{
    if (likely(pcb->state != LISTEN)) {
        if (!usual(pcb, hdr, len, len1, data) && !options(pcb, hdr, len, len1, rest, data))
            return ERR_VAL;
        if (unlikely(data && (pcb->ooseq || TCP_SEQ_LT(hdr->seqno, pcb->rcv_nxt))))
            sack_received(pcb, hdr->seqno, data);
        if ((TCPH_FLAGS(hdr) & TCP_URG) && hdr->urgp && pcb->state >= ESTABLISHED && pcb->state < TIME_WAIT && inet_tcp_urgent)
            inet_tcp_urgent(pcb->callback_arg, hdr->seqno + lwip_ntohs(hdr->urgp) - 1);
        return ERR_OK;
    }
    struct tcp_pcb_listen *l = (struct tcp_pcb_listen *)pcb;
    if (inet_syn_allowed && !inet_syn_allowed(l->callback_arg)) {
        net_tcp_counts.overflows++;
        return ERR_MEM;
    }
    if (l->accepts_pending >= l->backlog)
        evict_half_open(l);
    return ERR_OK;
}
