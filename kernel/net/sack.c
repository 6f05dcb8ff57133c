// SPDX-License-Identifier: Apache-2.0
// Selective acknowledgments as the sender sees them (RFC 2018, RFC 2883): which segments the peer holds already; segments are parted
// and trimmed so that what it holds and what it lacks are segments of their own.
#include "lwip/memp.h"
#include "lwip/pbuf.h"
#include "lwip/priv/tcp_priv.h"

#include "lib.h"
#include "net.h"
#include "recovery.h"
#include "time.h"

#define OPT_SACK 5
#define MAX_BLOCKS 4

struct block {
    u32 left, right;
};

static u32 load_be32(const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }

// The number of blocks in the options.
static u32 parse(const u8 *options, u32 len, struct block *b)
{
    const u8 *o = tcp_option(options, len, OPT_SACK);
    u32 n = o ? MIN((o[1] - 2u) / 8, (u32)MAX_BLOCKS) : 0;
    for (u32 i = 0; i < n; i++)
        b[i] = (struct block){ load_be32(o + 2 + 8 * i), load_be32(o + 6 + 8 * i) };
    return n;
}

// Parts a long segment (one that the device cuts), so that what the peer holds and what it lacks are segments of their own.
bool seg_split(struct tcp_pcb *pcb, struct tcp_seg *s, u32 at)
{
    if (at == 0 || at >= s->len || seg_busy(s))
        return false;
    u32 head = TCPH_HDRLEN_BYTES(s->tcphdr), rest = s->len - at, start = (u32)((u8 *)s->tcphdr + head - (u8 *)s->p->payload);
    struct pbuf *p = pbuf_alloc(PBUF_IP, (u16_t)(head + rest), PBUF_RAM);
    struct tcp_seg *n = p ? memp_malloc(MEMP_TCP_SEG) : NULL;
    if (!n) {
        if (p)
            pbuf_free(p);
        return false;
    }
    pbuf_copy_partial(s->p, (u8 *)p->payload + head, (u16_t)rest, (u16_t)(start + at));
    *n = *s;
    n->p = p;
    n->len = (u16_t)rest;
    n->tcphdr = p->payload;
    memcpy(n->tcphdr, s->tcphdr, head);
    n->tcphdr->seqno = lwip_htonl(seg_seq(s) + at);
    pcb->snd_queuelen = (u16_t)(pcb->snd_queuelen + 1 - pbuf_clen(s->p));
    pbuf_realloc(s->p, (u16_t)(start + at));
    pcb->snd_queuelen = (u16_t)(pcb->snd_queuelen + pbuf_clen(s->p));
    s->len = (u16_t)at;
    TCPH_UNSET_FLAG(s->tcphdr, TCP_FIN | TCP_PSH);
    s->next = n;
    if (!n->next)
        pcb->unsent_oversize = 0;             // tcp_write() must not fill up a buffer that has no room any more
    return true;
}

// What was acknowledged of a segment stays at home when the rest is sent again: its duplicates would look like reordering.
void sack_trim(struct tcp_pcb *pcb, struct tcp_seg *s)
{
    if (!s || !TCP_SEQ_LT(seg_seq(s), pcb->lastack))
        return;
    u32 n = pcb->lastack - seg_seq(s), head = TCPH_HDRLEN_BYTES(s->tcphdr);
    u32 skip = (u32)((u8 *)s->tcphdr - (u8 *)s->p->payload) + n;      // as far moves the header
    if (n >= s->len || skip + head > s->p->len || seg_busy(s))
        return;
    struct tcp_hdr *old = s->tcphdr;
    pbuf_remove_header(s->p, skip);
    s->tcphdr = s->p->payload;
    memmove(s->tcphdr, old, head);
    s->tcphdr->seqno = lwip_htonl(pcb->lastack);
    s->len = (u16_t)(s->len - n);
    if (s->flags & NET_SEG_LOST)
        pcb->net.lost -= n;
    pcb->snd_buf += n;
}

// In ascending order, or those that are told about late would seem to come late.
static void sort(struct block *b, u32 n)
{
    for (u32 i = 1; i < n; i++)
        for (u32 j = i; j > 0 && TCP_SEQ_LT(b[j].left, b[j - 1].left); j--) {
            struct block other = b[j];
            b[j] = b[j - 1];
            b[j - 1] = other;
        }
}

