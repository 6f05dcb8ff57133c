// SPDX-License-Identifier: Apache-2.0
// AF_NETLINK, of which NETLINK_ROUTE (netlink(7), rtnetlink(7)): sockets, messages, groups.
#include "netlink.h"

#include "cred.h"
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "process.h"

#include "../net/net_priv.h"
#include "inet_config.h"

#define PART_MAX 3584u                        // of one datagram: readers with a page of room must not lose any
#define REQUEST_MAX 4096u
#define SOL_NETLINK_ 270
#define NR_GROUPS 32u                         // of RTNLGRP_*, those that a bit mask can name

struct nl_part {
    struct list node;
    u32 len;
    u8 data[];
};

struct nl_addr {
    u16 family, pad;
    u32 pid, groups;
};

static struct list netlink_socks = LIST_INIT(netlink_socks);         // net_lock
static const struct socket_ops netlink_ops;

static int create(struct socket *s)
{
    if (s->type != K_SOCK_RAW && s->type != K_SOCK_DGRAM)
        return -ESOCKTNOSUPPORT;
    if (s->protocol != NETLINK_ROUTE)
        return -EPROTONOSUPPORT;
    struct nl_sock *n = kzalloc(sizeof(*n));
    if (!n)
        return -ENOBUFS;
    net_need();
    n->s = s;
    list_init(&n->queue);
    s->priv = n;
    s->ops = &netlink_ops;
    net_lock();
    list_push(&netlink_socks, &n->node);
    net_unlock();
    return 0;
}

void netlink_init(void)
{
    socket_family_register(K_AF_NETLINK, create);
}

// --- Building messages ------------------------------------------------------------------------------------------------------

static void flush(struct nl_out *o)
{
    if (o->part && o->part->len) {
        list_push(&o->n->queue, &o->part->node);
        o->n->queued += o->part->len;
    } else {
        kfree(o->part);
    }
    o->part = NULL;
}

void *nl_begin(struct nl_out *o, u16 type, u32 body)
{
    if (o->part && o->part->len + NLMSG_HDRLEN + body > PART_MAX - 768)
        flush(o);
    if (!o->part) {
        o->part = kmalloc(sizeof(*o->part) + PART_MAX, PA_ATOMIC | PA_ZERO);
        if (!o->part) {
            o->err = -ENOBUFS;
            return NULL;
        }
    }
    o->msg = (struct nlmsghdr *)(o->part->data + o->part->len);
    o->msg->nlmsg_len = (u32)(NLMSG_HDRLEN + body);
    o->msg->nlmsg_type = type;
    o->msg->nlmsg_flags = o->flags;
    o->msg->nlmsg_seq = o->seq;
    o->msg->nlmsg_pid = o->n->port;
    return o->msg + 1;
}

void nl_attr(struct nl_out *o, u16 type, const void *data, u32 len)
{
    u32 at = NLMSG_ALIGN(o->msg->nlmsg_len);
    if (o->part->len + at + RTA_SPACE(len) > PART_MAX)
        return;
    struct rtattr *a = (struct rtattr *)((u8 *)o->msg + at);
    a->rta_type = type;
    a->rta_len = (u16)RTA_LENGTH(len);
    memcpy(RTA_DATA(a), data, len);
    o->msg->nlmsg_len = at + (u32)RTA_LENGTH(len);
}

void nl_attr_u32(struct nl_out *o, u16 type, u32 v) { nl_attr(o, type, &v, sizeof(v)); }
void nl_attr_u8(struct nl_out *o, u16 type, u8 v) { nl_attr(o, type, &v, sizeof(v)); }

struct rtattr *nl_nest(struct nl_out *o, u16 type)
{
    u32 at = NLMSG_ALIGN(o->msg->nlmsg_len);
    nl_attr(o, type, "", 0);
    return o->msg->nlmsg_len > at ? (struct rtattr *)((u8 *)o->msg + at) : NULL;
}

void nl_nest_end(struct nl_out *o, struct rtattr *a)
{
    if (a)
        a->rta_len = (u16)(o->msg->nlmsg_len - (u32)((u8 *)a - (u8 *)o->msg));
}

void nl_end(struct nl_out *o)
{
    o->msg->nlmsg_len = NLMSG_ALIGN(o->msg->nlmsg_len);
    o->part->len += o->msg->nlmsg_len;
}

