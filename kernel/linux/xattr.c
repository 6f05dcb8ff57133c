// SPDX-License-Identifier: Apache-2.0
// Extended attributes: no file system here has any. The answers are those of Linux on a file system without them: names are
// checked, lists are empty, everything else is EOPNOTSUPP.
#include "fileio.h"

#define XATTR_NAME_MAX 255

static long check_name(uptr user)
{
    char name[XATTR_NAME_MAX + 1];
    ssize_t n = strncpy_from_user(name, user, sizeof(name));
    if (n == -ENAMETOOLONG || n == 0)
        return -ERANGE;
    return n < 0 ? n : -EOPNOTSUPP;
}

// The file must exist; then `name` is judged, or with name 0 the list is empty.
static long by_path(uptr path, bool follow, uptr name)
{
    struct path *p = at_path(AT_FDCWD, path, follow ? WALK_FOLLOW : 0);
    if (is_err(p))
        return ptr_err(p);
    path_put(p);
    return name ? check_name(name) : 0;
}

static long by_fd(int fd, uptr name)
{
    struct file *f = fd_file(fd, -1);
    if (is_err(f))
        return ptr_err(f);
    file_put(f);
    return name ? check_name(name) : 0;
}

static long set_allowed(struct regs *r)
{
    if (r->arg[4] & ~3ull)                      // XATTR_CREATE, XATTR_REPLACE
        return -EINVAL;
    return r->arg[3] > 65536 ? -E2BIG : 0;
}

long sys_setxattr(struct regs *r)
{
    long err = set_allowed(r);
    return err ? err : by_path(r->arg[0], true, r->arg[1] ? r->arg[1] : 1);
}

long sys_lsetxattr(struct regs *r)
{
    long err = set_allowed(r);
    return err ? err : by_path(r->arg[0], false, r->arg[1] ? r->arg[1] : 1);
}

long sys_fsetxattr(struct regs *r)
{
    long err = set_allowed(r);
    return err ? err : by_fd((int)r->arg[0], r->arg[1] ? r->arg[1] : 1);
}

long sys_getxattr(struct regs *r) { return by_path(r->arg[0], true, r->arg[1] ? r->arg[1] : 1); }
long sys_lgetxattr(struct regs *r) { return by_path(r->arg[0], false, r->arg[1] ? r->arg[1] : 1); }
long sys_fgetxattr(struct regs *r) { return by_fd((int)r->arg[0], r->arg[1] ? r->arg[1] : 1); }
long sys_listxattr(struct regs *r) { return by_path(r->arg[0], true, 0); }
long sys_llistxattr(struct regs *r) { return by_path(r->arg[0], false, 0); }
long sys_flistxattr(struct regs *r) { return by_fd((int)r->arg[0], 0); }
long sys_removexattr(struct regs *r) { return by_path(r->arg[0], true, r->arg[1] ? r->arg[1] : 1); }
long sys_lremovexattr(struct regs *r) { return by_path(r->arg[0], false, r->arg[1] ? r->arg[1] : 1); }
long sys_fremovexattr(struct regs *r) { return by_fd((int)r->arg[0], r->arg[1] ? r->arg[1] : 1); }
