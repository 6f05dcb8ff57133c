// SPDX-License-Identifier: Apache-2.0
// TCP sockets: life, lwIP's callbacks, readiness (tcp(7); readiness: tcp_poll of Linux, net/ipv4/tcp.c).
#include "inet.h"

#include "lwip/ip.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"

#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "time.h"

#include "../net/net_priv.h"
#include "../net/recovery.h"
#include "inet_tcp.h"

static const struct socket_ops tcp_ops;

struct tcp_sock *tcp_sock_alloc(unsigned flags)
{
    struct tcp_sock *t = kmalloc(sizeof(*t), flags | PA_ZERO);
    if (!t)
        return NULL;
    inet_opts_init(&t->opt);
    mutex_init(&t->rx_lock);
    mutex_init(&t->tx_lock);
    list_init(&t->accept_queue);
    list_init(&t->accept_node);
    list_init(&t->group_node);
    t->snd_total = net_tcp_sndbuf;
    t->keep_idle = 7200;
    t->keep_intvl = 75;
    t->keep_cnt = 9;
    t->syncnt = 6;
    t->linger2 = 60;
    t->quickack = true;
    list_push(&tcp_socks, &t->all_node);
    return t;
}

int tcp_sock_create(struct socket *s)
{
    net_lock();
    struct tcp_sock *t = tcp_sock_alloc(PA_ATOMIC);
    net_unlock();
    if (!t)
        return -ENOBUFS;
    t->s = s;
    s->priv = t;
    s->ops = &tcp_ops;
    s->rcvbuf = 131072;                       // net.ipv4.tcp_rmem and tcp_wmem, the middle values
    s->sndbuf = 16384;
    t->opt.mcast_all = s->domain == K_AF_INET;
    ip_addr_set_any(s->domain == K_AF_INET6, &t->local.ip);
    return 0;
}

void tcp_sock_wake(struct tcp_sock *t, u32 events)
{
    if (t->s)
        waitq_wake(&t->s->wq, events);
}

void tcp_rx_purge(struct tcp_sock *t)
{
    while (t->rx_head) {
        struct pbuf *p = t->rx_head;
        t->rx_head = p->next;
        p->next = NULL;
        p->tot_len = p->len;
        pbuf_free(p);
    }
    t->rx_tail = NULL;
    t->rx_off = t->rx_bytes = t->rx_bufs = 0;
    t->urg = URG_NONE;
}

// --- lwIP's callbacks (net_lock held) -------------------------------------------------------------------------------------

// Small segments would pin large buffers: when many wait, a copy of just the bytes takes their place.
static struct pbuf *compact(struct tcp_sock *t, struct pbuf *p)
{
    if (t->rx_bufs < 8 || p->next || p->len > 512)
        return p;
    struct pbuf *tail = t->rx_tail;
    if (tail && tail->type_internal == (u8)PBUF_RAM && ksize(tail) - (size_t)((u8 *)tail->payload - (u8 *)tail) - tail->len >= p->len) {
        memcpy((u8 *)tail->payload + tail->len, p->payload, p->len);
        tail->len = (u16_t)(tail->len + p->len);
        t->rx_bytes += p->len;
        pbuf_free(p);
        return NULL;
    }
    struct pbuf *small = pbuf_alloc(PBUF_RAW, 1024, PBUF_RAM);
    if (!small)
        return p;
    memcpy(small->payload, p->payload, p->len);
    small->len = p->len;
    pbuf_free(p);
    return small;
}

static void append(struct tcp_sock *t, struct pbuf *p)
{
    p = compact(t, p);
    if (!p)
        return;
    if (t->rx_tail)
        t->rx_tail->next = p;
    else
        t->rx_head = p;
    for (;;) {
        t->rx_bytes += p->len;
        t->rx_bufs++;
        if (!p->next)
            break;
        p = p->next;
    }
    t->rx_tail = p;
}

