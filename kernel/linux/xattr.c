// SPDX-License-Identifier: Apache-2.0
// Extended attributes, xattr(7): names, permissions, and the search in what the file system keeps in one piece.
#include "fileio.h"

#include <linux/inotify.h>
#include <linux/limits.h>

#define XATTRS_MAX (4 * XATTR_SIZE_MAX)     // of one inode, where the file system has no limit of its own
#define CREATE 1u
#define REPLACE 2u
#define CAP_SYS_ADMIN_K 21
#define CAP_FOWNER_K 3
#define CAP_SETFCAP_K 31

static const struct { u8 kind, len; const char *prefix; } prefixes[] = {
    { XATTR_USER, 5, "user." }, { XATTR_TRUSTED, 8, "trusted." }, { XATTR_SECURITY, 9, "security." },
};

// A name as the program gave it.
struct xname {
    char text[XATTR_NAME_MAX + 1];
    u8 kind, skip;                  // prefix; skip 0: none that is known
};

struct record {
    u32 value_len;
    u8 kind, name_len;
    u8 *name, *value, *next;
};

static int name_from_user(struct xname *n, uptr user)
{
    ssize_t len = strncpy_from_user(n->text, user, sizeof(n->text));
    if (len == -ENAMETOOLONG || !len)
        return -ERANGE;
    n->skip = 0;
    for (u32 i = 0; i < ARRAY_SIZE(prefixes) && len > 0; i++)
        if (!strncmp(n->text, prefixes[i].prefix, prefixes[i].len)) {
            n->kind = prefixes[i].kind;
            n->skip = prefixes[i].len;
        }
    return len < 0 ? (int)len : 0;
}

// xattr(7). Only what can have contents of its own has user attributes; trusted ones do not exist for who lacks the capability.
static int permitted(struct inode *i, const struct xname *n, bool write)
{
    if (write && i->sb->readonly)
        return -EROFS;
    if (!i->ops || !i->ops->xattr_load || !n->skip)
        return -EOPNOTSUPP;
    if (!n->text[n->skip])
        return -EINVAL;
    if (n->kind == XATTR_SECURITY)
        return !write || capable(strcmp(n->text, "security.capability") ? CAP_SYS_ADMIN_K : CAP_SETFCAP_K) ? 0 : -EPERM;
    if (n->kind == XATTR_TRUSTED)
        return capable(CAP_SYS_ADMIN_K) ? 0 : write ? -EPERM : -ENODATA;
    if (!S_ISREG(i->mode) && !S_ISDIR(i->mode))
        return write ? -EPERM : -ENODATA;
    if (write && S_ISDIR(i->mode) && (i->mode & S_ISVTX) && current_cred()->fsuid != i->uid && !capable(CAP_FOWNER_K))
        return -EPERM;
    return inode_permission(i, write ? MAY_WRITE : MAY_READ);
}

static bool record_at(const struct xattrs *x, u8 *at, struct record *r)
{
    if (at >= x->data + x->len)
        return false;
    memcpy(&r->value_len, at, 4);
    r->kind = at[4];
    r->name_len = at[5];
    r->name = at + XATTR_RECORD;
    r->value = r->name + r->name_len;
    r->next = r->value + r->value_len;
    return true;
}

static bool find(const struct xattrs *x, const struct xname *n, struct record *r)
{
    size_t len = strlen(n->text) - n->skip;
    for (u8 *at = x->data; record_at(x, at, r); at = r->next)
        if (r->kind == n->kind && r->name_len == len && !memcmp(r->name, n->text + n->skip, len))
            return true;
    return false;
}

