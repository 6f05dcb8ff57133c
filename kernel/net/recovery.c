// SPDX-License-Identifier: Apache-2.0
// What TCP does about loss: round-trip times and time-outs (RFC 6298), recovery by selective acknowledgments (RFC 6675) or without
// (RFC 6582), probes for lost tails (RFC 8985, section 7), reductions taken back (RFC 3708). lwIP calls in; all under net_lock().
#include "lwip/tcp.h"

#include "lib.h"
#include "net_priv.h"
#include "recovery.h"
#include "time.h"

#define RTO_MIN_US 200000u          // as Linux's TCP_RTO_MIN; RFC 6298 would have a second
#define RTO_MAX_TICKS 1200          // two minutes
#define TICK_US (TCP_SLOW_INTERVAL * 1000u)
#define DUPTHRESH 3
#define DUPTHRESH_MAX 30

static u32 ticks;                   // of TCP_TMR_INTERVAL

u32 tcp_wire_mss(const struct tcp_pcb *pcb)
{
    return MAX(pcb->net.wire_mss ? pcb->net.wire_mss : pcb->mss, 1u);
}

// --- Time -----------------------------------------------------------------------------------------------------------------

u32 net_tcp_clock(void) { return (u32)(clock_mono_ns() / 1000) | 1; }

void net_tcp_sample(struct tcp_pcb *pcb, u32 us)
{
    struct net_tcp *r = &pcb->net;
    us = MAX(us, 1u);
    if (!r->srtt) {
        r->srtt = us;
        r->rttvar = us / 2;
    } else {
        u32 off = us > r->srtt ? us - r->srtt : r->srtt - us;
        r->rttvar = r->rttvar - r->rttvar / 4 + off / 4;
        r->srtt = MAX(r->srtt - r->srtt / 8 + us / 8, 1u);
    }
    pcb->rto = (s16_t)net_tcp_rto(pcb);
}

int net_tcp_rto(struct tcp_pcb *pcb)
{
    const struct net_tcp *r = &pcb->net;
    if (!r->srtt)
        return LWIP_TCP_RTO_TIME / TCP_SLOW_INTERVAL;
    u32 us = r->srtt + MAX(4 * r->rttvar, RTO_MIN_US);
    return (int)MIN(us / TICK_US + 1, (u32)RTO_MAX_TICKS);
}

int net_tcp_backoff(struct tcp_pcb *pcb)
{
    u32 base = (u32)net_tcp_rto(pcb), shift = MIN((u32)pcb->nrtx + 1, 12u);
    return (int)MIN(base << shift, (u32)RTO_MAX_TICKS);
}

void net_tcp_sent(struct tcp_pcb *pcb) { pcb->net.sent_tick = ticks; }

// --- Sending again ----------------------------------------------------------------------------------------------------------

static u32 dupthresh(const struct net_tcp *r) { return r->dupthresh ? r->dupthresh : DUPTHRESH; }

// Moves *link from unacked to its place in unsent, from where tcp_output() takes it. False: the device still has it.
static bool send_again(struct tcp_pcb *pcb, struct tcp_seg **link)
{
    struct tcp_seg *s = *link, **at = &pcb->unsent;
    if (seg_busy(s))
        return false;
    *link = s->next;
    while (*at && TCP_SEQ_LT(seg_seq(*at), seg_seq(s)))
        at = &(*at)->next;
    s->next = *at;
    *at = s;
    if (!s->next)
        pcb->unsent_oversize = 0;
    s->flags |= NET_SEG_AGAIN;
    s->again_at = pcb->snd_nxt;
    pcb->rttest = 0;                          // Karn: its acknowledgment would measure nothing
    pcb->net.nr_again++;
    pcb->net.total_again++;
    return true;
}

// RFC 6675, IsLost(): enough was received above it.
static bool is_lost(const struct tcp_pcb *pcb, u32 bytes_above, u32 segs_above)
{
    u32 n = dupthresh(&pcb->net);
    return segs_above >= n || bytes_above > (n - 1) * tcp_wire_mss(pcb);
}

static bool head_lost(const struct tcp_pcb *pcb)
{
    return pcb->unacked && !(pcb->unacked->flags & NET_SEG_SACKED) && is_lost(pcb, pcb->net.sacked, pcb->net.nr_sacked);
}

// A segment that was sent again, too, is lost when something sent after that has arrived.
static bool lost_again(const struct net_tcp *r, const struct tcp_seg *s)
{
    return r->sacked && TCP_SEQ_GT(r->high_sacked, s->again_at);
}

// RFC 6675, SetPipe(): what is believed to be in the network. Clears NET_SEG_AGAIN of what was lost twice.
static u32 set_pipe(struct tcp_pcb *pcb, bool head)
{
    struct net_tcp *r = &pcb->net;
    u32 pipe = 0, bytes = r->sacked, segs = r->nr_sacked;
    for (struct tcp_seg *s = pcb->unacked; s; s = s->next) {
        u32 n = seg_len(s);
        if (s->flags & NET_SEG_SACKED) {
            bytes -= n;
            segs--;
            continue;
        }
        if ((s->flags & NET_SEG_AGAIN) && lost_again(r, s))
            s->flags &= (u8)~NET_SEG_AGAIN;
        if ((s->flags & NET_SEG_AGAIN) || !((head && s == pcb->unacked) || is_lost(pcb, bytes, segs)))
            pipe += n;
    }
    for (struct tcp_seg *s = pcb->unsent; s && TCP_SEQ_LT(seg_seq(s), pcb->snd_nxt); s = s->next)
        pipe += seg_len(s);
    return pipe - MIN(pipe, r->dup_bytes);
}

