// SPDX-License-Identifier: Apache-2.0
// ext2: inodes between disk and memory; the commit that keeps the disk repairable at every moment.
#include "ext2.h"
#include "process.h"

struct buf *ext2_table_block(struct ext2_fs *fs, u32 ino, struct ext2_raw **raw)
{
    u32 g = (ino - 1) / fs->inodes_per_group, n = (ino - 1) % fs->inodes_per_group;
    u64 byte = (u64)n * fs->inode_size;
    struct buf *b = buf_get(fs, fs->group[g].inode_table + (u32)(byte >> fs->bshift));
    if (b)
        *raw = (struct ext2_raw *)(b->data + (byte & (fs->bsize - 1)));
    return b;
}

// Nanoseconds and the bits 32 and 33 of the seconds: ext4's "Inode Timestamps".
static struct timespec_k time_from(u32 sec, u32 extra)
{
    return (struct timespec_k){ (i64)(i32)sec + ((i64)(extra & 3) << 32), MIN(extra >> 2, 999999999u) };
}

static u32 time_extra(const struct timespec_k *t)
{
    return (u32)((((t->sec - (i32)t->sec) >> 32) & 3) | (t->nsec << 2));
}

static bool has_extra(const struct ext2_fs *fs, const struct ext2_raw *r)
{
    return fs->inode_size > 128 && r->extra_isize >= 24 && r->extra_isize <= fs->inode_size - 128;
}

static void read_times(const struct ext2_fs *fs, struct inode *i, const struct ext2_raw *r)
{
    bool x = has_extra(fs, r);
    i->atime = time_from(r->atime, x ? r->atime_extra : 0);
    i->mtime = time_from(r->mtime, x ? r->mtime_extra : 0);
    i->ctime = time_from(r->ctime, x ? r->ctime_extra : 0);
    i->btime = x ? time_from(r->crtime, r->crtime_extra) : (struct timespec_k){ 0, 0 };
}

static int raw_to_inode(struct ext2_fs *fs, struct ext2_inode *e, const struct ext2_raw *r)
{
    struct inode *i = &e->vfs;
    i->mode = r->mode;
    i->uid = r->uid | (u32)r->uid_high << 16;
    i->gid = r->gid | (u32)r->gid_high << 16;
    i->nlink = r->links;
    i->blocks = r->blocks;
    i->size = r->size;
    if (S_ISREG(i->mode))
        i->size |= (u64)r->size_high << 32;
    e->flags = r->flags;
    e->file_acl = r->file_acl;
    e->generation = r->generation;
    memcpy(e->block, r->block, sizeof(e->block));
    read_times(fs, i, r);
    u32 fmt = i->mode & S_IFMT;
    bool known = fmt == S_IFREG || fmt == S_IFDIR || fmt == S_IFLNK || fmt == S_IFCHR || fmt == S_IFBLK || fmt == S_IFIFO || fmt == S_IFSOCK;
    if (!known || !r->links || (e->flags & EXT2_EXTENTS_FL) || i->size > fs->max_size) {
        ext2_error(fs, "inode %lu is damaged or of an unknown kind", (unsigned long)i->ino);
        return -EIO;
    }
    if (S_ISDIR(i->mode) && (i->size & (fs->bsize - 1))) {
        ext2_error(fs, "directory %lu has a broken size", (unsigned long)i->ino);
        return -EIO;
    }
    if (S_ISCHR(i->mode) || S_ISBLK(i->mode)) {
        u32 d = r->block[1];
        i->rdev = r->block[0] ? make_dev(r->block[0] >> 8 & 0xff, r->block[0] & 0xff)
                              : make_dev((d & 0xfff00) >> 8, (d & 0xff) | ((d >> 12) & 0xfff00));
    }
    return 0;
}

static struct ext2_inode *alloc_inode(struct ext2_fs *fs, u32 ino)
{
    struct ext2_inode *e = kzalloc(sizeof(*e));
    if (e)
        inode_init(&e->vfs, &fs->sb, ino);
    return e;
}

struct inode *ext2_iget(struct ext2_fs *fs, u32 ino)
{
    if ((ino < fs->first_ino && ino != EXT2_ROOT_INO) || ino > fs->inodes_count) {
        ext2_error(fs, "there is no inode %u", ino);
        return err_ptr(-EIO);
    }
    for (;;) {
        bool going;
        struct inode *i = icache_find(&fs->sb, ino);
        if (i)
            return i;
        mutex_lock(&fs->lock);
        i = icache_peek(&fs->sb, ino, &going);
        if (i || going) {
            mutex_unlock(&fs->lock);
            if (i)
                return i;
            continue;
        }
        struct ext2_inode *e = alloc_inode(fs, ino);
        struct ext2_raw *raw;
        struct buf *b = e ? ext2_table_block(fs, ino, &raw) : NULL;
        int err = !e ? -ENOMEM : !b ? -EIO : raw_to_inode(fs, e, raw);
        if (b)
            buf_put(fs, b);
        if (!err) {
            ext2_set_ops(&e->vfs);
            icache_insert(&e->vfs);
        }
        mutex_unlock(&fs->lock);
        if (err) {
            kfree(e);
            return err_ptr(err);
        }
        return &e->vfs;
    }
}

