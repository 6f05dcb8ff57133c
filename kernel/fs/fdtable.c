// SPDX-License-Identifier: Apache-2.0
// File descriptors: a table of slots that grows up to RLIMIT_NOFILE.
#include "process.h"
#include "vfs.h"

#include <linux/resource.h>

#define FD_FIRST_SIZE 64u

struct file *fd_any(int fd)
{
    struct fdtable *t = &current_process()->fds;
    struct file *f = NULL;
    spin_lock(&t->lock);
    if ((u32)fd < t->size && (f = t->slot[fd].file))
        file_get(f);
    spin_unlock(&t->lock);
    return f;
}

struct file *fd_get(int fd)
{
    struct file *f = fd_any(fd);
    if (!f || !(f->flags & O_PATH))
        return f;
    file_put(f);
    return NULL;
}

static u32 fd_limit(void)
{
    u64 soft = current_process()->rlim[RLIMIT_NOFILE].soft;
    return soft > NOFILE_MAX ? NOFILE_MAX : (u32)soft;
}

// Makes slot fd exist. The lock is dropped around the allocation, which may sleep.
static int grow_locked(struct fdtable *t, u32 fd)
{
    while (fd >= t->size) {
        u32 old = t->size, size = old ? old : FD_FIRST_SIZE;
        while (size <= fd)
            size *= 2;
        spin_unlock(&t->lock);
        size_t bytes = size * sizeof(struct fd_slot);
        struct fd_slot *s = bytes > 4 * PAGE_SIZE ? vmalloc(bytes) : kmalloc(bytes, 0);
        spin_lock(&t->lock);
        if (!s)
            return -ENOMEM;
        if (t->size != old) {                   // somebody else grew it
            spin_unlock(&t->lock);
            bytes > 4 * PAGE_SIZE ? vfree(s) : kfree(s);
            spin_lock(&t->lock);
            continue;
        }
        struct fd_slot *was = t->slot;
        if (old)
            memcpy(s, was, old * sizeof(*s));
        memset(s + old, 0, (size - old) * sizeof(*s));
        t->slot = s;
        t->size = size;
        if (old * sizeof(struct fd_slot) > 4 * PAGE_SIZE)
            vfree(was);
        else
            kfree(was);
    }
    return 0;
}

bool fd_available(void)
{
    struct fdtable *t = &current_process()->fds;
    u32 limit = fd_limit(), fd = t->first_free;
    while (fd < t->size && t->slot[fd].file)
        fd++;
    return fd < limit;
}

int fd_install(struct file *f, int min, bool cloexec)
{
    struct fdtable *t = &current_process()->fds;
    u32 limit = fd_limit();
    if (min < 0 || (u32)min >= limit)
        return min < 0 ? -EINVAL : -EMFILE;
    spin_lock(&t->lock);
    u32 fd = MAX((u32)min, t->first_free);
    while (fd < t->size && t->slot[fd].file)
        fd++;
    int r = fd >= limit ? -EMFILE : grow_locked(t, fd);
    while (!r && fd < t->size && t->slot[fd].file)  // taken while the table grew
        fd++;
    if (!r && fd >= limit)
        r = -EMFILE;
    if (!r) {
        t->slot[fd] = (struct fd_slot){ f, cloexec };
        t->used++;
        if ((u32)min <= t->first_free)
            t->first_free = fd + 1;
        r = (int)fd;
    }
    spin_unlock(&t->lock);
    return r;
}

int fd_install_at(struct file *f, int fd, bool cloexec)
{
    struct fdtable *t = &current_process()->fds;
    if (fd < 0 || (u32)fd >= fd_limit())
        return -EBADF;
    spin_lock(&t->lock);
    int err = grow_locked(t, (u32)fd);
    if (err) {
        spin_unlock(&t->lock);
        return err;
    }
    struct file *old = t->slot[fd].file;
    t->slot[fd] = (struct fd_slot){ f, cloexec };
    if (!old)
        t->used++;
    spin_unlock(&t->lock);
    if (old) {
        locks_close_posix(old);
        file_put(old);
    }
    return fd;
}

static struct file *take(struct fdtable *t, u32 fd)
{
    struct file *f = t->slot[fd].file;
    t->slot[fd] = (struct fd_slot){ NULL, false };
    t->used--;
    if (fd < t->first_free)
        t->first_free = fd;
    return f;
}

int fd_close(int fd)
{
    struct fdtable *t = &current_process()->fds;
    struct file *f = NULL;
    spin_lock(&t->lock);
    if ((u32)fd < t->size && t->slot[fd].file)
        f = take(t, (u32)fd);
    spin_unlock(&t->lock);
    if (!f)
        return -EBADF;
    locks_close_posix(f);
    file_put(f);
    return 0;
}

void fd_close_on_exec(void)
{
    struct fdtable *t = &current_process()->fds;
    for (u32 fd = 0; fd < t->size; fd++)
        if (t->slot[fd].file && t->slot[fd].cloexec)
            fd_close((int)fd);
}

struct search {
    bool (*is)(const struct file *f, const void *arg);
    const void *arg;
};

static bool area_shows(const struct vma *v, const void *search)
{
    const struct search *s = search;
    return v->file && s->is(v->file, s->arg);
}

bool any_file(bool (*is)(const struct file *f, const void *arg), const void *arg)
{
    struct fdtable *t = &the_process->fds;
    bool found = vm_any(area_shows, &(struct search){ is, arg });
    spin_lock(&t->lock);
    for (u32 n = 0; n < t->size && !found; n++)
        found = t->slot[n].file && is(t->slot[n].file, arg);
    spin_unlock(&t->lock);
    return found;
}
