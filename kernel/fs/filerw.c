// SPDX-License-Identifier: Apache-2.0
// Reading and writing regular files through the page cache.
#include "pagecache.h"
#include "process.h"
#include "signal.h"

#include <asm/signal.h>
#include <linux/resource.h>

#define SECTOR 512ul
#define RESERVE_CHUNK (64 * PAGE_SIZE)
#define ATIME_MAX_AGE (24 * 3600)   // relatime, mount(8)

void touch_atime(struct file *f, u64 pos)
{
    struct inode *i = f->inode;
    if ((f->flags & O_NOATIME) || i->sb->readonly)
        return;
    bool newer = i->atime.sec > i->mtime.sec || (i->atime.sec == i->mtime.sec && i->atime.nsec > i->mtime.nsec);
    bool newer_c = i->atime.sec > i->ctime.sec || (i->atime.sec == i->ctime.sec && i->atime.nsec > i->ctime.nsec);
    if (newer && newer_c && pos)                // the clock is asked only by readers that begin anew
        return;
    struct timespec_k now = fs_now();
    if (newer && newer_c && now.sec - i->atime.sec < ATIME_MAX_AGE)
        return;
    i->atime = now;
    inode_mark_dirty(i, I_DIRTY_TIME);
}

// open(2), O_DIRECT: length and position in whole sectors where a disk lies below. (Where the memory must lie depends on the
// device on Linux; here it may lie anywhere.)
static bool misaligned(const struct file *f, const struct iter *it, u64 pos)
{
    return (f->flags & O_DIRECT) && !pc_in_memory(f->inode) && ((pos | it->left) & (SECTOR - 1));
}

ssize_t pc_read(struct file *f, struct iter *it, u64 *pos)
{
    if (unlikely(misaligned(f, it, *pos)))
        return -EINVAL;
    struct inode *i = f->inode;
    u64 at = *pos, start = at;
    int err = 0;
    while (it->left && at < i->size) {
        u64 index = at >> PAGE_SHIFT, off = at & ~PAGE_MASK;
        size_t n = MIN(MIN(PAGE_SIZE - off, it->left), i->size - at), done;
        struct page *p = NULL;
        if (pc_in_memory(i) && !(p = pc_find(i, index))) {      // a hole
            done = iter_zero(it, n);
        } else {
            if (!pc_in_memory(i))
                p = pc_get_n(i, f, index, (unsigned)MIN((it->left + off + PAGE_SIZE - 1) >> PAGE_SHIFT, 32ul));
            if (is_err(p)) {
                err = (int)ptr_err(p);
                break;
            }
            done = iter_put(it, (char *)page_va(p) + off, n);
            page_put(p);
        }
        at += done;
        if (done < n) {
            err = -EFAULT;
            break;
        }
    }
    *pos = at;
    touch_atime(f, start);
    return at > start ? (ssize_t)(at - start) : err;
}

// --- write ------------------------------------------------------------------------------------------------------------

// A page that will be overwritten as a whole, or lies behind the end: filled before it enters the cache, so that nothing
// is read and no fault during the copy meets a half-made page. Bytes taken, or -errno.
static ssize_t write_new_page(struct inode *i, struct iter *it, u64 index, size_t off, size_t n)
{
    u64 start = index << PAGE_SHIFT;
    struct page *p = page_alloc(0, PA_USER);
    if (!p)
        return -ENOMEM;
    char *va = page_va(p);
    if (n < PAGE_SIZE)
        memset(va, 0, PAGE_SIZE);
    size_t done = iter_get(it, va + off, n);
    int err = done ? 0 : -EFAULT;
    struct page *into = p;
    if (!err && !(start >= i->size || done == PAGE_SIZE)) {     // short: the rest comes from the disk
        into = pc_get(i, NULL, index);
    } else if (!err) {
        p->flags = PG_UPTODATE;
        err = pc_insert(i, index, p);
        if (err == -EEXIST) {
            err = 0;
            into = pc_get(i, NULL, index);
        }
    }
    if (is_err(into))
        err = (int)ptr_err(into);
    if (!err) {
        if (into != p)
            memcpy((char *)page_va(into) + off, va + off, done);
        pagecache_dirty(i, index, into);
    }
    if (into != p && !is_err(into))
        page_put(into);
    page_put(p);
    return err ? err : (ssize_t)done;
}

static ssize_t write_page(struct inode *i, struct iter *it, u64 at, size_t n)
{
    u64 index = at >> PAGE_SHIFT, start = index << PAGE_SHIFT;
    size_t off = at & ~PAGE_MASK;
    struct page *p = pc_find(i, index);
    if (!p && (n == PAGE_SIZE || start >= i->size))
        return write_new_page(i, it, index, off, n);
    if (!p || !(p->flags & PG_UPTODATE)) {
        if (p)
            page_put(p);
        p = pc_get(i, NULL, index);
        if (is_err(p))
            return ptr_err(p);
    }
    size_t done = iter_get(it, (char *)page_va(p) + off, n);
    if (done)
        pagecache_dirty(i, index, p);
    page_put(p);
    return done ? (ssize_t)done : -EFAULT;
}

