// SPDX-License-Identifier: Apache-2.0
// A journal for ext2 while it is being written: what a commit changes is on disk as a whole or not at all, wherever a kill stops it.
//
// The format is JBD2's (Linux, Documentation/filesystems/ext4/journal.rst), so that e2fsck -p replays what we leave; but the disk
// stays an ext2. The journal lies in blocks that the bitmap calls free; inode 8 leads to it, and two flags of the superblock say that
// it is there. The first transaction of each half of the log holds the superblock without these flags. So the replay itself makes a
// plain ext2 again, and a clean unmount leaves no trace.
//
// One half of the log is in use. When it is full, all that it holds is written to its places, and the other half begins with a
// transaction that its superblock then leads to. Until that moment no block that the log would write may hold anything else
// (buf_is_logged).
#include "arch.h"
#include "ext2.h"
#include "page.h"

#define JBD_MAGIC 0xc03b3998u           // all numbers in a journal are big endian
enum { JBD_DESCRIPTOR = 1, JBD_COMMIT = 2, JBD_SUPER = 4 };
enum { TAG_ESCAPED = 1, TAG_SAME_UUID = 2, TAG_LAST = 8 };

struct jbd_header {
    u32 magic, type, seq;
};

struct jbd_super {
    struct jbd_header h;
    u32 block_size, length, first, seq, start, error;
};

struct jbd_tag {                        // the first of a descriptor is followed by a UUID, which nobody looks at
    u32 blk;
    u16 checksum, flags;
};

#define JOURNAL_INO 8u
#define FILE_BLOCKS 1024u               // e2fsck wants a file of this size: the rest of it is its first block, again and again
#define UUID_SIZE 16u
#define MOST 128u                       // blocks of the largest transaction
#define HALF_LEAST 40u
#define HALF_MOST 256u
#define OPERATION 14u                   // blocks that one operation may change

struct ext2_journal {
    u32 first, half;                    // its superblock on disk, behind it two halves of so many blocks, and the map of its file
    u32 side, at;                       // the half in use, the next transaction's place there
    u32 seq, most;
    char *head;                         // two blocks: descriptor and commit
    char *super;                        // the block that holds the file system's superblock
    struct blk_seg seg[MOST + 1];
};

static u32 be(u32 v) { return __builtin_bswap32(v); }
static u32 size_of(const struct ext2_journal *j) { return 1 + 2 * j->half + 2; }
static u32 place(const struct ext2_journal *j, u32 k) { return j->first + 1 + j->side * j->half + k; }
static u32 super_at(const struct ext2_fs *fs) { return 1024u & (fs->bsize - 1); }   // of the superblock, within its block

u32 ext2_journal_size(const struct ext2_fs *fs) { return fs->journal ? size_of(fs->journal) : 0; }

bool ext2_journal_has(const struct ext2_fs *fs, u32 blk)
{
    const struct ext2_journal *j = fs->journal;
    return j && blk >= j->first && blk < j->first + size_of(j);
}

bool ext2_journal_full(const struct ext2_fs *fs)
{
    return fs->nr_dirty + OPERATION > (fs->journal ? fs->journal->most : MOST);
}

static int flush(struct ext2_fs *fs) { return fs->dev->has_flush ? blk_flush(fs->dev) : 0; }

// --- Writing ----------------------------------------------------------------------------------------------------------

// Neighbors on disk from any places in memory.
static int write_run(struct ext2_fs *fs, u32 blk, const struct blk_seg *seg, u32 n)
{
    u32 max = MAX(fs->dev->max_seg, 1u);
    int err = 0;
    for (u32 k = 0; !err && k < n; k += max) {
        struct blk_req r = { .op = BLK_WRITE, .sector = (u64)(blk + k) << (fs->bshift - 9), .seg = seg + k, .nr_seg = MIN(max, n - k) };
        err = blk_submit_wait(fs->dev, &r);
    }
    return err;
}

static int write_block(struct ext2_fs *fs, u32 blk, const void *data)
{
    return blk_write(fs->dev, (u64)blk << (fs->bshift - 9), data, fs->bsize);
}

