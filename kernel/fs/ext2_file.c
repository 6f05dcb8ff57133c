// SPDX-License-Identifier: Apache-2.0
// ext2: contents of files between the page cache and the disk.
#include "ext2.h"

#include <linux/falloc.h>

#define IO_SEGS 32u

// A request that grows while blocks of the disk are neighbors.
struct io {
    struct blk_seg seg[IO_SEGS];
    u32 n, blk, len;                // len: blocks
    enum blk_op op;
};

static int io_submit(struct ext2_fs *fs, struct io *io)
{
    if (!io->n)
        return 0;
    struct blk_req r = { .op = io->op, .sector = (u64)io->blk << (fs->bshift - 9), .seg = io->seg, .nr_seg = io->n };
    io->n = io->len = 0;
    return blk_submit_wait(fs->dev, &r);
}

static int io_add(struct ext2_fs *fs, struct io *io, u32 blk, u64 pa)
{
    u32 max = MIN(fs->dev->max_seg ? fs->dev->max_seg : 1, IO_SEGS);
    struct blk_seg *last = io->n ? &io->seg[io->n - 1] : NULL;
    bool join = last && last->pa + last->len == pa;
    if (last && (blk != io->blk + io->len || (!join && io->n == max))) {
        int err = io_submit(fs, io);
        if (err)
            return err;
        join = false;
    }
    if (!io->n)
        io->blk = blk;
    if (join)
        io->seg[io->n - 1].len += fs->bsize;
    else
        io->seg[io->n++] = (struct blk_seg){ pa, fs->bsize };
    io->len++;
    return 0;
}

static int map_locked(struct ext2_inode *e, u64 lblk, u32 max, u32 *phys)
{
    struct ext2_fs *fs = FS(e);
    mutex_lock(&fs->lock);
    int n = ext2_map_run(e, lblk, max, phys);
    mutex_unlock(&fs->lock);
    return n;
}

// Reads or writes the blocks of n pages; holes read as zeros and are not written.
static int transfer(struct inode *i, u64 index, struct page **p, unsigned n, enum blk_op op)
{
    struct ext2_inode *e = EI(i);
    struct ext2_fs *fs = FS(e);
    u32 shift = PAGE_SHIFT - fs->bshift, total = n << shift;
    u64 first = index << shift, end = (i->size + fs->bsize - 1) >> fs->bshift;
    struct io io = { .op = op };
    int err = op == BLK_WRITE ? ext2_begin_write(fs) : 0;
    if (err)
        return err;
    for (u32 k = 0; k < total;) {
        u32 phys = 0;
        int run = first + k >= end ? (int)(total - k) : map_locked(e, first + k, (u32)MIN((u64)(total - k), end - first - k), &phys);
        if (run < 0)
            return run;
        for (int a = 0; a < run; a++, k++) {
            u64 off = (u64)(k & ((1u << shift) - 1)) << fs->bshift;
            struct page *pg = p[k >> shift];
            if (phys)
                err = io_add(fs, &io, phys + (u32)a, page_pa(pg) + off);
            else if (op == BLK_READ)
                memset((char *)page_va(pg) + off, 0, fs->bsize);
            if (err)
                return err;
        }
    }
    return io_submit(fs, &io);
}

int ext2_readpages(struct inode *i, u64 index, struct page **p, unsigned n) { return transfer(i, index, p, n, BLK_READ); }
int ext2_readpage(struct inode *i, u64 index, struct page *p) { return transfer(i, index, &p, 1, BLK_READ); }
int ext2_writepages(struct inode *i, u64 index, struct page **p, unsigned n) { return transfer(i, index, p, n, BLK_WRITE); }

static int fill_blocks(struct ext2_inode *e, u64 lblk, u64 end)
{
    struct ext2_fs *fs = FS(e);
    int err = 0;
    mutex_lock(&fs->lock);
    while (!err && lblk < end) {
        u32 phys;
        bool made;
        int run = ext2_map_run(e, lblk, (u32)MIN(end - lblk, 1024ull), &phys);
        if (run < 0)
            err = run;
        else if (phys)
            lblk += (u32)run;
        else if (!(err = ext2_map_create(e, lblk, &phys, &made)))
            lblk++;
    }
    mutex_unlock(&fs->lock);
    return err;
}

