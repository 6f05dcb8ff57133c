// SPDX-License-Identifier: Apache-2.0
// Page allocator: buddy blocks of 2^0..2^9 pages. A 2 MiB section is taken into use when the free lists are empty; its page
// structures then come out of the section itself. A small stack of free single pages spares the lists most of the work.
#include "page.h"
#include "arch.h"
#include "bootinfo.h"
#include "kmalloc.h"
#include "lib.h"
#include "mm_priv.h"
#include "printk.h"
#include "spinlock.h"
#include "vm.h"

#define MAX_ORDER 9
#define SECTION_SIZE (PAGE_SIZE << MAX_ORDER)
#define NONE 0u                     // frame 0 is never allocated
#define HOT_MAX 32

static spinlock_t lock = SPINLOCK_INIT;     // guards everything below, interrupts off
static u32 free_head[MAX_ORDER + 1];
static u64 nr_free;                 // pages on the lists and on the hot stack
static u64 nr_unused;               // pages in sections not yet in use
static u64 nr_total;
static u64 next_section;            // address; sections below are in use or no RAM
static u32 hot[HOT_MAX], nr_hot;
static i64 anon_pages, cache_pages;
static struct list shrinkers = LIST_INIT(shrinkers);
static bool shrinking;

static struct page *const vmemmap = (struct page *)VMEMMAP;

struct page *page_from_pa(u64 pa) { return &vmemmap[pa >> PAGE_SHIFT]; }
u64 page_pa(const struct page *p) { return (u64)(p - vmemmap) << PAGE_SHIFT; }

static void list_add(u32 pfn, u8 order)
{
    struct page *p = &vmemmap[pfn];
    p->refs = 0;
    p->flags = PG_FREE;
    p->order = order;
    p->prev = NONE;
    p->next = free_head[order];
    if (p->next)
        vmemmap[p->next].prev = pfn;
    free_head[order] = pfn;
}

static void list_del(u32 pfn)
{
    struct page *p = &vmemmap[pfn];
    if (p->prev)
        vmemmap[p->prev].next = p->next;
    else
        free_head[p->order] = p->next;
    if (p->next)
        vmemmap[p->next].prev = p->prev;
    p->flags = 0;
}

// A buddy lies in the same section, so its page structure exists; frames that are no free RAM are never PG_FREE.
static void free_block(u32 pfn, u8 order)
{
    for (; order < MAX_ORDER; order++) {
        u32 buddy = pfn ^ (1u << order);
        if (!(vmemmap[buddy].flags & PG_FREE) || vmemmap[buddy].order != order)
            break;
        list_del(buddy);
        pfn &= ~(1u << order);
    }
    list_add(pfn, order);
}

static void free_range(u64 start, u64 end)
{
    for (u64 pa = start; pa < end;) {
        u8 order = 0;
        while (order < MAX_ORDER && !(pa & (PAGE_SIZE << order)) && pa + (PAGE_SIZE << (order + 1)) <= end)
            order++;
        free_block((u32)(pa >> PAGE_SHIFT), order);
        pa += PAGE_SIZE << order;
    }
    nr_free += (end - start) / PAGE_SIZE;
}

static bool table_missing(u64 va)
{
    int level;
    return !pt_lookup(va, &level);
}

// Takes pages off the start of a section's RAM for its own page structures (two) and, at times, their page tables (up to three).
static u64 *section_entry(u64 va, u64 *take)
{
    while (table_missing(va)) {
        // pt_insert_table hangs a fresh zeroed page in at the highest level that lacks one.
        memset(pa_to_va(*take), 0, PAGE_SIZE);
        pt_insert_table(va, *take);
        *take += PAGE_SIZE;
    }
    int level;
    return pt_lookup(va, &level);
}

static void section_open(u64 base, u64 start, u64 end)
{
    u64 take = start;
    for (u64 va = (u64)&vmemmap[base >> PAGE_SHIFT]; va < (u64)&vmemmap[(base + SECTION_SIZE) >> PAGE_SHIFT]; va += PAGE_SIZE) {
        u64 *e = section_entry(va, &take);
        memset(pa_to_va(take), 0, PAGE_SIZE);
        *e = take | PTE_P | PTE_W | PTE_NX;
        take += PAGE_SIZE;
    }
    nr_unused -= (end - start) / PAGE_SIZE;
    free_range(take, end);
}

// The RAM of the section at base: its largest piece in one range. False when there is none worth having.
static bool section_ram(u64 base, u64 *start, u64 *end)
{
    *start = *end = 0;
    for (u32 i = 0; i < nr_mem_ranges; i++) {
        u64 a = MAX(mem_ranges[i].start, base), b = MIN(mem_ranges[i].end, base + SECTION_SIZE);
        if (a < b && b - a > *end - *start) {
            *start = a;
            *end = b;
        }
    }
    return *end - *start >= 8 * PAGE_SIZE;
}

static bool section_next(void)
{
    while (next_section < mem_top) {
        u64 base = next_section, start, end;
        next_section += SECTION_SIZE;
        if (section_ram(base, &start, &end)) {
            section_open(base, start, end);
            return true;
        }
    }
    return false;
}

