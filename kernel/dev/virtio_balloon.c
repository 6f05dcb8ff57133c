// SPDX-License-Identifier: Apache-2.0
// Memory balloon (Virtio 1.2, section 5.5): the host asks for pages back, or returns them. Short memory lets pages out by itself.
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "printk.h"
#include "sched.h"
#include "time.h"
#include "virtio.h"

enum { F_DEFLATE_ON_OOM = 2 };
enum { C_NUM_PAGES = 0, C_ACTUAL = 4 };
#define BATCH 256u
#define RESERVE (2ul << 20)                   // bytes that the host does not get

struct balloon {
    struct virtio_dev *dev;
    struct virtq *inflate, *deflate;
    struct waitq wait;
    volatile bool changed;
    u32 *pfns;                                // of the request under way, in the direct map
    struct page **pages;                      // what the host holds
    u32 nr, room;
    struct mutex lock;                        // guards pages, nr and the queues
    struct shrinker shrinker;
};

static struct balloon *the_balloon;

static bool tell(struct balloon *b, struct virtq *q, u32 n)
{
    struct virtq_buf vb = { va_to_pa(b->pfns), n * (u32)sizeof(u32) };
    if (virtq_add(q, &vb, 1, 0, b))
        return false;
    virtq_kick(q);
    // Section 5.5.6: the pages are the host's (or ours) when it has used the buffer.
    while (!virtq_get(q, NULL) && !q->broken)
        __builtin_ia32_pause();
    return !q->broken;
}

static bool grow_table(struct balloon *b)
{
    u32 room = MAX(b->room * 2, 1024u);
    struct page **t = vmalloc(room * sizeof(*t));
    if (!t)
        return false;
    if (b->pages)
        memcpy(t, b->pages, b->nr * sizeof(*t));
    vfree(b->pages);
    b->pages = t;
    b->room = room;
    return true;
}

// Up to BATCH pages to the host; how many went.
static u32 inflate(struct balloon *b, u32 want)
{
    u32 n = 0;
    while (n < MIN(want, BATCH)) {
        struct mem_stats m;
        mem_stats(&m);
        struct page *p = m.free > RESERVE && (b->nr < b->room || grow_table(b)) ? page_alloc(0, PA_USER) : NULL;
        if (!p)
            break;
        b->pages[b->nr++] = p;
        b->pfns[n++] = (u32)(page_pa(p) >> PAGE_SHIFT);
    }
    if (n && !tell(b, b->inflate, n))
        printk(LOG_ERR, "balloon: the host does not answer\n");
    return n;
}

static u32 deflate(struct balloon *b, u32 want)
{
    u32 n = MIN(MIN(want, BATCH), b->nr);
    for (u32 i = 0; i < n; i++)
        b->pfns[i] = (u32)(page_pa(b->pages[b->nr - 1 - i]) >> PAGE_SHIFT);
    if (!n || !tell(b, b->deflate, n))
        return 0;
    for (u32 i = 0; i < n; i++)
        page_put(b->pages[--b->nr]);
    return n;
}

static void report(struct balloon *b)
{
    b->dev->t->write_config(b->dev, C_ACTUAL, &b->nr, sizeof(b->nr));
}

static void adjust(struct balloon *b)
{
    u32 target, moved = 1;
    virtio_config(b->dev, C_NUM_PAGES, &target, sizeof(target));
    while (moved && b->nr != target) {
        mutex_lock(&b->lock);
        moved = b->nr < target ? inflate(b, target - b->nr) : deflate(b, b->nr - target);
        report(b);
        mutex_unlock(&b->lock);
        thread_yield();
    }
}

static void balloon_thread(void *arg)
{
    struct balloon *b = arg;
    for (;;) {
        b->changed = false;
        adjust(b);
        struct waiter w;
        waitq_prepare(&b->wait, &w);
        while (!b->changed)
            waitq_sleep(&w, NO_DEADLINE, false);
        waitq_finish(&w);
    }
}

static size_t shrink(size_t pages)
{
    struct balloon *b = the_balloon;
    if (!mutex_trylock(&b->lock))
        return 0;
    u32 n = deflate(b, (u32)MIN(pages, (size_t)BATCH));
    if (n)
        report(b);
    mutex_unlock(&b->lock);
    return n;
}

static void config_changed(struct virtio_dev *d)
{
    struct balloon *b = d->priv;
    b->changed = true;
    waitq_wake_all(&b->wait);
}

int virtio_balloon_probe(struct virtio_dev *d)
{
    int err = virtio_negotiate(d, BIT(F_DEFLATE_ON_OOM));
    if (err)
        return err;
    struct balloon *b = kzalloc(sizeof(*b));
    if (!b)
        return -ENOMEM;
    b->dev = d;
    d->priv = b;
    waitq_init(&b->wait);
    mutex_init(&b->lock);
    b->inflate = virtio_queue(d, 0, 4, NULL);
    b->deflate = virtio_queue(d, 1, 4, NULL);
    b->pfns = kmalloc(BATCH * sizeof(u32), 0);
    if (!b->inflate || !b->deflate || !b->pfns)
        return -ENOMEM;
    d->config_changed = config_changed;
    err = virtio_ready(d);
    if (err)
        return err;
    the_balloon = b;
    if (virtio_has(d, F_DEFLATE_ON_OOM)) {
        b->shrinker = (struct shrinker){ .name = "balloon", .shrink = shrink };
        shrinker_register(&b->shrinker);
    }
    return kthread_create("balloon", balloon_thread, b) ? 0 : -ENOMEM;
}
