// SPDX-License-Identifier: Apache-2.0
// madvise, mincore, the mlock family, NUMA policies (one node).
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include "errno.h"
#include "fs.h"
#include "process.h"
#include "syscalls.h"
#include "uaccess.h"
#include "../mm/vm_priv.h"

enum { RLIMIT_MEMLOCK = 8 };
#define MLOCK_ONFAULT_FLAG 1
#define MCL_ALL (MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)

static struct mm *mm_now(void) { return &the_process->mm; }

// What an advice does to one area's part [start, end). The write lock is held.
static int advise(struct mm *mm, struct vma *v, u64 start, u64 end, int advice)
{
    switch (advice) {
    case MADV_DONTNEED:
        if (v->flags & (VMA_LOCKED | VMA_SPECIAL))
            return -EINVAL;
        if (v->file || !(v->flags & VMA_SHARED))    // shared anonymous memory keeps its contents
            pte_zap(mm, start, end);
        return 0;
    case MADV_FREE:
        if (v->file || (v->flags & VMA_SHARED))
            return -EINVAL;
        pte_zap(mm, start, end);
        return 0;
    case MADV_REMOVE:
        if (!(v->flags & VMA_SHARED) || (v->flags & VMA_LOCKED))
            return -EINVAL;
        if (v->file)
            return -EOPNOTSUPP;
        pte_zap(mm, start, end);
        return 0;
    case MADV_DONTDUMP:
    case MADV_DODUMP:
        if (vm_split(mm, start) || vm_split(mm, end))
            return -ENOMEM;
        v = vm_find(start);
        v->flags = advice == MADV_DONTDUMP ? v->flags | VMA_DONTDUMP : v->flags & ~(u32)VMA_DONTDUMP;
        return 0;
    case MADV_WIPEONFORK:
        return v->file || (v->flags & VMA_SHARED) ? -EINVAL : 0;
    case MADV_COLD:
    case MADV_PAGEOUT:
        return v->flags & VMA_LOCKED ? -EINVAL : 0;
    default:
        return 0;           // a hint about access, huge pages, forks or merging that changes nothing here
    }
}

static bool advice_known(int a)
{
    switch (a) {
    case MADV_NORMAL: case MADV_RANDOM: case MADV_SEQUENTIAL: case MADV_WILLNEED: case MADV_DONTNEED: case MADV_FREE: case MADV_REMOVE:
    case MADV_DONTFORK: case MADV_DOFORK: case MADV_MERGEABLE: case MADV_UNMERGEABLE: case MADV_HUGEPAGE: case MADV_NOHUGEPAGE:
    case MADV_DONTDUMP: case MADV_DODUMP: case MADV_WIPEONFORK: case MADV_KEEPONFORK: case MADV_COLD: case MADV_PAGEOUT:
    case MADV_POPULATE_READ: case MADV_POPULATE_WRITE:
        return true;
    default:
        return false;
    }
}

static long populate(u64 start, u64 end, bool write)
{
    int err = vm_prefault(start, end - start, write);
    return err == -EACCES ? -EFAULT : err == -EFAULT ? -ENOMEM : err;
}

long sys_madvise(struct regs *r)
{
    struct mm *mm = mm_now();
    u64 start = r->arg[0], len = ALIGN_UP(r->arg[1], PAGE_SIZE), end = start + len;
    int advice = (int)r->arg[2];
    long err = 0;
    if (!advice_known(advice) || (start & ~PAGE_MASK) || (r->arg[1] && !len) || end < start)
        return -EINVAL;
    if (start == end)
        return 0;
    if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE)
        return populate(start, end, advice == MADV_POPULATE_WRITE);
    bool hole = false;
    rw_write_lock(&mm->lock);
    for (u64 at = start; at < end && !err;) {
        struct vma *v = vm_find(at);
        if (!v || v->start >= end) {
            hole = true;
            break;
        }
        if (v->start > at)
            hole = true;
        u64 from = MAX(v->start, at), to = MIN(v->end, end);
        err = advise(mm, v, from, to, advice);
        at = to;
    }
    vm_merge_around(mm, start, end);
    rw_write_unlock(&mm->lock);
    return err ? err : hole ? -ENOMEM : 0;
}

