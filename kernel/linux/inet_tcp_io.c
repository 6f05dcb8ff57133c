// SPDX-License-Identifier: Apache-2.0
// TCP sockets: send and recv (Linux, net/ipv4/tcp.c: tcp_sendmsg_locked, tcp_recvmsg_locked).
#include "inet.h"

#include "lwip/memp.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"

#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "time.h"

#include "../net/recovery.h"
#include "inet_tcp.h"

#define CHUNK 16384u                          // copied from the program at a time
#define SMALL 512u                            // on the stack

// --- send -----------------------------------------------------------------------------------------------------------------

static bool connected(struct socket *s) { return ((struct tcp_sock *)s->priv)->phase != TCP_CONNECTING; }

static bool can_send(struct socket *s)
{
    struct tcp_sock *t = s->priv;
    if (t->phase != TCP_CONNECTED || t->shut_wr || s->error || tcp_sock_writable(t))
        return true;
    t->nospace = true;
    return false;
}

static int send_error(struct socket *s, struct tcp_sock *t)
{
    if (s->error)
        return socket_take_error(s);
    return t->phase != TCP_CONNECTED || t->shut_wr ? -EPIPE : 0;
}

void tcp_flush(struct tcp_sock *t)
{
    if (t->pcb)
        tcp_output(t->pcb);
}

static u32 send_room(const struct tcp_sock *t)
{
    const struct tcp_pcb *pcb = t->pcb;
    return !pcb || pcb->snd_queuelen >= TCP_SND_QUEUELEN || !tcp_unsent_low(t) ? 0 : pcb->snd_buf;
}

// Up to `n` bytes into lwIP's queue. The number taken, or -errno; -EAGAIN: no memory for segments just now.
static ssize_t enqueue(struct tcp_sock *t, const void *data, u32 n, bool more)
{
    ssize_t done = -EAGAIN;
    net_lock();
    struct tcp_pcb *pcb = t->pcb;
    if (!pcb) {
        net_unlock();
        return -EPIPE;
    }
    n = MIN(n, pcb->snd_buf);
    if (n && tcp_write(pcb, data, (u16_t)n, (u8_t)(TCP_WRITE_FLAG_COPY | (more ? TCP_WRITE_FLAG_MORE : 0))) == ERR_OK)
        done = (ssize_t)n;
    if (!more || !pcb->unsent || pcb->unsent->next)      // a cork holds back less than a segment
        tcp_output(pcb);
    net_unlock();
    return done;
}

// What a segment may hold: not more than half of what the peer ever offered, or it would wait for a window that never comes.
static u32 segment_size(const struct tcp_pcb *pcb)
{
    return MIN((u32)pcb->mss, pcb->snd_wnd_max / 2);
}

// Appends a whole segment that is built already, as tcp_write() would, but without its copy. `p` begins with room for the options and
// has room for the header before that.
static bool append_segment(struct tcp_pcb *pcb, struct pbuf *p, bool push)
{
    struct tcp_seg *seg = memp_malloc(MEMP_TCP_SEG), **tail = &pcb->unsent;
    if (!seg)
        return false;
    memset(seg, 0, sizeof(*seg));
    seg->p = p;
    seg->len = (u16)(p->tot_len - stamps_len(pcb));
    seg->flags = pcb->flags & TF_TIMESTAMP ? TF_SEG_OPTS_TS : 0;
    pbuf_add_header(p, TCP_HLEN);
    seg->tcphdr = p->payload;
    memset(seg->tcphdr, 0, TCP_HLEN);
    seg->tcphdr->src = lwip_htons(pcb->local_port);
    seg->tcphdr->dest = lwip_htons(pcb->remote_port);
    seg->tcphdr->seqno = lwip_htonl(pcb->snd_lbb);
    TCPH_HDRLEN_FLAGS_SET(seg->tcphdr, 5 + stamps_len(pcb) / 4, TCP_ACK | (push ? TCP_PSH : 0));
    while (*tail)
        tail = &(*tail)->next;
    *tail = seg;
    pcb->unsent_oversize = 0;
    pcb->snd_lbb += seg->len;
    pcb->snd_buf -= seg->len;
    pcb->snd_queuelen++;
    return true;
}

#define BATCH 8

static void drop_built(struct pbuf **p, u32 from, u32 n)
{
    for (u32 i = from; i < n; i++)
        pbuf_free(p[i]);
}

