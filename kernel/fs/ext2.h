// SPDX-License-Identifier: Apache-2.0
// ext2 on disk (Linux, Documentation/filesystems/ext2.rst and the layout pages of ext4/) and in memory. All numbers on disk are
// little endian, as the machine is.
#ifndef UNI_EXT2_H
#define UNI_EXT2_H

#include "blk.h"
#include "pagecache.h"
#include "printk.h"

#define EXT2_MAGIC 0xef53
#define EXT2_ROOT_INO 2u
#define EXT2_NDIR 12u
#define EXT2_VALID_FS 1             // s_state: unmounted cleanly
#define EXT2_ERROR_FS 2
#define EXT2_LINK_MAX 32000u
#define COMPAT_JOURNAL 0x4u          // inode 8 is a journal
#define INCOMPAT_FILETYPE 0x2u
#define INCOMPAT_RECOVER 0x4u       // it must be replayed first
#define INCOMPAT_KNOWN (INCOMPAT_FILETYPE | INCOMPAT_RECOVER)
#define RO_COMPAT_SPARSE 0x1u
#define RO_COMPAT_LARGE_FILE 0x2u
#define RO_COMPAT_EXTRA_ISIZE 0x40u
#define RO_COMPAT_KNOWN (RO_COMPAT_SPARSE | RO_COMPAT_LARGE_FILE | RO_COMPAT_EXTRA_ISIZE)
#define EXT2_INDEX_FL 0x1000u       // directory with a hash tree; without the flag its blocks read as a plain one
#define EXT2_EXTENTS_FL 0x80000u
#define EXT2_IMMUTABLE_FL 0x10u
#define EXT2_APPEND_FL 0x20u

struct ext2_sb {                    // at byte 1024
    u32 inodes_count, blocks_count, r_blocks_count, free_blocks, free_inodes, first_data_block, log_block_size, log_frag_size;
    u32 blocks_per_group, frags_per_group, inodes_per_group, mtime, wtime;
    u16 mnt_count, max_mnt_count, magic, state, errors, minor_rev;
    u32 lastcheck, checkinterval, creator_os, rev_level;
    u16 def_resuid, def_resgid;
    u32 first_ino;
    u16 inode_size, block_group_nr;
    u32 feature_compat, feature_incompat, feature_ro_compat;
    u8 uuid[16];
    char volume_name[16], last_mounted[64];
    u32 algorithm_bitmap;
    u8 prealloc_blocks, prealloc_dir_blocks;
    u16 reserved_gdt_blocks;
    u8 journal_uuid[16];
    u32 journal_ino;
    u8 rest[796];
} PACKED;

struct ext2_group_desc {
    u32 block_bitmap, inode_bitmap, inode_table;
    u16 free_blocks, free_inodes, used_dirs, flags;
    u32 rest[3];
} PACKED;

struct ext2_raw {                   // an inode
    u16 mode, uid;
    u32 size, atime, ctime, mtime, dtime;
    u16 gid, links;
    u32 blocks, flags, osd1;
    u32 block[15];
    u32 generation, file_acl, size_high, faddr;
    u8 frag, fsize;
    u16 pad;
    u16 uid_high, gid_high;
    u32 reserved;
    u16 extra_isize, checksum_hi;   // from here on only in inodes of more than 128 bytes
    u32 ctime_extra, mtime_extra, atime_extra, crtime, crtime_extra;
} PACKED;

struct ext2_dirent {
    u32 ino;
    u16 rec_len;
    u8 name_len, type;
    char name[];
} PACKED;

#define DIRENT_SIZE(len) ALIGN_UP(8u + (len), 4u)

// Metadata in memory: one block of the disk. Without a journal its kind says in which step of a commit it is written.
// NEW: bitmaps and what nothing on disk points to yet (new indirect blocks and directory blocks). MAP: older indirect blocks.
enum buf_kind { BUF_NEW, BUF_MAP, BUF_INODE, BUF_DIR, BUF_KINDS };

struct buf {
    u32 blk, refs;
    bool dirty;                     // newer than what was last committed
    bool logged;                    // committed to the journal, not yet in its place
    bool gone;                      // logged, then freed: a replay would still write it, so the block must not hold data
    enum buf_kind kind;
    char *data;
    struct buf *hash_next;
    struct list lru;                // clean and unused
    struct list dirty_node, log_node;
};

#define BUF_BUCKETS 128u
#define IO_BATCH 16u