static void *header(struct ext2_fs *fs, char *block, u32 type, u32 seq)
{
    memset(block, 0, fs->bsize);
    *(struct jbd_header *)block = (struct jbd_header){ be(JBD_MAGIC), be(type), be(seq) };
    return block + sizeof(struct jbd_header);
}

static char *put_tag(char *to, u32 blk, bool first, u16 flags)
{
    *(struct jbd_tag *)to = (struct jbd_tag){ be(blk), 0, __builtin_bswap16((u16)(flags | (first ? 0 : TAG_SAME_UUID))) };
    return to + sizeof(struct jbd_tag) + (first ? UUID_SIZE : 0);
}

// A superblock without the flags of a journal.
static void without_journal(struct ext2_sb *s)
{
    s->feature_compat &= ~COMPAT_JOURNAL;
    s->feature_incompat &= ~INCOMPAT_RECOVER;
    s->journal_ino = 0;
}

// Begins the other half: a transaction with the superblock, then the journal's own superblock leads there. From now on a replay
// does not see what was in the half before.
static int begin_half(struct ext2_fs *fs)
{
    struct ext2_journal *j = fs->journal;
    j->side ^= 1;
    put_tag(header(fs, j->head, JBD_DESCRIPTOR, j->seq), fs->first_data_block, true, TAG_LAST);
    header(fs, j->head + fs->bsize, JBD_COMMIT, j->seq);
    memcpy(j->super + super_at(fs), fs->disk_sb, sizeof(struct ext2_sb));
    without_journal((struct ext2_sb *)(j->super + super_at(fs)));
    struct blk_seg seg[] = { { va_to_pa(j->head), fs->bsize }, { va_to_pa(j->super), fs->bsize }, { va_to_pa(j->head + fs->bsize), fs->bsize } };
    int err = write_run(fs, place(j, 0), seg, 3);
    err = err ? err : flush(fs);
    header(fs, j->head, JBD_SUPER, 0);
    struct jbd_super *s = (struct jbd_super *)j->head;
    s->block_size = be(fs->bsize);
    s->length = be(1 + 2 * j->half);
    s->first = be(1);
    s->seq = be(j->seq);
    s->start = be(1 + j->side * j->half);
    err = err ? err : write_block(fs, j->first, j->head);
    if (err) {
        j->side ^= 1;
        return err;
    }
    j->seq++;
    j->at = 3;
    return flush(fs);
}

// Brings all that the log holds to its places and begins the other half. Nothing is dirty.
static int checkpoint(struct ext2_fs *fs)
{
    int err = flush(fs);
    err = err ? err : buf_write_logged(fs);
    err = err ? err : flush(fs);
    return err ? err : begin_half(fs);
}

int ext2_journal_empty(struct ext2_fs *fs)
{
    return fs->journal && !list_empty(&fs->logged) ? checkpoint(fs) : 0;
}

// More than a transaction holds, by one operation or by very many inodes: straight to the places. A kill in the middle of this
// leaves what ext2 leaves.
static int write_around(struct ext2_fs *fs)
{
    int err = 0;
    for (int k = 0; !err && k < BUF_KINDS; k++)
        err = buf_write_kind(fs, (enum buf_kind)k);
    return err ? err : checkpoint(fs);
}

// Dirty buffers into j->seg from 1 on and into the descriptor. A block that looks like the journal's own gets its first word
// back after the writing (restore).
static u32 describe(struct ext2_fs *fs, struct ext2_journal *j)
{
    char *tag = header(fs, j->head, JBD_DESCRIPTOR, j->seq);
    u32 n = 0;
    j->seg[0] = (struct blk_seg){ va_to_pa(j->head), fs->bsize };
    for (int k = 0; k < BUF_KINDS; k++)
        for (struct list *l = fs->dirty[k].next; l != &fs->dirty[k]; l = l->next) {
            struct buf *b = list_entry(l, struct buf, dirty_node);
            u32 *word = (u32 *)b->data;
            bool escaped = *word == be(JBD_MAGIC);
            if (escaped)
                *word = 0;
            n++;
            tag = put_tag(tag, b->blk, n == 1, (u16)((escaped ? TAG_ESCAPED : 0) | (n == fs->nr_dirty ? TAG_LAST : 0)));
            j->seg[n] = (struct blk_seg){ va_to_pa(b->data), fs->bsize };
        }
    return n;
}

