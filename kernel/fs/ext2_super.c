// SPDX-License-Identifier: Apache-2.0
// ext2: mounting, the superblock and group descriptors, statfs, sync, unmounting.
#include "ext2.h"

#define SB_SECTOR 2u
#define FRONT 32768u                // superblock, group descriptors and, on all but large disks, the first inodes
#define FRONT_LEAST 8192u           // superblock and the first block of descriptors, for every size of blocks

int ext2_write_sb(struct ext2_fs *fs)
{
    fs->disk_sb->wtime = (u32)fs_now().sec;
    fs->disk_sb->free_blocks = fs->free_blocks;
    fs->disk_sb->free_inodes = fs->free_inodes;
    return blk_write(fs->dev, SB_SECTOR, fs->disk_sb, 1024);
}

static struct buf *desc_block(struct ext2_fs *fs, u32 g, struct ext2_group_desc **d)
{
    u32 per = fs->bsize / sizeof(**d);
    struct buf *b = buf_get(fs, fs->first_data_block + 1 + g / per);
    if (b)
        *d = (struct ext2_group_desc *)b->data + g % per;
    return b;
}

// The counts of free blocks and inodes, into the buffers of the group descriptors.
int ext2_write_counts(struct ext2_fs *fs)
{
    if (!fs->counts_dirty)
        return 0;
    for (u32 g = 0; g < fs->nr_groups; g++) {
        struct ext2_group_desc *d;
        struct buf *b = desc_block(fs, g, &d);
        if (!b)
            return -EIO;
        struct ext2_group *gr = &fs->group[g];
        if (d->free_blocks != (u16)gr->free_blocks || d->free_inodes != (u16)gr->free_inodes || d->used_dirs != (u16)gr->used_dirs) {
            d->free_blocks = (u16)gr->free_blocks;
            d->free_inodes = (u16)gr->free_inodes;
            d->used_dirs = (u16)gr->used_dirs;
            buf_dirty(fs, b, BUF_NEW);
        }
        buf_put(fs, b);
    }
    fs->counts_dirty = false;
    return 0;
}

static int do_sync(struct superblock *sb, bool flush)
{
    struct ext2_fs *fs = EXT2(sb);
    int err = 0;
    unsigned left = ~0u;
    if (sb->readonly)
        return 0;
    for (struct inode *i; (i = sb_next_dirty(sb, &left));) {
        int e = pc_writeback(i, 0, ~0ull);
        if (e)
            err = e;
        inode_put(i);
    }
    mutex_lock(&fs->lock);
    int e = ext2_commit(fs, true);
    if (!e && flush)                // whoever looks at the disk from outside finds everything in its place
        e = ext2_journal_empty(fs);
    mutex_unlock(&fs->lock);
    err = err ? err : e;
    if (!err && flush && fs->dev->has_flush)
        err = blk_flush(fs->dev);
    return err;
}

static int sync(struct superblock *sb) { return do_sync(sb, true); }
static int writeback(struct superblock *sb) { return do_sync(sb, false); }

static int statfs(struct superblock *sb, struct kstatfs *st)
{
    struct ext2_fs *fs = EXT2(sb);
    u32 journal = ext2_journal_size(fs), free = fs->free_blocks > journal ? fs->free_blocks - journal : 0;
    *st = (struct kstatfs){
        .type = EXT2_MAGIC, .bsize = fs->bsize, .frsize = fs->bsize, .blocks = fs->blocks_count - fs->overhead,
        .bfree = free, .bavail = free > fs->reserved_blocks ? free - fs->reserved_blocks : 0,
        .files = fs->inodes_count, .ffree = fs->free_inodes, .namelen = NAME_LEN_MAX,
    };
    return 0;
}

static void free_fs(struct ext2_fs *fs)
{
    kfree(fs->journal);
    ext2_release_held(fs);
    vfree(fs->group);
    kfree(fs->disk_sb);
    kfree(fs);
}

