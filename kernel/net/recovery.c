// SPDX-License-Identifier: Apache-2.0
// What TCP does about loss: recovery by selective acknowledgments (RFC 6675; what is lost says rack.c) or without (RFC 6582), after
// time-outs, probes for lost tails (RFC 8985, section 7), reductions taken back (RFC 3708). lwIP calls in; all under net_lock().
#include "lwip/tcp.h"

#include "lib.h"
#include "net_priv.h"
#include "recovery.h"

#define DUPTHRESH 3
#define BUSY_US 1000u               // the device still reads what is to be sent again

struct net_tcp_counts net_tcp_counts;

// --- Sending again ----------------------------------------------------------------------------------------------------------

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
    if (s->flags & NET_SEG_LOST)
        pcb->net.lost -= seg_len(s);
    s->flags = (u8)((s->flags & ~NET_SEG_LOST) | NET_SEG_AGAIN);
    pcb->rttest = 0;                          // Karn: its acknowledgment would measure nothing
    pcb->net.undo_bytes += seg_len(s);
    pcb->net.total_again++;
    net_tcp_counts.again++;
    return true;
}

static void set_lost(struct tcp_pcb *pcb, struct tcp_seg *s)
{
    if (s->flags & (NET_SEG_SACKED | NET_SEG_LOST))
        return;
    s->flags |= NET_SEG_LOST;
    pcb->net.lost += seg_len(s);
}

// RFC 6675, SetPipe(): what is believed to be in the network.
static u32 in_network(const struct tcp_pcb *pcb)
{
    const struct net_tcp *r = &pcb->net;
    u32 out = pcb->snd_nxt - pcb->lastack;
    return out - MIN(out, r->sacked + r->lost + r->dup_bytes);
}

// What was queued again and acknowledged meanwhile would stop the queue: tcp_output() takes what lies behind for far ahead.
static void drop_acked(struct tcp_pcb *pcb)
{
    for (struct tcp_seg *s = pcb->unsent; s && TCP_SEQ_LEQ(seg_seq(s) + seg_len(s), pcb->lastack); s = pcb->unsent) {
        pcb->unsent = s->next;
        pcb->snd_buf += s->len;
        pcb->snd_queuelen = (u16_t)(pcb->snd_queuelen - pbuf_clen(s->p));
        tcp_seg_free(s);
    }
}

// Segments are parted and trimmed while they count, so the sums are made anew where they matter.
static void recount(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    r->sacked = r->lost = r->nr_sacked = 0;
    for (const struct tcp_seg *s = pcb->unacked; s; s = s->next) {
        if (s->flags & NET_SEG_SACKED) {
            r->sacked += seg_len(s);
            r->nr_sacked++;
        } else if (s->flags & NET_SEG_LOST) {
            r->lost += seg_len(s);
        }
    }
}

// Sends again what is lost, as far as the window goes; `first`: the first segment for certain. What is left is for new data.
static void fill_holes(struct tcp_pcb *pcb, bool first)
{
    struct net_tcp *r = &pcb->net;
    u32 mss = tcp_wire_mss(pcb);
    drop_acked(pcb);
    sack_trim(pcb, pcb->unacked);
    sack_trim(pcb, pcb->unsent);
    recount(pcb);
    u32 pipe = in_network(pcb);
    for (struct tcp_seg **link = &pcb->unacked; *link && r->lost;) {
        struct tcp_seg *s = *link;
        if (s->flags & NET_SEG_LOST) {
            u32 room = MAX(pcb->cwnd > pipe ? pcb->cwnd - pipe : 0, first ? mss : 0);
            if (seg_len(s) > room && (room < mss || s->len <= mss || !seg_split(pcb, s, room / mss * mss)) && !first)
                break;
            first = false;
            if (send_again(pcb, link)) {
                pipe += seg_len(s);
                continue;
            }
            r->reo_due = (net_tcp_clock() + BUSY_US) | 1;
            tcptime_soon(BUSY_US);
        }
        link = &s->next;
    }
    r->edge = pcb->snd_nxt + (pcb->cwnd > pipe ? pcb->cwnd - pipe : 0);
}

u32 net_tcp_window(struct tcp_pcb *pcb) { return unlikely(tcp_missing(pcb)) ? pcb->net.edge - pcb->lastack : pcb->cwnd; }

