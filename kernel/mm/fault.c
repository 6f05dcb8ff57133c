// SPDX-License-Identifier: Apache-2.0
// Page faults of the program: pages on demand, copy on write, stacks that grow. mm->lock is held shared; an entry may change while an
// allocation or a read sleeps, so everything that sleeps comes first, then the entry is looked at again, then it is set.
#include "arch.h"
#include "bootinfo.h"
#include "errno.h"
#include "fs.h"
#include "lib.h"
#include "mm_priv.h"
#include "page.h"
#include "process.h"
#include "uaccess.h"
#include "vm_priv.h"

enum { PF_PRESENT = 1, PF_WRITE = 2, PF_FETCH = 16 };
enum { RLIMIT_STACK = 3 };
#define AROUND_MAX 15u              // pages beyond the faulting one

static u8 zero_page[PAGE_SIZE] ALIGNED(4096);
u64 zero_pa;

void vm_init(void) { zero_pa = kernel_pa(zero_page); }

static void count_anon(struct mm *mm, long n)
{
    mm->anon_pages += (u64)n;
    mem_account_anon(n);
}

// A program that walks upward through fresh memory is met half way: as many pages as lie filled just below, up to a limit.
static void fault_around(struct mm *mm, struct vma *v, u64 addr, u64 *e)
{
    u32 slot = (u32)(addr >> PAGE_SHIFT) & 511, run = 0;
    while (run < AROUND_MAX && run < slot && e[-1 - (i64)run])
        run++;
    u32 room = (u32)MIN((v->end - addr) / PAGE_SIZE - 1, (u64)(511 - slot));
    u32 n = MIN(run, room), i = 1;
    if (!n || mem_free_pages() < 256)
        return;
    for (; i <= n && !e[i]; i++) {
        struct page *p = page_alloc(0, PA_ZERO | PA_USER | PA_ATOMIC);
        if (!p)
            break;
        e[i] = page_pa(p) | pte_bits(v, true);
    }
    count_anon(mm, i - 1);
}

static int fault_anon(struct mm *mm, struct vma *v, u64 addr, u64 *e, bool write)
{
    if (!write && !(v->flags & VMA_SHARED)) {
        *e = zero_pa | pte_bits(v, false) | PTE_COW | PTE_A;
        return 0;
    }
    struct page *p = page_alloc(0, PA_ZERO | PA_USER);
    if (!p)
        return -ENOMEM;
    if (*e) {                       // another thread was faster
        page_put(p);
        return 0;
    }
    *e = page_pa(p) | pte_bits(v, true) | PTE_A | (write ? PTE_D : 0);
    count_anon(mm, 1);
    if (write)
        fault_around(mm, v, addr, e);
    return 0;
}

static void set_copy(struct mm *mm, struct vma *v, u64 addr, u64 *e, struct page *copy)
{
    u64 old = *e;
    *e = page_pa(copy) | pte_bits(v, true) | PTE_A | PTE_D;
    count_anon(mm, 1);
    if (old) {
        tlb_flush_page(addr);
        pte_drop(mm, old);
    }
}

// A private page that the program may write to: a copy of the file's.
static int fault_private_write(struct mm *mm, struct vma *v, u64 addr, u64 *e, u64 index)
{
    struct page *copy = page_alloc(0, PA_USER);
    if (!copy)
        return -ENOMEM;
    struct page *src = pagecache_fault(v->file, index, false);
    if (is_err(src)) {
        page_put(copy);
        return (int)ptr_err(src);
    }
    memcpy(page_va(copy), page_va(src), PAGE_SIZE);
    page_put(src);
    if (*e)
        page_put(copy);
    else
        set_copy(mm, v, addr, e, copy);
    return 0;
}

// Neighbors that are in the page cache already come along: no read, no wait.
static void file_around(struct mm *mm, struct vma *v, u64 addr, u64 *e)
{
    u64 start = MAX(v->start, ALIGN_DOWN(addr, 16 * PAGE_SIZE)), end = MIN(v->end, start + 16 * PAGE_SIZE);
    u64 bits = pte_bits(v, false) | (v->flags & VMA_SHARED ? 0 : PTE_COW);
    for (u64 va = start; va < end; va += PAGE_SIZE) {
        u64 *n = e + ((i64)(va - addr) >> PAGE_SHIFT);
        if (*n || ((va ^ addr) >> 21))
            continue;
        struct page *p = pagecache_peek(v->file, v->pgoff + ((va - v->start) >> PAGE_SHIFT));
        if (!p)
            continue;
        *n = page_pa(p) | bits;
        mm->file_pages++;
    }
}

