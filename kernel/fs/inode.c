// SPDX-License-Identifier: Apache-2.0
// Inodes: the table of those in memory, their references, permission checks, attributes.
#include "process.h"
#include "vfs.h"

#include <linux/capability.h>

#define ICACHE_BUCKETS 256

// Guards the chains, the dirty lists of all superblocks and the 0 <-> 1 step of reference counts. Innermost.
static spinlock_t icache_lock = SPINLOCK_INIT;
static struct list icache[ICACHE_BUCKETS];
static struct waitq icache_wait;                // someone waits until an inode that is going is gone
static bool icache_ready;

static struct list *bucket(const struct superblock *sb, u64 ino)
{
    if (!icache_ready) {
        for (unsigned n = 0; n < ICACHE_BUCKETS; n++)
            list_init(&icache[n]);
        waitq_init(&icache_wait);
        icache_ready = true;
    }
    return &icache[(ino * 2654435761u + ((u64)sb >> 6)) % ICACHE_BUCKETS];
}

struct timespec_k fs_now(void)
{
    u64 ns = clock_real_ns();
    return (struct timespec_k){ (i64)(ns / NSEC_PER_SEC), (i64)(ns % NSEC_PER_SEC) };
}

void inode_take(struct inode *i, const struct setattr *a)
{
    if (a->valid & ATTR_MODE)
        i->mode = (i->mode & S_IFMT) | (a->mode & 07777);
    if (a->valid & ATTR_UID)
        i->uid = a->uid;
    if (a->valid & ATTR_GID)
        i->gid = a->gid;
    if (a->valid & ATTR_ATIME)
        i->atime = a->atime;
    if (a->valid & ATTR_MTIME)
        i->mtime = a->mtime;
    i->ctime = fs_now();
}

u64 sb_new_dev(void)
{
    static u32 next = 20;
    return make_dev(0, next++);
}

void inode_init(struct inode *i, struct superblock *sb, u64 ino)
{
    i->refs = 1;
    i->sb = sb;
    i->ino = ino;
    i->nlink = 1;
    mutex_init(&i->lock);
    mutex_init(&i->mapping.wb_lock);
    waitq_init(&i->lock_wait);
    list_init(&i->sb_node);
    list_init(&i->dirty_node);
    list_init(&i->locks);
    i->atime = i->mtime = i->ctime = i->btime = fs_now();
}

struct inode *inode_get(struct inode *i)
{
    __atomic_add_fetch(&i->refs, 1, __ATOMIC_RELAXED);
    return i;
}

struct inode *icache_peek(struct superblock *sb, u64 ino, bool *going)
{
    struct list *b = bucket(sb, ino);
    struct inode *found = NULL;
    *going = false;
    spin_lock(&icache_lock);
    for (struct list *n = b->next; n != b && !found; n = n->next) {
        struct inode *i = list_entry(n, struct inode, sb_node);
        if (i->ino == ino && i->sb == sb)
            found = i;
    }
    if (found) {
        *going = found->iflags & I_FREEING;
        if (*going)
            found = NULL;
        else
            found->refs++;
    }
    spin_unlock(&icache_lock);
    return found;
}

struct inode *icache_find(struct superblock *sb, u64 ino)
{
    bool going;
    struct inode *i = icache_peek(sb, ino, &going);
    if (!going)
        return i;
    struct waiter w;
    waitq_prepare(&icache_wait, &w);            // icache_remove wakes
    while (!(i = icache_peek(sb, ino, &going)) && going)
        waitq_sleep(&w, NO_DEADLINE, false);
    waitq_finish(&w);
    return i;
}

void icache_insert(struct inode *i)
{
    struct list *b = bucket(i->sb, i->ino);
    spin_lock(&icache_lock);
    list_unshift(b, &i->sb_node);
    spin_unlock(&icache_lock);
}

void icache_remove(struct inode *i)
{
    spin_lock(&icache_lock);
    list_remove(&i->sb_node);
    list_remove(&i->dirty_node);
    spin_unlock(&icache_lock);
    if (icache_ready)
        waitq_wake_all(&icache_wait);
}

void inode_put(struct inode *i)
{
    if (!i)
        return;
    spin_lock(&icache_lock);
    bool last = --i->refs == 0;
    if (last)
        i->iflags |= I_FREEING;
    spin_unlock(&icache_lock);
    if (last)
        i->sb->ops->free_inode(i);
}

void inode_for_each(bool (*fn)(struct inode *i, void *arg), void *arg)
{
    struct inode *held = NULL;
    bool more = icache_ready;
    for (unsigned b = 0; more && b < ICACHE_BUCKETS; b++) {
        spin_lock(&icache_lock);
        struct list *n = icache[b].next;
        while (more && n != &icache[b]) {
            struct inode *i = list_entry(n, struct inode, sb_node);
            if (i->iflags & I_FREEING) {
                n = n->next;
                continue;
            }
            i->refs++;
            spin_unlock(&icache_lock);
            inode_put(held);
            held = i;                           // stays in the chain while we hold it
            more = fn(i, arg);
            spin_lock(&icache_lock);
            n = i->sb_node.next;
            if (n == &i->sb_node)               // taken out meanwhile: this chain is done for now
                break;
        }
        spin_unlock(&icache_lock);
    }
    inode_put(held);
}

void inode_mark_dirty(struct inode *i, u32 why)
{
    if ((i->iflags & why) == why && !list_empty(&i->dirty_node))
        return;
    if (!i->sb->dirty_inodes.next)              // a file system in memory
        return;
    spin_lock(&icache_lock);
    i->iflags |= why;
    if (why)
        i->dirty = true;
    if (list_empty(&i->dirty_node))
        list_push(&i->sb->dirty_inodes, &i->dirty_node);
    spin_unlock(&icache_lock);
    flusher_kick(false);
}

