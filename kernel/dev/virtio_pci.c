// SPDX-License-Identifier: Apache-2.0
// Virtio over PCI, modern (Virtio 1.2, section 4.1): q35, pc. Interrupts by MSI-X, else by the device's line.
#include "arch.h"
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "pci.h"
#include "printk.h"
#include "virtio.h"

#define VENDOR 0x1af4
#define CAP_VENDOR 0x09
// Section 4.1.4: kinds of structures; 4.1.4.3: the common one.
enum { CFG_COMMON = 1, CFG_NOTIFY = 2, CFG_ISR = 3, CFG_DEVICE = 4 };
enum {
    R_DEV_SEL = 0, R_DEV_FEATURES = 4, R_DRV_SEL = 8, R_DRV_FEATURES = 12, R_CONFIG_VECTOR = 16, R_STATUS = 20, R_GENERATION = 21,
    R_QUEUE_SEL = 22, R_QUEUE_SIZE = 24, R_QUEUE_VECTOR = 26, R_QUEUE_ENABLE = 28, R_QUEUE_NOTIFY = 30, R_DESC = 32, R_AVAIL = 40,
    R_USED = 48, COMMON_SIZE = 56,
};

struct vpci {
    struct virtio_dev v;
    struct pci_dev pci;
    volatile u8 *isr;               // interrupt status; NULL: none
};

static u32 rd32(struct virtio_dev *d, u32 off) { return *(volatile u32 *)(d->common + off); }
static u16 rd16(struct virtio_dev *d, u32 off) { return *(volatile u16 *)(d->common + off); }
static void wr32(struct virtio_dev *d, u32 off, u32 v) { *(volatile u32 *)(d->common + off) = v; }
static void wr16(struct virtio_dev *d, u32 off, u16 v) { *(volatile u16 *)(d->common + off) = v; }

static u64 get_features(struct virtio_dev *d)
{
    wr32(d, R_DEV_SEL, 1);
    u64 high = rd32(d, R_DEV_FEATURES);
    wr32(d, R_DEV_SEL, 0);
    return high << 32 | rd32(d, R_DEV_FEATURES);
}

static void set_features(struct virtio_dev *d, u64 f)
{
    wr32(d, R_DRV_SEL, 1);
    wr32(d, R_DRV_FEATURES, (u32)(f >> 32));
    wr32(d, R_DRV_SEL, 0);
    wr32(d, R_DRV_FEATURES, (u32)f);
}

static u8 get_status(struct virtio_dev *d) { return d->common[R_STATUS]; }

static void set_status(struct virtio_dev *d, u8 s)
{
    d->common[R_STATUS] = s;
    // Section 4.1.4.3.2: after a reset wait until it reads 0; a device that never gets there is not waited for.
    for (int i = 0; s == 0 && i < 100000 && d->common[R_STATUS] != 0; i++)
        __builtin_ia32_pause();
}

static void read_config(struct virtio_dev *d, u32 off, void *buf, u32 len)
{
    for (u32 i = 0; i < len; i++)
        ((u8 *)buf)[i] = off + i < d->config_len ? d->config[off + i] : 0;
}

static void write_config(struct virtio_dev *d, u32 off, const void *buf, u32 len)
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

static u32 generation(struct virtio_dev *d) { return d->common[R_GENERATION]; }

static u16 queue_max(struct virtio_dev *d, u16 index)
{
    wr16(d, R_QUEUE_SEL, index);
    return MIN(rd16(d, R_QUEUE_SIZE), (u16)32768);
}

static void wr64(struct virtio_dev *d, u32 off, u64 v)
{
    wr32(d, off, (u32)v);
    wr32(d, off + 4, (u32)(v >> 32));
}

static int queue_setup(struct virtio_dev *d, struct virtq *q)
{
    wr16(d, R_QUEUE_SEL, q->index);
    u64 off = (u64)rd16(d, R_QUEUE_NOTIFY) * d->notify_mul;
    if (off + 2 > d->notify_len)
        return -EINVAL;
    wr16(d, R_QUEUE_SIZE, q->size);
    wr64(d, R_DESC, va_to_pa(q->desc));
    wr64(d, R_AVAIL, va_to_pa(q->avail));
    wr64(d, R_USED, va_to_pa(q->used));
    q->notify = d->notify_base + off;
    q->notify16 = true;
    return 0;
}

static void on_queues(void *arg)
{
    virtio_interrupt(arg);
}

static void on_config(void *arg)
{
    struct virtio_dev *d = arg;
    if (d->config_changed)
        d->config_changed(d);
}

