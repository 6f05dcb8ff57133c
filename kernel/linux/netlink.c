// SPDX-License-Identifier: Apache-2.0
// NETLINK_ROUTE (rtnetlink(7)), as far as getifaddrs, if_nameindex and their like in glibc, musl and Go go: interfaces,
// addresses and routes are told, nothing can be changed.
#include "inet.h"

#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "process.h"

#include "../net/net_priv.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#define PART_MAX 3584u                        // of one datagram: readers with a page of room must not lose any
#define REQUEST_MAX 4096u

struct nl_part {
    struct list node;
    u32 len;
    u8 data[];
};

struct nl_sock {
    struct socket *s;
    u32 port, groups;
    struct list queue;                        // struct nl_part.node
};

// The answer under construction.
struct nl_out {
    struct nl_sock *n;
    struct nl_part *part;
    struct nlmsghdr *msg;                     // the message being written, in part
    u32 seq;
    int err;
};

struct nl_addr {
    u16 family, pad;
    u32 pid, groups;
};

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
    return 0;
}

void netlink_init(void)
{
    socket_family_register(K_AF_NETLINK, create);
}

// --- Building answers -----------------------------------------------------------------------------------------------------

static void flush(struct nl_out *o)
{
    if (o->part && o->part->len)
        list_push(&o->n->queue, &o->part->node);
    else
        kfree(o->part);
    o->part = NULL;
}

static void *begin(struct nl_out *o, u16 type, u16 flags, u32 body)
{
    if (o->part && o->part->len > PART_MAX - 512)
        flush(o);
    if (!o->part) {
        o->part = kzalloc(sizeof(*o->part) + PART_MAX);
        if (!o->part) {
            o->err = -ENOBUFS;
            return NULL;
        }
    }
    o->msg = (struct nlmsghdr *)(o->part->data + o->part->len);
    o->msg->nlmsg_len = (u32)(NLMSG_HDRLEN + body);
    o->msg->nlmsg_type = type;
    o->msg->nlmsg_flags = flags;
    o->msg->nlmsg_seq = o->seq;
    o->msg->nlmsg_pid = o->n->port;
    return o->msg + 1;
}

static void attr(struct nl_out *o, u16 type, const void *data, u32 len)
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

static void attr_u32(struct nl_out *o, u16 type, u32 v) { attr(o, type, &v, sizeof(v)); }

static void end(struct nl_out *o)
{
    o->part->len += NLMSG_ALIGN(o->msg->nlmsg_len);
}

static void put_stats(struct nl_out *o, const struct netdev *d)
{
    struct rtnl_link_stats64 st;
    memset(&st, 0, sizeof(st));
    if (d) {
        st.rx_packets = d->rx_packets;
        st.tx_packets = d->tx_packets;
        st.rx_bytes = d->rx_bytes;
        st.tx_bytes = d->tx_bytes;
        st.rx_dropped = d->rx_dropped;
        st.tx_dropped = d->tx_dropped;
    }
    attr(o, IFLA_STATS64, &st, sizeof(st));
}

static void put_link(struct nl_out *o, struct netif *n, u16 flags)
{
    static const u8 broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, none[6];
    struct netdev *d = netdev_of(n);
    struct ifinfomsg *m = begin(o, RTM_NEWLINK, flags, sizeof(*m));
    char name[16];
    if (!m)
        return;
    m->ifi_type = d ? 1 : 772;
    m->ifi_index = (int)inet_ifindex(n);
    m->ifi_flags = inet_ifflags(n) | (netif_is_link_up(n) ? 0x10000 : 0);   // IFF_LOWER_UP
    inet_ifname(n, name);
    attr(o, IFLA_IFNAME, name, (u32)strlen(name) + 1);
    attr_u32(o, IFLA_TXQLEN, 1000);
    attr(o, IFLA_OPERSTATE, d ? "\6" : "\0", 1);          // RFC 2863: up; unknown for loopback
    attr_u32(o, IFLA_MTU, d ? d->mtu : 65536);
    attr(o, IFLA_ADDRESS, d ? d->mac : none, 6);
    attr(o, IFLA_BROADCAST, d ? broadcast : none, 6);
    put_stats(o, d);
    end(o);
}

static u8 prefix_length(u32 mask) { return mask ? (u8)(32 - __builtin_ctz(lwip_ntohl(mask))) : 0; }