// Whole segments straight from the program's memory. The bytes queued; 0: take the other way.
static ssize_t send_whole(struct tcp_sock *t, struct iter *it, u32 room, bool hold)
{
    struct pbuf *p[BATCH];
    u32 size = t->pcb ? segment_size(t->pcb) : 0, n = 0, done = 0, skipped = t->pcb ? stamps_len(t->pcb) : 0;
    struct iter mark = *it;
    if (size < 536 || room < size || it->left < size)
        return 0;
    u32 want = MIN(MIN((u32)(MIN(it->left, (u64)room) / size), (u32)BATCH), MAX(2 * CHUNK / size, 1u));
    for (; n < want; n++) {
        p[n] = pbuf_alloc(PBUF_TRANSPORT, (u16_t)(size + skipped), PBUF_RAM);
        if (!p[n])
            break;
        if (iter_get(it, (u8 *)p[n]->payload + skipped, size) < size) {
            pbuf_free(p[n]);
            break;
        }
    }
    net_lock();
    struct tcp_pcb *pcb = t->pcb;
    while (done < n && pcb && pcb->snd_buf >= size && segment_size(pcb) >= size &&
           append_segment(pcb, p[done], !hold && done + 1 == n && it->left == 0))
        done++;
    if (pcb && done)
        tcp_output(pcb);
    drop_built(p, done, n);
    net_unlock();
    if (done < n || n < want) {               // a fault, or no memory: the other way tells them apart
        iter_revert(it, &mark);
        it->left = mark.left;
        for (u32 left = done * size; left > 0;) {
            u8 skip[256];
            u32 step = MIN(left, (u32)sizeof(skip));
            iter_get(it, skip, step);
            left -= step;
        }
    }
    return (ssize_t)(done * size);
}

static ssize_t send_chunk(struct tcp_sock *t, struct iter *it, u32 n, bool more)
{
    u8 small[SMALL];
    u8 *buf = n <= SMALL ? small : kmalloc(n, 0);
    if (!buf)
        return -ENOBUFS;
    struct iter mark = *it;
    u32 got = (u32)iter_get(it, buf, n);
    ssize_t done = got ? enqueue(t, buf, got, more) : -EFAULT;
    if (done < (ssize_t)got) {
        iter_revert(it, &mark);
        u8 *skip = buf;                       // what was taken is behind us
        if (done > 0)
            iter_get(it, skip, (size_t)done);
    }
    if (buf != small)
        kfree(buf);
    return done;
}

// 0 when there is room to send, or why there will be none.
ssize_t tcp_send_wait(struct socket *s, u32 flags)
{
    struct tcp_sock *t = s->priv;
    ssize_t err = send_error(s, t);
    if (!err && send_room(t) == 0)
        err = socket_wait(s, can_send, s->snd_timeout, flags & K_MSG_DONTWAIT);
    return err;
}

ssize_t tcp_send_loop(struct socket *s, struct msg *m, u32 flags)
{
    struct tcp_sock *t = s->priv;
    bool nonblock = flags & K_MSG_DONTWAIT, hold = (flags & K_MSG_MORE) || t->cork;
    ssize_t total = 0;
    while (m->it->left > 0) {
        ssize_t err = send_error(s, t);
        u32 room = send_room(t);
        if (!err && room == 0) {
            err = socket_wait(s, can_send, s->snd_timeout, nonblock);
            if (!err)
                continue;
        }
        if (!err)
            err = send_whole(t, m->it, room, hold);
        u32 n = (u32)MIN(m->it->left, (u64)MIN(room, CHUNK));
        if (!err)
            err = send_chunk(t, m->it, n, hold || n < m->it->left);
        if (err > 0) {
            total += err;
            continue;
        }
        if (err == -EAGAIN && !nonblock && t->pcb && (t->pcb->unacked || t->pcb->unsent)) {
            t->nospace = true;
            sleep_until(clock_mono_ns() + 1000000, true);
            continue;
        }
        return total ? total : err;
    }
    return total;
}

ssize_t tcp_op_send(struct socket *s, struct msg *m, u32 flags)
{
    struct tcp_sock *t = s->priv;
    if ((flags & K_MSG_FASTOPEN) && t->phase == TCP_IDLE) {       // without a cookie: an ordinary connection (RFC 7413, section 4.1)
        int err = tcp_op_connect(s, &m->addr, m->addr_len, flags & K_MSG_DONTWAIT);
        if (err)
            return err;
    }
    if (t->phase == TCP_CONNECTING) {
        int err = socket_wait(s, connected, s->snd_timeout, flags & K_MSG_DONTWAIT);
        if (err)
            return err;
    }
    if (m->it->left == 0)
        return send_error(s, t);
    mutex_lock(&t->tx_lock);
    ssize_t n = flags & K_MSG_OOB ? tcp_send_urgent(s, m, flags) : tcp_send_loop(s, m, flags);
    mutex_unlock(&t->tx_lock);
    return n;
}

// --- recv -----------------------------------------------------------------------------------------------------------------

static bool can_recv(struct socket *s)
{
    struct tcp_sock *t = s->priv;
    return tcp_readable(t) > 0 || s->error || t->fin_received || t->shut_rd || t->phase == TCP_DEAD || t->phase == TCP_IDLE;
}

