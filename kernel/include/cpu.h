// SPDX-License-Identifier: Apache-2.0
// Inside arch/x86_64 only: CPU registers, features, selectors, vectors.
#ifndef UNI_CPU_H
#define UNI_CPU_H

// Selectors as in Linux (asm/segment.h): programs see them in signal contexts.
#define KERNEL_CS 0x10
#define KERNEL_DS 0x18
#define USER_DS 0x2b
#define USER_CS 0x33
#define TSS_SEL 0x40

#define VEC_IRQ 0x20            // IOAPIC line n: VEC_IRQ + n
#define VEC_MSI 0x50
#define VEC_TIMER 0x7e
#define VEC_SPURIOUS 0x7f
#define VEC_NR 0x80

#ifndef __ASSEMBLER__
#include "types.h"

static inline u64 rdmsr(u32 n) { u32 a, d; __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(n)); return ((u64)d << 32) | a; }
static inline void wrmsr(u32 n, u64 v) { __asm__ volatile("wrmsr" : : "c"(n), "a"((u32)v), "d"((u32)(v >> 32)) : "memory"); }
static inline u64 read_cr0(void) { u64 v; __asm__ volatile("movq %%cr0, %0" : "=r"(v)); return v; }
static inline u64 read_cr2(void) { u64 v; __asm__ volatile("movq %%cr2, %0" : "=r"(v)); return v; }
static inline u64 read_cr3(void) { u64 v; __asm__ volatile("movq %%cr3, %0" : "=r"(v)); return v; }
static inline u64 read_cr4(void) { u64 v; __asm__ volatile("movq %%cr4, %0" : "=r"(v)); return v; }
static inline void write_cr0(u64 v) { __asm__ volatile("movq %0, %%cr0" : : "r"(v) : "memory"); }
static inline void write_cr3(u64 v) { __asm__ volatile("movq %0, %%cr3" : : "r"(v) : "memory"); }
static inline void write_cr4(u64 v) { __asm__ volatile("movq %0, %%cr4" : : "r"(v) : "memory"); }

static inline void cpuid(u32 leaf, u32 sub, u32 r[4])
{
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

enum {
    MSR_APIC_BASE = 0x1b, MSR_KVM_WALL_CLOCK = 0x4b564d00, MSR_KVM_SYSTEM_TIME = 0x4b564d01, MSR_STAR = 0xc0000081, MSR_LSTAR = 0xc0000082, MSR_FMASK = 0xc0000084,
    MSR_FS_BASE = 0xc0000100, MSR_GS_BASE = 0xc0000101, MSR_KERNEL_GS_BASE = 0xc0000102, MSR_EFER = 0xc0000080,
    MSR_X2APIC = 0x800,
};

// What this CPU can do; set by cpu_init.
struct cpu_features {
    bool fsgsbase, smap, smep, umip, xsave, xsaveopt, rdrand, rdseed, invtsc, emulated;   // emulated: TCG
    u32 xsave_size;             // of the user's image, 512 + 64 + extensions
    u64 xcr0;
};
extern struct cpu_features cpu_features;

bool cpu_has_1g(void);
void cpu_set_kstack(u64 top);   // where interrupts and system calls from the program begin
void fpu_init(void);
void fpu_not_available(void);   // #NM
int fpu_error_code(unsigned vector);     // si_code of #MF and #XM
struct thread;
void fpu_switch(struct thread *next);
void arch_timer_fired(void);
void lapic_eoi(void);
u32 lapic_read(u32 reg);
void lapic_write(u32 reg, u32 v);
struct regs;
void irq_dispatch(struct regs *r, u32 vector);
void trap_dispatch(struct regs *r, u32 vector);
void trap_paranoid(struct regs *r, u32 vector);
void user_return(struct regs *r);
u64 ex_table_find(u64 rip);     // fixup address, or 0
extern char vector_stubs[];
extern u8 cpu_has_smap;         // for the assembly files
void syscall_entry(void);
void context_switch(u64 *save_sp, u64 next_sp);
void kernel_thread_start(void);
void user_thread_start(void);
#endif
#endif