static int unmount(struct superblock *sb)
{
    struct ext2_fs *fs = EXT2(sb);
    if (!sb->readonly)
        ext2_end_orphans(fs);
    int err = sync(sb);
    if (!err && fs->journal) {
        mutex_lock(&fs->lock);
        err = ext2_journal_end(fs);
        mutex_unlock(&fs->lock);
    }
    if (!sb->readonly && !err && fs->was_clean && fs->marked) {
        fs->disk_sb->state |= EXT2_VALID_FS;
        err = ext2_write_sb(fs);
        if (!err && fs->dev->has_flush)
            err = blk_flush(fs->dev);
    }
    sb->readonly = true;
    return err;
}

static const struct sb_ops ops = {
    .statfs = statfs, .sync = sync, .writeback = writeback, .free_inode = ext2_free_inode, .unmount = unmount,
};

// --- Mounting -----------------------------------------------------------------------------------------------------------

static int check_sb(struct ext2_fs *fs, const struct ext2_sb *s)
{
    const char *dev = fs->dev->name;
    if (s->magic != EXT2_MAGIC) {
        printk(LOG_ERR, "ext2: /dev/%s holds no ext2 file system\n", dev);
        return -EINVAL;
    }
    if (s->rev_level > 0 && (s->feature_incompat & ~INCOMPAT_KNOWN)) {
        printk(LOG_ERR, "ext2: /dev/%s has features this kernel does not know (incompat %x)\n", dev, s->feature_incompat & ~INCOMPAT_KNOWN);
        return -EINVAL;
    }
    if (s->log_block_size > 2) {
        printk(LOG_ERR, "ext2: /dev/%s has blocks of more than 4096 bytes\n", dev);
        return -EINVAL;
    }
    u32 bsize = 1024u << s->log_block_size;
    u32 isize = s->rev_level ? s->inode_size : 128;
    bool sane = isize >= 128 && isize <= bsize && !(isize & (isize - 1)) && s->blocks_per_group >= 64 &&
                s->blocks_per_group <= bsize * 8 && s->blocks_per_group % 8 == 0 && s->inodes_per_group >= bsize / isize &&
                s->inodes_per_group <= bsize * 8 && s->first_data_block == (bsize == 1024) &&
                s->blocks_count > s->first_data_block + 4 && s->inodes_count >= 11;
    if (!sane) {
        printk(LOG_ERR, "ext2: the superblock of /dev/%s is damaged; run e2fsck on it\n", dev);
        return -EINVAL;
    }
    if ((u64)s->blocks_count * (bsize / SECTOR_SIZE) > fs->dev->sectors) {
        printk(LOG_ERR, "ext2: /dev/%s is smaller than the file system on it\n", dev);
        return -EINVAL;
    }
    return 0;
}

static bool has_super(const struct ext2_fs *fs, u32 g)
{
    if (!(fs->disk_sb->feature_ro_compat & RO_COMPAT_SPARSE) || g <= 1)
        return true;
    for (u32 base = 3; base <= 7; base += 2) {
        u64 p = base;
        while (p < g)
            p *= base;
        if (p == g)
            return true;
    }
    return false;
}

static void take_geometry(struct ext2_fs *fs)
{
    const struct ext2_sb *s = fs->disk_sb;
    fs->bshift = 10 + s->log_block_size;
    fs->bsize = 1u << fs->bshift;
    fs->addr_bits = fs->bshift - 2;
    fs->first_data_block = s->first_data_block;
    fs->blocks_count = s->blocks_count;
    fs->inodes_count = s->inodes_count;
    fs->blocks_per_group = s->blocks_per_group;
    fs->inodes_per_group = s->inodes_per_group;
    fs->inode_size = s->rev_level ? s->inode_size : 128;
    fs->first_ino = s->rev_level ? MAX(s->first_ino, 11u) : 11;
    fs->reserved_blocks = s->r_blocks_count;
    fs->nr_groups = (fs->blocks_count - fs->first_data_block + fs->blocks_per_group - 1) / fs->blocks_per_group;
    fs->itable_blocks = (fs->inodes_per_group * fs->inode_size + fs->bsize - 1) >> fs->bshift;
    fs->gdt_blocks = (fs->nr_groups * (u32)sizeof(struct ext2_group_desc) + fs->bsize - 1) >> fs->bshift;
    fs->was_clean = (s->state & EXT2_VALID_FS) && !(s->state & EXT2_ERROR_FS);
    fs->filetype = s->rev_level && (s->feature_incompat & INCOMPAT_FILETYPE);
    u64 n = 1ull << fs->addr_bits;
    fs->max_size = MIN((EXT2_NDIR + n + n * n + n * n * n) << fs->bshift, 1ull << 41);   // i_blocks has 32 bits of 512 bytes
    fs->sb.max_bytes = fs->max_size;
    fs->sb.blksize = fs->bsize;
    fs->overhead = fs->first_data_block;
    for (u32 g = 0; g < fs->nr_groups; g++)
        fs->overhead += 2 + fs->itable_blocks + (has_super(fs, g) ? 1 + fs->gdt_blocks + s->reserved_gdt_blocks : 0);
    fs->overhead = MIN(fs->overhead, fs->blocks_count);
}

