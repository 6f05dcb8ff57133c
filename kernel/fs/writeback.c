// SPDX-License-Identifier: Apache-2.0
// Dirty pages: marking, limits, writing back; the flusher thread.
#include "lib.h"
#include "pagecache.h"
#include "sched.h"
#include "time.h"

#define WB_PAGES 32u                         // in one request
#define FLUSH_AFTER (5 * NSEC_PER_SEC)       // what is dirty is written after this time, as Linux's dirty_writeback_centisecs
#define DIRTY_SHARE 5                        // at most a fifth of memory is dirty
#define DIRTY_MAX 16384u                     // pages

u64 pc_nr_dirty;
static u64 dirty_limit = DIRTY_MAX;
static struct waitq flush_wait = WAITQ_INIT(flush_wait);
static bool flush_pending, flush_now;

void flusher_kick(bool now)
{
    if (flush_pending && (flush_now || !now))
        return;
    flush_pending = true;
    flush_now |= now;
    waitq_wake_all(&flush_wait);
}

void pagecache_dirty(struct inode *i, u64 index, struct page *p)
{
    struct mapping *m = &i->mapping;
    if (p->flags & PG_DIRTY)
        return;
    if (pc_in_memory(i))
        return;
    spin_lock(&m->lock);
    if (!(p->flags & PG_DIRTY) && (p->flags & PG_CACHE)) {
        p->flags |= PG_DIRTY;
        radix_mark(m, index, true);
        m->nr_dirty++;
        __atomic_add_fetch(&pc_nr_dirty, 1, __ATOMIC_RELAXED);
    }
    spin_unlock(&m->lock);
    inode_mark_dirty(i, 0);
}

// Takes the next run of neighboring dirty pages from *index on; they become PG_WRITEBACK and counted.
static unsigned gather(struct inode *i, u64 *index, u64 last, struct page **pg)
{
    struct mapping *m = &i->mapping;
    unsigned n = 0;
    spin_lock(&m->lock);
    struct page *p = radix_next(m, index, true);
    u64 at = *index;
    while (p && at <= last && n < WB_PAGES) {
        page_get(p);
        p->flags = (u16)((p->flags & ~PG_DIRTY) | PG_WRITEBACK);
        radix_mark(m, at, false);
        m->nr_dirty--;
        pg[n++] = p;
        u64 next = ++at;
        p = radix_next(m, &next, true);
        if (next != at)
            break;
    }
    spin_unlock(&m->lock);
    __atomic_sub_fetch(&pc_nr_dirty, n, __ATOMIC_RELAXED);
    return n;
}

// Errors of write back, as Linux's errseq_t has them (lib/errseq.c): the last error, whether anybody has seen it, and a count that
// goes on with each error after one that was seen. So every file that was open then learns of it, once, and the first one opened
// later if nobody did.
#define WB_ERROR 0xfffu
#define WB_SEEN 0x1000u
#define WB_COUNT 0x2000u

static void wb_record(struct mapping *m, int err)
{
    m->wb_error = (m->wb_error & ~(WB_ERROR | WB_SEEN)) + (m->wb_error & WB_SEEN ? WB_COUNT : 0) + (u32)-err;
}

u32 wb_sample(const struct mapping *m) { return m->wb_error & WB_SEEN ? m->wb_error : 0; }

int wb_check(struct mapping *m, u32 *seen)
{
    if (m->wb_error == *seen)
        return 0;
    m->wb_error |= WB_SEEN;
    *seen = m->wb_error;
    return -(int)(m->wb_error & WB_ERROR);
}

int pc_writeback(struct inode *i, u64 first, u64 last)
{
    struct page *pg[WB_PAGES];
    int err = 0;
    if (pc_in_memory(i))
        return 0;
    if (i->iflags & I_MMAPPED)
        vm_clean_file_pages(i, first, last == ~0ull ? ~0ull : last - first + 1);
    mutex_lock(&i->mapping.wb_lock);
    u64 index = first;
    for (unsigned n; (n = gather(i, &index, last, pg)); index += n) {
        u64 end = i->size;
        if (((index + n) << PAGE_SHIFT) > end && (index << PAGE_SHIFT) < end + PAGE_SIZE)
            pc_zero_tail(i, index + n - 1, pg[n - 1]);          // what a mapping wrote behind the end stays off the disk
        int e = i->ops->writepages(i, index, pg, n);
        if (e)
            err = e;
        for (unsigned a = 0; a < n; a++) {
            pc_flags(pg[a], 0, PG_WRITEBACK);
            page_put(pg[a]);
        }
    }
    if (err)
        wb_record(&i->mapping, err);
    mutex_unlock(&i->mapping.wb_lock);
    return err;
}

ssize_t pc_sync_range(struct inode *i, u64 off, u64 len)
{
    u64 last = len && off + len > off ? (off + len - 1) >> PAGE_SHIFT : ~0ull;
    return pc_writeback(i, off >> PAGE_SHIFT, last);
}

void pc_balance(struct inode *i)
{
    if (pc_nr_dirty <= dirty_limit / 2)
        return;
    if (pc_nr_dirty > dirty_limit)
        pc_writeback(i, 0, ~0ull);
    if (pc_nr_dirty > dirty_limit)              // other files' pages
        flusher_kick(true);
}

void vfs_sync_all(void)
{
    for (struct list *n = mounts.next; n != &mounts; n = n->next) {
        struct superblock *sb = list_entry(n, struct mount, node)->sb;
        if (sb->ops->sync)
            sb->ops->sync(sb);
    }
}

static void write_all(void)
{
    for (struct list *n = mounts.next; n != &mounts; n = n->next) {
        struct superblock *sb = list_entry(n, struct mount, node)->sb;
        if (sb->ops->writeback)
            sb->ops->writeback(sb);
    }
}

void flusher(void)
{
    strlcpy(current()->name, "flush", sizeof(current()->name));
    for (;;) {
        struct waiter w;
        u64 deadline = NO_DEADLINE;
        waitq_prepare(&flush_wait, &w);
        while (!flush_now) {
            if (flush_pending && deadline == NO_DEADLINE)
                deadline = clock_mono_ns() + FLUSH_AFTER;
            if (waitq_sleep(&w, deadline, false))
                break;
        }
        waitq_finish(&w);
        bool short_of_memory = flush_now;
        flush_pending = flush_now = false;
        write_all();
        if (short_of_memory)
            dcache_shrink(256);
    }
}

void writeback_init(void)
{
    struct mem_stats st;
    mem_stats(&st);
    dirty_limit = MIN((u64)DIRTY_MAX, MAX(st.total / PAGE_SIZE / DIRTY_SHARE, 16ull));
}
