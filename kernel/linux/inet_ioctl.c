// SPDX-License-Identifier: Apache-2.0
// Interface ioctls (netdevice(7)) and SIOCINQ, SIOCOUTQ.
#include "inet.h"
#include "inet_config.h"
#include "inet_tcp.h"

#include "lwip/priv/tcp_priv.h"

#include "errno.h"
#include "lib.h"

#include "../net/net_priv.h"

#include <asm/ioctls.h>
#include <linux/sockios.h>

enum { FL_UP = 1, FL_BROADCAST = 2, FL_LOOPBACK = 8, FL_RUNNING = 0x40, FL_MULTICAST = 0x1000 };

struct ifreq_k {
    char name[16];
    union {
        struct { u16 family, port; u32 addr; } sa;
        struct { u16 family; u8 data[6]; } hw;
        i16 flags;
        i32 num;
        char newname[16];
        u8 raw[24];
    };
};

void inet_ifname(struct netif *n, char name[16])
{
    struct netdev *d = netdev_of(n);
    strlcpy(name, d ? d->name : "lo", 16);
}

static struct netif *by_name(const char *want)
{
    char name[16];
    for (struct netif *n = netif_list; n; n = n->next) {
        inet_ifname(n, name);
        if (strncmp(name, want, 16) == 0)
            return n;
    }
    return NULL;
}

u32 inet_ifflags(const struct netif *n)
{
    struct netdev *d = netdev_of((struct netif *)n);
    u32 fl = d ? FL_BROADCAST | FL_MULTICAST : FL_LOOPBACK;
    return fl | (netif_is_up(n) ? FL_UP : 0) | (netif_is_link_up(n) ? FL_RUNNING : 0);
}

static void put_addr(struct ifreq_k *r, u32 addr)
{
    memset(r->raw, 0, sizeof(r->raw));
    r->sa.family = K_AF_INET;
    r->sa.addr = addr;
}

static long fill(struct netif *n, u32 cmd, struct ifreq_k *r)
{
    struct netdev *d = netdev_of(n);
    switch (cmd) {
    case SIOCGIFFLAGS: memset(r->raw, 0, 24); r->flags = (i16)inet_ifflags(n); return 0;
    case SIOCGIFADDR:
        if (ip4_addr_isany_val(*netif_ip4_addr(n)))
            return -EADDRNOTAVAIL;
        put_addr(r, netif_ip4_addr(n)->addr);
        return 0;
    case SIOCGIFNETMASK: put_addr(r, netif_ip4_netmask(n)->addr); return 0;
    case SIOCGIFBRDADDR: put_addr(r, d ? netif_ip4_addr(n)->addr | ~netif_ip4_netmask(n)->addr : 0); return 0;
    case SIOCGIFDSTADDR: put_addr(r, netif_ip4_addr(n)->addr); return 0;
    case SIOCGIFMTU: r->num = d ? n->mtu : 65536; return 0;
    case SIOCGIFMETRIC: r->num = 0; return 0;
    case SIOCGIFINDEX: r->num = (i32)inet_ifindex(n); return 0;
    case SIOCGIFTXQLEN: r->num = 1000; return 0;
    case SIOCGIFMAP: memset(r->raw, 0, sizeof(r->raw)); return 0;
    case SIOCETHTOOL: case SIOCGMIIPHY: case SIOCGMIIREG: return -EOPNOTSUPP;
    case SIOCGIFHWADDR:
        memset(r->raw, 0, 24);
        r->hw.family = d ? 1 : 772;           // ARPHRD_ETHER, ARPHRD_LOOPBACK
        if (d)
            memcpy(r->hw.data, d->mac, 6);
        return 0;
    default:
        return cmd == SIOCSIFMTU || cmd == SIOCSIFTXQLEN || cmd == SIOCSIFMETRIC ? inet_ifset(n, cmd, 0, (u32)r->num) :
               cmd == SIOCSIFFLAGS ? inet_ifset(n, cmd, 0, (u16)r->flags) :
               cmd == SIOCSIFADDR || cmd == SIOCSIFNETMASK || cmd == SIOCSIFBRDADDR ? inet_ifset(n, cmd, r->sa.family, r->sa.addr) : -ENOTTY;
    }
}