const void *nl_find(const struct nlmsghdr *h, u32 body, u16 type, u32 len)
{
    u32 at = (u32)NLMSG_LENGTH(NLMSG_ALIGN(body));
    while (at + sizeof(struct rtattr) <= h->nlmsg_len) {
        const struct rtattr *a = (const struct rtattr *)((const u8 *)h + at);
        if (a->rta_len < sizeof(*a) || a->rta_len > h->nlmsg_len - at)
            break;
        if ((a->rta_type & 0x3fff) == type && RTA_PAYLOAD(a) >= len)         // NLA_TYPE_MASK
            return RTA_DATA(a);
        at += RTA_ALIGN(a->rta_len);
    }
    return NULL;
}

u8 nl_prefix_length(u32 mask) { return mask ? (u8)(32 - __builtin_ctz(lwip_ntohl(mask))) : 0; }

// NLMSG_ERROR, which also acknowledges (err 0). Without NETLINK_CAP_ACK an error quotes the whole request.
static void put_error(struct nl_out *o, const struct nlmsghdr *req, int err)
{
    bool whole = err && !(o->n->options & BIT(NETLINK_CAP_ACK)) && req->nlmsg_len <= PART_MAX - 1024;
    u32 more = whole ? req->nlmsg_len - (u32)sizeof(*req) : 0;
    o->flags = whole || !err ? 0 : NLM_F_CAPPED;
    if (!err && (o->n->options & BIT(NETLINK_CAP_ACK)))
        o->flags = NLM_F_CAPPED;
    struct nlmsgerr *e = nl_begin(o, NLMSG_ERROR, (u32)sizeof(*e) + more);
    if (!e)
        return;
    e->error = err;
    memcpy(&e->msg, req, sizeof(e->msg) + more);
    nl_end(o);
}

static void put_done(struct nl_out *o)
{
    flush(o);
    int *code = nl_begin(o, NLMSG_DONE, sizeof(*code));
    if (code)
        nl_end(o);
}

// --- Requests ---------------------------------------------------------------------------------------------------------------

// 0, or -errno: told in an NLMSG_ERROR (Linux: rtnetlink_rcv_msg).
static int serve(struct nl_out *o, const struct nlmsghdr *h)
{
    u32 kind = h->nlmsg_type & 3;             // 0 new, 1 delete, 2 get, 3 set: linux/rtnetlink.h
    if (h->nlmsg_type < RTM_BASE)
        return 0;
    if (h->nlmsg_type > RTM_MAX)
        return -EOPNOTSUPP;
    if (h->nlmsg_len < NLMSG_LENGTH(sizeof(struct rtgenmsg)))
        return 0;
    if (kind != 2)
        return capable(CAP_NET_ADMIN) ? nl_change(h) : -EPERM;
    return h->nlmsg_flags & NLM_F_DUMP ? nl_dump(o, h, o->n->options & BIT(NETLINK_GET_STRICT_CHK)) : nl_get(o, h);
}

static void answer(struct nl_out *o, const struct nlmsghdr *h)
{
    bool dump = h->nlmsg_type >= RTM_BASE && (h->nlmsg_type & 3) == 2 && (h->nlmsg_flags & NLM_F_DUMP);
    o->seq = h->nlmsg_seq;
    o->flags = dump ? NLM_F_MULTI : 0;
    int err = serve(o, h);
    if (dump && !err)
        put_done(o);
    else if (err || (h->nlmsg_flags & NLM_F_ACK))
        put_error(o, h, err);
    flush(o);
}

static ssize_t op_send(struct socket *s, struct msg *m, u32 flags)
{
    struct nl_sock *n = s->priv;
    size_t len = m->it->left;
    (void)flags;
    if (len > REQUEST_MAX)
        return -EMSGSIZE;
    u8 *buf = kzalloc(len + NLMSG_HDRLEN);
    if (!buf)
        return -ENOBUFS;
    if (iter_get(m->it, buf, len) < len) {
        kfree(buf);
        return -EFAULT;
    }
    if (!n->port)
        n->port = (u32)current_process()->pid;
    struct nl_out o = { .n = n };
    net_lock();
    for (size_t at = 0; len - at >= NLMSG_HDRLEN;) {
        const struct nlmsghdr *h = (const struct nlmsghdr *)(buf + at);
        if (h->nlmsg_len < NLMSG_HDRLEN || h->nlmsg_len > len - at)
            break;
        if (h->nlmsg_flags & NLM_F_REQUEST)
            answer(&o, h);
        at += MIN((size_t)NLMSG_ALIGN(h->nlmsg_len), len - at);
    }
    net_unlock();
    kfree(buf);
    waitq_wake(&s->wq, POLL_IN | POLL_RDNORM);
    return o.err ? o.err : (ssize_t)len;
}

