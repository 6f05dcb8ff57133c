// SPDX-License-Identifier: Apache-2.0
// Readiness: how poll, select and epoll ask a file (linux/poll.c, linux/epoll.c).
#ifndef UNI_POLL_H
#define UNI_POLL_H

#include "sched.h"
#include "types.h"

enum {
    POLL_IN = 0x001, POLL_PRI = 0x002, POLL_OUT = 0x004, POLL_ERR = 0x008, POLL_HUP = 0x010, POLL_NVAL = 0x020,
    POLL_RDNORM = 0x040, POLL_RDBAND = 0x080, POLL_WRNORM = 0x100, POLL_WRBAND = 0x200, POLL_RDHUP = 0x2000,
};

struct file;

// Handed to file_ops.poll. The file calls poll_wait for each of its queues, then returns its events as they are now.
// add is NULL when the caller only asks.
struct poll_table {
    void (*add)(struct poll_table *pt, struct file *f, struct waitq *q);
};

static inline void poll_wait(struct poll_table *pt, struct file *f, struct waitq *q)
{
    if (pt && pt->add)
        pt->add(pt, f, q);
}

// linux/epoll.c: the last reference to a watched file went.
void epoll_file_released(struct file *f);
// linux/fasync.c: the same for a file with an owner.
void fasync_file_released(struct file *f);

#endif