int ext2_write_inode(struct ext2_inode *e)
{
    struct ext2_fs *fs = FS(e);
    struct inode *i = &e->vfs;
    struct ext2_raw *r;
    struct buf *b = ext2_table_block(fs, (u32)i->ino, &r);
    if (!b)
        return -EIO;
    r->mode = (u16)i->mode;
    r->uid = (u16)i->uid;
    r->uid_high = (u16)(i->uid >> 16);
    r->gid = (u16)i->gid;
    r->gid_high = (u16)(i->gid >> 16);
    r->links = (u16)i->nlink;
    r->size = (u32)i->size;
    r->size_high = S_ISREG(i->mode) ? (u32)(i->size >> 32) : 0;
    r->blocks = (u32)i->blocks;
    r->flags = e->flags;
    r->file_acl = e->file_acl;
    r->generation = e->generation;
    r->dtime = e->dtime;
    r->atime = (u32)i->atime.sec;
    r->mtime = (u32)i->mtime.sec;
    r->ctime = (u32)i->ctime.sec;
    memcpy(r->block, e->block, sizeof(e->block));
    if (has_extra(fs, r)) {
        r->atime_extra = time_extra(&i->atime);
        r->mtime_extra = time_extra(&i->mtime);
        r->ctime_extra = time_extra(&i->ctime);
        r->crtime = (u32)i->btime.sec;
        r->crtime_extra = time_extra(&i->btime);
    }
    buf_dirty(fs, b, BUF_INODE);
    buf_put(fs, b);
    return 0;
}

static void set_owner(struct inode *i, const struct inode *dir)
{
    const struct cred *c = current_cred();
    i->uid = c->fsuid;
    i->gid = c->fsgid;
    if (dir->mode & S_ISGID) {
        i->gid = dir->gid;
        if (S_ISDIR(i->mode))
            i->mode |= S_ISGID;
    }
}

struct ext2_inode *ext2_new_inode(struct inode *dir, u32 mode, int *err)
{
    struct ext2_fs *fs = EXT2(dir->sb);
    u32 ino = ext2_alloc_ino(fs, (u32)dir->ino, S_ISDIR(mode), err);
    if (!ino)
        return NULL;
    struct ext2_inode *e = alloc_inode(fs, ino);
    struct ext2_raw *r;
    struct buf *b = e ? ext2_table_block(fs, ino, &r) : NULL;
    if (!b) {
        ext2_free_ino(fs, ino, S_ISDIR(mode));
        kfree(e);
        *err = e ? -EIO : -ENOMEM;
        return NULL;
    }
    e->generation = r->generation + 1;
    memset(r, 0, fs->inode_size);
    if (fs->inode_size > 128)
        r->extra_isize = 32;
    buf_put(fs, b);
    e->vfs.mode = mode;
    e->vfs.nlink = 0;               // until it has a name: a commit may come before
    set_owner(&e->vfs, dir);
    ext2_set_ops(&e->vfs);
    icache_insert(&e->vfs);
    inode_mark_dirty(&e->vfs, I_DIRTY_META);
    return e;
}

// A block of extended attributes may be shared: it is counted at byte 4, after its magic number.
void ext2_drop_xattrs(struct ext2_inode *e)
{
    struct ext2_fs *fs = FS(e);
    struct buf *b = e->file_acl && ext2_block_ok(fs, e->file_acl) ? buf_get(fs, e->file_acl) : NULL;
    if (!b)
        return;
    u32 *head = (u32 *)b->data;
    bool last = head[0] == 0xea020000 && head[1] <= 1;
    if (head[0] == 0xea020000 && head[1] > 1) {
        head[1]--;
        buf_dirty(fs, b, BUF_MAP);
    }
    buf_put(fs, b);
    if (last) {
        ext2_free_block(fs, e->file_acl);
        buf_forget(fs, e->file_acl);
    }
    e->file_acl = 0;
}

static bool short_link(const struct ext2_inode *e)
{
    return S_ISLNK(e->vfs.mode) && e->vfs.blocks == (e->file_acl ? FS(e)->bsize / 512 : 0);
}

static void delete_on_disk(struct ext2_inode *e)
{
    u32 fmt = e->vfs.mode & S_IFMT;
    if (fmt == S_IFREG || fmt == S_IFDIR || (fmt == S_IFLNK && !short_link(e)))
        ext2_punch(e, 0, ~0ull);
    ext2_drop_xattrs(e);
    e->vfs.size = e->vfs.blocks = 0;
    e->dtime = (u32)fs_now().sec;
    ext2_write_inode(e);
}

