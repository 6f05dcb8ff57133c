// SPDX-License-Identifier: Apache-2.0
#ifndef UNI_LOCKS_H
#define UNI_LOCKS_H

#include "../fs/vfs.h"

long fcntl_lock(struct file *f, u32 cmd, uptr arg);          // fs/locks.c
long memfd_seals(struct file *f, u32 cmd, u32 arg);          // linux/memfd.c
u32 inode_seals(const struct inode *i);
long pipe_fcntl(struct file *f, u32 cmd, u64 arg) WEAK;      // linux/pipe.c: F_GETPIPE_SZ, F_SETPIPE_SZ
ssize_t pipe_peek(struct file *f, void *buf, size_t n);

#ifndef F_ADD_SEALS
#define F_ADD_SEALS (F_LINUX_SPECIFIC_BASE + 9)
#define F_GET_SEALS (F_LINUX_SPECIFIC_BASE + 10)
#endif

#endif