struct ext2_group {
    u32 block_bitmap, inode_bitmap, inode_table;
    u32 free_blocks, free_inodes, used_dirs;
    // Blocks and inodes freed since the last commit: not given out again before the disk knows that they are free,
    // so that no block ever belongs to two inodes there. NULL: none.
    u8 *held_blocks, *held_inodes;
};

struct ext2_fs {
    struct superblock sb;
    struct blkdev *dev;
    u32 bsize, bshift, addr_bits;   // addr_bits: log2 of the block numbers in a block
    u32 first_data_block, blocks_count, inodes_count, blocks_per_group, inodes_per_group, inode_size, first_ino;
    u32 nr_groups, reserved_blocks, itable_blocks, gdt_blocks, overhead;
    u64 max_size;
    bool marked;                    // the disk says that it is mounted: before anything else is written
    bool was_clean, large_file, filetype, complained;
    struct mutex lock;              // guards everything below, the buffers, block maps and directory blocks
    u32 free_blocks, free_inodes;
    struct ext2_group *group;
    bool counts_dirty, any_held;
    struct buf *hash[BUF_BUCKETS];
    struct list lru;
    struct list dirty[BUF_KINDS];
    struct list logged;             // struct buf.log_node
    u32 nr_bufs, nr_unused, nr_dirty;
    struct ext2_sb *disk_sb;        // as on disk, 1024 bytes
    struct ext2_journal *journal;   // NULL: none yet, or no room for one
    bool no_journal;                // the disk has one of its own, which is left alone
    struct list all;                // list of mounted ext2 for the shrinker
};

struct ext2_inode {
    struct inode vfs;
    u32 block[15];
    u32 flags, file_acl, generation, dtime;
    u32 goal;                       // where the last block was put
    u32 dir_hint;                   // directories: no free entry before this block
    struct ext2_index *index;       // directories: where names are, or NULL
};

static inline struct ext2_fs *EXT2(const struct superblock *sb) { return container_of(sb, struct ext2_fs, sb); }
static inline struct ext2_inode *EI(const struct inode *i) { return container_of(i, struct ext2_inode, vfs); }
static inline struct ext2_fs *FS(const struct ext2_inode *e) { return EXT2(e->vfs.sb); }