// Is there a hole among the blocks [lblk, end)?
static int has_hole(struct ext2_inode *e, u64 lblk, u64 end)
{
    while (lblk < end) {
        u32 phys;
        int run = map_locked(e, lblk, (u32)MIN(end - lblk, 1024ull), &phys);
        if (run < 0)
            return run;
        if (!phys)
            return 1;
        lblk += (u32)run;
    }
    return 0;
}

// A new block inside the file holds what some other file left there, until its page is written: so the page is brought
// in as zeros and made dirty. Behind the end of the file nobody reads.
static int fill_hole_page(struct ext2_inode *e, u64 index, u64 lblk, u64 end)
{
    struct inode *i = &e->vfs;
    int hole = has_hole(e, lblk, end);
    if (hole <= 0)
        return hole;
    struct page *p = pc_get(i, NULL, index);
    if (is_err(p))
        return (int)ptr_err(p);
    int err = fill_blocks(e, lblk, end);
    if (!err)
        pagecache_dirty(i, index, p);
    page_put(p);
    return err;
}

int ext2_reserve(struct inode *i, u64 off, u64 len)
{
    struct ext2_inode *e = EI(i);
    struct ext2_fs *fs = FS(e);
    if (off + len > fs->max_size || off + len < off)
        return -EFBIG;
    u64 lblk = off >> fs->bshift, end = (off + len + fs->bsize - 1) >> fs->bshift;
    u64 old_end = MIN((i->size + fs->bsize - 1) >> fs->bshift, end);
    u32 shift = PAGE_SHIFT - fs->bshift;
    while (lblk < old_end) {
        u64 stop = MIN(((lblk >> shift) + 1) << shift, old_end);
        int err = fill_hole_page(e, lblk >> shift, lblk, stop);
        if (err)
            return err;
        lblk = stop;
    }
    return lblk < end ? fill_blocks(e, lblk, end) : 0;
}

static void free_range(struct ext2_inode *e, u64 from, u64 to)
{
    struct ext2_fs *fs = FS(e);
    mutex_lock(&fs->lock);
    ext2_punch(e, from, to);
    mutex_unlock(&fs->lock);
}

// Zeros [from, to), which lies within one page, in the cache and, where a block is there, on disk.
static int zero_part(struct ext2_inode *e, u64 from, u64 to)
{
    struct inode *i = &e->vfs;
    u32 phys = 0, shift = FS(e)->bshift;
    if (from >= to)
        return 0;
    for (u64 lblk = from >> shift; lblk <= (to - 1) >> shift && !phys; lblk++) {
        int run = map_locked(e, lblk, 1, &phys);
        if (run < 0)
            return run;
    }
    struct page *p = phys ? pc_get(i, NULL, from >> PAGE_SHIFT) : pc_find(i, from >> PAGE_SHIFT);
    if (!p || is_err(p))
        return p ? (int)ptr_err(p) : 0;
    pc_wait(p, PG_BUSY);
    memset((char *)page_va(p) + (from & ~PAGE_MASK), 0, to - from);
    if (phys)
        pagecache_dirty(i, from >> PAGE_SHIFT, p);
    page_put(p);
    return 0;
}

int ext2_truncate(struct ext2_inode *e, u64 size)
{
    struct inode *i = &e->vfs;
    struct ext2_fs *fs = FS(e);
    u64 old = i->size;
    if (!S_ISREG(i->mode))
        return -EINVAL;
    if (size > fs->max_size)
        return -EFBIG;
    if (size > old && (old & ~PAGE_MASK))       // a mapping may have written behind the end
        pc_zero_range(i, old, ALIGN_UP(old, PAGE_SIZE));
    if (size < old && (size & ~PAGE_MASK)) {
        int err = zero_part(e, size, MIN(ALIGN_UP(size, PAGE_SIZE), old));
        if (err)
            return err;
    }
    i->size = size;
    inode_mark_dirty(i, I_DIRTY_META);
    if (size < old)
        pc_truncate(i, (size + PAGE_SIZE - 1) >> PAGE_SHIFT, ~0ull);
    if (size <= old && i->blocks)
        free_range(e, (size + fs->bsize - 1) >> fs->bshift, ~0ull);
    if (size != old)
        inode_touch(i, true, true);
    return 0;
}

