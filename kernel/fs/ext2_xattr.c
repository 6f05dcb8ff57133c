// SPDX-License-Identifier: Apache-2.0
// Extended attributes on ext2 (Linux, Documentation/filesystems/ext4/attributes.rst): a block of their own, which several inodes
// may share, and on large inodes the room behind the fixed part, which is read here and emptied at the first change.
#include "ext2.h"

#define XATTR_MAGIC 0xea020000u
#define HEADER 32u                  // of the block: magic, refcount, blocks, hash, 16 bytes reserved
#define COMPAT_EXT_ATTR 0x8u
#define FIXED_INODE 128u

struct entry {
    u8 name_len, kind;
    u16 value_offs;                 // from the start of the block, or of the first entry in an inode
    u32 value_block, value_size, hash;
    char name[];
} PACKED;

#define ENTRY_SIZE(n) ALIGN_UP((u32)sizeof(struct entry) + (n), 4u)

static int append(struct xattrs *x, const struct entry *e, const void *value)
{
    u32 more = XATTR_RECORD + e->name_len + e->value_size;
    u8 *data = krealloc(x->data, x->len + more), *to = data + x->len;
    if (!data)
        return -ENOMEM;
    memcpy(to, &(u32){ e->value_size }, 4);
    to[4] = e->kind;
    to[5] = e->name_len;
    memcpy(to + XATTR_RECORD, e->name, e->name_len);
    memcpy(to + XATTR_RECORD + e->name_len, value, e->value_size);
    x->data = data;
    x->len += more;
    return 0;
}

// Entries in [from, end), their values at offsets from `base`. Kinds that nobody here can name (ACLs) are kept, not shown.
static int parse(struct ext2_inode *i, struct xattrs *x, const u8 *from, const u8 *base, const u8 *end)
{
    for (const u8 *at = from; at + 4 <= end && *(const u32 *)at;) {
        const struct entry *e = (const struct entry *)at;
        if (at + sizeof(*e) > end || at + ENTRY_SIZE(e->name_len) > end || e->value_block ||
            e->value_size > (u64)(end - base) || base + e->value_offs + e->value_size > end) {
            ext2_error(FS(i), "inode %lu has damaged extended attributes", (unsigned long)i->vfs.ino);
            return -EIO;
        }
        int err = append(x, e, base + e->value_offs);
        if (err)
            return err;
        at += ENTRY_SIZE(e->name_len);
    }
    return 0;
}

// The word behind the fixed part of a large inode in its table block; NULL: no room there.
static u32 *inode_area(struct ext2_inode *i, struct buf **b, u8 **end)
{
    struct ext2_fs *fs = FS(i);
    struct ext2_raw *r;
    *b = ext2_table_block(fs, (u32)i->vfs.ino, &r);
    if (!*b || fs->inode_size <= FIXED_INODE + 8 || r->extra_isize > fs->inode_size - FIXED_INODE - 8 || (r->extra_isize & 3))
        return NULL;
    *end = (u8 *)r + fs->inode_size;
    return (u32 *)((u8 *)r + FIXED_INODE + r->extra_isize);
}

static int load(struct ext2_inode *i, struct xattrs *x)
{
    struct ext2_fs *fs = FS(i);
    struct buf *b;
    u8 *end;
    const u32 *area = inode_area(i, &b, &end);
    int err = b ? 0 : -EIO;
    if (area && *area == XATTR_MAGIC)
        err = parse(i, x, (const u8 *)(area + 1), (const u8 *)(area + 1), end);
    if (b)
        buf_put(fs, b);
    if (err || !i->file_acl)
        return err;
    b = ext2_block_ok(fs, i->file_acl) ? buf_get(fs, i->file_acl) : NULL;
    if (!b)
        return -EIO;
    const u8 *data = (const u8 *)b->data;
    err = *(const u32 *)data == XATTR_MAGIC ? parse(i, x, data + HEADER, data, data + fs->bsize) : -EIO;
    buf_put(fs, b);
    return err;
}

int ext2_xattr_load(struct inode *ino, struct xattrs *x)
{
    struct ext2_fs *fs = FS(EI(ino));
    mutex_lock(&fs->lock);
    int err = load(EI(ino), x);
    mutex_unlock(&fs->lock);
    return err;
}

static u32 rotate(u32 hash, u32 by) { return hash << by ^ hash >> (32 - by); }

