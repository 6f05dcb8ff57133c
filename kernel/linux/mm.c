// SPDX-License-Identifier: Apache-2.0
// System calls on mappings: brk, mmap, munmap, mprotect, mremap, msync. Semantics and errors: the manual pages of section 2 and, where
// they are silent, Linux 6.1's behavior.
#include <linux/mman.h>
#include "errno.h"
#include "fileio.h"
#include "fs.h"
#include "process.h"
#include "syscalls.h"
#include "uaccess.h"
#include "../mm/vm_priv.h"

enum { RLIMIT_DATA = 2, WRONLY = 1 };

enum { MS_NOEXEC_K = 8 };           // of a superblock's mount_flags

static struct mm *mm_now(void) { return &the_process->mm; }

long sys_brk(struct regs *r)
{
    struct mm *mm = mm_now();
    u64 want = r->arg[0];
    rw_write_lock(&mm->lock);
    u64 old_end = ALIGN_UP(mm->brk, PAGE_SIZE), new_end = ALIGN_UP(want, PAGE_SIZE);
    if (want < mm->brk_start || want > USER_MAX || want - mm->brk_start > the_process->rlim[RLIMIT_DATA].soft)
        goto out;
    if (new_end < old_end) {
        if (vm_split(mm, new_end) || vm_split(mm, old_end))
            goto out;
        vm_unmap_locked(mm, new_end, old_end);
    } else if (new_end > old_end) {
        struct vma *next = vm_find(old_end);
        u64 room = next && next->flags & (VMA_STACK | VMA_GROWSDOWN) ? STACK_GAP : PAGE_SIZE;
        if (next && next->start < new_end + room)
            goto out;
        if (vm_map_locked(mm, old_end, new_end - old_end, VM_READ | VM_WRITE, 0, NULL, 0, true, true) < 0)
            goto out;
        vm_find(old_end)->name = "[heap]";
        vm_merge_around(mm, old_end, new_end);
    }
    mm->brk = want;
out:;
    u64 now = mm->brk;
    rw_write_unlock(&mm->lock);
    return (long)now;
}

static int check_file(struct file *f, u32 prot, bool shared)
{
    u32 acc = f->flags & ACCMODE;
    if (acc == WRONLY)
        return -EACCES;
    if (shared && (prot & VM_WRITE) && (acc != RDWR))
        return -EACCES;
    return 0;
}

// The flags of the area, or -EINVAL for a mapping type that does not exist.
static long area_flags(u64 flags)
{
    u32 v = 0;
    u64 type = flags & MAP_TYPE;
    if (type == MAP_SHARED || type == MAP_SHARED_VALIDATE)
        v |= VMA_SHARED;
    else if (type != MAP_PRIVATE)
        return -EINVAL;
    if (flags & MAP_GROWSDOWN)
        v |= VMA_GROWSDOWN;
    if (flags & MAP_LOCKED)
        v |= VMA_LOCKED;
    if (flags & MAP_32BIT)
        v |= VMA_LOW;
    if (flags & MAP_NORESERVE)
        v |= VMA_NORESERVE;
    return v;
}

static long mmap_with(struct regs *r, struct file *f)
{
    u64 addr = r->arg[0], len = r->arg[1], off = r->arg[5];
    u32 prot = (u32)r->arg[2] & 7;
    u64 flags = r->arg[3];
    bool fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE), noreplace = flags & MAP_FIXED_NOREPLACE;
    if (!len)
        return -EINVAL;
    if (ALIGN_UP(len, PAGE_SIZE) < len || len > USER_MAX)
        return -ENOMEM;
    if (f && off + ALIGN_UP(len, PAGE_SIZE) < off)
        return -EOVERFLOW;
    long vflags = area_flags(flags);
    if (vflags < 0)
        return vflags;
    if ((flags & MAP_TYPE) == MAP_SHARED_VALIDATE && f && (flags & ~(u64)(MAP_TYPE | 0x7fff0)))
        return -EOPNOTSUPP;
    if (f && (vflags & VMA_GROWSDOWN))
        return -EINVAL;
    if (f && (prot & VM_EXEC) && f->inode && (f->inode->sb->mount_flags & MS_NOEXEC_K))
        return -EPERM;
    if (f) {
        int err = check_file(f, prot, vflags & VMA_SHARED);
        if (err)
            return err;
    }
    if (fixed && (addr & ~PAGE_MASK))
        return -EINVAL;
    if (fixed && (addr > USER_MAX || len > USER_MAX - addr))
        return -ENOMEM;
    if (fixed && addr < MMAP_MIN && !capable(CAP_SYS_RAWIO))
        return -EPERM;
    addr &= PAGE_MASK;
    long at = vm_map(addr, ALIGN_UP(len, PAGE_SIZE), prot, (u32)vflags, f, off >> PAGE_SHIFT, fixed, noreplace);
    if (at > 0 && prot && ((flags & (MAP_POPULATE | MAP_LOCKED)) || mm_now()->lock_future == VMA_LOCKED) && !(flags & MAP_NONBLOCK))
        vm_prefault((u64)at, len, prot & VM_WRITE && !(f && vflags & VMA_SHARED));
    return at;
}

