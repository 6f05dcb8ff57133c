// SPDX-License-Identifier: Apache-2.0
// /dev/null, zero, full, random, urandom (null(4), full(4), random(4)); raw block devices; links in /dev.
#include "arch.h"
#include "blk.h"
#include "vfs.h"
#include "vm.h"

#include <linux/fs.h>

static ssize_t null_read(struct file *f, struct iter *it, u64 *pos)
{
    (void)f, (void)it, (void)pos;
    return 0;
}

static ssize_t null_write(struct file *f, struct iter *it, u64 *pos)
{
    (void)f, (void)pos;
    ssize_t n = (ssize_t)it->left;
    it->left = 0;
    return n;
}

static ssize_t zero_read(struct file *f, struct iter *it, u64 *pos)
{
    (void)f, (void)pos;
    size_t want = it->left, done = iter_zero(it, want);
    return done || !want ? (ssize_t)done : -EFAULT;
}

static ssize_t full_write(struct file *f, struct iter *it, u64 *pos)
{
    (void)f, (void)it, (void)pos;
    return -ENOSPC;
}

static ssize_t random_read(struct file *f, struct iter *it, u64 *pos)
{
    (void)f, (void)pos;
    size_t done = 0, want = it->left;
    while (it->left) {
        u8 buf[256];
        size_t n = MIN(it->left, sizeof(buf));
        random_bytes(buf, n);
        size_t k = iter_put(it, buf, n);
        done += k;
        if (k < n)
            break;
    }
    return done || !want ? (ssize_t)done : -EFAULT;
}

static ssize_t random_write(struct file *f, struct iter *it, u64 *pos)
{
    (void)f, (void)pos;
    size_t done = 0, want = it->left;
    while (it->left) {
        u8 buf[256];
        size_t k = iter_get(it, buf, MIN(it->left, sizeof(buf)));
        if (!k)
            break;
        random_mix(buf, k);
        done += k;
    }
    return done || !want ? (ssize_t)done : -EFAULT;
}

static i64 mem_seek(struct file *f, i64 off, int whence)
{
    (void)f, (void)off, (void)whence;
    return 0;
}

static int zero_mmap(struct file *f, struct vma *v)
{
    (void)f;
    v->file = NULL;                             // which makes it anonymous memory
    return 0;
}

static const struct file_ops null_ops = { .read = null_read, .write = null_write, .seek = mem_seek };
static const struct file_ops zero_ops = { .read = zero_read, .write = null_write, .seek = mem_seek, .mmap = zero_mmap };
static const struct file_ops full_ops = { .read = zero_read, .write = full_write, .seek = mem_seek };
static const struct file_ops random_ops = { .read = random_read, .write = random_write, .seek = mem_seek };

static struct chardev devices[] = {
    { .name = "null", .major = 1, .minor = 3, .mode = 0666, .ops = &null_ops },
    { .name = "zero", .major = 1, .minor = 5, .mode = 0666, .ops = &zero_ops },
    { .name = "full", .major = 1, .minor = 7, .mode = 0666, .ops = &full_ops },
    { .name = "random", .major = 1, .minor = 8, .mode = 0666, .ops = &random_ops },
    { .name = "urandom", .major = 1, .minor = 9, .mode = 0666, .ops = &random_ops },
};

// --- Block devices: sectors through a buffer. Not coherent with a file system mounted from the device. ---------------

static struct blkdev *device_of(struct inode *i)
{
    char name[] = "vda";
    for (; name[2] <= 'z'; name[2]++) {
        struct blkdev *d = blkdev_find(name);
        if (d && make_dev(d->major, d->minor) == i->rdev)
            return d;
    }
    return NULL;
}

static ssize_t blk_rw(struct file *f, struct iter *it, u64 *pos, bool write)
{
    struct blkdev *d = device_of(f->inode);
    if (!d)
        return -ENXIO;
    u64 size = d->sectors * SECTOR_SIZE, start = *pos;
    char *buf = kmalloc(PAGE_SIZE, 0);
    if (!buf)
        return -ENOMEM;
    int err = write && *pos >= size && it->left ? -ENOSPC : 0;
    while (!err && it->left && *pos < size) {
        u64 base = ALIGN_DOWN(*pos, PAGE_SIZE), len = MIN(PAGE_SIZE, size - base);
        size_t off = *pos - base, n = MIN(len - off, it->left), done;
        err = write && n == len ? 0 : blk_read(d, base / SECTOR_SIZE, buf, (u32)len);
        if (err)
            break;
        done = write ? iter_get(it, buf + off, n) : iter_put(it, buf + off, n);
        if (write && done)
            err = blk_write(d, base / SECTOR_SIZE, buf, (u32)len);
        if (!err)
            *pos += done;
        if (done < n)
            err = -EFAULT;
    }
    kfree(buf);
    return *pos > start ? (ssize_t)(*pos - start) : err;
}

static ssize_t bdev_read(struct file *f, struct iter *it, u64 *pos) { return blk_rw(f, it, pos, false); }
static ssize_t bdev_write(struct file *f, struct iter *it, u64 *pos) { return blk_rw(f, it, pos, true); }

static i64 bdev_seek(struct file *f, i64 off, int whence)
{
    struct blkdev *d = device_of(f->inode);
    i64 base = whence == SEEK_CUR ? (i64)f->pos : whence == SEEK_END && d ? (i64)(d->sectors * SECTOR_SIZE) : 0;
    if (whence > SEEK_END || base + off < 0)
        return -EINVAL;
    f->pos = (u64)(base + off);
    return base + off;
}

static long bdev_ioctl(struct file *f, u32 cmd, uptr arg)
{
    struct blkdev *d = device_of(f->inode);
    if (!d)
        return -ENXIO;
    switch (cmd) {
    case BLKGETSIZE64:
        return user_write_u64(arg, d->sectors * SECTOR_SIZE);
    case BLKGETSIZE:
        return user_write_u64(arg, d->sectors);
    case BLKSSZGET:
        return user_write_u32(arg, SECTOR_SIZE);
    case BLKROGET:
        return user_write_u32(arg, d->readonly);
    case BLKFLSBUF:
        vfs_sync_all();
        return 0;
    }
    return -ENOTTY;
}

static int bdev_fsync(struct file *f, bool data_only)
{
    (void)data_only;
    struct blkdev *d = device_of(f->inode);
    return d && d->has_flush ? blk_flush(d) : 0;
}

const struct file_ops blkdev_file_ops = {
    .read = bdev_read, .write = bdev_write, .seek = bdev_seek, .ioctl = bdev_ioctl, .fsync = bdev_fsync,
};

void memdev_init(void)
{
    for (unsigned n = 0; n < ARRAY_SIZE(devices); n++)
        chardev_register(&devices[n]);
}

void memdev_populate(struct inode *dir)
{
    static const char *const links[][2] = {
        { "/proc/self/fd", "fd" }, { "/proc/self/fd/0", "stdin" }, { "/proc/self/fd/1", "stdout" }, { "/proc/self/fd/2", "stderr" },
    };
    for (unsigned n = 0; n < ARRAY_SIZE(links); n++)
        dir->ops->symlink(dir, links[n][1], strlen(links[n][1]), links[n][0]);
    for (struct list *n = blkdevs.next; n != &blkdevs; n = n->next) {
        struct blkdev *d = list_entry(n, struct blkdev, node);
        struct inode *i = dir->ops->create(dir, d->name, strlen(d->name), S_IFBLK | 0660, make_dev(d->major, d->minor));
        if (!is_err(i))
            inode_put(i);
    }
}
