// SPDX-License-Identifier: Apache-2.0
// Virtio 1.2: device start-up (section 3.1), split virtqueues (2.7), notification suppression (2.7.7, 2.7.10), indirect
// descriptors (2.7.5.3). Section numbers below are those of the OASIS specification 1.2.
#include "virtio.h"

#include "arch.h"
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "printk.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };

// x86 keeps stores in order and loads in order; only a load may pass an earlier store.
#define barrier() __asm__ volatile("" ::: "memory")
#define store_load_barrier() __asm__ volatile("lock; addl $0, -4(%%rsp)" ::: "memory", "cc")

#define READ16(x) (*(const volatile u16 *)&(x))
#define WRITE16(x, v) (*(volatile u16 *)&(x) = (v))

static u16 *used_event(struct virtq *q) { return &q->avail->ring[q->size]; }
static u16 *avail_event(struct virtq *q) { return (u16 *)&q->used->ring[q->size]; }

static const char *where(struct virtio_dev *d)
{
    if (!d->where[0] && d->t->describe)
        d->t->describe(d, d->where, sizeof(d->where));
    return d->where;
}

static void queue_broken(struct virtq *q, const char *why, u32 value)
{
    q->broken = true;
    printk(LOG_ERR, "%s: queue %u: the device wrote %s (%u); the queue is given up\n", where(q->dev), q->index, why, value);
}

int virtio_negotiate(struct virtio_dev *d, u64 wanted)
{
    u64 offered = d->t->get_features(d);
    if (!(offered & BIT(VIRTIO_F_VERSION_1)))
        return -ENODEV;
    d->features = offered & (wanted | BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_EVENT_IDX) | BIT(VIRTIO_F_INDIRECT_DESC));
    d->t->set_features(d, d->features);
    d->t->set_status(d, VIRTIO_S_ACK | VIRTIO_S_DRIVER | VIRTIO_S_FEATURES_OK);
    return d->t->get_status(d) & VIRTIO_S_FEATURES_OK ? 0 : -ENODEV;
}

int virtio_ready(struct virtio_dev *d)
{
    int err = d->t->irq_setup(d);
    if (err)
        return err;
    d->t->set_status(d, VIRTIO_S_ACK | VIRTIO_S_DRIVER | VIRTIO_S_FEATURES_OK | VIRTIO_S_DRIVER_OK);
    return 0;
}

void virtio_config(struct virtio_dev *d, u32 off, void *buf, u32 len)
{
    // Section 2.5.1: a field may change between two reads of its halves; the generation tells. A device that changes it for
    // ever does not hold us.
    for (int tries = 0; tries < 16; tries++) {
        u32 gen = d->t->config_generation(d);
        d->t->read_config(d, off, buf, len);
        if (gen == d->t->config_generation(d))
            return;
    }
}

// Rings in one block of pages: descriptors, available, used (alignments 16, 2, 4: section 2.7). 0 or -ENOMEM.
static int queue_memory(struct virtq *q)
{
    size_t desc = q->size * sizeof(struct vring_desc);
    size_t avail = ALIGN_UP(sizeof(struct vring_avail) + (q->size + 1) * sizeof(u16), 64);
    size_t used = sizeof(struct vring_used) + q->size * sizeof(struct vring_used_elem) + sizeof(u16);
    while ((PAGE_SIZE << q->order) < desc + avail + used)
        q->order++;
    struct page *p = page_alloc(q->order, PA_ZERO);
    q->next = kmalloc(q->size * sizeof(u16), 0);
    q->chain = kzalloc(q->size * sizeof(struct virtq_chain));
    if (!p || !q->next || !q->chain) {
        if (p)
            page_put(p);
        kfree(q->next);
        kfree(q->chain);
        return -ENOMEM;
    }
    u8 *mem = page_va(p);
    q->desc = (struct vring_desc *)mem;
    q->avail = (struct vring_avail *)(mem + desc);
    q->used = (struct vring_used *)(mem + desc + avail);
    return 0;
}

static void queue_free(struct virtq *q)
{
    page_put(page_from_va(q->desc));
    kfree(q->next);
    kfree(q->chain);
    kfree(q);
}

