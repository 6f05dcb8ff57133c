// SPDX-License-Identifier: Apache-2.0
// /proc/self: the links to descriptors, directories and the program; the directories of descriptors and threads.
#include "process.h"
#include "procfs.h"

static struct pnode fd_link = { .name = "fd", .mode = S_IFLNK | 0700, .ino = 0x8000 };
static struct pnode fdinfo_file = { .name = "fdinfo", .mode = S_IFREG | 0400, .ino = 0x8001 };

static bool parse_number(const char *name, size_t len, int *out)
{
    char buf[12];
    u64 v;
    if (!len || len >= sizeof(buf) || (len > 1 && name[0] == '0'))
        return false;
    memcpy(buf, name, len);
    buf[len] = 0;
    if (!parse_u64(buf, 10, &v) || v > INT32_MAX)
        return false;
    *out = (int)v;
    return true;
}

static ssize_t path_text(struct path *p, char *buf, size_t size) { return p ? path_string(p, buf, size) : -ENOENT; }

ssize_t proc_self_link(struct proc_inode *p, char *buf, size_t size)
{
    (void)p;
    return (ssize_t)strlcpy(buf, "1", size);
}

static ssize_t thread_self_link(struct proc_inode *p, char *buf, size_t size)
{
    (void)p;
    return snprintf(buf, size, "1/task/%d", current()->tid);
}

ssize_t proc_exe_link(struct proc_inode *p, char *buf, size_t size)
{
    (void)p;
    return (ssize_t)strlcpy(buf, current_process()->exe, size);
}

static ssize_t cwd_link(struct proc_inode *p, char *buf, size_t size)
{
    (void)p;
    return path_text(fs_cwd(), buf, size);
}

static struct path *cwd_follow(struct proc_inode *p)
{
    (void)p;
    return path_get(fs_cwd());
}

static ssize_t root_link(struct proc_inode *p, char *buf, size_t size)
{
    (void)p;
    return (ssize_t)strlcpy(buf, "/", size);
}

static struct path *root_follow(struct proc_inode *p)
{
    (void)p;
    return path_get(fs_root());
}

// --- Descriptors ------------------------------------------------------------------------------------------------------

static ssize_t fd_text(struct proc_inode *p, char *buf, size_t size)
{
    struct file *f = fd_any(p->fd);
    if (!f)
        return -ENOENT;
    ssize_t n = file_name(f, buf, size);
    file_put(f);
    return n;
}

static struct path *fd_follow(struct proc_inode *p)
{
    struct file *f = fd_any(p->fd);
    if (!f)
        return err_ptr(-ENOENT);
    struct path *to = f->path ? path_get(f->path) : pipe_name(f);
    if (!to && !(to = anon_path(f)))
        to = err_ptr(-ENOMEM);
    file_put(f);
    return to;
}

static void fdinfo_show(struct seqbuf *s)
{
    struct file *f = fd_any(s->tid);            // text_read hands the number over as the TID
    if (!f)
        return;
    struct fdtable *t = &current_process()->fds;
    u32 cloexec = (u32)s->tid < t->size && t->slot[s->tid].cloexec ? O_CLOEXEC : 0;
    seq_printf(s, "pos:\t%lu\nflags:\t0%o\nmnt_id:\t%d\nino:\t%lu\n", (unsigned long)f->pos, f->flags | cloexec,
               f->path ? mount_number(f->inode->sb) : 15, (unsigned long)(f->path ? f->inode->ino : anon_number(f)));
    if (f->ops && f->ops->info)
        f->ops->info(f, s);
    file_put(f);
}

static struct inode *fd_lookup(struct superblock *sb, struct proc_inode *p, const char *name, size_t len)
{
    int fd;
    struct file *f = parse_number(name, len, &fd) ? fd_any(fd) : NULL;
    if (!f)
        return err_ptr(-ENOENT);
    u32 acc = f->flags & O_ACCMODE;
    file_put(f);
    if (!strcmp(p->node->name, "fdinfo"))
        return proc_inode(sb, &fdinfo_file, fd, fd);
    struct inode *i = proc_inode(sb, &fd_link, 0, fd);
    if (!is_err(i))
        i->mode = S_IFLNK | (acc != O_WRONLY ? 0500 : 0) | (acc != O_RDONLY ? 0300 : 0);
    return i;
}

