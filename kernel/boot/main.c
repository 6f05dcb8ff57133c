// SPDX-License-Identifier: Apache-2.0
// The order in which the kernel comes up.
#include "boot.h"
#include "arch.h"
#include "bootinfo.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "net.h"
#include "page.h"
#include "printk.h"
#include "process.h"
#include "rtc.h"
#include "sched.h"
#include "socket.h"
#include "serial.h"
#include "time.h"
#include "virtio.h"

// Xen's include/public/arch-x86/hvm/start_info.h.
struct start_info {
    u32 magic, version, flags, nr_modules;
    u64 modlist, cmdline, rsdp, memmap;
    u32 memmap_entries, reserved;
};
struct memmap_entry {
    u64 addr, size;
    u32 type, reserved;
};
#define START_MAGIC 0x336ec578
#define LOW_LIMIT BIT(30)       // what the boot tables map
#define LOW_RAM_END 0xa0000ul

struct mem_range mem_ranges[MEM_RANGES];
u32 nr_mem_ranges;
u64 mem_top;
static u64 early_next, early_limit;
static struct mem_range low_ram;         // below 640 KiB; what the loader put there is read before it is used
u64 __stack_chk_guard = 0x2f6a1c95e3d70b00;     // random before the first program runs

void __stack_chk_fail(void) NORETURN;
void __stack_chk_fail(void) { panic("stack smashing detected"); }

void early_init(u64 start, u64 end)
{
    early_next = start;
    early_limit = end;
}

void *early_pages(unsigned n)
{
    void *p = (void *)early_next;
    if (early_next + n * PAGE_SIZE > early_limit)
        panic("the machine has too little RAM for the kernel");
    early_next += n * PAGE_SIZE;
    return memset(p, 0, n * PAGE_SIZE);
}

u64 early_end(void) { return early_next; }

// RAM at and above 1 MiB; the kernel image lies in the first such range.
static void read_memmap(const struct start_info *si)
{
    const struct memmap_entry *e = (const void *)(KERNEL_BASE + si->memmap);
    if (!si->memmap_entries || si->memmap >= LOW_LIMIT)
        panic("the loader gave no memory map");
    for (u32 i = 0; i < si->memmap_entries && nr_mem_ranges < MEM_RANGES; i++) {
        if (e[i].type == 1 && e[i].addr < LOW_RAM_END)          // but for frame 0
            low_ram = (struct mem_range){ ALIGN_UP(MAX(e[i].addr, PAGE_SIZE), PAGE_SIZE), ALIGN_DOWN(MIN(e[i].addr + e[i].size, LOW_RAM_END), PAGE_SIZE) };
        u64 start = ALIGN_UP(MAX(e[i].addr, BIT(20)), PAGE_SIZE), end = ALIGN_DOWN(e[i].addr + e[i].size, PAGE_SIZE);
        if (e[i].type != 1 || start >= end)
            continue;
        mem_ranges[nr_mem_ranges++] = (struct mem_range){ start, end };
        mem_top = MAX(mem_top, end);
    }
    for (u32 i = 0; i < nr_mem_ranges; i++)
        if (mem_ranges[i].start <= kernel_pa(text_start) && kernel_pa(kernel_end) < mem_ranges[i].end) {
            early_init((u64)kernel_end, KERNEL_BASE + MIN(mem_ranges[i].end, LOW_LIMIT));
            return;
        }
    panic("the memory map has no RAM where the kernel was loaded");
}

// From now on the image and the early tables count as taken.
static void reserve_image(void)
{
    for (u32 i = 0; i < nr_mem_ranges; i++)
        if (mem_ranges[i].start <= kernel_pa(text_start) && kernel_pa(kernel_end) < mem_ranges[i].end)
            mem_ranges[i].start = early_end() - KERNEL_BASE;
}

static void donate(const char *start, const char *end)
{
    page_donate(kernel_pa(start), kernel_pa(end));
}

// The end of a machine whose program never ran: 127, as a shell has it for a command that is not there.
static void no_program(const char *why, int err)
{
    printk(LOG_EMERG, "uni: %s (error %d)\n", why, -err);
    struct kv kv = { "status", NULL, 127 };
    control_event("exit", &kv, 1);
    machine_off(1);
}

static void start_program(void)
{
    int err = process_start_init();
    if (!err)
        return;                     // it runs
    vfs_shutdown();
    no_program("no program was started", err);
}

static void late_init(void *arg)
{
    (void)arg;
    rtc_start();
    console_init();
    control_init();
    dev_init();
    random_init();
    net_init();
    socket_init();
    int err = vfs_init();
    if (err)
        no_program("no root file system", err);
    start_program();
    flusher();
}

// Before any other thread exists, and inlined into a function that never returns: a frame made with the old value would not pass
// its check. The lowest byte is zero, so that no string function can read or write past it.
static inline void set_canary(void)
{
    u64 c;
    random_bytes(&c, sizeof(c));
    __stack_chk_guard = c & ~0xffull;
}

void boot_main(u64 start_info, u64 tsc);
void boot_main(u64 start_info, u64 tsc)
{
    const struct start_info *si = (const void *)(KERNEL_BASE + start_info);
    boot_config.boot_tsc = tsc;
    boot_config.tty = true;
    cpu_init();             // first: an emulator translates anew what has run with other control registers, and faults have a handler
    serial_init();
    if (start_info >= LOW_LIMIT || si->magic != START_MAGIC)
        panic("not started by the PVH protocol");
    if (si->cmdline && si->cmdline < LOW_LIMIT)
        strlcpy(boot_cmdline, (const char *)(KERNEL_BASE + si->cmdline), (size_t)(kernel_end - boot_cmdline));
    read_memmap(si);
    paging_init();
    reserve_image();
    page_init();
    kmalloc_init();
    vm_init();
    char *cmdline = kstrdup(pa_to_va(kernel_pa(boot_cmdline)));
    if (!cmdline)
        panic("no memory for the command line");
    donate(boot_tables, kernel_end);
    donate(boot_guard, boot_stack);
    if (low_ram.start < low_ram.end)        // the loader's tables, of which nothing is needed any more
        page_donate(low_ram.start, low_ram.end);
    set_canary();
    irq_init();
    time_start();
    config_cmdline(cmdline);            // boot_config points into it
    fwcfg_init();
    config_finish();
    time_init();
    sched_init();
    softirq_init();
    timers_init();
    printk(LOG_INFO, "uni %s\n", UNI_VERSION);
    if (!kthread_create("init", late_init, NULL))
        panic("no memory for the first thread");
    irq_enable();
    sched_idle_loop();
}
