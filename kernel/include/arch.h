// SPDX-License-Identifier: Apache-2.0
// What the rest of the kernel asks of arch/x86_64.
#ifndef UNI_ARCH_H
#define UNI_ARCH_H

#include "types.h"

struct regs;
struct thread;

static inline void outb(u16 port, u8 v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline void outw(u16 port, u16 v) { __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
static inline void outl(u16 port, u32 v) { __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }
static inline u8 inb(u16 port) { u8 v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline u16 inw(u16 port) { u16 v; __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline u32 inl(u16 port) { u32 v; __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline u64 rdtsc(void) { u32 a, d; __asm__ volatile("rdtsc" : "=a"(a), "=d"(d)); return ((u64)d << 32) | a; }
static inline void cpu_idle(void) { __asm__ volatile("sti; hlt" : : : "memory"); }   // ends with the next interrupt
static inline void irq_enable(void) { __asm__ volatile("sti" : : : "memory"); }
static inline void irq_disable(void) { __asm__ volatile("cli" : : : "memory"); }

// Interrupt lines (IOAPIC on microvm and q35; MSI-X vectors on PCI). The handler runs with interrupts off.
int irq_register(u32 gsi, bool level, void (*fn)(void *), void *arg);
int irq_alloc_msi(void (*fn)(void *), void *arg, u64 *addr, u32 *data);

// Page tables. prot: VM_*; user pages get the U bit. Page table pages come from page_alloc; -ENOMEM.
int pt_map(u64 va, u64 pa, u32 prot, bool user);
// The leaf entry of va, or NULL when no table is there; *level 1 (4 KiB) or 2 (2 MiB).
u64 *pt_lookup(u64 va, int *level);
u64 pt_skip(u64 va);                           // the next address that may have a table after va, which has none
u64 *pt_ensure(u64 va);                        // makes the tables down to 4 KiB; NULL when out of memory
void pt_free_range(u64 start, u64 end);        // gives back empty table pages of the user half
void tlb_flush_page(u64 va);
void tlb_flush_all(void);
void *map_device(u64 pa, size_t len);          // uncached, kernel half
enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_PCD = 16, PTE_A = 32, PTE_D = 64, PTE_PS = 128, PTE_G = 256, PTE_COW = 512 };
#define PTE_NX BIT(63)
#define PTE_ADDR 0x000ffffffffff000ull

// Threads.
void arch_switch(struct thread *prev, struct thread *next);    // stacks, FS/GS base, FPU owner, TSS
void arch_thread_init_kernel(struct thread *t, void (*fn)(void *), void *arg);
void arch_thread_init_user(struct thread *t, const struct regs *r);   // will return to the program with these registers
int fpu_alloc(struct thread *t);
void fpu_free(struct thread *t);
void fpu_copy(struct thread *dst);                               // clone: the current thread's registers
void fpu_reset(struct thread *t);                               // exec
u32 fpu_xsave_size(void);                                       // of the frame in a signal context, without FP_XSTATE_MAGIC2
int fpu_save_user(uptr dst);                                    // current thread; the XSAVE image with Linux's sw_reserved bytes
int fpu_restore_user(uptr src);                                 // checked; 0 or -EFAULT, -EINVAL
void set_fs_base(u64 v);
void set_user_gs_base(u64 v);
u64 get_fs_base(void);                                          // of the current thread, also when it used wrfsbase
u64 get_user_gs_base(void);
bool fsgsbase_enabled(void);                                    // CR4.FSGSBASE: the program may use wrfsbase

// Machine.
void machine_off(int code) NORETURN;      // code as in docs/guest-interface.md, "End"
void random_bytes(void *buf, size_t n);   // ChaCha20 seeded from RDSEED/RDRAND, the TSC, virtio-rng and fw_cfg
void random_mix(const void *buf, size_t n);

#endif
