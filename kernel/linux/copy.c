// SPDX-License-Identifier: Apache-2.0
// Data between descriptors without the program's memory: sendfile(2), copy_file_range(2), splice(2), vmsplice(2).
#include "fileio.h"
#include "locks.h"
#include "../fs/pagecache.h"

// Where a file is read or written: at *pos, or (NULL) at its own position, as read(2) does.
static bool is_pipe(struct file *f)
{
    struct kstat st;
    return !f->inode ? !vfs_stat(f, &st) && S_ISFIFO(st.mode) : S_ISFIFO(f->inode->mode);
}

static bool is_cached(const struct file *f) { return f->inode && S_ISREG(f->inode->mode) && f->inode->ops && f->ops->read && f->inode->ops->readpage; }

// One piece from `in` at *ipos to `out`: at most a page. What `out` took; 0 at the end of the file.
static ssize_t copy_cached(struct file *in, u64 *ipos, struct file *out, u64 *opos, size_t want)
{
    struct inode *i = in->inode;
    struct iter it;
    if (*ipos >= i->size)
        return 0;
    size_t off = *ipos & ~PAGE_MASK, n = MIN(MIN(PAGE_SIZE - off, want), i->size - *ipos);
    struct page *p = pc_get(i, in, *ipos >> PAGE_SHIFT);
    if (is_err(p))
        return ptr_err(p);
    iter_kernel(&it, (char *)page_va(p) + off, n);
    ssize_t w = file_write_at(out, &it, opos);
    page_put(p);
    if (w > 0)
        *ipos += (u64)w;
    return w;
}

// For anything else a buffer. What has been read from a stream must be written: it cannot be given back.
static ssize_t copy_buffered(struct file *in, u64 *ipos, struct file *out, u64 *opos, size_t want, char *buf)
{
    struct iter it;
    iter_kernel(&it, buf, MIN(want, PAGE_SIZE));
    u64 at = ipos ? *ipos : 0;
    ssize_t n = file_read_at(in, &it, ipos ? &at : NULL), done = 0;
    while (n > 0 && done < n) {
        iter_kernel(&it, buf + done, (u64)(n - done));
        ssize_t w = file_write_at(out, &it, opos);
        if (w <= 0) {
            n = done ? done : w;
            break;
        }
        done += w;
        if (ipos)
            break;                              // the rest can be read again
    }
    if (ipos && done > 0)
        *ipos += (u64)done;
    return done ? done : n;
}

static ssize_t copy_loop(struct file *in, u64 *ipos, struct file *out, u64 *opos, size_t len)
{
    char *buf = is_cached(in) && ipos ? NULL : kmalloc(PAGE_SIZE, 0);
    size_t total = 0;
    ssize_t n = 0;
    if (!buf && !(is_cached(in) && ipos))
        return -ENOMEM;
    while (total < len) {
        n = buf ? copy_buffered(in, ipos, out, opos, len - total, buf) : copy_cached(in, ipos, out, opos, len - total);
        if (n <= 0)
            break;
        total += (size_t)n;
        if (buf && !ipos)                       // a stream gives what it has; more would wait
            break;
        if (signal_pending(current()))
            break;
    }
    kfree(buf);
    return total ? (ssize_t)total : n;
}

static int offset_from_user(uptr p, u64 *pos)
{
    int err = user_read_u64(p, pos);
    return err ? err : (i64)*pos < 0 ? -EINVAL : 0;
}

static ssize_t send(struct file *out, struct file *in, uptr user_off, size_t len)
{
    u64 pos = in->pos;
    if (!is_cached(in) && !(in->ops->read && in->ops->seek))
        return -EINVAL;
    if (out->flags & O_APPEND)
        return -EINVAL;
    if (user_off) {
        int err = offset_from_user(user_off, &pos);
        if (err)
            return err;
    }
    ssize_t n = copy_loop(in, &pos, out, NULL, MIN(len, MAX_RW_COUNT));
    if (n > 0 && user_off && user_write_u64(user_off, pos))
        return -EFAULT;
    if (n > 0 && !user_off)
        in->pos = pos;
    return n;
}

long sys_sendfile(struct regs *r)
{
    struct file *in = fd_file((int)r->arg[1], O_RDONLY), *out = fd_file((int)r->arg[0], O_WRONLY);
    long ret = is_err(in) ? ptr_err(in) : is_err(out) ? ptr_err(out) : send(out, in, r->arg[2], r->arg[3]);
    if (!is_err(in))
        file_put(in);
    if (!is_err(out))
        file_put(out);
    return ret;
}

static ssize_t copy_range(struct file *in, uptr uin, struct file *out, uptr uout, size_t len)
{
    u64 ipos = in->pos, opos = out->pos;
    int err = uin ? offset_from_user(uin, &ipos) : 0;
    if (!err && uout)
        err = offset_from_user(uout, &opos);
    if (err)
        return err;
    if (!in->inode || !out->inode)
        return -EINVAL;
    if (S_ISDIR(in->inode->mode) || S_ISDIR(out->inode->mode))
        return -EISDIR;
    if (!is_cached(in) || !is_cached(out))
        return -EINVAL;
    if (out->flags & O_APPEND)
        return -EBADF;
    if (ipos + len < ipos || opos + len < opos)
        return -EOVERFLOW;
    len = MIN(len, MAX_RW_COUNT);
    if (in->inode == out->inode && ipos < opos + len && opos < ipos + len)
        return -EINVAL;
    ssize_t n = copy_loop(in, &ipos, out, &opos, len);
    if (n <= 0)
        return n;
    if ((uin && user_write_u64(uin, ipos)) || (uout && user_write_u64(uout, opos)))
        return -EFAULT;
    if (!uin)
        in->pos = ipos;
    if (!uout)
        out->pos = opos;
    return n;
}