// --- Groups -----------------------------------------------------------------------------------------------------------------

// Something changed: everybody in `group` (RTNLGRP_*) gets what `put` writes. A full queue loses it and says so, as on Linux.
static void tell(u32 group, void (*put)(struct nl_out *o, const void *arg), const void *arg)
{
    for (struct list *l = netlink_socks.next; l != &netlink_socks; l = l->next) {
        struct nl_sock *n = list_entry(l, struct nl_sock, node);
        struct nl_out o = { .n = n };
        u32 port = n->port;
        if (!(n->groups & BIT(group - 1)))
            continue;
        if (n->queued > n->s->rcvbuf / 2) {
            n->s->error = ENOBUFS;
        } else {
            n->port = 0;                      // from the kernel, to nobody in particular
            put(&o, arg);
            flush(&o);
            n->port = port;
        }
        waitq_wake(&n->s->wq, POLL_IN | POLL_RDNORM);
    }
}

struct address_change {
    struct netif *n;
    u32 addr, mask;
    const ip6_addr_t *addr6;
    u32 flags;
    u16 type;
};

static void link_changed(struct nl_out *o, const void *arg) { nl_put_link(o, (struct netif *)arg, RTM_NEWLINK); }

static void address4(struct nl_out *o, const void *arg)
{
    const struct address_change *c = arg;
    nl_put_addr4(o, c->n, c->addr, c->mask, c->type);
}

static void address6(struct nl_out *o, const void *arg)
{
    const struct address_change *c = arg;
    nl_put_addr6(o, c->n, c->addr6, c->flags, c->type);
}

void inet_link_changed(struct netif *n) { tell(RTNLGRP_LINK, link_changed, n); }

void inet_address4_changed(struct netif *n, u32 addr, u32 mask, bool added)
{
    struct address_change c = { .n = n, .addr = addr, .mask = mask, .type = added ? RTM_NEWADDR : RTM_DELADDR };
    if (!addr)
        return;
    tell(RTNLGRP_IPV4_IFADDR, address4, &c);
}

void inet_address6_changed(struct netif *n, const ip6_addr_t *a, u32 flags, bool added)
{
    struct address_change c = { .n = n, .addr6 = a, .flags = flags, .type = added ? RTM_NEWADDR : RTM_DELADDR };
    tell(RTNLGRP_IPV6_IFADDR, address6, &c);
}

// --- The socket -------------------------------------------------------------------------------------------------------------

static bool can_recv(struct socket *s) { return s->error || !list_empty(&((struct nl_sock *)s->priv)->queue); }

static ssize_t op_recv(struct socket *s, struct msg *m, u32 flags)
{
    struct nl_sock *n = s->priv;
    struct list *l;
    do {
        int err = socket_wait(s, can_recv, s->rcv_timeout, flags & K_MSG_DONTWAIT);
        if (err)
            return err;
        if (s->error)
            return socket_take_error(s);
        net_lock();
        l = list_pop(&n->queue);
        if (l)
            n->queued -= list_entry(l, struct nl_part, node)->len;
        net_unlock();
    } while (!l);
    struct nl_part *p = list_entry(l, struct nl_part, node);
    u32 len = p->len, copy = (u32)MIN((u64)len, m->it->left);
    bool fault = iter_put(m->it, p->data, copy) < copy;
    struct nl_addr *a = (struct nl_addr *)&m->addr;
    memset(a, 0, sizeof(*a));
    a->family = K_AF_NETLINK;
    m->addr_len = sizeof(*a);
    if (copy < len)
        m->out_flags |= K_MSG_TRUNC;
    net_lock();
    if (flags & K_MSG_PEEK) {
        list_unshift(&n->queue, &p->node);
        n->queued += len;
    } else {
        kfree(p);
    }
    net_unlock();
    return fault ? -EFAULT : flags & K_MSG_TRUNC ? (ssize_t)len : (ssize_t)copy;
}

// For mq_notify(2): something to read at a netlink socket; NULL only asks whether it is one.
int netlink_deliver(struct file *f, const void *data, u32 len)
{
    struct socket *s = socket_from_file(f);
    if (!s)
        return -ENOTSOCK;
    if (s->ops != &netlink_ops)
        return -EINVAL;
    struct nl_part *p = data ? kmalloc(sizeof(*p) + len, 0) : NULL;
    if (!p)
        return data ? -ENOMEM : 0;
    p->len = len;
    memcpy(p->data, data, len);
    list_push(&((struct nl_sock *)s->priv)->queue, &p->node);
    waitq_wake(&s->wq, POLL_IN | POLL_RDNORM);
    return 0;
}