static int read_groups(struct ext2_fs *fs)
{
    u64 groups_max = (u64)fs->inodes_count / fs->inodes_per_group;
    if (fs->nr_groups != groups_max || (u64)groups_max * fs->inodes_per_group != fs->inodes_count)
        return -EINVAL;
    fs->group = vmalloc(fs->nr_groups * sizeof(*fs->group));
    if (!fs->group)
        return -ENOMEM;
    memset(fs->group, 0, fs->nr_groups * sizeof(*fs->group));
    for (u32 g = 0; g < fs->nr_groups; g++) {
        struct ext2_group_desc *d;
        struct buf *b = desc_block(fs, g, &d);
        if (!b)
            return -EIO;
        struct ext2_group *gr = &fs->group[g];
        *gr = (struct ext2_group){ .block_bitmap = d->block_bitmap, .inode_bitmap = d->inode_bitmap, .inode_table = d->inode_table,
                                   .free_blocks = d->free_blocks, .free_inodes = d->free_inodes, .used_dirs = d->used_dirs };
        buf_put(fs, b);
        if (!ext2_block_ok(fs, gr->block_bitmap) || !ext2_block_ok(fs, gr->inode_bitmap) || !ext2_block_ok(fs, gr->inode_table) ||
            gr->inode_table + fs->itable_blocks > fs->blocks_count || gr->free_blocks > fs->blocks_per_group ||
            gr->free_inodes > fs->inodes_per_group)
            return -EINVAL;
        fs->free_blocks += gr->free_blocks;
        fs->free_inodes += gr->free_inodes;
    }
    return 0;
}

static u32 count_clear(struct ext2_fs *fs, u32 map, u32 size, u32 *out)
{
    struct buf *b = buf_get(fs, map);
    if (!b)
        return 0;
    u32 n = 0;
    for (u32 k = 0; k < size; k++)
        n += !(((u8 *)b->data)[k / 8] >> (k % 8) & 1);
    buf_put(fs, b);
    *out = n;
    return 1;
}

// After a kill the counts on disk are older than the bitmaps: count anew.
static void recount(struct ext2_fs *fs)
{
    fs->free_blocks = fs->free_inodes = 0;
    for (u32 g = 0; g < fs->nr_groups; g++) {
        struct ext2_group *gr = &fs->group[g];
        u32 size = MIN(fs->blocks_per_group, fs->blocks_count - fs->first_data_block - g * fs->blocks_per_group);
        count_clear(fs, gr->block_bitmap, size, &gr->free_blocks);
        count_clear(fs, gr->inode_bitmap, fs->inodes_per_group, &gr->free_inodes);
        fs->free_blocks += gr->free_blocks;
        fs->free_inodes += gr->free_inodes;
    }
}

// The disk is marked as mounted by the first write, so that a machine that only reads leaves it as it is.
int ext2_begin_write(struct ext2_fs *fs)
{
    if (fs->marked)
        return 0;
    fs->marked = true;
    fs->disk_sb->state &= (u16)~EXT2_VALID_FS;
    fs->disk_sb->mnt_count++;
    fs->disk_sb->mtime = (u32)fs_now().sec;
    return ext2_write_sb(fs);
}

static void look_at_state(struct ext2_fs *fs)
{
    if (fs->was_clean)
        return;
    printk(LOG_WARNING, "ext2: /dev/%s was not unmounted cleanly; e2fsck should have been run on it\n", fs->dev->name);
    recount(fs);
}

