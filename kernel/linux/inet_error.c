// SPDX-License-Identifier: Apache-2.0
// ICMP errors on their way to the sockets that caused them (ip(7), udp(7), RFC 1122, RFC 5461).
#include "inet.h"

#include "lwip/priv/tcp_priv.h"
#include "lwip/udp.h"

#include "errno.h"
#include "lib.h"

#include "../net/net_priv.h"
#include "../net/recovery.h"

#define LEAST_MTU4 552u                       // net.ipv4.route.min_pmtu
#define LEAST_MTU6 1280u                      // RFC 8200, section 5

// Of what is in the network now, or anybody could say so (RFC 5927, section 4.1).
static bool is_out(const struct tcp_pcb *pcb, const struct icmp_report *r)
{
    const u8 *quoted = r->payload - 4;        // the sequence number follows the ports
    u32 seq = (u32)quoted[0] << 24 | (u32)quoted[1] << 16 | (u32)quoted[2] << 8 | quoted[3];
    return TCP_SEQ_BETWEEN(seq, pcb->lastack, pcb->snd_nxt);
}

// A router says what the path takes (RFC 1191, RFC 8201).
static void path_mtu(struct tcp_sock *t, const struct icmp_report *r)
{
    struct tcp_pcb *pcb = t->pcb;
    bool v4 = IP_IS_V4_VAL(pcb->remote_ip);
    u32 mtu = MAX(r->info, v4 ? LEAST_MTU4 : LEAST_MTU6);
    if (!r->info)
        return;
    recovery_shorten(pcb, mtu - (v4 ? 40 : 60) - stamps_len(pcb));
    t->real_mss = (u16)tcp_wire_mss(pcb);
}

static void tcp_error(const struct icmp_report *r)
{
    for (struct list *n = tcp_socks.next; n != &tcp_socks; n = n->next) {
        struct tcp_sock *t = list_entry(n, struct tcp_sock, all_node);
        if (!t->pcb || t->phase == TCP_LISTENING || t->pcb->local_port != r->local.port || t->remote.port != r->remote.port ||
            !ip_addr_cmp(&t->remote.ip, &r->remote.ip))
            continue;
        if (!is_out(t->pcb, r))
            return;
        if (r->err == EMSGSIZE) {
            path_mtu(t, r);
            return;
        }
        // RFC 5461: an error ends only a connection that is still being made; it is why the others end, if time runs out.
        if (t->phase == TCP_CONNECTING) {
            struct tcp_pcb *pcb = t->pcb;
            tcp_sock_detach(t);
            tcp_abandon(pcb, 0);
            t->phase = TCP_DEAD;
            if (t->s)
                t->s->error = r->err;
            tcp_sock_wake(t, POLL_IN | POLL_OUT | POLL_ERR | POLL_HUP);
        } else if (t->s && t->opt.recverr) {  // ip(7), IP_RECVERR: told at once
            t->s->error = r->err;
            tcp_sock_wake(t, POLL_IN | POLL_OUT | POLL_ERR);
        } else if (t->s) {
            t->s->soft_error = r->err;
        }
        return;
    }
}

static bool sent_it(const struct udp_sock *u, const struct icmp_report *r)
{
    if (!u->pcb || u->pcb->local_port != r->local.port || u->s->protocol != r->proto)
        return false;
    if (u->connected)
        return u->remote.port == r->remote.port && ip_addr_cmp(&u->remote.ip, &r->remote.ip);
    return ip_addr_isany(&u->local.ip) || ip_addr_cmp(&u->local.ip, &r->local.ip);
}

void inet_icmp_error(const struct icmp_report *r)
{
    if (r->proto == 6) {
        tcp_error(r);
        return;
    }
    for (struct list *n = udp_socks.next; n != &udp_socks; n = n->next) {
        struct udp_sock *u = list_entry(n, struct udp_sock, all_node);
        if (!sent_it(u, r))
            continue;
        // udp(7): only a connected socket hears of it, and of hard errors only, unless IP_RECVERR asks for all.
        if (u->opt.recverr)
            dgram_queue_error(u, r);
        else if (!u->connected || !r->hard)
            continue;
        u->s->error = r->err;
        waitq_wake(&u->s->wq, POLL_ERR | POLL_IN | POLL_OUT);
    }
}