// x with n changed to the value; NULL: without n. y->data is new.
static int changed(const struct xattrs *x, const struct xname *n, const void *value, u32 len, struct xattrs *y)
{
    struct record r;
    u32 name_len = (u32)strlen(n->text) - n->skip;
    y->data = kmalloc(x->len + XATTR_RECORD + name_len + len, 0);
    if (!y->data)
        return -ENOMEM;
    u8 *to = y->data;
    for (u8 *at = x->data; record_at(x, at, &r); at = r.next) {
        if (r.kind == n->kind && r.name_len == name_len && !memcmp(r.name, n->text + n->skip, name_len))
            continue;
        memcpy(to, at, (size_t)(r.next - at));
        to += r.next - at;
    }
    if (value) {
        memcpy(to, &len, 4);
        to[4] = n->kind;
        to[5] = (u8)name_len;
        memcpy(to + XATTR_RECORD, n->text + n->skip, name_len);
        memcpy(to + XATTR_RECORD + name_len, value, len);
        to += XATTR_RECORD + name_len + len;
    }
    y->len = (u32)(to - y->data);
    return y->len > XATTRS_MAX ? -ENOSPC : 0;
}

static int change_locked(struct inode *i, const struct xname *n, const void *value, u32 len, u32 flags)
{
    struct xattrs x = { 0 }, y = { 0 };
    struct record r;
    int err = i->ops->xattr_load(i, &x);
    bool there = !err && find(&x, n, &r);
    if (!err && there && (flags & CREATE))
        err = -EEXIST;
    if (!err && !there && (flags & REPLACE))
        err = -ENODATA;
    if (!err)
        err = changed(&x, n, value, len, &y);
    if (!err)
        err = i->ops->xattr_store(i, &y);
    kfree(x.data);
    kfree(y.data);
    return err;
}

static long change(struct inode *i, struct path *p, const struct xname *n, const void *value, u32 len, u32 flags)
{
    long err = permitted(i, n, true);
    if (err)
        return err;
    mutex_lock(&i->lock);
    err = change_locked(i, n, value, len, flags);
    if (!err)
        inode_touch(i, false, true);
    mutex_unlock(&i->lock);
    if (!err)
        notify(p, IN_ATTRIB);
    return err;
}

static long get(struct inode *i, const struct xname *n, uptr buf, u64 size)
{
    struct xattrs x = { 0 };
    struct record r;
    long err = permitted(i, n, false);
    if (err)
        return err;
    mutex_lock(&i->lock);
    err = i->ops->xattr_load(i, &x);
    mutex_unlock(&i->lock);
    if (!err && !find(&x, n, &r))
        err = -ENODATA;
    else if (!err && size && r.value_len > size)
        err = -ERANGE;
    else if (!err && size)
        err = copy_to_user(buf, r.value, r.value_len);
    kfree(x.data);
    return err ? err : (long)r.value_len;
}

static long list(struct inode *i, uptr buf, u64 size)
{
    struct xattrs x = { 0 };
    struct record r;
    u64 at = 0;
    if (!i->ops || !i->ops->xattr_load)
        return 0;
    mutex_lock(&i->lock);
    long err = i->ops->xattr_load(i, &x);
    mutex_unlock(&i->lock);
    for (u8 *p = x.data; !err && record_at(&x, p, &r); p = r.next) {
        char text[XATTR_NAME_MAX + 16];
        const char *prefix = NULL;
        for (u32 k = 0; k < ARRAY_SIZE(prefixes); k++)
            if (prefixes[k].kind == r.kind)
                prefix = prefixes[k].prefix;
        if (!prefix || (r.kind == XATTR_TRUSTED && !capable(CAP_SYS_ADMIN_K)))
            continue;               // an ACL, which cannot be asked for here
        size_t n = strlcpy(text, prefix, sizeof(text));
        memcpy(text + n, r.name, r.name_len);
        n += r.name_len;
        text[n++] = 0;
        if (size && at + n > size)
            err = -ERANGE;
        else if (size)
            err = copy_to_user(buf + at, text, n);
        at += n;
    }
    kfree(x.data);
    return err ? err : (long)at;
}

// --- the calls: by name, by name without following a link, by descriptor ---------------------------------------------------
enum how { FOLLOW, NO_FOLLOW, BY_FD };

