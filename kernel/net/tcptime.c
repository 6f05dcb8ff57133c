// SPDX-License-Identifier: Apache-2.0
// TCP's sense of time: round trips and time-outs (RFC 6298), and the timer of what is in the network: time-outs, probes for lost
// tails (RFC 8985, section 7.2) and segments that become lost by their age. lwIP's own clock of 100 ms is left to connections that
// come and go, and to giving up.
#include "lib.h"
#include "net.h"
#include "net_priv.h"
#include "recovery.h"
#include "time.h"

#define RTO_MIN_US 200000u          // as Linux's TCP_RTO_MIN; RFC 6298 would have a second
#define RTO_MAX_TICKS 1200u         // two minutes
#define TICK_US (TCP_SLOW_INTERVAL * 1000u)
#define PROBE_MORE_US 5000u         // beyond two round trips
#define PROBE_ONE_US 60000u         // the same when a single segment is out, whose acknowledgment may be delayed
#define PROBES 2u
#define MIN_RTT_AGE_US 300000000u
#define AGAIN_US 10000u             // a time-out that cannot be served now

static struct list in_flight = LIST_INIT(in_flight);
static struct timer timer;
static u32 timer_due;               // when it is armed: when, in microseconds of net_tcp_clock()

u32 tcp_wire_mss(const struct tcp_pcb *pcb)
{
    return MAX(pcb->net.wire_mss ? pcb->net.wire_mss : pcb->mss, 1u);
}

// It wraps every 71 minutes, first 20 seconds after boot: as Linux's INITIAL_JIFFIES, so that every longer run meets it.
u32 net_tcp_clock(void)
{
    u64 ns = clock_mono_ns();
    net_tcp_stamp = (u32)(ns >> NET_STAMP_SHIFT);
    return (u32)(ns / 1000 - 20000000) | 1;
}

void net_tcp_sample(struct tcp_pcb *pcb, u32 us)
{
    struct net_tcp *r = &pcb->net;
    u32 now = r->sent_us + us;
    us = MAX(us, 1u);
    if (!r->srtt) {
        r->srtt = us;
        r->rttvar = us / 2;
    } else {
        u32 off = us > r->srtt ? us - r->srtt : r->srtt - us;
        r->rttvar = r->rttvar - r->rttvar / 4 + off / 4;
        r->srtt = MAX(r->srtt - r->srtt / 8 + us / 8, 1u);
    }
    if (!r->min_rtt || us <= r->min_rtt || now - r->min_at > MIN_RTT_AGE_US) {
        r->min_rtt = us;
        r->min_at = now;
    }
    pcb->rto = (s16_t)net_tcp_rto(pcb);
}

u32 tcptime_rto(const struct tcp_pcb *pcb)
{
    const struct net_tcp *r = &pcb->net;
    return r->srtt ? MIN(r->srtt + MAX(4 * r->rttvar, RTO_MIN_US), RTO_MAX_TICKS * TICK_US) : LWIP_TCP_RTO_TIME * 1000u;
}

// In lwIP's ticks, so rounded up: by then our own timer has gone off.
int net_tcp_rto(struct tcp_pcb *pcb) { return (int)MIN(tcptime_rto(pcb) / TICK_US + 1, RTO_MAX_TICKS); }

int net_tcp_backoff(struct tcp_pcb *pcb)
{
    u32 base = (u32)net_tcp_rto(pcb), shift = MIN((u32)pcb->nrtx + 1, 12u);
    return (int)MIN(base << shift, RTO_MAX_TICKS);
}

// --- The timer --------------------------------------------------------------------------------------------------------------

void tcptime_soon(u32 us)
{
    u32 due = net_tcp_clock() + us;
    if (timer.armed && (i32)(due - timer_due) >= 0)
        return;
    timer_due = due;
    timer_arm(&timer, clock_mono_ns() + us * 1000ull);
}

static u32 probe_after(const struct tcp_pcb *pcb)
{
    const struct net_tcp *r = &pcb->net;
    u32 us = 2 * r->srtt + (pcb->snd_nxt - pcb->lastack <= tcp_wire_mss(pcb) ? PROBE_ONE_US : PROBE_MORE_US);
    return us << r->probed;
}

