// SPDX-License-Identifier: Apache-2.0
// What lwIP uses of <string.h>.
#ifndef UNI_LWIP_STRING_H
#define UNI_LWIP_STRING_H

#include "lib.h"

#endif
