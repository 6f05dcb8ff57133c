// SPDX-License-Identifier: Apache-2.0
// System calls that ask about names and files: stat and its relatives, readlink, access, directories, statfs.
#include "fileio.h"

#include <asm/stat.h>
#include <asm/statfs.h>
#include <linux/fs.h>
#include <linux/mount.h>

struct path *at_path(int dirfd, uptr user_name, u32 walk_flags)
{
    struct name n;
    struct file *hold;
    int err = name_get(&n, user_name);
    if (err)
        return err_ptr(err);
    struct path *base = base_of(dirfd, n.s, 0, &hold);
    struct path *p = is_err(base) ? base : path_lookup(base, n.s, walk_flags);
    if (hold)
        file_put(hold);
    name_put(&n);
    return p;
}

// --- stat ---------------------------------------------------------------------------------------------------------------

static int put_stat(uptr user, const struct kstat *k)
{
    struct stat s = {
        .st_dev = k->dev, .st_ino = k->ino, .st_nlink = k->nlink, .st_mode = k->mode, .st_uid = k->uid, .st_gid = k->gid,
        .st_rdev = k->rdev, .st_size = (i64)k->size, .st_blksize = (i64)k->blksize, .st_blocks = (i64)k->blocks,
        .st_atime = (u64)k->atime.sec, .st_atime_nsec = (u64)k->atime.nsec,
        .st_mtime = (u64)k->mtime.sec, .st_mtime_nsec = (u64)k->mtime.nsec,
        .st_ctime = (u64)k->ctime.sec, .st_ctime_nsec = (u64)k->ctime.nsec,
    };
    return copy_to_user(user, &s, sizeof(s));
}

static int stat_fd(int fd, struct kstat *k)
{
    struct file *f = fd_any(fd);
    if (!f)
        return -EBADF;
    int err = vfs_stat(f, k);
    file_put(f);
    return err;
}

static bool empty_name(uptr user)
{
    char c;
    return !copy_from_user(&c, user, 1) && !c;
}

static int stat_at(int dirfd, uptr name, u32 flags, struct kstat *k)
{
    if ((flags & AT_EMPTY_PATH) && (!name || empty_name(name))) {
        if (dirfd != AT_FDCWD)
            return stat_fd(dirfd, k);
        return inode_getattr(path_inode(fs_cwd()), k);
    }
    struct path *p = at_path(dirfd, name, (flags & AT_SYMLINK_NOFOLLOW) ? 0 : WALK_FOLLOW);
    if (is_err(p))
        return (int)ptr_err(p);
    int err = inode_getattr(p->inode, k);
    path_put(p);
    return err;
}

static long stat_to(int dirfd, uptr name, u32 flags, uptr out)
{
    struct kstat k;
    int err = stat_at(dirfd, name, flags, &k);
    return err ? err : put_stat(out, &k);
}

long sys_stat(struct regs *r) { return stat_to(AT_FDCWD, r->arg[0], 0, r->arg[1]); }
long sys_lstat(struct regs *r) { return stat_to(AT_FDCWD, r->arg[0], AT_SYMLINK_NOFOLLOW, r->arg[1]); }

long sys_fstat(struct regs *r)
{
    struct kstat k;
    int err = stat_fd((int)r->arg[0], &k);
    return err ? err : put_stat(r->arg[1], &k);
}

