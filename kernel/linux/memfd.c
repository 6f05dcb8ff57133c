// SPDX-License-Identifier: Apache-2.0
// memfd_create(2) and its seals. Seals that forbid writing are checked where writable access begins: by the operations below.
#include "fileio.h"
#include "locks.h"
#include "../fs/pagecache.h"
#include "vm.h"

#include <linux/memfd.h>

#define SEALS_KNOWN (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)

// Of a memfd's inode: priv holds the seals and a mark that says so.
#define SEALS_MARK 0x5ea10000ul

u32 inode_seals(const struct inode *i)
{
    u64 v = (u64)i->priv;
    return (v & ~0xfffful) == SEALS_MARK ? (u32)(v & 0xffff) : 0;
}

static bool is_memfd(const struct file *f)
{
    return f->inode && ((u64)f->inode->priv & ~0xfffful) == SEALS_MARK && S_ISREG(f->inode->mode);
}

long memfd_seals(struct file *f, u32 cmd, u32 arg)
{
    if (!is_memfd(f))
        return -EINVAL;
    u32 now = inode_seals(f->inode);
    if (cmd == F_GET_SEALS)
        return now;
    if (!file_writable(f))
        return -EPERM;
    if (arg & ~(u32)SEALS_KNOWN)
        return -EINVAL;
    if (now & F_SEAL_SEAL)
        return -EPERM;
    if ((arg & F_SEAL_WRITE) && vm_writable_mapping(f->inode))
        return -EBUSY;
    f->inode->priv = (void *)(SEALS_MARK | now | arg);
    return 0;
}

static ssize_t sealed_write(struct file *f, struct iter *it, u64 *pos)
{
    u32 seals = inode_seals(f->inode);
    if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        return -EPERM;
    u64 at = (f->flags & O_APPEND) ? f->inode->size : *pos;
    if ((seals & F_SEAL_GROW) && at + it->left > f->inode->size) {
        if (at >= f->inode->size)
            return -EPERM;
        it->left = f->inode->size - at;
    }
    return pc_write(f, it, pos);
}

static int sealed_mmap(struct file *f, struct vma *v)
{
    u32 seals = inode_seals(f->inode);
    if ((v->flags & VMA_SHARED) && (v->prot & VM_WRITE) && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
        return -EPERM;
    if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        v->flags |= VMA_SEALED;
    return pc_mmap(f, v);
}

static int no_sync(struct file *f, bool data_only)
{
    (void)f, (void)data_only;
    return 0;
}

static const struct file_ops memfd_ops = {
    .read = pc_read, .write = sealed_write, .seek = generic_seek, .mmap = sealed_mmap, .fsync = no_sync,
};

long sys_memfd_create(struct regs *r)
{
    char name[256 + 6] = "memfd:";
    u32 flags = (u32)r->arg[1];
    ssize_t n = strncpy_from_user(name + 6, r->arg[0], 250);
    if (n < 0)
        return n == -ENAMETOOLONG ? -EINVAL : n;
    if (flags & ~(u32)(MFD_CLOEXEC | MFD_ALLOW_SEALING | 0x18))     // MFD_NOEXEC_SEAL, MFD_EXEC
        return -EINVAL;
    struct file *f = shmem_file(name, 0);
    if (is_err(f))
        return ptr_err(f);
    f->inode->priv = (void *)(SEALS_MARK | ((flags & MFD_ALLOW_SEALING) ? 0 : F_SEAL_SEAL));
    f->inode->fops = &memfd_ops;
    f->ops = &memfd_ops;
    int fd = fd_install(f, 0, flags & MFD_CLOEXEC);
    if (fd < 0)
        file_put(f);
    return fd;
}