static void restore(struct ext2_journal *j)
{
    const char *at = j->head + sizeof(struct jbd_header);
    for (u32 k = 1, flags = 0; !(flags & TAG_LAST); k++) {
        flags = __builtin_bswap16(((const struct jbd_tag *)at)->flags);
        if (flags & TAG_ESCAPED)
            *(u32 *)pa_to_va(j->seg[k].pa) = be(JBD_MAGIC);
        at += sizeof(struct jbd_tag) + (k == 1 ? UUID_SIZE : 0);
    }
}

int ext2_journal_commit(struct ext2_fs *fs)
{
    struct ext2_journal *j = fs->journal;
    if (fs->nr_dirty > j->most)
        return write_around(fs);
    u32 n = describe(fs, j);
    int err = write_run(fs, place(j, j->at), j->seg, n + 1);
    restore(j);
    err = err ? err : flush(fs);            // with the data of the files that it is about
    header(fs, j->head + fs->bsize, JBD_COMMIT, j->seq);
    err = err ? err : write_block(fs, place(j, j->at + 1 + n), j->head + fs->bsize);
    if (err) {
        ext2_error(fs, "the journal cannot be written (error %d)", -err);
        return err;
    }
    for (int k = 0; k < BUF_KINDS; k++)
        while (!list_empty(&fs->dirty[k]))
            buf_set_logged(fs, list_entry(fs->dirty[k].next, struct buf, dirty_node));
    j->at += n + 2;
    j->seq++;
    return j->at + j->most + 2 > j->half ? checkpoint(fs) : 0;
}

// --- Beginning and end ------------------------------------------------------------------------------------------------

static void free_journal(struct ext2_fs *fs)
{
    if (fs->journal) {
        kfree(fs->journal->head);
        kfree(fs->journal->super);
    }
    kfree(fs->journal);
    fs->journal = NULL;
}

// The file of inode 8: block k of it is block k behind `first`, as far as the log goes.
static int write_map(struct ext2_fs *fs, struct ext2_raw *r)
{
    struct ext2_journal *j = fs->journal;
    u32 *map = (u32 *)j->head, *upper = (u32 *)(j->head + fs->bsize), per = fs->bsize / 4, at = j->first + 1 + 2 * j->half;
    for (u32 k = 0; k < per; k++) {
        map[k] = EXT2_NDIR + k < 1 + 2 * j->half ? j->first + EXT2_NDIR + k : j->first;
        upper[k] = at;
    }
    memset(r, 0, sizeof(*r));
    r->mode = S_IFREG | 0600;
    r->links = 1;
    r->size = FILE_BLOCKS * fs->bsize;
    r->blocks = FILE_BLOCKS * (fs->bsize / SECTOR_SIZE);
    for (u32 k = 0; k < EXT2_NDIR; k++)
        r->block[k] = j->first + k;
    r->block[EXT2_NDIR] = at;
    r->block[EXT2_NDIR + 1] = EXT2_NDIR + per < FILE_BLOCKS ? at + 1 : 0;
    struct blk_seg seg[] = { { va_to_pa(map), fs->bsize }, { va_to_pa(upper), fs->bsize } };
    return write_run(fs, at, seg, 2);
}

// Writes inode 8 in the table as it is on disk: other inodes in this block may be newer in memory.
static int write_inode(struct ext2_fs *fs, const struct ext2_raw *value)
{
    struct ext2_raw *r;
    struct buf *b = ext2_table_block(fs, JOURNAL_INO, &r);
    char *disk = b ? kmalloc(fs->bsize, 0) : NULL;
    int err = disk ? blk_read(fs->dev, (u64)b->blk << (fs->bshift - 9), disk, fs->bsize) : -ENOMEM;
    if (!err) {
        u32 size = MIN(fs->inode_size, (u32)sizeof(*value));
        memcpy(r, value, size);
        memcpy(disk + ((char *)r - b->data), value, size);
        err = write_block(fs, b->blk, disk);
    }
    kfree(disk);
    if (b)
        buf_put(fs, b);
    return err;
}

