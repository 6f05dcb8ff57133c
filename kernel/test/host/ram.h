// SPDX-License-Identifier: Apache-2.0
// What mm/page.c and mm/kmalloc.c want of a machine, for tests with `sources: mm/page.c mm/kmalloc.c`: an array plays its RAM. Panics are
// the test's own.
#ifndef UNI_HOST_RAM_H
#define UNI_HOST_RAM_H

#include "bootinfo.h"
#include "kmalloc.h"
#include "mm_priv.h"
#include "page.h"
#include "sched.h"

enum { RAM = 8 << 20 };
char host_ram[RAM] __attribute__((aligned(2 << 20)));
char host_vmemmap[RAM / 4096 * sizeof(struct page)] __attribute__((aligned(4096)));

struct mem_range mem_ranges[MEM_RANGES];
u32 nr_mem_ranges;
u64 mem_top;
static u64 entries[8];

u64 *pt_lookup(u64 va, int *level);
u64 *pt_lookup(u64 va, int *level)
{
    *level = 1;
    return &entries[((va - (u64)host_vmemmap) >> 12) % 8];
}
size_t vm_unmap_idle(size_t pages) { (void)pages; return 0; }
bool reclaim_pause(void) { return false; }
struct cpu cpus[NR_CPUS];
void softirq_run(void) { }
void pt_insert_table(u64 va, u64 pa) { (void)va; (void)pa; }

#endif
