// SPDX-License-Identifier: Apache-2.0
// The page cache: finding, reading in, dropping and reclaiming the pages of files. Reading and writing files through it is
// in fs/filerw.c, write back in fs/writeback.c.
#include "pagecache.h"

#include "printk.h"

#define PAGE_WAITS 32
#define RA_MAX 32u                  // pages read ahead at most
#define RA_FIRST 4u
#define FAULT_PAGES 32u             // a fault reads what is missing around it in its piece of this many pages: programs jump about

static struct waitq page_waits[PAGE_WAITS];

static struct waitq *page_queue(const struct page *p) { return &page_waits[((u64)p >> 4) % PAGE_WAITS]; }

void pc_wait(struct page *p, u16 flags)
{
    struct waiter w;
    if (!(__atomic_load_n(&p->flags, __ATOMIC_ACQUIRE) & flags))
        return;
    waitq_prepare(page_queue(p), &w);
    while (__atomic_load_n(&p->flags, __ATOMIC_ACQUIRE) & flags)
        waitq_sleep(&w, NO_DEADLINE, false);
    waitq_finish(&w);
}

void pc_flags(struct page *p, u16 set, u16 clear)
{
    __atomic_and_fetch(&p->flags, (u16)~clear, __ATOMIC_RELEASE);
    __atomic_or_fetch(&p->flags, set, __ATOMIC_RELEASE);
    if (clear & (PG_BUSY | PG_WRITEBACK))
        waitq_wake_all(page_queue(p));
}

bool pc_in_memory(const struct inode *i) { return !i->ops->writepages; }

struct page *pc_find(struct inode *i, u64 index)
{
    struct mapping *m = &i->mapping;
    spin_lock(&m->lock);
    struct page *p = radix_find(m, index);
    if (p) {
        page_get(p);
        p->flags |= PG_ACCESSED;
    }
    spin_unlock(&m->lock);
    return p;
}

// Adds a page; the cache takes its own reference.
int pc_insert(struct inode *i, u64 index, struct page *p)
{
    struct mapping *m = &i->mapping;
    for (int tries = 0;; tries++) {
        spin_lock(&m->lock);
        int err = radix_insert(m, index, p);
        if (!err) {
            page_get(p);
            p->flags |= PG_CACHE | PG_ACCESSED;
        }
        spin_unlock(&m->lock);
        if (!err)
            mem_account_cache(1);
        if (err != -ENOMEM || tries)
            return err;
        radix_make_room();
    }
}

// The lock is held and p is the page at index.
static void remove_locked(struct mapping *m, u64 index, struct page *p)
{
    radix_remove(m, index);
    if (p->flags & PG_DIRTY) {
        m->nr_dirty--;
        __atomic_sub_fetch(&pc_nr_dirty, 1, __ATOMIC_RELAXED);
    }
    p->flags &= (u16)~(PG_CACHE | PG_DIRTY);
}

static void drop(struct inode *i, u64 index, struct page *p)
{
    struct mapping *m = &i->mapping;
    spin_lock(&m->lock);
    bool there = radix_find(m, index) == p;
    if (there)
        remove_locked(m, index, p);
    spin_unlock(&m->lock);
    if (there) {
        mem_account_cache(-1);
        page_put(p);
    }
}

void pc_zero_tail(struct inode *i, u64 index, struct page *p)
{
    u64 start = index << PAGE_SHIFT;
    if (i->size >= start + PAGE_SIZE)
        return;
    u64 used = i->size > start ? i->size - start : 0;
    memset((char *)page_va(p) + used, 0, PAGE_SIZE - used);
}

// Makes up to n busy pages from index on; stops at one that is there. The number made; 0: index itself is there; -ENOMEM.
static int make_busy(struct inode *i, u64 index, struct page **pg, unsigned n)
{
    unsigned k = 0;
    for (; k < n; k++) {
        struct page *p = page_alloc(0, k ? PA_USER | PA_ATOMIC : PA_USER);
        if (!p)
            return k ? (int)k : -ENOMEM;
        p->flags = PG_BUSY;
        int err = pc_insert(i, index + k, p);
        if (err) {
            p->flags = 0;
            page_put(p);
            return k || err == -EEXIST ? (int)k : err;
        }
        pg[k] = p;
    }
    return (int)k;
}