// Each inode of sb with newer attributes, once. The file system's lock, which its free_inode takes, keeps them alive.
int sb_write_inodes(struct superblock *sb, int (*fn)(struct inode *i))
{
    int err = 0;
    struct list todo;
    list_init(&todo);
    spin_lock(&icache_lock);
    for (struct list *n; (n = list_pop(&sb->dirty_inodes));)
        list_push(&todo, n);
    for (struct list *n; (n = list_pop(&todo));) {
        struct inode *i = list_entry(n, struct inode, dirty_node);
        bool write = i->dirty;
        i->iflags &= ~(u32)(I_DIRTY_META | I_DIRTY_TIME);
        i->dirty = false;
        if (i->mapping.nr_dirty)
            list_push(&sb->dirty_inodes, &i->dirty_node);
        spin_unlock(&icache_lock);
        int e = write ? fn(i) : 0;
        if (e)
            err = e;
        spin_lock(&icache_lock);
    }
    spin_unlock(&icache_lock);
    return err;
}

// An inode with dirty pages, counted, moved to the end of the list; at most *left calls. One that is going is passed over:
// free_inode writes what it has to.
struct inode *sb_next_dirty(struct superblock *sb, unsigned *left)
{
    struct inode *got = NULL;
    spin_lock(&icache_lock);
    if (*left == ~0u) {
        *left = 0;
        for (struct list *n = sb->dirty_inodes.next; n != &sb->dirty_inodes; n = n->next)
            ++*left;
    }
    while (*left && !got && !list_empty(&sb->dirty_inodes)) {
        --*left;
        struct list *n = list_pop(&sb->dirty_inodes);
        struct inode *i = list_entry(n, struct inode, dirty_node);
        if (i->mapping.nr_dirty || i->dirty || (i->iflags & I_MMAPPED))
            list_push(&sb->dirty_inodes, n);
        if (i->mapping.nr_dirty && !(i->iflags & I_FREEING)) {
            i->refs++;
            got = i;
        }
    }
    spin_unlock(&icache_lock);
    return got;
}

void inode_touch(struct inode *i, bool m, bool c)
{
    struct timespec_k now = fs_now();
    if (m)
        i->mtime = now;
    if (c)
        i->ctime = now;
    inode_mark_dirty(i, I_DIRTY_TIME);
}

// --- Permissions: path_resolution(7), capabilities(7) -------------------------------------------------------------

int inode_permission(const struct inode *i, u32 mask)
{
    const struct cred *c = current_cred();
    u32 mode = i->mode;
    if ((mask & MAY_WRITE) && i->sb->readonly && (S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode)))
        return -EROFS;
    if (c->fsuid == i->uid)
        mode >>= 6;
    else if (cred_in_group(c, i->gid))
        mode >>= 3;
    if ((mode & mask) == mask)
        return 0;
    if (!(mask & MAY_WRITE) && (S_ISDIR(i->mode) || !(mask & MAY_EXEC)) && capable(CAP_DAC_READ_SEARCH))
        return 0;
    if (capable(CAP_DAC_OVERRIDE) && (S_ISDIR(i->mode) || !(mask & MAY_EXEC) || (i->mode & 0111)))
        return 0;                               // but for executing what nobody may execute
    return -EACCES;
}

// --- Attributes -----------------------------------------------------------------------------------------------------

void inode_fill_stat(struct inode *i, struct kstat *st)
{
    *st = (struct kstat){
        .dev = i->sb->dev, .ino = i->ino, .rdev = i->rdev, .size = i->size, .blocks = i->blocks, .blksize = i->sb->blksize ? i->sb->blksize : 4096,
        .nlink = i->nlink, .mode = i->mode, .uid = i->uid, .gid = i->gid,
        .atime = i->atime, .mtime = i->mtime, .ctime = i->ctime, .btime = i->btime,
    };
}

int inode_getattr(struct inode *i, struct kstat *st)
{
    if (i->ops && i->ops->getattr)
        return i->ops->getattr(i, st);
    inode_fill_stat(i, st);
    return 0;
}

// chmod(2), chown(2), utimensat(2): who may.
static int setattr_allowed(const struct inode *i, struct setattr *a)
{
    const struct cred *c = current_cred();
    if (i->sb->readonly)
        return -EROFS;
    bool owner = c->fsuid == i->uid;
    if ((a->valid & ATTR_UID) && !(owner && a->uid == i->uid) && !capable(CAP_CHOWN))
        return -EPERM;
    if ((a->valid & ATTR_GID) && !(owner && (a->gid == i->gid || cred_in_group(c, a->gid))) && !capable(CAP_CHOWN))
        return -EPERM;
    if ((a->valid & ATTR_MODE) && !owner && !capable(CAP_FOWNER))
        return -EPERM;
    if ((a->valid & ATTR_MODE) && !cred_in_group(c, a->valid & ATTR_GID ? a->gid : i->gid) && !capable(CAP_FSETID))
        a->mode &= ~S_ISGID;
    return 0;
}

int inode_setattr(struct inode *i, struct setattr *a)
{
    int err = setattr_allowed(i, a);
    if (err)
        return err;
    if (!i->ops || !i->ops->setattr)
        return -EPERM;
    mutex_lock(&i->lock);
    if ((a->valid & (ATTR_UID | ATTR_GID)) && !S_ISDIR(i->mode) && !(a->valid & ATTR_MODE)) {   // chown clears set-id bits
        a->mode = i->mode & 07777 & ~S_ISUID;
        if (i->mode & 010)
            a->mode &= ~S_ISGID;
        a->valid |= ATTR_MODE;
    }
    err = i->ops->setattr(i, a);
    mutex_unlock(&i->lock);
    return err;
}
