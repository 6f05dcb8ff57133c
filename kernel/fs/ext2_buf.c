// SPDX-License-Identifier: Apache-2.0
// ext2's metadata blocks in memory. All under fs->lock; only the shrinker comes without it, and it touches nothing but
// clean blocks that nobody uses, without sleeping.
#include <stdarg.h>

#include "ext2.h"

#define BUF_UNUSED_MAX 1024u        // clean blocks kept

static struct list mounted = LIST_INIT(mounted);

void ext2_error(struct ext2_fs *fs, const char *fmt, ...)
{
    char text[128];
    va_list ap;
    if (fs->complained)             // one line: a corrupt disk must not flood the console
        return;
    fs->complained = true;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    printk(LOG_ERR, "ext2 on %s: %s; run e2fsck on it\n", fs->sb.source, text);
    fs->was_clean = false;          // it will not be marked clean at unmount
}

static struct buf **chain(struct ext2_fs *fs, u32 blk) { return &fs->hash[blk % BUF_BUCKETS]; }

static void unhash(struct ext2_fs *fs, struct buf *b)
{
    struct buf **l = chain(fs, b->blk);
    while (*l != b)
        l = &(*l)->hash_next;
    *l = b->hash_next;
}

static bool idle(const struct buf *b) { return !b->refs && !b->dirty && !b->logged; }

static void free_buf(struct ext2_fs *fs, struct buf *b)
{
    unhash(fs, b);
    list_remove(&b->lru);
    kfree(b->data);
    kfree(b);
    fs->nr_bufs--;
}

static size_t drop_unused(struct ext2_fs *fs, size_t n)
{
    size_t freed = 0;
    while (freed < n && !list_empty(&fs->lru)) {
        free_buf(fs, list_entry(fs->lru.next, struct buf, lru));
        fs->nr_unused--;
        freed++;
    }
    return freed;
}

static size_t shrink(size_t pages)
{
    size_t freed = 0;
    for (struct list *n = mounted.next; n != &mounted && freed < pages; n = n->next) {
        struct ext2_fs *fs = list_entry(n, struct ext2_fs, all);
        freed += drop_unused(fs, pages * (PAGE_SIZE / fs->bsize)) * fs->bsize / PAGE_SIZE;
    }
    return freed;
}

static struct shrinker shrinker = { .name = "ext2 metadata", .shrink = shrink };

void buf_shrinker_init(struct ext2_fs *fs)
{
    static bool registered;
    list_push(&mounted, &fs->all);
    if (!registered)
        shrinker_register(&shrinker);
    registered = true;
}

static struct buf *peek(struct ext2_fs *fs, u32 blk)
{
    struct buf *b = *chain(fs, blk);
    while (b && b->blk != blk)
        b = b->hash_next;
    return b;
}

static struct buf *find(struct ext2_fs *fs, u32 blk)
{
    struct buf *b = peek(fs, blk);
    if (b && idle(b)) {
        list_remove(&b->lru);
        fs->nr_unused--;
    }
    if (b)
        b->refs++;
    return b;
}

// Nobody uses b any more, or one reason less to keep it.
static void rest(struct ext2_fs *fs, struct buf *b)
{
    if (!idle(b))
        return;
    list_push(&fs->lru, &b->lru);
    fs->nr_unused++;
}

static struct buf *make(struct ext2_fs *fs, u32 blk)
{
    if (fs->nr_unused > BUF_UNUSED_MAX)
        drop_unused(fs, BUF_UNUSED_MAX / 8);
    struct buf *b = kzalloc(sizeof(*b));
    if (!b)
        return NULL;
    b->data = kmalloc(fs->bsize, 0);
    if (!b->data) {
        kfree(b);
        return NULL;
    }
    b->blk = blk;
    b->refs = 1;
    list_init(&b->lru);
    list_init(&b->dirty_node);
    list_init(&b->log_node);
    struct buf **l = chain(fs, blk);
    b->hash_next = *l;
    *l = b;
    fs->nr_bufs++;
    return b;
}

struct buf *buf_get(struct ext2_fs *fs, u32 blk)
{
    if (blk >= fs->blocks_count)
        return NULL;
    struct buf *b = find(fs, blk);
    if (b)
        return b;
    b = make(fs, blk);
    if (!b)
        return NULL;
    if (blk_read(fs->dev, (u64)blk << (fs->bshift - 9), b->data, fs->bsize)) {
        ext2_error(fs, "block %u cannot be read", blk);
        free_buf(fs, b);
        return NULL;
    }
    return b;
}

struct buf *buf_new(struct ext2_fs *fs, u32 blk)
{
    struct buf *b = find(fs, blk);
    if (!b)
        b = make(fs, blk);
    if (b)
        memset(b->data, 0, fs->bsize);
    return b;
}

void buf_put(struct ext2_fs *fs, struct buf *b)
{
    b->refs--;
    rest(fs, b);
}

void buf_dirty(struct ext2_fs *fs, struct buf *b, enum buf_kind kind)
{
    if (b->dirty)                   // an earlier step is early enough: what it holds is not reachable before
        return;
    b->dirty = true;
    b->kind = kind;
    fs->nr_dirty++;
    list_push(&fs->dirty[kind], &b->dirty_node);
    flusher_kick(false);
}

static void clean(struct ext2_fs *fs, struct buf *b)
{
    if (!b->dirty)
        return;
    b->dirty = false;
    fs->nr_dirty--;
    list_remove(&b->dirty_node);
    rest(fs, b);
}

