// SPDX-License-Identifier: Apache-2.0
// What the files of fs/ share among themselves and with linux/{file,name}.c. The public part is include/fs.h.
#ifndef UNI_VFS_H
#define UNI_VFS_H

#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "list.h"
#include "page.h"

#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>

#define NAME_LEN_MAX 255
#define PATH_LEN_MAX 4096
#define SYMLINKS_MAX 40             // path_resolution(7)

enum { MAY_EXEC = 1, MAY_WRITE = 2, MAY_READ = 4 };

// An entry of the name cache. Lives while somebody refers to it (users, children, mounts) and, unused, until memory is
// needed. A mounted file system is a second entry, the root of the mount, laid over the one it covers; the covered one may
// be negative, so that a mount point need not exist on disk.
struct path {
    u32 refs;                       // dcache_lock for 0 -> 1
    u32 hash;
    u16 len;
    bool hashed, dead, on_lru;      // dead: unlinked while in use
    struct path *parent;            // counted; NULL: the root of a mount
    struct inode *inode;            // counted; NULL: a name that is known not to exist
    struct path *mounted;           // the root entry of what is mounted here, counted
    struct path *covers;            // root of a mount: the entry below it, counted
    struct path *hash_next;
    struct list lru;
    char *name;                     // iname or heap
    char iname[32];
};

// fs/dcache.c. dcache_lock guards hash chains, names, parents and the list of unused entries.
extern spinlock_t dcache_lock;
struct path *d_find_locked(struct path *parent, const char *name, size_t len, u32 hash);   // not counted
u32 d_hash(const struct path *parent, const char *name, size_t len);
struct path *d_alloc(struct path *parent, const char *name, size_t len, struct inode *ino);  // takes over ino; unhashed
struct path *d_add(struct path *parent, const char *name, size_t len, struct inode *ino);    // hashed; takes over ino
void d_set_inode(struct path *p, struct inode *ino);     // negative -> positive; takes over ino
void d_delete(struct path *p);                            // after unlink
void d_drop(struct path *p);                              // the name no longer leads here
int d_move(struct path *from, struct path *parent, const char *name, size_t len);
void d_exchange(struct path *a, struct path *b);
bool d_is_ancestor(struct path *a, struct path *p);       // a is p or above it
size_t dcache_shrink(size_t n);
void dcache_drop_sb(struct superblock *sb);

// fs/inode.c
void inode_init(struct inode *i, struct superblock *sb, u64 ino);
struct inode *icache_find(struct superblock *sb, u64 ino);   // counted
void icache_insert(struct inode *i);
void icache_remove(struct inode *i);
void inode_touch(struct inode *i, bool m, bool c);           // mtime, ctime = now
void inode_mark_dirty(struct inode *i, u32 why);             // I_DIRTY_*; 0: pages
int sb_write_inodes(struct superblock *sb, int (*fn)(struct inode *i));
struct inode *sb_next_dirty(struct superblock *sb, unsigned *left);          // *left ~0 at the first call
struct inode *icache_peek(struct superblock *sb, u64 ino, bool *going);      // as icache_find, without waiting
struct timespec_k fs_now(void);
void inode_take(struct inode *i, const struct setattr *a);     // all but the size; the time of the change becomes now
int inode_permission(const struct inode *i, u32 mask);       // against fsuid, fsgid, capabilities
void inode_fill_stat(struct inode *i, struct kstat *st);
int inode_getattr(struct inode *i, struct kstat *st);
int inode_setattr(struct inode *i, struct setattr *a);       // checks permission; i->lock must not be held
void inode_for_each(bool (*fn)(struct inode *i, void *arg), void *arg);   // icache lock dropped around fn, inode counted
u64 sb_new_dev(void);                                        // an anonymous st_dev

// fs/namei.c
enum {
    WALK_FOLLOW = 1, WALK_PARENT = 2, WALK_DIRECTORY = 4, WALK_EMPTY = 8,
    WALK_NO_XDEV = 16, WALK_NO_SYMLINKS = 32, WALK_BENEATH = 64, WALK_IN_ROOT = 128, WALK_NO_MAGIC = 256, WALK_CACHED = 512,
};
struct walk {
    struct path *cur;               // counted: the place, or with WALK_PARENT the directory of the last component
    struct path *base, *root;       // borrowed
    const char *rest;               // what is left of the name
    const char *last;               // WALK_PARENT
    size_t last_len;                // 0: the name ends in ".", ".." or "/" and cur is the place itself
    bool slash;                     // a trailing slash
    char *heap;                     // name buffer after a symbolic link
    u32 flags, links;
};
int walk_name(struct walk *w, struct path *base, const char *name, u32 flags);
void walk_end(struct walk *w);
struct path *path_lookup(struct path *base, const char *name, u32 flags);   // counted; err_ptr
struct path *lookup_child(struct path *dir, const char *name, size_t len);  // counted, may be negative, mounts not followed
struct path *lookup_child_locked(struct path *dir, const char *name, size_t len);  // the directory's lock is held
struct path *follow_mount(struct path *p);                   // takes over p's reference
struct path *fs_root(void);                                  // borrowed: the program's root directory
struct path *fs_cwd(void);
int set_fs_root(struct path *p);
int read_link(struct path *p, char *buf, size_t size);       // text of a symbolic link, NUL terminated; length
struct path *base_of(int dirfd, const char *name, u32 flags, struct file **hold);      // where a *at name starts; *hold to put

