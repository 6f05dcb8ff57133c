// SPDX-License-Identifier: Apache-2.0
// TCP sockets: options (tcp(7)) and TCP_INFO (struct tcp_info of linux/tcp.h).
#include "inet.h"

#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"

#include "errno.h"
#include "lib.h"
#include "time.h"

#include "../net/recovery.h"
#include "inet_tcp.h"

enum {
    O_NODELAY = 1, O_MAXSEG = 2, O_CORK = 3, O_KEEPIDLE = 4, O_KEEPINTVL = 5, O_KEEPCNT = 6, O_SYNCNT = 7, O_LINGER2 = 8,
    O_DEFER_ACCEPT = 9, O_WINDOW_CLAMP = 10, O_INFO = 11, O_QUICKACK = 12, O_CONGESTION = 13, O_USER_TIMEOUT = 18,
    O_FASTOPEN = 23, O_NOTSENT_LOWAT = 25, O_FASTOPEN_CONNECT = 30, O_INQ = 36,
};
#define SOL_TCP_ 6
#define WINDOW_MIN 1152u                      // half of the smallest SO_RCVBUF

void tcp_apply_options(struct tcp_sock *t)
{
    struct tcp_pcb *pcb = t->pcb;
    if (!pcb)
        return;
    if (t->nodelay)
        tcp_nagle_disable(pcb);
    else
        tcp_nagle_enable(pcb);
    if (t->s && t->s->keepalive)
        ip_set_option(pcb, SOF_KEEPALIVE);
    else
        ip_reset_option(pcb, SOF_KEEPALIVE);
    pcb->keep_idle = t->keep_idle * 1000;
    pcb->keep_intvl = t->keep_intvl * 1000;
    pcb->keep_cnt = t->keep_cnt;
    if (t->s)
        pcb->netif_idx = inet_device(t->s);
    pcb->net.reno = t->reno;
    pcb->net.syn_retries = (u8)t->syncnt;
    pcb->ttl = t->opt.ttl;
    pcb->tos = t->opt.tos;
}

// Half of SO_RCVBUF is for data, as with Linux's net.ipv4.tcp_adv_win_scale of 1.
u32 tcp_window_limit(const struct tcp_sock *t)
{
    u32 n = net_tcp_wnd + t->rcv_more;
    if (t->s && t->s->rcvbuf_set)
        n = MIN(n, MAX(t->s->rcvbuf / 2, WINDOW_MIN));
    return t->window_clamp ? MIN(n, t->window_clamp) : n;
}

void tcp_window_give(struct tcp_sock *t, u32 n)
{
    u32 owed = MIN(n, t->window_debt);
    t->window_debt -= owed;
    n -= owed;
    while (t->pcb && n > 0) {
        u16 step = (u16)MIN(n, 0xffffu);
        tcp_recved(t->pcb, step);
        n -= step;
    }
}

void tcp_window_apply(struct tcp_sock *t)
{
    struct tcp_pcb *pcb = t->pcb;
    if (!pcb || !t->s || t->phase == TCP_LISTENING)
        return;
    u32 before = TCP_WND_MAX(pcb), limit = tcp_window_limit(t);
    pcb->net.wnd_max = limit;
    u32 after = TCP_WND_MAX(pcb);
    if (pcb->state == CLOSED)                 // tcp_connect() takes it from there
        return;
    if (pcb->state == SYN_SENT)
        pcb->rcv_wnd = pcb->rcv_ann_wnd = MIN(limit, 0xffffu);
    else if (after < before)
        t->window_debt += before - after;
    else
        tcp_window_give(t, after - before);
}

void tcp_buffers_apply(struct tcp_sock *t)
{
    if (!t->pcb || !t->s || t->phase == TCP_LISTENING)
        return;
    u32 want = t->s->sndbuf_set ? t->s->sndbuf : net_tcp_sndbuf + t->snd_more;
    u32 in_use = t->snd_total - MIN(t->snd_total, t->pcb->snd_buf);
    t->pcb->snd_buf = want > in_use ? want - in_use : 0;
    t->snd_total = in_use + t->pcb->snd_buf;
    tcp_window_apply(t);
}

// SOL_SOCKET options: buffers, where the program sets them, keepalive.
void tcp_op_changed(struct socket *s)
{
    struct tcp_sock *t = s->priv;
    net_lock();
    if (t->pcb && t->phase != TCP_LISTENING) {
        tcp_buffers_apply(t);
        tcp_apply_options(t);
    }
    net_unlock();
}

static int set_range(u32 *field, int v, int min, int max)
{
    if (v < min || v > max)
        return -EINVAL;
    *field = (u32)v;
    return 0;
}

// Seconds as Linux keeps them: the sum of so many retransmission time-outs (net/ipv4/tcp.c: secs_to_retrans).
static int in_retransmissions(int seconds)
{
    int sum = 0;
    for (int timeout = 1; sum < seconds; timeout = MIN(timeout * 2, 120))
        sum += timeout;
    return sum;
}

