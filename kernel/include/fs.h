// SPDX-License-Identifier: Apache-2.0
// Files: open files, inodes, names, file systems (fs/). Page cache: fs/pagecache.c.
#ifndef UNI_FS_H
#define UNI_FS_H

#include "poll.h"
#include "rbtree.h"
#include "sched.h"
#include "time.h"
#include "types.h"
#include "uaccess.h"

struct file;
struct inode;
struct dentry;
struct superblock;
struct page;
struct seqbuf;
struct vma;
struct process;

// --- Open files -----------------------------------------------------------------------------------------------------
// Missing operations give the errno in the comment.
struct file_ops {
    ssize_t (*read)(struct file *f, struct iter *it, u64 *pos);     // EINVAL; pos NULL for streams
    ssize_t (*write)(struct file *f, struct iter *it, u64 *pos);    // EINVAL
    i64 (*seek)(struct file *f, i64 off, int whence);               // ESPIPE
    u32 (*poll)(struct file *f, struct poll_table *pt);             // always readable and writable
    long (*ioctl)(struct file *f, u32 cmd, uptr arg);               // ENOTTY
    int (*mmap)(struct file *f, struct vma *v);                     // ENODEV; regular files: fs/pagecache.c
    int (*fsync)(struct file *f, bool data_only);                   // EINVAL
    int (*readdir)(struct file *f, void *ctx,
                   bool (*emit)(void *ctx, const char *name, size_t len, u64 ino, u8 type, u64 next_pos)); // ENOTDIR
    int (*set_flags)(struct file *f, u32 flags);                    // fcntl F_SETFL changes: allowed
    void (*release)(struct file *f);                                // the last reference went
    void (*info)(struct file *f, struct seqbuf *s);                 // more for /proc/self/fdinfo
    bool async;                                                     // O_ASYNC: its owner is signaled (linux/fasync.c)
};

struct file {
    u32 refs;                   // atomic
    u32 flags;                  // O_ACCMODE, O_APPEND, O_NONBLOCK, O_DIRECT, ...
    const struct file_ops *ops;
    struct inode *inode;        // may be NULL only for anonymous kinds made by anon_file()
    struct path *path;          // how it was opened; NULL for anonymous kinds
    struct mutex pos_lock;      // guards pos for read/write/lseek
    u64 pos;
    void *priv;                 // of the ops: pipe end, socket, epoll, ...
    struct list epoll_watches;  // epoll items on this file (linux/epoll.c), under epoll's lock
    struct fasync *async;       // whom it signals (linux/fasync.c); mostly NULL
    u32 locks;                  // flock/fcntl: something is held
    u64 ra_next;                // read-ahead: the page index at which a sequential reader continues
    u32 ra_pages;               // and the present window
    u32 wb_seen;                // what it knows of mapping.wb_error
};

i64 seek_nowhere(struct file *f, i64 off, int whence);     // for .seek of kinds that accept lseek and ignore it (epoll, eventfd)
struct file *file_get(struct file *f);
void file_put(struct file *f);
// An open file without a name: eventfd, epoll, socket, pipe ("anon_inode:[eventfd]", "socket:[7]", ... in /proc/self/fd). mode: S_IF* and permissions for fstat.
u64 anon_number(const struct file *f);       // its inode's number; of a file made by anon_file() only
struct file *anon_file(const struct file_ops *ops, void *priv, u32 flags, u32 mode, const char *name);

// --- Inodes -----------------------------------------------------------------------------------------------------------
struct kstat {
    u64 dev, ino, rdev, size, blocks, blksize, nlink;
    u32 mode, uid, gid;
    struct timespec_k atime, mtime, ctime, btime;
};

struct setattr {                // what is valid
    u32 valid;                  // ATTR_*
    u32 mode, uid, gid;
    u64 size;
    struct timespec_k atime, mtime;
};
enum { ATTR_MODE = 1, ATTR_UID = 2, ATTR_GID = 4, ATTR_SIZE = 8, ATTR_ATIME = 16, ATTR_MTIME = 32 };

// Extended attributes of an inode in one piece: records of value length (u32), kind (u8), name length (u8), name, value.
// The kind stands for the name's prefix by ext2's numbers, the name is without it.
struct xattrs {
    u8 *data;                   // heap
    u32 len;
};
enum { XATTR_USER = 1, XATTR_TRUSTED = 4, XATTR_SECURITY = 6, XATTR_RECORD = 6 };