static u32 entry_hash(const struct entry *e, const u8 *value)
{
    u32 hash = 0;
    for (u32 i = 0; i < e->name_len; i++)
        hash = rotate(hash, 5) ^ (u8)e->name[i];
    for (u32 i = 0; i < e->value_size; i += 4)
        hash = rotate(hash, 16) ^ *(const u32 *)(value + i);    // padded with zeros
    return hash;
}

// e2fsck wants the entries of a block in this order.
static int compare(const u8 *a, const u8 *b)
{
    int d = a[4] != b[4] ? a[4] - b[4] : a[5] - b[5];
    return d ? d : memcmp(a + XATTR_RECORD, b + XATTR_RECORD, a[5]);
}

static u32 record_size(const u8 *r) { return XATTR_RECORD + r[5] + *(const u32 *)(const void *)r; }

// The smallest record that comes after `last` (NULL: of all); NULL: none.
static const u8 *next_in_order(const struct xattrs *x, const u8 *last)
{
    const u8 *best = NULL;
    for (const u8 *r = x->data; r < x->data + x->len; r += record_size(r))
        if ((!last || compare(r, last) > 0) && (!best || compare(r, best) < 0))
            best = r;
    return best;
}

static int fill(u8 *block, u32 size, const struct xattrs *x)
{
    u32 at = HEADER, top = size, hash = 0;
    memset(block, 0, size);
    for (const u8 *r = NULL; (r = next_in_order(x, r));) {
        u32 len = *(const u32 *)(const void *)r, room = ALIGN_UP(len, 4u);
        struct entry *e = (struct entry *)(block + at);
        if (at + ENTRY_SIZE(r[5]) + 4 + room > top)
            return -ENOSPC;
        top -= room;
        *e = (struct entry){ .name_len = r[5], .kind = r[4], .value_offs = len ? (u16)top : 0, .value_size = len };
        memcpy(e->name, r + XATTR_RECORD, r[5]);
        memcpy(block + top, r + XATTR_RECORD + r[5], len);
        e->hash = entry_hash(e, block + top);
        hash = rotate(hash, 16) ^ e->hash;
        at += ENTRY_SIZE(r[5]);
    }
    u32 head[4] = { XATTR_MAGIC, 1, 1, hash };
    memcpy(block, head, sizeof(head));
    return 0;
}

// The new block is on disk before the inode that leads to it, the old one stays as it is until then.
static int replace(struct ext2_inode *i, const u8 *image)
{
    struct ext2_fs *fs = FS(i);
    int err = 0;
    u32 blk = image ? ext2_alloc_block(fs, i->goal, &err) : 0;
    struct buf *b = blk ? buf_new(fs, blk) : NULL;
    if (image && !b) {
        if (blk)
            ext2_free_block(fs, blk);
        return blk ? -ENOMEM : err;
    }
    if (b) {
        memcpy(b->data, image, fs->bsize);
        buf_dirty(fs, b, BUF_NEW);
        buf_put(fs, b);
    }
    if (i->file_acl) {
        ext2_drop_xattrs(i);
        i->vfs.blocks -= fs->bsize / 512;
    }
    i->file_acl = blk;
    i->vfs.blocks += blk ? fs->bsize / 512 : 0;
    fs->disk_sb->feature_compat |= COMPAT_EXT_ATTR;
    u8 *end;
    u32 *area = inode_area(i, &b, &end);
    if (area && *area == XATTR_MAGIC) {
        *area = 0;
        buf_dirty(fs, b, BUF_INODE);
    }
    if (b)
        buf_put(fs, b);
    return 0;
}

int ext2_xattr_store(struct inode *ino, const struct xattrs *x)
{
    struct ext2_inode *i = EI(ino);
    struct ext2_fs *fs = FS(i);
    u8 *image = x->len ? kmalloc(fs->bsize, 0) : NULL;
    if (x->len && !image)
        return -ENOMEM;
    int err = image ? fill(image, fs->bsize, x) : 0;
    mutex_lock(&fs->lock);
    if (!err)
        err = ext2_begin_write(fs);
    if (!err)
        err = replace(i, image);
    mutex_unlock(&fs->lock);
    if (!err)
        inode_mark_dirty(ino, I_DIRTY_META);
    kfree(image);
    return err;
}
