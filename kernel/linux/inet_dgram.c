// SPDX-License-Identifier: Apache-2.0
// What UDP, raw and ICMP echo sockets share: the queues of datagrams and of errors, receiving, options, the end.
#include "inet.h"

#include "lwip/ip.h"
#include "lwip/raw.h"
#include "lwip/udp.h"

#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "time.h"

#define DGRAM_MAX 65507
#define OVERHEAD 256u                         // of a queued datagram, as Linux charges what the kernel adds

struct udp_sock *dgram_alloc(struct socket *s)
{
    struct udp_sock *u = kzalloc(sizeof(*u));
    if (!u)
        return NULL;
    inet_opts_init(&u->opt);
    u->opt.mcast_all = s->domain == K_AF_INET;
    u->s = s;
    list_init(&u->queue);
    list_init(&u->errors);
    list_init(&u->groups);
    ip_addr_set_any(s->domain == K_AF_INET6, &u->local.ip);
    s->priv = u;
    net_lock();
    list_push(&udp_socks, &u->all_node);
    net_unlock();
    return u;
}

static void purge(struct list *queue)
{
    struct list *n;
    while ((n = list_pop(queue))) {
        struct dgram *d = list_entry(n, struct dgram, node);
        pbuf_free(d->p);
        kfree(d);
    }
}

void dgram_release(struct socket *s)
{
    struct udp_sock *u = s->priv;
    net_lock();
    inet_drop_memberships(u);
    if (u->pcb)
        udp_remove(u->pcb);
    if (u->raw)
        raw_remove(u->raw);
    purge(&u->queue);
    purge(&u->errors);
    list_remove(&u->all_node);
    net_unlock();
    kfree(u);
}

int dgram_queue(struct udp_sock *u, struct pbuf *p, const ip_addr_t *from, u16 port)
{
    u32 size = p->tot_len + OVERHEAD;
    bool v6 = ip_current_is_v6();
    struct dgram *d = u->queued + size > u->s->rcvbuf ? NULL : kmalloc(sizeof(*d), PA_ATOMIC);
    if (!d) {
        u->drops++;
        inet_udp_drops += !u->raw;
        return -ENOBUFS;
    }
    d->p = p;
    d->from.ip = *from;
    d->from.port = port;
    d->to = *ip_current_dest_addr();
    d->ifindex = inet_ifindex(ip_current_input_netif());
    d->time_ns = u->s->timestamp || u->s->timestampns || (u->s->timestamping & 8) ? clock_real_ns() : 0;
    d->ttl = v6 ? IP6H_HOPLIM(ip6_current_header()) : IPH_TTL(ip4_current_header());
    d->tos = v6 ? (u8)IP6H_TC(ip6_current_header()) : IPH_TOS(ip4_current_header());
    d->err = 0;
    d->drops = (u32)u->drops;
    list_push(&u->queue, &d->node);
    u->queued += size;
    waitq_wake(&u->s->wq, POLL_IN | POLL_RDNORM);
    return 0;
}

// ip(7), IP_RECVERR: the error with what was sent.
void dgram_queue_error(struct udp_sock *u, const struct icmp_report *r)
{
    u32 size = r->len + OVERHEAD;
    if (u->queued + size > u->s->rcvbuf)
        return;
    struct dgram *d = kmalloc(sizeof(*d), PA_ATOMIC | PA_ZERO);
    if (!d)
        return;
    d->p = pbuf_alloc(PBUF_RAW, (u16_t)r->len, PBUF_RAM);
    if (!d->p) {
        kfree(d);
        return;
    }
    memcpy(d->p->payload, r->payload, r->len);
    d->from = d->origin = r->remote;
    d->to = r->local.ip;
    d->offender = r->offender;
    d->err = r->err;
    d->icmp_type = r->type;
    d->icmp_code = r->code;
    d->info = r->info;
    list_push(&u->errors, &d->node);
    u->queued += size;
}

int dgram_getname(struct socket *s, struct sockaddr_buf *a, bool peer)
{
    struct udp_sock *u = s->priv;
    if (peer && !u->connected)
        return -ENOTCONN;
    return (int)inet_addr_out(s, peer ? &u->remote : &u->local, a);
}

int dgram_shutdown(struct socket *s, int how)
{
    struct udp_sock *u = s->priv;
    u->shut_rd |= how != K_SHUT_WR;
    u->shut_wr |= how != K_SHUT_RD;
    waitq_wake(&s->wq, POLL_IN | POLL_OUT | POLL_RDHUP | POLL_HUP);
    return u->connected ? 0 : -ENOTCONN;      // the flags are set all the same, as Linux's inet_shutdown does
}

struct pbuf *dgram_build(struct msg *m, int layer)
{
    size_t n = m->it->left;
    if (n > DGRAM_MAX)
        return err_ptr(-EMSGSIZE);
    struct pbuf *p = pbuf_alloc((pbuf_layer)layer, (u16_t)n, PBUF_RAM);
    if (!p)
        return err_ptr(-ENOBUFS);
    if (iter_get(m->it, p->payload, n) < n) {
        pbuf_free(p);
        return err_ptr(-EFAULT);
    }
    return p;
}

