// SPDX-License-Identifier: Apache-2.0
// Between tmpfs.c (inodes, contents, the file system) and tmpfs_dir.c (names).
#ifndef UNI_TMPFS_H
#define UNI_TMPFS_H

#include "pagecache.h"

#define TMPFS_MAGIC 0x01021994

struct tmp_sb {
    struct superblock sb;
    u64 max_pages, used_pages;      // used: as of each inode's last change (tmp_inode.counted)
    u64 next_ino;
};

struct tmp_entry {
    struct list node;               // by seq
    struct tmp_entry *next;         // same bucket
    u32 hash;
    u64 seq;                        // the position that readdir shows
    struct inode *ino;              // counted
    u8 len;
    char name[];
};

struct tmp_inode {
    struct inode vfs;
    struct list entries;            // directories, under inode->lock
    struct tmp_entry **bucket;      // of names; a power of two of them, grows with the directory
    u32 nr_buckets, nr_entries;
    u64 next_seq, parent;
    u64 counted;                    // pages that the superblock knows of
    char *link;
    struct xattrs xattrs;
};

static inline struct tmp_sb *TSB(struct superblock *sb) { return container_of(sb, struct tmp_sb, sb); }
static inline struct tmp_inode *TI(struct inode *i) { return container_of(i, struct tmp_inode, vfs); }

// tmpfs_dir.c
extern const struct inode_ops tmpfs_dir_ops;
extern const struct file_ops tmpfs_dir_fops;
void tmpfs_drop_entries(struct tmp_inode *d);

// tmpfs.c: what inodes of every kind have
int tmpfs_setattr(struct inode *i, const struct setattr *a);
int tmpfs_getattr(struct inode *i, struct kstat *st);
int tmpfs_xattr_load(struct inode *i, struct xattrs *x);
int tmpfs_xattr_store(struct inode *i, const struct xattrs *x);
int tmpfs_fsync(struct file *f, bool data_only);

#endif