// Sends again what is lost, as far as the window goes; `head`: the first segment for certain. What is left is for new data.
static void fill_holes(struct tcp_pcb *pcb, bool head)
{
    struct net_tcp *r = &pcb->net;
    u32 pipe = set_pipe(pcb, head), bytes = r->sacked, segs = r->nr_sacked;
    for (struct tcp_seg **link = &pcb->unacked; *link;) {
        struct tcp_seg *s = *link;
        u32 n = seg_len(s);
        if (s->flags & NET_SEG_SACKED) {
            bytes -= n;
            segs--;
        } else if (!(s->flags & NET_SEG_AGAIN) && (head || is_lost(pcb, bytes, segs))) {
            if (!head && pipe + n > r->cwnd)
                break;
            head = false;
            if (send_again(pcb, link)) {
                pipe += n;
                continue;
            }
        } else if (!is_lost(pcb, bytes, segs)) {
            break;                            // nothing further on is lost either
        }
        link = &s->next;
    }
    pcb->cwnd = pcb->snd_nxt - pcb->lastack + (r->cwnd > pipe ? r->cwnd - pipe : 0);
}

// Of a window, what is used: a program that sends little has a window that means little.
static u32 in_use(const struct tcp_pcb *pcb, u32 window) { return MIN(window, MAX(pcb->snd_nxt - pcb->lastack, 2u * pcb->mss)); }

static void enter(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    if (pcb->flags & (TF_INFR | TF_RTO) || !pcb->unacked)
        return;
    r->recover = pcb->snd_nxt;
    r->prior_cwnd = pcb->cwnd;
    r->prior_ssthresh = pcb->ssthresh;
    r->nr_again = 0;
    r->dup_bytes = pcb->flags & TF_SACK ? 0 : pcb->dupacks * tcp_wire_mss(pcb);
    for (struct tcp_seg *s = pcb->unacked; s; s = s->next)
        s->flags &= (u8)~NET_SEG_AGAIN;
    pcb->ssthresh = cubic_reduce(pcb, in_use(pcb, pcb->cwnd));
    r->cwnd = pcb->ssthresh;
    tcp_set_flags(pcb, TF_INFR);
    pcb->rtime = 0;
    fill_holes(pcb, true);
}

static void leave(struct tcp_pcb *pcb)
{
    tcp_clear_flags(pcb, TF_INFR);
    pcb->cwnd = pcb->ssthresh;
    pcb->net.dup_bytes = 0;
}

// Everything that was sent again had arrived the first time: the network reorders, nothing was lost (RFC 3708).
static void undo(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    tcp_clear_flags(pcb, TF_INFR);
    pcb->cwnd = MAX(pcb->cwnd, r->prior_cwnd);
    pcb->ssthresh = MAX(pcb->ssthresh, r->prior_ssthresh);
    r->dupthresh = (u8)MIN(dupthresh(r) * 2, (u32)DUPTHRESH_MAX);
    cubic_restart(pcb);
}

// --- Acknowledgments --------------------------------------------------------------------------------------------------------

// Of every segment that comes in, before lwIP processes it.
void recovery_input(struct tcp_pcb *pcb, const u8 *options, u32 len, u32 ackno)
{
    struct net_tcp *r = &pcb->net;
    bool dsack = false;
    if (!(pcb->flags & TF_SACK) || pcb->state < ESTABLISHED || !TCP_SEQ_BETWEEN(ackno, pcb->lastack, pcb->snd_nxt))
        return;
    bool fresh = sack_input(pcb, options, len, ackno, &dsack);
    if (dsack) {
        r->probe_end = 0;
        if (r->nr_again && --r->nr_again == 0 && r->prior_cwnd) {
            undo(pcb);
            r->prior_cwnd = 0;
        }
    }
    if (!fresh || ackno != pcb->lastack)
        return;                               // net_tcp_acked() goes on
    if (pcb->flags & TF_INFR)
        fill_holes(pcb, false);
    else if (head_lost(pcb))
        enter(pcb);
}

// Without SACK a partial acknowledgment says that the next segment is lost, too (RFC 6582, section 3.2).
static bool head_due(const struct tcp_pcb *pcb)
{
    return !(pcb->flags & TF_SACK) && pcb->unacked && !(pcb->unacked->flags & NET_SEG_AGAIN);
}

// Counts without SACK only.
void net_tcp_dupack(struct tcp_pcb *pcb)
{
    if (pcb->flags & TF_SACK)
        return;
    if (pcb->flags & TF_INFR) {
        pcb->net.dup_bytes += tcp_wire_mss(pcb);
        fill_holes(pcb, head_due(pcb));
    } else if (pcb->dupacks >= DUPTHRESH && TCP_SEQ_GT(pcb->snd_nxt, pcb->net.recover)) {
        enter(pcb);
    }
}

