// SPDX-License-Identifier: Apache-2.0
// The vDSO: clock reading without a system call (linux/vdso.c maps it; vdso/ is the code the program runs).
#ifndef UNI_VDSO_H
#define UNI_VDSO_H

#include "types.h"

// Maps the code and its data page into the program; the address of the ELF header, 0 when there is none.
u64 vdso_map(void);

#endif
