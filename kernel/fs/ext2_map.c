// SPDX-License-Identifier: Apache-2.0
// ext2: which block of the disk holds which block of a file. Twelve direct pointers, then trees of one, two and three levels.
#include "ext2.h"

bool ext2_block_ok(const struct ext2_fs *fs, u32 blk) { return blk > fs->first_data_block && blk < fs->blocks_count; }

// The way to lblk: at[0] indexes e->block, the others the indirect blocks below. The number of steps; 0: too far.
static int block_path(const struct ext2_fs *fs, u64 lblk, u32 at[4])
{
    u32 bits = fs->addr_bits, mask = (1u << bits) - 1;
    if (lblk < EXT2_NDIR) {
        at[0] = (u32)lblk;
        return 1;
    }
    lblk -= EXT2_NDIR;
    for (u32 level = 1; level <= 3; level++) {
        if (lblk < 1ull << (bits * level)) {
            at[0] = EXT2_NDIR + level - 1;
            for (u32 k = 0; k < level; k++)
                at[1 + k] = (u32)(lblk >> (bits * (level - 1 - k))) & mask;
            return (int)level + 1;
        }
        lblk -= 1ull << (bits * level);
    }
    return 0;
}

static int run_length(const u32 *slot, u32 room, u32 max)
{
    u32 n = 1, lim = MIN(room, max);
    while (n < lim && slot[n] == (slot[0] ? slot[0] + n : 0))
        n++;
    return (int)n;
}

int ext2_map_run(struct ext2_inode *e, u64 lblk, u32 max, u32 *phys)
{
    struct ext2_fs *fs = FS(e);
    u32 at[4], per = 1u << fs->addr_bits;
    int depth = block_path(fs, lblk, at);
    *phys = 0;
    if (!depth)
        return (int)max;
    const u32 *slot = &e->block[at[0]];
    u32 room = depth == 1 ? EXT2_NDIR - at[0] : 1;
    struct buf *b = NULL;
    int n = 0;
    for (int k = 1; k < depth && !n; k++) {
        u32 next = *slot;
        if (b)
            buf_put(fs, b);
        b = NULL;
        if (!next) {                            // no tree here: a hole at least to the end of its lowest block
            n = (int)MIN(max, per - at[depth - 1]);
        } else {
            b = ext2_block_ok(fs, next) ? buf_get(fs, next) : NULL;
            if (!b) {
                ext2_error(fs, "inode %lu has a bad indirect block %u", (unsigned long)e->vfs.ino, next);
                return -EIO;
            }
            slot = (u32 *)b->data + at[k];
            room = per - at[k];
        }
    }
    if (!n) {
        *phys = *slot;
        n = run_length(slot, room, max);
    }
    if (b)
        buf_put(fs, b);
    if (*phys && (!ext2_block_ok(fs, *phys) || *phys + (u32)n > fs->blocks_count)) {
        ext2_error(fs, "inode %lu has a bad block %u", (unsigned long)e->vfs.ino, *phys);
        return -EIO;
    }
    return n;
}

static u32 alloc_for(struct ext2_inode *e, int *err)
{
    struct ext2_fs *fs = FS(e);
    u32 goal = e->goal ? e->goal + 1
                       : fs->first_data_block + (u32)((e->vfs.ino - 1) / fs->inodes_per_group) * fs->blocks_per_group;
    u32 blk = ext2_alloc_block(fs, goal, err);
    if (blk) {
        e->goal = blk;
        e->vfs.blocks += fs->bsize / 512;
        inode_mark_dirty(&e->vfs, I_DIRTY_META);
    }
    return blk;
}