// The bytes that were marked and had not been before.
static u32 mark(struct tcp_pcb *pcb, u32 left, u32 right, u32 now)
{
    struct net_tcp *r = &pcb->net;
    u32 fresh = 0;
    for (struct tcp_seg *s = pcb->unacked; s && TCP_SEQ_LT(seg_seq(s), right); s = s->next) {
        u32 from = seg_seq(s), to = from + seg_len(s);
        if ((s->flags & NET_SEG_SACKED) || TCP_SEQ_LEQ(to, left))
            continue;
        if (TCP_SEQ_LT(from, left)) {
            seg_split(pcb, s, left - from);   // the next turn meets the second half
            continue;
        }
        if (TCP_SEQ_GT(to, right) && !seg_split(pcb, s, right - from))
            break;
        rack_delivered(pcb, s, now);
        if (s->flags & NET_SEG_LOST)
            r->lost -= seg_len(s);
        s->flags = (u8)((s->flags & ~NET_SEG_LOST) | NET_SEG_SACKED);
        if (!r->sacked || TCP_SEQ_GT(from + seg_len(s), r->high_sacked))
            r->high_sacked = from + seg_len(s);
        r->sacked += seg_len(s);
        r->nr_sacked++;
        fresh += seg_len(s);
    }
    return fresh;
}

u32 sack_input(struct tcp_pcb *pcb, const u8 *options, u32 len, u32 ackno, u32 now, u32 *twice)
{
    struct block b[MAX_BLOCKS];
    u32 n = parse(options, len, b), fresh = 0;
    bool dsack = n > 0 && (TCP_SEQ_LEQ(b[0].right, ackno) ||
                           (n > 1 && TCP_SEQ_GEQ(b[0].left, b[1].left) && TCP_SEQ_LEQ(b[0].right, b[1].right)));
    *twice = dsack ? b[0].right - b[0].left : 0;
    sort(b + dsack, n - dsack);
    for (u32 i = dsack; i < n; i++) {
        if (!TCP_SEQ_LT(b[i].left, b[i].right) || TCP_SEQ_LEQ(b[i].left, ackno) || TCP_SEQ_GT(b[i].right, pcb->snd_nxt))
            continue;                         // nonsense, or old
        fresh += mark(pcb, b[i].left, b[i].right, now);
    }
    return fresh;
}

// --- As the receiver ----------------------------------------------------------------------------------------------------------

#define HELD_BYTES 65536u                     // what waits for its acknowledgment at most;
#define HELD_SHARE 8u                         // and such a part of the window, and of what came in order since something was missing
#define PAUSE_NS 150000ull                    // without anything new: the peer itself waits, then
#define PAUSES 4u
#define DUPACKS 3u
#define HELD_SACKS 32u                        // segments beyond a hole

static bool in_batch;                         // what the device has received is being taken in, frame by frame
static struct tcp_pcb *held;                  // whose acknowledgment waits for more
static struct timer held_timer;
static u32 nr_held, nr_seen, pauses;          // segments that did, ever; as of the timer's last look; its looks

static void release(void)
{
    struct tcp_pcb *pcb = held;
    held = NULL;
    if (pcb && pcb->ooseq)
        tcp_send_empty_ack(pcb);              // data that is sent carries no SACK blocks
    else if (pcb)
        tcp_output(pcb);
}

// An acknowledgment leaves, alone or with data.
void sack_told(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    if (pcb->state >= ESTABLISHED)
        r->whole = MIN(r->whole + (pcb->rcv_nxt - r->told), HELD_BYTES * HELD_SHARE);
    r->told = pcb->rcv_nxt;
}

// The peer has heard so often of this hole that it knows (RFC 5681, section 3.2): what else arrives beyond it can be told in fewer words.
// Linux waits as long for a whole millisecond (net.ipv4.tcp_comp_sack_delay_ns, tcp_comp_sack_nr).
static bool hole_known(struct tcp_pcb *pcb)
{
    struct net_tcp *r = &pcb->net;
    if (r->hole_from != pcb->rcv_nxt || r->hole_to != pcb->rcv_sacks[0].left) {
        r->hole_from = pcb->rcv_nxt;
        r->hole_to = pcb->rcv_sacks[0].left;
        r->hole_acks = 0;
    }
    return ++r->hole_acks > DUPACKS && r->hole_acks % HELD_SACKS;
}

// Something is missing before what has just come.
void net_tcp_hole(struct tcp_pcb *pcb)
{
    pcb->net.whole = 0;
    if (in_batch && pcb->ooseq && (pcb->flags & TF_SACK) && !pcb->unsent && pcb->state == ESTABLISHED && hole_known(pcb) &&
        pcb->net.twice_left == pcb->net.twice_right && (!held || held == pcb)) {
        tcp_clear_flags(pcb, TF_ACK_DELAY | TF_ACK_NOW);
        held = pcb;
        nr_held++;
    } else {
        sack_gone(pcb);
        tcp_send_empty_ack(pcb);
    }
}

