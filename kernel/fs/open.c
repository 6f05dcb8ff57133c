// SPDX-License-Identifier: Apache-2.0
// Open files: making, counting, and open(2) itself.
#include "boot.h"
#include "process.h"
#include "vfs.h"

#include <linux/inotify.h>

#define OPEN_STATUS_FLAGS (O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECT | O_SYNC | O_NOATIME | O_PATH | O_LARGEFILE | \
                           O_DIRECTORY | O_NOFOLLOW | O_TMPFILE | FASYNC)

// An open file without a name keeps what fstat shows right behind it.
struct anon {
    struct file f;
    u32 mode;
    u64 ino;
    char name[32];
};

struct file *file_get(struct file *f)
{
    __atomic_add_fetch(&f->refs, 1, __ATOMIC_RELAXED);
    return f;
}

void file_put(struct file *f)
{
    if (__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL))
        return;
    if (!list_empty(&f->epoll_watches))
        epoll_file_released(f);
    if (f->async)
        fasync_file_released(f);
    if (f->path && !(f->flags & O_PATH) && f->ops)
        notify(f->path, (f->flags & O_ACCMODE) == O_RDONLY ? IN_CLOSE_NOWRITE : IN_CLOSE_WRITE);
    if (f->locks)
        locks_release(f);
    if (f->ops && f->ops->release)
        f->ops->release(f);
    inode_put(f->inode);
    if (f->path)
        path_put(f->path);
    kfree(f);
}

static void file_setup(struct file *f, const struct file_ops *ops, u32 flags)
{
    f->refs = 1;
    f->ops = ops;
    f->flags = flags & OPEN_STATUS_FLAGS;
    mutex_init(&f->pos_lock);
    list_init(&f->epoll_watches);
}

struct file *file_alloc(struct path *p, struct inode *i, const struct file_ops *ops, u32 flags)
{
    struct file *f = kzalloc(sizeof(*f));
    if (!f)
        return NULL;
    file_setup(f, ops, flags);
    f->inode = i ? inode_get(i) : NULL;
    f->wb_seen = i ? wb_sample(&i->mapping) : 0;
    f->path = p ? path_get(p) : NULL;
    return f;
}

i64 seek_nowhere(struct file *f, i64 off, int whence)
{
    (void)off;
    (void)whence;
    return (i64)f->pos;
}

struct file *anon_file(const struct file_ops *ops, void *priv, u32 flags, u32 mode, const char *name)
{
    static u64 next_ino = 1000;
    struct anon *a = kzalloc(sizeof(*a));
    if (!a)
        return NULL;
    file_setup(&a->f, ops, flags);
    a->f.priv = priv;
    a->mode = mode;
    a->ino = __atomic_add_fetch(&next_ino, 1, __ATOMIC_RELAXED);
    if (!strchr(name, ':'))                     // "socket" and "pipe" show their number
        snprintf(a->name, sizeof(a->name), "%s:[%lu]", name, (unsigned long)a->ino);
    else
        strlcpy(a->name, name, sizeof(a->name));
    return &a->f;
}

u64 anon_number(const struct file *f)
{
    return container_of(f, struct anon, f)->ino;
}

struct path *anon_path(struct file *f)
{
    struct anon *a = container_of(f, struct anon, f);
    struct inode *i = shmem_node(a->mode, a->ino);
    return i ? d_alloc(NULL, a->name, strlen(a->name), i) : NULL;
}

ssize_t file_name(struct file *f, char *buf, size_t size)
{
    if (f->path)
        return path_string(f->path, buf, size);
    const char *name = f->inode ? "/" : container_of(f, struct anon, f)->name;
    size_t n = strlcpy(buf, name, size);
    return n < size ? (ssize_t)n : -ENAMETOOLONG;
}