// Reads up to n missing pages from index on.
static int read_in(struct inode *i, u64 index, unsigned n)
{
    struct page *pg[RA_MAX];
    int k = make_busy(i, index, pg, MIN(n, RA_MAX));
    if (k <= 0)
        return k;
    int err = 0;
    if (k > 1 && i->ops->readpages)
        err = i->ops->readpages(i, index, pg, (unsigned)k);
    for (int a = 0; a < k; a++) {
        int e = err;
        if (k == 1 || !i->ops->readpages)
            e = i->ops->readpage ? i->ops->readpage(i, index + (u64)a, pg[a]) : 0;
        if (!e) {
            pc_zero_tail(i, index + (u64)a, pg[a]);
            pc_flags(pg[a], PG_UPTODATE, PG_BUSY);
        } else {
            drop(i, index + (u64)a, pg[a]);
            pc_flags(pg[a], PG_ERROR, PG_BUSY);
            if (a == 0)
                err = e;
        }
        page_put(pg[a]);
    }
    return err;
}

// How many pages to read for a miss at index: a window that doubles while the reader is sequential.
static unsigned window(struct inode *i, struct file *f, u64 index, unsigned want)
{
    u64 pages = (i->size + PAGE_SIZE - 1) >> PAGE_SHIFT;
    unsigned n = want;
    if (f) {
        if (index == f->ra_next || index == 0)
            f->ra_pages = f->ra_pages ? MIN(f->ra_pages * 2, RA_MAX) : RA_FIRST;
        else
            f->ra_pages = 0;
        n = MAX(n, f->ra_pages);
        n = MIN(n, RA_MAX);
        f->ra_next = index + n;
    }
    return index >= pages ? 1 : (unsigned)MIN((u64)n, pages - index);
}

struct page *pc_get_n(struct inode *i, struct file *f, u64 index, unsigned want)
{
    for (;;) {
        struct page *p = pc_find(i, index);
        if (!p) {
            int err = read_in(i, index, MAX(window(i, f, index, want), 1u));
            if (err < 0)
                return err_ptr(err);
            continue;
        }
        if (likely(p->flags & PG_UPTODATE))
            return p;
        pc_wait(p, PG_BUSY);
        bool ok = p->flags & PG_UPTODATE, bad = p->flags & PG_ERROR;
        if (ok)
            return p;
        page_put(p);
        if (bad)
            return err_ptr(-EIO);
    }
}

struct page *pc_get(struct inode *i, struct file *f, u64 index) { return pc_get_n(i, f, index, 1); }

void pc_read_ahead(struct inode *i, u64 index, u64 n)
{
    u64 end = MIN(index + n, (i->size + PAGE_SIZE - 1) >> PAGE_SHIFT);
    if (pc_in_memory(i))
        return;
    while (index < end) {
        struct page *p = pc_find(i, index);
        if (p) {
            page_put(p);
            index++;
        } else if (read_in(i, index, (unsigned)MIN(end - index, (u64)RA_MAX)) < 0) {
            return;
        }
    }
}

// Drops the pages [first, first + n), waiting for those under I/O.
static void drop_range(struct inode *i, u64 first, u64 n)
{
    struct mapping *m = &i->mapping;
    u64 index = first, end = n > ~first ? ~0ull : first + n;
    for (;;) {
        spin_lock(&m->lock);
        struct page *p = radix_next(m, &index, false);
        if (!p || index >= end) {
            spin_unlock(&m->lock);
            return;
        }
        if (p->flags & (PG_BUSY | PG_WRITEBACK)) {
            page_get(p);
            spin_unlock(&m->lock);
            pc_wait(p, PG_BUSY | PG_WRITEBACK);
            page_put(p);
            continue;
        }
        remove_locked(m, index, p);
        spin_unlock(&m->lock);
        mem_account_cache(-1);
        page_put(p);
    }
}

void pc_truncate(struct inode *i, u64 first, u64 n)
{
    if (i->iflags & I_MMAPPED)
        vm_unmap_file_pages(i, first, n);
    drop_range(i, first, n);
}

void pc_drop_all(struct inode *i) { drop_range(i, 0, ~0ull); }

