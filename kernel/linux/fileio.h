// SPDX-License-Identifier: Apache-2.0
// Shared by linux/file*.c, name*.c, copy.c: descriptors and names as system calls take them.
#ifndef UNI_FILEIO_H
#define UNI_FILEIO_H

#include "../fs/vfs.h"
#include "process.h"
#include "syscalls.h"

// A path from the program: short ones need no allocation.
struct name {
    char *s;
    char fast[200];
};
int name_get(struct name *n, uptr user);          // 0, -EFAULT, -ENAMETOOLONG, -ENOMEM
void name_put(struct name *n);

// The file of a descriptor for reading or writing (acc: O_RDONLY, O_WRONLY, or -1 for any but O_PATH). err_ptr(-EBADF).
struct file *fd_file(int fd, int acc);
bool file_readable(const struct file *f);
bool file_writable(const struct file *f);
// The path of a *at call; WALK_* flags; AT_EMPTY_PATH allowed with WALK_EMPTY. Counted; err_ptr.
struct path *at_path(int dirfd, uptr user_name, u32 walk_flags);
ssize_t file_read_at(struct file *f, struct iter *it, u64 *pos);      // NULL: the file's own position
ssize_t file_write_at(struct file *f, struct iter *it, u64 *pos);

#endif
