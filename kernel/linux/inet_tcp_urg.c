// SPDX-License-Identifier: Apache-2.0
// TCP's urgent data as Linux has it: one byte, out of band unless SO_OOBINLINE, the pointer after it (tcp(7), RFC 6093, section 3;
// Linux's tcp_check_urg, tcp_recv_urg). lwIP knows nothing of it: what arrives is seen in net/hooks.c.
#include "inet.h"

#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"

#include "errno.h"
#include "lib.h"

#include "../net/net_priv.h"
#include "fasync.h"
#include "inet_tcp.h"

static bool oobinline(const struct tcp_sock *t) { return t->s && t->s->oobinline; }

// --- Receiving --------------------------------------------------------------------------------------------------------------

void inet_tcp_urgent(void *arg, u32 seq)
{
    struct tcp_sock *t = arg;
    if (!t || !t->pcb || TCP_SEQ_LT(seq, t->pcb->rcv_nxt) || (t->urg != URG_NONE && TCP_SEQ_LEQ(seq, t->urg_seq)))
        return;
    t->urg = URG_NOT_YET;
    t->urg_seq = seq;
    if (t->s)
        fasync_urgent(t->s->file);
}

void tcp_urgent_arrived(struct tcp_sock *t)
{
    u32 at = t->urg_seq - t->read_seq;
    if (t->urg != URG_NOT_YET || at >= t->rx_bytes)
        return;
    at += t->rx_off;
    for (struct pbuf *p = t->rx_head; p; p = p->next) {
        if (at < p->len) {
            t->urg_byte = ((const u8 *)p->payload)[at];
            t->urg = URG_VALID;
            tcp_sock_wake(t, POLL_PRI);
            return;
        }
        at -= p->len;
    }
}

u32 tcp_until_mark(struct tcp_sock *t)
{
    u32 n = t->urg_seq - t->read_seq;
    return t->urg == URG_NONE || n > 0x7fffffff ? ~0u : n;
}

void tcp_urgent_read(struct tcp_sock *t)
{
    if (t->urg != URG_NONE && TCP_SEQ_GT(t->read_seq, t->urg_seq))
        t->urg = URG_NONE;
}

bool tcp_skip_urgent(struct socket *s, struct tcp_sock *t)
{
    return !s->oobinline && t->rx_bytes > 0;
}

u32 tcp_readable(struct tcp_sock *t)
{
    bool hidden = t->rx_bytes && tcp_until_mark(t) == 0 && !oobinline(t);
    return t->rx_bytes - hidden;
}

u32 tcp_urgent_poll(const struct tcp_sock *t) { return t->urg == URG_VALID ? POLL_PRI : 0; }

ssize_t tcp_recv_urgent(struct socket *s, struct msg *m, u32 flags)
{
    struct tcp_sock *t = s->priv;
    if (oobinline(t) || t->urg == URG_NONE || t->urg == URG_READ)
        return -EINVAL;
    if (t->urg == URG_NOT_YET)
        return t->phase == TCP_DEAD || t->shut_rd || t->fin_received ? 0 : -EAGAIN;
    u8 byte = t->urg_byte;
    if (!(flags & K_MSG_PEEK))
        t->urg = URG_READ;
    m->out_flags |= K_MSG_OOB;
    if (m->it->left == 0) {
        m->out_flags |= K_MSG_TRUNC;
        return 0;
    }
    if (flags & K_MSG_TRUNC)
        return 1;
    return iter_put(m->it, &byte, 1) == 1 ? 1 : -EFAULT;
}

// --- Sending ----------------------------------------------------------------------------------------------------------------

// The last byte, and where it is. 1, or -errno; -EAGAIN: no room.
static ssize_t put_byte(struct tcp_sock *t, u8 byte)
{
    ssize_t n = -EAGAIN;
    net_lock();
    struct tcp_pcb *pcb = t->pcb;
    if (!pcb) {
        n = -EPIPE;
    } else if (pcb->snd_buf && tcp_write(pcb, &byte, 1, TCP_WRITE_FLAG_COPY) == ERR_OK) {
        struct tcp_seg *last = pcb->unsent;
        while (last->next)
            last = last->next;
        TCPH_SET_FLAG(last->tcphdr, TCP_URG);
        last->tcphdr->urgp = lwip_htons(last->len);
        bool nagle = !(pcb->flags & TF_NODELAY);
        tcp_nagle_disable(pcb);               // urgent data does not wait
        tcp_output(pcb);
        if (nagle)
            tcp_nagle_enable(pcb);
        n = 1;
    }
    net_unlock();
    return n;
}

ssize_t tcp_send_urgent(struct socket *s, struct msg *m, u32 flags)
{
    struct tcp_sock *t = s->priv;
    u64 before = m->it->left - 1;
    ssize_t done = 0, n;
    u8 byte;
    if (before) {
        m->it->left = before;
        done = tcp_send_loop(s, m, flags | K_MSG_MORE);
        if (done < (ssize_t)before)
            return done;
    }
    m->it->left = 1;
    if (iter_get(m->it, &byte, 1) != 1)
        return done ? done : -EFAULT;
    do {
        n = tcp_send_wait(s, flags);
        if (n == 0)
            n = put_byte(t, byte);
    } while (n == -EAGAIN && !(flags & K_MSG_DONTWAIT));
    return n == 1 ? done + 1 : done ? done : n;
}