static long if_conf(uptr arg)
{
    struct { i32 len, pad; uptr buf; } c;
    if (copy_from_user(&c, arg, sizeof(c)))
        return -EFAULT;
    i32 at = 0;
    u32 i = 0;
    for (struct netif *n; (n = inet_next_netif(&i));) {
        if (ip4_addr_isany_val(*netif_ip4_addr(n)))
            continue;
        struct ifreq_k r;
        memset(&r, 0, sizeof(r));
        inet_ifname(n, r.name);
        put_addr(&r, netif_ip4_addr(n)->addr);
        if (c.buf && at + (i32)sizeof(r) > c.len)
            break;
        if (c.buf && copy_to_user(c.buf + (u64)at, &r, sizeof(r)))
            return -EFAULT;
        at += (i32)sizeof(r);
    }
    c.len = at;
    return copy_to_user(arg, &c, sizeof(c));
}

static long queue_len(struct socket *s, u32 cmd, uptr arg)
{
    u32 n = 0;
    if (s->type == K_SOCK_STREAM) {
        struct tcp_sock *t = s->priv;
        if (t->phase == TCP_LISTENING)
            return -EINVAL;
        n = cmd == SIOCINQ ? (s->oobinline || tcp_until_mark(t) >= t->rx_bytes ? t->rx_bytes : tcp_until_mark(t)) : t->pcb ? t->snd_total - MIN(t->snd_total, t->pcb->snd_buf) : 0;
    } else if (cmd == SIOCINQ) {
        struct udp_sock *u = s->priv;
        net_lock();
        if (!list_empty(&u->queue)) {
            n = list_entry(u->queue.next, struct dgram, node)->p->tot_len;
        }
        net_unlock();
    }
    return user_write_u32(arg, n);
}

long inet_ioctl(struct socket *s, u32 cmd, uptr arg)
{
    if (cmd == SIOCINQ || cmd == SIOCOUTQ)
        return queue_len(s, cmd, arg);
    if (cmd == SIOCATMARK)
        return user_write_u32(arg, s->type == K_SOCK_STREAM && tcp_until_mark(s->priv) == 0);
    return -ENOTTY;
}

u32 netdev_number(const char *name)
{
    net_lock();
    struct netif *n = by_name(name);
    u32 i = n ? inet_ifindex(n) : 0;
    net_unlock();
    return i;
}

// SO_BINDTODEVICE as lwIP wants it.
u8 inet_device(const struct socket *s)
{
    struct netif *n = s && s->device[0] ? by_name(s->device) : NULL;
    return n ? netif_get_index(n) : NETIF_NO_INDEX;
}

static long change_route(u32 cmd, uptr arg)
{
    struct rtentry_k r;
    char name[16] = "";
    if (copy_from_user(&r, arg, sizeof(r)) || (r.dev && copy_from_user(name, r.dev, sizeof(name) - 1)))
        return -EFAULT;
    net_lock();
    struct netif *n = r.dev ? by_name(name) : NULL;
    long err = r.dev && !n ? -ENODEV : inet_route_ioctl(n, cmd == SIOCADDRT, &r);
    net_unlock();
    return err;
}

long netdev_ioctl(u32 cmd, uptr arg)
{
    struct ifreq_k r;
    net_need();
    if (cmd == SIOCGIFCONF)
        return if_conf(arg);
    if (cmd == SIOCADDRT || cmd == SIOCDELRT)
        return change_route(cmd, arg);
    if (copy_from_user(&r, arg, sizeof(r)))
        return -EFAULT;
    r.name[15] = 0;
    net_lock();
    struct netif *n = cmd == SIOCGIFNAME ? inet_netif((u32)r.num) : by_name(r.name);
    long err = n ? 0 : -ENODEV;
    if (n && cmd == SIOCGIFNAME)
        inet_ifname(n, r.name);
    else if (n)
        err = fill(n, cmd, &r);
    net_unlock();
    return err ? err : copy_to_user(arg, &r, sizeof(r));
}
