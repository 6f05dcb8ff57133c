// SPDX-License-Identifier: Apache-2.0
// mremap(2): shrink, grow in place, or move the page table entries to where there is room.
#include <linux/mman.h>
#include "errno.h"
#include "fs.h"
#include "process.h"
#include "syscalls.h"
#include "uaccess.h"
#include "../mm/vm_priv.h"

struct remap {
    u64 addr, old_len, new_len, flags, target;
};

static int shrink(struct mm *mm, u64 start, u64 end)
{
    if (vm_split(mm, start) || vm_split(mm, end))
        return -ENOMEM;
    vm_unmap_locked(mm, start, end);
    return 0;
}

// The area that holds the whole old range, or -EFAULT.
static struct vma *source(const struct remap *m)
{
    struct vma *v = vm_find(m->addr);
    if (!v || v->start > m->addr || (m->old_len && v->end - m->addr < m->old_len))
        return err_ptr(-EFAULT);
    if (!m->old_len && !(v->flags & VMA_SHARED))
        return err_ptr(-EINVAL);
    return v;
}

static bool grow_in_place(struct mm *mm, struct vma *v, const struct remap *m)
{
    u64 end = m->addr + m->old_len, more = m->new_len - m->old_len;
    if (v->end != end || vm_overlaps(end, end + more) || m->addr + m->new_len > USER_MAX)
        return false;
    struct vma *next = vma_next(v);
    if (next && (next->flags & (VMA_STACK | VMA_GROWSDOWN)) && next->start - (m->addr + m->new_len) < STACK_GAP)
        return false;
    vm_account(mm, v, (i64)(more >> PAGE_SHIFT));
    v->end += more;
    vm_merge_around(mm, end, end + more);
    return true;
}

// A new area like v at m->target (fixed) or anywhere, with the pages of the old one.
static long move(struct mm *mm, struct vma *v, const struct remap *m)
{
    bool fixed = m->flags & MREMAP_FIXED, keep = m->flags & MREMAP_DONTUNMAP;
    u64 pgoff = v->pgoff + ((m->addr - v->start) >> PAGE_SHIFT), len = MIN(m->old_len, m->new_len);
    u32 prot = v->prot, flags = v->flags;
    const char *name = v->name;
    struct file *f = v->file ? file_get(v->file) : NULL;
    long at = vm_map_locked(mm, fixed || keep ? m->target : 0, m->new_len, prot, flags, f, pgoff, fixed, false);
    if (f)
        file_put(f);
    if (at < 0)
        return at;
    struct vma *n = vm_find((u64)at);
    if (n && n->start == (u64)at && n->end == (u64)at + m->new_len)
        n->name = name;
    if (pte_move(m->addr, (u64)at, len)) {
        shrink(mm, (u64)at, (u64)at + m->new_len);
        return -ENOMEM;
    }
    if (!keep && m->old_len) {
        int err = shrink(mm, m->addr, m->addr + m->old_len);
        if (err)
            return err;
    }
    return at;
}

static long remap_fixed(struct mm *mm, struct remap *m)
{
    if ((m->target & ~PAGE_MASK) || m->new_len > USER_MAX || m->target > USER_MAX - m->new_len)
        return -EINVAL;
    if (m->addr + m->old_len > m->target && m->target + m->new_len > m->addr)
        return -EINVAL;         // they overlap
    struct vma *v = source(m);
    if (is_err(v))
        return ptr_err(v);
    if (m->old_len > m->new_len) {
        int err = shrink(mm, m->addr + m->new_len, m->addr + m->old_len);
        if (err)
            return err;
        m->old_len = m->new_len;
        v = vm_find(m->addr);
    }
    int err = m->new_len > m->old_len ? vm_may_grow(mm, (m->new_len - m->old_len) >> PAGE_SHIFT, v->prot, v->flags, v->file) : 0;
    return err ? err : move(mm, v, m);
}

static long remap(struct mm *mm, struct remap *m)
{
    if (m->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
        return remap_fixed(mm, m);          // for the latter the target is a hint
    if (m->old_len >= m->new_len) {
        struct vma *v = vm_find(m->addr);
        if (!v || v->start > m->addr)
            return -EFAULT;
        if (m->old_len > m->new_len) {
            int err = shrink(mm, m->addr + m->new_len, m->addr + m->old_len);
            if (err)
                return err;
        }
        return (long)m->addr;
    }
    struct vma *v = source(m);
    if (is_err(v))
        return ptr_err(v);
    u64 more = m->new_len - m->old_len;
    int err = vm_may_grow(mm, more >> PAGE_SHIFT, v->prot, v->flags, v->file);
    if (err)
        return err;
    if (m->old_len && grow_in_place(mm, v, m))
        return (long)m->addr;
    return m->flags & MREMAP_MAYMOVE ? move(mm, v, m) : -ENOMEM;
}

long sys_mremap(struct regs *r)
{
    struct mm *mm = &the_process->mm;
    struct remap m = { r->arg[0], ALIGN_UP(r->arg[1], PAGE_SIZE), ALIGN_UP(r->arg[2], PAGE_SIZE), r->arg[3], r->arg[4] };
    if (m.flags & ~(u64)(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP))
        return -EINVAL;
    if ((m.flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(m.flags & MREMAP_MAYMOVE))
        return -EINVAL;
    if ((m.flags & MREMAP_DONTUNMAP) && m.old_len != m.new_len)
        return -EINVAL;
    if ((m.addr & ~PAGE_MASK) || !m.new_len)
        return -EINVAL;
    if (m.addr > USER_MAX || m.old_len > USER_MAX - m.addr)
        return -EFAULT;
    if (m.new_len > USER_MAX)
        return -ENOMEM;
    rw_write_lock(&mm->lock);
    long at = remap(mm, &m);
    rw_write_unlock(&mm->lock);
    return at;
}
