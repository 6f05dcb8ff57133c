// SPDX-License-Identifier: Apache-2.0
// System calls on descriptors: dup, fcntl, ioctl, fsync and its relatives, sizes and space.
#include "fileio.h"
#include "../fs/pagecache.h"
#include "fasync.h"
#include "locks.h"
#include "signal.h"

#include <asm/ioctls.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/inotify.h>

long sys_dup(struct regs *r)
{
    struct file *f = fd_any((int)r->arg[0]);
    if (!f)
        return -EBADF;
    int fd = fd_install(f, 0, false);
    if (fd < 0)
        file_put(f);
    return fd;
}

static long dup_to(int from, int to, bool cloexec)
{
    struct file *f = fd_any(from);
    if (!f)
        return -EBADF;
    int fd = fd_install_at(f, to, cloexec);
    if (fd < 0)
        file_put(f);
    return fd;
}

long sys_dup2(struct regs *r)
{
    int from = (int)r->arg[0], to = (int)r->arg[1];
    if (from != to)
        return dup_to(from, to, false);
    struct file *f = fd_any(from);
    if (!f)
        return -EBADF;
    file_put(f);
    return to;
}

long sys_dup3(struct regs *r)
{
    int from = (int)r->arg[0], to = (int)r->arg[1];
    if ((r->arg[2] & ~(u64)O_CLOEXEC) || from == to)
        return -EINVAL;
    return dup_to(from, to, r->arg[2] & O_CLOEXEC);
}

static long fd_flags(int fd, bool set, u32 value)
{
    struct fdtable *t = &current_process()->fds;
    long r = -EBADF;
    spin_lock(&t->lock);
    if ((u32)fd < t->size && t->slot[fd].file) {
        r = set ? 0 : t->slot[fd].cloexec ? FD_CLOEXEC : 0;
        if (set)
            t->slot[fd].cloexec = value & FD_CLOEXEC;
    }
    spin_unlock(&t->lock);
    return r;
}

static long set_status(struct file *f, int fd, u32 flags)
{
    const u32 may = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | FASYNC;
    u32 now = (f->flags & ~may) | (flags & may);
    if (f->ops && f->ops->set_flags) {
        int err = f->ops->set_flags(f, now);
        if (err)
            return err;
    }
    if ((now ^ f->flags) & FASYNC) {
        int err = fasync_set(f, fd, now & FASYNC);
        if (err)
            return err;
    }
    f->flags = now;
    return 0;
}

static long fcntl_file(struct file *f, int fd_number, u32 cmd, u64 arg)
{
    switch (cmd) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: {
        int fd = (i64)(int)arg < 0 ? -EINVAL : fd_install(file_get(f), (int)arg, cmd == F_DUPFD_CLOEXEC);
        if (fd == -EMFILE && (u64)(int)arg >= current_process()->rlim[7].soft)     // RLIMIT_NOFILE
            fd = -EINVAL;
        if (fd < 0 && (i64)(int)arg >= 0)
            file_put(f);
        return fd;
    }
    case F_GETFL:
        return f->flags;
    case F_SETFL:
        return set_status(f, fd_number, (u32)arg);
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        return fcntl_lock(f, cmd, arg);
    case F_GETOWN:
    case F_SETOWN:
    case F_GETOWN_EX:
    case F_SETOWN_EX:
    case F_SETSIG:
    case F_GETSIG:
        return fasync_fcntl(f, cmd, arg);
    case F_GETPIPE_SZ:
    case F_SETPIPE_SZ:
        return pipe_fcntl ? pipe_fcntl(f, cmd, arg) : -EBADF;
    case F_ADD_SEALS:
    case F_GET_SEALS:
        return memfd_seals(f, cmd, (u32)arg);
    case F_GETLEASE:
        return F_UNLCK;
    }
    return -EINVAL;
}

long sys_fcntl(struct regs *r)
{
    int fd = (int)r->arg[0];
    u32 cmd = (u32)r->arg[1];
    if (cmd == F_GETFD || cmd == F_SETFD)
        return fd_flags(fd, cmd == F_SETFD, (u32)r->arg[2]);
    struct file *f = fd_any(fd);
    if (!f)
        return -EBADF;
    bool of_place = cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC || cmd == F_GETFL;
    long ret = (f->flags & O_PATH) && !of_place ? -EBADF : fcntl_file(f, fd, cmd, r->arg[2]);
    file_put(f);
    return ret;
}

