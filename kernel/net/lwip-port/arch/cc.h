// SPDX-License-Identifier: Apache-2.0
// What lwIP asks of its compiler and environment ("lwip/arch.h" lists it).
#ifndef UNI_LWIP_CC_H
#define UNI_LWIP_CC_H

#include <limits.h>
#include "lib.h"
#include "printk.h"
#include "types.h"

#define LWIP_NO_UNISTD_H 1
#define LWIP_NO_CTYPE_H 1
#define LWIP_NO_INTTYPES_H 1
#define X8_F "02x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "u"
#define S32_F "d"
#define X32_F "x"
#define SZT_F "lu"
#ifndef SSIZE_MAX
#define SSIZE_MAX LONG_MAX                    // ssize_t comes from types.h
#endif

#define LWIP_PLATFORM_DIAG(x) do { printk x; } while (0)
#define LWIP_PLATFORM_ASSERT(x) panic("lwIP: %s", x)
#define LWIP_RAND() net_rand()
#define LWIP_CHKSUM net_checksum

// Instructions instead of calls of functions.
#define lwip_htons(x) __builtin_bswap16(x)
#define lwip_htonl(x) __builtin_bswap32(x)

u32 net_rand(void);
u16 net_checksum(const void *data, int len);

#endif
