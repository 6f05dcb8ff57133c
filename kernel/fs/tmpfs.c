// SPDX-License-Identifier: Apache-2.0
// tmpfs: files whose only place is the page cache. Also the ground of /dev, memfd_create and shared anonymous memory.
#include "process.h"
#include "tmpfs.h"
#include "../linux/locks.h"

#include <linux/falloc.h>
#include <linux/fs.h>

static const struct inode_ops file_ops_i, link_ops, special_ops;

int tmpfs_fsync(struct file *f, bool data_only)
{
    (void)f, (void)data_only;
    return 0;
}

static const struct file_ops tmp_regular_fops = {
    .read = pc_read, .write = pc_write, .seek = generic_seek, .mmap = pc_mmap, .fsync = tmpfs_fsync,
};

struct inode *tmpfs_new_inode(struct superblock *sb, u32 mode, u64 rdev)
{
    const struct cred *c = current_cred();
    struct tmp_inode *t = kzalloc(sizeof(*t));
    if (!t)
        return NULL;
    struct inode *i = &t->vfs;
    inode_init(i, sb, ++TSB(sb)->next_ino);
    list_init(&t->entries);
    t->next_seq = 3;
    i->mode = mode;
    i->rdev = rdev;
    i->uid = c->fsuid;
    i->gid = c->fsgid;
    switch (mode & S_IFMT) {
    case S_IFDIR:
        i->ops = &tmpfs_dir_ops;
        i->fops = &tmpfs_dir_fops;
        i->nlink = 2;
        break;
    case S_IFREG:
        i->ops = &file_ops_i;
        i->fops = &tmp_regular_fops;
        break;
    case S_IFLNK:
        i->ops = &link_ops;
        break;
    default:
        i->ops = &special_ops;
    }
    return i;
}

static void count_pages(struct inode *i)
{
    struct tmp_inode *t = TI(i);
    TSB(i->sb)->used_pages += i->mapping.nr - t->counted;
    t->counted = i->mapping.nr;
    i->blocks = i->mapping.nr * 8;
}

static void free_inode(struct inode *i)
{
    struct tmp_inode *t = TI(i);
    pc_drop_all(i);
    count_pages(i);
    tmpfs_drop_entries(t);
    kfree(t->link);
    kfree(t->xattrs.data);
    kfree(t);
}

// --- Files --------------------------------------------------------------------------------------------------------------

static int readpage(struct inode *i, u64 index, struct page *p)
{
    (void)i, (void)index;
    memset(page_va(p), 0, PAGE_SIZE);
    return 0;
}

static int reserve(struct inode *i, u64 off, u64 len)
{
    struct tmp_sb *s = TSB(i->sb);
    count_pages(i);
    if (s->used_pages + ((len + PAGE_SIZE - 1) >> PAGE_SHIFT) + 1 <= s->max_pages)
        return 0;
    u64 missing = 0;
    for (u64 n = off >> PAGE_SHIFT; n <= (off + len - 1) >> PAGE_SHIFT; n++)
        missing += !radix_find(&i->mapping, n);
    return s->used_pages + missing > s->max_pages ? -ENOSPC : 0;
}

int tmpfs_fill(struct inode *i, const void *data, size_t n)
{
    int err = 0;
    for (size_t at = 0; !err && at < n; at += PAGE_SIZE) {
        struct page *p = page_alloc(0, PA_ZERO | PA_USER);
        if (!p)
            return -ENOMEM;
        memcpy(page_va(p), (const char *)data + at, MIN(n - at, PAGE_SIZE));
        p->flags = PG_UPTODATE;
        err = pc_insert(i, at >> PAGE_SHIFT, p);
        page_put(p);
    }
    i->size = err ? 0 : n;
    count_pages(i);
    return err;
}

static void zero_in_page(struct inode *i, u64 from, u64 to)
{
    if (from < to)
        pc_zero_range(i, from, to);
}

