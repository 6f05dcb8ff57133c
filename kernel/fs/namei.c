// SPDX-License-Identifier: Apache-2.0
// From names to places: path_resolution(7), openat2(2)'s RESOLVE_*.
#include "process.h"
#include "vfs.h"

static struct path *program_root;      // chroot(2); NULL: the root of everything

struct path *fs_root(void) { return program_root ? program_root : vfs_root; }

struct path *fs_cwd(void)
{
    struct process *p = current_process();
    return p && p->cwd ? p->cwd : fs_root();
}

int set_fs_root(struct path *p)
{
    struct path *old = program_root;
    program_root = path_get(p);
    if (old)
        path_put(old);
    return 0;
}

// Ends with the topmost mount at p, or p itself.
struct path *follow_mount(struct path *p)
{
    while (p->mounted) {
        spin_lock(&dcache_lock);
        struct path *m = p->mounted;
        if (m)
            path_get(m);
        spin_unlock(&dcache_lock);
        if (!m)
            break;
        path_put(p);
        p = m;
    }
    return p;
}

static struct path *find_cached(struct path *dir, const char *name, size_t len)
{
    u32 hash = d_hash(dir, name, len);
    spin_lock(&dcache_lock);
    struct path *p = d_find_locked(dir, name, len, hash);
    if (p)
        path_get(p);
    spin_unlock(&dcache_lock);
    return p;
}

struct path *lookup_child_locked(struct path *dir, const char *name, size_t len)
{
    bool cache = !(dir->inode->iflags & I_NOCACHE);
    struct path *p = cache ? find_cached(dir, name, len) : NULL;
    if (p)
        return p;
    if (!dir->inode->ops || !dir->inode->ops->lookup)
        return err_ptr(-ENOTDIR);
    struct inode *i = dir->inode->ops->lookup(dir->inode, name, len);
    if (is_err(i)) {
        if (ptr_err(i) != -ENOENT)
            return (struct path *)i;
        i = NULL;
    }
    // Only a damaged disk has a directory below itself: its lock would be taken twice, and a walk through it would have no end.
    for (struct path *up = cache && i && S_ISDIR(i->mode) ? dir : NULL; up; up = up->parent) {
        if (up->inode == i) {
            inode_put(i);
            return err_ptr(-ELOOP);
        }
    }
    p = cache ? d_add(dir, name, len, i) : d_alloc(dir, name, len, i);
    return p ? p : err_ptr(-ENOMEM);
}

struct path *lookup_child(struct path *dir, const char *name, size_t len)
{
    if (!(dir->inode->iflags & I_NOCACHE)) {
        struct path *p = find_cached(dir, name, len);
        if (p)
            return p;
    }
    mutex_lock(&dir->inode->lock);
    struct path *p = lookup_child_locked(dir, name, len);
    mutex_unlock(&dir->inode->lock);
    return p;
}

static int move_to(struct walk *w, struct path *p)     // takes over p
{
    if ((w->flags & WALK_NO_XDEV) && p->inode && w->cur->inode->sb != p->inode->sb) {
        path_put(p);
        return -EXDEV;
    }
    path_put(w->cur);
    w->cur = p;
    return 0;
}

static int step_up(struct walk *w)
{
    struct path *p = w->cur;
    if ((w->flags & WALK_BENEATH) && p == w->base)
        return -EXDEV;
    if (p == w->root || p == vfs_root)
        return 0;
    spin_lock(&dcache_lock);
    while (!p->parent && p->covers)
        p = p->covers;
    if (p->parent)
        p = p->parent;
    path_get(p);
    spin_unlock(&dcache_lock);
    return move_to(w, follow_mount(p));
}

int read_link(struct path *p, char *buf, size_t size)
{
    struct inode *i = p->inode;
    if (!i->ops || !i->ops->readlink)
        return -EINVAL;
    ssize_t n = i->ops->readlink(i, buf, size - 1);
    if (n < 0)
        return (int)n;
    buf[n] = 0;
    return (int)n;
}

static int jump_to_root(struct walk *w)
{
    if (w->flags & WALK_BENEATH)
        return -EXDEV;
    return move_to(w, path_get(w->root));
}

// Puts the link's text before what is left of the name. `link` is borrowed.
static int expand_link(struct walk *w, struct path *link)
{
    if (w->flags & WALK_NO_SYMLINKS)
        return -ELOOP;
    if (++w->links > SYMLINKS_MAX)
        return -ELOOP;
    if (link->inode->ops && link->inode->ops->follow) {
        if (w->flags & (WALK_NO_MAGIC | WALK_BENEATH | WALK_IN_ROOT))
            return (w->flags & WALK_NO_MAGIC) ? -ELOOP : -EXDEV;
        struct path *to = link->inode->ops->follow(link->inode);
        if (is_err(to))
            return (int)ptr_err(to);
        if (to)
            return move_to(w, to);
    }
    char *buf = kmalloc(PATH_LEN_MAX, 0);
    if (!buf)
        return -ENOMEM;
    int n = read_link(link, buf, PATH_LEN_MAX);
    size_t rest = strlen(w->rest);
    if (n == 0)
        n = -ENOENT;
    else if (n > 0 && (size_t)n + 1 + rest >= PATH_LEN_MAX)
        n = -ENAMETOOLONG;
    else if (n > 0 && rest && w->rest[0] != '/')
        buf[n++] = '/';
    if (n < 0) {
        kfree(buf);
        return n;
    }
    memmove(buf + n, w->rest, rest + 1);
    kfree(w->heap);
    w->heap = buf;
    w->rest = buf;
    return buf[0] == '/' ? jump_to_root(w) : 0;
}