int ext2_map_create(struct ext2_inode *e, u64 lblk, u32 *phys, bool *made)
{
    struct ext2_fs *fs = FS(e);
    u32 at[4];
    int depth = block_path(fs, lblk, at), err = 0;
    *made = false;
    if (!depth)
        return -EFBIG;
    u32 *slot = &e->block[at[0]];
    struct buf *b = NULL;
    for (int k = 1; k <= depth && !err; k++) {
        bool fresh = !*slot;
        u32 blk = *slot ? *slot : alloc_for(e, &err);
        struct buf *child = NULL;
        if (!err && k < depth) {
            child = !ext2_block_ok(fs, blk) ? NULL : fresh ? buf_new(fs, blk) : buf_get(fs, blk);
            if (!child)
                err = fresh ? -ENOMEM : -EIO;
            else if (fresh)
                buf_dirty(fs, child, BUF_NEW);
        }
        if (err && fresh && blk) {
            ext2_free_block(fs, blk);
            e->vfs.blocks -= fs->bsize / 512;
        }
        if (err)
            break;
        if (fresh) {
            *slot = blk;
            if (b)
                buf_dirty(fs, b, BUF_MAP);
        }
        if (k == depth) {
            *phys = blk;
            *made = fresh;
            break;
        }
        if (b)
            buf_put(fs, b);
        b = child;
        slot = (u32 *)b->data + at[k];
    }
    if (b)
        buf_put(fs, b);
    if (!err && !ext2_block_ok(fs, *phys))
        err = -EIO;
    return err;
}

// --- Freeing ------------------------------------------------------------------------------------------------------------

// Frees blk and, at a level above 0, all it points to. A block that is not allocated ends the descent, so that loops
// on a corrupt disk end too.
static void free_tree(struct ext2_inode *e, u32 blk, int level)
{
    struct ext2_fs *fs = FS(e);
    if (!ext2_block_ok(fs, blk) || !ext2_block_used(fs, blk)) {
        ext2_error(fs, "inode %lu frees a bad block %u", (unsigned long)e->vfs.ino, blk);
        return;
    }
    ext2_free_block(fs, blk);
    e->vfs.blocks -= MIN((u64)fs->bsize / 512, e->vfs.blocks);
    if (level > 0) {
        struct buf *b = buf_get(fs, blk);
        for (u32 k = 0; b && k < fs->bsize / 4; k++)
            if (((u32 *)b->data)[k])
                free_tree(e, ((u32 *)b->data)[k], level - 1);
        if (b)
            buf_put(fs, b);
    }
    if (level > 0 || !S_ISREG(e->vfs.mode))
        buf_forget(fs, blk);
}

// Frees what lies in [from, to) of the tree at *slot, whose first block is `start`. True when *slot became 0.
static bool punch(struct ext2_inode *e, u32 *slot, int level, u64 start, u64 from, u64 to)
{
    struct ext2_fs *fs = FS(e);
    u64 span = 1ull << (fs->addr_bits * (u32)level);
    if (!*slot || start + span <= from || start >= to)
        return false;
    if (from <= start && start + span <= to) {
        free_tree(e, *slot, level);
        *slot = 0;
        return true;
    }
    struct buf *b = ext2_block_ok(fs, *slot) ? buf_get(fs, *slot) : NULL;
    if (!b)
        return false;
    u32 *p = (u32 *)b->data, per = fs->bsize / 4;
    bool changed = false, used = false;
    for (u32 k = 0; k < per; k++) {
        changed |= punch(e, &p[k], level - 1, start + k * (span >> fs->addr_bits), from, to);
        used |= p[k] != 0;
    }
    if (changed && used)
        buf_dirty(fs, b, BUF_MAP);
    buf_put(fs, b);
    if (used)
        return false;
    free_tree(e, *slot, 0);                     // an indirect block without pointers
    buf_forget(fs, *slot);
    *slot = 0;
    return true;
}

int ext2_punch(struct ext2_inode *e, u64 from, u64 to)
{
    struct ext2_fs *fs = FS(e);
    u64 start = 0;
    for (u32 k = 0; k < EXT2_NDIR + 3; k++) {
        int level = k < EXT2_NDIR ? 0 : (int)(k - EXT2_NDIR + 1);
        punch(e, &e->block[k], level, start, from, to);
        start += 1ull << (fs->addr_bits * (u32)level);
    }
    inode_mark_dirty(&e->vfs, I_DIRTY_META);
    return 0;
}
