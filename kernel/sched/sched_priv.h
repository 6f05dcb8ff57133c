// SPDX-License-Identifier: Apache-2.0
// Between the files of sched/ only.
#ifndef UNI_SCHED_PRIV_H
#define UNI_SCHED_PRIV_H

#include "sched.h"

void sched_add(struct thread *t);           // makes a new thread runnable
void sched_set_dead(struct thread *t);      // its stack is freed after the next switch
void thread_reap(struct thread *t);
void idle_wait(struct cpu *c);

#endif