// Of segments that come in order not every second is acknowledged: one acknowledgment says it all. The peer counts bytes (RFC 3465);
// Linux does as much by merging such segments before TCP sees them (GRO). Without a batch of them at hand it waits for more, but not for long.
void net_tcp_answer(struct tcp_pcb *pcb)
{
    if (in_batch && (pcb->flags & TF_ACK_NOW) && !pcb->unsent && !pcb->ooseq && pcb->state == ESTABLISHED &&
        pcb->net.twice_left == pcb->net.twice_right && (!held || held == pcb) &&
        pcb->rcv_nxt - pcb->net.told < MIN(HELD_BYTES, TCP_WND_MAX(pcb) / HELD_SHARE)) {
        held = pcb;
        nr_held++;
        return;
    }
    if (held && (held != pcb || !pcb->ooseq))
        release();
    tcp_output(pcb);
}

// As long as more comes, and not for long.
static void held_long(struct timer *t)
{
    net_lock();
    if (held && nr_held != nr_seen && ++pauses < PAUSES) {
        nr_seen = nr_held;
        timer_arm(t, clock_mono_ns() + PAUSE_NS);
    } else {
        release();
    }
    net_unlock();
}

void sack_batch(bool begins)
{
    in_batch = begins;
    if (begins || !held)
        return;
    if (!held->ooseq && held->rcv_nxt - held->net.told > held->net.whole / HELD_SHARE) {
        release();
    } else if (!held_timer.armed) {
        nr_seen = nr_held;
        pauses = 0;
        timer_arm(&held_timer, clock_mono_ns() + PAUSE_NS);
    }
}

void sack_start(void) { timer_init(&held_timer, held_long); }

void sack_gone(const struct tcp_pcb *pcb)
{
    if (held == pcb)
        held = NULL;
}

// What fills a hole is acknowledged at once (RFC 5681, section 4.2), and what comes twice is reported (RFC 2883): the peer learns that
// it sent something again without need, how much the network reorders, what its probe was good for.
void sack_received(struct tcp_pcb *pcb, u32 seq, u32 len)
{
    struct net_tcp *r = &pcb->net;
    u32 end = seq + len;
    if (pcb->state < ESTABLISHED)
        return;
    tcp_set_flags(pcb, TF_ACK_NOW);
    net_tcp_counts.early += TCP_SEQ_GT(seq, pcb->rcv_nxt);
    r->twice_left = r->twice_right = 0;
    if (TCP_SEQ_LT(seq, pcb->rcv_nxt)) {
        r->twice_left = seq;
        r->twice_right = TCP_SEQ_LT(end, pcb->rcv_nxt) ? end : pcb->rcv_nxt;
        return;
    }
    for (u32 i = 0; i < LWIP_TCP_MAX_SACK_NUM && LWIP_TCP_SACK_VALID(pcb, i); i++)
        if (TCP_SEQ_GEQ(seq, pcb->rcv_sacks[i].left) && TCP_SEQ_LEQ(end, pcb->rcv_sacks[i].right)) {
            r->twice_left = seq;
            r->twice_right = end;
        }
}

// A report stands before the blocks (section 4) while an acknowledgment is built, and only in that one.
void net_tcp_report(struct tcp_pcb *pcb, struct tcp_sack_range *saved)
{
    sack_told(pcb);
    if (likely(pcb->net.twice_left == pcb->net.twice_right))
        return;
    memcpy(saved, pcb->rcv_sacks, sizeof(pcb->rcv_sacks));
    memmove(pcb->rcv_sacks + 1, pcb->rcv_sacks, sizeof(pcb->rcv_sacks) - sizeof(pcb->rcv_sacks[0]));
    pcb->rcv_sacks[0].left = pcb->net.twice_left;
    pcb->rcv_sacks[0].right = pcb->net.twice_right;
}

void net_tcp_reported(struct tcp_pcb *pcb, const struct tcp_sack_range *saved)
{
    if (likely(pcb->net.twice_left == pcb->net.twice_right))
        return;
    memcpy(pcb->rcv_sacks, saved, sizeof(pcb->rcv_sacks));
    pcb->net.twice_left = pcb->net.twice_right = 0;
}

void sack_forget(struct tcp_pcb *pcb)
{
    for (struct tcp_seg *s = pcb->unacked; s; s = s->next)
        s->flags &= (u8)~NET_SEG_SACKED;
    pcb->net.sacked = pcb->net.nr_sacked = 0;
}
