// SPDX-License-Identifier: Apache-2.0
// Compiled to assembly only: the Makefile turns the marked lines into build/asm-offsets.h.
#include "regs.h"
#include "sched.h"

void asm_offsets(void);

#define OFFSET(name, type, member) __asm__ volatile("\n#@ " #name " %c0" : : "i"(offsetof(type, member)))

void asm_offsets(void)
{
    OFFSET(T_INTERRUPTED, struct thread, interrupted);
    OFFSET(T_RESCHED, struct thread, resched);
    OFFSET(C_CURRENT, struct cpu, current);
    OFFSET(C_USER_RSP, struct cpu, user_rsp);
    OFFSET(C_KSTACK, struct cpu, kstack_top);
    OFFSET(R_RIP, struct regs, rip);
    OFFSET(R_RFLAGS, struct regs, rflags);
    OFFSET(R_RSP, struct regs, rsp);
    OFFSET(R_CS, struct regs, cs);
    OFFSET(R_RAX, struct regs, rax);
    OFFSET(R_RCX, struct regs, rcx);
    OFFSET(R_R11, struct regs, r11);
    OFFSET(R_ORIG_RAX, struct regs, orig_rax);
}