// fs/open.c
struct file *file_alloc(struct path *p, struct inode *i, const struct file_ops *ops, u32 flags);
struct file *do_open(struct path *base, const char *name, u32 flags, u32 mode, u32 walk_flags);
int open_inode(struct file *f);
const struct file_ops *dev_ops(struct inode *i);

bool fd_available(void);                                     // would fd_install(f, 0, ...) find a number?

// fs/create.c: the calls that change directories.
int do_mknod(struct path *base, const char *name, u32 mode, u64 rdev, struct inode **out);
int do_mkdir(struct path *base, const char *name, u32 mode);
int do_unlink(struct path *base, const char *name, bool dir);
int do_symlink(const char *target, struct path *base, const char *name);
int do_link(struct path *old, struct path *base, const char *name);
int do_rename(struct path *ob, const char *oname, struct path *nb, const char *nname, u32 flags);
int may_create(struct inode *dir);
int may_delete(struct inode *dir, struct inode *victim, bool isdir);

// fs/pagecache.c
struct page *pc_find(struct inode *i, u64 index);            // counted or NULL
struct page *pc_get(struct inode *i, struct file *f, u64 index);   // up to date, counted; err_ptr
ssize_t pc_read(struct file *f, struct iter *it, u64 *pos);
ssize_t pc_write(struct file *f, struct iter *it, u64 *pos);
void touch_atime(struct file *f, u64 pos);                   // it was read from pos on
int pc_insert(struct inode *i, u64 index, struct page *p);   // -EEXIST
int pc_zero_range(struct inode *i, u64 from, u64 to);        // within one page; only if cached or uptodate on disk
void pc_truncate(struct inode *i, u64 first, u64 n);         // drops pages, also from the program's page tables
int pc_writeback(struct inode *i, u64 first, u64 last);      // writes dirty pages and waits
u32 wb_sample(const struct mapping *m);                      // for file.wb_seen when a file is opened
int wb_check(struct mapping *m, u32 *seen);                  // an error of write back that this file does not know yet, else 0
void pc_drop_all(struct inode *i);                           // the inode goes: no page may be in use
void pc_init(void);
void flusher_kick(bool now);                                // something is dirty; now: memory is short
int pc_mmap(struct file *f, struct vma *v);
i64 generic_seek(struct file *f, i64 off, int whence);
ssize_t pc_sync_range(struct inode *i, u64 off, u64 len);
extern u64 pc_nr_dirty;

// fs/mount.c
struct mount {
    struct list node;
    struct superblock *sb;
    struct path *at;                // covered entry, counted; NULL: the root
    struct path *root;              // counted
    bool hidden;                    // of a single file or an invented directory, or taken off while in use
    bool expiring;                  // MNT_EXPIRE was asked for once
};
extern struct list mounts;
extern struct mutex mounts_lock;    // held by who changes the list, or sleeps while walking it
extern struct path *vfs_root;
int mount_at(struct path *at, struct superblock *sb, struct inode *root, bool hidden);   // counts what it keeps
int do_mount(const char *source, struct path *at, const char *type, u32 flags, const char *data);
int do_umount(struct path *p, bool lazy, bool expire);
int do_move_mount(struct path *from, struct path *to);
int do_remount(struct path *at, u32 flags, const char *data);     // -EINVAL: no mount begins there
struct mount *mount_of(struct superblock *sb);
bool emit_invented(struct file *f, void *ctx,
                   bool (*emit)(void *ctx, const char *name, size_t len, u64 ino, u8 type, u64 next_pos));
bool vfs_ready(void);

// linux/inotify.c. mask: IN_* of linux/inotify.h. notify() is for an entry: its directory hears of it by name, its inode itself.
extern u32 notify_watches;
void notify_path(struct path *p, u32 mask);
void notify_inode(struct inode *i, u32 mask, u32 cookie, const char *name);
u32 notify_cookie(void);
static inline void notify(struct path *p, u32 mask)
{
    if (unlikely(notify_watches) && p)
        notify_path(p, mask);
}

// File systems.
struct blkdev;
struct superblock *ext2_mount(struct blkdev *d, bool readonly, int *err);
struct superblock *tmpfs_mount(const char *type, u64 max_bytes, u32 mode);
bool tmpfs_resize(struct superblock *sb, u64 bytes);                // false: more than that is in use
struct inode *tmpfs_new_inode(struct superblock *sb, u32 mode, u64 rdev);
int tmpfs_fill(struct inode *i, const void *data, size_t n);         // the contents of a new file
struct inode *shmem_node(u32 mode, u64 ino);                 // a node of no directory
void devfs_populate(struct superblock *sb);
struct superblock *procfs_mount(void);
struct superblock *sysfs_mount(void);
struct chardev *chardev_find(u64 rdev);
void proc_init(void);
void memdev_populate(struct inode *dir);                     // links and block devices
void memdev_init(void);                                      // fs/memdev.c
extern const struct file_ops blkdev_file_ops;

// fs/locks.c
void locks_release(struct file *f);                          // close: POSIX locks of the process on the inode; last reference: flock, OFD
void locks_close_posix(struct file *f);

// fs/seqbuf.c
struct seqbuf {
    char *buf;
    size_t len, cap;
    bool full;                      // out of memory: the text is cut
    int tid;
};

static inline u64 make_dev(u32 major, u32 minor)             // Linux's huge encoding, as stat shows it
{
    return ((u64)(minor & 0xff)) | ((u64)(major & 0xfff) << 8) | ((u64)(minor & ~0xffu) << 12) | ((u64)(major & ~0xfffu) << 32);
}

static inline u8 mode_dtype(u32 mode) { return (mode & S_IFMT) >> 12; }

#endif
