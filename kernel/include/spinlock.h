// SPDX-License-Identifier: Apache-2.0
// Locks that do not sleep. Order and owner of each lock are written beside the data it guards.
#ifndef UNI_SPINLOCK_H
#define UNI_SPINLOCK_H

#include "types.h"

typedef struct {
    volatile u32 locked;
} spinlock_t;

#define SPINLOCK_INIT { 0 }

// One processor: nobody can hold a lock while another asks for it, so a lock costs nothing but the order of memory accesses.
#define NR_CPUS 1

static inline u64 irq_save(void)
{
    u64 flags;
    __asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
    return flags;
}

static inline void irq_restore(u64 flags)
{
    if (flags & BIT(9))
        __asm__ volatile("sti" : : : "memory");
}

static inline bool irqs_enabled(void)
{
    u64 flags;
    __asm__ volatile("pushfq; popq %0" : "=r"(flags));
    return flags & BIT(9);
}

static inline void spin_acquire(spinlock_t *l)
{
    while (NR_CPUS > 1 && __atomic_exchange_n(&l->locked, 1, __ATOMIC_ACQUIRE))
        while (__atomic_load_n(&l->locked, __ATOMIC_RELAXED))
            __builtin_ia32_pause();
    __asm__ volatile("" : : : "memory");
}

static inline void spin_release(spinlock_t *l)
{
    __asm__ volatile("" : : : "memory");
    if (NR_CPUS > 1)
        __atomic_store_n(&l->locked, 0, __ATOMIC_RELEASE);
}

// Data that interrupt handlers touch: interrupts off while held. Nothing under a spinlock may sleep, copy from or to user memory, or allocate with sleep.
static inline u64 spin_lock_irqsave(spinlock_t *l)
{
    u64 flags = irq_save();
    spin_acquire(l);
    return flags;
}

static inline void spin_unlock_irqrestore(spinlock_t *l, u64 flags)
{
    spin_release(l);
    irq_restore(flags);
}

// Data that only threads touch. The kernel is not preemptible, so nothing else is needed.
static inline void spin_lock(spinlock_t *l) { spin_acquire(l); }
static inline void spin_unlock(spinlock_t *l) { spin_release(l); }

#endif
