// SPDX-License-Identifier: Apache-2.0
// Mounts. A mount point need not exist on the disk: the name cache holds it.
#include "blk.h"
#include "process.h"
#include "vfs.h"

#include <linux/mount.h>

struct list mounts = LIST_INIT(mounts);
struct mutex mounts_lock = MUTEX_INIT(mounts_lock);
struct path *vfs_root;

bool vfs_ready(void) { return vfs_root != NULL; }

int mount_at(struct path *at, struct superblock *sb, struct inode *root, bool hidden)
{
    struct mount *m = kzalloc(sizeof(*m));
    struct path *r = m ? d_alloc(NULL, at ? at->name : "/", at ? at->len : 1, inode_get(root)) : NULL;
    if (!r) {
        kfree(m);
        return -ENOMEM;
    }
    m->sb = sb;
    m->root = r;
    m->hidden = hidden;
    if (at) {
        m->at = path_get(at);
        r->covers = path_get(at);
        at->mounted = path_get(r);
    } else {
        vfs_root = path_get(r);
    }
    list_push(&mounts, &m->node);
    return 0;
}

struct mount *mount_of(struct superblock *sb)
{
    for (struct list *n = mounts.next; n != &mounts; n = n->next) {
        struct mount *m = list_entry(n, struct mount, node);
        if (m->sb == sb && !m->hidden)
            return m;
    }
    return NULL;
}

// What tmpfs(5) is told: the last one of each counts.
struct tmpfs_options {
    u64 size, mode, uid, gid;
};

static bool number(const char *s, size_t n, unsigned base, u64 *out)
{
    char text[24];
    if (!n || n >= sizeof(text))
        return false;
    memcpy(text, s, n);
    text[n] = 0;
    return parse_u64(text, base, out);
}

// "64m", "50%" of memory.
static bool amount(const char *s, size_t n, u64 *out)
{
    struct mem_stats m;
    static const char units[] = "kmgt";
    const char *u = n ? strchr(units, s[n - 1] | 32) : NULL;
    if (n && s[n - 1] == '%') {
        mem_stats(&m);
        if (!number(s, n - 1, 10, out) || *out > 100)
            return false;
        *out = m.total / 100 * *out;
        return true;
    }
    if (!number(s, u && *u ? n - 1 : n, 10, out))
        return false;
    for (; u && *u && u >= units; u--)
        *out <<= 10;
    return true;
}

static bool tmpfs_option(struct tmpfs_options *o, const char *s, size_t n)
{
    static const char *const accepted[] = { "ro", "rw", "nr_inodes=", "huge=", "mpol=", "noswap" };
    u64 pages;
    if (!n)
        return true;
    if (!strncmp(s, "size=", 5))
        return amount(s + 5, n - 5, &o->size);
    if (!strncmp(s, "nr_blocks=", 10) && amount(s + 10, n - 10, &pages)) {
        o->size = pages * PAGE_SIZE;
        return true;
    }
    if (!strncmp(s, "mode=", 5))
        return number(s + 5, n - 5, 8, &o->mode);
    if (!strncmp(s, "uid=", 4))
        return number(s + 4, n - 4, 10, &o->uid) && o->uid <= ~0u;
    if (!strncmp(s, "gid=", 4))
        return number(s + 4, n - 4, 10, &o->gid) && o->gid <= ~0u;
    for (unsigned k = 0; k < ARRAY_SIZE(accepted); k++)
        if (!strncmp(s, accepted[k], strlen(accepted[k])))
            return true;
    return false;
}

static bool tmpfs_options(struct tmpfs_options *o, const char *s)
{
    for (;;) {
        size_t n = 0;
        while (s[n] && s[n] != ',')
            n++;
        if (!tmpfs_option(o, s, n))
            return false;
        if (!s[n])
            return true;
        s += n + 1;
    }
}

static struct superblock *tmpfs_with(const char *data, int *err)
{
    struct tmpfs_options o = { .mode = 01777, .uid = current_cred()->fsuid, .gid = current_cred()->fsgid };
    *err = -EINVAL;
    if (!tmpfs_options(&o, data ? data : ""))
        return NULL;
    *err = -ENOMEM;
    struct superblock *sb = tmpfs_mount("tmpfs", o.size, o.mode & 07777);
    if (sb) {
        sb->root->uid = (u32)o.uid;
        sb->root->gid = (u32)o.gid;
    }
    return sb;
}

