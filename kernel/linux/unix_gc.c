// SPDX-License-Identifier: Apache-2.0
// AF_UNIX: sockets that only their own queues still refer to. A socket sent to itself, or two sent to each other, and closed,
// would hold each other for ever; as Linux's net/unix/garbage.c, closing a socket looks for such.
#include "unix.h"
#include "lib.h"

u32 unix_inflight;                      // unix sockets in messages, of all sockets

static struct unix_sock *unix_of(struct file *f)
{
    struct socket *s = socket_from_file(f);
    return s && s->domain == K_AF_UNIX ? s->priv : NULL;
}

u32 unix_count_inflight(const struct unix_files *f)
{
    u32 n = 0;
    for (u32 i = 0; f && i < f->n; i++)
        n += unix_of(f->file[i]) != NULL;
    return n;
}

static struct unix_sock *sock_at(struct list *l) { return list_entry(l, struct unix_sock, all); }

// Calls fn for each unix socket that waits in u's queue.
static void each_queued(struct unix_sock *u, void (*fn)(struct unix_sock *o))
{
    for (struct list *n = u->rx.next; n != &u->rx; n = n->next) {
        const struct unix_files *f = list_entry(n, struct unix_msg, node)->files;
        for (u32 i = 0; f && i < f->n; i++)
            if (unix_of(f->file[i]))
                fn(unix_of(f->file[i]));
    }
}

static void count(struct unix_sock *o) { o->inflight++; }

static struct list *reached;            // sockets found reachable, whose own queues are still to be looked at

static void reach(struct unix_sock *o)
{
    if (o->reachable)
        return;
    o->reachable = true;
    list_push(reached, &o->gc_node);
}

// Everything that somebody can still get at: sockets with other references than messages, and what waits in their queues.
static void mark(struct list *todo)
{
    reached = todo;
    for (struct list *l = unix_all.next; l != &unix_all; l = l->next) {
        struct unix_sock *u = sock_at(l);
        u->reachable = false;
        u->inflight = 0;
        list_init(&u->gc_node);
    }
    for (struct list *l = unix_all.next; l != &unix_all; l = l->next)
        each_queued(sock_at(l), count);
    for (struct list *l = unix_all.next; l != &unix_all; l = l->next) {
        struct unix_sock *u = sock_at(l);
        bool waits = !u->sock && !list_empty(&u->accept_node);      // for accept: as reachable as its listener
        if (!waits && (!u->sock || !u->sock->file || u->sock->file->refs > u->inflight))
            reach(u);
    }
    for (struct list *n; (n = list_pop(todo));) {
        struct unix_sock *u = list_entry(n, struct unix_sock, gc_node);
        each_queued(u, reach);
        for (struct list *b = u->backlog.next; b != &u->backlog; b = b->next)
            reach(list_entry(b, struct unix_sock, accept_node));
    }
}

void unix_collect(void)
{
    static bool running;
    struct list todo, garbage;
    list_init(&todo);
    list_init(&garbage);
    if (running || !unix_inflight)
        return;
    running = true;
    spin_lock(&unix_lock);
    mark(&todo);
    for (struct list *l = unix_all.next; l != &unix_all; l = l->next) {
        struct unix_sock *u = sock_at(l);
        for (struct list *n; !u->reachable && (n = list_pop(&u->rx));)
            list_push(&garbage, n);
    }
    spin_unlock(&unix_lock);
    for (struct list *n; (n = list_pop(&garbage));)
        unix_msg_free(list_entry(n, struct unix_msg, node));
    running = false;
}
