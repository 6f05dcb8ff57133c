// SPDX-License-Identifier: Apache-2.0
// Kernel heap (mm/kmalloc.c): size classes in slabs of pages; larger blocks are whole pages, physically contiguous.
#ifndef UNI_KMALLOC_H
#define UNI_KMALLOC_H

#include "types.h"

void *kmalloc(size_t size, unsigned flags);    // flags: PA_ZERO, PA_ATOMIC (page.h); 16-byte aligned; NULL when out of memory
void *kzalloc(size_t size);                    // kmalloc(size, PA_ZERO)
void *krealloc(void *p, size_t size);
void kfree(void *p);                           // NULL is fine
size_t ksize(const void *p);
char *kstrdup(const char *s);
void kmalloc_drain(void);                      // gives back what is kept for the next kmalloc; threads and softirqs

// Virtually contiguous kernel memory of any size, page granular, with an unmapped guard page after it.
void *vmalloc(size_t size);
void vfree(void *p);

#endif
