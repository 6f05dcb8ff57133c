// SPDX-License-Identifier: Apache-2.0
// epoll_wait(2) and its relatives: what is ready goes to the program.
#include "epoll.h"
#include "errno.h"
#include "fs.h"
#include "lib.h"
#include "process.h"
#include "signal_priv.h"
#include "syscalls.h"
#include "time.h"
#include "uaccess.h"

#define EP_MAX_EVENTS (0x7fffffff / 12)

static bool list_ready(struct epoll *ep)
{
    return !list_empty(&ep->ready);
}

#define HARVEST 16                  // events asked for and written at a time

// After an event was reported: oneshot disarms, level-triggered stays on the list until it is seen to be empty. ready_lock held.
static void item_reported(struct epitem *it)
{
    if (it->events & EP_ONESHOT)
        it->events &= EP_PRIVATE;
    else if (!(it->events & EP_ET))
        epoll_item_ready(it);
}

// Takes items off `batch` until `max` of them have something to tell. Those and their events; how many.
static u32 ask(struct epoll *ep, struct list *batch, u32 max, struct epitem **item, struct event_k *ev)
{
    u32 n = 0;
    while (n < max && !list_empty(batch)) {
        u32 k = 0, kept = n;
        u64 flags = spin_lock_irqsave(&ep->ready_lock);
        for (struct list *l; n + k < max && (l = list_pop(batch)); k++)
            item[n + k] = list_entry(l, struct epitem, ready_node);
        spin_unlock_irqrestore(&ep->ready_lock, flags);
        for (u32 i = n; i < n + k; i++) {
            u32 events = epoll_item_poll(item[i], NULL);
            if (!events)
                continue;
            ev[kept] = (struct event_k){ events, item[i]->data };
            item[kept++] = item[i];
        }
        n = kept;
    }
    return n;
}

// Puts items back to the front of a list, unless they have come to another in the meantime. ready_lock held.
static void put_back(struct list *to, struct epitem **item, u32 n)
{
    while (n-- > 0)
        if (list_empty(&item[n]->ready_node))
            list_unshift(to, &item[n]->ready_node);
}

// Takes what is ready now into the user's array. ep->lock held. The number of events, or -EFAULT when not even one could be written.
static long harvest(struct epoll *ep, uptr to, int max)
{
    struct list batch = LIST_INIT(batch);
    u64 flags = spin_lock_irqsave(&ep->ready_lock);
    if (!list_empty(&ep->ready)) {              // move all: items that become ready from now on start a new list
        batch = ep->ready;
        batch.next->prev = batch.prev->next = &batch;
        list_init(&ep->ready);
    }
    spin_unlock_irqrestore(&ep->ready_lock, flags);
    long n = 0;
    while (n < max && !list_empty(&batch)) {
        struct epitem *item[HARVEST];
        struct event_k ev[HARVEST];
        u32 k = ask(ep, &batch, (u32)MIN(max - n, (long)HARVEST), item, ev);
        u32 done = (u32)(copy_to_user_partial(to + (u64)n * sizeof(ev[0]), ev, k * sizeof(ev[0])) / sizeof(ev[0]));
        flags = spin_lock_irqsave(&ep->ready_lock);
        for (u32 i = 0; i < done; i++)
            item_reported(item[i]);
        put_back(&batch, item + done, k - done);
        spin_unlock_irqrestore(&ep->ready_lock, flags);
        n += done;
        if (done < k) {
            n = n ? n : -EFAULT;
            break;
        }
    }
    flags = spin_lock_irqsave(&ep->ready_lock);
    for (struct list *l; (l = batch.prev) != &batch;) {     // what did not fit goes back to the front
        list_remove(l);
        list_unshift(&ep->ready, l);
    }
    bool more = list_ready(ep);
    spin_unlock_irqrestore(&ep->ready_lock, flags);
    if (more)
        waitq_wake(&ep->wait, POLL_IN);
    return n;
}

static long wait_events(struct epoll *ep, uptr to, int max, u64 deadline)
{
    for (;;) {
        if (list_ready(ep)) {
            mutex_lock(&ep->lock);
            long n = harvest(ep, to, max);
            mutex_unlock(&ep->lock);
            if (n)
                return n;
        }
        if (deadline == 0)
            return 0;
        struct waiter w = { .thread = current(), .exclusive = true };
        waitq_add(&ep->wait, &w);
        int err = list_ready(ep) ? 0 : waitq_sleep(&w, deadline, true);
        waitq_finish(&w);
        if (err == -ETIMEDOUT)
            deadline = 0;           // one last look
        else if (err)
            return -EINTR;
    }
}

static long do_wait(int epfd, uptr to, int max, u64 deadline)
{
    if (max <= 0 || max > EP_MAX_EVENTS)
        return -EINVAL;
    if (!user_range_ok(to, (u64)max * sizeof(struct event_k)))
        return -EFAULT;
    struct file *f = fd_get(epfd);
    if (!f)
        return -EBADF;
    long ret = f->ops == &epoll_ops ? wait_events(f->priv, to, max, deadline) : -EINVAL;
    file_put(f);
    return ret;
}

static u64 ms_deadline(int ms) { return ms < 0 ? NO_DEADLINE : ms == 0 ? 0 : deadline_after((u64)ms * 1000000); }

long sys_epoll_wait(struct regs *r)
{
    return do_wait((int)r->arg[0], r->arg[1], (int)r->arg[2], ms_deadline((int)r->arg[3]));
}

static long masked_wait(struct regs *r, u64 deadline)
{
    int err = signal_temp_mask(r->arg[4], r->arg[5]);
    if (err)
        return err;
    long ret = do_wait((int)r->arg[0], r->arg[1], (int)r->arg[2], deadline);
    signal_temp_mask_end(ret);
    return ret;
}

long sys_epoll_pwait(struct regs *r) { return masked_wait(r, ms_deadline((int)r->arg[3])); }

long sys_epoll_pwait2(struct regs *r)
{
    u64 ns = 0, deadline = NO_DEADLINE;
    if (r->arg[3]) {
        int err = timespec_from_user(r->arg[3], &ns);
        if (err)
            return err;
        deadline = ns ? deadline_after(ns) : 0;
    }
    return masked_wait(r, deadline);
}
