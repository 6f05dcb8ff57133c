// SPDX-License-Identifier: Apache-2.0
// Block device (Virtio 1.2, section 5.2). Requests beyond the queue's room wait in a list in their order; completions run in the
// block softirq.
#include "arch.h"
#include "blk.h"
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "printk.h"
#include "sched.h"
#include "virtio.h"

// Section 5.2.3: feature bits. Section 5.2.4: offsets in the configuration.
enum { F_SEG_MAX = 2, F_RO = 5, F_BLK_SIZE = 6, F_FLUSH = 9, F_DISCARD = 13, F_WRITE_ZEROES = 14 };
enum { C_CAPACITY = 0, C_SEG_MAX = 12, C_BLK_SIZE = 20, C_MAX_DISCARD = 36, C_MAX_ZEROES = 48 };
// Section 5.2.6: request types and status.
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

#define QUEUE_SIZE 64
#define MAX_SEG (QUEUE_SIZE - 4)              // with header and status it always fits an empty queue
#define NR_SLOTS 32

// What the device reads and writes besides the data; in the direct map.
struct slot {
    struct { u32 type, reserved; u64 sector; } header;
    struct { u64 sector; u32 nr, flags; } range;      // discard, write zeroes
    u8 status;
    struct blk_req *req;
    struct slot *next;                                // free list
};

struct vblk {
    struct blkdev dev;
    struct virtq *q;
    spinlock_t lock;                          // guards q, free, pending; taken with interrupts off
    struct slot *slots, *free;
    struct list pending;                      // struct blk_req.node: accepted, not yet in the queue
    struct virtq_buf bufs[MAX_SEG + 4];       // under lock: too large for the stack
    struct list node;
};

static struct list vblks = LIST_INIT(vblks);

static u32 request_type(enum blk_op op)
{
    static const u32 types[] = { T_IN, T_OUT, T_FLUSH, T_DISCARD, T_WRITE_ZEROES };
    return types[op];
}

// Into the queue; lock held. -ENOSPC: no room just now.
static int start(struct vblk *v, struct blk_req *r)
{
    struct slot *s = v->free;
    if (!s)
        return -ENOSPC;
    unsigned out = 0, in = 0;
    s->req = r;
    s->status = 0xff;
    s->header.type = request_type(r->op);
    s->header.reserved = 0;
    s->header.sector = r->op == BLK_READ || r->op == BLK_WRITE ? r->sector : 0;
    v->bufs[out++] = (struct virtq_buf){ va_to_pa(&s->header), sizeof(s->header) };
    if (r->op == BLK_DISCARD || r->op == BLK_WRITE_ZEROES) {
        s->range.sector = r->sector;
        s->range.nr = r->nr_sectors;
        s->range.flags = 0;
        v->bufs[out++] = (struct virtq_buf){ va_to_pa(&s->range), sizeof(s->range) };
    } else if (r->op != BLK_FLUSH) {
        for (u32 i = 0; i < r->nr_seg; i++)
            v->bufs[1 + i] = (struct virtq_buf){ r->seg[i].pa, r->seg[i].len };
        *(r->op == BLK_READ ? &in : &out) += r->nr_seg;
    }
    v->bufs[out + in] = (struct virtq_buf){ va_to_pa(&s->status), 1 };
    in++;
    int err = virtq_add(v->q, v->bufs, out, in, s);
    if (!err)
        v->free = s->next;
    return err;
}

static void start_pending(struct vblk *v)
{
    while (!list_empty(&v->pending)) {
        struct blk_req *r = list_entry(v->pending.next, struct blk_req, node);
        if (start(v, r))
            break;
        list_remove(&r->node);
    }
    virtq_kick(v->q);
}

