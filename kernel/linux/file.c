// SPDX-License-Identifier: Apache-2.0
// System calls on open files: read, write and their relatives, lseek, open, close.
#include "fileio.h"

#include <linux/fs.h>
#include <linux/inotify.h>
#include <linux/openat2.h>

int name_get(struct name *n, uptr user)
{
    n->s = n->fast;
    ssize_t len = strncpy_from_user(n->fast, user, sizeof(n->fast));
    if (len != -ENAMETOOLONG)
        return len < 0 ? (int)len : 0;
    n->s = kmalloc(PATH_LEN_MAX, 0);
    if (!n->s)
        return -ENOMEM;
    len = strncpy_from_user(n->s, user, PATH_LEN_MAX);
    if (len < 0) {
        kfree(n->s);
        n->s = n->fast;
        return (int)len;
    }
    return 0;
}

void name_put(struct name *n)
{
    if (n->s != n->fast)
        kfree(n->s);
}

bool file_readable(const struct file *f) { return (f->flags & O_ACCMODE) != O_WRONLY; }
bool file_writable(const struct file *f) { return (f->flags & O_ACCMODE) != O_RDONLY; }

struct file *fd_file(int fd, int acc)
{
    struct file *f = fd_get(fd);
    if (!f)
        return err_ptr(-EBADF);
    bool ok = acc == O_RDONLY ? file_readable(f) : acc == O_WRONLY ? file_writable(f) : true;
    if (ok)
        return f;
    file_put(f);
    return err_ptr(-EBADF);
}

static bool positioned(const struct file *f) { return f->ops->seek && f->ops->seek != seek_nowhere; }

ssize_t file_read_at(struct file *f, struct iter *it, u64 *pos)
{
    if (!f->ops->read)
        return -EINVAL;
    if (pos)
        return positioned(f) ? f->ops->read(f, it, pos) : -ESPIPE;
    if (!positioned(f))
        return f->ops->read(f, it, NULL);
    mutex_lock(&f->pos_lock);
    ssize_t r = f->ops->read(f, it, &f->pos);
    mutex_unlock(&f->pos_lock);
    return r;
}

ssize_t file_write_at(struct file *f, struct iter *it, u64 *pos)
{
    if (!f->ops->write)
        return -EINVAL;
    if (pos)
        return positioned(f) ? f->ops->write(f, it, pos) : -ESPIPE;
    if (!positioned(f))
        return f->ops->write(f, it, NULL);
    mutex_lock(&f->pos_lock);
    ssize_t r = f->ops->write(f, it, &f->pos);
    mutex_unlock(&f->pos_lock);
    return r;
}

// pread(2) on what has no positions is ESPIPE before the access mode is looked at.
static struct file *rw_file(int fd, bool write, const u64 *pos)
{
    struct file *f = fd_file(fd, pos ? -1 : write ? O_WRONLY : O_RDONLY);
    if (!pos || is_err(f))
        return f;
    int err = !positioned(f) ? -ESPIPE : (write ? file_writable(f) : file_readable(f)) ? 0 : -EBADF;
    if (!err)
        return f;
    file_put(f);
    return err_ptr(err);
}

// For /proc/self/io and inotify.
static inline void counted(struct file *f, bool write, long r)
{
    the_process->io[write].calls++;
    if (r > 0) {
        the_process->io[write].bytes += (u64)r;
        notify(f->path, write ? IN_MODIFY : IN_ACCESS);
    }
}

static long rw(int fd, uptr buf, u64 n, u64 *pos, bool write)
{
    struct file *f = rw_file(fd, write, pos);
    struct iter it;
    if (is_err(f))
        return ptr_err(f);
    long r = -EFAULT;
    if (user_range_ok(buf, n)) {
        iter_user(&it, buf, n);
        r = write ? file_write_at(f, &it, pos) : file_read_at(f, &it, pos);
        counted(f, write, r);
    }
    file_put(f);
    return r;
}

