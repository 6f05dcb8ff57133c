// SPDX-License-Identifier: Apache-2.0
// tmpfs: files whose only place is the page cache. Also the ground of /dev, memfd_create and shared anonymous memory.
#include "pagecache.h"
#include "process.h"

#include <linux/falloc.h>
#include <linux/fs.h>

#define TMPFS_MAGIC 0x01021994

struct tmp_sb {
    struct superblock sb;
    u64 max_pages, used_pages;      // used: as of each inode's last change (tmp_inode.counted)
    u64 next_ino;
};

struct tmp_entry {
    struct list node;               // by seq
    struct tmp_entry *next;         // same bucket
    u32 hash;
    u64 seq;                        // the position that readdir shows
    struct inode *ino;              // counted
    u8 len;
    char name[];
};

struct tmp_inode {
    struct inode vfs;
    struct list entries;            // directories, under inode->lock
    struct tmp_entry **bucket;      // of names; a power of two of them, grows with the directory
    u32 nr_buckets, nr_entries;
    u64 next_seq, parent;
    u64 counted;                    // pages that the superblock knows of
    char *link;
    struct xattrs xattrs;
};

static struct tmp_sb *TSB(struct superblock *sb) { return container_of(sb, struct tmp_sb, sb); }
static struct tmp_inode *TI(struct inode *i) { return container_of(i, struct tmp_inode, vfs); }
static const struct inode_ops dir_ops, file_ops_i, link_ops, special_ops;
static const struct file_ops dir_fops;

static int nothing_to_sync(struct file *f, bool data_only)
{
    (void)f, (void)data_only;
    return 0;
}

static const struct file_ops tmp_regular_fops = {
    .read = pc_read, .write = pc_write, .seek = generic_seek, .mmap = pc_mmap, .fsync = nothing_to_sync,
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
        i->ops = &dir_ops;
        i->fops = &dir_fops;
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
    for (struct list *n; (n = list_pop(&t->entries));) {
        struct tmp_entry *e = list_entry(n, struct tmp_entry, node);
        inode_put(e->ino);
        kfree(e);
    }
    kfree(t->bucket);
    kfree(t->link);
    kfree(t->xattrs.data);
    kfree(t);
}

// --- Directories --------------------------------------------------------------------------------------------------------

static u32 name_hash(const char *name, size_t len) { return hash32(name, len, 0x51ed27); }

static struct tmp_entry *find(struct inode *dir, const char *name, size_t len)
{
    struct tmp_inode *d = TI(dir);
    u32 hash = name_hash(name, len);
    struct tmp_entry *e = d->nr_buckets ? d->bucket[hash & (d->nr_buckets - 1)] : NULL;
    while (e && (e->hash != hash || e->len != len || memcmp(e->name, name, len)))
        e = e->next;
    return e;
}

static bool grow_buckets(struct tmp_inode *d)
{
    u32 n = d->nr_buckets ? d->nr_buckets * 4 : 8;
    struct tmp_entry **b = kzalloc(n * sizeof(*b));
    if (!b)
        return d->nr_buckets != 0;              // slower, but it works
    for (struct list *l = d->entries.next; l != &d->entries; l = l->next) {
        struct tmp_entry *e = list_entry(l, struct tmp_entry, node);
        e->next = b[e->hash & (n - 1)];
        b[e->hash & (n - 1)] = e;
    }
    kfree(d->bucket);
    d->bucket = b;
    d->nr_buckets = n;
    return true;
}

static struct inode *lookup(struct inode *dir, const char *name, size_t len)
{
    struct tmp_entry *e = find(dir, name, len);
    return e ? inode_get(e->ino) : err_ptr(-ENOENT);
}

// Takes over the reference on i.
static int add(struct inode *dir, const char *name, size_t len, struct inode *i)
{
    struct tmp_inode *d = TI(dir);
    if (d->nr_entries >= d->nr_buckets * 2 && !grow_buckets(d))
        return -ENOMEM;
    struct tmp_entry *e = kmalloc(sizeof(*e) + len, 0);
    if (!e)
        return -ENOMEM;
    e->hash = name_hash(name, len);
    e->next = d->bucket[e->hash & (d->nr_buckets - 1)];
    d->bucket[e->hash & (d->nr_buckets - 1)] = e;
    d->nr_entries++;
    e->seq = d->next_seq++;
    e->ino = i;
    e->len = (u8)len;
    memcpy(e->name, name, len);
    list_push(&d->entries, &e->node);
    dir->size += 20;                            // as Linux's tmpfs counts
    inode_touch(dir, true, true);
    return 0;
}

