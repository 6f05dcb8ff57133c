// SPDX-License-Identifier: Apache-2.0
// ext2: giving out and taking back blocks and inodes.
#include "ext2.h"
#include "process.h"

static bool test_bit(const u8 *map, u32 n) { return map[n / 8] >> (n % 8) & 1; }
static void set_bit(u8 *map, u32 n) { map[n / 8] |= (u8)(1u << (n % 8)); }
static void clear_bit(u8 *map, u32 n) { map[n / 8] &= (u8)~(1u << (n % 8)); }

// First n in [from, size) that is clear in both maps; size when there is none.
static u32 find_clear(const u8 *map, const u8 *held, u32 from, u32 size)
{
    for (u32 n = from; n < size;) {
        if (n % 8 == 0 && (u8)(map[n / 8] | (held ? held[n / 8] : 0)) == 0xff) {
            n += 8;
            continue;
        }
        if (!test_bit(map, n) && !(held && test_bit(held, n)))
            return n;
        n++;
    }
    return size;
}

static u32 blocks_in_group(const struct ext2_fs *fs, u32 g)
{
    u32 start = g * fs->blocks_per_group;
    return MIN(fs->blocks_per_group, fs->blocks_count - fs->first_data_block - start);
}

static u32 block_of(const struct ext2_fs *fs, u32 g, u32 n) { return fs->first_data_block + g * fs->blocks_per_group + n; }

// First block in [from, size) of the group that may be given out: neither the journal's nor one that its replay would write.
static u32 find_block(struct ext2_fs *fs, u32 g, const u8 *map, u32 from, u32 size)
{
    u32 n = find_clear(map, fs->group[g].held_blocks, from, size);
    while (n < size && (ext2_journal_has(fs, block_of(fs, g, n)) || buf_is_logged(fs, block_of(fs, g, n))))
        n = find_clear(map, fs->group[g].held_blocks, n + 1, size);
    return n;
}

static u32 alloc_in_group(struct ext2_fs *fs, u32 g, u32 from, int *err)
{
    struct ext2_group *gr = &fs->group[g];
    if (!gr->free_blocks)
        return 0;
    struct buf *b = buf_get(fs, gr->block_bitmap);
    if (!b) {
        *err = -EIO;
        return 0;
    }
    u32 size = blocks_in_group(fs, g), blk = 0;
    u32 n = find_block(fs, g, (u8 *)b->data, from, size);
    if (n == size && from) {                    // behind the goal there is nothing: before it
        n = find_block(fs, g, (u8 *)b->data, 0, from);
        if (n == from)
            n = size;
    }
    if (n < size) {
        blk = block_of(fs, g, n);
        bool meta = blk == gr->block_bitmap || blk == gr->inode_bitmap ||
                    (blk >= gr->inode_table && blk < gr->inode_table + fs->itable_blocks);
        set_bit((u8 *)b->data, n);
        buf_dirty(fs, b, BUF_NEW);
        if (meta) {                             // the bitmap lies; the bit is set now, so the next try goes on
            ext2_error(fs, "block bitmap of group %u calls metadata free", g);
            blk = 0;
            *err = -EIO;
        } else {
            gr->free_blocks--;
            fs->free_blocks--;
            fs->counts_dirty = true;
        }
    }
    buf_put(fs, b);
    return blk;
}

static u32 try_alloc(struct ext2_fs *fs, u32 goal, int *err)
{
    if (goal < fs->first_data_block || goal >= fs->blocks_count)
        goal = fs->first_data_block;
    u32 first = (goal - fs->first_data_block) / fs->blocks_per_group;
    u32 within = (goal - fs->first_data_block) % fs->blocks_per_group;
    for (u32 k = 0; k < fs->nr_groups; k++) {
        u32 blk = alloc_in_group(fs, (first + k) % fs->nr_groups, k ? 0 : within, err);
        if (blk || *err)
            return blk;
    }
    return 0;
}

u32 ext2_alloc_block(struct ext2_fs *fs, u32 goal, int *err)
{
    *err = 0;
    u32 kept = capable(CAP_SYS_RESOURCE) ? 0 : fs->reserved_blocks;
    u32 blk = fs->free_blocks > kept ? try_alloc(fs, goal, err) : 0;
    if (!blk && !*err && fs->any_held && fs->free_blocks > kept) {   // what was freed becomes free by a commit
        *err = ext2_commit(fs, false);
        if (!*err)
            blk = try_alloc(fs, goal, err);
    }
    if (!blk && !*err)
        *err = -ENOSPC;
    return blk;
}

static u8 *held_map(struct ext2_fs *fs, u8 **map)
{
    if (!*map)
        *map = kzalloc(fs->bsize);
    return *map;
}

bool ext2_block_used(struct ext2_fs *fs, u32 blk)
{
    u32 g = (blk - fs->first_data_block) / fs->blocks_per_group, n = (blk - fs->first_data_block) % fs->blocks_per_group;
    struct buf *b = buf_get(fs, fs->group[g].block_bitmap);
    bool used = b && test_bit((u8 *)b->data, n);
    if (b)
        buf_put(fs, b);
    return used;
}