void page_init(void)
{
    u64 start, end;
    for (u64 base = 0; base < mem_top; base += SECTION_SIZE)
        if (section_ram(base, &start, &end))
            nr_unused += (end - start) / PAGE_SIZE;
    nr_total = nr_unused;
    if (!section_next())
        panic("no memory: the machine has too little RAM for the kernel");
}

void page_donate(u64 start, u64 end)
{
    int level;
    u64 *e = pt_lookup((u64)page_from_pa(start), &level);
    if (!e || !(*e & PTE_P))
        return;                 // its section was too small to be taken into use
    u64 flags = spin_lock_irqsave(&lock);
    free_range(start, end);
    nr_total += (end - start) / PAGE_SIZE;
    spin_unlock_irqrestore(&lock, flags);
}

static u32 take_block(unsigned order)
{
    unsigned o = order;
    while (o <= MAX_ORDER && !free_head[o])
        o++;
    if (o > MAX_ORDER)
        return NONE;
    u32 pfn = free_head[o];
    list_del(pfn);
    while (o > order) {
        o--;
        list_add(pfn + (1u << o), (u8)o);
    }
    return pfn;
}

static void hot_drain(void)
{
    while (nr_hot)
        free_block(hot[--nr_hot], 0);
}

// The kernel's reserve, which the program's pages may not eat: so that out of memory can be reported and cleaned up.
static u64 reserve(void) { return MIN(nr_total / 64 + 16, 512ul); }

static struct page *try_alloc(unsigned order, unsigned flags)
{
    u64 f = spin_lock_irqsave(&lock);
    u32 pfn = NONE;
    if ((flags & PA_USER) && nr_free + nr_unused < reserve() + (1ul << order)) {
        spin_unlock_irqrestore(&lock, f);
        return NULL;
    }
    if (!order && nr_hot)
        pfn = hot[--nr_hot];
    while (!pfn) {
        pfn = take_block(order);
        if (pfn)
            break;
        if (nr_hot) {
            hot_drain();
        } else if (!section_next()) {
            break;
        }
    }
    if (pfn) {
        nr_free -= 1ul << order;
        vmemmap[pfn].refs = 1;
        vmemmap[pfn].flags = 0;
        vmemmap[pfn].order = (u8)order;
    }
    spin_unlock_irqrestore(&lock, f);
    return pfn ? &vmemmap[pfn] : NULL;
}

static size_t call_shrinkers(size_t pages)
{
    size_t got = 0;
    for (struct list *n = shrinkers.next; n != &shrinkers && got < pages; n = n->next)
        got += list_entry(n, struct shrinker, node)->shrink(pages - got);
    return got;
}

// First what nobody uses; then what is mapped but idle is taken out of the page tables, and the caches are asked again.
static size_t shrink_all(size_t pages)
{
    if (shrinking)
        return 0;
    shrinking = true;
    u64 heap = kmalloc_pages();
    kmalloc_drain();
    size_t got = heap - kmalloc_pages();
    got += call_shrinkers(pages);
    if (!got && vm_unmap_idle(pages))
        got = call_shrinkers(pages);
    shrinking = false;
    return got;
}

#define PATIENCE 8                  // rounds of reclaim, with pauses in which dirty pages are written back

struct page *page_alloc(unsigned order, unsigned flags)
{
    struct page *p = try_alloc(order, flags);
    for (int i = 0; !p && !(flags & PA_ATOMIC) && i < PATIENCE; i++) {
        if (!shrink_all(32ul << order) && (cache_pages < 16 || !reclaim_pause()))
            break;
        p = try_alloc(order, flags);
    }
    if (p && (flags & PA_ZERO))
        memset(page_va(p), 0, PAGE_SIZE << order);
    return p;
}

void page_get(struct page *p) { __atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED); }

static void page_free(struct page *p)
{
    u64 f = spin_lock_irqsave(&lock);
    u32 pfn = (u32)(p - vmemmap);
    u8 order = p->order;
    nr_free += 1ul << order;
    if (!order && nr_hot < HOT_MAX) {
        p->flags = 0;
        hot[nr_hot++] = pfn;
    } else {
        free_block(pfn, order);
    }
    spin_unlock_irqrestore(&lock, f);
}

void page_put(struct page *p)
{
    if (unlikely(!p->refs))
        panic("page_put of the free page 0x%lx", page_pa(p));
    if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) == 0)
        page_free(p);
}

void shrinker_register(struct shrinker *s) { list_push(&shrinkers, &s->node); }
void mem_account_anon(long pages) { __atomic_add_fetch(&anon_pages, pages, __ATOMIC_RELAXED); }
void mem_account_cache(long pages) { __atomic_add_fetch(&cache_pages, pages, __ATOMIC_RELAXED); }
u64 mem_free_pages(void) { return nr_free + nr_unused; }

void mem_stats(struct mem_stats *out)
{
    u64 free = nr_free + nr_unused;
    out->total = nr_total * PAGE_SIZE;
    out->free = free * PAGE_SIZE;
    out->cache = (u64)MAX(cache_pages, 0) * PAGE_SIZE;
    out->anon = (u64)MAX(anon_pages, 0) * PAGE_SIZE;
    out->slab = kmalloc_pages() * PAGE_SIZE;
    out->kernel = out->total - out->free - out->cache - out->anon;
}