static int op_bind(struct socket *s, const struct sockaddr_buf *sa, u32 len)
{
    struct nl_sock *n = s->priv;
    const struct nl_addr *a = (const struct nl_addr *)sa;
    if (len < sizeof(*a) || a->family != K_AF_NETLINK)
        return -EINVAL;
    if (n->port && a->pid && a->pid != n->port)
        return -EINVAL;
    n->port = a->pid ? a->pid : n->port ? n->port : (u32)current_process()->pid;
    n->groups = a->groups;
    return 0;
}

static int op_connect(struct socket *s, const struct sockaddr_buf *sa, u32 len, bool nonblock)
{
    struct nl_sock *n = s->priv;
    (void)nonblock;
    if (len < sizeof(struct nl_addr) || sa->family != K_AF_NETLINK)
        return -EINVAL;
    if (!n->port)
        n->port = (u32)current_process()->pid;
    return 0;
}

static int op_getname(struct socket *s, struct sockaddr_buf *sa, bool peer)
{
    struct nl_sock *n = s->priv;
    struct nl_addr *a = (struct nl_addr *)sa;
    memset(a, 0, sizeof(*a));
    a->family = K_AF_NETLINK;
    a->pid = peer ? 0 : n->port;
    a->groups = peer ? 0 : n->groups;
    return sizeof(*a);
}

static u32 op_poll(struct socket *s)
{
    return POLL_OUT | POLL_WRNORM | (can_recv(s) ? POLL_IN | POLL_RDNORM : 0) | (s->error ? POLL_ERR : 0);
}

static bool is_switch(int name)
{
    return name == NETLINK_PKTINFO || name == NETLINK_BROADCAST_ERROR || name == NETLINK_NO_ENOBUFS ||
           name == NETLINK_LISTEN_ALL_NSID || name == NETLINK_CAP_ACK || name == NETLINK_EXT_ACK || name == NETLINK_GET_STRICT_CHK;
}

static int op_setopt(struct socket *s, int level, int name, const void *val, u32 len)
{
    struct nl_sock *n = s->priv;
    u32 v = 0;
    if (level != SOL_NETLINK_)
        return -ENOPROTOOPT;
    if (len >= sizeof(v))
        memcpy(&v, val, sizeof(v));
    if (name == NETLINK_ADD_MEMBERSHIP || name == NETLINK_DROP_MEMBERSHIP) {
        if (v == 0 || v > RTNLGRP_MAX)
            return -EINVAL;
        if (v <= NR_GROUPS && name == NETLINK_ADD_MEMBERSHIP)
            n->groups |= (u32)BIT(v - 1);
        else if (v <= NR_GROUPS)
            n->groups &= ~(u32)BIT(v - 1);
        return 0;
    }
    if (!is_switch(name))
        return -ENOPROTOOPT;
    n->options = v ? n->options | (u32)BIT(name) : n->options & ~(u32)BIT(name);
    return 0;
}

static int op_getopt(struct socket *s, int level, int name, void *val, u32 *len)
{
    const struct nl_sock *n = s->priv;
    if (level != SOL_NETLINK_)
        return -ENOPROTOOPT;
    if (name == NETLINK_LIST_MEMBERSHIPS) {
        *len = MIN(*len, 4u);
        memcpy(val, &n->groups, *len);
        return 0;
    }
    if (!is_switch(name))
        return -ENOPROTOOPT;
    if (*len < sizeof(int))
        return -EINVAL;
    sockopt_put_int(val, len, (n->options & BIT(name)) != 0);
    return 0;
}

static void op_release(struct socket *s)
{
    struct nl_sock *n = s->priv;
    struct list *e;
    net_lock();
    list_remove(&n->node);
    while ((e = list_pop(&n->queue)))
        kfree(list_entry(e, struct nl_part, node));
    net_unlock();
    kfree(n);
}

static const struct socket_ops netlink_ops = {
    .bind = op_bind,
    .connect = op_connect,
    .getname = op_getname,
    .send = op_send,
    .recv = op_recv,
    .poll = op_poll,
    .setopt = op_setopt,
    .getopt = op_getopt,
    .release = op_release,
};