// Copies up to `want` bytes from `skip` bytes after the start of the queue, without the lock: only readers, who hold rx_lock,
// take pbufs off; the softirq appends. Returns the bytes copied.
static size_t copy_out(struct tcp_sock *t, struct iter *it, size_t skip, size_t want, bool discard)
{
    size_t avail = t->rx_bytes - MIN(skip, (size_t)t->rx_bytes), done = 0;
    size_t off = t->rx_off + skip;
    struct pbuf *p = t->rx_head;
    want = MIN(want, avail);
    while (done < want && p) {
        if (off >= p->len) {
            off -= p->len;
            p = p->next;
            continue;
        }
        size_t n = MIN(want - done, (size_t)p->len - off);
        size_t put = discard ? n : iter_put(it, (u8 *)p->payload + off, n);
        done += put;
        off += put;
        if (put < n)
            break;
    }
    return done;
}

// Takes `n` bytes off the queue and opens the window by as much.
static void consume(struct tcp_sock *t, size_t n)
{
    net_lock();
    t->rx_bytes -= (u32)n;
    t->read_seq += (u32)n;
    tcp_urgent_read(t);
    tcp_window_give(t, (u32)n);
    tcp_tune_read(t, (u32)n);
    n += t->rx_off;
    while (t->rx_head && n >= t->rx_head->len) {
        struct pbuf *p = t->rx_head;
        n -= p->len;
        t->rx_head = p->next;
        if (!t->rx_head)
            t->rx_tail = NULL;
        p->next = NULL;
        p->tot_len = p->len;
        pbuf_free(p);
        t->rx_bufs--;
    }
    t->rx_off = (u32)n;
    net_unlock();
}

// Why there is no more: -errno, 0 for the end of the stream, 1 when waiting may help.
static int recv_end(struct socket *s, struct tcp_sock *t)
{
    if (s->error)
        return socket_take_error(s);
    if (t->fin_received || t->shut_rd || t->phase == TCP_DEAD)
        return 0;
    return t->phase == TCP_IDLE || t->phase == TCP_LISTENING ? -ENOTCONN : 1;
}

static ssize_t recv_loop(struct socket *s, struct tcp_sock *t, struct msg *m, u32 flags)
{
    size_t len = m->it->left, done = 0;
    size_t target = flags & K_MSG_WAITALL ? len : MIN((size_t)s->rcvlowat, len);
    if (len == 0 && t->rx_bytes > 0)
        return 0;
    target = MAX(target, 1ul);                // nothing asked for waits for something to come all the same
    bool peek = flags & K_MSG_PEEK, discard = flags & K_MSG_TRUNC;
    for (;;) {
        size_t mark = tcp_until_mark(t), hole = 0;
        if (peek && mark != ~0u)
            mark = mark >= done ? mark - done : ~0u;
        if (mark == 0 && done)                // reading stops before urgent data, and begins with it or after it
            return (ssize_t)done;
        if (mark == 0 && tcp_skip_urgent(s, t)) {
            hole = peek;
            if (!peek)
                consume(t, 1);
        }
        size_t n = copy_out(t, m->it, (peek ? done : 0) + hole, MIN(len - done, mark ? mark : ~0ul), discard);
        if (n == 0 && t->rx_bytes > (peek ? done : 0) + hole && len > done)
            return done ? (ssize_t)done : -EFAULT;
        if (n && !peek)
            consume(t, n);
        done += n;
        if (done >= target)
            return (ssize_t)done;
        net_lock();                           // the last bytes and the end may come together, between two looks at them
        bool more = t->rx_bytes > (peek ? done : 0) + hole;
        int why = more || (done && s->error) ? 0 : recv_end(s, t);
        net_unlock();
        if (more)
            continue;
        if (why != 1)
            return done ? (ssize_t)done : why;
        if (peek && done)                     // no way to wait for more than is there without taking it
            return (ssize_t)done;
        why = socket_wait(s, can_recv, s->rcv_timeout, flags & K_MSG_DONTWAIT);
        if (why)
            return done ? (ssize_t)done : why;
    }
}

ssize_t tcp_op_recv(struct socket *s, struct msg *m, u32 flags)
{
    struct tcp_sock *t = s->priv;
    if (flags & K_MSG_ERRQUEUE)
        return -EAGAIN;
    if (t->phase == TCP_LISTENING || (t->phase == TCP_IDLE && !s->error))
        return -ENOTCONN;
    if (flags & K_MSG_OOB)
        return tcp_recv_urgent(s, m, flags);
    mutex_lock(&t->rx_lock);
    ssize_t n = recv_loop(s, t, m, flags);
    if (t->inq && n >= 0) {                   // TCP_INQ: what is left; the end of the stream counts for one, for good
        int left = (int)t->rx_bytes + t->fin_received;
        msg_put_control(m, 6, 36, &left, sizeof(left));       // SOL_TCP, TCP_CM_INQ
    }
    mutex_unlock(&t->rx_lock);
    return n;
}
