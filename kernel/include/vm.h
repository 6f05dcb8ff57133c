// SPDX-License-Identifier: Apache-2.0
// The program's memory (mm/vm.c, mm/fault.c): areas in a tree, pages on demand, copy on write.
#ifndef UNI_VM_H
#define UNI_VM_H

#include "rbtree.h"
#include "sched.h"
#include "types.h"

struct file;
struct inode;
struct page;

enum { VM_READ = 1, VM_WRITE = 2, VM_EXEC = 4 };      // = PROT_*
enum {
    VMA_SHARED = 1 << 0, VMA_GROWSDOWN = 1 << 1, VMA_LOCKED = 1 << 2, VMA_STACK = 1 << 3,
    VMA_NORESERVE = 1 << 4, VMA_DONTDUMP = 1 << 5, VMA_WIPEONFORK = 1 << 6, VMA_SPECIAL = 1 << 7,   // vDSO, vvar: no unmapping rules broken
    VMA_LOW = 1 << 8,           // only asked for: MAP_32BIT
    VMA_ONFAULT = 1 << 10,      // locked, but what is not there yet comes when it is touched
    VMA_SEALED = 1 << 9,        // of a memfd that may not be written: nor does mprotect(2) allow it
};

// A range of addresses with one protection and one source. Neighbors that agree are merged.
struct vma {
    struct rbnode node;         // by start
    u64 start, end;             // page aligned, end exclusive
    u32 prot, flags;
    struct file *file;          // NULL: anonymous (a shared anonymous area has a tmpfs file)
    u64 pgoff;                  // page index in the file of `start`
    const char *name;           // "[heap]", "[stack]", "[vdso]", ... for /proc/self/maps
};

struct mm {
    struct rwlock lock;         // guards the tree and the page tables of the user half; faults take it shared
    struct rbtree vmas;
    u64 brk_start, brk;
    u64 mmap_top;               // areas are placed downward from here
    u64 gap_from, gap_passed;   // of the search for room (vm_gap)
    u64 stack_top;
    u64 total_pages;            // mapped (VmSize)
    u64 data_pages;             // of these private and writable (RLIMIT_DATA)
    u64 anon_pages, file_pages; // resident
    u64 peak_pages;             // the most of both, as of the last time that any went
    u64 locked_pages;
    u32 nr_areas;
    u32 lock_future;            // mlockall(MCL_FUTURE): VMA_LOCKED, VMA_ONFAULT for new areas
};

// All take mm->lock themselves. Addresses and lengths page aligned; negative errno.
// addr 0: anywhere. fixed: MAP_FIXED replaces; noreplace: -EEXIST. Returns the address.
static inline u64 vm_peak(const struct mm *m) { return MAX(m->peak_pages, m->anon_pages + m->file_pages); }    // resident
long vm_map(u64 addr, u64 len, u32 prot, u32 vma_flags, struct file *f, u64 pgoff, bool fixed, bool noreplace);
bool vm_in_use(u64 addr, u64 len);           // is anything mapped there?
int vm_unmap(u64 addr, u64 len);
int vm_protect(u64 addr, u64 len, u32 prot);
struct vma *vm_find(u64 addr);                        // lock held; the area that holds addr, else the next above it, else NULL
void vm_destroy_user(void);                           // exec: everything goes
void vm_release_files(void);                          // the process ends: no mapping holds a file any more
bool vm_any(bool (*is)(const struct vma *v, const void *arg), const void *arg);   // of the areas
bool vm_writable_mapping(const struct inode *ino);    // a shared mapping of it may be written to
void vm_init_user(struct mm *mm, bool aslr);
int vm_fault(u64 addr, u32 error_code);               // 0, -EFAULT (SEGV_MAPERR), -EACCES (SEGV_ACCERR), -EIO (SIGBUS), -ENOMEM
int vm_prefault(u64 addr, u64 len, bool write);
// fs -> mm: the pages of a file from `first` on (n pages; ~0 for all) are no longer valid: take them out of the page tables.
void vm_unmap_file_pages(struct inode *ino, u64 first, u64 n);
// fs -> mm: write-protect and gather dirty bits of shared mappings of a file, before write back. Calls page_dirty on each dirty page.
void vm_clean_file_pages(struct inode *ino, u64 first, u64 n);

#endif
