// SPDX-License-Identifier: Apache-2.0
// Between the files of mm/ and linux/mm*.c.
#ifndef UNI_VM_PRIV_H
#define UNI_VM_PRIV_H

#include "arch.h"
#include "page.h"
#include "vm.h"

// In a page table entry of the program's half. PTE_COW: the page is the page cache's or the zero page: copy before writing.
// PTE_NONE: the page is there but PROT_NONE keeps it from being used (the P bit is off).
#define PTE_NONE BIT(10)
#define PTE_THERE (PTE_P | PTE_NONE)

#define MMAP_MIN 0x10000ul          // Linux's vm.mmap_min_addr
enum { ACCMODE = 3, RDWR = 2 };      // of file.flags: O_ACCMODE, O_RDWR
#define STACK_GAP (256 * PAGE_SIZE) // Linux's stack_guard_gap

extern u64 zero_pa;                 // the page that reads of untouched anonymous memory see
extern u64 vvar_pa, vdso_pa;        // pages of the kernel's image that the program sees (linux/vdso.c): not counted

// mm/pte.c. The write lock is held, or nothing sleeps meanwhile.
u64 *pte_span(u64 *va, u64 end, u32 *n);                        // entries of one table from *va on; NULL: none below end
void pte_zap(struct mm *mm, u64 start, u64 end);                // unmaps and drops every page
void pte_protect(struct vma *v, u64 start, u64 end);            // v->prot is already the new one
int pte_move(u64 from, u64 to, u64 len);                        // mremap; -ENOMEM before anything has moved
u64 pte_bits(const struct vma *v, bool write);                  // of a present entry
void pte_drop(struct mm *mm, u64 e);                            // forgets the page behind an old entry

extern spinlock_t vm_tree_lock;     // see mm/vm.c: enough to read the tree of areas

// mm/vm.c. mm->lock is held for writing.
int vm_split(struct mm *mm, u64 addr);                          // no area spans addr afterwards
void vm_merge_around(struct mm *mm, u64 start, u64 end);
long vm_map_locked(struct mm *mm, u64 addr, u64 len, u32 prot, u32 flags, struct file *f, u64 pgoff, bool fixed, bool noreplace);
void vm_unmap_locked(struct mm *mm, u64 start, u64 end);
long vm_gap(struct mm *mm, u64 hint, u64 len);                  // a free range: its start, or -ENOMEM
bool vm_overlaps(u64 start, u64 end);
int vm_may_grow(struct mm *mm, u64 pages, u32 prot, u32 flags, bool file);  // RLIMIT_AS, RLIMIT_DATA, overcommit
void vm_account(struct mm *mm, const struct vma *v, i64 pages);
u64 vm_each_file_area(u64 from, bool (*fn)(struct mm *mm, struct vma *v, void *arg), void *arg);
struct vma *vma_next(struct vma *v);
struct vma *vma_prev(struct vma *v);
void vma_set_start(struct vma *v, u64 start);

// mm/oom.c
void oom_report(u64 pages, const char *what);

#endif
