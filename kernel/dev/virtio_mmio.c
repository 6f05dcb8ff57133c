// SPDX-License-Identifier: Apache-2.0
// Virtio over MMIO, version 2 (Virtio 1.2, section 4.2): microvm, Firecracker.
#include "arch.h"
#include "boot.h"
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "printk.h"
#include "virtio.h"

// Section 4.2.2, table 4.1.
enum {
    R_MAGIC = 0x000, R_VERSION = 0x004, R_DEVICE_ID = 0x008, R_DEV_FEATURES = 0x010, R_DEV_FEATURES_SEL = 0x014,
    R_DRV_FEATURES = 0x020, R_DRV_FEATURES_SEL = 0x024, R_QUEUE_SEL = 0x030, R_QUEUE_MAX = 0x034, R_QUEUE_NUM = 0x038,
    R_QUEUE_READY = 0x044, R_NOTIFY = 0x050, R_ISR = 0x060, R_ISR_ACK = 0x064, R_STATUS = 0x070, R_DESC = 0x080,
    R_AVAIL = 0x090, R_USED = 0x0a0, R_GENERATION = 0x0fc, R_CONFIG = 0x100,
};
#define MAGIC 0x74726976u                    // "virt"
enum { ISR_QUEUE = 1, ISR_CONFIG = 2 };

static u32 rd(struct virtio_dev *d, u32 off) { return *(volatile u32 *)(d->regs + off); }
static void wr(struct virtio_dev *d, u32 off, u32 v) { *(volatile u32 *)(d->regs + off) = v; }

static u64 mmio_get_features(struct virtio_dev *d)
{
    wr(d, R_DEV_FEATURES_SEL, 1);
    u64 high = rd(d, R_DEV_FEATURES);
    wr(d, R_DEV_FEATURES_SEL, 0);
    return high << 32 | rd(d, R_DEV_FEATURES);
}

static void mmio_set_features(struct virtio_dev *d, u64 f)
{
    wr(d, R_DRV_FEATURES_SEL, 1);
    wr(d, R_DRV_FEATURES, (u32)(f >> 32));
    wr(d, R_DRV_FEATURES_SEL, 0);
    wr(d, R_DRV_FEATURES, (u32)f);
}

static u8 mmio_get_status(struct virtio_dev *d) { return (u8)rd(d, R_STATUS); }
static void mmio_set_status(struct virtio_dev *d, u8 s) { wr(d, R_STATUS, s); }

static void mmio_read_config(struct virtio_dev *d, u32 off, void *buf, u32 len)
{
    for (u32 i = 0; i < len; i++)             // section 4.2.2.2: byte access is always allowed
        ((u8 *)buf)[i] = off + i < d->config_len ? d->config[off + i] : 0;
}

static void mmio_write_config(struct virtio_dev *d, u32 off, const void *buf, u32 len)
{
    if (len == 4 && off + 4 <= d->config_len) {
        u32 v;
        memcpy(&v, buf, 4);
        *(volatile u32 *)(d->config + off) = v;
        return;
    }
    for (u32 i = 0; i < len && off + i < d->config_len; i++)
        d->config[off + i] = ((const u8 *)buf)[i];
}

static u32 mmio_generation(struct virtio_dev *d) { return rd(d, R_GENERATION); }

static u16 mmio_queue_max(struct virtio_dev *d, u16 index)
{
    wr(d, R_QUEUE_SEL, index);
    if (rd(d, R_QUEUE_READY))
        return 0;
    u32 max = rd(d, R_QUEUE_MAX);
    return (u16)MIN(max, 32768u);             // section 2.7: the largest queue
}

static void wr64(struct virtio_dev *d, u32 off, u64 v)
{
    wr(d, off, (u32)v);
    wr(d, off + 4, (u32)(v >> 32));
}

