// SPDX-License-Identifier: Apache-2.0
// Between exec.c, exec_stack.c and init.c only.
#ifndef UNI_EXEC_PRIV_H
#define UNI_EXEC_PRIV_H

#include "elf.h"
#include "fs.h"
#include "process.h"

#define ARG_STRLEN_MAX 131072ul     // one string (MAX_ARG_STRLEN)

// Maps the stack and lays argc, argv, envp and the auxiliary vector on it; *sp is what the program starts with.
int exec_build_stack(struct process *p, const struct exec_args *a, const struct elf_program *g, u64 vdso, u64 *sp);
bool exec_permitted(const struct kstat *st);

#endif