// A long segment, which the device would cut, is cut here where the window does not take it as a whole: at least a third of the
// window at a time, or the segments would stay short for good.
struct tcp_seg *net_tcp_next(struct tcp_pcb *pcb, u32 wnd)
{
    if (unlikely(pcb->unsent && TCP_SEQ_LT(seg_seq(pcb->unsent), pcb->lastack))) {
        drop_acked(pcb);
        sack_trim(pcb, pcb->unsent);
    }
    struct tcp_seg *s = pcb->unsent;
    u32 mss = pcb->net.wire_mss;
    if (likely(!mss || !s || s->len <= mss))
        return s;
    i64 left = (i64)wnd - (i32)(seg_seq(s) - pcb->lastack);        // a part of it may have been acknowledged
    u32 room = left > 0 ? (u32)left / mss * mss : 0;
    if (s->len <= left || room < mss || (room < pcb->cwnd / 3 && pcb->unacked))
        return s;
    seg_split(pcb, s, room);
    return s;
}

int net_tcp_is_last(const struct tcp_pcb *pcb, const struct tcp_seg *s) { return seg_seq(s) + seg_len(s) == pcb->snd_lbb; }

// --- Recovery ---------------------------------------------------------------------------------------------------------------

// Of a window, what is used: a program that sends little has a window that means little.
static u32 in_use(const struct tcp_pcb *pcb)
{
    return MIN(pcb->cwnd, MAX(pcb->snd_nxt - pcb->lastack, 2 * tcp_wire_mss(pcb)));
}

static void enter(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    net_tcp_counts.recoveries++;
    r->recover = pcb->snd_nxt;
    r->prior_cwnd = pcb->cwnd;
    r->prior_ssthresh = pcb->ssthresh;
    r->undo_bytes = 0;
    r->dup_bytes = pcb->flags & TF_SACK ? 0 : pcb->dupacks * tcp_wire_mss(pcb);
    pcb->ssthresh = cubic_reduce(pcb, in_use(pcb));
    pcb->cwnd = pcb->ssthresh;
    tcp_set_flags(pcb, TF_INFR);
    pcb->rtime = 0;
    fill_holes(pcb, true);
}

static void leave(struct tcp_pcb *pcb)
{
    if (!(pcb->flags & TF_RTO))
        pcb->cwnd = pcb->ssthresh;
    tcp_clear_flags(pcb, TF_INFR | TF_RTO);
    pcb->net.dup_bytes = 0;
    rack_repaired(pcb);
}

// Everything that was sent again had arrived the first time: the network reorders, nothing was lost (RFC 3708).
static void undo(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    if (!r->lost)
        tcp_clear_flags(pcb, TF_INFR | TF_RTO);
    pcb->cwnd = MAX(pcb->cwnd, r->prior_cwnd);
    pcb->ssthresh = MAX(pcb->ssthresh, r->prior_ssthresh);
    r->prior_cwnd = 0;
    rack_needless(pcb);
    net_tcp_counts.undone++;
    cubic_restart(pcb);
}

static void duplicate(struct tcp_pcb *pcb, u32 bytes)
{
    struct net_tcp *r = &pcb->net;
    r->probe_end = 0;
    if (!r->undo_bytes)
        return;
    r->undo_bytes -= MIN(r->undo_bytes, bytes);
    if (!r->undo_bytes && r->prior_cwnd)
        undo(pcb);
}

static void grow(struct tcp_pcb *pcb, u32 acked)
{
    u32 flight = pcb->snd_nxt - pcb->lastack + acked;
    if (pcb->cwnd < pcb->ssthresh) {
        if (flight >= pcb->cwnd / 2)          // RFC 7661: what is not used does not grow
            pcb->cwnd += MIN(acked, pcb->ssthresh - pcb->cwnd);
    } else if (flight + pcb->mss >= pcb->cwnd) {
        cubic_grow(pcb, acked);
    }
}

// Something is missing, or was: what is lost by now, and what follows from it.
void recovery_look(struct tcp_pcb *pcb, u32 now, u32 delivered)
{
    bool first = false;
    if (pcb->flags & TF_SACK)
        rack_detect(pcb, now);
    if (pcb->flags & TF_RTO)
        grow(pcb, delivered);
    if (!(pcb->flags & TF_INFR) && pcb->net.lost) {
        enter(pcb);
        return;
    }
    // Without SACK a partial acknowledgment says that the next segment is lost, too (RFC 6582, section 3.2).
    if (!(pcb->flags & (TF_SACK | TF_RTO)) && (pcb->flags & TF_INFR) && pcb->unacked && !(pcb->unacked->flags & NET_SEG_AGAIN)) {
        set_lost(pcb, pcb->unacked);
        first = true;
    }
    fill_holes(pcb, first);
}

