// SPDX-License-Identifier: Apache-2.0
// Changing directories: mknod(2), mkdir(2), unlink(2), rmdir(2), symlink(2), link(2), rename(2).
#include "process.h"
#include "vfs.h"

#include <linux/fs.h>
#include <linux/inotify.h>

static u32 umask_of(void)
{
    struct process *p = current_process();
    return p ? p->umask : 0;
}

int may_create(struct inode *dir)
{
    if (!dir->nlink)
        return -ENOENT;                         // removed while somebody stood in it
    return inode_permission(dir, MAY_WRITE | MAY_EXEC);
}

int may_delete(struct inode *dir, struct inode *victim, bool isdir)
{
    const struct cred *c = current_cred();
    int err = inode_permission(dir, MAY_WRITE | MAY_EXEC);
    if (err)
        return err;
    if ((dir->mode & S_ISVTX) && c->fsuid != dir->uid && c->fsuid != victim->uid && !capable(CAP_FOWNER))
        return -EPERM;
    if (isdir && !S_ISDIR(victim->mode))
        return -ENOTDIR;
    if (!isdir && S_ISDIR(victim->mode))
        return -EISDIR;
    return 0;
}

// Locks the directory of the last component and looks the name up: *p is counted and may be negative.
static int begin(struct walk *w, struct path *base, const char *name, struct path **p)
{
    int err = walk_name(w, base, name, WALK_PARENT);
    if (err)
        return err;
    if (!w->last_len) {
        *p = path_get(w->cur);
        return 0;
    }
    mutex_lock(&w->cur->inode->lock);
    *p = lookup_child_locked(w->cur, w->last, w->last_len);
    if (is_err(*p)) {
        mutex_unlock(&w->cur->inode->lock);
        err = (int)ptr_err(*p);
        walk_end(w);
    }
    return err;
}

static void end(struct walk *w, struct path *p, int err, u32 event)
{
    if (w->last_len)
        mutex_unlock(&w->cur->inode->lock);
    if (!err && event && unlikely(notify_watches))
        notify_inode(w->cur->inode, event, 0, p->name);
    path_put(p);
    walk_end(w);
}

// Common to everything that makes a name: 0 when `p` is free to be made.
static int creatable(struct walk *w, struct path *p, bool dir)
{
    if (!w->last_len || p->inode || p->mounted)
        return -EEXIST;
    if (w->slash && !dir)
        return -ENOENT;
    return may_create(w->cur->inode);
}

// An entry whose inode the file system made without handing it out: ask again at the next lookup.
static void forget(struct path *p)
{
    struct inode *i = p->parent->inode->ops->lookup(p->parent->inode, p->name, p->len);
    if (!is_err(i))
        d_set_inode(p, i);
    else
        d_drop(p);
}

int do_mknod(struct path *base, const char *name, u32 mode, u64 rdev, struct inode **out)
{
    struct walk w;
    struct path *p;
    mode &= S_IFMT | 07777;         // Linux keeps a mode in 16 bits
    if ((mode & S_IFMT) == 0)
        mode |= S_IFREG;
    if (S_ISDIR(mode))
        return -EPERM;
    if (!S_ISREG(mode) && !S_ISCHR(mode) && !S_ISBLK(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode))
        return -EINVAL;             // a symbolic link, or a type that there is not: it must not reach the disk
    if ((S_ISCHR(mode) || S_ISBLK(mode)) && !capable(CAP_MKNOD))
        return -EPERM;
    int err = begin(&w, base, name, &p);
    if (err)
        return err;
    err = creatable(&w, p, false);
    struct inode *dir = w.cur->inode;
    if (!err && !dir->ops->create)
        err = -EPERM;
    if (!err) {
        struct inode *i = dir->ops->create(dir, w.last, w.last_len, mode & ~umask_of(), rdev);
        if (is_err(i)) {
            err = (int)ptr_err(i);
        } else {
            if (out)
                *out = inode_get(i);
            d_set_inode(p, i);
        }
    }
    end(&w, p, err, IN_CREATE);
    return err;
}

int do_mkdir(struct path *base, const char *name, u32 mode)
{
    struct walk w;
    struct path *p;
    int err = begin(&w, base, name, &p);
    if (err)
        return err;
    err = creatable(&w, p, true);
    struct inode *dir = w.cur->inode;
    if (!err)
        err = dir->ops->mkdir ? dir->ops->mkdir(dir, w.last, w.last_len, S_IFDIR | (mode & 01777 & ~umask_of())) : -EPERM;
    if (!err)
        forget(p);
    end(&w, p, err, IN_CREATE | IN_ISDIR);
    return err;
}

