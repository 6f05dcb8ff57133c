// SPDX-License-Identifier: Apache-2.0
// Linux's error numbers, from the host's kernel headers: the ABI is the same.
#ifndef UNI_ERRNO_H
#define UNI_ERRNO_H

#include <asm/errno.h>

// Internal: the call was interrupted by a signal. The signal code turns it into EINTR or a restart.
#define ERESTARTSYS 512          // restart when SA_RESTART, else EINTR
#define ERESTARTNOINTR 513       // always restart
#define ERESTARTNOHAND 514       // restart only when no handler ran
#define ERESTART_RESTARTBLOCK 516 // restart with the remaining time (nanosleep and friends)

#endif