// The inode that a call means, with what holds it.
struct target {
    struct path *path;
    struct file *file;
    struct inode *inode;
};

static int target_get(struct target *t, u64 arg, enum how how)
{
    *t = (struct target){ 0 };
    if (how == BY_FD) {
        t->file = fd_file((int)arg, -1);
        if (is_err(t->file))
            return (int)ptr_err(t->file);
        t->path = t->file->path ? path_get(t->file->path) : NULL;
        t->inode = t->file->inode;
    } else {
        t->path = at_path(AT_FDCWD, arg, how == FOLLOW ? WALK_FOLLOW : 0);
        if (is_err(t->path))
            return (int)ptr_err(t->path);
        t->inode = path_inode(t->path);
    }
    return 0;
}

static void target_put(struct target *t)
{
    if (t->path)
        path_put(t->path);
    if (t->file)
        file_put(t->file);
}

static long do_set(struct regs *r, enum how how)
{
    struct xname n;
    struct target t;
    u64 size = r->arg[3];
    u32 flags = (u32)r->arg[4];
    if (flags & ~(CREATE | REPLACE))
        return -EINVAL;
    long err = name_from_user(&n, r->arg[1]);
    if (err)
        return err;
    if (size > XATTR_SIZE_MAX)
        return -E2BIG;
    void *value = kmalloc(MAX(size, 1ul), 0);
    err = !value ? -ENOMEM : size ? copy_from_user(value, r->arg[2], size) : 0;
    if (!err)
        err = target_get(&t, r->arg[0], how);
    if (!err) {
        err = t.inode ? change(t.inode, t.path, &n, value, (u32)size, flags) : -EOPNOTSUPP;
        target_put(&t);
    }
    kfree(value);
    return err;
}

static long do_get(struct regs *r, enum how how)
{
    struct xname n;
    struct target t;
    long err = target_get(&t, r->arg[0], how);
    if (err)
        return err;
    err = name_from_user(&n, r->arg[1]);
    if (!err)
        err = t.inode ? get(t.inode, &n, r->arg[2], r->arg[3]) : -EOPNOTSUPP;
    target_put(&t);
    return err;
}

static long do_list(struct regs *r, enum how how)
{
    struct target t;
    long err = target_get(&t, r->arg[0], how);
    if (err)
        return err;
    err = t.inode ? list(t.inode, r->arg[1], r->arg[2]) : 0;
    target_put(&t);
    return err;
}

static long do_remove(struct regs *r, enum how how)
{
    struct xname n;
    struct target t;
    long err = target_get(&t, r->arg[0], how);
    if (err)
        return err;
    err = name_from_user(&n, r->arg[1]);
    if (!err)
        err = t.inode ? change(t.inode, t.path, &n, NULL, 0, REPLACE) : -EOPNOTSUPP;
    target_put(&t);
    return err;
}

long sys_setxattr(struct regs *r) { return do_set(r, FOLLOW); }
long sys_lsetxattr(struct regs *r) { return do_set(r, NO_FOLLOW); }
long sys_fsetxattr(struct regs *r) { return do_set(r, BY_FD); }
long sys_getxattr(struct regs *r) { return do_get(r, FOLLOW); }
long sys_lgetxattr(struct regs *r) { return do_get(r, NO_FOLLOW); }
long sys_fgetxattr(struct regs *r) { return do_get(r, BY_FD); }
long sys_listxattr(struct regs *r) { return do_list(r, FOLLOW); }
long sys_llistxattr(struct regs *r) { return do_list(r, NO_FOLLOW); }
long sys_flistxattr(struct regs *r) { return do_list(r, BY_FD); }
long sys_removexattr(struct regs *r) { return do_remove(r, FOLLOW); }
long sys_lremovexattr(struct regs *r) { return do_remove(r, NO_FOLLOW); }
long sys_fremovexattr(struct regs *r) { return do_remove(r, BY_FD); }