static bool in_use(const struct blkdev *d)
{
    for (struct list *n = mounts.next; n != &mounts; n = n->next)
        if (list_entry(n, struct mount, node)->sb->dev == make_dev(d->major, d->minor))
            return true;
    return false;
}

// Two of one disk would each write what the other does not know of.
static struct superblock *mount_disk(const char *source, bool readonly, int *err)
{
    struct blkdev *d = blkdev_find(source);
    *err = d ? -EBUSY : -ENOENT;
    return d && !in_use(d) ? ext2_mount(d, readonly, err) : NULL;
}

static struct superblock *mount_sb(const char *source, const char *type, u32 flags, const char *data, int *err)
{
    *err = -ENOMEM;
    if (!strcmp(type, "tmpfs") || !strcmp(type, "ramfs"))
        return tmpfs_with(data, err);
    if (!strcmp(type, "proc"))
        return procfs_mount();
    if (!strcmp(type, "sysfs"))
        return sysfs_mount();
    if (!strcmp(type, "ext2") || !strcmp(type, "ext4") || !strcmp(type, "ext3"))
        return mount_disk(source, flags & MS_RDONLY, err);
    *err = -ENODEV;
    return NULL;
}

static int mount_locked(const char *source, struct path *at, const char *type, u32 flags, const char *data)
{
    int err;
    if (at->inode && !S_ISDIR(at->inode->mode))
        return -ENOTDIR;
    struct superblock *sb = mount_sb(source, type, flags, data, &err);
    if (!sb)
        return err;
    sb->mount_flags = flags;
    if (strcmp(sb->type, "ext2")) {
        sb->readonly = sb->made_readonly = flags & MS_RDONLY;
        strlcpy(sb->source, source, sizeof(sb->source));
    }
    err = mount_at(at, sb, sb->root, false);
    if (err && sb->ops->unmount)
        sb->ops->unmount(sb);
    return err;
}

int do_mount(const char *source, struct path *at, const char *type, u32 flags, const char *data)
{
    mutex_lock(&mounts_lock);
    at = follow_mount(path_get(at));            // somebody may have mounted there meanwhile
    int err = mount_locked(source, at, type, flags, data);
    mutex_unlock(&mounts_lock);
    path_put(at);
    return err;
}

// What keeps a file system from becoming read-only: a file that may be written to, or one without a name.
static bool is_busy_file(const struct file *f, const void *sb)
{
    const struct inode *i = f->inode;
    return i && i->sb == sb && ((f->flags & O_ACCMODE) != O_RDONLY || !i->nlink) && !(f->flags & O_PATH) && (S_ISREG(i->mode) || S_ISDIR(i->mode));
}

static int set_readonly(struct superblock *sb, bool readonly)
{
    if (readonly == sb->readonly)
        return 0;
    if (!readonly && !sb->made_readonly)
        return -EACCES;                         // the disk, or what is on it, cannot be written
    int err = readonly && any_file(is_busy_file, sb) ? -EBUSY : 0;
    if (!err && readonly && sb->ops->sync)
        err = sb->ops->sync(sb);
    if (!err)
        sb->readonly = sb->made_readonly = readonly;
    return err;
}

static struct mount *mount_with_root(const struct path *p)
{
    for (struct list *n = mounts.next; n != &mounts; n = n->next) {
        struct mount *m = list_entry(n, struct mount, node);
        if (m->root == p)
            return m;
    }
    return NULL;
}

static int remount_locked(struct mount *m, u32 flags, const char *data)
{
    struct tmpfs_options o = { 0 };
    if (!strcmp(m->sb->type, "tmpfs") && (!tmpfs_options(&o, data) || (o.size && !tmpfs_resize(m->sb, o.size))))
        return -EINVAL;
    int err = set_readonly(m->sb, flags & MS_RDONLY);
    if (!err)
        m->sb->mount_flags = flags & ~(u32)MS_REMOUNT;
    return err;
}

int do_remount(struct path *at, u32 flags, const char *data)
{
    mutex_lock(&mounts_lock);
    struct mount *m = mount_with_root(at);
    int err = m && !m->hidden ? remount_locked(m, flags, data) : -EINVAL;
    mutex_unlock(&mounts_lock);
    return err;
}