static long rwv(int fd, uptr vec, u64 n, u64 *pos, bool write, u32 extra)
{
    struct iovec fast[8], *heap = NULL;
    struct iter it;
    struct file *f = rw_file(fd, write, pos);
    if (is_err(f))
        return ptr_err(f);
    long r = iter_user_vec(&it, vec, n, fast, &heap);
    u32 flags = f->flags;
    if (!r) {
        f->flags |= extra;                      // RWF_*: for this call
        r = write ? file_write_at(f, &it, pos) : file_read_at(f, &it, pos);
        f->flags = (f->flags & ~extra) | (flags & extra);
        counted(f, write, r);
    }
    kfree(heap);
    file_put(f);
    return r;
}

long sys_read(struct regs *r) { return rw((int)r->arg[0], r->arg[1], r->arg[2], NULL, false); }
long sys_write(struct regs *r) { return rw((int)r->arg[0], r->arg[1], r->arg[2], NULL, true); }

long sys_pread64(struct regs *r)
{
    u64 pos = r->arg[3];
    return (i64)pos < 0 ? -EINVAL : rw((int)r->arg[0], r->arg[1], r->arg[2], &pos, false);
}

long sys_pwrite64(struct regs *r)
{
    u64 pos = r->arg[3];
    return (i64)pos < 0 ? -EINVAL : rw((int)r->arg[0], r->arg[1], r->arg[2], &pos, true);
}

long sys_readv(struct regs *r) { return rwv((int)r->arg[0], r->arg[1], r->arg[2], NULL, false, 0); }
long sys_writev(struct regs *r) { return rwv((int)r->arg[0], r->arg[1], r->arg[2], NULL, true, 0); }

long sys_preadv(struct regs *r)
{
    u64 pos = r->arg[3];
    return (i64)pos < 0 ? -EINVAL : rwv((int)r->arg[0], r->arg[1], r->arg[2], &pos, false, 0);
}

long sys_pwritev(struct regs *r)
{
    u64 pos = r->arg[3];
    return (i64)pos < 0 ? -EINVAL : rwv((int)r->arg[0], r->arg[1], r->arg[2], &pos, true, 0);
}

// preadv2(2): -1 as the offset means the file's position.
static long rwv2(struct regs *r, bool write)
{
    u64 pos = r->arg[3];
    u32 flags = (u32)r->arg[5], extra = 0;
    if (flags & ~(u32)(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND))
        return -EOPNOTSUPP;
    if ((i64)pos < -1)
        return -EINVAL;
    if (flags & RWF_NOWAIT)
        extra |= O_NONBLOCK;
    if (flags & RWF_SYNC)
        extra |= O_SYNC;
    if (flags & RWF_DSYNC)
        extra |= O_DSYNC;
    if ((flags & RWF_APPEND) && write)
        extra |= O_APPEND;
    return rwv((int)r->arg[0], r->arg[1], r->arg[2], (i64)pos == -1 ? NULL : &pos, write, extra);
}

long sys_preadv2(struct regs *r) { return rwv2(r, false); }
long sys_pwritev2(struct regs *r) { return rwv2(r, true); }

long sys_lseek(struct regs *r)
{
    struct file *f = fd_file((int)r->arg[0], -1);
    if (is_err(f))
        return ptr_err(f);
    long pos = -ESPIPE;
    if (r->arg[2] > SEEK_HOLE) {
        pos = -EINVAL;
    } else if (f->ops->seek) {
        mutex_lock(&f->pos_lock);
        pos = f->ops->seek(f, (i64)r->arg[1], (int)r->arg[2]);
        mutex_unlock(&f->pos_lock);
    }
    file_put(f);
    return pos;
}

// --- Opening and closing ------------------------------------------------------------------------------------------------

static long open_fd(int dirfd, uptr user_name, u32 flags, u32 mode, u32 walk_flags)
{
    struct name n;
    struct file *hold;
    int err = name_get(&n, user_name);
    if (!err && !fd_available()) {              // before anything is created
        name_put(&n);
        err = -EMFILE;
    }
    if (err)
        return err;
    struct path *base = base_of(dirfd, n.s, walk_flags, &hold);
    struct file *f = is_err(base) ? (struct file *)base : do_open(base, n.s, flags, mode, walk_flags);
    if (hold)
        file_put(hold);
    name_put(&n);
    if (is_err(f))
        return ptr_err(f);
    int fd = fd_install(f, 0, flags & O_CLOEXEC);
    if (fd < 0)
        file_put(f);
    return fd;
}

