// SPDX-License-Identifier: Apache-2.0
// What is lost, by time: a segment is when something sent later has arrived and it is later than that by more than the network
// reorders (RACK: RFC 8985, section 6.2). How late that is we learn from those that come late after all.
#include "lib.h"
#include "recovery.h"

#define DUPTHRESH 3u
#define OVERTAKEN_MAX 200u
#define REO_MAX_US 100000u

static u32 most_us(const struct net_tcp *r) { return MIN(r->srtt + 4 * r->rttvar, REO_MAX_US); }

// Section 6.2, step 4: no patience while a recovery goes on anyway, or after three segments, unless the network is known to reorder.
static u32 patience(const struct tcp_pcb *pcb)
{
    const struct net_tcp *r = &pcb->net;
    if (r->reo_us)
        return MIN(r->reo_us, most_us(r));
    bool enough = r->nr_sacked >= DUPTHRESH || r->sacked > (DUPTHRESH - 1) * tcp_wire_mss(pcb);
    return (pcb->flags & TF_INFR) || enough ? 0 : r->min_rtt / 4;
}

// It came late, but was not lost: others overtook it.
static void late(struct tcp_pcb *pcb, const struct tcp_seg *s, u32 now)
{
    struct net_tcp *r = &pcb->net;
    u32 age = now - s->sent_us, by = age > r->rack_rtt ? age - r->rack_rtt : 0;
    u32 overtakers = MAX((r->high_sacked - seg_seq(s)) / tcp_wire_mss(pcb), DUPTHRESH);
    r->reo_us = MAX(r->reo_us, MIN(MAX(by + by / 4, r->min_rtt / 4 + 1), REO_MAX_US));
    r->dupthresh = (u8)MAX(r->dupthresh, MIN(overtakers, OVERTAKEN_MAX));
}

void rack_delivered(struct tcp_pcb *pcb, const struct tcp_seg *s, u32 now)
{
    struct net_tcp *r = &pcb->net;
    u32 rtt = now - s->sent_us, end = seg_seq(s) + seg_len(s);
    if (!(s->flags & NET_SEG_AGAIN) && r->sacked && TCP_SEQ_LT(end, r->high_sacked))
        late(pcb, s, now);
    if ((s->flags & NET_SEG_AGAIN) && rtt < r->min_rtt) {     // what arrived is the first of them, and more patience would have done
        r->reo_us = MIN(MAX(r->reo_us, patience(pcb) + rtt + rtt / 4), REO_MAX_US);
        return;
    }
    if (s->flags & NET_SEG_LOST)
        return;
    i32 after = r->rack_us ? (i32)(s->sent_us - r->rack_us) : 1;
    if (after > 0 || (after == 0 && TCP_SEQ_GT(end, r->rack_end))) {
        r->rack_us = s->sent_us;
        r->rack_end = end;
        r->rack_rtt = rtt;
    }
}

void rack_detect(struct tcp_pcb *pcb, u32 now)
{
    struct net_tcp *r = &pcb->net;
    u32 wait = patience(pcb), soonest = ~0u;
    r->reo_due = 0;
    if (!r->rack_us)
        return;
    for (struct tcp_seg *s = pcb->unacked; s; s = s->next) {
        i32 after = (i32)(s->sent_us - r->rack_us);
        if ((s->flags & (NET_SEG_SACKED | NET_SEG_LOST)) || after > 0 ||
            (after == 0 && TCP_SEQ_GEQ(seg_seq(s) + seg_len(s), r->rack_end)))
            continue;
        u32 age = now - s->sent_us, limit = r->rack_rtt + wait;
        if (age >= limit) {
            s->flags |= NET_SEG_LOST;
            r->lost += seg_len(s);
        } else {
            soonest = MIN(soonest, limit - age);
        }
    }
    if (soonest != ~0u) {
        r->reo_due = (now + soonest) | 1;
        tcptime_soon(soonest);
    }
}

void rack_needless(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    r->reo_us = MIN(MAX(2 * r->reo_us, r->min_rtt / 4 + 1), REO_MAX_US);
}

// Networks change: what was learnt fades while nothing is sent needlessly.
void rack_repaired(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    r->reo_us -= r->reo_us / 8;
    if (r->reo_us < r->min_rtt / 4)
        r->reo_us = 0;
}