void ext2_free_block(struct ext2_fs *fs, u32 blk)
{
    u32 g = (blk - fs->first_data_block) / fs->blocks_per_group, n = (blk - fs->first_data_block) % fs->blocks_per_group;
    struct ext2_group *gr = &fs->group[g];
    struct buf *b = buf_get(fs, gr->block_bitmap);
    if (!b)
        return;
    if (!test_bit((u8 *)b->data, n)) {
        ext2_error(fs, "block %u is freed twice", blk);
    } else if (held_map(fs, &gr->held_blocks)) {    // without memory it stays allocated: e2fsck finds it
        set_bit(gr->held_blocks, n);
        fs->any_held = true;
        clear_bit((u8 *)b->data, n);
        buf_dirty(fs, b, BUF_NEW);
        gr->free_blocks++;
        fs->free_blocks++;
        fs->counts_dirty = true;
    }
    buf_put(fs, b);
}

// The last run of `want` free blocks in the emptiest group, else its longest: first block, length in *got.
u32 ext2_find_room(struct ext2_fs *fs, u32 want, u32 *got)
{
    u32 g = 0, best = 0, run = 0;
    for (u32 k = 1; k < fs->nr_groups; k++)
        if (fs->group[k].free_blocks > fs->group[g].free_blocks)
            g = k;
    struct buf *b = buf_get(fs, fs->group[g].block_bitmap);
    *got = 0;
    for (u32 n = b ? blocks_in_group(fs, g) : 0; n-- && *got < want;) {
        const u8 *held = fs->group[g].held_blocks;
        run = test_bit((u8 *)b->data, n) || (held && test_bit(held, n)) ? 0 : run + 1;
        if (run > *got) {
            *got = run;
            best = block_of(fs, g, n);
        }
    }
    if (b)
        buf_put(fs, b);
    return best;
}

// --- Inodes -----------------------------------------------------------------------------------------------------------

static u32 ino_in_group(struct ext2_fs *fs, u32 g, int *err)
{
    struct ext2_group *gr = &fs->group[g];
    if (!gr->free_inodes)
        return 0;
    struct buf *b = buf_get(fs, gr->inode_bitmap);
    if (!b) {
        *err = -EIO;
        return 0;
    }
    u32 from = g == 0 ? fs->first_ino - 1 : 0, ino = 0;
    u32 n = find_clear((u8 *)b->data, gr->held_inodes, from, fs->inodes_per_group);
    if (n < fs->inodes_per_group) {
        set_bit((u8 *)b->data, n);
        buf_dirty(fs, b, BUF_NEW);
        gr->free_inodes--;
        fs->free_inodes--;
        fs->counts_dirty = true;
        ino = g * fs->inodes_per_group + n + 1;
    }
    buf_put(fs, b);
    return ino;
}

// Directories go where there is most room, files to their directory.
static u32 best_group(struct ext2_fs *fs, u32 parent, bool dir)
{
    u32 own = (parent - 1) / fs->inodes_per_group, best = own;
    if (!dir || parent != EXT2_ROOT_INO)
        return own;
    for (u32 g = 0; g < fs->nr_groups; g++)
        if (fs->group[g].free_inodes && fs->group[g].free_blocks > fs->group[best].free_blocks)
            best = g;
    return best;
}

static u32 try_ino(struct ext2_fs *fs, u32 parent, bool dir, int *err)
{
    u32 first = best_group(fs, parent, dir);
    for (u32 k = 0; k < fs->nr_groups; k++) {
        u32 g = (first + k) % fs->nr_groups;
        u32 ino = ino_in_group(fs, g, err);
        if (ino && dir)
            fs->group[g].used_dirs++;
        if (ino || *err)
            return ino;
    }
    return 0;
}

u32 ext2_alloc_ino(struct ext2_fs *fs, u32 parent, bool dir, int *err)
{
    *err = 0;
    u32 ino = try_ino(fs, parent, dir, err);
    if (!ino && !*err && fs->any_held) {
        *err = ext2_commit(fs, false);
        if (!*err)
            ino = try_ino(fs, parent, dir, err);
    }
    if (!ino && !*err)
        *err = -ENOSPC;
    return ino;
}

void ext2_free_ino(struct ext2_fs *fs, u32 ino, bool dir)
{
    u32 g = (ino - 1) / fs->inodes_per_group, n = (ino - 1) % fs->inodes_per_group;
    struct ext2_group *gr = &fs->group[g];
    struct buf *b = buf_get(fs, gr->inode_bitmap);
    if (!b)
        return;
    if (test_bit((u8 *)b->data, n) && held_map(fs, &gr->held_inodes)) {
        set_bit(gr->held_inodes, n);
        fs->any_held = true;
        clear_bit((u8 *)b->data, n);
        buf_dirty(fs, b, BUF_NEW);
        gr->free_inodes++;
        fs->free_inodes++;
        if (dir && gr->used_dirs)
            gr->used_dirs--;
        fs->counts_dirty = true;
    }
    buf_put(fs, b);
}

void ext2_release_held(struct ext2_fs *fs)
{
    if (!fs->any_held)
        return;
    for (u32 g = 0; g < fs->nr_groups; g++) {
        kfree(fs->group[g].held_blocks);
        kfree(fs->group[g].held_inodes);
        fs->group[g].held_blocks = fs->group[g].held_inodes = NULL;
    }
    fs->any_held = false;
}