void ext2_free_inode(struct inode *i)
{
    struct ext2_inode *e = EI(i);
    struct ext2_fs *fs = FS(e);
    bool gone = i->nlink == 0 && !fs->sb.readonly;
    if (!gone && i->mapping.nr_dirty)
        pc_writeback(i, 0, ~0ull);
    if (i->mapping.nr)
        pc_drop_all(i);
    mutex_lock(&fs->lock);
    if (gone)
        delete_on_disk(e);
    else if (i->dirty)
        ext2_write_inode(e);
    icache_remove(i);
    if (gone)
        ext2_free_ino(fs, (u32)i->ino, S_ISDIR(i->mode));
    mutex_unlock(&fs->lock);
    ext2_index_drop(e);
    kfree(e);
}

static int write_one(struct inode *i) { return ext2_write_inode(EI(i)); }

static bool end_orphan(struct inode *i, void *arg)
{
    struct ext2_fs *fs = arg;
    if (i->sb != &fs->sb || i->nlink)
        return true;
    mutex_lock(&fs->lock);
    delete_on_disk(EI(i));
    ext2_free_ino(fs, (u32)i->ino, S_ISDIR(i->mode));
    mutex_unlock(&fs->lock);
    return true;
}

// Unmount: files that have no name but are still open.
void ext2_end_orphans(struct ext2_fs *fs) { inode_for_each(end_orphan, fs); }

// Does the disk have all that fdatasync must keep? An inode that left memory meanwhile may still wait in its buffer.
bool ext2_inode_on_disk(struct ext2_inode *e)
{
    struct ext2_fs *fs = FS(e);
    struct ext2_raw *r;
    if ((e->vfs.iflags & I_DIRTY_META) || !list_empty(&fs->dirty[BUF_NEW]) || !list_empty(&fs->dirty[BUF_MAP]))
        return false;
    struct buf *b = ext2_table_block(fs, (u32)e->vfs.ino, &r);
    bool clean = b && !b->dirty;
    if (b)
        buf_put(fs, b);
    return clean;
}

// --- Commit -----------------------------------------------------------------------------------------------------------

// Without a journal: what nothing points to yet, indirect blocks, inodes, directories. A kill between these steps can need more
// than e2fsck -p where several blocks must change at once.
static int write_in_steps(struct ext2_fs *fs)
{
    for (int k = 0; k < BUF_KINDS; k++) {
        int err = buf_write_kind(fs, (enum buf_kind)k);
        if (err)
            return err;
    }
    return 0;
}

// Brings the disk to the present state, all or nothing of it (ext2_journal.c): so nobody calls it who has changed one name and not yet
// the other. Blocks and inodes that were freed become usable only after it.
int ext2_commit(struct ext2_fs *fs, bool counts)
{
    int err = sb_write_inodes(&fs->sb, write_one);
    int c = counts ? ext2_write_counts(fs) : 0;
    err = err ? err : c;
    if (!fs->nr_dirty)
        return err;
    c = ext2_begin_write(fs);
    if (!c && !fs->journal)
        ext2_journal_start(fs);
    if (!c)
        c = fs->journal ? ext2_journal_commit(fs) : write_in_steps(fs);
    if (c)
        return c;
    ext2_release_held(fs);
    if (counts && !err)
        err = ext2_write_sb(fs);
    return err;
}

// Begins a change. What is not committed yet must fit into one transaction: so the commit comes in time.
void ext2_begin(struct ext2_fs *fs)
{
    mutex_lock(&fs->lock);
    if (ext2_journal_full(fs))
        ext2_commit(fs, false);     // what cannot be written stays dirty: the next fsync says so
}

int ext2_setattr(struct inode *i, const struct setattr *a)
{
    struct ext2_inode *e = EI(i);
    if ((e->flags & (EXT2_IMMUTABLE_FL | EXT2_APPEND_FL)))
        return -EPERM;
    if (a->valid & ATTR_SIZE) {
        int err = ext2_truncate(e, a->size);
        if (err)
            return err;
    }
    inode_take(i, a);
    inode_mark_dirty(i, I_DIRTY_META);
    return 0;
}

void ext2_set_ops(struct inode *i)
{
    switch (i->mode & S_IFMT) {
    case S_IFDIR:
        i->ops = &ext2_dir_ops;
        i->fops = &ext2_dir_fops;
        break;
    case S_IFREG:
        i->ops = &ext2_file_ops;
        i->fops = &ext2_regular_fops;
        break;
    case S_IFLNK:
        i->ops = &ext2_link_ops;
        break;
    default:
        i->ops = &ext2_special_ops;
    }
}