long sys_open(struct regs *r) { return open_fd(AT_FDCWD, r->arg[0], (u32)r->arg[1] | O_LARGEFILE, (u32)r->arg[2], 0); }
long sys_openat(struct regs *r) { return open_fd((int)r->arg[0], r->arg[1], (u32)r->arg[2] | O_LARGEFILE, (u32)r->arg[3], 0); }

long sys_creat(struct regs *r)
{
    return open_fd(AT_FDCWD, r->arg[0], O_CREAT | O_WRONLY | O_TRUNC | O_LARGEFILE, (u32)r->arg[1], 0);
}

// openat2(2): a structure that may grow; unknown bytes must be zero.
static int copy_how(struct open_how *how, uptr user, u64 size)
{
    *how = (struct open_how){ 0 };
    if (size < sizeof(*how))
        return -EINVAL;
    if (size > PAGE_SIZE)
        return -E2BIG;
    int err = copy_from_user(how, user, sizeof(*how));
    for (u64 n = sizeof(*how); !err && n < size; n++) {
        u8 b;
        err = copy_from_user(&b, user + n, 1);
        if (!err && b)
            err = -E2BIG;
    }
    return err;
}

long sys_openat2(struct regs *r)
{
    static const struct { u32 resolve, walk; } map[] = {
        { RESOLVE_NO_XDEV, WALK_NO_XDEV }, { RESOLVE_NO_MAGICLINKS, WALK_NO_MAGIC }, { RESOLVE_NO_SYMLINKS, WALK_NO_SYMLINKS },
        { RESOLVE_BENEATH, WALK_BENEATH }, { RESOLVE_IN_ROOT, WALK_IN_ROOT },
    };
    const u64 known_flags = O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC | FASYNC | O_DIRECT |
                            O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE;
    struct open_how how;
    u32 walk = 0;
    int err = copy_how(&how, r->arg[2], r->arg[3]);
    if (err)
        return err;
    bool makes = (how.flags & O_CREAT) || (how.flags & O_TMPFILE) == O_TMPFILE;
    if ((how.flags & ~known_flags) || (how.resolve & ~0x3full) || (how.mode & ~07777ull) || (how.mode && !makes))
        return -EINVAL;
    if ((how.resolve & RESOLVE_BENEATH) && (how.resolve & RESOLVE_IN_ROOT))
        return -EINVAL;
    // Unlike open(2), which drops what O_PATH and O_TMPFILE do not go with.
    if ((how.flags & O_PATH) && (how.flags & ~(u64)(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)))
        return -EINVAL;
    if ((how.flags & O_TMPFILE & ~O_DIRECTORY) &&
        ((how.flags & (O_TMPFILE | O_CREAT)) != O_TMPFILE || (how.flags & O_ACCMODE) == O_RDONLY))
        return -EINVAL;
    if (how.resolve & RESOLVE_CACHED)
        return -EAGAIN;
    for (unsigned n = 0; n < ARRAY_SIZE(map); n++)
        if (how.resolve & map[n].resolve)
            walk |= map[n].walk;
    return open_fd((int)r->arg[0], r->arg[1], (u32)how.flags | O_LARGEFILE, (u32)how.mode, walk);
}

long sys_close(struct regs *r) { return fd_close((int)r->arg[0]); }

long sys_close_range(struct regs *r)
{
    u32 first = (u32)r->arg[0], last = (u32)r->arg[1], flags = (u32)r->arg[2];
    struct fdtable *t = &current_process()->fds;
    if (first > last || (flags & ~6u))          // CLOSE_RANGE_UNSHARE 2: one table there is; CLOSE_RANGE_CLOEXEC 4
        return -EINVAL;
    for (u64 fd = first; fd <= last && fd < t->size; fd++) {
        if (!(flags & 4)) {
            fd_close((int)fd);
            continue;
        }
        spin_lock(&t->lock);
        if (t->slot[fd].file)
            t->slot[fd].cloexec = true;
        spin_unlock(&t->lock);
    }
    return 0;
}
