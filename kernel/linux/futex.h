// SPDX-License-Identifier: Apache-2.0
#ifndef UNI_FUTEX_PRIV_H
#define UNI_FUTEX_PRIV_H

#include "sched.h"

void futex_init(void);
void futex_thread_exit(struct thread *t);       // walks the robust list
int futex_wake_addr(uptr addr, u32 n);

#endif
