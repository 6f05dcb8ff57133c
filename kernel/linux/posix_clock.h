// SPDX-License-Identifier: Apache-2.0
// The clocks of clock_gettime(2) as the kernel sees them.
#ifndef UNI_POSIX_CLOCK_H
#define UNI_POSIX_CLOCK_H

#include "types.h"

enum {
    CLOCK_REALTIME_K = 0, CLOCK_MONOTONIC_K = 1, CLOCK_PROCESS_CPUTIME_K = 2, CLOCK_THREAD_CPUTIME_K = 3,
    CLOCK_MONOTONIC_RAW_K = 4, CLOCK_REALTIME_COARSE_K = 5, CLOCK_MONOTONIC_COARSE_K = 6, CLOCK_BOOTTIME_K = 7,
    CLOCK_REALTIME_ALARM_K = 8, CLOCK_BOOTTIME_ALARM_K = 9, CLOCK_TAI_K = 11,
};
// CPU: user and system time; USER: of that only what the process spent in the program (ITIMER_VIRTUAL).
enum { CLOCK_KIND_REAL, CLOCK_KIND_MONO, CLOCK_KIND_CPU, CLOCK_KIND_USER };

struct clock_ref {
    int kind;
    int tid;                        // CPU time of this thread; 0: of the process
};

int clock_resolve(int id, struct clock_ref *c);    // -EINVAL
u64 clock_now(const struct clock_ref *c);
void timerfds_clock_set(void);                     // clock_settime: absolute wall-clock timers look again (linux/timerfd.c)
void itimers_clock_set(void);                      // linux/itimer.c

#endif
