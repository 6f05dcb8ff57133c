// SPDX-License-Identifier: Apache-2.0
// The registers of interrupted user (or kernel) code as the entry code in arch/x86_64/entry.S lays them on the kernel stack.
#ifndef UNI_REGS_H
#define UNI_REGS_H

#include "types.h"

struct regs {
    u64 r15, r14, r13, r12, rbp, rbx, r11, rcx;
    union {
        u64 arg[6];                        // system call arguments in their order: rdi rsi rdx r10 r8 r9
        struct { u64 rdi, rsi, rdx, r10, r8, r9; };
    };
    u64 rax;
    u64 orig_rax;                          // system call number, or -1 for traps and interrupts
    u64 error;                             // the CPU's error code (traps), else 0
    u64 rip, cs, rflags, rsp, ss;          // what iretq takes
};

static inline bool regs_user(const struct regs *r) { return (r->cs & 3) == 3; }

#endif
