// SPDX-License-Identifier: Apache-2.0
#ifndef UNI_RLIMIT_PRIV_H
#define UNI_RLIMIT_PRIV_H

#include "process.h"

#define CAP_ALL ((1ull << 41) - 1)      // CAP_LAST_CAP is 40 (CAP_CHECKPOINT_RESTORE)

#define CAP_SYS_NICE_K 23

void rlimits_setup(struct process *p);  // defaults, then uni.rlimit
bool may_renice(int from, int to);      // CAP_SYS_NICE, or RLIMIT_NICE allows it

#endif
