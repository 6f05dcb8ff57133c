// SPDX-License-Identifier: Apache-2.0
// The battery clock (dev/rtc.c).
#ifndef UNI_RTC_H
#define UNI_RTC_H

#include "types.h"

u64 rtc_read_seconds(void);     // since 1970, UTC; 0 when there is no such clock
void rtc_start(void);           // from now on its edges correct the clocks

#endif
