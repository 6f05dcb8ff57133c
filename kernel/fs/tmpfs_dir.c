// SPDX-License-Identifier: Apache-2.0
// tmpfs: directories. Entries stand in a list in the order of their making, which readdir shows, and in buckets by name.
#include "tmpfs.h"

#include <linux/fs.h>

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

// The end of a directory: what is still in it goes, too.
// Only the end of the file system finds any. What is in a directory goes before it: a tree may be deeper than a kernel stack.
void tmpfs_drop_entries(struct tmp_inode *d)
{
    for (struct list *n; (n = list_pop(&d->entries));) {
        struct tmp_entry *e = list_entry(n, struct tmp_entry, node);
        while (S_ISDIR(e->ino->mode) && (n = list_pop(&TI(e->ino)->entries)))
            list_push(&d->entries, n);
        inode_put(e->ino);
        kfree(e);
    }
    kfree(d->bucket);
}

const struct inode_ops tmpfs_dir_ops = {
    .lookup = lookup, .create = create, .mkdir = mkdir, .link = link, .symlink = symlink, .unlink = unlink, .rmdir = rmdir,
    .rename = rename, .tmpfile = tmpfile, .setattr = tmpfs_setattr, .getattr = tmpfs_getattr, .xattr_load = tmpfs_xattr_load, .xattr_store = tmpfs_xattr_store,
};
const struct file_ops tmpfs_dir_fops = { .read = dir_read, .seek = dir_seek, .readdir = readdir, .fsync = tmpfs_fsync };