int vfs_stat(struct file *f, struct kstat *st)
{
    if (f->inode)
        return inode_getattr(f->inode, st);
    struct anon *a = container_of(f, struct anon, f);
    *st = (struct kstat){ .dev = make_dev(0, 13), .ino = a->ino, .mode = a->mode, .nlink = 1, .blksize = 4096 };
    st->uid = current_cred()->fsuid;
    st->gid = current_cred()->fsgid;
    return 0;
}

// --- Devices ------------------------------------------------------------------------------------------------------

static struct list chardevs = LIST_INIT(chardevs);

// In the root of /dev, where nothing was looked up yet.
static void make_node(struct inode *dir, const struct chardev *d)
{
    struct inode *i = dir->ops->create(dir, d->name, strlen(d->name), S_IFCHR | d->mode, make_dev(d->major, d->minor));
    if (!is_err(i)) {
        if (!strcmp(d->name, "console") || !strncmp(d->name, "ttyS", 4) || !strncmp(d->name, "hvc", 3)) {
            i->uid = boot_config.uid;           // the program may open its own terminal anew, as /dev/stdout
            i->gid = boot_config.gid;
        }
        inode_put(i);
    }
}

void chardev_register(struct chardev *d)
{
    list_push(&chardevs, &d->node);
}

void devfs_populate(struct superblock *sb)
{
    for (struct list *n = chardevs.next; n != &chardevs; n = n->next)
        make_node(sb->root, list_entry(n, struct chardev, node));
    memdev_populate(sb->root);
}

struct chardev *chardev_find(u64 rdev)
{
    for (struct list *n = chardevs.next; n != &chardevs; n = n->next) {
        struct chardev *d = list_entry(n, struct chardev, node);
        if (make_dev(d->major, d->minor) == rdev)
            return d;
    }
    return NULL;
}

// Sets f's operations by the kind of its inode.
int open_inode(struct file *f)
{
    struct inode *i = f->inode;
    switch (i->mode & S_IFMT) {
    case S_IFCHR: {
        struct chardev *d = chardev_find(i->rdev);
        if (!d)
            return -ENXIO;
        f->ops = d->ops;
        return d->open ? d->open(f) : 0;
    }
    case S_IFBLK:
        f->ops = &blkdev_file_ops;
        return 0;
    case S_IFIFO:
        return fifo_open ? fifo_open(f) : -ENXIO;
    case S_IFSOCK:
        return -ENXIO;
    default:
        f->ops = i->fops;
        return f->ops ? 0 : -ENXIO;
    }
}

// --- open(2) --------------------------------------------------------------------------------------------------------

static int may_open(struct inode *i, u32 flags, bool created)
{
    u32 acc = flags & O_ACCMODE, mask = 0;
    if (S_ISLNK(i->mode))
        return -ELOOP;
    if (S_ISDIR(i->mode) && (acc != O_RDONLY || (flags & O_CREAT)))
        return -EISDIR;
    if ((flags & O_DIRECTORY) && !S_ISDIR(i->mode))
        return -ENOTDIR;
    if (acc != O_WRONLY)
        mask |= MAY_READ;
    if (acc != O_RDONLY || (flags & O_TRUNC))
        mask |= MAY_WRITE;
    if (!created) {
        int err = inode_permission(i, mask);
        if (err)
            return err;
    }
    if ((S_ISCHR(i->mode) || S_ISBLK(i->mode)) && (i->sb->mount_flags & MS_NODEV))
        return -EACCES;
    const struct process *p = current_process();
    if ((mask & MAY_WRITE) && p && p->exe_inode == i)
        return -ETXTBSY;
    if ((flags & O_NOATIME) && current_cred()->fsuid != i->uid && !capable(CAP_FOWNER))
        return -EPERM;
    return 0;
}

