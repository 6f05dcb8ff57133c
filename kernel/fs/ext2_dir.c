// SPDX-License-Identifier: Apache-2.0
// ext2: directories, as lists of entries in blocks. A hash tree (EXT2_INDEX_FL) is read as the plain directory that it also
// is; the first change takes the flag away, as Linux's ext2 does.
#include "ext2.h"

static u32 dir_blocks(const struct ext2_inode *dir) { return (u32)(dir->vfs.size >> FS(dir)->bshift); }

struct buf *ext2_dir_block(struct ext2_inode *dir, u32 n)
{
    u32 phys;
    int run = ext2_map_run(dir, n, 1, &phys);
    return run > 0 && phys ? buf_get(FS(dir), phys) : NULL;
}

// The entry at `off` when it is sound: else NULL, with a message.
struct ext2_dirent *ext2_dir_entry(struct ext2_inode *dir, struct buf *b, u32 off)
{
    struct ext2_fs *fs = FS(dir);
    struct ext2_dirent *d = (struct ext2_dirent *)(b->data + off);
    if (off + 8 <= fs->bsize && d->rec_len >= 8 && d->rec_len % 4 == 0 && off + d->rec_len <= fs->bsize &&
        DIRENT_SIZE(d->name_len) <= d->rec_len && d->ino <= fs->inodes_count)
        return d;
    ext2_error(fs, "directory %lu has a broken entry", (unsigned long)dir->vfs.ino);
    return NULL;
}

// Where an entry is.
struct place {
    struct buf *b;
    struct ext2_dirent *d, *prev;   // prev: before it in the block, or NULL
    u32 n;                          // the block's number in the directory
};

// The entry of a name in block n, which the caller puts when it is found; *prev the entry before it. 0, -ENOENT, -EIO.
static int search_block(struct ext2_inode *dir, u32 n, const char *name, size_t len, struct place *at)
{
    struct ext2_fs *fs = FS(dir);
    struct buf *b = ext2_dir_block(dir, n);
    if (!b)
        return -EIO;
    struct ext2_dirent *before = NULL, *d;
    for (u32 off = 0; off < fs->bsize; off += d->rec_len) {
        d = ext2_dir_entry(dir, b, off);
        if (!d) {
            buf_put(fs, b);
            return -EIO;
        }
        if (d->ino && d->name_len == len && d->name[0] == name[0] && !memcmp(d->name, name, len)) {
            *at = (struct place){ b, d, before, n };
            return 0;
        }
        before = d;
    }
    buf_put(fs, b);
    return -ENOENT;
}

static int search(struct ext2_inode *dir, const char *name, size_t len, struct place *at)
{
    int err = -ENOENT;
    u32 cursor = 0, n = 0;
    if (ext2_index_ready(dir)) {
        while (err == -ENOENT && ext2_index_next(dir, name, len, &cursor, &n))
            err = search_block(dir, n, name, len, at);
        return err;
    }
    for (; n < dir_blocks(dir) && err == -ENOENT; n++)
        err = search_block(dir, n, name, len, at);
    return err;
}

int ext2_dir_find(struct ext2_inode *dir, const char *name, size_t len, u32 *ino)
{
    struct place at;
    int err = search(dir, name, len, &at);
    if (err)
        return err;
    *ino = at.d->ino;
    buf_put(FS(dir), at.b);
    return 0;
}

// The file type byte: the format bits of the mode, numbered anew (ext4's "Directory Entries").
static u8 type_of(const struct ext2_fs *fs, u32 mode)
{
    static const u8 types[16] = { [1] = 5, [2] = 3, [4] = 2, [6] = 4, [8] = 1, [10] = 7, [12] = 6 };
    return fs->filetype ? types[mode >> 12 & 15] : 0;
}

static void changed(struct ext2_inode *dir, struct buf *b, enum buf_kind kind)
{
    buf_dirty(FS(dir), b, kind);
    dir->flags &= ~EXT2_INDEX_FL;
    inode_touch(&dir->vfs, true, true);
    inode_mark_dirty(&dir->vfs, I_DIRTY_META);
}

static void fill(struct ext2_inode *dir, struct ext2_dirent *d, const char *name, size_t len, u32 ino, u32 mode)
{
    d->ino = ino;
    d->name_len = (u8)len;
    d->type = type_of(FS(dir), mode);
    memcpy(d->name, name, len);
}

// Puts the entry into free room of b. 1 done, 0 no room, -EIO.
static int add_to_block(struct ext2_inode *dir, struct buf *b, const char *name, size_t len, u32 ino, u32 mode)
{
    struct ext2_fs *fs = FS(dir);
    u32 need = DIRENT_SIZE((u32)len);
    struct ext2_dirent *d;
    for (u32 off = 0; off < fs->bsize; off += d->rec_len) {
        d = ext2_dir_entry(dir, b, off);
        if (!d)
            return -EIO;
        u32 used = d->ino ? DIRENT_SIZE(d->name_len) : 0;
        if (d->rec_len - used < need)
            continue;
        if (used) {                             // split: the tail of this entry's room
            struct ext2_dirent *t = (struct ext2_dirent *)((char *)d + used);
            t->rec_len = (u16)(d->rec_len - used);
            d->rec_len = (u16)used;
            d = t;
        }
        fill(dir, d, name, len, ino, mode);
        return 1;
    }
    return 0;
}

static struct buf *append_block(struct ext2_inode *dir, int *err)
{
    struct ext2_fs *fs = FS(dir);
    u32 phys;
    bool made;
    *err = ext2_map_create(dir, dir_blocks(dir), &phys, &made);
    if (*err)
        return NULL;
    struct buf *b = buf_new(fs, phys);
    if (!b) {
        ext2_punch(dir, dir_blocks(dir), ~0ull);    // a block behind the end would look like a damaged directory
        *err = -ENOMEM;
        return NULL;
    }
    ((struct ext2_dirent *)b->data)->rec_len = (u16)fs->bsize;
    dir->vfs.size += fs->bsize;
    return b;
}

