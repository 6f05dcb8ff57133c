// SPDX-License-Identifier: Apache-2.0
// Between netlink.c (sockets), netlink_dump.c (what is told), netlink_set.c (what is changed).
#ifndef UNI_NETLINK_H
#define UNI_NETLINK_H

#include "inet.h"

#include <linux/rtnetlink.h>

struct nl_part;

struct nl_sock {
    struct socket *s;
    u32 port, groups;
    u32 options;                              // BIT(NETLINK_CAP_ACK) and the like
    struct list queue;                        // struct nl_part.node
    u32 queued;                               // bytes of it
    struct list node;                         // netlink_socks
};

// The answer under construction.
struct nl_out {
    struct nl_sock *n;
    struct nl_part *part;
    struct nlmsghdr *msg;                     // the message being written, in part
    u32 seq;
    u16 flags;                                // NLM_F_MULTI in a dump
    int err;
};

// netlink.c
void *nl_begin(struct nl_out *o, u16 type, u32 body);       // NULL: no memory; the body is zero
void nl_attr(struct nl_out *o, u16 type, const void *data, u32 len);
void nl_attr_u32(struct nl_out *o, u16 type, u32 v);
void nl_attr_u8(struct nl_out *o, u16 type, u8 v);
struct rtattr *nl_nest(struct nl_out *o, u16 type);         // NULL: no room; nl_nest_end() fits it to what follows
void nl_nest_end(struct nl_out *o, struct rtattr *a);
void nl_end(struct nl_out *o);
// A request's attribute of at least `len` bytes behind a body of `body` bytes; NULL: it has none.
const void *nl_find(const struct nlmsghdr *h, u32 body, u16 type, u32 len);
u8 nl_prefix_length(u32 mask);

// netlink_dump.c; net_lock held
int nl_dump(struct nl_out *o, const struct nlmsghdr *h, bool strict);      // -EOPNOTSUPP: not of a kind that is told
int nl_get(struct nl_out *o, const struct nlmsghdr *h);                    // one: 0, or -errno
void nl_put_link(struct nl_out *o, struct netif *n, u16 type);
void nl_put_addr4(struct nl_out *o, struct netif *n, u32 addr, u32 mask, u16 type);
void nl_put_addr6(struct nl_out *o, struct netif *n, const ip6_addr_t *a, u32 flags, u16 type);

// netlink_set.c; net_lock held
int nl_change(const struct nlmsghdr *h);

#endif