// 0, or why the request cannot be right. The file system is trusted, its disk's contents are not.
static int check(const struct blkdev *d, const struct blk_req *r)
{
    u64 sectors = r->nr_sectors;
    if (r->op == BLK_FLUSH)
        return d->has_flush ? 0 : -EOPNOTSUPP;
    if (d->readonly && r->op != BLK_READ)
        return -EROFS;
    if (r->op == BLK_DISCARD || r->op == BLK_WRITE_ZEROES) {
        if (!d->has_discard || r->nr_sectors > d->max_discard)
            return -EOPNOTSUPP;
    } else {
        if (r->nr_seg == 0 || r->nr_seg > d->max_seg)
            return -EINVAL;
        sectors = 0;
        for (u32 i = 0; i < r->nr_seg; i++) {
            if (r->seg[i].len % SECTOR_SIZE)
                return -EINVAL;
            sectors += r->seg[i].len / SECTOR_SIZE;
        }
    }
    return r->sector <= d->sectors && sectors <= d->sectors - r->sector ? 0 : -EIO;
}

static void account(struct blkdev *d, const struct blk_req *r)
{
    u64 bytes = 0;
    for (u32 i = 0; i < r->nr_seg; i++)
        bytes += r->seg[i].len;
    if (r->op == BLK_READ) {
        d->rd_bytes += bytes;
        d->rd_ops++;
    } else {
        d->wr_bytes += bytes;
        d->wr_ops++;
    }
}

static int vblk_submit(struct blkdev *d, struct blk_req *r)
{
    struct vblk *v = d->priv;
    int err = check(d, r);
    if (err)
        return err;
    u64 flags = spin_lock_irqsave(&v->lock);
    account(d, r);
    if (v->q->broken) {
        spin_unlock_irqrestore(&v->lock, flags);
        return -EIO;
    }
    if (!list_empty(&v->pending) || start(v, r))
        list_push(&v->pending, &r->node);
    else
        virtq_kick(v->q);
    spin_unlock_irqrestore(&v->lock, flags);
    return 0;
}

static int slot_status(const struct slot *s)
{
    switch (*(const volatile u8 *)&s->status) {
    case S_OK:
        return 0;
    case S_UNSUPP:
        return -EOPNOTSUPP;
    default:
        return -EIO;
    }
}

static void collect(struct vblk *v, struct slot *s, int status, struct list *done)
{
    s->req->status = status;
    list_push(done, &s->req->node);
    s->next = v->free;
    v->free = s;
}

static void gather(struct vblk *v, struct list *done)
{
    struct slot *s;
    u64 flags = spin_lock_irqsave(&v->lock);
    do {
        virtq_cb_disable(v->q);
        while ((s = virtq_get(v->q, NULL)))
            collect(v, s, slot_status(s), done);
    } while (!virtq_cb_enable(v->q) && !v->q->broken);
    while ((s = virtq_drop(v->q)))
        collect(v, s, -EIO, done);
    start_pending(v);
    while (v->q->broken && !list_empty(&v->pending)) {
        struct blk_req *r = list_entry(list_pop(&v->pending), struct blk_req, node);
        r->status = -EIO;
        list_push(done, &r->node);
    }
    spin_unlock_irqrestore(&v->lock, flags);
}

static void complete_one(struct vblk *v)
{
    struct list done = LIST_INIT(done), *n;
    gather(v, &done);
    while ((n = list_pop(&done))) {
        struct blk_req *r = list_entry(n, struct blk_req, node);
        r->done(r);
    }
}

static void blk_softirq(void)
{
    for (struct list *n = vblks.next; n != &vblks; n = n->next)
        complete_one(list_entry(n, struct vblk, node));
}

static void vblk_poll(struct blkdev *d)
{
    bh_disable();
    complete_one(d->priv);
    bh_enable();
}

static void vblk_interrupt(struct virtq *q)
{
    virtq_cb_disable(q);
    softirq_raise(SOFTIRQ_BLOCK);
}

