// SPDX-License-Identifier: Apache-2.0
// TCP timestamps (RFC 7323) as Linux has them with net.ipv4.tcp_timestamps=1: in SYNs and, where both sides want them, in every segment
// after that. They tell old duplicates from what is new (PAWS) and measure round trips of what was sent again. lwIP fills them in.
#include "lwip/priv/tcp_priv.h"

#include "arch.h"
#include "lib.h"
#include "recovery.h"
#include "time.h"

enum { OPT_END = 0, OPT_NOP = 1, OPT_STAMPS = 8, OPT_STAMPS_LEN = 10 };
#define REORDERED 1u                          // Linux's TCP_PAWS_WINDOW: one step back is what a busy sender's clock may do
#define VALID_TICKS (24u * 86400 * 1000 / TCP_SLOW_INTERVAL)      // section 5.5: nothing was heard for 24 days
#define MEASURE_MOST_US 120000000u

u32 net_tcp_stamp;

static u32 load_be32(const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }

const u8 *tcp_option(const u8 *o, u32 len, u8 kind)
{
    for (u32 at = 0; at < len && o[at] != OPT_END;) {
        if (o[at] == OPT_NOP) {
            at++;
            continue;
        }
        if (at + 2 > len || o[at + 1] < 2 || at + o[at + 1] > len)
            return NULL;
        if (o[at] == kind)
            return o + at;
        at += o[at + 1];
    }
    return NULL;
}

// RFC 6528: a keyed hash of the connection's addresses plus a clock of 4 microseconds. The timestamps' clock begins elsewhere for each
// peer, too, or it would tell how long the machine runs (RFC 7323, section 7.1); for all connections with one peer it is the same.
u32 net_tcp_start(struct tcp_pcb *pcb)
{
    static u32 key[4];
    if (!key[0])
        random_bytes(key, sizeof(key));
    u32 h = hash32(&pcb->local_ip, sizeof(ip_addr_t), key[0] | 1);
    h = hash32(&pcb->remote_ip, sizeof(ip_addr_t), h ^ key[1]);
    pcb->net.stamp_offset = h ^ key[2];
    u32 ports[3] = { (u32)pcb->local_port << 16 | pcb->remote_port, key[2], key[3] };
    return hash32(ports, sizeof(ports), h) + (u32)(clock_mono_ns() / 4096);
}

// Both sides sent them with their SYNs: each segment has room for so much less.
void net_tcp_agreed(struct tcp_pcb *pcb)
{
    pcb->mss = (u16_t)(pcb->mss - stamps_len(pcb));
}

// Of each segment with options but those of listeners. False: it is an old duplicate (section 5.3, R1), and acknowledged if it must be.
bool stamps_input(struct tcp_pcb *pcb, const struct tcp_hdr *h, const u8 *options, u32 len, u32 data)
{
    if (!(pcb->flags & TF_TIMESTAMP) || (TCPH_FLAGS(h) & TCP_RST))
        return true;
    const u8 *o = tcp_option(options, len, OPT_STAMPS);
    if (!o || o[1] != OPT_STAMPS_LEN)
        return true;                          // as Linux: the RFC would have it dropped
    u32 value = load_be32(o + 2);
    if ((i32)(value - pcb->ts_recent) < -(i32)REORDERED && pcb->ts_recent && tcp_ticks - pcb->tmr < VALID_TICKS) {
        net_tcp_counts.paws++;
        tcp_send_empty_ack(pcb);
        return false;
    }
    pcb->net.echo = load_be32(o + 6);
    stamps_remember(pcb, value, h->seqno, data + ((TCPH_FLAGS(h) & (TCP_SYN | TCP_FIN)) != 0));
    return true;
}

// A round trip of what was sent again, where only the echo tells which of the two was answered (section 4.1; Karn's rule has no need
// to hold it back). It is as coarse as their clock.
void stamps_measure(struct tcp_pcb *pcb)
{
    u32 echo = pcb->net.echo;
    if (!echo)
        return;
    net_tcp_clock();
    u64 us = ((u64)(net_tcp_stamp + pcb->net.stamp_offset - echo) << NET_STAMP_SHIFT) / 1000;
    if (us < MEASURE_MOST_US)
        net_tcp_sample(pcb, (u32)MAX(us, 1000ull));
}