long sys_ioctl(struct regs *r)
{
    struct file *f = fd_file((int)r->arg[0], -1);
    u32 cmd = (u32)r->arg[1];
    u32 on;
    long ret = 0;
    if (is_err(f))
        return ptr_err(f);
    switch (cmd) {
    case FIOCLEX:
    case FIONCLEX:
        ret = fd_flags((int)r->arg[0], true, cmd == FIOCLEX ? FD_CLOEXEC : 0);
        break;
    case FIONBIO:
        ret = user_read_u32(r->arg[2], &on);
        if (!ret)
            ret = set_status(f, (int)r->arg[0], on ? f->flags | O_NONBLOCK : f->flags & ~(u32)O_NONBLOCK);
        break;
    case FIOASYNC:
        ret = user_read_u32(r->arg[2], &on);
        if (!ret && (on != 0) != ((f->flags & FASYNC) != 0))
            ret = f->ops->async ? set_status(f, (int)r->arg[0], f->flags ^ FASYNC) : -ENOTTY;
        break;
    case FIONREAD:
        if (f->inode && S_ISREG(f->inode->mode)) {
            ret = user_write_u32(r->arg[2], (u32)(f->inode->size - MIN(f->pos, f->inode->size)));
            break;
        }
        // fall through
    default:
        ret = f->ops->ioctl ? f->ops->ioctl(f, cmd, r->arg[2]) : -ENOTTY;
    }
    file_put(f);
    return ret;
}

// --- To the disk --------------------------------------------------------------------------------------------------------

static long do_fsync(int fd, bool data_only)
{
    struct file *f = fd_file(fd, -1);
    if (is_err(f))
        return ptr_err(f);
    long r = f->ops->fsync ? f->ops->fsync(f, data_only) : -EINVAL;
    file_put(f);
    return r;
}

long sys_fsync(struct regs *r) { return do_fsync((int)r->arg[0], false); }
long sys_fdatasync(struct regs *r) { return do_fsync((int)r->arg[0], true); }

long sys_sync(struct regs *r)
{
    (void)r;
    vfs_sync_all();
    return 0;
}

long sys_syncfs(struct regs *r)
{
    struct file *f = fd_file((int)r->arg[0], -1);
    if (is_err(f))
        return ptr_err(f);
    struct superblock *sb = f->inode ? f->inode->sb : NULL;
    long ret = sb && sb->ops->sync ? sb->ops->sync(sb) : 0;
    file_put(f);
    return ret;
}

long sys_sync_file_range(struct regs *r)
{
    struct file *f = fd_file((int)r->arg[0], -1);
    i64 off = (i64)r->arg[1], len = (i64)r->arg[2];
    if (is_err(f))
        return ptr_err(f);
    long ret = -ESPIPE;
    if (off < 0 || len < 0 || off + len < off || (r->arg[3] & ~7ull))
        ret = -EINVAL;
    else if (f->inode && (S_ISREG(f->inode->mode) || S_ISDIR(f->inode->mode)))
        ret = S_ISREG(f->inode->mode) ? pc_sync_range(f->inode, (u64)off, (u64)len) : 0;
    file_put(f);
    return ret;
}

long sys_fadvise64(struct regs *r)
{
    struct file *f = fd_file((int)r->arg[0], -1);
    u64 off = r->arg[1], len = r->arg[2];
    if (is_err(f))
        return ptr_err(f);
    long ret = 0;
    if (!f->inode || !S_ISREG(f->inode->mode)) {
        ret = f->inode && S_ISDIR(f->inode->mode) ? 0 : -ESPIPE;
    } else if ((i64)len < 0 || r->arg[3] > 5) {
        ret = -EINVAL;
    } else if (r->arg[3] == 3) {                // POSIX_FADV_WILLNEED
        pc_read_ahead(f->inode, off >> PAGE_SHIFT, MIN(len ? (len + PAGE_SIZE - 1) >> PAGE_SHIFT : 256, 256ull));
    } else if (r->arg[3] == 4) {                // POSIX_FADV_DONTNEED
        u64 last = len ? (off + len) >> PAGE_SHIFT : ~0ull - 1;
        if (last > off >> PAGE_SHIFT || !len)
            pc_forget(f->inode, (off + PAGE_SIZE - 1) >> PAGE_SHIFT, len ? last - 1 : last, false);
    }
    file_put(f);
    return ret;
}

