// SPDX-License-Identifier: Apache-2.0
// Timers of the program: setitimer, alarm, timer_create (linux/itimer.c), and the CPU-time ones among them.
#ifndef UNI_ITIMER_H
#define UNI_ITIMER_H

#include "signal.h"
#include "process.h"

void posix_timer_delivered(struct siginfo_k *info);    // a timer's signal is about to be seen: fills in the overrun
void cpu_timers_check(struct thread *t);               // on the way back to the program, when thread->cpu_timers
void itimers_exec(struct process *p);                  // execve: timer_create's timers go, setitimer's stay
void cpu_timers_new_thread(struct thread *t);          // a process-wide CPU-time timer is armed: the new thread counts too

#endif