// Memory and a place for a journal that fits the machine and the disk.
static int prepare(struct ext2_fs *fs)
{
    struct mem_stats m;
    u32 got;
    mem_stats(&m);
    u32 want = (u32)MIN((u64)fs->blocks_count / 32, m.total / PAGE_SIZE / 64) / 2, limit = (EXT2_NDIR + fs->bsize / 4 - 1) / 2;
    want = MIN(MIN(MAX(want, HALF_LEAST), HALF_MOST), limit);
    if (fs->no_journal || fs->free_blocks < 4 * HALF_LEAST)
        return -ENOSPC;
    u32 first = ext2_find_room(fs, 3 + 2 * want, &got);
    struct ext2_journal *j = got < 3 + 2 * HALF_LEAST ? NULL : kzalloc(sizeof(*j));
    fs->journal = j;
    if (!j)
        return -ENOSPC;
    *j = (struct ext2_journal){ .first = first, .half = (got - 3) / 2, .side = 1 };
    random_bytes(&j->seq, sizeof(j->seq));      // so that nothing an earlier mount left behind the log's end looks like its next transaction
    j->seq >>= 1;
    j->most = MIN(MIN(j->half / 2, MOST), (fs->bsize - (u32)sizeof(struct jbd_header) - UUID_SIZE) / (u32)sizeof(struct jbd_tag));
    j->head = kmalloc(2 * fs->bsize, 0);
    j->super = kmalloc(fs->bsize, 0);
    if (!j->head || !j->super)
        return -ENOMEM;
    return blk_read(fs->dev, (u64)fs->first_data_block << (fs->bshift - 9), j->super, fs->bsize);
}

int ext2_journal_start(struct ext2_fs *fs)
{
    struct ext2_raw r;
    int err = prepare(fs);
    err = err ? err : begin_half(fs);
    err = err ? err : write_map(fs, &r);
    err = err ? err : write_inode(fs, &r);
    err = err ? err : flush(fs);
    if (!err) {
        fs->disk_sb->feature_compat |= COMPAT_JOURNAL;
        fs->disk_sb->feature_incompat |= INCOMPAT_RECOVER;
        fs->disk_sb->journal_ino = JOURNAL_INO;
        err = ext2_write_sb(fs);
    }
    if (err) {
        without_journal(fs->disk_sb);
        free_journal(fs);
    }
    return err;
}

// The log is in its places: take away what leads to it.
static int remove_journal(struct ext2_fs *fs)
{
    static const struct ext2_raw none;
    without_journal(fs->disk_sb);
    int err = ext2_write_sb(fs);
    err = err ? err : flush(fs);
    return err ? err : write_inode(fs, &none);
}

int ext2_journal_end(struct ext2_fs *fs)
{
    int err = flush(fs);
    err = err ? err : buf_write_logged(fs);
    err = err ? err : flush(fs);
    err = err ? err : remove_journal(fs);
    if (!err) {
        fs->no_journal = true;
        free_journal(fs);
    }
    return err;
}

// --- Replay at mount --------------------------------------------------------------------------------------------------

// A log that we left. Another one, of a real ext3, is e2fsck's to replay.
struct replay {
    u32 first, length;
    u32 at, seq;                        // next descriptor in the log, its number
    char *block, *data;
};

static int log_read(struct ext2_fs *fs, const struct replay *p, u32 at, void *to)
{
    return blk_read(fs->dev, (u64)(p->first + at) << (fs->bshift - 9), to, fs->bsize);
}

static bool is_header(const void *block, u32 type, u32 seq)
{
    const struct jbd_header *h = block;
    return h->magic == be(JBD_MAGIC) && h->type == be(type) && h->seq == be(seq);
}