static void finished(struct tcp_sock *t)
{
    t->fin_received = true;
    if (t->shut_wr)
        tcp_sock_detach(t);                   // both directions are done: lwIP sees the rest through
}

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    struct tcp_sock *t = arg;
    (void)pcb;
    (void)err;
    if (t->listener && t->listener->defer_accept && list_empty(&t->accept_node))
        tcp_accept_ready(t);
    if (!p) {
        finished(t);
        tcp_sock_wake(t, POLL_IN | POLL_RDNORM | POLL_RDHUP | (t->shut_wr ? POLL_HUP : 0));
        return ERR_OK;
    }
    t->bytes_received += p->tot_len;
    append(t, p);
    tcp_urgent_arrived(t);
    tcp_sock_wake(t, POLL_IN | POLL_RDNORM);
    return ERR_OK;
}

// TCP_NOTSENT_LOWAT: no more is taken while as much waits to be sent (Linux: tcp_stream_memory_free).
bool tcp_unsent_low(const struct tcp_sock *t)
{
    return !t->notsent_lowat || !t->pcb || t->pcb->snd_lbb - t->pcb->snd_nxt < t->notsent_lowat;
}

bool tcp_sock_writable(const struct tcp_sock *t)
{
    return t->pcb && t->pcb->snd_buf >= t->snd_total / 3 && t->pcb->snd_queuelen < TCP_SND_QUEUELEN / 2 && tcp_unsent_low(t);
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
    struct tcp_sock *t = arg;
    (void)pcb;
    t->bytes_acked += len;
    if (t->s)
        t->s->soft_error = 0;
    t->progress_ns = clock_mono_ns();
    tcp_tune_sent(t);
    if (t->nospace && tcp_sock_writable(t)) {
        t->nospace = false;
        tcp_sock_wake(t, POLL_OUT | POLL_WRNORM);
    }
    return ERR_OK;
}

static int error_of(const struct tcp_sock *t, err_t err)
{
    if (err == ERR_RST)
        return t->phase == TCP_CONNECTING ? ECONNREFUSED : t->fin_received ? EPIPE : ECONNRESET;
    if (err == ERR_CLSD)
        return 0;
    return t->s && t->s->soft_error ? t->s->soft_error : ETIMEDOUT;       // ERR_ABRT: lwIP gave up sending
}

// The pcb is gone already.
static void on_error(void *arg, err_t err)
{
    struct tcp_sock *t = arg;
    if (!t)
        return;
    int e = error_of(t, err);
    t->pcb = NULL;
    t->phase = TCP_DEAD;
    if (t->s)
        t->s->error = e;
    else
        t->error = e;
    tcp_sock_wake(t, POLL_IN | POLL_OUT | POLL_RDNORM | POLL_WRNORM | POLL_RDHUP | POLL_HUP | (e ? POLL_ERR : 0));
}

#define OFFLOAD_SEGMENTS 11u                  // what fits a heap block of 16 KiB with its headers

// Where the device cuts segments (TSO), lwIP may make them many times as long. Only for peers that take full ones: the device is
// told to cut by the interface's size.
void tcp_offload(struct tcp_sock *t, struct tcp_pcb *pcb)
{
    t->real_mss = pcb->mss;
    struct netif *n = IP_IS_V4_VAL(pcb->remote_ip) ? ip_route(&pcb->local_ip, &pcb->remote_ip) : NULL;
    struct netdev *d = n ? netdev_of(n) : NULL;
    if (d && d->tso && pcb->mss + stamps_len(pcb) == d->mtu - 40u && !inet_is_ours(&pcb->remote_ip)) {
        pcb->net.wire_mss = pcb->mss;
        pcb->mss = (u16_t)(pcb->mss * OFFLOAD_SEGMENTS);
        // The first segment must fit the window, or it would never leave; about ten real ones: RFC 6928.
        pcb->cwnd = MAX(pcb->cwnd, pcb->mss);
    }
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
    struct tcp_sock *t = arg;
    (void)err;
    t->phase = TCP_CONNECTED;
    t->ever_connected = true;
    t->local.ip = pcb->local_ip;
    t->local.port = pcb->local_port;
    t->read_seq = pcb->rcv_nxt;
    tcp_offload(t, pcb);
    tcp_sock_wake(t, POLL_OUT | POLL_WRNORM | POLL_IN);
    return ERR_OK;
}