static int set_tcp(struct tcp_sock *t, int name, int v)
{
    switch (name) {
    case O_NODELAY:
        t->nodelay = v != 0;
        if (t->nodelay)
            tcp_flush(t);
        return 0;
    case O_CORK:
        t->cork = v != 0;
        if (!t->cork)
            tcp_flush(t);
        return 0;
    case O_MAXSEG: return v == 0 ? 0 : set_range(&t->maxseg, v, 88, 32767);
    case O_KEEPIDLE: return set_range(&t->keep_idle, v, 1, 32767);
    case O_KEEPINTVL: return set_range(&t->keep_intvl, v, 1, 32767);
    case O_KEEPCNT: return set_range(&t->keep_cnt, v, 1, 127);
    case O_SYNCNT: return set_range(&t->syncnt, v, 1, 127);
    case O_LINGER2: t->linger2 = v; return 0;
    case O_DEFER_ACCEPT: t->defer_accept = in_retransmissions(v); return 0;
    case O_QUICKACK: t->quickack = v != 0; return 0;
    case O_USER_TIMEOUT: return v < 0 ? -EINVAL : set_range(&t->user_timeout, v, 0, 0x7fffffff);
    case O_FASTOPEN:                          // no cookies are given out: clients connect as always (RFC 7413, section 4.1)
        if (t->phase != TCP_IDLE && t->phase != TCP_LISTENING)
            return -EINVAL;
        return set_range(&t->fastopen, v, 0, 0x7fffffff);
    case O_INQ:
        if (v < 0 || v > 1)
            return -EINVAL;
        t->inq = v;
        return 0;
    case O_FASTOPEN_CONNECT:
        if (v < 0 || v > 1 || t->phase != TCP_IDLE)
            return -EINVAL;
        t->fastopen_connect = v;
        return 0;
    case O_WINDOW_CLAMP:
        if (v == 0 && t->phase != TCP_IDLE && t->phase != TCP_DEAD)
            return -EINVAL;
        t->window_clamp = v ? (u32)MAX(v, (int)WINDOW_MIN) : 0;
        tcp_window_apply(t);
        return 0;
    case O_NOTSENT_LOWAT:
        t->notsent_lowat = (u32)v;
        if (tcp_sock_writable(t))
            tcp_sock_wake(t, POLL_OUT | POLL_WRNORM);
        return 0;
    default: return -ENOPROTOOPT;
    }
}

static int set_congestion(struct tcp_sock *t, const char *name, u32 len)
{
    if (len == 0)
        return -EINVAL;
    len = (u32)strnlen(name, len);
    bool reno = len == 4 && memcmp(name, "reno", 4) == 0;
    if (!reno && (len != 5 || memcmp(name, "cubic", 5) != 0))
        return -ENOENT;
    net_lock();
    t->reno = reno;
    tcp_apply_options(t);
    net_unlock();
    return 0;
}

int tcp_op_setopt(struct socket *s, int level, int name, const void *val, u32 len)
{
    struct tcp_sock *t = s->priv;
    int v;
    if (level != SOL_TCP_) {
        int err = inet_setopt(s, level, name, val, len);
        net_lock();
        tcp_apply_options(t);
        net_unlock();
        return err == 1 ? -ENOPROTOOPT : err;
    }
    if (name == O_CONGESTION)
        return set_congestion(t, val, len);
    int err = sockopt_int(val, len, &v);
    if (err)
        return err;
    net_lock();
    err = set_tcp(t, name, v);
    if (!err && t->phase != TCP_LISTENING)
        tcp_apply_options(t);
    net_unlock();
    return err;
}

// linux/tcp.h, up to tcpi_segs_in.
struct info {
    u8 state, ca_state, retransmits, probes, backoff, options, wscale, flags;
    u32 rto, ato, snd_mss, rcv_mss, unacked, sacked, lost, retrans, fackets;
    u32 last_data_sent, last_ack_sent, last_data_recv, last_ack_recv;
    u32 pmtu, rcv_ssthresh, rtt, rttvar, snd_ssthresh, snd_cwnd, advmss, reordering, rcv_rtt, rcv_space, total_retrans;
    u64 pacing_rate, max_pacing_rate, bytes_acked, bytes_received;
    u32 segs_out, segs_in;
};

// Linux's numbers of the states (net/tcp_states.h), from lwIP's.
static u8 linux_state(const struct tcp_sock *t)
{
    static const u8 map[] = { [CLOSED] = 7, [LISTEN] = 10, [SYN_SENT] = 2, [SYN_RCVD] = 3, [ESTABLISHED] = 1, [FIN_WAIT_1] = 4,
                              [FIN_WAIT_2] = 5, [CLOSE_WAIT] = 8, [CLOSING] = 11, [LAST_ACK] = 9, [TIME_WAIT] = 6 };
    return t->phase == TCP_LISTENING ? 10 : t->pcb ? map[t->pcb->state] : 7;
}

