// SPDX-License-Identifier: Apache-2.0
// Block devices by name, and requests that are waited for.
#include "blk.h"

#include "errno.h"
#include "lib.h"
#include "page.h"
#include "printk.h"
#include "sched.h"

struct list blkdevs = LIST_INIT(blkdevs);

// Linux gives virtio disks the first free major, which is 254 on a small system, and 16 minors each (drivers/block/virtio_blk.c).
#define VD_MAJOR 254
#define VD_MINORS 16

void blkdev_register(struct blkdev *d)
{
    static u32 count;
    char *p = d->name;
    *p++ = 'v';
    *p++ = 'd';
    if (count >= 26)
        *p++ = (char)('a' + count / 26 - 1);
    *p++ = (char)('a' + count % 26);
    *p = 0;
    d->major = VD_MAJOR;
    d->minor = VD_MINORS * count++;
    list_push(&blkdevs, &d->node);
    printk(LOG_INFO, "%s: %lu sectors%s%s%s\n", d->name, d->sectors, d->readonly ? ", read-only" : "",
           d->serial[0] ? ", serial " : "", d->serial);
}

struct blkdev *blkdev_find(const char *name)
{
    if (strncmp(name, "/dev/", 5) == 0)
        name += 5;
    for (struct list *n = blkdevs.next; n != &blkdevs; n = n->next) {
        struct blkdev *d = list_entry(n, struct blkdev, node);
        if (strcmp(d->name, name) == 0)
            return d;
    }
    return NULL;
}

// Lives on the stack of who waits.
struct sync_wait {
    struct waitq q;
    volatile bool done;
};

static void sync_done(struct blk_req *r)
{
    struct sync_wait *w = r->priv;
    w->done = true;
    waitq_wake_all(&w->q);
}

static void wait_done(struct blkdev *d, struct sync_wait *w)
{
    // The boot thread becomes the idle thread, which must not sleep: it looks for itself.
    if (current() == this_cpu()->idle) {
        while (!w->done) {
            d->poll(d);
            __builtin_ia32_pause();
        }
        return;
    }
    struct waiter me;
    waitq_prepare(&w->q, &me);
    while (!w->done)
        waitq_sleep(&me, NO_DEADLINE, false);
    waitq_finish(&me);
}

int blk_submit_wait(struct blkdev *d, struct blk_req *r)
{
    struct sync_wait w = { .done = false };
    waitq_init(&w.q);
    r->done = sync_done;
    r->priv = &w;
    int err = d->submit(d, r);
    if (err)
        return err;
    wait_done(d, &w);
    return r->status;
}

static bool in_direct_map(const void *p) { return (u64)p >= DIRECT_MAP && (u64)p < 0xffffc00000000000ul; }

static int transfer(struct blkdev *d, enum blk_op op, u64 sector, void *buf, u32 len)
{
    struct blk_seg seg = { va_to_pa(buf), len };
    struct blk_req r = { .op = op, .sector = sector, .seg = &seg, .nr_seg = 1 };
    return blk_submit_wait(d, &r);
}

// Memory that is not in the direct map (a stack, vmalloc) goes through a page of its own.
static int bounce(struct blkdev *d, enum blk_op op, u64 sector, void *buf, u32 len)
{
    struct page *p = page_alloc(0, 0);
    if (!p)
        return -ENOMEM;
    int err = 0;
    for (u32 at = 0; at < len && !err; at += PAGE_SIZE) {
        u32 n = MIN(len - at, (u32)PAGE_SIZE);
        if (op == BLK_WRITE)
            memcpy(page_va(p), (char *)buf + at, n);
        err = transfer(d, op, sector + at / SECTOR_SIZE, page_va(p), n);
        if (op == BLK_READ && !err)
            memcpy((char *)buf + at, page_va(p), n);
    }
    page_put(p);
    return err;
}

int blk_read(struct blkdev *d, u64 sector, void *buf, u32 len)
{
    return in_direct_map(buf) ? transfer(d, BLK_READ, sector, buf, len) : bounce(d, BLK_READ, sector, buf, len);
}

int blk_write(struct blkdev *d, u64 sector, const void *buf, u32 len)
{
    void *b = (void *)buf;
    return in_direct_map(b) ? transfer(d, BLK_WRITE, sector, b, len) : bounce(d, BLK_WRITE, sector, b, len);
}

struct disk_work disk_work(void)
{
    struct disk_work w = { 0 };
    for (struct list *n = blkdevs.next; n != &blkdevs; n = n->next) {
        const struct blkdev *d = list_entry(n, struct blkdev, node);
        w.read += d->rd_bytes;
        w.written += d->wr_bytes;
    }
    return w;
}

int blk_flush(struct blkdev *d)
{
    struct blk_req r = { .op = BLK_FLUSH };
    return d->has_flush && !d->readonly ? blk_submit_wait(d, &r) : 0;
}
