// SPDX-License-Identifier: Apache-2.0
// System calls that change names and attributes: mkdir, unlink, rename, link, chmod, chown, utimensat, mount.
#include "fileio.h"

#include <linux/fs.h>
#include <linux/inotify.h>
#include <linux/mount.h>

#define UMOUNT_NOFOLLOW 8            // umount2(2)

// Calls fn with the base and text of a user's name.
static long with_name(int dirfd, uptr user, long (*fn)(struct path *base, const char *name, u64 a, u64 b), u64 a, u64 b)
{
    struct name n;
    struct file *hold;
    long ret = name_get(&n, user);
    if (ret)
        return ret;
    struct path *base = base_of(dirfd, n.s, 0, &hold);
    ret = is_err(base) ? ptr_err(base) : fn(base, n.s, a, b);
    if (hold)
        file_put(hold);
    name_put(&n);
    return ret;
}

static long call_mkdir(struct path *base, const char *name, u64 mode, u64 b)
{
    (void)b;
    return do_mkdir(base, name, (u32)mode);
}

static long call_mknod(struct path *base, const char *name, u64 mode, u64 dev) { return do_mknod(base, name, (u32)mode, dev, NULL); }

static long call_unlink(struct path *base, const char *name, u64 dir, u64 b)
{
    (void)b;
    return do_unlink(base, name, dir);
}

static long call_symlink(struct path *base, const char *name, u64 target, u64 b)
{
    (void)b;
    return do_symlink((const char *)target, base, name);
}

static long call_link(struct path *base, const char *name, u64 old, u64 b)
{
    (void)b;
    return do_link((struct path *)old, base, name);
}

long sys_mkdir(struct regs *r) { return with_name(AT_FDCWD, r->arg[0], call_mkdir, r->arg[1], 0); }
long sys_mkdirat(struct regs *r) { return with_name((int)r->arg[0], r->arg[1], call_mkdir, r->arg[2], 0); }
long sys_mknod(struct regs *r) { return with_name(AT_FDCWD, r->arg[0], call_mknod, r->arg[1], (u32)r->arg[2]); }
long sys_mknodat(struct regs *r) { return with_name((int)r->arg[0], r->arg[1], call_mknod, r->arg[2], (u32)r->arg[3]); }
long sys_rmdir(struct regs *r) { return with_name(AT_FDCWD, r->arg[0], call_unlink, true, 0); }
long sys_unlink(struct regs *r) { return with_name(AT_FDCWD, r->arg[0], call_unlink, false, 0); }

long sys_unlinkat(struct regs *r)
{
    if (r->arg[2] & ~(u64)AT_REMOVEDIR)
        return -EINVAL;
    return with_name((int)r->arg[0], r->arg[1], call_unlink, r->arg[2] & AT_REMOVEDIR, 0);
}

static long symlink_at(uptr target, int dirfd, uptr name)
{
    struct name t;
    long ret = name_get(&t, target);
    if (ret)
        return ret;
    ret = with_name(dirfd, name, call_symlink, (u64)t.s, 0);
    name_put(&t);
    return ret;
}

long sys_symlink(struct regs *r) { return symlink_at(r->arg[0], AT_FDCWD, r->arg[1]); }
long sys_symlinkat(struct regs *r) { return symlink_at(r->arg[0], (int)r->arg[1], r->arg[2]); }