int ext2_dir_add(struct ext2_inode *dir, const char *name, size_t len, u32 ino, u32 mode)
{
    struct ext2_fs *fs = FS(dir);
    int done = 0;
    for (u32 n = dir->dir_hint; n < dir_blocks(dir) && !done; n++) {
        struct buf *b = ext2_dir_block(dir, n);
        done = b ? add_to_block(dir, b, name, len, ino, mode) : -EIO;
        if (done == 0 && len < 32)
            dir->dir_hint = n + 1;
        if (done > 0) {
            ext2_index_add(dir, name, len, n);
            changed(dir, b, BUF_DIR);
        }
        if (b)
            buf_put(fs, b);
    }
    if (done)
        return done < 0 ? done : 0;
    int err;
    struct buf *b = append_block(dir, &err);
    if (!b)
        return err;
    add_to_block(dir, b, name, len, ino, mode);
    ext2_index_add(dir, name, len, dir_blocks(dir) - 1);
    changed(dir, b, BUF_NEW);
    buf_put(fs, b);
    return 0;
}

int ext2_dir_set(struct ext2_inode *dir, const char *name, size_t len, u32 ino, u32 mode)
{
    struct place at;
    int err = search(dir, name, len, &at);
    if (err)
        return err;
    at.d->ino = ino;
    at.d->type = type_of(FS(dir), mode);
    changed(dir, at.b, BUF_DIR);
    buf_put(FS(dir), at.b);
    return 0;
}

int ext2_dir_remove(struct ext2_inode *dir, const char *name, size_t len)
{
    struct place at;
    int err = search(dir, name, len, &at);
    if (err)
        return err;
    if (at.prev)
        at.prev->rec_len = (u16)(at.prev->rec_len + at.d->rec_len);
    else
        at.d->ino = 0;
    dir->dir_hint = MIN(dir->dir_hint, at.n);
    ext2_index_remove(dir, name, len, at.n);
    changed(dir, at.b, BUF_DIR);
    buf_put(FS(dir), at.b);
    return 0;
}

// The first block of a new directory: "." and "..".
int ext2_dir_make(struct ext2_inode *dir, u32 parent)
{
    struct ext2_fs *fs = FS(dir);
    int err;
    struct buf *b = append_block(dir, &err);
    if (!b)
        return err;
    struct ext2_dirent *d = (struct ext2_dirent *)b->data;
    fill(dir, d, ".", 1, (u32)dir->vfs.ino, S_IFDIR);
    d->rec_len = DIRENT_SIZE(1u);
    d = (struct ext2_dirent *)(b->data + d->rec_len);
    d->rec_len = (u16)(fs->bsize - DIRENT_SIZE(1u));
    fill(dir, d, "..", 2, parent, S_IFDIR);
    changed(dir, b, BUF_NEW);
    buf_put(fs, b);
    return 0;
}

static bool dots(const struct ext2_dirent *d)
{
    return d->name[0] == '.' && (d->name_len == 1 || (d->name_len == 2 && d->name[1] == '.'));
}

int ext2_dir_empty(struct ext2_inode *dir)
{
    struct ext2_fs *fs = FS(dir);
    for (u32 n = 0; n < dir_blocks(dir); n++) {
        struct buf *b = ext2_dir_block(dir, n);
        if (!b)
            return -EIO;
        struct ext2_dirent *d;
        int r = 1;
        for (u32 off = 0; off < fs->bsize && r == 1; off += d->rec_len) {
            d = ext2_dir_entry(dir, b, off);
            if (!d) {
                r = -EIO;
                break;
            }
            if (d->ino && !dots(d))
                r = 0;
        }
        buf_put(fs, b);
        if (r != 1)
            return r;
    }
    return 1;
}

// Emits one block's entries from f->pos on. 1 go on, 0 the caller is full, -EIO.
static int emit_block(struct ext2_inode *dir, struct file *f, struct buf *b, void *ctx,
                      bool (*emit)(void *ctx, const char *name, size_t len, u64 ino, u8 type, u64 next_pos))
{
    static const u8 dtypes[8] = { 0, 8, 4, 2, 6, 1, 12, 10 };       // DT_*
    struct ext2_fs *fs = FS(dir);
    u64 base = f->pos & ~(u64)(fs->bsize - 1);
    struct ext2_dirent *d;
    for (u32 off = 0; off < fs->bsize; off += d->rec_len) {
        d = ext2_dir_entry(dir, b, off);
        if (!d)
            return -EIO;
        if (base + off < f->pos)
            continue;
        u64 next = base + off + d->rec_len;
        if (d->ino && !emit(ctx, d->name, d->name_len, d->ino, fs->filetype ? dtypes[d->type & 7] : 0, next))
            return 0;
        f->pos = next;
    }
    f->pos = base + fs->bsize;
    return 1;
}

int ext2_readdir(struct file *f, void *ctx,
                 bool (*emit)(void *ctx, const char *name, size_t len, u64 ino, u8 type, u64 next_pos))
{
    struct ext2_inode *dir = EI(f->inode);
    struct ext2_fs *fs = FS(dir);
    int r = 1;
    mutex_lock(&fs->lock);
    while (r == 1 && f->pos < dir->vfs.size) {
        struct buf *b = ext2_dir_block(dir, (u32)(f->pos >> fs->bshift));
        r = b ? emit_block(dir, f, b, ctx, emit) : -EIO;
        if (b)
            buf_put(fs, b);
    }
    mutex_unlock(&fs->lock);
    return r < 0 ? r : 0;
}