static void put_addr4(struct nl_out *o, struct netif *n)
{
    u32 addr = netif_ip4_addr(n)->addr, mask = netif_ip4_netmask(n)->addr;
    bool lo = !netdev_of(n);
    struct ifaddrmsg *m = addr ? begin(o, RTM_NEWADDR, NLM_F_MULTI, sizeof(*m)) : NULL;
    char name[16];
    if (!m)
        return;
    m->ifa_family = K_AF_INET;
    m->ifa_prefixlen = prefix_length(mask);
    m->ifa_flags = IFA_F_PERMANENT;
    m->ifa_scope = lo ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
    m->ifa_index = inet_ifindex(n);
    attr(o, IFA_ADDRESS, &addr, 4);
    attr(o, IFA_LOCAL, &addr, 4);
    if (!lo)
        attr_u32(o, IFA_BROADCAST, addr | ~mask);
    inet_ifname(n, name);
    attr(o, IFA_LABEL, name, (u32)strlen(name) + 1);
    attr_u32(o, IFA_FLAGS, IFA_F_PERMANENT);
    end(o);
}

static void put_addr6(struct nl_out *o, struct netif *n, int i)
{
    u32 flags = inet_ip6_flags(n, i);
    if (flags == ~0u)
        return;
    const ip6_addr_t *a = netif_ip6_addr(n, i);
    struct ifaddrmsg *m = begin(o, RTM_NEWADDR, NLM_F_MULTI, sizeof(*m));
    if (!m)
        return;
    bool lo = !netdev_of(n);
    m->ifa_family = K_AF_INET6;
    m->ifa_prefixlen = lo ? 128 : 64;
    m->ifa_flags = (u8)flags;
    m->ifa_scope = lo ? RT_SCOPE_HOST : ip6_addr_islinklocal(a) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    m->ifa_index = inet_ifindex(n);
    attr(o, IFA_ADDRESS, a->addr, 16);
    attr_u32(o, IFA_FLAGS, flags);
    end(o);
}

static struct rtmsg *route_begin(struct nl_out *o, u8 prefix, u8 scope)
{
    struct rtmsg *m = begin(o, RTM_NEWROUTE, NLM_F_MULTI, sizeof(*m));
    if (!m)
        return NULL;
    m->rtm_family = K_AF_INET;
    m->rtm_dst_len = prefix;
    m->rtm_table = RT_TABLE_MAIN;
    m->rtm_protocol = RTPROT_BOOT;
    m->rtm_scope = scope;
    m->rtm_type = RTN_UNICAST;
    attr_u32(o, RTA_TABLE, RT_TABLE_MAIN);
    return m;
}

static void put_routes(struct nl_out *o, struct netif *n)
{
    u32 addr = netif_ip4_addr(n)->addr, mask = netif_ip4_netmask(n)->addr, gw = netif_ip4_gw(n)->addr;
    if (!netdev_of(n) || !addr)
        return;
    if (gw && n == netif_default && route_begin(o, 0, RT_SCOPE_UNIVERSE)) {
        attr_u32(o, RTA_GATEWAY, gw);
        attr_u32(o, RTA_OIF, inet_ifindex(n));
        end(o);
    }
    if (route_begin(o, prefix_length(mask), RT_SCOPE_LINK)) {
        attr_u32(o, RTA_DST, addr & mask);
        attr_u32(o, RTA_PREFSRC, addr);
        attr_u32(o, RTA_OIF, inet_ifindex(n));
        end(o);
    }
}

static void put_error(struct nl_out *o, const struct nlmsghdr *req, int err)
{
    struct nlmsgerr *e = begin(o, NLMSG_ERROR, 0, sizeof(*e));
    if (!e)
        return;
    e->error = err;
    e->msg = *req;
    end(o);
}

static void put_done(struct nl_out *o)
{
    flush(o);
    int *code = begin(o, NLMSG_DONE, NLM_F_MULTI, sizeof(*code));
    if (code)
        end(o);
}

// --- Requests ---------------------------------------------------------------------------------------------------------------

