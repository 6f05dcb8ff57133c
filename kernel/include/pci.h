// SPDX-License-Identifier: Apache-2.0
// PCI configuration space through the ports of configuration mechanism 1 (PCI Local Bus 3.0, section 3.2.2.3.2).
#ifndef UNI_PCI_H
#define UNI_PCI_H

#include "types.h"

#define PCI_INTERRUPT_LINE 0x3c

struct pci_dev {
    u8 bus, slot, fn;
    u16 vendor, device, subsystem;
};

u32 pci_read32(const struct pci_dev *d, u8 off);
u16 pci_read16(const struct pci_dev *d, u8 off);
u8 pci_read8(const struct pci_dev *d, u8 off);
void pci_write32(const struct pci_dev *d, u8 off, u32 v);
void pci_write16(const struct pci_dev *d, u8 off, u16 v);
// Every function there is, in the order of bus, slot and function.
void pci_scan(void (*found)(const struct pci_dev *d));
// The offset of the next capability with this id after `after` (0: the first); 0: none.
u8 pci_capability(const struct pci_dev *d, u8 id, u8 after);
u64 pci_bar(const struct pci_dev *d, unsigned bar);       // physical address of a memory BAR; 0: none
void pci_enable(const struct pci_dev *d);                 // memory decoding and bus mastering on
// MSI-X with two vectors: fn[0] and fn[1]. 0 or -errno.
int pci_msix(const struct pci_dev *d, void (*const fn[2])(void *), void *arg);

#endif