void buf_forget(struct ext2_fs *fs, u32 blk)
{
    struct buf *b = peek(fs, blk);
    if (!b)
        return;
    b->gone = b->logged;
    clean(fs, b);
    if (idle(b)) {
        fs->nr_unused--;
        free_buf(fs, b);
    }
}

bool buf_is_logged(struct ext2_fs *fs, u32 blk)
{
    const struct buf *b = peek(fs, blk);
    return b && b->logged;
}

// Committed: it may be dirty no more, but stays until it is in its place.
void buf_set_logged(struct ext2_fs *fs, struct buf *b)
{
    if (!b->logged)
        list_push(&fs->logged, &b->log_node);
    b->logged = true;
    clean(fs, b);
}

// --- Writing --------------------------------------------------------------------------------------------------------

struct batch {
    struct blk_req req[IO_BATCH];
    struct blk_seg seg[IO_BATCH];
    struct buf *buf[IO_BATCH];
    struct waitq wait;
    u32 pending;
    int status;
};

static void written(struct blk_req *r)
{
    struct batch *b = r->priv;
    if (r->status)
        b->status = r->status;
    if (!__atomic_sub_fetch(&b->pending, 1, __ATOMIC_ACQ_REL))
        waitq_wake_all(&b->wait);
}

// One more, by block number.
static unsigned insert(struct batch *b, unsigned n, struct buf *x)
{
    unsigned at = n;
    for (; at > 0 && b->buf[at - 1]->blk > x->blk; at--)
        b->buf[at] = b->buf[at - 1];
    b->buf[at] = x;
    return n + 1;
}

static void unlog(struct ext2_fs *fs, struct buf *b)
{
    list_remove(&b->log_node);
    b->logged = false;
    rest(fs, b);
    if (b->gone && idle(b)) {
        fs->nr_unused--;
        free_buf(fs, b);
    } else {
        b->gone = false;
    }
}

static unsigned collect(struct ext2_fs *fs, struct batch *b, enum buf_kind kind)
{
    unsigned n = 0;
    for (struct list *l = fs->dirty[kind].next; l != &fs->dirty[kind] && n < IO_BATCH; l = l->next)
        n = insert(b, n, list_entry(l, struct buf, dirty_node));
    return n;
}

// Neighbors go in one request, all requests at once.
static int write_batch(struct ext2_fs *fs, struct batch *b, unsigned n)
{
    u32 max = MIN(fs->dev->max_seg ? fs->dev->max_seg : 1, IO_BATCH);
    unsigned nreq = 0;
    for (unsigned a = 0; a < n;) {
        unsigned k = 0;
        do {
            b->seg[a + k] = (struct blk_seg){ va_to_pa(b->buf[a + k]->data), fs->bsize };
            k++;
        } while (a + k < n && k < max && b->buf[a + k]->blk == b->buf[a]->blk + k);
        b->req[nreq++] = (struct blk_req){ .op = BLK_WRITE, .sector = (u64)b->buf[a]->blk << (fs->bshift - 9),
                                           .seg = &b->seg[a], .nr_seg = k, .done = written, .priv = b };
        a += k;
    }
    if (nreq == 1) {
        b->req[0].done = NULL;
        return blk_submit_wait(fs->dev, &b->req[0]);
    }
    b->status = 0;
    b->pending = nreq;
    waitq_init(&b->wait);
    for (unsigned a = 0; a < nreq; a++) {
        int err = fs->dev->submit(fs->dev, &b->req[a]);
        if (err) {
            b->req[a].status = err;
            written(&b->req[a]);
        }
    }
    struct waiter w;
    waitq_prepare(&b->wait, &w);
    while (__atomic_load_n(&b->pending, __ATOMIC_ACQUIRE))
        waitq_sleep(&w, NO_DEADLINE, false);
    waitq_finish(&w);
    return b->status;
}

int buf_write_kind(struct ext2_fs *fs, enum buf_kind kind)
{
    if (list_empty(&fs->dirty[kind]))
        return 0;
    int err = ext2_begin_write(fs);
    struct batch *b = err ? NULL : kzalloc(sizeof(*b));
    if (!b)
        return err ? err : -ENOMEM;
    for (unsigned n; !err && (n = collect(fs, b, kind));) {
        err = write_batch(fs, b, n);
        for (unsigned a = 0; !err && a < n; a++)
            clean(fs, b->buf[a]);
    }
    kfree(b);
    if (err)
        ext2_error(fs, "metadata cannot be written (error %d)", -err);
    return err;
}

static unsigned collect_logged(struct ext2_fs *fs, struct batch *b)
{
    unsigned n = 0;
    for (struct list *l = fs->logged.next, *next; l != &fs->logged && n < IO_BATCH; l = next) {
        struct buf *x = list_entry(l, struct buf, log_node);
        next = l->next;
        if (x->gone) {
            unlog(fs, x);
            continue;
        }
        n = insert(b, n, x);
    }
    return n;
}

int buf_write_logged(struct ext2_fs *fs)
{
    struct batch *b = kzalloc(sizeof(*b));
    int err = b ? 0 : -ENOMEM;
    for (unsigned n; !err && (n = collect_logged(fs, b));) {
        err = write_batch(fs, b, n);
        for (unsigned a = 0; !err && a < n; a++)
            unlog(fs, b->buf[a]);
    }
    kfree(b);
    return err;
}

void buf_free_all(struct ext2_fs *fs)
{
    for (unsigned k = 0; k < BUF_BUCKETS; k++)
        while (fs->hash[k]) {
            struct buf *b = fs->hash[k];
            list_remove(&b->dirty_node);
            list_remove(&b->log_node);
            free_buf(fs, b);
        }
    fs->nr_unused = 0;
    list_remove(&fs->all);
}