static void cut(struct tcp_pcb *pcb, struct tcp_seg *s, u32 mss, bool lost)
{
    for (; s; s = s->next) {
        bool longer = s->len > mss;
        if (longer && seg_split(pcb, s, mss) && lost)
            set_lost(pcb, s->next);           // the rest of it; cut in its turn
        if (longer && lost)
            set_lost(pcb, s);
    }
}

// What was too long has not arrived and goes again in shorter segments, without a reduction: nothing says that the path is full
// (Linux: tcp_simple_retransmit()).
void recovery_shorten(struct tcp_pcb *pcb, u32 mss)
{
    struct net_tcp *r = &pcb->net;
    if (mss >= tcp_wire_mss(pcb))
        return;
    bool cuts = r->wire_mss;                  // the device did; it goes by the interface's size, so it no longer can
    r->wire_mss = 0;
    pcb->mss = (u16_t)mss;
    pcb->unsent_oversize = 0;
    cut(pcb, pcb->unsent, mss, false);
    cut(pcb, pcb->unacked, mss, true);
    if (cuts && pcb->cwnd > 10 * mss)
        pcb->cwnd = 10 * mss;                 // no burst of all that the device would have cut
    if (!r->lost)
        return;
    r->recover = pcb->snd_nxt;
    r->prior_cwnd = 0;
    if (!(pcb->flags & TF_INFR))
        pcb->ssthresh = MAX(pcb->cwnd, 2 * mss);
    tcp_set_flags(pcb, TF_INFR);
    fill_holes(pcb, true);
    tcp_output(pcb);
}

// --- Acknowledgments --------------------------------------------------------------------------------------------------------

// Of every segment that comes in with options, before lwIP processes it.
void recovery_input(struct tcp_pcb *pcb, const u8 *options, u32 len, u32 ackno)
{
    if (!(pcb->flags & TF_SACK) || pcb->state < ESTABLISHED || !TCP_SEQ_BETWEEN(ackno, pcb->lastack, pcb->snd_nxt))
        return;
    u32 twice, now = net_tcp_clock();
    u32 fresh = sack_input(pcb, options, len, ackno, now, &twice);
    if (twice)
        duplicate(pcb, twice);
    if (fresh && ackno == pcb->lastack)       // else net_tcp_acked() goes on
        recovery_look(pcb, now, fresh);
}

// Counts without SACK only.
void net_tcp_dupack(struct tcp_pcb *pcb)
{
    if (pcb->flags & (TF_SACK | TF_RTO) || !pcb->unacked)
        return;
    if (pcb->flags & TF_INFR) {
        pcb->net.dup_bytes += tcp_wire_mss(pcb);
        fill_holes(pcb, false);
    } else if (pcb->dupacks >= DUPTHRESH && TCP_SEQ_GT(pcb->snd_nxt, pcb->net.recover)) {
        set_lost(pcb, pcb->unacked);
        enter(pcb);
    }
}