static int fault_file(struct mm *mm, struct vma *v, u64 addr, u64 *e, bool write)
{
    u64 index = v->pgoff + ((addr - v->start) >> PAGE_SHIFT);
    bool shared = v->flags & VMA_SHARED;
    if (write && !shared)
        return fault_private_write(mm, v, addr, e, index);
    struct page *p = pagecache_fault(v->file, index, write);
    if (is_err(p))
        return (int)ptr_err(p);
    if (*e) {
        page_put(p);
        return 0;
    }
    *e = page_pa(p) | pte_bits(v, write) | PTE_A | (shared ? 0 : PTE_COW) | (write ? PTE_D : 0);
    mm->file_pages++;
    if (!write)
        file_around(mm, v, addr, e);
    return 0;
}

static int copy_page(struct mm *mm, struct vma *v, u64 addr, u64 *e)
{
    u64 old = *e;
    struct page *copy = page_alloc(0, PA_USER);
    if (!copy)
        return -ENOMEM;
    if (*e != old) {
        page_put(copy);
        return 0;
    }
    memcpy(page_va(copy), pa_to_va(old & PTE_ADDR), PAGE_SIZE);
    set_copy(mm, v, addr, e, copy);
    return 0;
}

// The page is there but read-only, and the area allows writing.
static int write_protected(struct mm *mm, struct vma *v, u64 addr, u64 *e)
{
    if (*e & PTE_COW)
        return copy_page(mm, v, addr, e);
    if (v->file && (v->flags & VMA_SHARED)) {
        struct page *p = pagecache_fault(v->file, v->pgoff + ((addr - v->start) >> PAGE_SHIFT), true);
        if (is_err(p))
            return (int)ptr_err(p);
        bool same = (*e & PTE_P) && (*e & PTE_ADDR) == page_pa(p);
        page_put(p);
        if (!same)
            return 0;               // it was truncated meanwhile; the access faults again
    }
    *e |= PTE_W | PTE_A | PTE_D;
    tlb_flush_page(addr);
    return 0;
}

static int resolve(struct mm *mm, struct vma *v, u64 addr, bool write)
{
    u64 *e = pt_ensure(addr);
    if (!e)
        return -ENOMEM;
    if (!*e)
        return v->file ? fault_file(mm, v, addr, e, write) : fault_anon(mm, v, addr, e, write);
    if (write && !(*e & PTE_W))
        return write_protected(mm, v, addr, e);
    tlb_flush_page(addr);           // another thread was faster
    return 0;
}

// v is the area above addr; it may be a stack that grows down to it.
static bool grow_stack(struct mm *mm, struct vma *v, u64 addr)
{
    u64 limit = the_process->rlim[RLIMIT_STACK].soft, pages = (v->start - addr) >> PAGE_SHIFT;
    if (!(v->flags & (VMA_STACK | VMA_GROWSDOWN)) || v->end - addr > limit)
        return false;
    struct vma *below = vma_prev(v);
    if (below && below->prot && below->end + STACK_GAP > addr)
        return false;
    if (below && below->end > addr)
        return false;
    if (addr < MMAP_MIN || vm_may_grow(mm, pages, v->prot, v->flags, false))
        return false;
    vm_account(mm, v, (i64)pages);
    vma_set_start(v, addr);
    return true;
}

static int fault_locked(struct mm *mm, u64 addr, u32 code)
{
    // As on Linux, fetching from a page that is not there first brings it in like reading does; the next try then tells.
    u32 need = code & PF_WRITE ? VM_WRITE : (code & PF_FETCH) && (code & PF_PRESENT) ? VM_EXEC : VM_READ;
    struct vma *v = vm_find(addr);
    if (!v || (addr < v->start && !grow_stack(mm, v, addr)))
        return -EFAULT;
    // x86 has no write-only or execute-only pages: any right includes reading.
    if (need == VM_READ ? !v->prot : !(v->prot & need))
        return -EACCES;
    return resolve(mm, v, addr, need == VM_WRITE);
}

int vm_fault(u64 addr, u32 code)
{
    struct mm *mm = &the_process->mm;
    addr &= PAGE_MASK;
    rw_read_lock(&mm->lock);
    int err = fault_locked(mm, addr, code);
    rw_read_unlock(&mm->lock);
    current()->minflt++;
    if (err == -ENOMEM)
        oom_report(1, "a page of the program's memory");
    else if (err && err != -EFAULT && err != -EACCES)
        err = -EIO;                 // the disk is full or broken: SIGBUS
    return err;
}

int vm_prefault(u64 addr, u64 len, bool write)
{
    struct mm *mm = &the_process->mm;
    int err = 0;
    for (u64 va = addr & PAGE_MASK; va < addr + len && !err; va += PAGE_SIZE) {
        int level;
        u64 *e = pt_lookup(va, &level);
        if (e && (*e & PTE_P) && (!write || (*e & PTE_W)))
            continue;
        rw_read_lock(&mm->lock);
        err = fault_locked(mm, va, write ? PF_WRITE : 0);
        rw_read_unlock(&mm->lock);
    }
    return err;
}
