// SPDX-License-Identifier: Apache-2.0
// ext2: the operations on names that the VFS asks for. The VFS holds the lock of the directory.
#include "ext2.h"

#include <linux/fs.h>

static struct inode *lookup(struct inode *dir, const char *name, size_t len)
{
    struct ext2_fs *fs = EXT2(dir->sb);
    u32 ino;
    mutex_lock(&fs->lock);
    int err = ext2_dir_find(EI(dir), name, len, &ino);
    mutex_unlock(&fs->lock);
    return err ? err_ptr(err) : ext2_iget(fs, ino);
}

// Links a new inode at a name and gives up the lock; on failure the inode goes again.
static int add_new(struct inode *dir, const char *name, size_t len, struct ext2_inode *e, int err)
{
    struct ext2_fs *fs = EXT2(dir->sb);
    if (!err)
        err = ext2_dir_add(EI(dir), name, len, (u32)e->vfs.ino, e->vfs.mode);
    if (!err) {
        e->vfs.nlink = S_ISDIR(e->vfs.mode) ? 2 : 1;
        err = ext2_write_inode(e);
    }
    mutex_unlock(&fs->lock);
    if (err)
        inode_put(&e->vfs);
    return err;
}

static void set_rdev(struct ext2_inode *e, u64 rdev)
{
    u32 minor = (u32)(rdev & 0xff) | (u32)(rdev >> 12 & 0xffffff00), major = (u32)(rdev >> 8 & 0xfff);
    e->vfs.rdev = rdev;
    if (major < 256 && minor < 256)             // the old encoding, as Linux writes it when it fits
        e->block[0] = major << 8 | minor;
    else
        e->block[1] = (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

static struct inode *create(struct inode *dir, const char *name, size_t len, u32 mode, u64 rdev)
{
    struct ext2_fs *fs = EXT2(dir->sb);
    int err;
    ext2_begin(fs);
    struct ext2_inode *e = ext2_new_inode(dir, mode, &err);
    if (!e) {
        mutex_unlock(&fs->lock);
        return err_ptr(err);
    }
    if (S_ISCHR(mode) || S_ISBLK(mode))
        set_rdev(e, rdev);
    err = add_new(dir, name, len, e, 0);
    return err ? err_ptr(err) : &e->vfs;
}

static struct inode *tmpfile(struct inode *dir, u32 mode)
{
    struct ext2_fs *fs = EXT2(dir->sb);
    int err;
    ext2_begin(fs);
    struct ext2_inode *e = ext2_new_inode(dir, mode, &err);
    mutex_unlock(&fs->lock);
    return e ? &e->vfs : err_ptr(err);
}

static int mkdir(struct inode *dir, const char *name, size_t len, u32 mode)
{
    struct ext2_fs *fs = EXT2(dir->sb);
    int err;
    if (dir->nlink >= EXT2_LINK_MAX)
        return -EMLINK;
    ext2_begin(fs);
    struct ext2_inode *e = ext2_new_inode(dir, mode, &err);
    if (!e) {
        mutex_unlock(&fs->lock);
        return err;
    }
    err = ext2_dir_make(e, (u32)dir->ino);
    err = add_new(dir, name, len, e, err);
    if (!err) {
        dir->nlink++;
        inode_put(&e->vfs);
    }
    return err;
}

static int symlink(struct inode *dir, const char *name, size_t len, const char *target)
{
    struct ext2_fs *fs = EXT2(dir->sb);
    size_t n = strlen(target);
    int err;
    if (n >= fs->bsize)
        return -ENAMETOOLONG;
    ext2_begin(fs);
    struct ext2_inode *e = ext2_new_inode(dir, S_IFLNK | 0777, &err);
    if (!e) {
        mutex_unlock(&fs->lock);
        return err;
    }
    if (n < sizeof(e->block)) {
        memcpy(e->block, target, n);
    } else {
        u32 phys;
        bool made;
        err = ext2_map_create(e, 0, &phys, &made);
        struct buf *b = err ? NULL : buf_new(fs, phys);
        if (b) {
            memcpy(b->data, target, n);
            buf_dirty(fs, b, BUF_NEW);
            buf_put(fs, b);
        } else if (!err) {
            err = -ENOMEM;
        }
    }
    e->vfs.size = n;
    err = add_new(dir, name, len, e, err);
    if (!err)
        inode_put(&e->vfs);
    return err;
}

static ssize_t readlink(struct inode *i, char *out, size_t size)
{
    struct ext2_inode *e = EI(i);
    struct ext2_fs *fs = FS(e);
    size_t n = MIN(i->size, size);
    ssize_t r = (ssize_t)n;
    mutex_lock(&fs->lock);
    if (i->blocks == (e->file_acl ? fs->bsize / 512 : 0)) {
        if (i->size < sizeof(e->block))
            memcpy(out, e->block, n);
        else
            r = -EIO;
    } else {
        u32 phys = 0;
        int run = ext2_map_run(e, 0, 1, &phys);
        struct buf *b = run > 0 && phys && i->size <= fs->bsize ? buf_get(fs, phys) : NULL;
        if (b) {
            memcpy(out, b->data, n);
            buf_put(fs, b);
        } else {
            r = -EIO;
        }
    }
    mutex_unlock(&fs->lock);
    return r;
}

static void drop_link(struct inode *i, u32 n)
{
    i->nlink = i->nlink > n ? i->nlink - n : 0;
    inode_touch(i, false, true);
    inode_mark_dirty(i, I_DIRTY_META);
}

static int link(struct inode *dir, const char *name, size_t len, struct inode *target)
{
    struct ext2_fs *fs = EXT2(dir->sb);
    if (target->nlink >= EXT2_LINK_MAX)
        return -EMLINK;
    ext2_begin(fs);
    int err = ext2_dir_add(EI(dir), name, len, (u32)target->ino, target->mode);
    if (!err) {
        target->nlink++;
        inode_touch(target, false, true);
        inode_mark_dirty(target, I_DIRTY_META);
    }
    mutex_unlock(&fs->lock);
    return err;
}

static int unlink(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
    struct ext2_fs *fs = EXT2(dir->sb);
    ext2_begin(fs);
    int err = ext2_dir_remove(EI(dir), name, len);
    if (!err)
        drop_link(victim, 1);
    mutex_unlock(&fs->lock);
    return err;
}

static int rmdir(struct inode *dir, const char *name, size_t len, struct inode *victim)
{
    struct ext2_fs *fs = EXT2(dir->sb);
    ext2_begin(fs);
    int empty = ext2_dir_empty(EI(victim));
    int err = empty < 0 ? empty : empty ? ext2_dir_remove(EI(dir), name, len) : -ENOTEMPTY;
    if (!err) {
        drop_link(victim, victim->nlink);
        drop_link(dir, 1);
    }
    mutex_unlock(&fs->lock);
    return err;
}

// --- rename -----------------------------------------------------------------------------------------------------------

struct move {
    struct ext2_inode *from, *to;
    const char *name, *nname;
    size_t len, nlen;
    struct inode *i, *old;          // what moves; what is at the new name, or NULL
};

static int set_dotdot(struct inode *dir, const struct inode *parent)
{
    return ext2_dir_set(EI(dir), "..", 2, (u32)parent->ino, S_IFDIR);
}

static int move_locked(struct move *m)
{
    bool isdir = S_ISDIR(m->i->mode), other = m->from != m->to;
    int err;
    if (m->old && isdir) {
        int empty = ext2_dir_empty(EI(m->old));
        if (empty <= 0)
            return empty < 0 ? empty : -ENOTEMPTY;
    }
    if (isdir && other && m->to->vfs.nlink >= EXT2_LINK_MAX && !m->old)
        return -EMLINK;
    err = m->old ? ext2_dir_set(m->to, m->nname, m->nlen, (u32)m->i->ino, m->i->mode)
                 : ext2_dir_add(m->to, m->nname, m->nlen, (u32)m->i->ino, m->i->mode);
    if (!err)
        err = ext2_dir_remove(m->from, m->name, m->len);
    if (err)
        return err;
    if (m->old)
        drop_link(m->old, isdir ? m->old->nlink : 1);
    if (isdir && other)
        err = set_dotdot(m->i, &m->to->vfs);
    if (isdir && (other || m->old))
        drop_link(&m->from->vfs, 1);
    if (isdir && other && !m->old) {
        m->to->vfs.nlink++;
        inode_mark_dirty(&m->to->vfs, I_DIRTY_META);
    }
    inode_touch(m->i, false, true);
    inode_mark_dirty(m->i, I_DIRTY_META);       // an fdatasync after a rename keeps the new name, too
    return err;
}

static int exchange_locked(struct move *m)
{
    int err = ext2_dir_set(m->to, m->nname, m->nlen, (u32)m->i->ino, m->i->mode);
    if (!err)
        err = ext2_dir_set(m->from, m->name, m->len, (u32)m->old->ino, m->old->mode);
    bool a = S_ISDIR(m->i->mode), b = S_ISDIR(m->old->mode);
    if (!err && m->from != m->to) {
        if (a)
            err = set_dotdot(m->i, &m->to->vfs);
        if (!err && b)
            err = set_dotdot(m->old, &m->from->vfs);
        if (a && !b) {
            m->to->vfs.nlink++;
            drop_link(&m->from->vfs, 1);
        } else if (b && !a) {
            m->from->vfs.nlink++;
            drop_link(&m->to->vfs, 1);
        }
    }
    inode_touch(m->i, false, true);
    inode_touch(m->old, false, true);
    return err;
}

static int rename(struct inode *from, const char *name, size_t len, struct inode *to, const char *nname, size_t nlen, u32 flags)
{
    struct ext2_fs *fs = EXT2(from->sb);
    struct move m = { EI(from), EI(to), name, nname, len, nlen, lookup(from, name, len), lookup(to, nname, nlen) };
    int err = is_err(m.i) ? (int)ptr_err(m.i) : 0;
    if (is_err(m.i))
        m.i = NULL;
    if (is_err(m.old)) {
        if (!err && ptr_err(m.old) != -ENOENT)
            err = (int)ptr_err(m.old);
        m.old = NULL;
    }
    if (!err) {
        ext2_begin(fs);
        err = (flags & RENAME_EXCHANGE) ? exchange_locked(&m) : move_locked(&m);
        mutex_unlock(&fs->lock);
    }
    inode_put(m.i);
    inode_put(m.old);
    return err;
}

static ssize_t dir_read(struct file *f, struct iter *it, u64 *pos)
{
    (void)f, (void)it, (void)pos;
    return -EISDIR;
}

static i64 dir_seek(struct file *f, i64 off, int whence)
{
    i64 to = whence == SEEK_SET ? off : whence == SEEK_CUR ? (i64)f->pos + off : whence == SEEK_END ? (i64)f->inode->size + off : -1;
    if (to < 0)
        return -EINVAL;
    f->pos = (u64)to;
    return to;
}

const struct inode_ops ext2_dir_ops = {
    .lookup = lookup, .create = create, .mkdir = mkdir, .link = link, .symlink = symlink, .unlink = unlink,
    .rmdir = rmdir, .rename = rename, .tmpfile = tmpfile, .setattr = ext2_setattr,
    .xattr_load = ext2_xattr_load, .xattr_store = ext2_xattr_store,
};
const struct inode_ops ext2_file_ops = {
    .setattr = ext2_setattr, .fallocate = ext2_fallocate, .readpage = ext2_readpage, .readpages = ext2_readpages,
    .writepages = ext2_writepages, .reserve = ext2_reserve, .seek_data = ext2_seek_data,
    .xattr_load = ext2_xattr_load, .xattr_store = ext2_xattr_store,
};
const struct inode_ops ext2_link_ops = {
    .setattr = ext2_setattr, .readlink = readlink, .xattr_load = ext2_xattr_load, .xattr_store = ext2_xattr_store,
};
const struct inode_ops ext2_special_ops = {
    .setattr = ext2_setattr, .xattr_load = ext2_xattr_load, .xattr_store = ext2_xattr_store,
};

const struct file_ops ext2_regular_fops = {
    .read = pc_read, .write = pc_write, .seek = generic_seek, .mmap = pc_mmap, .fsync = ext2_fsync,
};
const struct file_ops ext2_dir_fops = { .read = dir_read, .seek = dir_seek, .fsync = ext2_fsync, .readdir = ext2_readdir };