void net_tcp_freeing(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    const struct tcp_seg *head = pcb->unacked;
    if (unlikely(head && (head->flags & NET_SEG_AGAIN)))
        stamps_measure(pcb);
    if (pcb->cwnd < pcb->ssthresh && head && !(head->flags & NET_SEG_AGAIN))
        cubic_slow_start(pcb, net_tcp_clock() - head->sent_us);
    if (likely(!tcp_missing(pcb)))
        return;
    u32 now = net_tcp_clock();
    for (struct tcp_seg *s = pcb->unacked; s && TCP_SEQ_LEQ(seg_seq(s) + seg_len(s), pcb->lastack); s = s->next) {
        if (s->flags & NET_SEG_SACKED) {
            r->sacked -= seg_len(s);
            r->nr_sacked--;
            continue;
        }
        rack_delivered(pcb, s, now);
        if (s->flags & NET_SEG_LOST)
            r->lost -= seg_len(s);
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
    r->probed = 0;
    if (unlikely(tcp_missing(pcb))) {
        r->dup_bytes -= MIN(r->dup_bytes, acked);
        if ((pcb->flags & TF_INFR) && TCP_SEQ_GEQ(pcb->lastack, r->recover))
            leave(pcb);
        if (!(pcb->flags & TF_INFR))
            grow(pcb, acked);
        recovery_look(pcb, net_tcp_clock(), acked);
        return;
    }
    probe_acked(pcb);
    if (pcb->state >= ESTABLISHED)
        grow(pcb, acked);
}

// --- Time-outs --------------------------------------------------------------------------------------------------------------

static u32 tries(const struct tcp_pcb *pcb)
{
    return pcb->state == SYN_SENT ? (pcb->net.syn_retries ? pcb->net.syn_retries : 6u) :
           pcb->state == SYN_RCVD ? 5u : pcb->callback_arg ? 15u : 8u;
}

// Nothing was heard although everything was sent as often as Linux sends it: tcp_syn_retries (or TCP_SYNCNT), tcp_synack_retries,
// tcp_retries2, and tcp_orphan_retries where no program waits for the connection any more (ip-sysctl.rst).
int net_tcp_gives_up(struct tcp_pcb *pcb) { return pcb->nrtx >= tries(pcb) && pcb->rtime + 1 >= pcb->rto; }

// Handshakes; connections that stand have recovery_timed_out().
int net_tcp_timed_out(struct tcp_pcb *pcb)
{
    if (!pcb->unacked || pcb->state >= ESTABLISHED || seg_busy(pcb->unacked))
        return ERR_VAL;
    net_tcp_counts.syns_again++;
    while (pcb->unacked)
        if (!send_again(pcb, &pcb->unacked))
            return ERR_VAL;
    return ERR_OK;
}

// Everything that the peer does not hold is lost. What it said it holds is believed once: it may renege (RFC 2018).
void recovery_timed_out(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    if (pcb->nrtx >= tries(pcb) || seg_busy(pcb->unacked))
        return;
    net_tcp_counts.timeouts++;
    if (pcb->nrtx > 0 || (pcb->unacked->flags & NET_SEG_SACKED))
        sack_forget(pcb);
    if (pcb->nrtx == 0)                       // RFC 5681, section 3.1: once, however often it is sent
        pcb->ssthresh = cubic_reduce(pcb, in_use(pcb));
    for (struct tcp_seg *s = pcb->unacked; s; s = s->next)
        set_lost(pcb, s);
    pcb->rto = (s16_t)net_tcp_backoff(pcb);
    pcb->nrtx = (u8_t)MIN(pcb->nrtx + 1u, 255u);
    pcb->rtime = 0;
    pcb->cwnd = tcp_wire_mss(pcb);
    tcp_set_flags(pcb, TF_INFR | TF_RTO);
    pcb->rto_end = r->recover = pcb->snd_nxt;
    r->prior_cwnd = r->probe_end = r->dup_bytes = r->reo_due = 0;
    fill_holes(pcb, true);
    tcp_output(pcb);
}

// The last segment; of a long one, which the device cuts, the last that it makes.
static struct tcp_seg **last_link(struct tcp_pcb *pcb)
{
    struct tcp_seg **link = &pcb->unacked;
    u32 mss = tcp_wire_mss(pcb);
    while ((*link)->next)
        link = &(*link)->next;
    if ((*link)->len > mss && seg_split(pcb, *link, ((*link)->len - 1) / mss * mss))
        link = &(*link)->next;
    return link;
}

// The last segment once more when nothing was heard for two round trips: its acknowledgment shows what else is lost, sooner than
// the time-out (RFC 8985, section 7.3). In a recovery the oldest one, which has been sent again: beyond the RFC, and once, too.
void recovery_probe(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    bool open = !tcp_missing(pcb), in_recovery = pcb->flags & TF_INFR;
    struct tcp_seg **link = open ? last_link(pcb) : &pcb->unacked;
    r->probed++;
    net_tcp_counts.probes++;
    if (!send_again(pcb, link))
        return;
    if (open) {
        r->undo_bytes = 0;                    // its duplicate takes no reduction back
        r->probe_end = pcb->snd_nxt;
    }
    pcb->rtime = 0;
    r->edge = pcb->snd_nxt;                   // nothing new besides
    tcp_set_flags(pcb, TF_INFR);              // Nagle's algorithm shall not hold it back
    tcp_output(pcb);
    if (!in_recovery)
        tcp_clear_flags(pcb, TF_INFR);
}
