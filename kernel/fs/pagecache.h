// SPDX-License-Identifier: Apache-2.0
// Between fs/pagecache.c, fs/filerw.c and fs/writeback.c. Pages of an inode are guarded by inode->mapping.lock; PG_BUSY
// (being read in) and PG_WRITEBACK belong to whoever set them. Order of locks: inode->lock, mm->lock, a busy page, the
// file system's own lock, mapping.lock.
#ifndef UNI_PAGECACHE_H
#define UNI_PAGECACHE_H

#include "radix.h"
#include "vfs.h"
#include "vm.h"

void pc_wait(struct page *p, u16 flags);                     // until none of the flags is set
void pc_flags(struct page *p, u16 set, u16 clear);           // and wakes
bool pc_in_memory(const struct inode *i);                    // a file system without a disk
struct page *pc_get_n(struct inode *i, struct file *f, u64 index, unsigned want);
void pc_zero_tail(struct inode *i, u64 index, struct page *p);
void pc_read_ahead(struct inode *i, u64 index, u64 n);
size_t pc_forget(struct inode *i, u64 first, u64 last, bool second_chance);
void pc_balance(struct inode *i);                            // after dirtying: keeps within the limit
void writeback_init(void);

#endif
