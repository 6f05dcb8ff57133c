// SPDX-License-Identifier: Apache-2.0
// Physical memory (mm/page.c): a buddy allocator over 2 MiB sections that are taken into use one by one when memory
// is first needed, so that memory never used costs nothing, neither here nor on the host.
#ifndef UNI_PAGE_H
#define UNI_PAGE_H

#include "list.h"
#include "types.h"

// One for each 4 KiB frame of a section in use; 16 bytes, because there are many. next/prev are frame numbers.
struct page {
    u32 refs;         // 0 = free; the last page_put frees
    u16 flags;        // PG_*
    u8 order;         // of the block whose first page this is
    u8 unused;
    u32 next, prev;   // free list of the allocator, or for the owner's use
};

enum {
    PG_FREE = 1 << 0,
    PG_SLAB = 1 << 1,
    PG_CACHE = 1 << 2,      // in an inode's page cache
    PG_UPTODATE = 1 << 3,   // its contents are those of the file
    PG_DIRTY = 1 << 4,      // must be written back
    PG_BUSY = 1 << 5,       // I/O under way; wait on page_waitq()
    PG_ACCESSED = 1 << 6,
    PG_ERROR = 1 << 7,
    PG_WRITEBACK = 1 << 8,
};

enum {
    PA_ZERO = 1,      // zeroed
    PA_ATOMIC = 2,    // interrupt context or lock held: no reclaim, may fail early
    PA_USER = 4,      // for the program: refused while only the kernel's reserve is left
};

#ifndef DIRECT_MAP
#define DIRECT_MAP 0xffff800000000000ul   // all physical memory, writable and never executable
#endif

static inline void *pa_to_va(u64 pa) { return (void *)(DIRECT_MAP + pa); }
static inline u64 va_to_pa(const void *va) { return (u64)va - DIRECT_MAP; }   // direct map only; kernel text: see arch.h

struct page *page_alloc(unsigned order, unsigned flags);   // 2^order pages, refs 1; NULL when memory is out
void page_get(struct page *p);
void page_put(struct page *p);
struct page *page_from_pa(u64 pa);
u64 page_pa(const struct page *p);
static inline void *page_va(const struct page *p) { return pa_to_va(page_pa(p)); }
static inline struct page *page_from_va(const void *va) { return page_from_pa(va_to_pa(va)); }

// What can give memory back when it runs short (the page cache). Called without locks; returns pages freed.
struct shrinker {
    const char *name;
    size_t (*shrink)(size_t pages);
    struct list node;
};
void shrinker_register(struct shrinker *s);

struct mem_stats {
    u64 total, free, cache, slab, anon, kernel;   // bytes
};
void mem_stats(struct mem_stats *out);
void mem_account_anon(long pages);
void mem_account_cache(long pages);

#endif
