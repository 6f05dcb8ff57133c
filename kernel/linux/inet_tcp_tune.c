// SPDX-License-Identifier: Apache-2.0
// Buffers that grow where the path is long: a window of 256 KiB is a full one for a neighbor, and a tenth of what 100 ms take at
// 25 MB/s. As Linux does (net.ipv4.tcp_moderate_rcvbuf; tcp_sndbuf_expand()): only where the program has set no size, doubling as long
// as a round trip fills more than half, and within a share of memory that all connections have in common.
#include "inet.h"

#include "lwip/tcp.h"

#include "lib.h"
#include "page.h"

#include "../net/net_priv.h"
#include "inet_tcp.h"

#define LONG_PATH_US 2000u
#define MOST_SHIFT 6                          // of memory: a buffer; not more than MOST
#define ALL_SHIFT 3                           // of memory: what all have beyond the usual size
#define MOST (4u << 20)
#define MOST_NEAR (1u << 20)                  // for a neighbor who sends so many windows in so short a time: the pauses of a busy
#define FULL_WINDOWS 8u                       // machine are its round trips
#define BUSY_US 500000u

static u64 lent;                              // net_lock()

static u64 memory(void)
{
    static u64 total;
    if (!total) {
        struct mem_stats m;
        mem_stats(&m);
        total = m.total;
    }
    return total;
}

// How much a buffer of `size` bytes may grow now.
static u32 lend(u32 size, u32 *more)
{
    u64 most = MIN(memory() >> MOST_SHIFT, (u64)MOST);
    if (2ull * size > most || lent + size > memory() >> ALL_SHIFT)
        return 0;
    lent += size;
    *more += size;
    return size;
}

static bool is_long(const struct tcp_pcb *pcb) { return pcb->net.min_rtt >= LONG_PATH_US; }

void tcp_tune_read(struct tcp_sock *t, u32 n)
{
    const struct tcp_pcb *pcb = t->pcb;
    t->tune_bytes += n;
    if (likely(t->tune_bytes < FULL_WINDOWS * net_tcp_wnd && (!pcb || !is_long(pcb))))
        return;
    if (!pcb || !t->s || t->s->rcvbuf_set || t->window_clamp)
        return;
    u32 now = net_tcp_clock(), window = tcp_window_limit(t), age = now - t->tune_us;
    bool busy = t->tune_bytes >= FULL_WINDOWS * window && window < MOST_NEAR;
    if (age < pcb->net.srtt && !busy)
        return;
    bool full = is_long(pcb) ? t->tune_bytes > window / 2 : busy && age < BUSY_US;
    if (full && lend(window, &t->rcv_more))
        tcp_window_apply(t);
    t->tune_bytes = 0;
    t->tune_us = now;
}

void tcp_tune_sent(struct tcp_sock *t)
{
    struct tcp_pcb *pcb = t->pcb;
    if (likely(!pcb || pcb->cwnd < t->snd_total / 4) || !is_long(pcb) || !t->s || t->s->sndbuf_set)
        return;
    u32 more = lend(t->snd_total, &t->snd_more);
    t->snd_total += more;
    pcb->snd_buf += more;
}

void tcp_tune_forget(struct tcp_sock *t)
{
    lent -= t->rcv_more + t->snd_more;
    t->rcv_more = t->snd_more = 0;
}