// Blocks that came in by another way go to the buffers.
static void keep(struct ext2_fs *fs, u32 blk, const u8 *data)
{
    struct buf *b = buf_new(fs, blk);
    if (b) {
        memcpy(b->data, data, fs->bsize);
        buf_put(fs, b);
    }
}

// The superblock and, in the same request, what is behind it and needed next: each request costs more than its bytes.
static int read_front(struct ext2_fs *fs)
{
    u32 size = FRONT;
    u8 *front = fs->dev->sectors < FRONT / SECTOR_SIZE ? NULL : kmalloc(FRONT, PA_ATOMIC);
    if (!front)                     // a small disk, or little memory
        front = kmalloc(size = FRONT_LEAST, 0);
    int err = front ? blk_read(fs->dev, 0, front, size) : -ENOMEM;
    if (!err) {
        memcpy(fs->disk_sb, front + 1024, 1024);
        err = check_sb(fs, fs->disk_sb);
    }
    if (!err) {
        take_geometry(fs);
        for (u32 blk = fs->first_data_block + 1; blk < MIN(size >> fs->bshift, fs->blocks_count); blk++)
            keep(fs, blk, front + ((u64)blk << fs->bshift));
    }
    kfree(front);
    return err;
}

static int fill_super(struct ext2_fs *fs)
{
    int err = read_front(fs);
    if (err)
        return err;
    const struct ext2_sb *s = fs->disk_sb;
    if (s->rev_level && (s->feature_ro_compat & ~RO_COMPAT_KNOWN) && !fs->sb.readonly) {
        printk(LOG_WARNING, "ext2: /dev/%s has features this kernel cannot write (ro_compat %x): mounted read-only\n", fs->dev->name,
               s->feature_ro_compat & ~RO_COMPAT_KNOWN);
        fs->sb.readonly = true;
    }
    err = read_groups(fs);
    if (err) {
        printk(LOG_ERR, "ext2: the group descriptors of /dev/%s are damaged; run e2fsck on it\n", fs->dev->name);
        return err;
    }
    err = s->feature_incompat & INCOMPAT_RECOVER ? ext2_journal_replay(fs) : 0;
    if (err) {
        printk(LOG_ERR, "ext2: the journal of /dev/%s cannot be replayed; run e2fsck on it\n", fs->dev->name);
        return err;
    }
    fs->no_journal = s->feature_compat & COMPAT_JOURNAL;
    fs->sb.root = ext2_iget(fs, EXT2_ROOT_INO);
    if (is_err(fs->sb.root))
        return (int)ptr_err(fs->sb.root);
    if (!S_ISDIR(fs->sb.root->mode)) {
        printk(LOG_ERR, "ext2: the root of /dev/%s is not a directory\n", fs->dev->name);
        inode_put(fs->sb.root);
        return -EIO;
    }
    if (!fs->sb.readonly)
        look_at_state(fs);
    return 0;
}

struct superblock *ext2_mount(struct blkdev *d, bool readonly, int *err)
{
    struct ext2_fs *fs = kzalloc(sizeof(*fs));
    if (fs && !(fs->disk_sb = kzalloc(1024))) {
        kfree(fs);
        fs = NULL;
    }
    *err = -ENOMEM;
    if (!fs)
        return NULL;
    fs->dev = d;
    fs->sb.type = "ext2";
    memcpy(fs->sb.source, "/dev/", 5);
    strlcpy(fs->sb.source + 5, d->name, sizeof(fs->sb.source) - 5);
    fs->sb.dev = make_dev(d->major, d->minor);
    fs->sb.readonly = readonly || d->readonly;
    fs->sb.ops = &ops;
    list_init(&fs->sb.dirty_inodes);
    list_init(&fs->lru);
    list_init(&fs->logged);
    for (int k = 0; k < BUF_KINDS; k++)
        list_init(&fs->dirty[k]);
    mutex_init(&fs->lock);
    buf_shrinker_init(fs);
    *err = fill_super(fs);
    if (!*err)
        return &fs->sb;
    buf_free_all(fs);
    free_fs(fs);
    return NULL;
}