static long link_at(int odir, uptr old, int ndir, uptr name, u32 flags)
{
    struct path *p;
    char first;
    if (flags & ~(u32)(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    if ((flags & AT_EMPTY_PATH) && !copy_from_user(&first, old, 1) && !first) {
        struct file *f = fd_any(odir);
        if (!f)
            return -EBADF;
        p = f->path ? path_get(f->path) : err_ptr(-EXDEV);
        file_put(f);
    } else {
        p = at_path(odir, old, (flags & AT_SYMLINK_FOLLOW) ? WALK_FOLLOW : 0);
    }
    if (is_err(p))
        return ptr_err(p);
    long ret = with_name(ndir, name, call_link, (u64)p, 0);
    path_put(p);
    return ret;
}

long sys_link(struct regs *r) { return link_at(AT_FDCWD, r->arg[0], AT_FDCWD, r->arg[1], 0); }
long sys_linkat(struct regs *r) { return link_at((int)r->arg[0], r->arg[1], (int)r->arg[2], r->arg[3], (u32)r->arg[4]); }

static long rename_at(int odir, uptr old, int ndir, uptr new, u32 flags)
{
    struct name o, n;
    struct file *ohold = NULL, *nhold = NULL;
    long ret = name_get(&o, old);
    if (ret)
        return ret;
    ret = name_get(&n, new);
    if (!ret) {
        struct path *ob = base_of(odir, o.s, 0, &ohold), *nb = is_err(ob) ? ob : base_of(ndir, n.s, 0, &nhold);
        ret = is_err(nb) ? ptr_err(nb) : do_rename(ob, o.s, nb, n.s, flags);
        name_put(&n);
    }
    if (ohold)
        file_put(ohold);
    if (nhold)
        file_put(nhold);
    name_put(&o);
    return ret;
}

long sys_rename(struct regs *r) { return rename_at(AT_FDCWD, r->arg[0], AT_FDCWD, r->arg[1], 0); }
long sys_renameat(struct regs *r) { return rename_at((int)r->arg[0], r->arg[1], (int)r->arg[2], r->arg[3], 0); }
long sys_renameat2(struct regs *r) { return rename_at((int)r->arg[0], r->arg[1], (int)r->arg[2], r->arg[3], (u32)r->arg[4]); }

// --- Attributes -------------------------------------------------------------------------------------------------------------

static long setattr_fd(int fd, struct setattr *a, bool o_path_ok)
{
    struct file *f = fd_any(fd);
    if (!f)
        return -EBADF;
    long ret = (f->flags & O_PATH) && !o_path_ok ? -EBADF : f->inode ? inode_setattr(f->inode, a) : -EPERM;
    if (!ret)
        notify(f->path, IN_ATTRIB);
    file_put(f);
    return ret;
}

static long setattr_at(int dirfd, uptr name, u32 flags, struct setattr *a)
{
    char first;
    if ((flags & AT_EMPTY_PATH) && !copy_from_user(&first, name, 1) && !first && dirfd != AT_FDCWD)
        return setattr_fd(dirfd, a, true);
    struct path *p = at_path(dirfd, name, ((flags & AT_SYMLINK_NOFOLLOW) ? 0 : WALK_FOLLOW) | ((flags & AT_EMPTY_PATH) ? WALK_EMPTY : 0));
    if (is_err(p))
        return ptr_err(p);
    long ret = (a->valid & ATTR_MODE) && S_ISLNK(p->inode->mode) ? -EOPNOTSUPP : inode_setattr(p->inode, a);
    if (!ret)
        notify(p, IN_ATTRIB);
    path_put(p);
    return ret;
}

static long chmod_at(int dirfd, uptr name, u64 mode, u32 flags)
{
    struct setattr a = { .valid = ATTR_MODE, .mode = (u32)mode & 07777 };
    if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    return setattr_at(dirfd, name, flags, &a);
}

long sys_chmod(struct regs *r) { return chmod_at(AT_FDCWD, r->arg[0], r->arg[1], 0); }
long sys_fchmodat(struct regs *r) { return chmod_at((int)r->arg[0], r->arg[1], r->arg[2], 0); }
long sys_fchmodat2(struct regs *r) { return chmod_at((int)r->arg[0], r->arg[1], r->arg[2], (u32)r->arg[3]); }

long sys_fchmod(struct regs *r)
{
    struct setattr a = { .valid = ATTR_MODE, .mode = (u32)r->arg[1] & 07777 };
    return setattr_fd((int)r->arg[0], &a, false);
}

static struct setattr owner(u64 uid, u64 gid)
{
    struct setattr a = { .uid = (u32)uid, .gid = (u32)gid };
    if ((u32)uid != ~0u)
        a.valid |= ATTR_UID;
    if ((u32)gid != ~0u)
        a.valid |= ATTR_GID;
    return a;
}

static long chown_at(int dirfd, uptr name, u64 uid, u64 gid, u32 flags)
{
    struct setattr a = owner(uid, gid);
    if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    return setattr_at(dirfd, name, flags, &a);
}

long sys_chown(struct regs *r) { return chown_at(AT_FDCWD, r->arg[0], r->arg[1], r->arg[2], 0); }
long sys_lchown(struct regs *r) { return chown_at(AT_FDCWD, r->arg[0], r->arg[1], r->arg[2], AT_SYMLINK_NOFOLLOW); }
long sys_fchownat(struct regs *r) { return chown_at((int)r->arg[0], r->arg[1], r->arg[2], r->arg[3], (u32)r->arg[4]); }

long sys_fchown(struct regs *r)
{
    struct setattr a = owner(r->arg[1], r->arg[2]);
    return setattr_fd((int)r->arg[0], &a, false);
}

long sys_umask(struct regs *r)
{
    struct process *p = current_process();
    u32 old = p->umask;
    p->umask = (u32)r->arg[0] & 0777;
    return old;
}

// --- Times ------------------------------------------------------------------------------------------------------------------

#define UTIME_NOW_NS 0x3fffffff
#define UTIME_OMIT_NS 0x3ffffffe

// utimensat(2): to the present time may whoever may write, to another only the owner.
static long may_set_times(const struct inode *i, bool now)
{
    if (i->sb->readonly)
        return -EROFS;
    if (current_cred()->fsuid == i->uid || capable(CAP_FOWNER))
        return 0;
    return now ? inode_permission(i, MAY_WRITE) : -EPERM;
}

static long set_times(struct inode *i, const struct timespec_k ts[2], bool now)
{
    struct setattr a = { .atime = ts[0], .mtime = ts[1] };
    for (int n = 0; n < 2; n++) {
        struct timespec_k *t = n ? &a.mtime : &a.atime;
        if (t->nsec == UTIME_OMIT_NS)
            continue;
        if (t->nsec == UTIME_NOW_NS)
            *t = fs_now();
        else if (t->nsec < 0 || t->nsec > 999999999)
            return -EINVAL;
        a.valid |= n ? ATTR_MTIME : ATTR_ATIME;
    }
    if (!a.valid)
        return 0;
    long ret = may_set_times(i, now);
    if (ret || !i->ops || !i->ops->setattr)
        return ret ? ret : -EPERM;
    mutex_lock(&i->lock);
    ret = i->ops->setattr(i, &a);
    mutex_unlock(&i->lock);
    return ret;
}

static long utimens(int dirfd, uptr name, const struct timespec_k ts[2], u32 flags, bool now)
{
    char first;
    if ((!name && dirfd != AT_FDCWD) || ((flags & AT_EMPTY_PATH) && !copy_from_user(&first, name, 1) && !first)) {
        if (flags & ~(u32)AT_EMPTY_PATH)
            return -EINVAL;
        struct file *f = fd_any(dirfd);
        if (!f)
            return -EBADF;
        long ret = (f->flags & O_PATH) && !name ? -EBADF : f->inode ? set_times(f->inode, ts, now) : -EPERM;
        if (!ret)
            notify(f->path, IN_ATTRIB);
        file_put(f);
        return ret;
    }
    struct path *p = at_path(dirfd, name, (flags & AT_SYMLINK_NOFOLLOW) ? 0 : WALK_FOLLOW);
    if (is_err(p))
        return ptr_err(p);
    long ret = set_times(p->inode, ts, now);
    if (!ret)
        notify(p, IN_ATTRIB);
    path_put(p);
    return ret;
}

long sys_utimensat(struct regs *r)
{
    struct timespec_k ts[2] = { { 0, UTIME_NOW_NS }, { 0, UTIME_NOW_NS } };
    u32 flags = (u32)r->arg[3];
    if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    if (r->arg[2] && copy_from_user(ts, r->arg[2], sizeof(ts)))
        return -EFAULT;
    if (ts[0].nsec == UTIME_OMIT_NS && ts[1].nsec == UTIME_OMIT_NS)
        return 0;
    bool now = ts[0].nsec == UTIME_NOW_NS && ts[1].nsec == UTIME_NOW_NS;
    return utimens((int)r->arg[0], r->arg[1], ts, flags, now);
}

static long utimes_at(int dirfd, uptr name, uptr tv)
{
    struct timespec_k ts[2] = { { 0, UTIME_NOW_NS }, { 0, UTIME_NOW_NS } };
    if (tv) {
        if (copy_from_user(ts, tv, sizeof(ts)))             // struct timeval has the same shape, in microseconds
            return -EFAULT;
        if (ts[0].nsec < 0 || ts[0].nsec > 999999 || ts[1].nsec < 0 || ts[1].nsec > 999999)
            return -EINVAL;
        ts[0].nsec *= 1000;
        ts[1].nsec *= 1000;
    }
    return utimens(dirfd, name, ts, 0, !tv);
}

long sys_utimes(struct regs *r) { return utimes_at(AT_FDCWD, r->arg[0], r->arg[1]); }
long sys_futimesat(struct regs *r) { return utimes_at((int)r->arg[0], r->arg[1], r->arg[2]); }

long sys_utime(struct regs *r)
{
    struct timespec_k ts[2] = { { 0, UTIME_NOW_NS }, { 0, UTIME_NOW_NS } };
    i64 t[2];
    if (r->arg[1]) {
        if (copy_from_user(t, r->arg[1], sizeof(t)))
            return -EFAULT;
        ts[0] = (struct timespec_k){ t[0], 0 };
        ts[1] = (struct timespec_k){ t[1], 0 };
    }
    return utimens(AT_FDCWD, r->arg[0], ts, 0, !r->arg[1]);
}

// --- Mounts -------------------------------------------------------------------------------------------------------------------

enum { MNT_FORCE_K = 1, MNT_DETACH_K = 2, MNT_EXPIRE_K = 4 };     // umount2(2)

static int opt_name(struct name *n, uptr user)
{
    n->s = n->fast;
    n->fast[0] = 0;
    return user ? name_get(n, user) : 0;
}

#define MS_PROPAGATION (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)

// Is p where a mount begins?
static bool is_mount_root(const struct path *p) { return !p->parent && (p->covers || p == vfs_root); }

static long move_mount(struct path *to, const char *source)
{
    struct path *from = *source ? path_lookup(fs_cwd(), source, WALK_FOLLOW) : err_ptr(-EINVAL);
    long ret = is_err(from) ? ptr_err(from) : do_move_mount(from, to);
    if (!is_err(from))
        path_put(from);
    return ret;
}

static long mount_with(struct path *at, const char *source, const char *type, u32 flags, const char *data)
{
    if (flags & MS_REMOUNT)                     // with MS_BIND, of the mount and not the file system; each has but one
        return do_remount(at, flags & ~(u32)MS_BIND, flags & MS_BIND ? "" : data);
    if (flags & MS_BIND)
        return -EINVAL;                         // one tree, no second views of it
    u32 propagation = flags & MS_PROPAGATION;
    if (propagation)                            // there is nobody to tell
        return is_mount_root(at) && !(flags & ~(u32)(propagation | MS_REC | MS_SILENT)) && !(propagation & (propagation - 1)) ? 0 : -EINVAL;
    if (flags & MS_MOVE)
        return move_mount(at, source);
    return *type ? do_mount(source, at, type, flags & ~(u32)MS_SILENT, data) : -EINVAL;
}

// Flags may come with the magic number of old.
long sys_mount(struct regs *r)
{
    struct name src, type, data;
    u32 flags = (u32)r->arg[3];
    if ((flags & MS_MGC_MSK) == MS_MGC_VAL)
        flags &= ~(u32)MS_MGC_MSK;
    if (!capable(CAP_SYS_ADMIN))
        return -EPERM;
    long ret = opt_name(&src, r->arg[0]);
    if (ret)
        return ret;
    if (!(ret = opt_name(&type, r->arg[2]))) {
        if (!(ret = opt_name(&data, r->arg[4]))) {
            struct path *at = at_path(AT_FDCWD, r->arg[1], WALK_FOLLOW);
            ret = is_err(at) ? ptr_err(at) : mount_with(at, src.s, type.s, flags, data.s);
            if (!is_err(at))
                path_put(at);
            name_put(&data);
        }
        name_put(&type);
    }
    name_put(&src);
    return ret;
}

long sys_umount2(struct regs *r)
{
    u32 flags = (u32)r->arg[1];
    if (flags & ~(u32)(MNT_FORCE_K | MNT_DETACH_K | MNT_EXPIRE_K | UMOUNT_NOFOLLOW))
        return -EINVAL;
    if (!capable(CAP_SYS_ADMIN))
        return -EPERM;
    if ((flags & MNT_EXPIRE_K) && (flags & (MNT_FORCE_K | MNT_DETACH_K)))
        return -EINVAL;
    struct path *p = at_path(AT_FDCWD, r->arg[0], flags & UMOUNT_NOFOLLOW ? 0 : WALK_FOLLOW);
    if (is_err(p))
        return ptr_err(p);
    long ret = do_umount(p, flags & MNT_DETACH_K, flags & MNT_EXPIRE_K);
    path_put(p);
    return ret;
}