struct virtq *virtio_queue(struct virtio_dev *d, u16 index, u16 size, void (*callback)(struct virtq *))
{
    u16 max = d->t->queue_max(d, index);
    if (max == 0 || d->nr_queues == VIRTIO_MAX_QUEUES)
        return NULL;
    if (size == 0 || size > max)
        size = max;
    while (size & (size - 1))
        size &= size - 1;
    struct virtq *q = kzalloc(sizeof(*q));
    if (!q)
        return NULL;
    q->dev = d;
    q->index = index;
    q->size = q->nr_free = size;
    q->event_idx = virtio_has(d, VIRTIO_F_EVENT_IDX);
    q->indirect = virtio_has(d, VIRTIO_F_INDIRECT_DESC);
    q->callback = callback;
    if (queue_memory(q)) {
        kfree(q);
        return NULL;
    }
    for (u16 i = 0; i < size; i++)
        q->next[i] = i + 1;
    if (d->t->queue_setup(d, q)) {
        queue_free(q);
        return NULL;
    }
    d->queue[d->nr_queues++] = q;
    return q;
}

static void fill_desc(struct vring_desc *desc, const struct virtq_buf *b, bool write, u16 next, bool last)
{
    desc->addr = b->pa;
    desc->len = b->len;
    desc->flags = (write ? DESC_WRITE : 0) | (last ? 0 : DESC_NEXT);
    desc->next = last ? 0 : next;
}

static void publish(struct virtq *q, u16 head)
{
    q->avail->ring[q->avail_idx & (q->size - 1)] = head;
    q->avail_idx++;
    barrier();                                // the entry before the index that shows it
    WRITE16(q->avail->idx, q->avail_idx);
}

static struct vring_desc *indirect_table(const struct virtq_buf *b, unsigned out, unsigned n)
{
    struct vring_desc *t = kmalloc(n * sizeof(*t), PA_ATOMIC);
    if (!t)
        return NULL;
    for (unsigned i = 0; i < n; i++)
        fill_desc(&t[i], &b[i], i >= out, (u16)(i + 1), i + 1 == n);
    return t;
}

int virtq_add(struct virtq *q, const struct virtq_buf *b, unsigned out, unsigned in, void *token)
{
    unsigned n = out + in;
    if (unlikely(q->broken))
        return -EIO;
    // A table of its own costs an allocation here and a mapping in the device: worth it only for long chains.
    struct vring_desc *table = NULL;
    if (q->indirect && (n > 8 || n > q->nr_free) && q->nr_free > 0)
        table = indirect_table(b, out, n);
    if (!table && n > q->nr_free)
        return -ENOSPC;
    u16 head = q->free_head;
    struct virtq_chain *c = &q->chain[head];
    c->token = token;
    c->indirect = table;
    c->in_len = 0;
    for (unsigned i = out; i < n; i++)
        c->in_len += b[i].len;
    if (table) {
        struct virtq_buf tb = { va_to_pa(table), (u32)(n * sizeof(*table)) };
        fill_desc(&q->desc[head], &tb, false, 0, true);
        q->desc[head].flags = DESC_INDIRECT;
        q->free_head = q->next[head];
        c->count = 1;
    } else {
        u16 at = head;
        for (unsigned i = 0; i < n; i++) {
            fill_desc(&q->desc[at], &b[i], i >= out, q->next[at], i + 1 == n);
            at = q->next[at];
        }
        q->free_head = at;
        c->count = (u16)n;
    }
    q->nr_free -= c->count;
    publish(q, head);
    return 0;
}

static void notify(struct virtq *q)
{
    if (q->notify16)
        *(volatile u16 *)q->notify = q->index;
    else
        *(volatile u32 *)q->notify = q->index;
}

void virtq_kick(struct virtq *q)
{
    u16 old = q->kicked_idx, now = q->avail_idx;
    if (old == now || q->broken)
        return;
    q->kicked_idx = now;
    store_load_barrier();                     // our index before the device's wish
    if (q->event_idx) {
        // Section 2.7.10: notify when avail_event lies in [old, now).
        if ((u16)(now - READ16(*avail_event(q)) - 1) < (u16)(now - old))
            notify(q);
    } else if (!(READ16(q->used->flags) & USED_NO_NOTIFY)) {
        notify(q);
    }
}

bool virtq_pending(const struct virtq *q)
{
    return !q->broken && q->last_used != READ16(q->used->idx);
}

static void *release_chain(struct virtq *q, u16 head)
{
    struct virtq_chain *c = &q->chain[head];
    void *token = c->token;
    u16 last = head;
    for (u16 i = 1; i < c->count; i++)
        last = q->next[last];
    q->next[last] = q->free_head;
    q->free_head = head;
    q->nr_free += c->count;
    kfree(c->indirect);
    c->indirect = NULL;
    c->token = NULL;
    return token;
}