// The place below it is seen again; the mount is nowhere.
static void take_off(struct mount *m)
{
    spin_lock(&dcache_lock);
    m->at->mounted = NULL;
    spin_unlock(&dcache_lock);
    path_put(m->root);
    path_put(m->at);
    m->at = NULL;
}

static bool is_below(const struct path *p, const struct path *top)
{
    while (p && p != top)
        p = p->parent ? p->parent : p->covers;
    return p;
}

// It and what is mounted below it stay for who uses them, and are unmounted when the machine ends.
static void hide(struct mount *m)
{
    take_off(m);
    for (struct list *n = mounts.next; n != &mounts; n = n->next) {
        struct mount *other = list_entry(n, struct mount, node);
        other->hidden |= is_below(other->root, m->root);
    }
}

static int umount_locked(struct path *p, bool lazy, bool expire)
{
    struct mount *m = mount_with_root(p);
    if (!m || (!m->at && m->hidden))
        return -EINVAL;
    if (!m->at)
        return -EBUSY;
    dcache_drop_sb(m->sb);
    bool busy = p->refs > 3;                    // the mount's, the covered entry's, the caller's
    if (busy && !lazy)
        return -EBUSY;
    if (expire && !m->expiring) {
        m->expiring = true;
        return -EAGAIN;
    }
    if (busy) {
        hide(m);
        return 0;
    }
    take_off(m);                                // before anything waits: nobody shall come in any more
    if (m->sb->made_readonly)
        m->sb->readonly = false;
    int err = m->sb->ops->unmount ? m->sb->ops->unmount(m->sb) : 0;
    list_remove(&m->node);
    if (m->root->inode == m->sb->root)          // not of a single file in the overlay
        inode_put(m->sb->root);
    path_put(m->root);
    kfree(m);                                   // the superblock stays: it is a few hundred bytes
    return err;
}

int do_umount(struct path *p, bool lazy, bool expire)
{
    mutex_lock(&mounts_lock);
    int err = umount_locked(p, lazy, expire);
    mutex_unlock(&mounts_lock);
    return err;
}

static int move_locked(struct path *from, struct path *to)
{
    struct mount *m = mount_with_root(from);
    if (!m || !m->at || m->hidden || S_ISDIR(from->inode->mode) != S_ISDIR(to->inode->mode))
        return -EINVAL;
    if (is_below(to, from))
        return -ELOOP;
    take_off(m);
    spin_lock(&dcache_lock);
    struct path *old = from->covers;
    m->at = path_get(to);
    from->covers = path_get(to);
    to->mounted = path_get(from);
    spin_unlock(&dcache_lock);
    path_put(old);
    return 0;
}

// MS_MOVE: the mount whose root is `from` goes to `to`.
int do_move_mount(struct path *from, struct path *to)
{
    mutex_lock(&mounts_lock);
    to = follow_mount(path_get(to));
    int err = move_locked(from, to);
    mutex_unlock(&mounts_lock);
    path_put(to);
    return err;
}

// Names in `f`'s directory that exist only as mounts over nothing; after the directory's own entries.
bool emit_invented(struct file *f, void *ctx,
                   bool (*emit)(void *ctx, const char *name, size_t len, u64 ino, u8 type, u64 next_pos))
{
    const u64 base = 1ull << 62;
    u64 k = 0;
    for (struct list *n = mounts.next; n != &mounts; n = n->next) {
        struct mount *m = list_entry(n, struct mount, node);
        if (!m->at || m->at->inode || m->at->parent != f->path)
            continue;
        k++;
        if (f->pos >= base + k)
            continue;
        struct inode *i = m->root->inode;
        if (!emit(ctx, m->at->name, m->at->len, i->ino, mode_dtype(i->mode), base + k))
            return false;
        f->pos = base + k;
    }
    return true;
}

void vfs_shutdown(void)
{
    for (struct list *n = mounts.prev; n != &mounts; n = n->prev) {
        struct superblock *sb = list_entry(n, struct mount, node)->sb;
        if (sb->made_readonly)
            sb->readonly = false;               // so that the disk is marked as clean
        if (sb->ops->unmount)
            sb->ops->unmount(sb);
    }
}