long sys_newfstatat(struct regs *r)
{
    u32 flags = (u32)r->arg[3];
    if (flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
        return -EINVAL;
    return stat_to((int)r->arg[0], r->arg[1], flags, r->arg[2]);
}

static struct statx_timestamp stamp(const struct timespec_k *t)
{
    return (struct statx_timestamp){ .tv_sec = t->sec, .tv_nsec = (u32)t->nsec };
}

long sys_statx(struct regs *r)
{
    u32 flags = (u32)r->arg[2], mask = (u32)r->arg[3];
    struct kstat k;
    if ((flags & ~(u32)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)) || (mask & STATX__RESERVED) ||
        (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE)
        return -EINVAL;
    int err = stat_at((int)r->arg[0], r->arg[1], flags, &k);
    if (err)
        return err;
    struct statx x = {
        .stx_mask = STATX_BASIC_STATS | (k.btime.sec ? STATX_BTIME : 0), .stx_blksize = (u32)k.blksize, .stx_nlink = (u32)k.nlink,
        .stx_uid = k.uid, .stx_gid = k.gid, .stx_mode = (u16)k.mode, .stx_ino = k.ino, .stx_size = k.size, .stx_blocks = k.blocks,
        .stx_atime = stamp(&k.atime), .stx_btime = stamp(&k.btime), .stx_ctime = stamp(&k.ctime), .stx_mtime = stamp(&k.mtime),
        .stx_rdev_major = (u32)(k.rdev >> 8 & 0xfff), .stx_rdev_minor = (u32)((k.rdev & 0xff) | (k.rdev >> 12 & 0xffffff00)),
        .stx_dev_major = (u32)(k.dev >> 8 & 0xfff), .stx_dev_minor = (u32)((k.dev & 0xff) | (k.dev >> 12 & 0xffffff00)),
    };
    return copy_to_user(r->arg[4], &x, sizeof(x));
}

// --- Links, access ------------------------------------------------------------------------------------------------------

static long readlink_at(int dirfd, uptr name, uptr out, i64 size)
{
    if (size <= 0)
        return -EINVAL;
    struct path *p;
    if (empty_name(name) && dirfd != AT_FDCWD) {
        struct file *f = fd_any(dirfd);
        if (!f || !f->path) {
            if (f)
                file_put(f);
            return f ? -ENOENT : -EBADF;
        }
        p = path_get(f->path);
        file_put(f);
        if (!S_ISLNK(p->inode->mode)) {
            path_put(p);
            return -ENOENT;
        }
    } else {
        p = at_path(dirfd, name, 0);
    }
    if (is_err(p))
        return ptr_err(p);
    char *buf = kmalloc(PATH_LEN_MAX, 0);
    int n = buf ? read_link(p, buf, PATH_LEN_MAX) : -ENOMEM;
    if (n >= 0) {
        n = (int)MIN((i64)n, size);
        if (copy_to_user(out, buf, (size_t)n))
            n = -EFAULT;
    }
    kfree(buf);
    path_put(p);
    return n;
}

long sys_readlink(struct regs *r) { return readlink_at(AT_FDCWD, r->arg[0], r->arg[1], (int)r->arg[2]); }
long sys_readlinkat(struct regs *r) { return readlink_at((int)r->arg[0], r->arg[1], r->arg[2], (int)r->arg[3]); }

// access(2) asks with the real ids, and with root's rights only for the real root.
static int real_permission(struct inode *i, u32 mode, bool effective)
{
    struct thread *t = current();
    struct cred real = *current_cred(), *own = t->cred;
    if (!effective) {
        real.fsuid = real.uid;
        real.fsgid = real.gid;
        real.effective = real.uid ? 0 : real.permitted;
        t->cred = &real;
    }
    int err = mode ? inode_permission(i, mode) : 0;
    if ((mode & MAY_EXEC) && S_ISREG(i->mode) && (i->sb->mount_flags & MS_NOEXEC))
        err = -EACCES;
    t->cred = own;
    return err;
}

static long access_at(int dirfd, uptr name, u32 mode, u32 flags)
{
    if ((mode & ~7u) || (flags & ~(u32)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)))
        return -EINVAL;
    struct path *p;
    if ((flags & AT_EMPTY_PATH) && empty_name(name)) {
        struct file *f = fd_any(dirfd);
        if (!f)
            return -EBADF;
        p = f->path ? path_get(f->path) : NULL;
        file_put(f);
        if (!p)
            return 0;
    } else {
        p = at_path(dirfd, name, (flags & AT_SYMLINK_NOFOLLOW) ? 0 : WALK_FOLLOW);
    }
    if (is_err(p))
        return ptr_err(p);
    int err = real_permission(p->inode, mode, flags & AT_EACCESS);
    path_put(p);
    return err;
}

long sys_access(struct regs *r) { return access_at(AT_FDCWD, r->arg[0], (u32)r->arg[1], 0); }
long sys_faccessat(struct regs *r) { return access_at((int)r->arg[0], r->arg[1], (u32)r->arg[2], 0); }
long sys_faccessat2(struct regs *r) { return access_at((int)r->arg[0], r->arg[1], (u32)r->arg[2], (u32)r->arg[3]); }

// --- Current directory ----------------------------------------------------------------------------------------------------

static long set_cwd(struct path *p)             // takes over p
{
    struct process *pr = current_process();
    int err = !S_ISDIR(p->inode->mode) ? -ENOTDIR : inode_permission(p->inode, MAY_EXEC);
    if (err) {
        path_put(p);
        return err;
    }
    struct path *old = pr->cwd;
    pr->cwd = p;
    if (old)
        path_put(old);
    return 0;
}

long sys_chdir(struct regs *r)
{
    struct path *p = at_path(AT_FDCWD, r->arg[0], WALK_FOLLOW | WALK_DIRECTORY);
    return is_err(p) ? ptr_err(p) : set_cwd(p);
}

long sys_fchdir(struct regs *r)
{
    struct file *f = fd_any((int)r->arg[0]);
    if (!f)
        return -EBADF;
    long ret = f->path ? set_cwd(path_get(f->path)) : -ENOTDIR;
    file_put(f);
    return ret;
}

long sys_chroot(struct regs *r)
{
    struct path *p = at_path(AT_FDCWD, r->arg[0], WALK_FOLLOW | WALK_DIRECTORY);
    if (is_err(p))
        return ptr_err(p);
    long ret = inode_permission(p->inode, MAY_EXEC);
    if (!ret)
        ret = capable(18) ? set_fs_root(p) : -EPERM;    // CAP_SYS_CHROOT
    path_put(p);
    return ret;
}