void *virtq_get(struct virtq *q, u32 *len)
{
    if (!virtq_pending(q))
        return NULL;
    barrier();                                // the index before the entry
    u16 ahead = (u16)(READ16(q->used->idx) - q->last_used);
    if (unlikely(ahead > q->size)) {
        queue_broken(q, "a used index too far ahead", ahead);
        return NULL;
    }
    const volatile struct vring_used_elem *e = &q->used->ring[q->last_used & (q->size - 1)];
    u32 id = e->id, n = e->len;               // read once: the device may change them under us
    if (unlikely(id >= q->size || !q->chain[id].token)) {
        queue_broken(q, "an id that is not in flight", id);
        return NULL;
    }
    if (unlikely(n > q->chain[id].in_len)) {
        queue_broken(q, "a length beyond its buffers", n);
        return NULL;
    }
    q->last_used++;
    if (len)
        *len = n;
    return release_chain(q, (u16)id);
}

void *virtq_drop(struct virtq *q)
{
    for (u16 i = 0; q->broken && i < q->size; i++)
        if (q->chain[i].token)
            return release_chain(q, i);
    return NULL;
}

void virtq_cb_disable(struct virtq *q)
{
    // With event indices an index that lies behind is never reached again within a lap of 65,536; without, a flag says it.
    if (q->event_idx)
        WRITE16(*used_event(q), (u16)(q->last_used - 1));
    else
        WRITE16(q->avail->flags, AVAIL_NO_INTERRUPT);
}

static bool ask_at(struct virtq *q, u16 ahead)
{
    if (q->event_idx)
        WRITE16(*used_event(q), (u16)(q->last_used + ahead));
    else
        WRITE16(q->avail->flags, 0);
    store_load_barrier();                     // the wish before the last look
    return (u16)(READ16(q->used->idx) - q->last_used) <= ahead || q->broken;
}

bool virtq_cb_enable(struct virtq *q)
{
    return ask_at(q, 0);
}

bool virtq_cb_delayed(struct virtq *q)
{
    u16 in_flight = (u16)(q->avail_idx - q->last_used);
    return ask_at(q, q->event_idx ? (u16)(in_flight * 3 / 4) : 0);
}

static struct virtq *watched[4];
static u32 nr_watched;

void virtq_watch(struct virtq *q)
{
    if (nr_watched < ARRAY_SIZE(watched))
        watched[nr_watched++] = q;
}

bool virtio_watched(void)
{
    for (u32 i = 0; i < nr_watched; i++)
        if (virtq_pending(watched[i]))
            return true;
    return false;
}

void virtio_watch(bool begins)
{
    for (u32 i = 0; i < nr_watched; i++) {
        if (begins)
            virtq_cb_disable(watched[i]);
        else if (!virtq_cb_enable(watched[i]))
            watched[i]->callback(watched[i]);
    }
}

bool virtio_interrupt(struct virtio_dev *d)
{
    bool any = false;
    for (u32 i = 0; i < d->nr_queues; i++) {
        if (!d->queue[i]->callback || !virtq_pending(d->queue[i]))
            continue;
        any = true;
        d->queue[i]->callback(d->queue[i]);
    }
    return any;
}

static const struct virtio_driver drivers[] = {
    { VIRTIO_ID_BLOCK, "virtio-blk", virtio_blk_probe },
    { VIRTIO_ID_RNG, "virtio-rng", virtio_rng_probe },
    { VIRTIO_ID_NET, "virtio-net", virtio_net_probe },
    { VIRTIO_ID_CONSOLE, "virtio-console", virtio_console_probe },
    { VIRTIO_ID_BALLOON, "virtio-balloon", virtio_balloon_probe },
};

void virtio_register(struct virtio_dev *d)
{
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        if (drivers[i].id != d->id)
            continue;
        d->t->set_status(d, 0);
        d->t->set_status(d, VIRTIO_S_ACK);
        d->t->set_status(d, VIRTIO_S_ACK | VIRTIO_S_DRIVER);
        int err = drivers[i].probe(d);
        if (err) {
            printk(LOG_ERR, "%s: %s: cannot be used: error %d\n", where(d), drivers[i].name, -err);
            d->t->set_status(d, VIRTIO_S_FAILED);
        }
        return;
    }
    printk(LOG_INFO, "%s: no driver for device type %u\n", where(d), d->id);
}

void dev_init(void)
{
    virtio_mmio_scan();
    virtio_pci_scan();
}