static int step_into(struct walk *w, const char *name, size_t len, bool last)
{
    struct path *p = lookup_child(w->cur, name, len);
    if (is_err(p))
        return (int)ptr_err(p);
    if (p->mounted)
        p = follow_mount(p);
    if (!p->inode) {
        path_put(p);
        return -ENOENT;
    }
    if (S_ISLNK(p->inode->mode) && (!last || w->slash || (w->flags & WALK_FOLLOW))) {
        int err = expand_link(w, p);
        path_put(p);
        return err;
    }
    if (w->flags & WALK_NO_XDEV)
        return move_to(w, p);
    path_put(w->cur);
    w->cur = p;
    return 0;
}

// One component. 1: the walk stops before the last one.
static int walk_one(struct walk *w)
{
    const char *name = w->rest;
    size_t len = 0;
    while (name[len] && name[len] != '/')
        len++;
    const char *rest = name + len;
    while (*rest == '/')
        rest++;
    bool last = !*rest;
    w->slash = last && name[len] == '/';
    struct inode *dir = w->cur->inode;
    if (!S_ISDIR(dir->mode))
        return -ENOTDIR;
    int err = inode_permission(dir, MAY_EXEC);
    if (err)
        return err;
    if (len > NAME_LEN_MAX)
        return -ENAMETOOLONG;
    bool dot = name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
    if (last && (w->flags & WALK_PARENT) && !dot) {
        w->last = name;
        w->last_len = len;
        w->rest = rest;
        return 1;
    }
    w->rest = w->slash ? name + len : rest;     // a link at the end keeps its slash: it must lead to a directory
    if (dot)
        return len == 2 ? step_up(w) : 0;
    return step_into(w, name, len, last);
}

static int walk_loop(struct walk *w)
{
    for (;;) {
        while (*w->rest == '/')
            w->rest++;
        if (!*w->rest)
            break;
        int r = walk_one(w);
        if (r)
            return r < 0 ? r : 0;
    }
    w->last_len = 0;
    if ((w->slash || (w->flags & WALK_DIRECTORY)) && !S_ISDIR(w->cur->inode->mode))
        return -ENOTDIR;
    return 0;
}

int walk_name(struct walk *w, struct path *base, const char *name, u32 flags)
{
    *w = (struct walk){ .flags = flags, .rest = name, .base = base };
    w->root = (flags & WALK_IN_ROOT) ? base : fs_root();
    if (!*name && !(flags & WALK_EMPTY))
        return -ENOENT;
    if (*name == '/') {
        if (flags & WALK_BENEATH)
            return -EXDEV;
        w->cur = path_get(w->root);
    } else {
        w->cur = path_get(base);
    }
    if (!w->cur->inode) {
        walk_end(w);
        return -ENOENT;
    }
    int err = walk_loop(w);
    if (err)
        walk_end(w);
    return err;
}

void walk_end(struct walk *w)
{
    if (w->cur)
        path_put(w->cur);
    kfree(w->heap);
    w->cur = NULL;
    w->heap = NULL;
}

struct path *path_lookup(struct path *base, const char *name, u32 flags)
{
    struct walk w;
    int err = walk_name(&w, base, name, flags);
    if (err)
        return err_ptr(err);
    struct path *p = path_get(w.cur);
    walk_end(&w);
    return p;
}

struct path *base_of(int dirfd, const char *name, u32 flags, struct file **hold)
{
    *hold = NULL;
    if (name[0] == '/' && !(flags & WALK_IN_ROOT))
        return fs_root();
    if (dirfd == AT_FDCWD)
        return fs_cwd();
    struct file *f = fd_any(dirfd);
    if (!f)
        return err_ptr(-EBADF);
    if (!f->path || (name[0] && !S_ISDIR(f->inode->mode))) {
        file_put(f);
        return err_ptr(-ENOTDIR);
    }
    *hold = f;
    return f->path;
}

struct inode *vfs_lookup_inode(const char *path)
{
    struct path *p = path_lookup(fs_cwd(), path, WALK_FOLLOW);
    if (is_err(p))
        return (struct inode *)p;
    struct inode *i = inode_get(p->inode);
    path_put(p);
    return i;
}
