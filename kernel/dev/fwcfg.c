// SPDX-License-Identifier: Apache-2.0
// QEMU's firmware configuration device: the file opt/uni/config, and a seed for the random generator in opt/uni/seed.
// Interface: QEMU's docs/specs/fw_cfg.rst; only the port interface is used, with DMA for the contents where it is offered.
#include "arch.h"
#include "bootinfo.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "printk.h"

enum { PORT_SELECT = 0x510, PORT_DATA = 0x511, PORT_DMA = 0x514, KEY_SIGNATURE = 0, KEY_DIR = 0x19 };
enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SELECT = 8 };
#define CONFIG_MAX (1u << 20)
#define DIR_MAX 4096u

struct dma {
    u32 control, len;           // big endian
    u64 addr;
} ALIGNED(16);

struct entry {
    u32 size;                   // big endian
    u16 select, reserved;
    char name[56];
};

static bool have_dma;

static void pio_read(void *buf, size_t n)
{
    u8 *p = buf;
    while (n--)
        *p++ = inb(PORT_DATA);
}

// buf is direct-mapped.
static bool read_item(u16 key, void *buf, u32 n)
{
    if (!have_dma) {
        outw(PORT_SELECT, key);
        pio_read(buf, n);
        return true;
    }
    static struct dma d;
    volatile struct dma *v = &d;
    v->control = __builtin_bswap32((u32)key << 16 | DMA_SELECT | DMA_READ);
    v->len = __builtin_bswap32(n);
    v->addr = __builtin_bswap64(va_to_pa(buf));
    u64 pa = kernel_pa(&d);
    outl(PORT_DMA, __builtin_bswap32((u32)(pa >> 32)));
    outl(PORT_DMA + 4, __builtin_bswap32((u32)pa));
    while (__builtin_bswap32(v->control) & ~(u32)DMA_ERROR)
        ;
    return !(__builtin_bswap32(v->control) & DMA_ERROR);
}

static void take_config(u16 key, u32 size)
{
    if (!size || size > CONFIG_MAX) {
        if (size)
            printk(LOG_WARNING, "uni: the configuration has %u bytes, more than %u: ignored\n", size, CONFIG_MAX);
        return;
    }
    char *buf = kmalloc(size, 0);
    if (!buf) {
        printk(LOG_WARNING, "uni: no memory for the configuration\n");
        return;
    }
    if (read_item(key, buf, size))
        config_records(buf, size);
    memset(buf, 0, size);           // it may hold secrets
    __asm__ volatile("" : : "r"(buf) : "memory");
    kfree(buf);
}

static void take_seed(u16 key, u32 size)
{
    u8 *seed = kmalloc(64, PA_ZERO);
    if (seed && read_item(key, seed, MIN(size, 64u)))
        random_mix(seed, 64);
    kfree(seed);
}

// The number of directory entries, and the entries behind it; NULL when there is no such device. Reading the DMA port tells in one
// access whether there is one with DMA ("QEMU", big endian).
static struct entry *directory(u32 *count)
{
    char sig[4];
    have_dma = inl(PORT_DMA) == 0x554d4551;
    if (!have_dma) {
        outw(PORT_SELECT, KEY_SIGNATURE);
        pio_read(sig, 4);
        if (memcmp(sig, "QEMU", 4))
            return NULL;
    }
    u8 *buf = kmalloc(DIR_MAX, 0);
    if (!buf || !read_item(KEY_DIR, buf, DIR_MAX)) {
        kfree(buf);
        return NULL;
    }
    memcpy(count, buf, 4);
    *count = MIN(__builtin_bswap32(*count), (DIR_MAX - 4) / (u32)sizeof(struct entry));
    memmove(buf, buf + 4, *count * sizeof(struct entry));
    return (struct entry *)buf;
}

void fwcfg_init(void)
{
    u32 count;
    struct entry *dir = directory(&count);
    if (!dir)
        return;
    for (struct entry *e = dir; e < dir + count; e++) {
        u16 key = __builtin_bswap16(e->select);
        e->name[sizeof(e->name) - 1] = 0;
        if (!strcmp(e->name, "opt/uni/config"))
            take_config(key, __builtin_bswap32(e->size));
        else if (!strcmp(e->name, "opt/uni/seed"))
            take_seed(key, __builtin_bswap32(e->size));
    }
    kfree(dir);
}