// One byte per page; sixty-four at a time, because user memory is not written under the lock.
static long mincore_part(u64 addr, u32 n, u8 *out)
{
    struct mm *mm = mm_now();
    long err = 0;
    rw_read_lock(&mm->lock);
    for (u32 i = 0; i < n && !err; i++) {
        u64 va = addr + i * PAGE_SIZE;
        struct vma *v = vm_find(va);
        if (!v || v->start > va) {
            err = -ENOMEM;
            break;
        }
        int level;
        u64 *e = pt_lookup(va, &level);
        out[i] = e && (*e & PTE_THERE);
        if (!out[i] && v->file) {
            struct page *p = pagecache_peek(v->file, v->pgoff + ((va - v->start) >> PAGE_SHIFT));
            out[i] = p != NULL;
            if (p)
                page_put(p);
        }
    }
    rw_read_unlock(&mm->lock);
    return err;
}

long sys_mincore(struct regs *r)
{
    u64 addr = r->arg[0], pages = (r->arg[1] + PAGE_SIZE - 1) >> PAGE_SHIFT;
    uptr out = r->arg[2];
    u8 part[64];
    if (addr & ~PAGE_MASK)
        return -EINVAL;
    if (!user_range_ok(addr, r->arg[1]))
        return -ENOMEM;
    if (!user_range_ok(out, pages))
        return -EFAULT;
    while (pages) {
        u32 n = (u32)MIN(pages, sizeof(part));
        long err = mincore_part(addr, n, part);
        if (!err)
            err = copy_to_user(out, part, n);
        if (err)
            return err;
        addr += n * PAGE_SIZE;
        out += n;
        pages -= n;
    }
    return 0;
}

static bool over_memlock(u64 pages)
{
    u64 limit = the_process->rlim[RLIMIT_MEMLOCK].soft;
    return !capable(CAP_IPC_LOCK) && limit != ~0ull && pages > limit >> PAGE_SHIFT;
}

static void mark_locked(struct mm *mm, struct vma *v, u32 how)
{
    i64 pages = (i64)((v->end - v->start) >> PAGE_SHIFT);
    vm_account(mm, v, -pages);
    v->flags = (v->flags & ~(u32)(VMA_LOCKED | VMA_ONFAULT)) | how;
    vm_account(mm, v, pages);
}

// Sets what is locked, or nothing, on every area of the range; -ENOMEM where there is a hole.
static long lock_range(u64 start, u64 end, u32 how)
{
    struct mm *mm = mm_now();
    long err = 0;
    u64 at = start;
    rw_write_lock(&mm->lock);
    if (vm_split(mm, start) || vm_split(mm, end))
        err = -ENOMEM;
    for (struct vma *v = vm_find(start); !err && v && v->start < end; v = vma_next(v)) {
        if (v->start > at) {
            err = -ENOMEM;
            break;
        }
        mark_locked(mm, v, how);
        at = v->end;
    }
    if (!err && at < end)
        err = -ENOMEM;
    vm_merge_around(mm, start, end);
    rw_write_unlock(&mm->lock);
    return err;
}

static long do_mlock(u64 addr, u64 len, u32 how)
{
    u64 start = addr & PAGE_MASK, end = ALIGN_UP(addr + len, PAGE_SIZE);
    if (end < start)
        return -EINVAL;
    if (end == start)
        return 0;
    if (!capable(CAP_IPC_LOCK) && !the_process->rlim[RLIMIT_MEMLOCK].soft)
        return -EPERM;
    if (over_memlock(mm_now()->locked_pages + ((end - start) >> PAGE_SHIFT)))
        return -ENOMEM;
    long err = lock_range(start, end, how);
    if (!err && !(how & VMA_ONFAULT)) {
        int e = vm_prefault(start, end - start, false);
        err = e ? -ENOMEM : 0;
    }
    return err;
}