long sys_mmap(struct regs *r)
{
    struct file *f = NULL;
    if (r->arg[5] & ~PAGE_MASK)
        return -EINVAL;
    if (!(r->arg[3] & MAP_ANONYMOUS)) {
        f = fd_file((int)r->arg[4], -1);
        if (is_err(f))
            return ptr_err(f);
    } else if (r->arg[3] & MAP_HUGETLB) {
        return -ENOMEM;         // no huge pages are set aside, as on a Linux that has none
    }
    long at = mmap_with(r, f);
    if (f)
        file_put(f);
    return at;
}

long sys_munmap(struct regs *r)
{
    return vm_unmap(r->arg[0], r->arg[1]);
}

static int protect_grows(u64 *start, u64 end, u64 prot)
{
    struct mm *mm = mm_now();
    rw_read_lock(&mm->lock);
    struct vma *v = vm_find(*start);
    bool ok = v && v->start < end && (v->flags & (VMA_GROWSDOWN | VMA_STACK));
    if (ok && (prot & PROT_GROWSDOWN))
        *start = v->start;
    rw_read_unlock(&mm->lock);
    return ok ? 0 : -EINVAL;
}

// Does a file in that range lie on a file system whose files may not be executed?
static bool not_executable(u64 start, u64 end)
{
    struct mm *mm = mm_now();
    bool found = false;
    rw_read_lock(&mm->lock);
    for (struct vma *v = vm_find(start); v && v->start < end && !found; v = vma_next(v))
        found = v->file && v->file->inode && (v->file->inode->sb->mount_flags & MS_NOEXEC_K);
    rw_read_unlock(&mm->lock);
    return found;
}

long sys_mprotect(struct regs *r)
{
    u64 addr = r->arg[0], len = ALIGN_UP(r->arg[1], PAGE_SIZE), prot = r->arg[2];
    if ((prot & PROT_GROWSDOWN) && (prot & PROT_GROWSUP))
        return -EINVAL;
    if (addr & ~PAGE_MASK)
        return -EINVAL;
    if (!r->arg[1])
        return 0;
    if (!len || addr + len < addr)
        return -ENOMEM;
    if (prot & ~(u64)(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM | PROT_GROWSDOWN | PROT_GROWSUP))
        return -EINVAL;
    if (prot & PROT_GROWSUP)
        return -EINVAL;
    if (prot & PROT_GROWSDOWN) {
        u64 start = addr;
        int err = protect_grows(&start, addr + len, prot);
        if (err)
            return err;
        len += addr - start;
        addr = start;
    }
    if ((prot & PROT_EXEC) && not_executable(addr, addr + len))
        return -EACCES;
    return vm_protect(addr, len, (u32)prot & 7);
}

long sys_pkey_mprotect(struct regs *r)
{
    return (i32)r->arg[3] == -1 ? sys_mprotect(r) : -EINVAL;
}

long sys_pkey_alloc(struct regs *r)
{
    return r->arg[0] || r->arg[1] & ~3ull ? -EINVAL : -ENOSPC;      // as on a CPU without protection keys
}

long sys_pkey_free(struct regs *r)
{
    (void)r;
    return -EINVAL;
}

// Writes back one area's part of the range. The file's fsync sleeps, so the lock is not held over it.
static long sync_range(u64 start, u64 end, u64 flags)
{
    struct mm *mm = mm_now();
    long hole = 0;
    while (start < end) {
        struct file *f = NULL;
        rw_read_lock(&mm->lock);
        struct vma *v = vm_find(start);
        if (!v || v->start >= end) {
            rw_read_unlock(&mm->lock);
            return -ENOMEM;
        }
        if (v->start > start)
            hole = -ENOMEM;
        if ((flags & MS_INVALIDATE) && (v->flags & VMA_LOCKED)) {
            rw_read_unlock(&mm->lock);
            return -EBUSY;
        }
        if ((flags & MS_SYNC) && v->file && (v->flags & VMA_SHARED))
            f = file_get(v->file);
        start = v->end;
        rw_read_unlock(&mm->lock);
        if (f) {
            int err = f->ops->fsync ? f->ops->fsync(f, true) : 0;
            file_put(f);
            if (err)
                return err;
        }
    }
    return hole;
}

long sys_msync(struct regs *r)
{
    u64 addr = r->arg[0], len = ALIGN_UP(r->arg[1], PAGE_SIZE), flags = r->arg[2];
    if ((flags & ~(u64)(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) || (addr & ~PAGE_MASK))
        return -EINVAL;
    if ((flags & MS_ASYNC) && (flags & MS_SYNC))
        return -EINVAL;
    if (addr + len < addr || (r->arg[1] && !len))
        return -ENOMEM;
    return len ? sync_range(addr, addr + len, flags) : 0;
}

// Linux emulates it by a new mapping, since 4.0; so does this.
long sys_remap_file_pages(struct regs *r)
{
    struct mm *mm = mm_now();
    u64 start = r->arg[0] & PAGE_MASK, len = r->arg[1] & PAGE_MASK, pgoff = r->arg[3];
    if (r->arg[2] || start + len <= start || pgoff + (len >> PAGE_SHIFT) < pgoff)
        return -EINVAL;
    rw_write_lock(&mm->lock);
    struct vma *v = vm_find(start);
    long at = -EINVAL;
    if (v && v->start <= start && v->end >= start + len && v->file && (v->flags & VMA_SHARED)) {
        struct file *f = file_get(v->file);
        at = vm_map_locked(mm, start, len, v->prot, v->flags, f, pgoff, true, false);
        file_put(f);
    }
    rw_write_unlock(&mm->lock);
    return at < 0 ? at : 0;
}