// Every 200 ms while there is a reason: what a cork held back (tcp(7): at most 200 ms), TCP_USER_TIMEOUT.
static err_t on_poll(void *arg, struct tcp_pcb *pcb)
{
    struct tcp_sock *t = arg;
    if (!t)
        return ERR_OK;
    if (pcb->unsent)
        tcp_output(pcb);
    if (!pcb->unacked && !pcb->unsent)
        t->progress_ns = clock_mono_ns();
    if (t->user_timeout && clock_mono_ns() - t->progress_ns > t->user_timeout * 1000000ull) {
        tcp_abort(pcb);                       // on_error: ETIMEDOUT
        return ERR_ABRT;
    }
    return ERR_OK;
}

void tcp_sock_attach(struct tcp_sock *t, struct tcp_pcb *pcb)
{
    t->pcb = pcb;
    t->progress_ns = clock_mono_ns();
    tcp_arg(pcb, t);
    tcp_recv(pcb, on_recv);
    tcp_sent(pcb, on_sent);
    tcp_err(pcb, on_error);
    pcb->connected = on_connected;
    tcp_poll(pcb, on_poll, 2);
    tcp_buffers_apply(t);
    tcp_apply_options(t);
}

void tcp_sock_detach(struct tcp_sock *t)
{
    struct tcp_pcb *pcb = t->pcb;
    if (!pcb)
        return;
    t->pcb = NULL;
    if (t->phase == TCP_CONNECTED || t->phase == TCP_CONNECTING)
        t->phase = TCP_DEAD;
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_sent(pcb, NULL);
    tcp_err(pcb, NULL);
    tcp_poll(pcb, NULL, 0);
}

// --- Readiness ------------------------------------------------------------------------------------------------------------

u32 tcp_sock_poll(struct socket *s)
{
    struct tcp_sock *t = s->priv;
    u32 ev = 0;
    if (t->phase == TCP_LISTENING)
        return list_empty(&t->accept_queue) ? 0 : POLL_IN | POLL_RDNORM;
    bool dead = t->phase == TCP_IDLE || t->phase == TCP_DEAD;
    bool rd_shut = t->shut_rd || t->fin_received || t->phase == TCP_DEAD;
    bool wr_shut = t->shut_wr || t->phase == TCP_DEAD;
    if ((rd_shut && wr_shut) || dead)
        ev |= POLL_HUP;
    if (rd_shut)
        ev |= POLL_IN | POLL_RDNORM | POLL_RDHUP;
    if (t->phase != TCP_CONNECTING) {
        u32 readable = tcp_readable(t);
        if (readable >= s->rcvlowat || (readable && rd_shut))
            ev |= POLL_IN | POLL_RDNORM;
        ev |= tcp_urgent_poll(t);
        if (wr_shut || dead || tcp_sock_writable(t))
            ev |= POLL_OUT | POLL_WRNORM;
        else
            t->nospace = true;
    }
    return s->error ? ev | POLL_ERR : ev;
}

static int op_getname(struct socket *s, struct sockaddr_buf *a, bool peer)
{
    struct tcp_sock *t = s->priv;
    if (peer && (t->phase == TCP_IDLE || t->phase == TCP_LISTENING || t->phase == TCP_CONNECTING || !t->ever_connected))
        return -ENOTCONN;
    if (peer && t->phase == TCP_DEAD)
        return -ENOTCONN;                     // after a reset, or the end of both directions
    return (int)inet_addr_out(s, peer ? &t->remote : &t->local, a);
}

static const struct socket_ops tcp_ops = {
    .bind = tcp_op_bind,
    .connect = tcp_op_connect,
    .listen = tcp_op_listen,
    .accept = tcp_op_accept,
    .getname = op_getname,
    .send = tcp_op_send,
    .recv = tcp_op_recv,
    .shutdown = tcp_op_shutdown,
    .poll = tcp_sock_poll,
    .setopt = tcp_op_setopt,
    .getopt = tcp_op_getopt,
    .ioctl = inet_ioctl,
    .changed = tcp_op_changed,
    .release = tcp_op_release,
};

// A connection that waited in a listener's queue gets its socket.
void tcp_adopt(struct tcp_sock *t, struct socket *s)
{
    t->s = s;
    s->priv = t;
    s->ops = &tcp_ops;
    s->error = t->error;
    if (t->pcb)
        tcp_op_changed(s);
}
