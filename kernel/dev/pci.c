// SPDX-License-Identifier: Apache-2.0
// PCI: finding devices and their capabilities, MSI-X (PCI Local Bus 3.0; bridges: PCI-to-PCI Bridge 1.2).
#include "pci.h"

#include "arch.h"
#include "errno.h"
#include "spinlock.h"

enum { C_ID = 0x00, C_COMMAND = 0x04, C_STATUS = 0x06, C_CLASS = 0x08, C_HEADER = 0x0e, C_BAR0 = 0x10, C_SECONDARY = 0x19,
       C_SUBSYSTEM = 0x2c, C_CAPS = 0x34 };
enum { CMD_MEMORY = 2, CMD_MASTER = 4, CMD_NO_INTX = 1 << 10, STATUS_CAPS = 1 << 4 };
#define PORT_ADDRESS 0xcf8
#define PORT_DATA 0xcfc
#define CAP_MSIX 0x11
#define MAX_DEPTH 8

static u32 address(const struct pci_dev *d, u8 off)
{
    return 0x80000000u | (u32)d->bus << 16 | (u32)d->slot << 11 | (u32)d->fn << 8 | (off & 0xfcu);
}

u32 pci_read32(const struct pci_dev *d, u8 off)
{
    u64 flags = irq_save();
    outl(PORT_ADDRESS, address(d, off));
    u32 v = inl(PORT_DATA);
    irq_restore(flags);
    return v;
}

u16 pci_read16(const struct pci_dev *d, u8 off) { return (u16)(pci_read32(d, off) >> ((off & 2) * 8)); }
u8 pci_read8(const struct pci_dev *d, u8 off) { return (u8)(pci_read32(d, off) >> ((off & 3) * 8)); }

void pci_write32(const struct pci_dev *d, u8 off, u32 v)
{
    u64 flags = irq_save();
    outl(PORT_ADDRESS, address(d, off));
    outl(PORT_DATA, v);
    irq_restore(flags);
}

void pci_write16(const struct pci_dev *d, u8 off, u16 v)
{
    u64 flags = irq_save();
    outl(PORT_ADDRESS, address(d, off));
    outw((u16)(PORT_DATA + (off & 2)), v);
    irq_restore(flags);
}

static void scan_bus(u8 bus, int depth, void (*found)(const struct pci_dev *));

static void scan_function(struct pci_dev *d, int depth, void (*found)(const struct pci_dev *))
{
    u32 id = pci_read32(d, C_ID);
    d->vendor = (u16)id;
    d->device = (u16)(id >> 16);
    d->subsystem = pci_read16(d, C_SUBSYSTEM + 2);
    u8 secondary = pci_read8(d, C_SECONDARY);
    // Class 06.04: a bridge. Firmware has numbered the bus behind it; a loop cannot be, as numbers only grow.
    if (pci_read32(d, C_CLASS) >> 16 == 0x0604 && secondary > d->bus && depth < MAX_DEPTH)
        scan_bus(secondary, depth + 1, found);
    else
        found(d);
}

static void scan_bus(u8 bus, int depth, void (*found)(const struct pci_dev *))
{
    for (u8 slot = 0; slot < 32; slot++) {
        struct pci_dev d = { .bus = bus, .slot = slot };
        if (pci_read16(&d, C_ID) == 0xffff)
            continue;
        u8 functions = pci_read8(&d, C_HEADER) & 0x80 ? 8 : 1;
        for (d.fn = 0; d.fn < functions; d.fn++)
            if (pci_read16(&d, C_ID) != 0xffff)
                scan_function(&d, depth, found);
    }
}

void pci_scan(void (*found)(const struct pci_dev *d))
{
    // A machine without the ports reads all ones where the address was written.
    outl(PORT_ADDRESS, 0x80000000u);
    if (inl(PORT_ADDRESS) == 0x80000000u)
        scan_bus(0, 0, found);
}

u8 pci_capability(const struct pci_dev *d, u8 id, u8 after)
{
    if (!(pci_read16(d, C_STATUS) & STATUS_CAPS))
        return 0;
    u8 at = after ? pci_read8(d, (u8)(after + 1)) : pci_read8(d, C_CAPS);
    for (int i = 0; i < 48 && (at &= 0xfc) >= 0x40; i++) {
        if (pci_read8(d, at) == id)
            return at;
        at = pci_read8(d, (u8)(at + 1));
    }
    return 0;
}

u64 pci_bar(const struct pci_dev *d, unsigned bar)
{
    if (bar > 5)
        return 0;
    u32 low = pci_read32(d, (u8)(C_BAR0 + bar * 4));
    if (low & 1)                              // I/O space
        return 0;
    u64 pa = low & ~0xfu;
    if ((low & 6) == 4 && bar < 5)
        pa |= (u64)pci_read32(d, (u8)(C_BAR0 + bar * 4 + 4)) << 32;
    return pa;
}

void pci_enable(const struct pci_dev *d)
{
    pci_write16(d, C_COMMAND, pci_read16(d, C_COMMAND) | CMD_MEMORY | CMD_MASTER);
}

int pci_msix(const struct pci_dev *d, void (*const fn[2])(void *), void *arg)
{
    u8 cap = pci_capability(d, CAP_MSIX, 0);
    if (!cap)
        return -ENODEV;
    u16 control = pci_read16(d, (u8)(cap + 2));
    u32 where = pci_read32(d, (u8)(cap + 4));
    u64 bar = pci_bar(d, where & 7);
    if (!bar || (control & 0x7ff) < 1)        // the field is the number of entries less one
        return -ENODEV;
    volatile u32 *table = map_device(bar + (where & ~7u), 2 * 16);
    if (!table)
        return -ENOMEM;
    for (int i = 0; i < 2; i++) {
        u64 addr;
        u32 data;
        int err = irq_alloc_msi(fn[i], arg, &addr, &data);
        if (err)
            return err;
        table[i * 4] = (u32)addr;
        table[i * 4 + 1] = (u32)(addr >> 32);
        table[i * 4 + 2] = data;
        table[i * 4 + 3] = 0;                 // not masked
    }
    pci_write16(d, C_COMMAND, pci_read16(d, C_COMMAND) | CMD_NO_INTX);
    pci_write16(d, (u8)(cap + 2), (u16)((control | 0x8000) & ~0x4000));
    return 0;
}