static int open_log(struct ext2_fs *fs, struct replay *p)
{
    struct ext2_raw *r;
    struct buf *b = fs->disk_sb->journal_ino == JOURNAL_INO ? ext2_table_block(fs, JOURNAL_INO, &r) : NULL;
    if (!b)
        return -EIO;
    p->first = r->block[0];
    bool ours = ext2_block_ok(fs, p->first) && r->size == FILE_BLOCKS * fs->bsize;
    for (u32 k = 0; k < EXT2_NDIR; k++)
        ours = ours && r->block[k] == p->first + k;
    buf_put(fs, b);
    if (!ours || log_read(fs, p, 0, p->block))
        return -EIO;
    const struct jbd_super *s = (const struct jbd_super *)p->block;
    p->length = be(s->length);
    p->at = be(s->start);
    p->seq = be(s->seq);
    ours = is_header(s, JBD_SUPER, 0) && s->block_size == be(fs->bsize) && p->length <= 1 + 2 * HALF_MOST && p->at && p->at < p->length &&
           ext2_block_ok(fs, p->first + p->length);
    return ours ? 0 : -EIO;
}

// How many blocks the descriptor in p->block speaks of; 0: it is damaged.
static u32 count_tags(const struct ext2_fs *fs, const struct replay *p)
{
    const char *at = p->block + sizeof(struct jbd_header), *end = p->block + fs->bsize - sizeof(struct jbd_tag);
    for (u32 n = 1; at <= end; n++) {
        if (__builtin_bswap16(((const struct jbd_tag *)at)->flags) & TAG_LAST)
            return n;
        at += sizeof(struct jbd_tag) + (n == 1 ? UUID_SIZE : 0);
    }
    return 0;
}

static int replay_block(struct ext2_fs *fs, const struct replay *p, u32 from, u32 blk, u32 flags)
{
    if (blk >= fs->blocks_count || (blk >= p->first && blk < p->first + p->length))
        return -EIO;
    bool super = blk == fs->first_data_block;
    struct buf *b = super ? NULL : buf_new(fs, blk);
    char *to = super ? p->data : b ? b->data : NULL;
    int err = to ? log_read(fs, p, from, to) : -ENOMEM;
    if (!err && flags & TAG_ESCAPED)
        *(u32 *)to = be(JBD_MAGIC);
    if (!err && super)
        memcpy(fs->disk_sb, to + super_at(fs), sizeof(struct ext2_sb));
    if (b) {
        buf_set_logged(fs, b);
        buf_put(fs, b);
    }
    return err;
}

// One transaction, when it is whole: its number of blocks. 0: here the log ends.
static int replay_one(struct ext2_fs *fs, struct replay *p)
{
    int err = log_read(fs, p, p->at, p->block);
    u32 n = !err && is_header(p->block, JBD_DESCRIPTOR, p->seq) ? count_tags(fs, p) : 0;
    if (err || !n || p->at + n + 1 >= p->length)
        return err;
    err = log_read(fs, p, p->at + n + 1, p->data);
    if (err || !is_header(p->data, JBD_COMMIT, p->seq))
        return err;
    const char *at = p->block + sizeof(struct jbd_header);
    for (u32 k = 1; !err && k <= n; k++) {
        const struct jbd_tag *t = (const struct jbd_tag *)at;
        err = replay_block(fs, p, p->at + k, be(t->blk), __builtin_bswap16(t->flags));
        at += sizeof(struct jbd_tag) + (k == 1 ? UUID_SIZE : 0);
    }
    return err ? err : (int)n;
}

// Puts the log's blocks into the buffers and, where the disk may be written, into their places.
int ext2_journal_replay(struct ext2_fs *fs)
{
    struct replay p = { .block = kmalloc(fs->bsize, 0), .data = kmalloc(fs->bsize, 0) };
    int err = p.block && p.data ? open_log(fs, &p) : -ENOMEM, n = 0;
    u32 done = 0;
    while (!err && (n = replay_one(fs, &p)) > 0) {
        p.at += (u32)n + 2;
        p.seq++;
        done++;
    }
    err = err ? err : n;
    if (!err && (!done || fs->disk_sb->feature_incompat & INCOMPAT_RECOVER))
        err = -EIO;                     // even an idle log holds the superblock
    kfree(p.block);
    kfree(p.data);
    fs->was_clean = false;
    if (err || fs->dev->readonly)
        return err;
    printk(LOG_INFO, "ext2: /dev/%s: %u transactions replayed\n", fs->dev->name, done);
    err = buf_write_logged(fs);
    err = err ? err : flush(fs);
    return err ? err : remove_journal(fs);
}