static void remove_entry(struct inode *dir, struct tmp_entry *e)
{
    struct tmp_inode *d = TI(dir);
    struct tmp_entry **l = &d->bucket[e->hash & (d->nr_buckets - 1)];
    while (*l != e)
        l = &(*l)->next;
    *l = e->next;
    d->nr_entries--;
    list_remove(&e->node);
    dir->size -= 20;
    inode_touch(dir, true, true);
    kfree(e);
}

static struct inode *make(struct inode *dir, const char *name, size_t len, u32 mode, u64 rdev)
{
    struct inode *i = tmpfs_new_inode(dir->sb, mode, rdev);
    if (!i)
        return err_ptr(-ENOMEM);
    if (dir->mode & S_ISGID) {
        i->gid = dir->gid;
        if (S_ISDIR(mode))
            i->mode |= S_ISGID;
    }
    int err = add(dir, name, len, i);
    if (err) {
        i->nlink = 0;
        inode_put(i);
        return err_ptr(err);
    }
    return i;
}

static struct inode *create(struct inode *dir, const char *name, size_t len, u32 mode, u64 rdev)
{
    struct inode *i = make(dir, name, len, mode, rdev);
    return is_err(i) ? i : inode_get(i);
}

static int mkdir(struct inode *dir, const char *name, size_t len, u32 mode)
{
    struct inode *i = make(dir, name, len, mode, 0);
    if (is_err(i))
        return (int)ptr_err(i);
    TI(i)->parent = dir->ino;
    dir->nlink++;
    return 0;
}

static int symlink(struct inode *dir, const char *name, size_t len, const char *target)
{
    char *text = kstrdup(target);
    if (!text)
        return -ENOMEM;
    struct inode *i = make(dir, name, len, S_IFLNK | 0777, 0);
    if (is_err(i)) {
        kfree(text);
        return (int)ptr_err(i);
    }
    TI(i)->link = text;
    i->size = strlen(text);
    return 0;
}

static ssize_t readlink(struct inode *i, char *buf, size_t size)
{
    size_t n = MIN(i->size, size);
    memcpy(buf, TI(i)->link, n);
    return (ssize_t)n;
}

static int link(struct inode *dir, const char *name, size_t len, struct inode *target)
{
    int err = add(dir, name, len, inode_get(target));
    if (err) {
        inode_put(target);
        return err;
    }
    target->nlink++;
    inode_touch(target, false, true);
    return 0;
}

static int unlink(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
    struct tmp_entry *e = find(dir, name, len);
    if (!e)
        return -ENOENT;
    remove_entry(dir, e);
    victim->nlink--;
    inode_touch(victim, false, true);
    inode_put(victim);                          // the entry's reference; the caller has its own
    return 0;
}

static int rmdir(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
    if (!list_empty(&TI(victim)->entries))
        return -ENOTEMPTY;
    struct tmp_entry *e = find(dir, name, len);
    if (!e)
        return -ENOENT;
    remove_entry(dir, e);
    victim->nlink = 0;
    dir->nlink--;
    inode_put(victim);
    return 0;
}

static void swap_parents(struct inode *from, struct inode *to, struct inode *a, struct inode *b)
{
    if (from == to)
        return;
    if (S_ISDIR(a->mode)) {
        TI(a)->parent = to->ino;
        from->nlink--;
        to->nlink++;
    }
    if (b && S_ISDIR(b->mode)) {
        TI(b)->parent = from->ino;
        to->nlink--;
        from->nlink++;
    }
}

static int rename(struct inode *from, const char *name, size_t len, struct inode *to, const char *nname, size_t nlen, u32 flags)
{
    struct tmp_entry *a = find(from, name, len), *b = find(to, nname, nlen);
    if (!a)
        return -ENOENT;
    struct inode *i = a->ino;
    if (flags & RENAME_EXCHANGE) {
        if (!b)
            return -ENOENT;
        a->ino = b->ino;
        b->ino = i;
        swap_parents(from, to, i, a->ino);
        inode_touch(i, false, true);
        inode_touch(a->ino, false, true);
        return 0;
    }
    if (b && S_ISDIR(i->mode) && !list_empty(&TI(b->ino)->entries))
        return -ENOTEMPTY;
    if (!b) {
        int err = add(to, nname, nlen, i);
        if (err)
            return err;
        remove_entry(from, a);
        swap_parents(from, to, i, NULL);
    } else {
        struct inode *old = b->ino;
        b->ino = i;
        remove_entry(from, a);
        if (S_ISDIR(old->mode)) {
            old->nlink = 0;
            from->nlink--;
            TI(i)->parent = to->ino;
        } else {
            old->nlink--;
        }
        inode_touch(old, false, true);
        inode_put(old);
    }
    inode_touch(i, false, true);
    inode_touch(to, true, true);
    return 0;
}