static struct file *finish_open(struct path *p, u32 flags, bool created)
{
    struct inode *i = p->inode;
    if (flags & O_PATH) {
        if ((flags & O_DIRECTORY) && !S_ISDIR(i->mode))
            return err_ptr(-ENOTDIR);
        struct file *f = file_alloc(p, i, NULL, flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW));
        return f ? f : err_ptr(-ENOMEM);
    }
    int err = may_open(i, flags, created);
    if (err)
        return err_ptr(err);
    struct file *f = file_alloc(p, i, NULL, flags);
    if (!f)
        return err_ptr(-ENOMEM);
    err = open_inode(f);
    if (!err && (flags & O_TRUNC) && S_ISREG(i->mode) && !created) {
        struct setattr a = { .valid = ATTR_SIZE };
        mutex_lock(&i->lock);
        err = i->ops->setattr ? i->ops->setattr(i, &a) : -EINVAL;
        mutex_unlock(&i->lock);
        if (!err)
            notify(p, IN_MODIFY);
    }
    if (err) {
        f->ops = NULL;
        file_put(f);
        return err_ptr(err);
    }
    notify(p, IN_OPEN);
    return f;
}

static struct inode *create_file(struct path *dir, const char *name, size_t len, u32 mode)
{
    struct inode *d = dir->inode;
    int err = may_create(d);
    if (err)
        return err_ptr(err);
    if (!d->ops->create)
        return err_ptr(-EACCES);
    return d->ops->create(d, name, len, S_IFREG | (mode & 07777), 0);
}

// The entry of the last component, made when it does not exist. Counted; mounts followed.
static struct path *lookup_or_create(struct walk *w, u32 flags, u32 mode, bool *created)
{
    struct path *dir = w->cur;
    struct path *p = lookup_child(dir, w->last, w->last_len);
    if (!is_err(p) && p->mounted)
        p = follow_mount(p);
    if (is_err(p) || p->inode)
        return p;
    path_put(p);
    if (w->slash)
        return err_ptr(-EISDIR);
    mutex_lock(&dir->inode->lock);
    p = lookup_child_locked(dir, w->last, w->last_len);
    if (!is_err(p) && !p->inode && !p->mounted) {
        struct inode *i = create_file(dir, w->last, w->last_len, mode);
        if (is_err(i)) {
            path_put(p);
            p = (struct path *)i;
        } else {
            d_set_inode(p, i);
            *created = true;
        }
    }
    mutex_unlock(&dir->inode->lock);
    if (*created && notify_watches)
        notify_inode(dir->inode, IN_CREATE, 0, p->name);
    (void)flags;
    return is_err(p) ? p : follow_mount(p);
}

static struct file *open_tmpfile(struct path *dir, u32 flags, u32 mode)
{
    struct inode *d = dir->inode;
    if ((flags & O_ACCMODE) == O_RDONLY)
        return err_ptr(-EINVAL);
    int err = may_create(d);
    if (err)
        return err_ptr(err);
    if (!d->ops->tmpfile)
        return err_ptr(-EOPNOTSUPP);
    mutex_lock(&d->lock);
    struct inode *i = d->ops->tmpfile(d, S_IFREG | (mode & 07777));
    mutex_unlock(&d->lock);
    if (is_err(i))
        return (struct file *)i;
    char name[24];
    snprintf(name, sizeof(name), "#%lu", (unsigned long)i->ino);
    struct path *p = d_alloc(dir, name, strlen(name), i);
    if (!p)
        return err_ptr(-ENOMEM);
    p->dead = true;
    struct file *f = finish_open(p, flags & ~(u32)(O_CREAT | O_TRUNC | O_DIRECTORY), true);
    if (!is_err(f))
        f->flags |= O_DIRECTORY;                // as F_GETFL shows it
    path_put(p);
    return f;
}