struct inode_ops {              // directories and attributes; inode->lock of the directory is held
    struct inode *(*lookup)(struct inode *dir, const char *name, size_t len);     // err_ptr(-ENOENT), ...; a reference
    struct inode *(*create)(struct inode *dir, const char *name, size_t len, u32 mode, u64 rdev);  // files, nodes, fifos, sockets
    int (*mkdir)(struct inode *dir, const char *name, size_t len, u32 mode);
    int (*link)(struct inode *dir, const char *name, size_t len, struct inode *target);
    int (*symlink)(struct inode *dir, const char *name, size_t len, const char *target);
    int (*unlink)(struct inode *dir, const char *name, size_t len, struct inode *victim);
    int (*rmdir)(struct inode *dir, const char *name, size_t len, struct inode *victim);
    int (*rename)(struct inode *from, const char *name, size_t len, struct inode *to, const char *nname, size_t nlen, u32 flags);
    ssize_t (*readlink)(struct inode *ino, char *buf, size_t size);
    // Links that name an object instead of a text (/proc/self/fd/N): the place, counted; NULL: use readlink. Optional.
    struct path *(*follow)(struct inode *ino);
    struct inode *(*tmpfile)(struct inode *dir, u32 mode);                         // O_TMPFILE: a file without a name
    int (*setattr)(struct inode *ino, const struct setattr *a);
    int (*getattr)(struct inode *ino, struct kstat *st);                           // default: from the inode
    int (*fallocate)(struct inode *ino, int mode, u64 off, u64 len);
    i64 (*seek_data)(struct inode *ino, u64 off, bool hole);                       // optional: the next data or hole from off on, at most the size; -ENXIO
    int (*xattr_load)(struct inode *ino, struct xattrs *x);                        // no attributes: data NULL; inode->lock is held
    int (*xattr_store)(struct inode *ino, const struct xattrs *x);                 // copies
    // Page cache: fill a page (PG_BUSY is set by the caller), write a dirty one, make room on disk for a range before it is dirtied.
    int (*readpage)(struct inode *ino, u64 index, struct page *p);
    int (*readpages)(struct inode *ino, u64 index, struct page **p, unsigned n);   // optional: read-ahead in one request
    int (*writepages)(struct inode *ino, u64 index, struct page **p, unsigned n);
    int (*reserve)(struct inode *ino, u64 off, u64 len);                           // -ENOSPC before the write, not after
};

struct mapping {                // the page cache of one inode
    spinlock_t lock;
    void *root;                 // fs/radix.c
    u64 nr, nr_dirty;
    struct mutex wb_lock;       // one writer back at a time
    u32 wb_error;               // a write back failed: each open file learns it once (wb_check)
};

struct inode {
    u32 refs;
    u32 mode, uid, gid, nlink;
    u64 ino, size, rdev, blocks;         // blocks of 512 bytes
    struct timespec_k atime, mtime, ctime, btime;
    const struct inode_ops *ops;
    const struct file_ops *fops;         // for open()
    struct superblock *sb;
    struct mutex lock;                   // directory contents; size, truncate and write of files
    struct mapping mapping;
    struct list sb_node;                 // inode cache (fs/inode.c)
    struct list dirty_node;              // write back: superblock's list of inodes with dirty pages or attributes
    u32 iflags;                          // I_*
    u64 lru_scan;                        // page index at which the reclaimer continues
    struct list locks;                   // flock and fcntl locks (fs/locks.c)
    struct waitq lock_wait;
    void *priv;                          // AF_UNIX: the bound socket; fifo: the pipe; else of the file system (ext2 does not use it)
    bool dirty;                          // attributes newer than on disk
};
enum { I_FREEING = 1, I_DIRTY_TIME = 2, I_DIRTY_META = 4, I_MMAPPED = 8, I_NOCACHE = 16 };
struct inode *inode_get(struct inode *i);
void inode_put(struct inode *i);

struct superblock {
    const char *type;           // "ext2", "tmpfs", ...
    char source[64];            // "/dev/vda"
    u64 dev;                    // st_dev
    bool readonly;
    struct inode *root;
    const struct sb_ops *ops;
    void *priv;
    struct list dirty_inodes;            // under icache lock (fs/inode.c)
    u32 blksize;                         // st_blksize; 0: 4096
    u64 max_bytes;                       // of a file; 0: 2^63 - 1
    bool made_readonly;                  // by a remount, which may be taken back
    u32 mount_flags;                     // MS_NOSUID, MS_NODEV, MS_NOEXEC, ... as mount(2) has them
};
struct kstatfs {
    u64 type, bsize, blocks, bfree, bavail, files, ffree, namelen, frsize, flags;
};
struct sb_ops {
    int (*statfs)(struct superblock *sb, struct kstatfs *st);
    int (*sync)(struct superblock *sb);           // everything is on the disk when it returns
    int (*writeback)(struct superblock *sb);      // optional: as sync, without the device's flush
    void (*free_inode)(struct inode *i);      // the last reference went; nlink 0: remove from disk
    int (*unmount)(struct superblock *sb);
};

