// SPDX-License-Identifier: Apache-2.0
// Memory that is short: mapped pages of files go out of the page tables when they were not used since the last look (the CPU's
// accessed bits, a clock hand over the areas), so that the page cache can drop them. The program's own pages have nowhere to go.
#include "mm_priv.h"
#include "sched.h"
#include "time.h"
#include "vm_priv.h"

#define PAUSE_NS 5000000u

static u64 hand;                    // where the next look begins; the kernel is not preempted here

struct look {
    size_t want, got;
};

static bool look_at(struct mm *mm, struct vma *v, void *arg)
{
    struct look *l = arg;
    u32 n;
    u64 va = v->start, *e;
    while (l->got < l->want && (e = pte_span(&va, v->end, &n))) {
        for (u32 i = 0; i < n; i++) {
            u64 old = e[i];
            if (!(old & PTE_P) || (old & PTE_ADDR) == zero_pa || !(page_from_pa(old & PTE_ADDR)->flags & PG_CACHE))
                continue;
            e[i] = old & PTE_A ? old & ~(u64)PTE_A : 0;
            if (old & PTE_A)
                tlb_flush_page(va + i * PAGE_SIZE);
            if (!e[i]) {
                pte_drop(mm, old);
                l->got++;
            }
        }
        va += n * PAGE_SIZE;
    }
    return l->got < l->want;
}

size_t vm_unmap_idle(size_t pages)
{
    struct look l = { .want = pages };
    // Once round may only clear accessed bits; after two more everything that is not in use this moment has been seen idle.
    for (int round = 0; round < 3 && l.got < l.want; round++)
        hand = vm_each_file_area(hand, look_at, &l);
    return l.got;
}

bool reclaim_pause(void)
{
    struct cpu *c = this_cpu();
    if (c->current == c->idle || c->irq_count || c->bh_count || !irqs_enabled())
        return false;
    sleep_until(clock_mono_ns() + PAUSE_NS, false);
    return true;
}