static void fill_info(const struct tcp_sock *t, struct info *i)
{
    memset(i, 0, sizeof(*i));
    i->state = linux_state(t);
    i->bytes_acked = t->bytes_acked;
    i->bytes_received = t->bytes_received;
    const struct tcp_pcb *p = t->pcb;
    if (!p || t->phase == TCP_LISTENING)
        return;
    u32 mss = t->real_mss ? t->real_mss : MAX(p->mss, 1);
    i->retransmits = p->nrtx;
    i->probes = p->persist_probe;
    i->options = (p->flags & TF_TIMESTAMP ? 1 : 0) | (p->flags & TF_WND_SCALE ? 4 : 0) | (p->flags & TF_SACK ? 2 : 0);
    i->wscale = (u8)((p->rcv_scale << 4) | p->snd_scale);
    i->rto = (u32)p->rto * TCP_SLOW_INTERVAL * 1000;
    i->ato = TCP_TMR_INTERVAL * 1000;
    i->snd_mss = i->rcv_mss = i->advmss = mss;
    for (const struct tcp_seg *s = p->unacked; s; s = s->next)
        i->unacked++;
    i->pmtu = mss + (IP_IS_V4_VAL(p->remote_ip) ? 40 : 60) + stamps_len(p);
    i->ca_state = p->flags & TF_RTO ? 4 : p->flags & TF_INFR ? 3 : p->net.sacked ? 1 : 0;     // Loss, Recovery, Disorder, Open
    i->sacked = p->net.nr_sacked;
    i->total_retrans = p->net.total_again;
    i->rtt = p->net.srtt;
    i->rttvar = p->net.rttvar;
    i->snd_ssthresh = p->ssthresh / mss;
    i->snd_cwnd = MAX(p->cwnd / mss, 1);
    i->rcv_space = p->rcv_wnd;
    i->rcv_ssthresh = p->rcv_ann_wnd;
    i->reordering = p->net.dupthresh ? p->net.dupthresh : 3;
}

static int get_tcp(const struct tcp_sock *t, int name, int *v)
{
    switch (name) {
    case O_NODELAY: *v = t->nodelay; return 0;
    case O_MAXSEG: *v = t->pcb && t->phase == TCP_CONNECTED ? t->real_mss : t->maxseg ? (int)t->maxseg : 536; return 0;
    case O_CORK: *v = t->cork; return 0;
    case O_KEEPIDLE: *v = (int)t->keep_idle; return 0;
    case O_KEEPINTVL: *v = (int)t->keep_intvl; return 0;
    case O_KEEPCNT: *v = (int)t->keep_cnt; return 0;
    case O_SYNCNT: *v = (int)t->syncnt; return 0;
    case O_LINGER2: *v = t->linger2; return 0;
    case O_DEFER_ACCEPT: *v = t->defer_accept; return 0;
    case O_QUICKACK: *v = t->quickack; return 0;
    case O_USER_TIMEOUT: *v = (int)t->user_timeout; return 0;
    case O_WINDOW_CLAMP:
        *v = t->window_clamp || t->phase == TCP_IDLE || t->phase == TCP_LISTENING ? (int)t->window_clamp : (int)tcp_window_limit(t);
        return 0;
    case O_FASTOPEN: *v = (int)t->fastopen; return 0;
    case O_FASTOPEN_CONNECT: *v = t->fastopen_connect; return 0;
    case O_INQ: *v = t->inq; return 0;
    case O_NOTSENT_LOWAT: *v = (int)t->notsent_lowat; return 0;
    default: return -ENOPROTOOPT;
    }
}

int tcp_op_getopt(struct socket *s, int level, int name, void *val, u32 *len)
{
    struct tcp_sock *t = s->priv;
    int v = 0, err;
    if (level != SOL_TCP_) {
        err = inet_getopt(s, level, name, val, len);
        return err == 1 ? -ENOPROTOOPT : err;
    }
    if (name == O_CONGESTION) {
        *len = MIN(*len, 16u);                // TCP_CA_NAME_MAX
        memcpy(val, t->reno ? "reno\0\0\0\0\0\0\0\0\0\0\0" : "cubic\0\0\0\0\0\0\0\0\0\0", *len);
        return 0;
    }
    net_lock();
    if (name == O_INFO) {
        struct info i;
        fill_info(t, &i);
        *len = MIN(*len, (u32)sizeof(i));
        memcpy(val, &i, *len);
        err = 0;
    } else {
        err = get_tcp(t, name, &v);
        if (!err)
            sockopt_put_int(val, len, v);
    }
    net_unlock();
    return err;
}