static void dump_one(struct nl_out *o, u16 type, u8 family, struct netif *n)
{
    if (type == RTM_GETLINK)
        put_link(o, n, NLM_F_MULTI);
    if (type == RTM_GETADDR && family != K_AF_INET6)
        put_addr4(o, n);
    for (int i = 0; type == RTM_GETADDR && family != K_AF_INET && i < LWIP_IPV6_NUM_ADDRESSES; i++)
        put_addr6(o, n, i);
    if (type == RTM_GETROUTE && family != K_AF_INET6)
        put_routes(o, n);
}

static void get_link(struct nl_out *o, const struct nlmsghdr *h)
{
    const struct ifinfomsg *m = NLMSG_DATA(h);
    struct netif *n = NULL;
    if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(*m)))
        n = inet_netif((u32)m->ifi_index);
    if (n)
        put_link(o, n, 0);
    else
        put_error(o, h, -ENODEV);
}

static void answer(struct nl_out *o, const struct nlmsghdr *h)
{
    bool known = h->nlmsg_type == RTM_GETLINK || h->nlmsg_type == RTM_GETADDR || h->nlmsg_type == RTM_GETROUTE;
    o->seq = h->nlmsg_seq;
    if (known && (h->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP) {
        const struct rtgenmsg *g = NLMSG_DATA(h);
        u8 family = h->nlmsg_len > NLMSG_HDRLEN ? g->rtgen_family : 0;
        for (u32 i = 1; i < 64; i++) {
            struct netif *n = inet_netif(i);
            if (n)
                dump_one(o, h->nlmsg_type, family, n);
        }
        put_done(o);
    } else if (h->nlmsg_type == RTM_GETLINK) {
        get_link(o, h);
    } else if (h->nlmsg_type >= RTM_BASE || (h->nlmsg_flags & NLM_F_ACK)) {
        put_error(o, h, h->nlmsg_type < RTM_BASE ? 0 : known ? -EOPNOTSUPP : -EPERM);
    }
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

static bool can_recv(struct socket *s) { return !list_empty(&((struct nl_sock *)s->priv)->queue); }

static ssize_t op_recv(struct socket *s, struct msg *m, u32 flags)
{
    struct nl_sock *n = s->priv;
    int err = socket_wait(s, can_recv, s->rcv_timeout, flags & K_MSG_DONTWAIT);
    if (err)
        return err;
    struct nl_part *p = list_entry(list_pop(&n->queue), struct nl_part, node);
    u32 len = p->len, copy = (u32)MIN((u64)len, m->it->left);
    bool fault = iter_put(m->it, p->data, copy) < copy;
    struct nl_addr *a = (struct nl_addr *)&m->addr;
    memset(a, 0, sizeof(*a));
    a->family = K_AF_NETLINK;
    m->addr_len = sizeof(*a);
    if (copy < len)
        m->out_flags |= K_MSG_TRUNC;
    if (flags & K_MSG_PEEK)
        list_unshift(&n->queue, &p->node);
    else
        kfree(p);
    return fault ? -EFAULT : flags & K_MSG_TRUNC ? (ssize_t)len : (ssize_t)copy;
}

static int op_bind(struct socket *s, const struct sockaddr_buf *sa, u32 len)
{
    struct nl_sock *n = s->priv;
    const struct nl_addr *a = (const struct nl_addr *)sa;
    if (len < sizeof(*a) || a->family != K_AF_NETLINK)
        return -EINVAL;
    n->port = a->pid ? a->pid : (u32)current_process()->pid;
    n->groups = a->groups;
    return 0;
}

static int op_connect(struct socket *s, const struct sockaddr_buf *sa, u32 len, bool nonblock)
{
    (void)s;
    (void)nonblock;
    return len >= sizeof(struct nl_addr) && sa->family == K_AF_NETLINK ? 0 : -EINVAL;
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
    return POLL_OUT | POLL_WRNORM | (can_recv(s) ? POLL_IN | POLL_RDNORM : 0);
}

static int op_setopt(struct socket *s, int level, int name, const void *val, u32 len)
{
    (void)s;
    (void)name;
    (void)val;
    (void)len;
    return level == 270 ? 0 : -ENOPROTOOPT;   // SOL_NETLINK: membership and the like; there are no notifications to miss
}

static void op_release(struct socket *s)
{
    struct nl_sock *n = s->priv;
    struct list *e;
    while ((e = list_pop(&n->queue)))
        kfree(list_entry(e, struct nl_part, node));
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
    .release = op_release,
};