// --- Receiving --------------------------------------------------------------------------------------------------------------

static bool can_recv(struct socket *s)
{
    struct udp_sock *u = s->priv;
    return !list_empty(&u->queue) || s->error || u->shut_rd;
}

// Copies a datagram out; the bytes copied, or -EFAULT.
static ssize_t deliver(struct socket *s, struct udp_sock *u, struct msg *m, const struct dgram *d, u32 flags)
{
    size_t want = MIN(m->it->left, (u64)d->p->tot_len), done = 0;
    bool cut = want < d->p->tot_len;
    for (struct pbuf *p = d->p; p && done < want; p = p->next) {
        size_t n = MIN(want - done, (size_t)p->len);
        if (iter_put(m->it, p->payload, n) < n)
            return -EFAULT;
        done += n;
    }
    m->addr_len = inet_addr_out(s, &d->from, &m->addr);
    inet_put_control(s, &u->opt, m, d);
    if (cut)
        m->out_flags |= K_MSG_TRUNC;
    if (d->err)
        m->out_flags |= K_MSG_ERRQUEUE;
    return cut && (flags & K_MSG_TRUNC) ? (ssize_t)d->p->tot_len : (ssize_t)done;
}

static struct dgram *take(struct udp_sock *u, struct list *queue)
{
    net_lock();
    struct list *n = list_pop(queue);
    struct dgram *d = n ? list_entry(n, struct dgram, node) : NULL;
    if (d)
        u->queued -= d->p->tot_len + OVERHEAD;
    net_unlock();
    return d;
}

static ssize_t recv_error(struct socket *s, struct msg *m, u32 flags)
{
    struct udp_sock *u = s->priv;
    struct dgram *d = take(u, &u->errors);
    if (!d)
        return -EAGAIN;
    ssize_t n = deliver(s, u, m, d, flags);
    net_lock();
    pbuf_free(d->p);
    kfree(d);
    s->error = list_empty(&u->errors) ? 0 : list_entry(u->errors.next, struct dgram, node)->err;
    net_unlock();
    return n;
}

ssize_t dgram_recv(struct socket *s, struct msg *m, u32 flags)
{
    struct udp_sock *u = s->priv;
    struct dgram *d;
    if (flags & K_MSG_ERRQUEUE)
        return recv_error(s, m, flags);
    if (flags & K_MSG_OOB)
        return -EOPNOTSUPP;
    do {
        if (s->error)
            return socket_take_error(s);
        if (list_empty(&u->queue) && u->shut_rd)
            return 0;
        int err = socket_wait(s, can_recv, s->rcv_timeout, flags & K_MSG_DONTWAIT);
        if (err)
            return err;
        d = take(u, &u->queue);
    } while (!d);
    ssize_t n = deliver(s, u, m, d, flags);
    net_lock();
    if (flags & K_MSG_PEEK) {
        list_unshift(&u->queue, &d->node);
        u->queued += d->p->tot_len + OVERHEAD;
    } else {
        pbuf_free(d->p);
        kfree(d);
    }
    net_unlock();
    return n;
}

u32 dgram_poll(struct socket *s)
{
    struct udp_sock *u = s->priv;
    u32 ev = POLL_OUT | POLL_WRNORM;
    if (!list_empty(&u->queue))
        ev |= POLL_IN | POLL_RDNORM;
    if (u->shut_rd)
        ev |= POLL_IN | POLL_RDNORM | POLL_RDHUP;
    if (u->shut_rd && u->shut_wr)
        ev |= POLL_HUP;
    if (s->select_err_queue && !list_empty(&u->errors))
        ev |= POLL_PRI;
    return s->error || !list_empty(&u->errors) ? ev | POLL_ERR : ev;
}

// A SOL_SOCKET option: the device.
void dgram_changed(struct socket *s)
{
    struct udp_sock *u = s->priv;
    net_lock();
    if (u->pcb) {
        u->pcb->netif_idx = inet_device(s);
        if (s->no_check)
            udp_set_flags(u->pcb, UDP_FLAGS_NOCHKSUM);
        else
            udp_clear_flags(u->pcb, UDP_FLAGS_NOCHKSUM);
    }
    if (u->raw)
        u->raw->netif_idx = inet_device(s);
    net_unlock();
}

// --- Options ----------------------------------------------------------------------------------------------------------------

int dgram_setopt(struct socket *s, int level, int name, const void *val, u32 len)
{
    net_lock();
    int err = inet_membership(s->priv, level, name, val, len);
    if (err == 1)
        err = inet_setopt(s, level, name, val, len);
    net_unlock();
    return err == 1 ? -ENOPROTOOPT : err;
}

int dgram_getopt(struct socket *s, int level, int name, void *val, u32 *len)
{
    int err = inet_getopt(s, level, name, val, len);
    return err == 1 ? -ENOPROTOOPT : err;
}
