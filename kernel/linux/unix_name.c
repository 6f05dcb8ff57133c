// SPDX-License-Identifier: Apache-2.0
// AF_UNIX: names in the file system and in the abstract space. unix(7), "Address format".
#include "unix.h"
#include "../fs/vfs.h"
#include <linux/stat.h>
#include "errno.h"
#include "kmalloc.h"
#include "lib.h"
#include "process.h"

#define ADDR_FAMILY 2u                  // bytes of sun_family
#define ADDR_MAX (ADDR_FAMILY + UNIX_PATH_MAX)

void unix_name_put(struct unix_name *n)
{
    if (n && --n->refs == 0) {
        if (n->inode)
            inode_put(n->inode);
        kfree(n);
    }
}

static int check_addr(const struct sockaddr_buf *a, u32 len)
{
    return len <= ADDR_FAMILY || len > ADDR_MAX || a->family != K_AF_UNIX ? -EINVAL : 0;
}

static bool same_name(const struct unix_name *n, const char *name, u32 len)
{
    return n && !n->inode && n->len == len && memcmp(n->path, name, len) == 0;
}

// unix_lock held.
static struct unix_sock *find_abstract(const char *name, u32 len, int type)
{
    for (struct list *l = unix_all.next; l != &unix_all; l = l->next) {
        struct unix_sock *u = list_entry(l, struct unix_sock, all);
        // An accepted socket shares its listener's name but is not found by it.
        if (!u->dead && u->state != UNIX_CONNECTED && same_name(u->name, name, len) && (type < 0 || u->type == type))
            return u;
    }
    for (struct list *l = unix_all.next; l != &unix_all; l = l->next) {
        struct unix_sock *u = list_entry(l, struct unix_sock, all);
        if (!u->dead && u->type == K_SOCK_DGRAM && same_name(u->name, name, len) && (type < 0 || u->type == type))
            return u;
    }
    return NULL;
}

static struct unix_sock *find_path(const char *path)
{
    struct unix_sock *u = err_ptr(-ECONNREFUSED);
    struct inode *i = vfs_lookup_inode(path);
    if (is_err(i))
        return (struct unix_sock *)i;
    int err = inode_permission(i, MAY_WRITE);
    if (err) {
        u = err_ptr(err);
    } else if (S_ISSOCK(i->mode)) {
        spin_lock(&unix_lock);
        if (i->priv)
            u = unix_get(i->priv);
        spin_unlock(&unix_lock);
    }
    inode_put(i);
    return u;
}

struct unix_sock *unix_find(const struct sockaddr_buf *a, u32 len, int type)
{
    int err = check_addr(a, len);
    if (err)
        return err_ptr(err);
    struct unix_sock *u;
    if (a->data[0]) {
        char path[UNIX_PATH_MAX + 1];
        memcpy(path, a->data, len - ADDR_FAMILY);
        path[len - ADDR_FAMILY] = 0;
        u = find_path(path);
    } else {
        spin_lock(&unix_lock);
        u = find_abstract((const char *)a->data, len - ADDR_FAMILY, type);
        if (u)
            unix_get(u);
        spin_unlock(&unix_lock);
        if (!u)
            return err_ptr(-ECONNREFUSED);
    }
    if (!is_err(u) && u->type != type) {
        unix_put(u);
        return err_ptr(-EPROTOTYPE);
    }
    return u;
}

static int bind_abstract(struct unix_sock *u, const char *name, u32 len)
{
    struct unix_name *n = kzalloc(sizeof(*n));
    if (!n)
        return -ENOMEM;
    n->refs = 1;
    n->len = len;
    memcpy(n->path, name, len);
    int err = 0;
    spin_lock(&unix_lock);
    if (u->name)
        err = -EINVAL;
    else if (find_abstract(name, len, u->type))
        err = -EADDRINUSE;
    else
        u->name = n;
    spin_unlock(&unix_lock);
    if (err)
        kfree(n);
    return err;
}

// unix(7), "Autobind feature": five hexadecimal digits behind a NUL.
int unix_autobind(struct unix_sock *u)
{
    static u32 next;
    char name[8];
    if (u->name)
        return 0;
    for (u32 tries = 0; tries <= 0xfffff; tries++) {
        next = (next + 1) & 0xfffff;
        snprintf(name + 1, sizeof(name) - 1, "%05x", next);
        name[0] = 0;
        int err = bind_abstract(u, name, 6);
        if (err != -EADDRINUSE)
            return err;
    }
    return -ENOSPC;
}

static int bind_path(struct unix_sock *u, const char *path)
{
    struct unix_name *n = kzalloc(sizeof(*n));
    struct inode *i = NULL;
    if (!n)
        return -ENOMEM;
    int err = u->name ? -EINVAL : vfs_mknod(path, S_IFSOCK | 0777, 0, &i);
    if (err) {
        kfree(n);
        return err == -EEXIST ? -EADDRINUSE : err;
    }
    n->refs = 1;
    n->inode = i;
    n->len = (u32)strlcpy(n->path, path, sizeof(n->path)) + 1;
    spin_lock(&unix_lock);
    i->priv = u;
    u->name = n;
    spin_unlock(&unix_lock);
    return 0;
}

int unix_bind(struct socket *s, const struct sockaddr_buf *a, u32 len)
{
    struct unix_sock *u = s->priv;
    if (len == ADDR_FAMILY && a->family == K_AF_UNIX)
        return unix_autobind(u);
    int err = check_addr(a, len);
    if (err)
        return err;
    if (!a->data[0])
        return bind_abstract(u, (const char *)a->data, len - ADDR_FAMILY);
    char path[UNIX_PATH_MAX + 1];
    memcpy(path, a->data, len - ADDR_FAMILY);
    path[len - ADDR_FAMILY] = 0;
    if (u->name) {                      // Linux makes the node first, so a taken name is what it reports first
        struct inode *i = vfs_lookup_inode(path);
        if (is_err(i))
            return -EINVAL;
        inode_put(i);
        return -EADDRINUSE;
    }
    return bind_path(u, path);
}

u32 unix_name_put_addr(const struct unix_name *n, struct sockaddr_buf *a)
{
    a->family = K_AF_UNIX;
    if (!n)
        return ADDR_FAMILY;
    memcpy(a->data, n->path, n->len);
    return ADDR_FAMILY + n->len;
}