int do_symlink(const char *target, struct path *base, const char *name)
{
    struct walk w;
    struct path *p;
    if (!*target)
        return -ENOENT;
    int err = begin(&w, base, name, &p);
    if (err)
        return err;
    err = creatable(&w, p, false);
    struct inode *dir = w.cur->inode;
    if (!err)
        err = dir->ops->symlink ? dir->ops->symlink(dir, w.last, w.last_len, target) : -EPERM;
    if (!err)
        forget(p);
    end(&w, p, err, IN_CREATE);
    return err;
}

int do_link(struct path *old, struct path *base, const char *name)
{
    struct walk w;
    struct path *p;
    int err = begin(&w, base, name, &p);
    if (err)
        return err;
    struct inode *dir = w.cur->inode, *i = old->inode;
    err = creatable(&w, p, false);
    if (!err && i->sb != dir->sb)
        err = -EXDEV;
    if (!err && S_ISDIR(i->mode))
        err = -EPERM;
    if (!err)
        err = dir->ops->link ? dir->ops->link(dir, w.last, w.last_len, i) : -EPERM;
    if (!err)
        d_set_inode(p, inode_get(i));
    if (!err && unlikely(notify_watches))
        notify_inode(i, IN_ATTRIB, 0, NULL);
    end(&w, p, err, IN_CREATE);
    return err;
}

static int remove_victim(struct inode *dir, struct walk *w, struct path *p, bool isdir)
{
    struct inode *i = p->inode;
    int err = may_delete(dir, i, isdir);
    if (err)
        return err;
    if (p->mounted || i == vfs_root->inode)
        return -EBUSY;
    if (isdir) {
        if (!dir->ops->rmdir)
            return -EPERM;
        mutex_lock(&i->lock);                   // nobody may create in it meanwhile
        err = dir->ops->rmdir(dir, w->last, w->last_len, i);
        mutex_unlock(&i->lock);
        return err;
    }
    return dir->ops->unlink ? dir->ops->unlink(dir, w->last, w->last_len, i) : -EPERM;
}

int do_unlink(struct path *base, const char *name, bool isdir)
{
    struct walk w;
    struct path *p;
    int err = begin(&w, base, name, &p);
    if (err)
        return err;
    if (!w.last_len) {                          // ends in ".", ".." or is "/"
        size_t n = strlen(name);
        bool dotdot = n >= 2 && name[n - 1] == '.' && name[n - 2] == '.', dot = n && name[n - 1] == '.';
        if (!isdir)
            err = -EISDIR;
        else
            err = dotdot ? -ENOTEMPTY : dot ? -EINVAL : -EBUSY;
        end(&w, p, err, 0);
        return err;
    }
    struct inode *i = p->inode, *dir = w.cur->inode;
    if (!i)
        err = p->mounted ? -EBUSY : -ENOENT;
    else if (w.slash && !isdir)
        err = S_ISDIR(i->mode) ? -EISDIR : -ENOTDIR;
    if (!err) {
        inode_get(i);                           // the blocks go after the directory is unlocked
        err = remove_victim(dir, &w, p, isdir);
        if (!err && unlikely(notify_watches) && !isdir)
            notify_inode(i, IN_ATTRIB, 0, NULL);
        if (!err)
            d_delete(p);
        end(&w, p, err, IN_DELETE | (isdir ? IN_ISDIR : 0));
        if (!err && unlikely(notify_watches) && !i->nlink)
            notify_inode(i, IN_DELETE_SELF | (isdir ? IN_ISDIR : 0), 0, NULL);
        inode_put(i);
        return err;
    }
    end(&w, p, err, 0);
    return err;
}

// --- rename ---------------------------------------------------------------------------------------------------------

static struct mutex rename_lock = MUTEX_INIT(rename_lock);      // only one rename between directories at a time

// Directories are locked from the root downward; two that are not above each other by address.
static void lock_two(struct path *pa, struct path *pb)
{
    struct inode *a = pa->inode, *b = pb->inode;
    if (a == b) {
        mutex_lock(&a->lock);
        return;
    }
    bool swap = a > b;
    if (d_is_ancestor(pa, pb))
        swap = false;
    else if (d_is_ancestor(pb, pa))
        swap = true;
    mutex_lock(swap ? &b->lock : &a->lock);
    mutex_lock(swap ? &a->lock : &b->lock);
}

static void unlock_two(struct inode *a, struct inode *b)
{
    mutex_unlock(&a->lock);
    if (a != b)
        mutex_unlock(&b->lock);
}