static void truncate(struct inode *i, u64 size)
{
    u64 old = i->size;
    if (size < old)
        zero_in_page(i, size, MIN(ALIGN_UP(size, PAGE_SIZE), ALIGN_UP(old, PAGE_SIZE)));
    else
        zero_in_page(i, old, ALIGN_UP(old, PAGE_SIZE));
    i->size = size;
    if (size < old)
        pc_truncate(i, (size + PAGE_SIZE - 1) >> PAGE_SHIFT, ~0ull);
    count_pages(i);
    if (size != old)
        inode_touch(i, true, true);
}

int tmpfs_setattr(struct inode *i, const struct setattr *a)
{
    if (a->valid & ATTR_SIZE) {
        if (!S_ISREG(i->mode))
            return -EINVAL;
        if (a->size > INT64_MAX)
            return -EFBIG;
        u32 seals = inode_seals(i);
        if ((a->size < i->size && (seals & F_SEAL_SHRINK)) || (a->size > i->size && (seals & F_SEAL_GROW)))
            return -EPERM;
        truncate(i, a->size);
    }
    inode_take(i, a);
    return 0;
}

int tmpfs_getattr(struct inode *i, struct kstat *st)
{
    if (S_ISREG(i->mode))
        count_pages(i);
    inode_fill_stat(i, st);
    return 0;
}

static void punch(struct inode *i, u64 off, u64 end)
{
    u64 first = ALIGN_UP(off, PAGE_SIZE), last = ALIGN_DOWN(end, PAGE_SIZE);
    if (first > last) {
        zero_in_page(i, off, end);
        return;
    }
    zero_in_page(i, off, first);
    zero_in_page(i, last, end);
    if (last > first)
        pc_truncate(i, first >> PAGE_SHIFT, (last - first) >> PAGE_SHIFT);
}

static int fallocate(struct inode *i, int mode, u64 off, u64 len)
{
    u64 end = off + len;
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))
        return -EOPNOTSUPP;
    if (mode & FALLOC_FL_PUNCH_HOLE) {
        punch(i, off, end);
        inode_touch(i, true, true);
        return 0;
    }
    for (u64 at = ALIGN_DOWN(off, PAGE_SIZE); at < end; at += PAGE_SIZE) {
        int err = reserve(i, at, PAGE_SIZE);
        if (err)
            return err;
        struct page *p = pc_get(i, NULL, at >> PAGE_SHIFT);
        if (is_err(p))
            return (int)ptr_err(p);
        page_put(p);
    }
    if (!(mode & FALLOC_FL_KEEP_SIZE) && end > i->size)
        i->size = end;
    inode_touch(i, true, true);
    return 0;
}

static i64 seek_data(struct inode *i, u64 off, bool hole)
{
    u64 end = (i->size + PAGE_SIZE - 1) >> PAGE_SHIFT;
    for (u64 n = off >> PAGE_SHIFT; n < end; n++) {
        u64 next = n;
        bool there = radix_next(&i->mapping, &next, false) && next == n;
        if (there != hole)
            return (i64)MAX(off, n << PAGE_SHIFT);
        if (!there && !hole)
            n = next > n ? next - 1 : end;
    }
    return hole ? (i64)i->size : -ENXIO;
}

// --- Extended attributes ----------------------------------------------------------------------------------------------------

static int copy_xattrs(struct xattrs *to, const struct xattrs *from)
{
    u8 *data = from->len ? kmalloc(from->len, 0) : NULL;
    if (from->len && !data)
        return -ENOMEM;
    if (data)
        memcpy(data, from->data, from->len);
    kfree(to->data);
    *to = (struct xattrs){ data, from->len };
    return 0;
}

int tmpfs_xattr_load(struct inode *i, struct xattrs *x) { return copy_xattrs(x, &TI(i)->xattrs); }
int tmpfs_xattr_store(struct inode *i, const struct xattrs *x) { return copy_xattrs(&TI(i)->xattrs, x); }

static ssize_t readlink(struct inode *i, char *buf, size_t size)
{
    size_t n = MIN(i->size, size);
    memcpy(buf, TI(i)->link, n);
    return (ssize_t)n;
}