// Without MSI-X: one line, perhaps shared with other devices; reading the status takes the interrupt back (section 4.1.4.5).
static void on_line(void *arg)
{
    struct virtio_dev *d = arg;
    u8 status = *container_of(d, struct vpci, v)->isr;
    if (status & 1)
        on_queues(d);
    if (status & 2)
        on_config(d);
}

// Vectors first, then the queues may start (section 4.1.5.1.2).
static int irq_setup(struct virtio_dev *d)
{
    static void (*const fn[2])(void *) = { on_queues, on_config };
    struct vpci *p = container_of(d, struct vpci, v);
    int err = pci_msix(&p->pci, fn, d);
    bool line = err == -ENODEV && p->isr;
    if (line)
        err = irq_register(pci_read8(&p->pci, PCI_INTERRUPT_LINE), true, on_line, d);    // the firmware wrote where it is routed to
    if (err)
        return err;
    if (!line)
        wr16(d, R_CONFIG_VECTOR, 1);
    for (u32 i = 0; i < d->nr_queues; i++) {
        wr16(d, R_QUEUE_SEL, d->queue[i]->index);
        if (!line)
            wr16(d, R_QUEUE_VECTOR, 0);
        if (!line && rd16(d, R_QUEUE_VECTOR) != 0)
            return -ENOSPC;
        wr16(d, R_QUEUE_ENABLE, 1);
    }
    return 0;
}

static void pci_describe(const struct virtio_dev *d, char *buf, size_t size)
{
    const struct pci_dev *p = &container_of(d, struct vpci, v)->pci;
    snprintf(buf, size, "virtio-pci %02x:%02x.%u", p->bus, p->slot, p->fn);
}

static const struct virtio_transport pci_transport = {
    .describe = pci_describe,
    .get_features = get_features,
    .set_features = set_features,
    .get_status = get_status,
    .set_status = set_status,
    .read_config = read_config,
    .write_config = write_config,
    .config_generation = generation,
    .queue_max = queue_max,
    .queue_setup = queue_setup,
    .irq_setup = irq_setup,
};

// One virtio structure in the capability list (section 4.1.4): where it lies, mapped, or NULL.
static volatile u8 *map_structure(const struct pci_dev *p, u8 cap, u32 *len)
{
    u32 off = pci_read32(p, (u8)(cap + 8));
    u64 bar = pci_bar(p, pci_read8(p, (u8)(cap + 4)));
    *len = pci_read32(p, (u8)(cap + 12));
    if (!bar || *len == 0 || *len > (1u << 20))
        return NULL;
    return map_device(bar + off, *len);
}

static bool map_structures(struct vpci *p)
{
    struct virtio_dev *d = &p->v;
    u32 len;
    for (u8 cap = 0; (cap = pci_capability(&p->pci, CAP_VENDOR, cap));) {
        u8 kind = pci_read8(&p->pci, (u8)(cap + 3));
        if (kind == CFG_COMMON && !d->common) {
            d->common = map_structure(&p->pci, cap, &len);
            if (len < COMMON_SIZE)
                return false;
        } else if (kind == CFG_NOTIFY && !d->notify_base) {
            d->notify_base = map_structure(&p->pci, cap, &d->notify_len);
            d->notify_mul = pci_read32(&p->pci, (u8)(cap + 16));
        } else if (kind == CFG_ISR && !p->isr) {
            p->isr = map_structure(&p->pci, cap, &len);
        } else if (kind == CFG_DEVICE && !d->config) {
            d->config = map_structure(&p->pci, cap, &d->config_len);
        }
    }
    return d->common && d->notify_base;
}

static void found(const struct pci_dev *pci)
{
    // Section 4.1.2: modern ids from 0x1040 on; transitional ones carry the type in their subsystem.
    if (pci->vendor != VENDOR || pci->device < 0x1000 || pci->device > 0x107f)
        return;
    struct vpci *p = kzalloc(sizeof(*p));
    if (!p)
        return;
    p->pci = *pci;
    p->v.id = pci->device >= 0x1040 ? pci->device - 0x1040u : pci->subsystem;
    p->v.t = &pci_transport;
    pci_enable(pci);
    if (!map_structures(p)) {
        printk(LOG_WARNING, "virtio-pci %02x:%02x.%u: a legacy device; with QEMU: disable-legacy=on\n", pci->bus, pci->slot, pci->fn);
        kfree(p);
        return;
    }
    virtio_register(&p->v);
}

void virtio_pci_scan(void)
{
    pci_scan(found);
}