static int mmio_queue_setup(struct virtio_dev *d, struct virtq *q)
{
    wr(d, R_QUEUE_SEL, q->index);
    wr(d, R_QUEUE_NUM, q->size);
    wr64(d, R_DESC, va_to_pa(q->desc));
    wr64(d, R_AVAIL, va_to_pa(q->avail));
    wr64(d, R_USED, va_to_pa(q->used));
    wr(d, R_QUEUE_READY, 1);
    q->notify = d->regs + R_NOTIFY;
    return 0;
}

static void mmio_irq(void *arg)
{
    struct virtio_dev *d = arg;
    // Each access to a register is an exit: nearly always it is a queue, so that is acknowledged unread. Another cause keeps the
    // line up, and comes back here with nothing in the queues.
    wr(d, R_ISR_ACK, ISR_QUEUE);
    if (virtio_interrupt(d))
        return;
    u32 isr = rd(d, R_ISR);
    wr(d, R_ISR_ACK, isr);
    if ((isr & ISR_CONFIG) && d->config_changed)
        d->config_changed(d);
    if (isr & ISR_QUEUE)
        virtio_interrupt(d);
}

static int mmio_irq_setup(struct virtio_dev *d) { return irq_register(d->irq, true, mmio_irq, d); }

static void mmio_describe(const struct virtio_dev *d, char *buf, size_t size) { snprintf(buf, size, "virtio-mmio 0x%lx", d->pa); }

static const struct virtio_transport mmio_transport = {
    .describe = mmio_describe,
    .get_features = mmio_get_features,
    .set_features = mmio_set_features,
    .get_status = mmio_get_status,
    .set_status = mmio_set_status,
    .read_config = mmio_read_config,
    .write_config = mmio_write_config,
    .config_generation = mmio_generation,
    .queue_max = mmio_queue_max,
    .queue_setup = mmio_queue_setup,
    .irq_setup = mmio_irq_setup,
};

static void mmio_probe(u64 pa, u64 size, u32 irq)
{
    if (size <= R_CONFIG)
        return;
    volatile u8 *regs = map_device(pa, size);
    if (!regs || *(volatile u32 *)(regs + R_MAGIC) != MAGIC)
        return;
    u32 id = *(volatile u32 *)(regs + R_DEVICE_ID), version = *(volatile u32 *)(regs + R_VERSION);
    if (id == 0)                              // section 4.2.3.1.1: an empty slot
        return;
    if (version != 2) {
        printk(LOG_WARNING, "virtio-mmio 0x%lx: version %u (legacy); with QEMU: -global virtio-mmio.force-legacy=false\n",
               pa, version);
        return;
    }
    struct virtio_dev *d = kzalloc(sizeof(*d));
    if (!d)
        return;
    d->id = id;
    d->t = &mmio_transport;
    d->regs = regs;
    d->config = regs + R_CONFIG;
    d->config_len = (u32)(size - R_CONFIG);
    d->irq = irq;
    d->pa = pa;
    virtio_register(d);
}

// Devices get their names in the order of their addresses, whatever order the command line has them in: QEMU lists the last slot first.
static void sort_by_address(void)
{
    for (u32 i = 1; i < boot_config.nr_mmio; i++)
        for (u32 j = i; j > 0 && boot_config.mmio[j].addr < boot_config.mmio[j - 1].addr; j--) {
            typeof(boot_config.mmio[0]) other = boot_config.mmio[j];
            boot_config.mmio[j] = boot_config.mmio[j - 1];
            boot_config.mmio[j - 1] = other;
        }
}

void virtio_mmio_scan(void)
{
    sort_by_address();
    for (u32 i = 0; i < boot_config.nr_mmio; i++)
        mmio_probe(boot_config.mmio[i].addr, boot_config.mmio[i].size, boot_config.mmio[i].irq);
    if (boot_config.nr_mmio > 0)
        return;
    // QEMU's microvm without ACPI: eight slots, interrupt lines from 5 on (hw/i386/microvm.c).
    for (u32 i = 0; i < 8; i++)
        mmio_probe(0xfeb00000 + i * 512, 512, 5 + i);
}