static int rename_allowed(struct walk *ow, struct walk *nw, struct path *from, struct path *to, u32 flags)
{
    struct inode *od = ow->cur->inode, *nd = nw->cur->inode, *i = from->inode, *old = to->inode;
    if (from->mounted || to->mounted)
        return -EBUSY;
    if (!i)
        return -ENOENT;
    if (!S_ISDIR(i->mode) && (ow->slash || (nw->slash && !(flags & RENAME_EXCHANGE))))
        return -ENOTDIR;
    int err = may_delete(od, i, S_ISDIR(i->mode));
    if (err)
        return err;
    if (d_is_ancestor(from, nw->cur))
        return -EINVAL;
    if (!old) {
        if (flags & RENAME_EXCHANGE)
            return -ENOENT;
        return may_create(nd);
    }
    if (flags & RENAME_NOREPLACE)
        return -EEXIST;
    if (flags & RENAME_EXCHANGE)
        return d_is_ancestor(to, ow->cur) ? -EINVAL : may_delete(nd, old, S_ISDIR(old->mode));
    if (d_is_ancestor(to, ow->cur))
        return -ENOTEMPTY;
    if (i == old)
        return 0;
    return may_delete(nd, old, S_ISDIR(i->mode));
}

static void tell_rename(struct walk *ow, struct walk *nw, struct inode *i, struct inode *gone, u32 flags)
{
    char name[NAME_LEN_MAX + 1];
    u32 dir = S_ISDIR(i->mode) ? IN_ISDIR : 0, cookie = notify_cookie();
    memcpy(name, ow->last, ow->last_len);
    name[ow->last_len] = 0;
    notify_inode(ow->cur->inode, IN_MOVED_FROM | dir, cookie, name);
    memcpy(name, nw->last, nw->last_len);
    name[nw->last_len] = 0;
    notify_inode(nw->cur->inode, IN_MOVED_TO | dir, cookie, name);
    if (gone && !(flags & RENAME_EXCHANGE))
        notify_inode(gone, gone->nlink ? IN_ATTRIB : IN_ATTRIB | IN_DELETE_SELF, 0, NULL);
    notify_inode(i, IN_MOVE_SELF, 0, NULL);
}

static int rename_locked(struct walk *ow, struct walk *nw, u32 flags, struct inode **gone)
{
    struct inode *od = ow->cur->inode, *nd = nw->cur->inode;
    struct path *from = lookup_child_locked(ow->cur, ow->last, ow->last_len);
    if (is_err(from))
        return (int)ptr_err(from);
    struct path *to = lookup_child_locked(nw->cur, nw->last, nw->last_len);
    if (is_err(to)) {
        path_put(from);
        return (int)ptr_err(to);
    }
    int err = rename_allowed(ow, nw, from, to, flags);
    if (!err && !od->ops->rename)
        err = -EPERM;
    if (!err && from->inode != to->inode) {
        struct inode *old = to->inode;
        bool lock_old = old && S_ISDIR(old->mode) && old != od && old != nd;
        if (lock_old)
            mutex_lock(&old->lock);
        err = od->ops->rename(od, ow->last, ow->last_len, nd, nw->last, nw->last_len, flags);
        if (lock_old)
            mutex_unlock(&old->lock);
        if (!err && (flags & RENAME_EXCHANGE)) {
            d_exchange(from, to);
        } else if (!err) {
            if (old)
                *gone = inode_get(old);
            d_drop(to);
            d_move(from, nw->cur, nw->last, nw->last_len);
        }
    }
    if (!err && unlikely(notify_watches) && from->inode != to->inode)
        tell_rename(ow, nw, from->inode, *gone, flags);
    path_put(from);
    path_put(to);
    return err;
}

int do_rename(struct path *ob, const char *oname, struct path *nb, const char *nname, u32 flags)
{
    struct walk ow, nw;
    struct inode *gone = NULL;
    if (flags & ~(u32)(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    if ((flags & RENAME_NOREPLACE) && (flags & RENAME_EXCHANGE))
        return -EINVAL;
    int err = walk_name(&ow, ob, oname, WALK_PARENT);
    if (err)
        return err;
    err = walk_name(&nw, nb, nname, WALK_PARENT);
    if (err) {
        walk_end(&ow);
        return err;
    }
    struct inode *od = ow.cur->inode, *nd = nw.cur->inode;
    if (od->sb != nd->sb)
        err = -EXDEV;
    else if (!ow.last_len || !nw.last_len)
        err = (flags & RENAME_NOREPLACE) && !nw.last_len ? -EEXIST : -EBUSY;
    if (!err) {
        mutex_lock(&rename_lock);
        lock_two(ow.cur, nw.cur);
        err = rename_locked(&ow, &nw, flags, &gone);
        unlock_two(od, nd);
        mutex_unlock(&rename_lock);
    }
    walk_end(&nw);
    walk_end(&ow);
    inode_put(gone);
    return err;
}

// --- For the kernel itself ------------------------------------------------------------------------------------------

int vfs_mknod(const char *path, u32 mode, u64 rdev, struct inode **out)
{
    return do_mknod(path[0] == '/' ? fs_root() : fs_cwd(), path, mode, rdev, out);
}

int vfs_mkdir(const char *path, u32 mode) { return do_mkdir(path[0] == '/' ? fs_root() : fs_cwd(), path, mode); }
