// SPDX-License-Identifier: Apache-2.0
// /run is memory, new at each boot, but the directories that the image has there stay: a server expects the one that its package or
// its container image has made for its socket or pid file.
#include "kmalloc.h"
#include "lib.h"
#include "rundirs.h"
#include "vfs.h"

enum { DT_DIR_TYPE = 4 };           // dirent.h
#define DIRS_MAX 128u

struct run_dir {
    char *path;
    u32 mode, uid, gid;
};

struct run_dirs {
    u32 n;
    const char *below;              // while reading: the directory that is read
    struct run_dir v[DIRS_MAX];
};

static bool note(void *ctx, const char *name, size_t len, u64 ino, u8 type, u64 next)
{
    struct run_dirs *d = ctx;
    (void)ino;
    (void)next;
    if (type != DT_DIR_TYPE || name[0] == '.' || d->n == DIRS_MAX)
        return true;
    size_t room = strlen(d->below) + len + 2;
    char *path = kmalloc(room, 0);
    if (path) {
        snprintf(path, room, "%s/%.*s", d->below, (int)len, name);
        d->v[d->n++].path = path;
    }
    return true;
}

// The directories in `path`, and what is to be known of `path` itself.
static void scan(struct run_dirs *d, const char *path, struct run_dir *self)
{
    struct path *p = path_lookup(vfs_root, path, WALK_FOLLOW);
    if (is_err(p))
        return;
    struct inode *i = p->inode;
    if (self)
        *self = (struct run_dir){ self->path, i->mode & 07777, i->uid, i->gid };
    // A directory without any below it has two links: its name and its own dot.
    struct file *f = i->nlink > 2 && i->fops->readdir ? file_alloc(p, i, i->fops, 0) : NULL;
    if (f) {
        d->below = path;
        mutex_lock(&i->lock);
        f->ops->readdir(f, d, note);
        mutex_unlock(&i->lock);
        file_put(f);
    }
    path_put(p);
}

struct run_dirs *run_dirs_keep(void)
{
    struct path *p = path_lookup(vfs_root, "/run", WALK_FOLLOW);
    bool any = !is_err(p) && S_ISDIR(p->inode->mode) && p->inode->nlink > 2;
    if (!is_err(p))
        path_put(p);
    struct run_dirs *d = any ? kzalloc(sizeof(*d)) : NULL;
    if (!d)
        return NULL;
    scan(d, "/run", NULL);
    for (u32 n = 0; n < d->n; n++)  // grows while it is walked: parents come before what is in them
        scan(d, d->v[n].path, &d->v[n]);
    return d;
}

void run_dirs_make(struct run_dirs *d)
{
    if (!d)
        return;
    for (u32 n = 0; n < d->n; n++) {
        struct run_dir *r = &d->v[n];
        if (vfs_mkdir(r->path, r->mode) == 0) {
            struct inode *i = vfs_lookup_inode(r->path);
            if (!is_err(i)) {
                i->mode = S_IFDIR | r->mode;        // whatever the file creation mask took away
                i->uid = r->uid;
                i->gid = r->gid;
                inode_put(i);
            }
        }
        kfree(r->path);
    }
    kfree(d);
}
