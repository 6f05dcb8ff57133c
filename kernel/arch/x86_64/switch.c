// SPDX-License-Identifier: Apache-2.0
// Switching threads: stacks, the program's segment bases, FPU ownership.
#include "arch.h"
#include "cpu.h"
#include "lib.h"
#include "sched.h"

static inline u64 rdfsbase(void) { u64 v; __asm__ volatile("rdfsbase %0" : "=r"(v)); return v; }
static inline void wrfsbase(u64 v) { __asm__ volatile("wrfsbase %0" : : "r"(v)); }

// The program's GS base waits in the other register while the kernel runs. Interrupts off: an NMI copes (entry.S).
static inline u64 rd_user_gs(void)
{
    u64 v;
    __asm__ volatile("swapgs; rdgsbase %0; swapgs" : "=r"(v) : : "memory");
    return v;
}

static inline void wr_user_gs(u64 v) { __asm__ volatile("swapgs; wrgsbase %0; swapgs" : : "r"(v) : "memory"); }

// With FSGSBASE the program may have changed its bases itself; without, only arch_prctl does and the thread's fields are true.
static void switch_bases(struct thread *prev, struct thread *next)
{
    if (!cpu_features.fsgsbase) {
        if (next->proc) {
            wrmsr(MSR_FS_BASE, next->fs_base);
            wrmsr(MSR_KERNEL_GS_BASE, next->gs_base);
        }
        return;
    }
    if (prev->proc) {
        prev->fs_base = rdfsbase();
        prev->gs_base = rd_user_gs();
    }
    if (next->proc) {
        if (rdfsbase() != next->fs_base)
            wrfsbase(next->fs_base);
        if (rd_user_gs() != next->gs_base)
            wr_user_gs(next->gs_base);
    }
}

void arch_switch(struct thread *prev, struct thread *next)
{
    switch_bases(prev, next);
    fpu_switch(next);
    cpu_set_kstack(next->kstack_top);
    context_switch(&prev->ksp, next->ksp);
}

void set_fs_base(u64 v)
{
    current()->fs_base = v;
    cpu_features.fsgsbase ? wrfsbase(v) : wrmsr(MSR_FS_BASE, v);
}

void set_user_gs_base(u64 v)
{
    u64 flags = irq_save();
    current()->gs_base = v;
    cpu_features.fsgsbase ? wr_user_gs(v) : wrmsr(MSR_KERNEL_GS_BASE, v);
    irq_restore(flags);
}

bool fsgsbase_enabled(void) { return cpu_features.fsgsbase; }
u64 get_fs_base(void) { return cpu_features.fsgsbase ? rdfsbase() : current()->fs_base; }

u64 get_user_gs_base(void)
{
    u64 flags = irq_save();
    u64 v = cpu_features.fsgsbase ? rd_user_gs() : current()->gs_base;
    irq_restore(flags);
    return v;
}

// What context_switch pops: r15 r14 r13 r12 rbx rbp, return address.
struct switch_frame {
    u64 r15, r14, r13, r12, rbx, rbp, rip;
};

void arch_thread_init_kernel(struct thread *t, void (*fn)(void *), void *arg)
{
    struct switch_frame *f = (struct switch_frame *)(t->kstack_top - 16) - 1;
    *f = (struct switch_frame){ .rbx = (u64)fn, .r12 = (u64)arg, .rip = (u64)kernel_thread_start };
    t->ksp = (u64)f;
}

void arch_thread_init_user(struct thread *t, const struct regs *r)
{
    struct regs *regs = (struct regs *)t->kstack_top - 1;
    struct switch_frame *f = (struct switch_frame *)regs - 1;
    *regs = *r;
    *f = (struct switch_frame){ .rip = (u64)user_thread_start };
    t->regs = regs;
    t->ksp = (u64)f;
}