// Room on the disk for [at, at + len), or for its first part; the bytes there is room for, or -ENOSPC.
static ssize_t reserve(struct inode *i, u64 at, u64 len)
{
    if (!i->ops->reserve)
        return (ssize_t)len;
    u64 n = MIN(len, RESERVE_CHUNK - (at & ~PAGE_MASK));
    int err = i->ops->reserve(i, at, n);
    if (err == -ENOSPC && n > PAGE_SIZE - (at & ~PAGE_MASK)) {
        n = PAGE_SIZE - (at & ~PAGE_MASK);
        err = i->ops->reserve(i, at, n);
    }
    return err ? err : (ssize_t)n;
}

static ssize_t write_loop(struct inode *i, struct iter *it, u64 *pos)
{
    u64 at = *pos, room_end = at;
    ssize_t r = 0;
    while (it->left) {
        if (at >= room_end) {
            r = reserve(i, at, it->left);
            if (r < 0)
                break;
            room_end = at + (u64)r;
        }
        size_t n = MIN(MIN(PAGE_SIZE - (at & ~PAGE_MASK), it->left), room_end - at);
        r = write_page(i, it, at, n);
        if (r < 0)
            break;
        at += (u64)r;
        if (at > i->size) {
            i->size = at;
            inode_mark_dirty(i, I_DIRTY_META);
        }
        if ((size_t)r < n) {
            r = -EFAULT;
            break;
        }
    }
    if (at < room_end && room_end > i->size && i->ops->setattr) {    // blocks behind the end go back
        struct setattr a = { .valid = ATTR_SIZE, .size = i->size };
        i->ops->setattr(i, &a);
    }
    ssize_t done = (ssize_t)(at - *pos);
    *pos = at;
    return done ? done : r;
}

// RLIMIT_FSIZE, setrlimit(2): the bytes that may be written at `at`, or -EFBIG with SIGXFSZ.
static i64 within_limit(u64 at, u64 len)
{
    struct process *p = current_process();
    u64 limit = p ? p->rlim[RLIMIT_FSIZE].soft : ~0ull;
    if (at >= limit) {
        signal_thread(current(), SIGXFSZ, NULL);
        return -EFBIG;
    }
    return (i64)MIN(len, limit - at);
}

// write(2) takes set-id bits from a file that others than root change.
static void strip_ids(struct inode *i)
{
    u32 drop = (i->mode & S_ISUID) | ((i->mode & (S_ISGID | 010)) == (S_ISGID | 010) ? S_ISGID : 0);
    if (drop && !capable(CAP_FSETID))
        i->mode &= ~drop;
}

ssize_t pc_write(struct file *f, struct iter *it, u64 *pos)
{
    struct inode *i = f->inode;
    if (!it->left)
        return 0;
    if (unlikely(misaligned(f, it, f->flags & O_APPEND ? i->size : *pos)))
        return -EINVAL;
    mutex_lock(&i->lock);
    u64 at = (f->flags & O_APPEND) ? i->size : *pos;
    i64 n = within_limit(at, it->left);
    if (n >= 0 && at > (u64)INT64_MAX - it->left)
        n = -EFBIG;
    if (n < 0) {
        mutex_unlock(&i->lock);
        return n;
    }
    it->left = (u64)n;
    strip_ids(i);
    if (at > i->size && (i->size & ~PAGE_MASK))
        pc_zero_range(i, i->size, ALIGN_UP(i->size, PAGE_SIZE));
    ssize_t r = write_loop(i, it, &at);
    if (r > 0) {
        inode_touch(i, true, true);
        *pos = at;
    }
    mutex_unlock(&i->lock);
    if (r > 0 && (f->flags & O_DSYNC)) {
        int err = f->ops->fsync ? f->ops->fsync(f, !(f->flags & (O_SYNC & ~O_DSYNC))) : 0;
        if (err)
            return err;
    } else if (r > 0 && (f->flags & O_DIRECT)) {
        ssize_t err = pc_in_memory(i) ? 0 : pc_sync_range(i, at - (u64)r, (u64)r);
        if (err < 0)
            return err;
    } else if (r > 0) {
        pc_balance(i);
    }
    return r;
}

int pc_zero_range(struct inode *i, u64 from, u64 to)
{
    u64 index = from >> PAGE_SHIFT;
    struct page *p = pc_find(i, index);
    if (!p)
        return 0;
    pc_wait(p, PG_BUSY);
    memset((char *)page_va(p) + (from & ~PAGE_MASK), 0, to - from);
    page_put(p);
    return 0;
}

// --- lseek(2) -----------------------------------------------------------------------------------------------------------

i64 generic_seek(struct file *f, i64 off, int whence)
{
    u64 size = f->inode->size, max = f->inode->sb->max_bytes ? f->inode->sb->max_bytes : INT64_MAX;
    i64 base = 0;
    switch (whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        base = (i64)f->pos;
        break;
    case SEEK_END:
        base = (i64)size;
        break;
    case SEEK_DATA:
    case SEEK_HOLE:
        if (off < 0 || (u64)off >= size)
            return -ENXIO;
        if (f->inode->ops->seek_data)
            off = f->inode->ops->seek_data(f->inode, (u64)off, whence == SEEK_HOLE);
        else if (whence == SEEK_HOLE)           // all is data: a permitted answer, lseek(2)
            off = (i64)size;
        if (off >= 0)
            f->pos = (u64)off;
        return off;
    default:
        return -EINVAL;
    }
    i64 to;
    if (__builtin_add_overflow(base, off, &to))
        return -EOVERFLOW;
    if (to < 0 || (u64)to > max)
        return -EINVAL;
    f->pos = (u64)to;
    return to;
}