static bool may_probe(const struct tcp_pcb *pcb)
{
    return pcb->net.srtt && pcb->net.probed < PROBES && !pcb->nrtx;
}

static u32 rto_after(const struct tcp_pcb *pcb)
{
    u64 us = (u64)tcptime_rto(pcb) << MIN(pcb->nrtx, 12u);
    return (u32)MIN(us, (u64)RTO_MAX_TICKS * TICK_US);
}

// Microseconds until `after` has passed since `then`; 0: it has.
static u32 remaining(u32 now, u32 then, u32 after)
{
    i32 age = (i32)(now - then);              // it may have been sent since `now`
    return age >= 0 && (u32)age >= after ? 0 : after - (u32)MAX(age, 0);
}

static const struct tcp_seg *oldest(const struct tcp_pcb *pcb)
{
    const struct tcp_seg *s = pcb->unacked;
    while (s && (s->flags & NET_SEG_SACKED))
        s = s->next;
    return s ? s : pcb->unacked;
}

// Does what is due. Microseconds until something is again; 0: nothing is in the network.
static u32 service(struct tcp_pcb *pcb, u32 now)
{
    struct net_tcp *r = &pcb->net;
    if (pcb->state < ESTABLISHED)
        return 0;
    if (!pcb->unacked) {                      // what is to be sent again found no room
        if (!pcb->unsent || !tcp_missing(pcb))
            return 0;
        tcp_output(pcb);
        return tcptime_rto(pcb);
    }
    if (r->reo_due && (i32)(now - r->reo_due) >= 0) {
        recovery_look(pcb, now, 0);
        tcp_output(pcb);
    }
    if (remaining(now, oldest(pcb)->sent_us, rto_after(pcb)) == 0) {
        recovery_timed_out(pcb);
        now = net_tcp_clock();
    } else if (may_probe(pcb) && remaining(now, r->sent_us, probe_after(pcb)) == 0) {
        recovery_probe(pcb);
    }
    if (!pcb->unacked)
        return AGAIN_US;
    u32 next = MAX(remaining(now, oldest(pcb)->sent_us, rto_after(pcb)), AGAIN_US);
    if (may_probe(pcb))
        next = MIN(next, MAX(remaining(now, r->sent_us, probe_after(pcb)), PROBE_MORE_US));
    return r->reo_due ? MIN(next, MAX(remaining(now, now, r->reo_due - now), 1u)) : next;
}

static void expired(struct timer *t)
{
    (void)t;
    net_lock();
    net_reclaim();                            // what has arrived by now counts
    u32 now = net_tcp_clock(), next = ~0u;
    for (struct list *n = in_flight.next, *after; n != &in_flight; n = after) {
        after = n->next;
        struct tcp_pcb *pcb = list_entry(n, struct tcp_pcb, net.flight);
        u32 us = service(pcb, now);
        if (!us)
            list_remove(n);
        else
            next = MIN(next, us);
    }
    if (next != ~0u)
        tcptime_soon(next);
    net_unlock();
}

void net_tcp_sent(struct tcp_pcb *pcb, struct tcp_seg *seg)
{
    struct net_tcp *r = &pcb->net;
    seg->sent_us = r->sent_us = net_tcp_clock();
    sack_told(pcb);
    if (pcb->state < ESTABLISHED)
        return;
    if (!r->flight.next || list_empty(&r->flight)) {
        r->rack_us = 0;                       // too long ago to be compared with
        list_insert(&in_flight, &r->flight);
    }
    u32 due = r->sent_us + (r->srtt ? probe_after(pcb) : tcptime_rto(pcb));
    if (!timer.armed || (i32)(due - timer_due) < 0)
        tcptime_soon(due - r->sent_us);
}

void net_tcp_gone(struct tcp_pcb *pcb)
{
    sack_gone(pcb);
    if (pcb->net.flight.next)
        list_remove(&pcb->net.flight);
}

void tcptime_start(void)
{
    timer_init(&timer, expired);
    sack_start();
}