static struct file *open_create(struct path *base, const char *name, u32 flags, u32 mode, u32 wflags)
{
    struct walk w;
    struct file *f = NULL;
    u32 links = 0;
    char *text = NULL;
    struct path *from = path_get(base);
    while (!f) {
        int err = walk_name(&w, from, name, wflags | WALK_PARENT);
        if (err) {
            f = err_ptr(err);
            break;
        }
        bool created = false;
        struct path *p = w.last_len ? lookup_or_create(&w, flags, mode, &created) : path_get(w.cur);
        if (is_err(p)) {
            f = (struct file *)p;
        } else if (!created && (flags & O_EXCL)) {
            f = err_ptr(-EEXIST);
        } else if (S_ISLNK(p->inode->mode) && !(flags & O_NOFOLLOW)) {
            char *buf = kmalloc(PATH_LEN_MAX, 0);
            struct path *to = NULL;
            err = buf ? 0 : -ENOMEM;
            if (!err && (++links > SYMLINKS_MAX || (wflags & WALK_NO_SYMLINKS)))
                err = -ELOOP;
            if (!err && p->inode->ops->follow)
                to = p->inode->ops->follow(p->inode);
            if (is_err(to)) {
                err = (int)ptr_err(to);
            } else if (to) {
                f = finish_open(to, flags & ~(u32)O_CREAT, false);
                path_put(to);
            }
            if (!err && !f) {
                int n = read_link(p, buf, PATH_LEN_MAX);
                err = n < 0 ? n : 0;
            }
            if (err) {
                f = err_ptr(err);
                kfree(buf);
            } else {
                kfree(text);
                name = text = buf;
                struct path *dir = path_get(w.cur);
                path_put(from);
                from = dir;
            }
        } else {
            if (w.slash && !S_ISDIR(p->inode->mode))
                f = err_ptr(-ENOTDIR);
            else
                f = finish_open(p, flags, created);
        }
        if (!is_err(p))
            path_put(p);
        walk_end(&w);
    }
    path_put(from);
    kfree(text);
    return f;
}

struct file *do_open(struct path *base, const char *name, u32 flags, u32 mode, u32 wflags)
{
    struct process *pr = current_process();
    if (flags & O_PATH)
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        struct path *dir = path_lookup(base, name, wflags | WALK_FOLLOW | WALK_DIRECTORY);
        if (is_err(dir))
            return (struct file *)dir;
        struct file *f = open_tmpfile(dir, flags, mode & ~(pr ? pr->umask : 0));
        path_put(dir);
        return f;
    }
    if (flags & O_CREAT) {
        if (flags & O_DIRECTORY)
            return err_ptr(-EINVAL);
        return open_create(base, name, flags, mode & ~(pr ? pr->umask : 0), wflags);
    }
    if (!(flags & O_NOFOLLOW))
        wflags |= WALK_FOLLOW;
    struct path *p = path_lookup(base, name, wflags);
    if (is_err(p))
        return (struct file *)p;
    struct file *f = finish_open(p, flags, false);
    path_put(p);
    return f;
}

struct file *vfs_openat(int dirfd, const char *path, u32 flags, u32 mode)
{
    struct file *hold;
    struct path *base = base_of(dirfd, path, 0, &hold);
    if (is_err(base))
        return (struct file *)base;
    struct file *f = do_open(base, path, flags, mode, 0);
    if (hold)
        file_put(hold);
    return f;
}

// --- For the kernel itself ------------------------------------------------------------------------------------------

struct file *vfs_open(const char *path, u32 flags, u32 mode)
{
    if (!vfs_ready())
        return err_ptr(-ENOENT);
    return do_open(path[0] == '/' ? fs_root() : fs_cwd(), path, flags, mode, 0);
}

ssize_t vfs_read(struct file *f, void *buf, size_t n, u64 off)
{
    struct iter it;
    if (!f->ops || !f->ops->read)
        return -EINVAL;
    iter_kernel(&it, buf, n);
    return f->ops->read(f, &it, &off);
}

ssize_t vfs_write(struct file *f, const void *buf, size_t n, u64 off)
{
    struct iter it;
    if (!f->ops || !f->ops->write)
        return -EINVAL;
    iter_kernel(&it, (void *)buf, n);
    return f->ops->write(f, &it, &off);
}
