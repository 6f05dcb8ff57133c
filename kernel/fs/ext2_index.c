// SPDX-License-Identifier: Apache-2.0
// ext2: which block of a large directory holds a name. A table in memory of (hash of the name, block), built by reading the
// directory once and kept up to date; without memory for it, names are looked for block by block. Under fs->lock.
#include "ext2.h"

#define INDEX_FROM 3u               // blocks: smaller directories are read
#define EMPTY 0u
#define GONE ~0u

struct ext2_index {
    u32 size, used;                 // slots, a power of two; not EMPTY
    struct { u32 hash, blk; } slot[];   // blk: 1 + the block's number in the directory
};

static struct ext2_index *index_new(u32 size)
{
    struct ext2_index *x = vmalloc(sizeof(*x) + size * sizeof(x->slot[0]));
    if (!x)
        return NULL;
    memset(x, 0, sizeof(*x) + size * sizeof(x->slot[0]));
    x->size = size;
    return x;
}

static void put(struct ext2_index *x, u32 hash, u32 blk)
{
    u32 at = hash & (x->size - 1);
    while (x->slot[at].blk != EMPTY && x->slot[at].blk != GONE)
        at = (at + 1) & (x->size - 1);
    if (x->slot[at].blk == EMPTY)
        x->used++;
    x->slot[at].hash = hash;
    x->slot[at].blk = blk;
}

void ext2_index_drop(struct ext2_inode *dir)
{
    vfree(dir->index);
    dir->index = NULL;
}

// Room for one more; grows by copying. False: the index is gone.
static bool make_room(struct ext2_inode *dir)
{
    struct ext2_index *x = dir->index;
    if (x->used * 4 < x->size * 3)
        return true;
    u32 live = 0;
    for (u32 n = 0; n < x->size; n++)
        live += x->slot[n].blk != EMPTY && x->slot[n].blk != GONE;
    u32 size = x->size;
    while (live * 2 >= size)
        size *= 2;
    struct ext2_index *big = index_new(size);
    for (u32 n = 0; big && n < x->size; n++)
        if (x->slot[n].blk != EMPTY && x->slot[n].blk != GONE)
            put(big, x->slot[n].hash, x->slot[n].blk);
    vfree(x);
    dir->index = big;
    return big != NULL;
}

static u32 name_hash(const char *name, size_t len) { return hash32(name, len, 0x9e3779b9); }

void ext2_index_add(struct ext2_inode *dir, const char *name, size_t len, u32 n)
{
    if (dir->index && make_room(dir))
        put(dir->index, name_hash(name, len), n + 1);
}

void ext2_index_remove(struct ext2_inode *dir, const char *name, size_t len, u32 n)
{
    struct ext2_index *x = dir->index;
    if (!x)
        return;
    u32 hash = name_hash(name, len);
    for (u32 at = hash & (x->size - 1); x->slot[at].blk != EMPTY; at = (at + 1) & (x->size - 1))
        if (x->slot[at].hash == hash && x->slot[at].blk == n + 1) {
            x->slot[at].blk = GONE;
            return;
        }
}

// Builds the index of a directory that is large enough. False: there is none.
bool ext2_index_ready(struct ext2_inode *dir)
{
    struct ext2_fs *fs = FS(dir);
    u32 blocks = (u32)(dir->vfs.size >> fs->bshift);
    if (dir->index)
        return true;
    if (blocks < INDEX_FROM || !(dir->index = index_new(256)))
        return false;
    for (u32 n = 0; n < blocks && dir->index; n++) {
        struct buf *b = ext2_dir_block(dir, n);
        struct ext2_dirent *d = NULL;
        for (u32 off = 0; b && off < fs->bsize && dir->index; off += d->rec_len) {
            d = ext2_dir_entry(dir, b, off);
            if (!d)
                break;
            if (d->ino)
                ext2_index_add(dir, d->name, d->name_len, n);
        }
        if (b)
            buf_put(fs, b);
        if (!b || !d)
            ext2_index_drop(dir);               // a damaged directory: the plain search says how
    }
    return dir->index != NULL;
}

// The next block, from *at on, that may hold the name: *at is the caller's cursor, 0 at first. False: no more.
bool ext2_index_next(const struct ext2_inode *dir, const char *name, size_t len, u32 *cursor, u32 *n)
{
    const struct ext2_index *x = dir->index;
    u32 hash = name_hash(name, len);
    for (; *cursor < x->size; ++*cursor) {
        u32 at = (hash + *cursor) & (x->size - 1);
        if (x->slot[at].blk == EMPTY)
            return false;
        if (x->slot[at].blk != GONE && x->slot[at].hash == hash) {
            *n = x->slot[at].blk - 1;
            ++*cursor;
            return true;
        }
    }
    return false;
}