static struct inode *tmpfile(struct inode *dir, u32 mode)
{
    struct inode *i = tmpfs_new_inode(dir->sb, mode, 0);
    if (!i)
        return err_ptr(-ENOMEM);
    i->nlink = 0;
    return i;
}

static int readdir(struct file *f, void *ctx,
                   bool (*emit)(void *ctx, const char *name, size_t len, u64 ino, u8 type, u64 next_pos))
{
    struct inode *dir = f->inode;
    struct tmp_inode *d = TI(dir);
    if (f->pos == 0) {
        if (!emit(ctx, ".", 1, dir->ino, 4, 1))
            return 0;
        f->pos = 1;
    }
    if (f->pos == 1) {
        if (!emit(ctx, "..", 2, d->parent ? d->parent : dir->ino, 4, 2))
            return 0;
        f->pos = 2;
    }
    for (struct list *n = d->entries.next; n != &d->entries; n = n->next) {
        struct tmp_entry *e = list_entry(n, struct tmp_entry, node);
        if (e->seq <= f->pos)
            continue;
        if (!emit(ctx, e->name, e->len, e->ino->ino, mode_dtype(e->ino->mode), e->seq))
            return 0;
        f->pos = e->seq;
    }
    return 0;
}

static ssize_t dir_read(struct file *f, struct iter *it, u64 *pos)
{
    (void)f, (void)it, (void)pos;
    return -EISDIR;
}

static i64 dir_seek(struct file *f, i64 off, int whence)
{
    i64 to = whence == SEEK_SET ? off : whence == SEEK_CUR ? (i64)f->pos + off : -1;
    if (to < 0)
        return -EINVAL;
    f->pos = (u64)to;
    return to;
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

static int setattr(struct inode *i, const struct setattr *a)
{
    if (a->valid & ATTR_SIZE) {
        if (!S_ISREG(i->mode))
            return -EINVAL;
        if (a->size > INT64_MAX)
            return -EFBIG;
        truncate(i, a->size);
    }
    if (a->valid & ATTR_MODE)
        i->mode = (i->mode & S_IFMT) | (a->mode & 07777);
    if (a->valid & ATTR_UID)
        i->uid = a->uid;
    if (a->valid & ATTR_GID)
        i->gid = a->gid;
    if (a->valid & ATTR_ATIME)
        i->atime = a->atime;
    if (a->valid & ATTR_MTIME)
        i->mtime = a->mtime;
    i->ctime = fs_now();
    return 0;
}

static int getattr(struct inode *i, struct kstat *st)
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

static int xattr_load(struct inode *i, struct xattrs *x) { return copy_xattrs(x, &TI(i)->xattrs); }
static int xattr_store(struct inode *i, const struct xattrs *x) { return copy_xattrs(&TI(i)->xattrs, x); }

static const struct inode_ops dir_ops = {
    .lookup = lookup, .create = create, .mkdir = mkdir, .link = link, .symlink = symlink, .unlink = unlink, .rmdir = rmdir,
    .rename = rename, .tmpfile = tmpfile, .setattr = setattr, .getattr = getattr, .xattr_load = xattr_load, .xattr_store = xattr_store,
};
static const struct inode_ops file_ops_i = {
    .setattr = setattr, .getattr = getattr, .fallocate = fallocate, .readpage = readpage, .reserve = reserve, .seek_data = seek_data,
    .xattr_load = xattr_load, .xattr_store = xattr_store,
};
static const struct inode_ops link_ops = {
    .setattr = setattr, .readlink = readlink, .xattr_load = xattr_load, .xattr_store = xattr_store,
};
static const struct inode_ops special_ops = { .setattr = setattr, .xattr_load = xattr_load, .xattr_store = xattr_store };
static const struct file_ops dir_fops = { .read = dir_read, .seek = dir_seek, .readdir = readdir, .fsync = nothing_to_sync };

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
