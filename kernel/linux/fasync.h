// SPDX-License-Identifier: Apache-2.0
// Files that signal their owner (linux/fasync.c): O_ASYNC, F_SETOWN, SIGURG.
#ifndef UNI_FASYNC_H
#define UNI_FASYNC_H

#include "types.h"

struct file;

// asm-generic/sockios.h
enum { FIOSETOWN_K = 0x8901, SIOCSPGRP_K = 0x8902, FIOGETOWN_K = 0x8903, SIOCGPGRP_K = 0x8904 };

int fasync_set(struct file *f, int fd, bool on);            // O_ASYNC changed
long fasync_fcntl(struct file *f, u32 cmd, u64 arg);        // F_SETOWN, F_GETOWN, F_SETOWN_EX, F_GETOWN_EX, F_SETSIG, F_GETSIG
long fasync_ioctl(struct file *f, u32 cmd, uptr arg);       // FIOSETOWN and its like
void fasync_urgent(struct file *f);                         // SIGURG to f's owner; f may be NULL

#endif
