// SPDX-License-Identifier: Apache-2.0
// What lwIP leaves to its port: ICMP errors reach the sockets that caused them, and a full accept queue drops connections early.
#include "lwip/icmp.h"
#include "lwip/inet_chksum.h"
#include "lwip/ip.h"
#include "lwip/prot/icmp.h"
#include "lwip/prot/ip4.h"
#include "lwip/priv/tcp_priv.h"

#include "errno.h"
#include "lib.h"
#include "net_priv.h"
#include "recovery.h"

// RFC 1122, section 4.2.3.9, and Linux's table icmp_err_convert (net/ipv4/icmp.c): the errno of a destination-unreachable code.
static int unreachable_errno(u8 code)
{
    static const u8 table[] = { ENETUNREACH, EHOSTUNREACH, ENOPROTOOPT, ECONNREFUSED, EMSGSIZE, EOPNOTSUPP, ENETUNREACH,
                                EHOSTDOWN, ENONET, ENETUNREACH, EHOSTUNREACH, ENETUNREACH, EHOSTUNREACH, EHOSTUNREACH,
                                EHOSTUNREACH, EHOSTUNREACH };
    return code < sizeof(table) ? table[code] : EHOSTUNREACH;
}

// An ICMP error quotes the packet that we sent: its IP header and at least eight bytes more (RFC 792).
static void icmp_error(const u8 *icmp, unsigned len)
{
    const struct ip_hdr *inner = (const struct ip_hdr *)(icmp + 8);
    if (len < 8 + 20 + 8 || IPH_V(inner) != 4)
        return;
    unsigned hlen = IPH_HL_BYTES(inner);
    if (hlen < 20 || len < 8 + hlen + 8)
        return;
    const u8 *ports = (const u8 *)inner + hlen;
    ip_addr_t local, remote;
    ip_addr_copy_from_ip4(local, inner->src);
    ip_addr_copy_from_ip4(remote, inner->dest);
    int err = icmp[0] == ICMP_DUR ? unreachable_errno(icmp[1]) : EHOSTUNREACH;
    if (inet_icmp_error)
        inet_icmp_error(IPH_PROTO(inner), &local, (u16)(ports[0] << 8 | ports[1]), &remote, (u16)(ports[2] << 8 | ports[3]), err);
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
    if (icmp[0] != ICMP_DUR && icmp[0] != ICMP_TE)
        return 0;
    if (!(n->chksum_flags & NETIF_CHECKSUM_CHECK_ICMP) || inet_chksum(icmp, (u16)(total - hlen)) == 0)
        icmp_error(icmp, total - hlen);
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

static void options(struct tcp_pcb *pcb, const struct tcp_hdr *hdr, u32 len, u32 len1, const u8 *rest)
{
    u8 all[40];
    const u8 *first = (const u8 *)(hdr + 1);
    if (rest && len1 < len && len <= sizeof(all)) {       // they go on in a second buffer
        memcpy(all, first, len1);
        memcpy(all + len1, rest, len - len1);
        first = all;
    }
    recovery_input(pcb, first, len, hdr->ackno);          // lwIP has brought the header's fields into host order
}

int net_hook_tcp(struct tcp_pcb *pcb, const struct tcp_hdr *hdr, u32 len, u32 len1, const u8 *rest)
{
    if (likely(pcb->state != LISTEN)) {
        if (len && (TCPH_FLAGS(hdr) & TCP_ACK))
            options(pcb, hdr, len, len1, rest);
        return ERR_OK;
    }
    struct tcp_pcb_listen *l = (struct tcp_pcb_listen *)pcb;
    if (inet_syn_allowed && !inet_syn_allowed(l->callback_arg))
        return ERR_MEM;
    if (l->accepts_pending >= l->backlog)
        evict_half_open(l);
    return ERR_OK;
}