static int punch_hole(struct ext2_inode *e, u64 from, u64 to)
{
    struct inode *i = &e->vfs;
    struct ext2_fs *fs = FS(e);
    to = MIN(to, i->size);
    if (from >= to)
        return 0;
    u64 first = ALIGN_UP(from, PAGE_SIZE), last = to == i->size ? ALIGN_UP(to, PAGE_SIZE) : ALIGN_DOWN(to, PAGE_SIZE);
    int err;
    if (first >= last || first > to) {          // within two pages at most
        u64 mid = MIN(MAX(ALIGN_UP(from, PAGE_SIZE), from), to);
        err = zero_part(e, from, mid);
        return err ? err : zero_part(e, mid, to);
    }
    err = zero_part(e, from, first);
    if (!err && last < to)
        err = zero_part(e, last, to);
    if (err)
        return err;
    pc_truncate(i, first >> PAGE_SHIFT, (last - first) >> PAGE_SHIFT);
    free_range(e, first >> fs->bshift, last >> fs->bshift);
    return 0;
}

// fallocate(2). Space behind the end of the file (FALLOC_FL_KEEP_SIZE) cannot be told from a damaged size on ext2: EOPNOTSUPP.
int ext2_fallocate(struct inode *i, int mode, u64 off, u64 len)
{
    struct ext2_inode *e = EI(i);
    u64 end = off + len;
    int err = 0;
    bool keep = mode & FALLOC_FL_KEEP_SIZE, zero = mode & FALLOC_FL_ZERO_RANGE, punch = mode & FALLOC_FL_PUNCH_HOLE;
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        return -EOPNOTSUPP;
    if (keep && !punch && end > i->size)
        return -EOPNOTSUPP;
    if (end > FS(e)->max_size)
        return -EFBIG;
    if (punch || zero)
        err = punch_hole(e, off, end);
    u64 old = i->size;
    if (!err && !punch && end > old) {          // the new part must read as zeros: zero pages, dirty
        err = ext2_truncate(e, end);
    }
    for (u64 at = off; !err && !punch && at < end;) {
        u64 n = MIN(end - at, 16 * PAGE_SIZE - (at & ~PAGE_MASK));
        err = ext2_reserve(i, at, n);
        at += n;
        pc_balance(i);
    }
    if (err && i->size != old)
        ext2_truncate(e, old);
    inode_touch(i, true, true);
    inode_mark_dirty(i, I_DIRTY_META);
    return err;
}

i64 ext2_seek_data(struct inode *i, u64 off, bool hole)
{
    struct ext2_fs *fs = EXT2(i->sb);
    u64 lblk = off >> fs->bshift, end = (i->size + fs->bsize - 1) >> fs->bshift;
    while (lblk < end) {
        u32 phys;
        int run = map_locked(EI(i), lblk, (u32)MIN(end - lblk, 1024ull), &phys);
        if (run < 0)
            return run;
        if (!phys == hole)
            return (i64)MAX(off, lblk << fs->bshift);
        lblk += (u32)run;
    }
    return hole ? (i64)i->size : -ENXIO;
}

int ext2_fsync(struct file *f, bool data_only)
{
    struct inode *i = f->inode;
    struct ext2_fs *fs = EXT2(i->sb);
    if (fs->sb.readonly)
        return 0;
    int err = S_ISREG(i->mode) ? pc_writeback(i, 0, ~0ull) : 0;
    int seen = wb_check(&i->mapping, &f->wb_seen);
    err = err ? err : seen;
    mutex_lock(&fs->lock);
    int c = data_only && S_ISREG(i->mode) && ext2_inode_on_disk(EI(i)) ? 0 : ext2_commit(fs, false);
    mutex_unlock(&fs->lock);
    err = err ? err : c;
    int e = fs->dev->has_flush ? blk_flush(fs->dev) : 0;
    return err ? err : e;
}
