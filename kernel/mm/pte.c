// SPDX-License-Identifier: Apache-2.0
// Walking the page tables of the program's half. On one CPU an entry and the TLB are changed without a pause in between, and a page
// goes back to the allocator only after its entry is out of the TLB.
#include "errno.h"
#include "fs.h"
#include "vm_priv.h"

#define FLUSH_ALL 1024u             // from so many pages on, one flush of everything is cheaper

u64 vvar_pa = ~0ull, vdso_pa = ~0ull;

// Without a table at some level, a whole range is skipped at once.
u64 *pte_span(u64 *va, u64 end, u32 *n)
{
    while (*va < end) {
        int level;
        u64 *e = pt_lookup(*va, &level);
        u64 table_end = ALIGN_DOWN(*va, BIT(21)) + BIT(21);
        if (e) {
            *n = (u32)((MIN(table_end, end) - *va) / PAGE_SIZE);
            return e;
        }
        *va = pt_skip(*va);
    }
    return NULL;
}

u64 pte_bits(const struct vma *v, bool write)
{
    u64 e = v->prot ? PTE_P | PTE_U : PTE_NONE | PTE_U;
    if (write && (v->prot & VM_WRITE))
        e |= PTE_W;
    if (!(v->prot & VM_EXEC))
        e |= PTE_NX;
    return e;
}

void pte_drop(struct mm *mm, u64 e)
{
    u64 pa = e & PTE_ADDR;
    if (pa == zero_pa || pa == vvar_pa || pa == vdso_pa)
        return;
    struct page *p = page_from_pa(pa);
    if (p->flags & PG_CACHE) {
        mm->file_pages--;
    } else {
        mm->anon_pages--;
        mem_account_anon(-1);
    }
    page_put(p);
}

void pte_zap(struct mm *mm, u64 start, u64 end)
{
    u32 n, flushed = 0;
    u64 va = start, *e;
    mm->peak_pages = vm_peak(mm);
    while ((e = pte_span(&va, end, &n))) {
        for (u32 i = 0; i < n; i++) {
            u64 old = e[i];
            if (!old)
                continue;
            e[i] = 0;
            // What was never accessed is not in the TLB.
            if ((old & PTE_A) && ++flushed < FLUSH_ALL)
                tlb_flush_page(va + i * PAGE_SIZE);
            pte_drop(mm, old);
        }
        va += n * PAGE_SIZE;
    }
    if (flushed >= FLUSH_ALL)
        tlb_flush_all();
}

// A page may be written at once when it is the program's own; the page cache's must fault first, to be copied or marked dirty.
void pte_protect(struct vma *v, u64 start, u64 end)
{
    u32 n;
    u64 va = start, *e;
    while ((e = pte_span(&va, end, &n))) {
        for (u32 i = 0; i < n; i++) {
            u64 old = e[i];
            if (!old)
                continue;
            bool own = !(old & PTE_COW) && (!v->file || !(v->flags & VMA_SHARED) || (old & PTE_W));
            u64 new = (old & (PTE_ADDR | PTE_COW | PTE_A | PTE_D)) | pte_bits(v, own);
            if (new == old)
                continue;
            e[i] = new;
            if (old & PTE_A)
                tlb_flush_page(va + i * PAGE_SIZE);
        }
        va += n * PAGE_SIZE;
    }
}

int pte_move(u64 from, u64 to, u64 len)
{
    u32 n;
    u64 va = from, end = from + len, *e;
    while ((e = pte_span(&va, end, &n))) {
        for (u32 i = 0; i < n; i++)
            if (e[i] && !pt_ensure(to + (va - from) + i * PAGE_SIZE))
                return -ENOMEM;
        va += n * PAGE_SIZE;
    }
    va = from;
    while ((e = pte_span(&va, end, &n))) {
        for (u32 i = 0; i < n; i++) {
            u64 old = e[i];
            if (!old)
                continue;
            e[i] = 0;
            if (old & PTE_A)
                tlb_flush_page(va + i * PAGE_SIZE);
            *pt_ensure(to + (va - from) + i * PAGE_SIZE) = old;
        }
        va += n * PAGE_SIZE;
    }
    return 0;
}