static void grow(struct tcp_pcb *pcb, u32 acked)
{
    u32 flight = pcb->snd_nxt - pcb->lastack + acked;
    if (pcb->cwnd < pcb->ssthresh) {
        // RFC 3465: up to two segments an acknowledgment, one while a time-out is repaired. RFC 7661: what is not used does not grow.
        u32 most = (pcb->flags & TF_RTO ? 1u : 2u) * pcb->mss;
        if (flight >= pcb->cwnd / 2)
            pcb->cwnd += MIN(acked, most);
    } else if (flight + pcb->mss >= pcb->cwnd) {
        cubic_grow(pcb, acked);
    }
}

// A probe was acknowledged and nobody said that it came twice: it repaired a loss, which counts like any other.
static void probe_acked(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    if (r->probe_end && TCP_SEQ_GT(pcb->lastack, r->probe_end)) {
        r->probe_end = 0;
        pcb->ssthresh = cubic_reduce(pcb, pcb->cwnd);
        pcb->cwnd = pcb->ssthresh;
    }
}

void net_tcp_acked(struct tcp_pcb *pcb, u32 acked)
{
    struct net_tcp *r = &pcb->net;
    r->probed = false;
    if (r->sacked)
        sack_recount(pcb);
    if (pcb->flags & TF_INFR) {
        r->dup_bytes -= MIN(r->dup_bytes, acked);
        if (TCP_SEQ_GEQ(pcb->lastack, r->recover))
            leave(pcb);
        else
            fill_holes(pcb, head_due(pcb));
        return;
    }
    probe_acked(pcb);
    if (pcb->state >= ESTABLISHED)
        grow(pcb, acked);
    if (r->sacked && head_lost(pcb))
        enter(pcb);
}

// --- Time-outs --------------------------------------------------------------------------------------------------------------

// Nothing was heard although everything was sent as often as Linux sends it: tcp_syn_retries (or TCP_SYNCNT), tcp_synack_retries,
// tcp_retries2, and tcp_orphan_retries where no program waits for the connection any more (ip-sysctl.rst).
int net_tcp_gives_up(struct tcp_pcb *pcb)
{
    u32 most = pcb->state == SYN_SENT ? (pcb->net.syn_retries ? pcb->net.syn_retries : 6u) :
               pcb->state == SYN_RCVD ? 5u : pcb->callback_arg ? 15u : 8u;
    return pcb->nrtx >= most && pcb->rtime + 1 >= pcb->rto;
}

// Everything that the peer does not hold goes back to unsent. What it said it holds is believed once: it may renege (RFC 2018).
int net_tcp_timed_out(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    if (!pcb->unacked)
        return ERR_VAL;
    for (const struct tcp_seg *s = pcb->unacked; s; s = s->next)
        if (seg_busy(s))
            return ERR_VAL;
    if (pcb->nrtx > 0 || (pcb->unacked->flags & NET_SEG_SACKED))
        sack_forget(pcb);
    if (pcb->nrtx == 0 && pcb->state >= ESTABLISHED) {    // RFC 5681, section 3.1: once, however often it is sent
        pcb->ssthresh = cubic_reduce(pcb, in_use(pcb, pcb->flags & TF_INFR ? r->cwnd : pcb->cwnd));
    }
    for (struct tcp_seg **link = &pcb->unacked; *link;)
        if ((*link)->flags & NET_SEG_SACKED || !send_again(pcb, link))
            link = &(*link)->next;
    tcp_clear_flags(pcb, TF_INFR);
    tcp_set_flags(pcb, TF_RTO);
    pcb->rto_end = r->recover = pcb->snd_nxt;
    r->prior_cwnd = r->probe_end = r->dup_bytes = 0;
    return ERR_OK;
}

// The last segment once more when nothing was heard for two round trips: its acknowledgment shows what else is lost, sooner than
// the time-out. RFC 8985, section 7.2; the clock's 50 ms are the allowance for delayed acknowledgments.
static void probe(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    u32 wait = 2 + 2 * r->srtt / (TCP_TMR_INTERVAL * 1000u);
    if (pcb->state < ESTABLISHED || !pcb->unacked || !r->srtt || r->probed || pcb->nrtx || (pcb->flags & (TF_INFR | TF_RTO)) ||
        ticks - r->sent_tick < wait)
        return;
    struct tcp_seg **link = &pcb->unacked;
    while ((*link)->next)
        link = &(*link)->next;
    if (((*link)->flags & NET_SEG_SACKED) || !send_again(pcb, link))
        return;
    r->nr_again = 0;                          // its duplicate takes no reduction back
    r->probed = true;
    r->probe_end = pcb->snd_nxt;
    pcb->rtime = 0;
    tcp_set_flags(pcb, TF_INFR);              // Nagle's algorithm shall not hold it back
    tcp_output(pcb);
    tcp_clear_flags(pcb, TF_INFR);
}

void recovery_tick(void)
{
    ticks++;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next)
        probe(pcb);
}