long sys_copy_file_range(struct regs *r)
{
    struct file *in = fd_file((int)r->arg[0], O_RDONLY), *out = fd_file((int)r->arg[2], O_WRONLY);
    long ret = is_err(in) ? ptr_err(in) : is_err(out) ? ptr_err(out) : r->arg[5] ? -EINVAL : copy_range(in, r->arg[1], out, r->arg[3], r->arg[4]);
    if (!is_err(in))
        file_put(in);
    if (!is_err(out))
        file_put(out);
    return ret;
}

#define SPLICE_F_KNOWN 15u
#define SPLICE_F_NONBLOCK 2u

static ssize_t do_splice(struct file *in, uptr uin, struct file *out, uptr uout, size_t len, u32 flags)
{
    bool ip = is_pipe(in), op = is_pipe(out);
    u64 ipos = in->pos, opos = out->pos;
    if ((uin && ip) || (uout && op))
        return -ESPIPE;
    if (!ip && !op)
        return -EINVAL;
    int err = uin ? (in->ops->seek ? offset_from_user(uin, &ipos) : -EINVAL) : 0;
    if (!err && uout)
        err = out->ops->seek ? offset_from_user(uout, &opos) : -EINVAL;
    if (err)
        return err;
    if (!op && (out->flags & O_APPEND))
        return -EINVAL;
    if (in == out)
        return -EINVAL;
    struct file *stream = ip ? in : out;
    u32 was = stream->flags;
    if (flags & SPLICE_F_NONBLOCK)
        stream->flags |= O_NONBLOCK;
    bool iseek = !ip && in->ops->seek, oseek = !op && out->ops->seek;
    ssize_t n = copy_loop(in, iseek ? &ipos : NULL, out, oseek ? &opos : NULL, MIN(len, 65536ul));
    stream->flags = was;
    if (n <= 0)
        return n;
    if ((uin && user_write_u64(uin, ipos)) || (uout && user_write_u64(uout, opos)))
        return -EFAULT;
    if (iseek && !uin)
        in->pos = ipos;
    if (oseek && !uout)
        out->pos = opos;
    return n;
}

long sys_splice(struct regs *r)
{
    u32 flags = (u32)r->arg[5];
    if (!r->arg[4])
        return 0;
    if (flags & ~SPLICE_F_KNOWN)
        return -EINVAL;
    struct file *in = fd_file((int)r->arg[0], O_RDONLY), *out = fd_file((int)r->arg[2], O_WRONLY);
    long ret = is_err(in) ? ptr_err(in) : is_err(out) ? ptr_err(out) : do_splice(in, r->arg[1], out, r->arg[3], r->arg[4], flags);
    if (!is_err(in))
        file_put(in);
    if (!is_err(out))
        file_put(out);
    return ret;
}

long sys_vmsplice(struct regs *r)
{
    struct file *f = fd_file((int)r->arg[0], -1);
    if (is_err(f))
        return ptr_err(f);
    bool ok = is_pipe(f), write = file_writable(f);
    file_put(f);
    if (!ok)
        return -EBADF;
    return write ? sys_writev(r) : sys_readv(r);        // the first three arguments are the same
}

// Only what is in the first pipe now and fits a page; an empty pipe answers EAGAIN, whatever the flags, when it has writers.
static ssize_t do_tee(struct file *in, struct file *out, size_t len, u32 flags)
{
    if (!is_pipe(in) || !is_pipe(out) || in == out)
        return -EINVAL;
    char *buf = kmalloc(PAGE_SIZE, 0);
    if (!buf)
        return -ENOMEM;
    ssize_t n = pipe_peek(in, buf, MIN(len, PAGE_SIZE));
    if (n > 0) {
        struct iter it;
        u32 was = out->flags;
        if (flags & SPLICE_F_NONBLOCK)
            out->flags |= O_NONBLOCK;
        iter_kernel(&it, buf, (u64)n);
        n = file_write_at(out, &it, NULL);
        out->flags = was;
    }
    kfree(buf);
    return n;
}

long sys_tee(struct regs *r)
{
    if (r->arg[3] & ~(u64)SPLICE_F_KNOWN)
        return -EINVAL;
    struct file *in = fd_file((int)r->arg[0], O_RDONLY), *out = fd_file((int)r->arg[1], O_WRONLY);
    long ret = is_err(in) ? ptr_err(in) : is_err(out) ? ptr_err(out) : !r->arg[2] ? 0 : do_tee(in, out, r->arg[2], (u32)r->arg[3]);
    if (!is_err(in))
        file_put(in);
    if (!is_err(out))
        file_put(out);
    return ret;
}
