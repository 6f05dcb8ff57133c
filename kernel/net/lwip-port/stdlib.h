// SPDX-License-Identifier: Apache-2.0
// What lwIP uses of <stdlib.h>.
#ifndef UNI_LWIP_STDLIB_H
#define UNI_LWIP_STDLIB_H

#include "lib.h"

static inline int atoi(const char *s)
{
    u64 v;
    return parse_u64(s, 10, &v) ? (int)v : 0;
}

#endif