// --- Names --------------------------------------------------------------------------------------------------------------
// A place in the tree: an entry of the name cache (parent, name, inode), mounts already followed. Counted.
struct path;
void path_put(struct path *p);
struct path *path_get(struct path *p);
struct inode *path_inode(struct path *p);
ssize_t path_string(struct path *p, char *buf, size_t size);      // absolute; " (deleted)" appended for unlinked ones

void flusher(void) NORETURN;                                       // what the first kernel thread becomes once the program runs
int vfs_init(void);                                                // mounts root, /dev, /proc, /sys, /tmp, /run, /dev/shm, uni.mount, uni.file
// Kernel-side use (exec, /etc files). err_ptr on failure. `path` is absolute or relative to the current directory.
struct file *vfs_open(const char *path, u32 flags, u32 mode);
ssize_t vfs_read(struct file *f, void *buf, size_t n, u64 off);
ssize_t vfs_write(struct file *f, const void *buf, size_t n, u64 off);
int vfs_write_file(const char *path, const void *data, size_t n, u32 mode, u32 uid, u32 gid);  // makes missing parents
int vfs_mkdir(const char *path, u32 mode);
int vfs_stat(struct file *f, struct kstat *st);
void vfs_sync_all(void);
void vfs_shutdown(void);              // the machine ends: everything on disk, file systems marked clean and read-only
// Used by AF_UNIX: binding makes a socket inode at path, connecting finds it.
int vfs_mknod(const char *path, u32 mode, u64 rdev, struct inode **out);
struct inode *vfs_lookup_inode(const char *path);
// openat-like, for the system calls of linux/: resolves a user path at dirfd. Flags AT_*, O_*.
struct file *vfs_openat(int dirfd, const char *path, u32 flags, u32 mode);

// What /proc/self/fd/N leads to where the file has no name: a node like it, by which a pipe can be opened anew.
struct path *anon_path(struct file *f);                           // NULL: out of memory
struct path *pipe_name(struct file *f);                           // the pipe's own; NULL: not of pipe(2); err_ptr
// Opening a fifo's inode: linux/pipe.c sets f->ops and f->priv; waits for the other end as fifo(7) says.
int fifo_open(struct file *f) WEAK;
// How an open file shows in /proc/self/fd and /proc/self/maps: a path or "socket:[7]".
ssize_t file_name(struct file *f, char *buf, size_t size);
// A tmpfs file without a name, for shared anonymous memory and memfd_create: O_RDWR. err_ptr on failure.
struct file *shmem_file(const char *name, u64 size);

// Page cache, for mm/fault.c: the page of a file, read in if need be; err_ptr(-EIO) past the end (SIGBUS). A reference.
struct page *pagecache_fault(struct file *f, u64 index, bool write_shared);
// The page if it is there and up to date, with a reference; else NULL. Never sleeps.
struct page *pagecache_peek(struct file *f, u64 index);
void pagecache_dirty(struct inode *ino, u64 index, struct page *p);

// A character device under /dev (major:minor as in Linux's devices.txt).
struct chardev {
    const char *name;
    u32 major, minor, mode;
    const struct file_ops *ops;
    int (*open)(struct file *f);
    struct list node;
};
void chardev_register(struct chardev *d);

// A file under /proc or /sys whose text a function writes at open. Parents are made.
struct seqbuf;
void proc_register(const char *path, u32 mode, void (*show)(struct seqbuf *s), ssize_t (*store)(const char *buf, size_t n));
void proc_number(const char *path, u32 *value, u32 least, u32 most);  // a setting that may be written
// `build` registers what it has when /proc or /sys are first looked into, which most programs never do.
void proc_when_asked(void (*build)(void));
void seq_printf(struct seqbuf *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void seq_write(struct seqbuf *s, const void *data, size_t n);
int seq_tid(const struct seqbuf *s);                               // the TID of /proc/self/task/TID/..., else 1

#endif
