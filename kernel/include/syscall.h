// SPDX-License-Identifier: Apache-2.0
// System calls: one const table (linux/table.c), from which docs/syscalls.md is generated.
#ifndef UNI_SYSCALL_H
#define UNI_SYSCALL_H

#include "regs.h"
#include "types.h"

enum sys_status { SYS_MISSING, SYS_STUB, SYS_PARTIAL, SYS_FULL };

struct syscall {
    const char *name;
    long (*fn)(struct regs *r);     // arguments r->arg[0..5]; result or -errno. NULL: ENOSYS, logged once by name
    enum sys_status status;
    const char *format;             // for the trace, a letter per argument: d int, u unsigned, x hex, p pointer, s string, f flags
    const char *note;               // what lacks
};

#define SYSCALL_MAX 462
extern const struct syscall syscall_table[SYSCALL_MAX];

void syscall_dispatch(struct regs *r);   // entry.S
void syscall_unsupported(const char *what, const char *remedy);   // one console line and control event per name

#endif