// ext2_buf.c; fs->lock held.
struct buf *buf_get(struct ext2_fs *fs, u32 blk);                    // counted; NULL: cannot be read
struct buf *buf_new(struct ext2_fs *fs, u32 blk);                    // zeroed, not read
void buf_put(struct ext2_fs *fs, struct buf *b);
void buf_dirty(struct ext2_fs *fs, struct buf *b, enum buf_kind kind);
void buf_forget(struct ext2_fs *fs, u32 blk);                        // freed: must not be written any more
int buf_write_kind(struct ext2_fs *fs, enum buf_kind kind);
int buf_write_logged(struct ext2_fs *fs);                            // brings what the journal holds to its places
void buf_set_logged(struct ext2_fs *fs, struct buf *b);
bool buf_is_logged(struct ext2_fs *fs, u32 blk);
void buf_free_all(struct ext2_fs *fs);
void ext2_error(struct ext2_fs *fs, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_shrinker_init(struct ext2_fs *fs);

// ext2_alloc.c; fs->lock held.
u32 ext2_alloc_block(struct ext2_fs *fs, u32 goal, int *err);        // 0 and *err: -ENOSPC, -EIO
void ext2_free_block(struct ext2_fs *fs, u32 blk);
bool ext2_block_used(struct ext2_fs *fs, u32 blk);
u32 ext2_alloc_ino(struct ext2_fs *fs, u32 parent, bool dir, int *err);
void ext2_free_ino(struct ext2_fs *fs, u32 ino, bool dir);
u32 ext2_find_room(struct ext2_fs *fs, u32 want, u32 *got);          // first of a run of free blocks
void ext2_release_held(struct ext2_fs *fs);

// ext2_map.c; fs->lock held.
bool ext2_block_ok(const struct ext2_fs *fs, u32 blk);
int ext2_map_run(struct ext2_inode *e, u64 lblk, u32 max, u32 *phys);   // length of a run of neighbors, *phys 0: of a hole; -EIO
int ext2_map_create(struct ext2_inode *e, u64 lblk, u32 *phys, bool *made);
int ext2_punch(struct ext2_inode *e, u64 from, u64 to);              // frees blocks [from, to)

// ext2_inode.c
struct inode *ext2_iget(struct ext2_fs *fs, u32 ino);                // err_ptr
struct ext2_inode *ext2_new_inode(struct inode *dir, u32 mode, int *err);  // fs->lock held; counted, in the table of inodes
int ext2_write_inode(struct ext2_inode *e);                          // into its buffer; fs->lock held
void ext2_free_inode(struct inode *i);
int ext2_commit(struct ext2_fs *fs, bool counts);                    // fs->lock held
void ext2_begin(struct ext2_fs *fs);                                 // takes fs->lock for a change
bool ext2_inode_on_disk(struct ext2_inode *e);                       // fs->lock held
void ext2_end_orphans(struct ext2_fs *fs);
int ext2_setattr(struct inode *i, const struct setattr *a);
void ext2_set_ops(struct inode *i);
void ext2_drop_xattrs(struct ext2_inode *e);                         // gives up the block of extended attributes; fs->lock held
struct buf *ext2_table_block(struct ext2_fs *fs, u32 ino, struct ext2_raw **raw);      // fs->lock held

// ext2_journal.c; fs->lock held.
int ext2_journal_start(struct ext2_fs *fs);                          // before the first commit; -ENOSPC: goes without
int ext2_journal_commit(struct ext2_fs *fs);                         // all that is dirty, at once
int ext2_journal_empty(struct ext2_fs *fs);                          // after a commit: everything in its place
int ext2_journal_end(struct ext2_fs *fs);                            // everything in its place, no journal on the disk
int ext2_journal_replay(struct ext2_fs *fs);                         // at mount
bool ext2_journal_has(const struct ext2_fs *fs, u32 blk);            // the block belongs to the journal: free, but not to be had
u32 ext2_journal_size(const struct ext2_fs *fs);                     // in blocks
bool ext2_journal_full(const struct ext2_fs *fs);                    // time for a commit before the next operation begins

// ext2_xattr.c
int ext2_xattr_load(struct inode *ino, struct xattrs *x);
int ext2_xattr_store(struct inode *ino, const struct xattrs *x);

// ext2_file.c
int ext2_readpage(struct inode *i, u64 index, struct page *p);
int ext2_readpages(struct inode *i, u64 index, struct page **p, unsigned n);
int ext2_writepages(struct inode *i, u64 index, struct page **p, unsigned n);
int ext2_reserve(struct inode *i, u64 off, u64 len);
int ext2_fallocate(struct inode *i, int mode, u64 off, u64 len);
int ext2_truncate(struct ext2_inode *e, u64 size);
i64 ext2_seek_data(struct inode *i, u64 off, bool hole);
int ext2_fsync(struct file *f, bool data_only);

// ext2_dir.c; fs->lock held except for readdir.
int ext2_dir_find(struct ext2_inode *dir, const char *name, size_t len, u32 *ino);
int ext2_dir_add(struct ext2_inode *dir, const char *name, size_t len, u32 ino, u32 mode);
int ext2_dir_set(struct ext2_inode *dir, const char *name, size_t len, u32 ino, u32 mode);
int ext2_dir_remove(struct ext2_inode *dir, const char *name, size_t len);
int ext2_dir_make(struct ext2_inode *dir, u32 parent);
int ext2_dir_empty(struct ext2_inode *dir);                          // 1, 0, -EIO
int ext2_readdir(struct file *f, void *ctx,
                 bool (*emit)(void *ctx, const char *name, size_t len, u64 ino, u8 type, u64 next_pos));

struct buf *ext2_dir_block(struct ext2_inode *dir, u32 n);           // counted; NULL: cannot be read
struct ext2_dirent *ext2_dir_entry(struct ext2_inode *dir, struct buf *b, u32 off);   // NULL: damaged

// ext2_index.c
bool ext2_index_ready(struct ext2_inode *dir);
bool ext2_index_next(const struct ext2_inode *dir, const char *name, size_t len, u32 *cursor, u32 *n);
void ext2_index_add(struct ext2_inode *dir, const char *name, size_t len, u32 n);
void ext2_index_remove(struct ext2_inode *dir, const char *name, size_t len, u32 n);
void ext2_index_drop(struct ext2_inode *dir);

// ext2_name.c
extern const struct inode_ops ext2_dir_ops, ext2_file_ops, ext2_link_ops, ext2_special_ops;
extern const struct file_ops ext2_regular_fops, ext2_dir_fops;
// ext2_super.c
int ext2_write_counts(struct ext2_fs *fs);
int ext2_write_sb(struct ext2_fs *fs);
int ext2_begin_write(struct ext2_fs *fs);                            // before every other write

#endif