long sys_readahead(struct regs *r)
{
    struct file *f = fd_file((int)r->arg[0], O_RDONLY);
    if (is_err(f))
        return ptr_err(f);
    long ret = f->inode && S_ISREG(f->inode->mode) ? 0 : -EINVAL;
    if (!ret)
        pc_read_ahead(f->inode, r->arg[1] >> PAGE_SHIFT, MIN((r->arg[2] + PAGE_SIZE - 1) >> PAGE_SHIFT, 1024ul));
    file_put(f);
    return ret;
}

// --- Size and space -----------------------------------------------------------------------------------------------------

static bool too_large(const struct inode *i, u64 size)
{
    if (size <= current_process()->rlim[RLIMIT_FSIZE_K].soft || size <= i->size)
        return false;
    signal_thread(current(), 25, NULL);         // SIGXFSZ
    return true;
}

static long truncate_inode(struct inode *i, u64 size)
{
    struct setattr a = { .valid = ATTR_SIZE, .size = size };
    if (!S_ISREG(i->mode) || !i->ops->setattr)
        return -EINVAL;
    if (too_large(i, size))
        return -EFBIG;
    mutex_lock(&i->lock);
    long r = i->ops->setattr(i, &a);
    mutex_unlock(&i->lock);
    return r;
}

long sys_truncate(struct regs *r)
{
    if ((i64)r->arg[1] < 0)
        return -EINVAL;
    struct path *p = at_path(AT_FDCWD, r->arg[0], WALK_FOLLOW);
    if (is_err(p))
        return ptr_err(p);
    struct inode *i = p->inode;
    long ret = S_ISDIR(i->mode) ? -EISDIR : !S_ISREG(i->mode) ? -EINVAL : inode_permission(i, MAY_WRITE);
    if (!ret && i == current_process()->exe_inode)
        ret = -ETXTBSY;
    if (!ret)
        ret = truncate_inode(i, r->arg[1]);
    if (!ret)
        notify(p, IN_MODIFY);
    path_put(p);
    return ret;
}

long sys_ftruncate(struct regs *r)
{
    struct file *f = fd_file((int)r->arg[0], -1);
    if (is_err(f))
        return ptr_err(f);
    long ret = -EINVAL;
    if ((i64)r->arg[1] >= 0 && f->inode && file_writable(f))
        ret = truncate_inode(f->inode, r->arg[1]);
    if (!ret)
        notify(f->path, IN_MODIFY);
    file_put(f);
    return ret;
}

// The seals that forbid it: room that is only set aside changes nothing.
static u32 seals_against(const struct inode *i, u32 mode, u64 end)
{
    if (mode & FALLOC_FL_PUNCH_HOLE)
        return F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
    return !(mode & FALLOC_FL_KEEP_SIZE) && end > i->size ? F_SEAL_GROW : 0;
}

long sys_fallocate(struct regs *r)
{
    struct file *f = fd_file((int)r->arg[0], O_WRONLY);
    u32 mode = (u32)r->arg[1];
    i64 off = (i64)r->arg[2], len = (i64)r->arg[3];
    if (is_err(f))
        return ptr_err(f);
    struct inode *i = f->inode;
    long ret = -EINVAL;
    if (off < 0 || len <= 0) {
        ret = -EINVAL;
    } else if (mode & ~(u32)(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
        ret = -EOPNOTSUPP;
    } else if ((mode & FALLOC_FL_PUNCH_HOLE) && (!(mode & FALLOC_FL_KEEP_SIZE) || (mode & FALLOC_FL_ZERO_RANGE))) {
        ret = -EOPNOTSUPP;
    } else if (!i || S_ISFIFO(i->mode) || S_ISSOCK(i->mode)) {
        ret = -ESPIPE;
    } else if (!S_ISREG(i->mode)) {
        ret = S_ISDIR(i->mode) ? -EISDIR : -ENODEV;
    } else if (off + len < off) {
        ret = -EFBIG;
    } else if (inode_seals(i) & seals_against(i, mode, (u64)(off + len))) {
        ret = -EPERM;
    } else if (!(mode & FALLOC_FL_KEEP_SIZE) && too_large(i, (u64)(off + len))) {
        ret = -EFBIG;
    } else {
        ret = -EOPNOTSUPP;
        if (i->ops->fallocate) {
            mutex_lock(&i->lock);
            ret = i->ops->fallocate(i, (int)mode, (u64)off, (u64)len);
            mutex_unlock(&i->lock);
        }
    }
    file_put(f);
    return ret;
}
