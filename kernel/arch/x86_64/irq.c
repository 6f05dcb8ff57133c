// SPDX-License-Identifier: Apache-2.0
// Interrupt controllers: the local APIC (Intel SDM volume 3, chapter 11) and the I/O APIC (82093AA datasheet).
#include "arch.h"
#include "bootinfo.h"
#include "cpu.h"
#include "errno.h"
#include "kmalloc.h"
#include "page.h"
#include "printk.h"
#include "sched.h"
#include "spinlock.h"
#include "time.h"

#define LAPIC_PA 0xfee00000ul
#define IOAPIC_PA 0xfec00000ul
enum { LAPIC_TPR = 0x80, LAPIC_EOI = 0xb0, LAPIC_SVR = 0xf0, LAPIC_LVT_TIMER = 0x320, LAPIC_LINT0 = 0x350, LAPIC_LINT1 = 0x360,
       LAPIC_LVT_ERROR = 0x370 };

// Handlers of one vector: several devices may share a line.
struct irq_action {
    void (*fn)(void *);
    void *arg;
    struct irq_action *next;
};

static struct irq_action *actions[VEC_TIMER - VEC_IRQ];     // by vector - VEC_IRQ; written with interrupts off
static spinlock_t lock = SPINLOCK_INIT;                     // registration
static volatile u32 *lapic, *ioapic;
static u32 ioapic_lines, next_msi;

u32 lapic_read(u32 reg) { return lapic[reg / 4]; }
void lapic_write(u32 reg, u32 v) { lapic[reg / 4] = v; }
void lapic_eoi(void) { lapic[LAPIC_EOI / 4] = 0; }

static u32 ioapic_read(u32 reg)
{
    ioapic[0] = reg;
    return ioapic[4];
}

static void ioapic_write(u32 reg, u32 v)
{
    ioapic[0] = reg;
    ioapic[4] = v;
}

void irq_init(void)
{
    lapic = map_device(LAPIC_PA, PAGE_SIZE);
    ioapic = map_device(IOAPIC_PA, PAGE_SIZE);
    // Where there is an 8259 pair it must stay silent.
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    lapic_write(LAPIC_TPR, 0);
    // First of all: while the APIC is disabled by software, its entries stay masked whatever is written to them (Intel SDM volume 3, 11.4.7.2).
    lapic_write(LAPIC_SVR, 0x100 | VEC_SPURIOUS);
    lapic_write(LAPIC_LINT0, 0x10000);
    lapic_write(LAPIC_LINT1, 0x400);            // NMI
    lapic_write(LAPIC_LVT_ERROR, 0x10000);
    lapic_write(LAPIC_LVT_TIMER, VEC_TIMER);    // one-shot
    // After a reset every line is masked (82093AA, section 3.2.4).
    ioapic_lines = MIN((ioapic_read(1) >> 16 & 0xff) + 1, (u32)(VEC_MSI - VEC_IRQ));
}

static int add_action(u32 slot, void (*fn)(void *), void *arg, bool *first)
{
    struct irq_action *a = kmalloc(sizeof(*a), PA_ATOMIC);
    if (!a)
        return -ENOMEM;
    a->fn = fn;
    a->arg = arg;
    u64 flags = spin_lock_irqsave(&lock);
    *first = !actions[slot];
    a->next = actions[slot];
    actions[slot] = a;
    spin_unlock_irqrestore(&lock, flags);
    return 0;
}

int irq_register(u32 gsi, bool level, void (*fn)(void *), void *arg)
{
    bool first;
    if (gsi >= ioapic_lines)
        return -EINVAL;
    int err = add_action(gsi, fn, arg, &first);
    if (err || !first)
        return err;
    u64 flags = irq_save();
    ioapic_write(0x11 + 2 * gsi, (lapic_read(0x20) >> 24) << 24);
    ioapic_write(0x10 + 2 * gsi, (VEC_IRQ + gsi) | (level ? 0x8000 : 0));
    irq_restore(flags);
    return 0;
}

int irq_alloc_msi(void (*fn)(void *), void *arg, u64 *addr, u32 *data)
{
    bool first;
    u32 slot = VEC_MSI - VEC_IRQ + next_msi;
    if (slot >= ARRAY_SIZE(actions))
        return -ENOSPC;
    int err = add_action(slot, fn, arg, &first);
    if (err)
        return err;
    next_msi++;
    *addr = LAPIC_PA | (u64)(lapic_read(0x20) >> 24) << 12;
    *data = VEC_IRQ + slot;
    return 0;
}

void irq_dispatch(struct regs *r, u32 vector)
{
    struct cpu *c = this_cpu();
    if (vector == VEC_SPURIOUS)
        return;
    c->irq_count++;
    if (vector == VEC_TIMER) {
        c->irq_from_user = r->cs & 3;
        arch_timer_fired();
        timer_interrupt();
    } else {
        for (struct irq_action *a = actions[vector - VEC_IRQ]; a; a = a->next)
            a->fn(a->arg);
    }
    lapic_eoi();
    c->irq_count--;
    if (c->softirq_pending && !c->irq_count && !c->bh_count)
        softirq_run();
}
