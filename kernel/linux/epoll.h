// SPDX-License-Identifier: Apache-2.0
// Between epoll.c (items, epoll_ctl) and epoll_wait.c.
#ifndef UNI_EPOLL_H
#define UNI_EPOLL_H

#include "poll.h"
#include "rbtree.h"

#define EP_EXCLUSIVE (1u << 28)
#define EP_WAKEUP (1u << 29)
#define EP_ONESHOT (1u << 30)
#define EP_ET (1u << 31)
#define EP_PRIVATE (EP_EXCLUSIVE | EP_WAKEUP | EP_ONESHOT | EP_ET)

struct event_k {                    // struct epoll_event on x86-64 is packed
    u32 events;
    u64 data;
} PACKED;

struct epoll {
    struct mutex lock;              // guards items, and the questions that epoll_wait asks
    struct rbtree items;            // by file and descriptor
    spinlock_t ready_lock;          // interrupts off: callbacks come from anywhere. Guards:
    struct list ready;              // items, oldest first
    struct waitq wait;              // threads in epoll_wait
    struct waitq poll_wait;         // who polls this epoll file
    struct file *file;
};

struct epitem;

// A registration on one wait queue of the item's file; most files have one.
struct epwait {
    struct waiter w;
    struct epitem *item;
    struct epwait *next;
};

struct epitem {
    struct rbnode node;
    struct epoll *ep;
    struct file *file;              // not counted: the file's release removes the item
    int fd;
    u32 events;                     // epoll->ready_lock
    u64 data;
    struct list ready_node;
    struct list file_node;          // file->epoll_watches, under files_lock
    struct epwait first, *more;
    u32 nr_waits;
};

extern const struct file_ops epoll_ops;
bool epoll_item_ready(struct epitem *it);                      // ready_lock held; true when it was not on the list
u32 epoll_item_poll(struct epitem *it, struct poll_table *pt); // what it wants and has

#endif
