// SPDX-License-Identifier: Apache-2.0
// Page tables: one root for ever. The kernel's half is built here once, 4 KiB pages for the image (W^X) and for its alias in
// the direct map, large ones for all other memory. Entries: Intel SDM volume 3, section 4.5.
#include "arch.h"
#include "bootinfo.h"
#include "cpu.h"
#include "errno.h"
#include "lib.h"
#include "mm_priv.h"
#include "page.h"
#include "printk.h"
#include "vm.h"

static u64 *root;
static bool early = true;       // tables come from early_pages

static inline unsigned slot(u64 va, int level) { return (va >> (12 + 9 * (level - 1))) & 511; }

static u64 table_new(void)
{
    if (early) {
        void *p = early_pages(1);
        return kernel_pa(p);
    }
    struct page *p = page_alloc(0, PA_ZERO);
    return p ? page_pa(p) : 0;
}

// While the early tables are in use, physical memory is seen through the image's own mapping, later through the direct map.
static inline u64 *table_va(u64 entry)
{
    u64 pa = entry & PTE_ADDR;
    return early ? (u64 *)(KERNEL_BASE + pa) : pa_to_va(pa);
}

// Walks to the entry of `level` for va, making tables; NULL when memory is out or a large page is in the way.
static u64 *walk_make(u64 va, int level, u64 user)
{
    u64 *t = root;
    for (int l = 4; l > level; l--) {
        u64 *e = &t[slot(va, l)];
        if (!(*e & PTE_P)) {
            u64 pa = table_new();
            if (!pa)
                return NULL;
            *e = pa | PTE_P | PTE_W | user;
        } else if (*e & PTE_PS) {
            return NULL;
        }
        t = table_va(*e);
    }
    return &t[slot(va, level)];
}

u64 *pt_ensure(u64 va)
{
    return walk_make(va, 1, va < BIT(47) ? PTE_U : 0);
}

u64 *pt_lookup(u64 va, int *level)
{
    u64 *t = root;
    for (int l = 4; l > 1; l--) {
        u64 *e = &t[slot(va, l)];
        if (!(*e & PTE_P))
            return NULL;
        if (*e & PTE_PS) {
            *level = l;
            return e;
        }
        t = pa_to_va(*e & PTE_ADDR);
    }
    *level = 1;
    return &t[slot(va, 1)];
}

// The next address after va that may have a table, where pt_lookup has found none for va.
u64 pt_skip(u64 va)
{
    u64 *t = root;
    for (int l = 4; l > 1; l--) {
        u64 *e = &t[slot(va, l)], span = BIT(12 + 9 * (l - 1));
        if (!(*e & PTE_P))
            return ALIGN_DOWN(va, span) + span;
        t = pa_to_va(*e & PTE_ADDR);
    }
    return ALIGN_DOWN(va, BIT(21)) + BIT(21);
}

static u64 prot_bits(u32 prot, bool user)
{
    u64 e = PTE_P | (user ? PTE_U : 0);
    if (prot & VM_WRITE)
        e |= PTE_W;
    if (!(prot & VM_EXEC))
        e |= PTE_NX;
    return e;
}

int pt_map(u64 va, u64 pa, u32 prot, bool user)
{
    u64 *e = pt_ensure(va);
    if (!e)
        return -ENOMEM;
    *e = pa | prot_bits(prot, user);
    return 0;
}