long sys_mlock(struct regs *r) { return do_mlock(r->arg[0], r->arg[1], VMA_LOCKED); }

long sys_mlock2(struct regs *r)
{
    if (r->arg[2] & ~(u64)MLOCK_ONFAULT_FLAG)
        return -EINVAL;
    return do_mlock(r->arg[0], r->arg[1], VMA_LOCKED | (r->arg[2] ? VMA_ONFAULT : 0));
}

long sys_munlock(struct regs *r)
{
    u64 start = r->arg[0] & PAGE_MASK, end = ALIGN_UP(r->arg[0] + r->arg[1], PAGE_SIZE);
    if (end < start)
        return -EINVAL;
    return end == start ? 0 : lock_range(start, end, 0);
}

// Every area there is.
static void mark_all(u32 how)
{
    struct mm *mm = mm_now();
    rw_write_lock(&mm->lock);
    for (struct vma *v = vm_find(0); v; v = vma_next(v))
        mark_locked(mm, v, how);
    rw_write_unlock(&mm->lock);
}

// All that may be read becomes resident; what cannot does not matter, as on Linux.
static void populate_all(void)
{
    struct mm *mm = mm_now();
    for (u64 at = 0;;) {
        rw_read_lock(&mm->lock);
        const struct vma *v = vm_find(at);
        u64 start = v ? v->start : 0, end = v ? v->end : 0;
        bool can = v && v->prot && !(v->flags & VMA_SPECIAL);
        rw_read_unlock(&mm->lock);
        if (!end)
            return;
        if (can)
            vm_prefault(start, end - start, false);
        at = end;
    }
}

long sys_mlockall(struct regs *r)
{
    u64 flags = r->arg[0];
    if (!flags || (flags & ~(u64)MCL_ALL) || flags == MCL_ONFAULT)
        return -EINVAL;
    if (!capable(CAP_IPC_LOCK) && !the_process->rlim[RLIMIT_MEMLOCK].soft)
        return -EPERM;
    if ((flags & MCL_CURRENT) && over_memlock(mm_now()->total_pages))
        return -ENOMEM;
    u32 how = VMA_LOCKED | (flags & MCL_ONFAULT ? VMA_ONFAULT : 0);
    mm_now()->lock_future = flags & MCL_FUTURE ? how : 0;
    if (flags & MCL_CURRENT)
        mark_all(how);
    if ((flags & (MCL_CURRENT | MCL_ONFAULT)) == MCL_CURRENT)
        populate_all();
    return 0;
}

long sys_munlockall(struct regs *r)
{
    (void)r;
    mm_now()->lock_future = 0;
    mark_all(0);
    return 0;
}

// One NUMA node: every policy comes to the same.
long sys_set_mempolicy(struct regs *r)
{
    i32 mode = (i32)r->arg[0] & ~(i32)MPOL_MODE_FLAGS;
    return mode < 0 || mode >= MPOL_MAX ? -EINVAL : 0;
}

long sys_get_mempolicy(struct regs *r)
{
    u64 flags = r->arg[4];
    if (flags & ~(u64)(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED))
        return -EINVAL;
    if (r->arg[1] && r->arg[2]) {
        u64 mask = flags & MPOL_F_MEMS_ALLOWED ? 1 : 0;
        u64 bytes = (r->arg[2] + 7) / 8;
        if (clear_user(r->arg[1], MIN(bytes, 128ul)) || user_write_u64(r->arg[1], mask))
            return -EFAULT;
    }
    return r->arg[0] ? user_write_u32(r->arg[0], 0) : 0;
}

long sys_mbind(struct regs *r)
{
    i32 mode = (i32)r->arg[2] & ~(i32)MPOL_MODE_FLAGS;
    if ((r->arg[0] & ~PAGE_MASK) || mode < 0 || mode >= MPOL_MAX)
        return -EINVAL;
    return 0;
}
