// SPDX-License-Identifier: Apache-2.0
// Between mm/ and arch/ only.
#ifndef UNI_MM_PRIV_H
#define UNI_MM_PRIV_H

#include "types.h"

u64 kmalloc_pages(void);                    // pages that the heap holds
u64 mem_free_pages(void);
size_t vm_unmap_idle(size_t pages);         // mm/reclaim.c: mapped pages of files that were not used of late; returns how many
bool reclaim_pause(void);                   // a moment for the write back of dirty pages; false where sleeping is impossible
void pt_insert_table(u64 va, u64 pa);       // a zeroed page becomes the table that va lacks at the highest level

#endif