static const struct inode_ops file_ops_i = {
    .setattr = tmpfs_setattr, .getattr = tmpfs_getattr, .fallocate = fallocate, .readpage = readpage, .reserve = reserve, .seek_data = seek_data,
    .xattr_load = tmpfs_xattr_load, .xattr_store = tmpfs_xattr_store,
};
static const struct inode_ops link_ops = {
    .setattr = tmpfs_setattr, .readlink = readlink, .xattr_load = tmpfs_xattr_load, .xattr_store = tmpfs_xattr_store,
};
static const struct inode_ops special_ops = { .setattr = tmpfs_setattr, .xattr_load = tmpfs_xattr_load, .xattr_store = tmpfs_xattr_store };

// --- Superblock -----------------------------------------------------------------------------------------------------------

static int statfs(struct superblock *sb, struct kstatfs *st)
{
    struct tmp_sb *s = TSB(sb);
    u64 free = s->max_pages > s->used_pages ? s->max_pages - s->used_pages : 0;
    *st = (struct kstatfs){ .type = TMPFS_MAGIC, .bsize = PAGE_SIZE, .frsize = PAGE_SIZE, .blocks = s->max_pages, .bfree = free,
                            .bavail = free, .files = 1u << 20, .ffree = (1u << 20) - MIN(s->next_ino, 1ull << 20), .namelen = NAME_LEN_MAX };
    return 0;
}

static int unmount(struct superblock *sb)
{
    (void)sb;
    return 0;
}

static const struct sb_ops sb_operations = { .statfs = statfs, .free_inode = free_inode, .unmount = unmount };

bool tmpfs_resize(struct superblock *sb, u64 bytes)
{
    u64 pages = (bytes + PAGE_SIZE - 1) >> PAGE_SHIFT;
    bool fits = TSB(sb)->used_pages <= pages;
    if (fits)
        TSB(sb)->max_pages = pages;
    return fits;
}

// max_bytes 0: half of memory, as in Linux.
struct superblock *tmpfs_mount(const char *type, u64 max_bytes, u32 mode)
{
    struct tmp_sb *s = kzalloc(sizeof(*s));
    if (!s)
        return NULL;
    struct mem_stats m;
    mem_stats(&m);
    s->max_pages = max_bytes ? (max_bytes + PAGE_SIZE - 1) >> PAGE_SHIFT : m.total / PAGE_SIZE / 2;
    s->sb.type = type;
    strlcpy(s->sb.source, type, sizeof(s->sb.source));
    s->sb.dev = sb_new_dev();
    s->sb.ops = &sb_operations;
    s->sb.root = tmpfs_new_inode(&s->sb, S_IFDIR | mode, 0);
    if (s->sb.root) {
        s->sb.root->uid = s->sb.root->gid = 0;
        return &s->sb;
    }
    kfree(s);
    return NULL;
}

static struct superblock *shmem_sb(void)
{
    static struct superblock *shm;
    if (!shm)
        shm = tmpfs_mount("tmpfs", ~0ull >> 1, 0777);
    return shm;
}

struct inode *shmem_node(u32 mode, u64 ino)
{
    struct inode *i = shmem_sb() ? tmpfs_new_inode(shmem_sb(), mode, 0) : NULL;
    if (i)
        i->ino = ino;
    return i;
}

struct file *shmem_file(const char *name, u64 size)
{
    struct superblock *shm = shmem_sb();
    if (!shm)
        return err_ptr(-ENOMEM);
    struct inode *i = tmpfs_new_inode(shm, S_IFREG | 0777, 0);
    if (!i)
        return err_ptr(-ENOMEM);
    i->nlink = 0;
    i->size = size;
    struct path *p = d_alloc(shm->root ? vfs_root : NULL, name, strlen(name), i);
    if (!p)
        return err_ptr(-ENOMEM);
    p->dead = true;
    struct file *f = file_alloc(p, i, &tmp_regular_fops, O_RDWR | O_LARGEFILE);
    path_put(p);
    return f ? f : err_ptr(-ENOMEM);
}
