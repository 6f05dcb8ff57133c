// SPDX-License-Identifier: Apache-2.0
// What boot/, arch/ and mm/ tell each other while the kernel comes up. Nobody else includes this.
#ifndef UNI_BOOTINFO_H
#define UNI_BOOTINFO_H

#include "types.h"

#define KERNEL_BASE 0xffffffff80000000ul
#ifndef VMEMMAP
#define VMEMMAP 0xffffe00000000000ul        // struct page of every frame
#endif
#define VMALLOC_END 0xfffff00000000000ul    // from the end of the page structures on: so they share tables


extern char text_start[], text_end[], rodata_end[], kernel_end[], boot_tables[], boot_cmdline[], boot_guard[], boot_stack[], boot_stack_top[];

static inline u64 kernel_pa(const void *p) { return (u64)p - KERNEL_BASE; }

// A range of RAM that may be used.
#define MEM_RANGES 32
struct mem_range {
    u64 start, end;
};
extern struct mem_range mem_ranges[MEM_RANGES];
extern u32 nr_mem_ranges;
extern u64 mem_top;             // end of the highest range

// Before the page allocator: zeroed pages from the end of the kernel image upward.
void early_init(u64 start, u64 end);
void *early_pages(unsigned n);
u64 early_end(void);

void paging_init(void);         // the final page tables; afterwards only the direct map and the kernel image are mapped
void page_init(void);
void page_donate(u64 start, u64 end);   // frames below early_end() that the kernel no longer needs
void kmalloc_init(void);
u64 vmalloc_room(u64 pages);    // addresses for so many pages, with nothing behind them; 0: no memory
void vm_init(void);
void serial_init(void);
void serial_late_init(void);
void cpu_init(void);            // GDT, TSS, IDT, control registers, FPU, per-CPU pointer
void irq_init(void);
void time_start(void);                                     // as early as the interrupt controllers are there; time_init takes what was measured since
void time_init(void);
void random_init(void);
void console_init(void);        // the terminal on the console, after the scheduler
void control_init(void);
void fwcfg_init(void);          // reads opt/uni/config into the boot configuration
void config_cmdline(char *line);            // cut up in place
void config_records(char *data, size_t n);  // the fw_cfg file; its strings are copied
void config_finish(void);       // defaults

#endif
