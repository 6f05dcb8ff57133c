// SPDX-License-Identifier: Apache-2.0
// The areas that show files, as the page cache asks for them: which pages of a file are mapped where, unmapping and cleaning them.
#include "fs.h"
#include "lib.h"
#include "process.h"
#include "spinlock.h"
#include "vm_priv.h"

static struct mm *the_mm(void) { return &the_process->mm; }

// Before the first program there is nothing but an empty tree: no lock that could be waited for.
bool vm_any(bool (*is)(const struct vma *v, const void *arg), const void *arg)
{
    bool found = false;
    spin_lock(&vm_tree_lock);
    for (struct vma *v = vm_find(0); v && !found; v = vma_next(v))
        found = is(v, arg);
    spin_unlock(&vm_tree_lock);
    return found;
}

static bool may_write(const struct vma *v, const void *ino)
{
    return v->file && v->file->inode == ino && (v->flags & (VMA_SHARED | VMA_SEALED)) == VMA_SHARED && (v->file->flags & ACCMODE) == RDWR;
}

// Does a shared mapping that may become writable show this file (memfd seals, ETXTBSY)?
bool vm_writable_mapping(const struct inode *ino) { return vm_any(may_write, ino); }

// All areas of a file, without mm->lock: the page cache calls from below it. Nothing here sleeps.
static void each_file_range(struct inode *ino, u64 first, u64 n, void (*fn)(struct mm *mm, u64 start, u64 end))
{
    if (!the_process)
        return;
    spin_lock(&vm_tree_lock);
    for (struct rbnode *r = rb_first(&the_mm()->vmas); r; r = rb_next(r)) {
        struct vma *v = container_of(r, struct vma, node);
        u64 pages = (v->end - v->start) >> PAGE_SHIFT;
        if (!v->file || v->file->inode != ino || v->pgoff + pages <= first)
            continue;
        u64 from = MAX(first, v->pgoff) - v->pgoff;
        u64 to = n > ~first || first + n >= v->pgoff + pages ? pages : first + n > v->pgoff ? first + n - v->pgoff : 0;
        if (from < to)
            fn(the_mm(), v->start + from * PAGE_SIZE, v->start + to * PAGE_SIZE);
    }
    spin_unlock(&vm_tree_lock);
}

// One area after the other, from the one that holds or follows `from`; fn returns false to stop. Returns where it stopped.
u64 vm_each_file_area(u64 from, bool (*fn)(struct mm *mm, struct vma *v, void *arg), void *arg)
{
    u64 at = 0;
    if (!the_process)
        return 0;
    spin_lock(&vm_tree_lock);
    for (struct vma *v = vm_find(from); v; v = vma_next(v))
        if (v->file && !(v->flags & (VMA_LOCKED | VMA_SPECIAL)) && !fn(the_mm(), v, arg)) {
            at = v->end;
            break;
        }
    spin_unlock(&vm_tree_lock);
    return at;
}

// Private copies stay, also beyond a new end of the file (Linux drops those; POSIX leaves it open), the file's own pages go.
static void zap_cached(struct mm *mm, u64 start, u64 end)
{
    u32 n;
    u64 va = start, *e;
    while ((e = pte_span(&va, end, &n))) {
        for (u32 i = 0; i < n; i++) {
            u64 old = e[i];
            if (!old || (old & PTE_ADDR) == zero_pa || !(page_from_pa(old & PTE_ADDR)->flags & PG_CACHE))
                continue;
            e[i] = 0;
            tlb_flush_page(va + i * PAGE_SIZE);
            pte_drop(mm, old);
        }
        va += n * PAGE_SIZE;
    }
}

void vm_unmap_file_pages(struct inode *ino, u64 first, u64 n) { each_file_range(ino, first, n, zap_cached); }

// A page became dirty for the cache when it was made writable; it is write-protected here, so that the next write is noticed again.
static void clean(struct mm *mm, u64 start, u64 end)
{
    u32 n;
    u64 va = start, *e;
    (void)mm;
    while ((e = pte_span(&va, end, &n))) {
        for (u32 i = 0; i < n; i++) {
            if (!(e[i] & PTE_W) || !(page_from_pa(e[i] & PTE_ADDR)->flags & PG_CACHE))
                continue;
            e[i] &= ~(u64)(PTE_W | PTE_D);
            tlb_flush_page(va + i * PAGE_SIZE);
        }
        va += n * PAGE_SIZE;
    }
}

void vm_clean_file_pages(struct inode *ino, u64 first, u64 n) { each_file_range(ino, first, n, clean); }
