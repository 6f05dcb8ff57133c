// SPDX-License-Identifier: Apache-2.0
// Virtually contiguous kernel memory, and addresses for devices' registers. Each area is followed by an unmapped page; the region
// begins with one, so that every area has a guard on both sides. Freed address ranges are used again, first fit.
#include "kmalloc.h"
#include "arch.h"
#include "bootinfo.h"
#include "list.h"
#include "page.h"
#include "printk.h"
#include "spinlock.h"
#include "vm.h"

struct area {                   // in address order
    struct list node;
    u64 start, pages;           // without the guard
};

static spinlock_t lock = SPINLOCK_INIT;     // guards the list
static struct list areas = LIST_INIT(areas);

static bool place(struct area *a)
{
    u64 at = VMEMMAP + ALIGN_UP(mem_top, BIT(21)) / PAGE_SIZE * sizeof(struct page) + PAGE_SIZE, need = (a->pages + 1) * PAGE_SIZE;
    struct list *n = areas.next;
    for (; n != &areas; n = n->next) {
        struct area *x = list_entry(n, struct area, node);
        if (x->start - at >= need)
            break;
        at = x->start + (x->pages + 1) * PAGE_SIZE;
    }
    if (at + need > VMALLOC_END)
        return false;
    a->start = at;
    list_push(n, &a->node);     // before n
    return true;
}

static void unmap(u64 start, u64 pages)
{
    for (u64 i = 0; i < pages; i++) {
        int level;
        u64 *e = pt_lookup(start + i * PAGE_SIZE, &level);
        if (!e || !(*e & PTE_P))
            continue;
        struct page *p = page_from_pa(*e & PTE_ADDR);
        *e = 0;
        tlb_flush_page(start + i * PAGE_SIZE);
        page_put(p);
    }
}

static void forget(struct area *a)
{
    u64 flags = spin_lock_irqsave(&lock);
    list_remove(&a->node);
    spin_unlock_irqrestore(&lock, flags);
    kfree(a);
}

static struct area *area_new(u64 pages)
{
    struct area *a = pages < (VMALLOC_END - VMEMMAP) / PAGE_SIZE ? kmalloc(sizeof(*a), 0) : NULL;
    if (!a)
        return NULL;
    a->pages = pages;
    u64 flags = spin_lock_irqsave(&lock);
    bool ok = place(a);
    spin_unlock_irqrestore(&lock, flags);
    if (ok)
        return a;
    kfree(a);
    return NULL;
}

u64 vmalloc_room(u64 pages)
{
    struct area *a = area_new(pages);
    return a ? a->start : 0;
}

void *vmalloc(size_t size)
{
    struct area *a = area_new(size / PAGE_SIZE + !!(size % PAGE_SIZE));
    if (!a)
        return NULL;
    for (u64 i = 0; i < a->pages; i++) {
        struct page *p = page_alloc(0, PA_ZERO);
        if (p && pt_map(a->start + i * PAGE_SIZE, page_pa(p), VM_READ | VM_WRITE, false) == 0)
            continue;
        if (p)
            page_put(p);
        unmap(a->start, i);
        forget(a);
        return NULL;
    }
    return (void *)a->start;
}

static struct area *find(u64 start)
{
    for (struct list *n = areas.next; n != &areas; n = n->next)
        if (list_entry(n, struct area, node)->start == start)
            return list_entry(n, struct area, node);
    return NULL;
}

void vfree(void *p)
{
    if (!p)
        return;
    u64 flags = spin_lock_irqsave(&lock);
    struct area *a = find((u64)p);
    spin_unlock_irqrestore(&lock, flags);
    if (!a)
        panic("vfree(%p): no such area", p);
    unmap(a->start, a->pages);
    forget(a);
}