void tlb_flush_page(u64 va) { __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory"); }

void tlb_flush_all(void) { write_cr3(read_cr3()); }

static bool table_empty(const u64 *t)
{
    for (int i = 0; i < 512; i++)
        if (t[i])
            return false;
    return true;
}

// Frees the empty tables below entry e of `level` (2..4) within [start, end); base is the address that e's table begins at.
static void free_below(u64 *e, int level, u64 base, u64 start, u64 end)
{
    u64 *t = pa_to_va(*e & PTE_ADDR);
    u64 span = BIT(12 + 9 * (level - 2)) * 1ull;
    if (level > 2) {
        unsigned first = start > base ? (unsigned)((start - base) / span) : 0;
        for (unsigned i = first; i < 512 && base + i * span < end; i++)
            if ((t[i] & PTE_P) && !(t[i] & PTE_PS))
                free_below(&t[i], level - 1, base + i * span, start, end);
    }
    if (!table_empty(t))
        return;
    struct page *p = page_from_pa(*e & PTE_ADDR);
    *e = 0;
    page_put(p);
}

// The CPU may keep table entries of freed tables in its paging-structure caches; an invlpg drops those of all addresses
// (SDM volume 3, 4.10.4.1), and the tables' pages cannot be used again before it, because the kernel is not preempted here.
void pt_free_range(u64 start, u64 end)
{
    for (u64 i = slot(start, 4); i <= slot(end - 1, 4); i++)
        if (root[i] & PTE_P)
            free_below(&root[i], 4, i << 39, start, end);
    tlb_flush_page(start);
}

void *map_device(u64 pa, size_t len)
{
    u64 off = pa & ~PAGE_MASK;
    size_t pages = ALIGN_UP(off + len, PAGE_SIZE) / PAGE_SIZE;
    u64 va = vmalloc_room(pages);
    for (size_t i = 0; i < pages; i++) {
        u64 *e = va ? pt_ensure(va + i * PAGE_SIZE) : NULL;
        if (!e)
            panic("no memory for the page tables of a device");
        *e = ((pa & PAGE_MASK) + i * PAGE_SIZE) | PTE_P | PTE_W | PTE_NX | PTE_PCD;
    }
    return (void *)(va + off);
}

// The walk is made once for each table.
static void map_early(u64 va, u64 pa, u64 bits)
{
    static u64 *table;
    static u64 of;
    if (!table || (va ^ of) >> 21) {
        table = walk_make(ALIGN_DOWN(va, BIT(21)), 1, 0);
        of = va;
        if (!table)
            panic("early page tables overlap at 0x%lx", va);
    }
    table[slot(va, 1)] = pa | bits;
}

// The image with its three protections, and its alias in the direct map without X and, for what is constant, without W.
// The page below the boot stack stays unmapped; so do the boot tables, whose frames are used again.
static void map_image(void)
{
    for (u64 va = (u64)text_start; va < (u64)boot_tables; va += PAGE_SIZE) {
        u64 bits = PTE_P | PTE_W | PTE_NX;
        if (va < (u64)text_end)
            bits = PTE_P;
        else if (va < (u64)rodata_end)
            bits = PTE_P | PTE_NX;
        if (va != (u64)boot_guard)
            map_early(va, va - KERNEL_BASE, bits);
    }
}

static void map_direct(void)
{
    u64 huge = cpu_has_1g() ? BIT(30) : 0;
    u64 image_end = ALIGN_UP(kernel_pa(kernel_end), BIT(21));
    for (u64 pa = 0; pa < image_end; pa += PAGE_SIZE) {
        bool ro = pa >= kernel_pa(text_start) && pa < kernel_pa(rodata_end);
        map_early(DIRECT_MAP + pa, pa, PTE_P | PTE_NX | (ro ? 0 : PTE_W));
    }
    for (u64 pa = image_end; pa < mem_top;) {
        if (huge && !(pa & (huge - 1)) && pa + huge <= mem_top) {
            u64 *e = walk_make(DIRECT_MAP + pa, 3, 0);
            *e = pa | PTE_P | PTE_W | PTE_NX | PTE_PS;
            pa += huge;
        } else {
            u64 *e = walk_make(DIRECT_MAP + pa, 2, 0);
            *e = pa | PTE_P | PTE_W | PTE_NX | PTE_PS;
            pa += BIT(21);
        }
    }
}

void paging_init(void)
{
    root = early_pages(1);
    map_direct();
    map_image();
    write_cr3(kernel_pa(root));
    root = pa_to_va(kernel_pa(root));
    early = false;
}

void pt_insert_table(u64 va, u64 pa)
{
    u64 *t = root;
    for (int l = 4; l > 1; l--) {
        u64 *e = &t[slot(va, l)];
        if (!(*e & PTE_P)) {
            *e = pa | PTE_P | PTE_W;
            return;
        }
        t = pa_to_va(*e & PTE_ADDR);
    }
}