static int fd_readdir(struct file *f, struct proc_inode *p, void *ctx, emit_fn emit)
{
    struct fdtable *t = &current_process()->fds;
    u8 type = strcmp(p->node->name, "fdinfo") ? 10 : 8;
    for (u64 fd = f->pos - 2; fd < t->size; fd++) {
        char name[12];
        int n = snprintf(name, sizeof(name), "%d", (int)fd);
        if (t->slot[fd].file && !emit(ctx, name, (size_t)n, 0x8000 + fd, type, fd + 3))
            return 0;
        f->pos = fd + 3;
    }
    return 0;
}

// --- Threads ------------------------------------------------------------------------------------------------------------

static struct pnode *task_template(struct pnode *task) { return task->parent; }

static bool thread_there(int tid)
{
    struct process *p = current_process();
    bool found = false;
    spin_lock(&p->thread_lock);
    for (struct list *n = p->threads.next; n != &p->threads && !found; n = n->next)
        found = list_entry(n, struct thread, proc_node)->tid == tid;
    spin_unlock(&p->thread_lock);
    return found;
}

static struct inode *task_lookup(struct superblock *sb, struct proc_inode *p, const char *name, size_t len)
{
    int tid;
    if (!parse_number(name, len, &tid) || !thread_there(tid))
        return err_ptr(-ENOENT);
    return proc_inode(sb, task_template(p->node), tid, -1);     // the same files as /proc/self, for that thread
}

static int task_readdir(struct file *f, struct proc_inode *p, void *ctx, emit_fn emit)
{
    (void)p;
    struct process *pr = current_process();
    for (;;) {
        int best = 0;                           // threads in the order of their numbers
        spin_lock(&pr->thread_lock);
        for (struct list *n = pr->threads.next; n != &pr->threads; n = n->next) {
            int tid = list_entry(n, struct thread, proc_node)->tid;
            if ((u64)tid + 2 > f->pos && (!best || tid < best))
                best = tid;
        }
        spin_unlock(&pr->thread_lock);
        if (!best)
            return 0;
        char name[12];
        int n = snprintf(name, sizeof(name), "%d", best);
        if (!emit(ctx, name, (size_t)n, 0x9000 + (u64)best, 4, (u64)best + 2))
            return 0;
        f->pos = (u64)best + 2;
    }
}

static void add_link(const char *path, ssize_t (*text)(struct proc_inode *, char *, size_t), struct path *(*follow)(struct proc_inode *))
{
    struct pnode *n = pnode_make(path, S_IFLNK | 0777);
    if (n) {
        n->link = text;
        n->follow = follow;
    }
}

void proc_self_init(void);
void proc_self_init(void)
{
    fd_link.link = fd_text;
    fd_link.follow = fd_follow;
    fdinfo_file.show = fdinfo_show;
    add_link("/proc/thread-self", thread_self_link, NULL);
    pnode_link("/proc/mounts", "self/mounts");
    pnode_link("/proc/net", "self/net");
    add_link("/proc/self/cwd", cwd_link, cwd_follow);
    add_link("/proc/self/root", root_link, root_follow);
    struct pnode *n = pnode_make("/proc/self/fd", S_IFDIR | 0500);
    if (n) {
        n->dyn_lookup = fd_lookup;
        n->dyn_readdir = fd_readdir;
    }
    n = pnode_make("/proc/self/fdinfo", S_IFDIR | 0500);
    if (n) {
        n->dyn_lookup = fd_lookup;
        n->dyn_readdir = fd_readdir;
    }
    n = pnode_make("/proc/self/task", S_IFDIR | 0555);
    if (n) {
        n->dyn_lookup = task_lookup;
        n->dyn_readdir = task_readdir;
    }
}
