// SPDX-License-Identifier: Apache-2.0
// CUBIC (RFC 9438): after a loss the window returns to where it was by a cubic function of time, not of round trips. In bytes.
#include "lwip/priv/tcp_priv.h"

#include "lib.h"
#include "recovery.h"
#include "time.h"

static u64 now_ms(void) { return clock_mono_ns() / 1000000 + 1; }

// The largest x with x^3 <= v.
static u32 cube_root(u64 v)
{
    u64 x = 0;
    for (int bit = 20; bit >= 0; bit--) {
        u64 y = x | 1ul << bit;
        if (y * y * y <= v)
            x = y;
    }
    return (u32)x;
}

u32 cubic_reduce(struct tcp_pcb *pcb, u32 window)
{
    struct net_cubic *c = &pcb->net.cubic;
    u32 floor = 2 * tcp_wire_mss(pcb), next = pcb->net.reno ? window / 2 : (u32)((u64)window * 7 / 10);
    // Fast convergence (section 4.7): who loses below the last maximum makes room for others.
    c->w_max = window < c->w_max ? (u32)((u64)window * 17 / 20) : window;
    c->epoch_ms = 0;
    return MAX(next, floor);
}

void cubic_restart(struct tcp_pcb *pcb) { pcb->net.cubic.epoch_ms = 0; }

#define ROUND_SAMPLES 8u
#define NEIGHBOR_US 2000u

// HyStart (RFC 9406, section 4.2): slow start is over when the least of a round's round trips has grown, since a queue builds up. Not
// among neighbors, where what is measured is mostly how busy the machines are.
void cubic_slow_start(struct tcp_pcb *pcb, u32 rtt)
{
    struct net_cubic *c = &pcb->net.cubic;
    u32 least = pcb->net.min_rtt;
    if (least < NEIGHBOR_US)
        return;
    if (TCP_SEQ_GEQ(pcb->lastack, c->round_end)) {
        c->round_end = pcb->snd_nxt;
        c->round_min = rtt;
        c->round_samples = 0;
    }
    c->round_min = MIN(c->round_min, rtt);
    if (++c->round_samples >= ROUND_SAMPLES && pcb->cwnd >= 16 * tcp_wire_mss(pcb) &&
        c->round_min > least + MIN(MAX(least / 8, 4000u), 16000u))
        pcb->ssthresh = pcb->cwnd;
}

static void begin(struct tcp_pcb *pcb, u32 mss)
{
    struct net_cubic *c = &pcb->net.cubic;
    c->epoch_ms = now_ms();
    c->w_est = pcb->cwnd;
    c->origin = MAX(c->w_max, pcb->cwnd);
    // K = cubic root of ((W_max - cwnd) / C) in segments and seconds, C = 0.4 (section 4.2).
    u64 segments_e9 = (u64)(c->origin - pcb->cwnd) * 1000000000ull / mss;
    c->k_ms = cube_root(segments_e9 / 4 * 10);
}

static u32 reno_grow(u32 window, u32 acked, u32 mss)
{
    return window + (u32)((u64)acked * mss / MAX(window, 1u));
}

void cubic_grow(struct tcp_pcb *pcb, u32 acked)
{
    struct net_cubic *c = &pcb->net.cubic;
    u32 mss = tcp_wire_mss(pcb);
    if (pcb->net.reno) {
        pcb->cwnd = reno_grow(pcb->cwnd, acked, mss);
        return;
    }
    if (!c->epoch_ms)
        begin(pcb, mss);
    i64 d = (i64)(now_ms() - c->epoch_ms) + pcb->net.srtt / 1000 - c->k_ms;
    d = d > 100000 ? 100000 : d < -100000 ? -100000 : d;
    i64 target = (i64)c->origin + d * d * d / 1000000 * mss * 4 / 10000;
    u32 cwnd = pcb->cwnd, most = cwnd + cwnd / 2;
    u32 want = target < (i64)cwnd ? cwnd : target > (i64)most ? most : (u32)target;
    cwnd += (u32)((u64)(want - cwnd) * acked / cwnd);
    // Never slower than Reno with the same reduction (section 4.3): alpha = 3 * (1 - 0.7) / (1 + 0.7) until the old maximum is back.
    c->w_est += (u32)((u64)acked * mss / pcb->cwnd * (c->w_est < c->w_max ? 9 : 17) / 17);
    pcb->cwnd = MAX(cwnd, c->w_est);
}
