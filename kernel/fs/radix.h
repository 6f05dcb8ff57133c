// SPDX-License-Identifier: Apache-2.0
// Page index -> page, with a mark per page for those that are dirty. 64-way tree; a mapping whose only page is page 0 has no node.
#ifndef UNI_RADIX_H
#define UNI_RADIX_H

#include "fs.h"

struct page *radix_find(const struct mapping *m, u64 index);
int radix_insert(struct mapping *m, u64 index, struct page *p);      // -EEXIST; -ENOMEM: never sleeps, so make room and try again
void radix_make_room(void);
struct page *radix_remove(struct mapping *m, u64 index);
void radix_mark(struct mapping *m, u64 index, bool dirty);
// The first page at or after *index (only marked ones with `dirty`); moves *index to it. NULL: none.
struct page *radix_next(const struct mapping *m, u64 *index, bool dirty);

#endif