static void read_limits(struct vblk *v, struct virtio_dev *d)
{
    struct blkdev *b = &v->dev;
    u32 n;
    virtio_config(d, C_CAPACITY, &b->sectors, sizeof(b->sectors));
    b->readonly = virtio_has(d, F_RO);
    b->has_flush = virtio_has(d, F_FLUSH);
    b->has_discard = virtio_has(d, F_DISCARD) && virtio_has(d, F_WRITE_ZEROES);
    b->block_size = SECTOR_SIZE;
    b->max_seg = 1;
    if (virtio_has(d, F_BLK_SIZE)) {
        virtio_config(d, C_BLK_SIZE, &n, sizeof(n));
        if (n >= SECTOR_SIZE && n <= PAGE_SIZE && !(n & (n - 1)))
            b->block_size = n;
    }
    if (virtio_has(d, F_SEG_MAX)) {
        virtio_config(d, C_SEG_MAX, &n, sizeof(n));
        b->max_seg = MAX(1u, MIN(n, MIN((u32)MAX_SEG, (u32)v->q->size - 2)));
    }
    if (b->has_discard) {
        u32 zeroes;
        virtio_config(d, C_MAX_DISCARD, &n, sizeof(n));
        virtio_config(d, C_MAX_ZEROES, &zeroes, sizeof(zeroes));
        b->max_discard = MIN(n, zeroes);
    }
}

// GET_ID (section 5.2.6): 20 bytes, NUL-padded. The host's name for the disk; without one it stays empty.
static void read_serial(struct vblk *v)
{
    struct slot *s = v->free;
    char *id = kzalloc(20);
    if (!id)
        return;
    s->status = 0xff;
    s->header.type = T_GET_ID;
    struct virtq_buf b[3] = { { va_to_pa(&s->header), sizeof(s->header) }, { va_to_pa(id), 20 }, { va_to_pa(&s->status), 1 } };
    u64 flags = spin_lock_irqsave(&v->lock);
    if (virtq_add(v->q, b, 1, 2, s) == 0) {
        virtq_kick(v->q);
        while (!virtq_get(v->q, NULL) && !v->q->broken)
            __builtin_ia32_pause();
        if (s->status == S_OK)
            for (int i = 0; i < 20 && id[i] > ' ' && id[i] < 127; i++)
                v->dev.serial[i] = id[i];
    }
    virtq_cb_enable(v->q);                    // the next one done interrupts
    spin_unlock_irqrestore(&v->lock, flags);
    kfree(id);
}

static int set_up(struct vblk *v, struct virtio_dev *d)
{
    v->q = virtio_queue(d, 0, QUEUE_SIZE, vblk_interrupt);
    v->slots = kzalloc(NR_SLOTS * sizeof(struct slot));
    if (!v->q || !v->slots)
        return -ENOMEM;
    if (v->q->size < 4)
        return -ENODEV;
    for (int i = 0; i < NR_SLOTS; i++)
        v->slots[i].next = i + 1 < NR_SLOTS ? &v->slots[i + 1] : NULL;
    v->free = v->slots;
    read_limits(v, d);
    v->dev.priv = v;
    v->dev.submit = vblk_submit;
    v->dev.poll = vblk_poll;
    return virtio_ready(d);
}

int virtio_blk_probe(struct virtio_dev *d)
{
    int err = virtio_negotiate(d, BIT(F_SEG_MAX) | BIT(F_RO) | BIT(F_BLK_SIZE) | BIT(F_FLUSH) | BIT(F_DISCARD) |
                                      BIT(F_WRITE_ZEROES));
    if (err)
        return err;
    struct vblk *v = kzalloc(sizeof(*v));
    if (!v)
        return -ENOMEM;
    list_init(&v->pending);
    err = set_up(v, d);
    if (err) {
        kfree(v->slots);
        kfree(v);
        return err;
    }
    if (console_loglevel > LOG_INFO)          // only a message tells it
        read_serial(v);
    if (list_empty(&vblks))
        softirq_register(SOFTIRQ_BLOCK, blk_softirq);
    list_push(&vblks, &v->node);
    blkdev_register(&v->dev);
    return 0;
}
