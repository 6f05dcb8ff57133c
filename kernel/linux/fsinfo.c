// SPDX-License-Identifier: Apache-2.0
// What is mounted, asked in the old ways: ustat(2), sysfs(2); and file handles, which no file system here gives out.
#include "fileio.h"

static const char *const types[] = { "sysfs", "tmpfs", "proc", "devtmpfs", "ext2" };       // as in /proc/filesystems

long sys_ustat(struct regs *r)
{
    struct { i32 free; u64 inodes; char name[6], pack[6]; } u = { 0 };
    struct kstatfs k = { 0 };
    u32 dev = (u32)r->arg[0];
    for (struct list *n = mounts.next; n != &mounts; n = n->next) {
        struct superblock *sb = list_entry(n, struct mount, node)->sb;
        if ((u32)sb->dev != dev)
            continue;
        int err = sb->ops->statfs ? sb->ops->statfs(sb, &k) : 0;
        if (err)
            return err;
        u.free = (i32)k.bfree;
        u.inodes = k.ffree;
        return copy_to_user(r->arg[1], &u, sizeof(u));
    }
    return -EINVAL;
}

static long type_by_name(uptr user)
{
    char name[16];
    ssize_t n = strncpy_from_user(name, user, sizeof(name));
    if (n < 0 && n != -ENAMETOOLONG)
        return n;
    for (unsigned i = 0; n >= 0 && i < ARRAY_SIZE(types); i++)
        if (!strcmp(types[i], name))
            return (long)i;
    return -EINVAL;
}

long sys_sysfs(struct regs *r)
{
    switch ((int)r->arg[0]) {
    case 1:
        return type_by_name(r->arg[1]);
    case 2:
        if (r->arg[1] >= ARRAY_SIZE(types))
            return -EINVAL;
        return copy_to_user(r->arg[2], types[r->arg[1]], strlen(types[r->arg[1]]) + 1);
    case 3:
        return ARRAY_SIZE(types);
    default:
        return -EINVAL;
    }
}

#define MAX_HANDLE 128u
#define KNOWN_FLAGS (AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)

// As on a Linux file system that cannot be exported.
long sys_name_to_handle_at(struct regs *r)
{
    u32 flags = (u32)r->arg[4];
    if (flags & ~(u32)KNOWN_FLAGS)
        return -EINVAL;
    struct path *p = at_path((int)r->arg[0], r->arg[1], (flags & AT_SYMLINK_FOLLOW ? WALK_FOLLOW : 0) | (flags & AT_EMPTY_PATH ? WALK_EMPTY : 0));
    if (is_err(p))
        return ptr_err(p);
    path_put(p);
    return -EOPNOTSUPP;
}

long sys_open_by_handle_at(struct regs *r)
{
    u32 bytes;
    if (!capable(CAP_DAC_READ_SEARCH))
        return -EPERM;
    if (user_read_u32(r->arg[1], &bytes))
        return -EFAULT;
    if (!bytes || bytes > MAX_HANDLE)
        return -EINVAL;
    struct file *f = (int)r->arg[0] == AT_FDCWD ? NULL : fd_get((int)r->arg[0]);
    if (!f && (int)r->arg[0] != AT_FDCWD)
        return -EBADF;
    if (f)
        file_put(f);
    return -ESTALE;
}