long sys_getcwd(struct regs *r)
{
    char *buf = kmalloc(PATH_LEN_MAX, 0);
    if (!buf)
        return -ENOMEM;
    struct path *cwd = fs_cwd();
    ssize_t n = cwd->dead ? -ENOENT : path_string(cwd, buf, PATH_LEN_MAX);
    if (n >= 0 && (u64)n + 1 > r->arg[1])
        n = -ERANGE;
    if (n >= 0)
        n = copy_to_user(r->arg[0], buf, (size_t)n + 1) ? -EFAULT : n + 1;
    kfree(buf);
    return n;
}

// --- Reading directories --------------------------------------------------------------------------------------------------

struct dirent64 {
    u64 ino, off;
    u16 reclen;
    u8 type;
    char name[];
};
struct dirent_old {
    u64 ino, off;
    u16 reclen;
    char name[];                    // NUL, padding, and the type in the last byte
};

struct collect {
    char *buf;
    size_t size, used;
    bool old, full;
};

static bool collect_one(void *ctx, const char *name, size_t len, u64 ino, u8 type, u64 next_pos)
{
    struct collect *c = ctx;
    size_t head = c->old ? offsetof(struct dirent_old, name) : offsetof(struct dirent64, name);
    size_t need = ALIGN_UP(head + len + (c->old ? 2 : 1), 8ul);
    if (c->used + need > c->size) {
        c->full = true;
        return false;
    }
    char *at = c->buf + c->used;
    memset(at, 0, need);
    struct dirent64 *d = (struct dirent64 *)at;
    d->ino = ino;
    d->off = next_pos;
    d->reclen = (u16)need;
    if (c->old)
        at[need - 1] = (char)type;
    else
        d->type = type;
    memcpy(at + head, name, len);
    c->used += need;
    return true;
}

static long getdents(struct regs *r, bool old)
{
    struct file *f = fd_file((int)r->arg[0], -1);
    if (is_err(f))
        return ptr_err(f);
    size_t want = (u32)r->arg[2];
    struct collect c = { .size = MIN(want, 32768ul), .old = old };
    long ret = -ENOTDIR;
    if (f->ops->readdir) {
        c.buf = kmalloc(c.size ? c.size : 1, 0);
        ret = c.buf ? 0 : -ENOMEM;
    }
    if (!ret) {
        struct inode *dir = f->inode;
        mutex_lock(&f->pos_lock);
        mutex_lock(&dir->lock);
        ret = dir->nlink ? 0 : -ENOENT;
        if (!ret && f->pos < 1ull << 62)
            ret = f->ops->readdir(f, &c, collect_one);
        if (!ret && !c.full)
            emit_invented(f, &c, collect_one);
        mutex_unlock(&dir->lock);
        mutex_unlock(&f->pos_lock);
        if (!ret)
            ret = c.full && !c.used ? -EINVAL : copy_to_user(r->arg[1], c.buf, c.used) ? -EFAULT : (long)c.used;
    }
    kfree(c.buf);
    file_put(f);
    return ret;
}

long sys_getdents(struct regs *r) { return getdents(r, true); }
long sys_getdents64(struct regs *r) { return getdents(r, false); }

// --- File systems -----------------------------------------------------------------------------------------------------------

static long put_statfs(struct superblock *sb, uptr out)
{
    struct kstatfs k = { .bsize = PAGE_SIZE, .frsize = PAGE_SIZE, .namelen = NAME_LEN_MAX };
    int err = sb->ops->statfs ? sb->ops->statfs(sb, &k) : 0;
    if (err)
        return err;
    u64 flags = 0x20 | (sb->readonly ? 1 : 0) | (sb->mount_flags & (MS_NOSUID | MS_NODEV | MS_NOEXEC)) | 0x1000;   // ST_VALID, ST_RELATIME
    struct statfs s = {
        .f_type = (long)k.type, .f_bsize = (long)k.bsize, .f_blocks = (long)k.blocks, .f_bfree = (long)k.bfree,
        .f_bavail = (long)k.bavail, .f_files = (long)k.files, .f_ffree = (long)k.ffree,
        .f_fsid = { .val = { (int)sb->dev, (int)(sb->dev >> 32) } }, .f_namelen = (long)k.namelen,
        .f_frsize = (long)k.frsize, .f_flags = (long)flags,
    };
    return copy_to_user(out, &s, sizeof(s));
}

long sys_statfs(struct regs *r)
{
    struct path *p = at_path(AT_FDCWD, r->arg[0], WALK_FOLLOW);
    if (is_err(p))
        return ptr_err(p);
    long ret = put_statfs(p->inode->sb, r->arg[1]);
    path_put(p);
    return ret;
}

long sys_fstatfs(struct regs *r)
{
    struct file *f = fd_any((int)r->arg[0]);
    if (!f)
        return -EBADF;
    long ret = f->inode ? put_statfs(f->inode->sb, r->arg[1]) : -ENOSYS;
    file_put(f);
    return ret;
}