// POSIX_FADV_DONTNEED: clean pages that nobody uses go.
size_t pc_forget(struct inode *i, u64 first, u64 last, bool second_chance)
{
    struct mapping *m = &i->mapping;
    size_t freed = 0;
    if (pc_in_memory(i))
        return 0;
    for (u64 index = first; index <= last; index++) {
        spin_lock(&m->lock);
        struct page *p = radix_next(m, &index, false);
        if (!p || index > last) {
            spin_unlock(&m->lock);
            break;
        }
        bool go = p->refs == 1 && !(p->flags & (PG_BUSY | PG_WRITEBACK | PG_DIRTY));
        if (go && second_chance && (p->flags & PG_ACCESSED)) {
            p->flags &= (u16)~PG_ACCESSED;
            go = false;
        }
        if (go)
            remove_locked(m, index, p);
        spin_unlock(&m->lock);
        if (go) {
            mem_account_cache(-1);
            page_put(p);
            freed++;
        }
    }
    return freed;
}

struct reclaim {
    size_t want, got;
    bool gentle;
};

static bool reclaim_inode(struct inode *i, void *arg)
{
    struct reclaim *r = arg;
    if (i->mapping.nr && i->mapping.nr > i->mapping.nr_dirty)
        r->got += pc_forget(i, 0, ~0ull - 1, r->gentle);
    return r->got < r->want;
}

// Called when an allocation finds no memory, possibly with an inode's or a file system's lock held by this thread:
// therefore only clean pages go here, and the flusher does what needs locks.
static size_t shrink(size_t pages)
{
    struct reclaim r = { .want = pages, .gentle = true };
    inode_for_each(reclaim_inode, &r);
    if (r.got < r.want) {
        r.gentle = false;
        inode_for_each(reclaim_inode, &r);
    }
    if (r.got < r.want)
        flusher_kick(true);
    return r.got;
}

static struct shrinker shrinker = { .name = "page cache", .shrink = shrink };

void pc_init(void)
{
    for (unsigned n = 0; n < PAGE_WAITS; n++)
        waitq_init(&page_waits[n]);
    shrinker_register(&shrinker);
    writeback_init();
}

// --- For mm/fault.c -----------------------------------------------------------------------------------------------

static bool missing(struct inode *i, u64 index)
{
    struct mapping *m = &i->mapping;
    spin_lock(&m->lock);
    bool there = radix_find(m, index) != NULL;
    spin_unlock(&m->lock);
    return !there;
}

static struct page *get_piece(struct inode *i, u64 index)
{
    u64 first = index, pages = (i->size + PAGE_SIZE - 1) >> PAGE_SHIFT;
    if (!pc_in_memory(i) && missing(i, index)) {
        while (first % FAULT_PAGES && missing(i, first - 1))
            first--;
        int err = read_in(i, first, (unsigned)(MIN(pages, ALIGN_DOWN(first, FAULT_PAGES) + FAULT_PAGES) - first));
        if (err < 0 && first == index)
            return err_ptr(err);
    }
    return pc_get_n(i, NULL, index, 1);
}

struct page *pagecache_fault(struct file *f, u64 index, bool write_shared)
{
    struct inode *i = f->inode;
    if (!i || index >= (i->size + PAGE_SIZE - 1) >> PAGE_SHIFT)
        return err_ptr(-EIO);
    struct page *p = get_piece(i, index);
    if (is_err(p) || !write_shared)
        return p;
    u64 start = index << PAGE_SHIFT, len = MIN(PAGE_SIZE, i->size - MIN(start, i->size));
    int err = i->ops->reserve ? i->ops->reserve(i, start, len) : 0;
    if (err) {
        page_put(p);
        return err_ptr(err);
    }
    pagecache_dirty(i, index, p);
    inode_touch(i, true, true);
    return p;
}

struct page *pagecache_peek(struct file *f, u64 index)
{
    struct inode *i = f->inode;
    if (!i || index >= (i->size + PAGE_SIZE - 1) >> PAGE_SHIFT)
        return NULL;
    struct page *p = pc_find(i, index);
    if (p && (!(p->flags & PG_UPTODATE) || (p->flags & PG_BUSY))) {
        page_put(p);
        p = NULL;
    }
    return p;
}

int pc_mmap(struct file *f, struct vma *v)
{
    (void)v;
    touch_atime(f, 0);
    f->inode->iflags |= I_MMAPPED;
    return 0;
}
