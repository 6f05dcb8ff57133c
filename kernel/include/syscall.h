// SPDX-License-Identifier: Apache-2.0
// System calls: one const table (linux/table.c), from which docs/syscalls.md is generated.
#ifndef UNI_SYSCALL_H
#define UNI_SYSCALL_H

#include "regs.h"
#include "types.h"

struct syscall {
    long (*fn)(struct regs *r);     // arguments r->arg[0..5]; result or -errno. NULL: ENOSYS, logged once by name
    const char *name;               // NULL: no such call; behind its end the format of the arguments, for the trace
};

#define SYSCALL_MAX 462
extern const struct syscall syscall_table[SYSCALL_MAX];

void syscall_dispatch(struct regs *r);   // entry.S
void syscall_unsupported(const char *what, const char *remedy);   // one console line and control event per name

#endif
