// SPDX-License-Identifier: Apache-2.0
// Stands in for the machine where kernel code is built for the host.
#ifndef UNI_TEST_MACHINE_H
#define UNI_TEST_MACHINE_H

extern char host_ram[];
extern char host_vmemmap[];
#define DIRECT_MAP ((unsigned long)host_ram)
#define VMEMMAP ((unsigned long)host_vmemmap)

// Interrupts cannot be switched off in a user program, and nothing interrupts a test.
#define UNI_SPINLOCK_H
#define NR_CPUS 1
#include <stdbool.h>
typedef struct {
    volatile unsigned locked;
} spinlock_t;
#define SPINLOCK_INIT { 0 }
static inline unsigned long irq_save(void) { return 0; }
static inline void irq_restore(unsigned long flags) { (void)flags; }
static inline bool irqs_enabled(void) { return true; }
static inline unsigned long spin_lock_irqsave(spinlock_t *l) { (void)l; return 0; }
static inline void spin_unlock_irqrestore(spinlock_t *l, unsigned long flags) { (void)l; (void)flags; }
static inline void spin_lock(spinlock_t *l) { (void)l; }
static inline void spin_unlock(spinlock_t *l) { (void)l; }

#endif
