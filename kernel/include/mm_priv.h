// SPDX-License-Identifier: Apache-2.0
// Between mm/ and arch/ only.
#ifndef UNI_MM_PRIV_H
#define UNI_MM_PRIV_H

#include "types.h"

u64 kmalloc_pages(void);                    // pages that the heap holds
u64 mem_free_pages(void);
void pt_insert_table(u64 va, u64 pa);       // a zeroed page becomes the table that va lacks at the highest level

#endif
