// SPDX-License-Identifier: Apache-2.0
// procfs and sysfs: a tree of nodes that functions fill when they are read. What the files say is in fs/procfiles.c,
// linux/ and wherever else proc_register is called. Entries for descriptors and threads exist while they are looked at.
#include "printk.h"
#include "process.h"
#include "procfs.h"

// What C libraries ask for before main() stands here from the start. The rest of the trees is built when something else is looked for:
// most programs never do.
static struct pnode proc_root, process_dir;
static struct pnode exe_node = { .name = "exe", .mode = S_IFLNK | 0777, .ino = 4, .parent = &process_dir, .link = proc_exe_link };
static struct pnode process_dir = { .name = "1", .mode = S_IFDIR | 0555, .ino = 3, .parent = &proc_root, .child = &exe_node };
static struct pnode self_node = { .name = "self", .mode = S_IFLNK | 0777, .ino = 2, .parent = &proc_root, .next = &process_dir, .link = proc_self_link };
static struct pnode proc_root = { .name = "proc", .mode = S_IFDIR | 0555, .ino = 1, .child = &self_node };
static struct pnode sys_root = { .name = "sys", .mode = S_IFDIR | 0555, .ino = 1 };
static u64 last_ino = 4;

#define BUILDERS 4
static void (*builders[BUILDERS])(void);
static unsigned nr_builders;
static bool built;
static struct mutex build_lock = MUTEX_INIT(build_lock);    // one builds, the others wait

static const struct inode_ops dir_ops, link_ops, plain_link_ops, file_iops;
static const struct file_ops dir_fops, text_fops;

struct pnode *pnode_find(struct pnode *dir, const char *name, size_t len)
{
    for (struct pnode *n = dir->child; n; n = n->next)
        if (strlen(n->name) == len && !memcmp(n->name, name, len))
            return n;
    return NULL;
}

static struct pnode *pnode_add(struct pnode *dir, const char *name, size_t len, u32 mode)
{
    struct pnode *n = kzalloc(sizeof(*n) + len + 1);
    if (!n)
        return NULL;
    char *text = (char *)(n + 1);
    memcpy(text, name, len);
    n->name = text;
    n->mode = mode;
    n->ino = ++last_ino;
    n->parent = dir;
    struct pnode **l = &dir->child;
    while (*l)
        l = &(*l)->next;
    *l = n;
    return n;
}

// "/proc/self/..." is kept as "/proc/1/...", which /proc/self leads to.
struct pnode *pnode_make(const char *path, u32 mode)
{
    struct pnode *dir = &proc_root;
    if (!strncmp(path, "/sys/", 5)) {
        dir = &sys_root;
        path += 5;
    } else if (!strncmp(path, "/proc/", 6)) {
        path += 6;
    }
    bool net = dir == &proc_root && !strncmp(path, "net/", 4);     // /proc/net is a link to self/net
    if (net || (dir == &proc_root && !strncmp(path, "self/", 5))) {
        path += net ? 0 : 5;
        dir = &process_dir;
    }
    while (dir) {
        size_t len = 0;
        while (path[len] && path[len] != '/')
            len++;
        struct pnode *n = pnode_find(dir, path, len);
        if (!path[len]) {
            if (!n)
                n = pnode_add(dir, path, len, mode);
            return n;
        }
        dir = n ? n : pnode_add(dir, path, len, S_IFDIR | 0555);
        path += len + 1;
    }
    return NULL;
}

void pnode_link(const char *path, const char *text)
{
    struct pnode *n = pnode_make(path, S_IFLNK | 0777);
    if (n)
        n->text = text;
}

void proc_register(const char *path, u32 mode, void (*show)(struct seqbuf *s), ssize_t (*store)(const char *buf, size_t n))
{
    struct pnode *n = pnode_make(path, S_IFREG | (mode & 07777));
    if (n) {
        n->show = show;
        n->store = store;
    }
}

void proc_number(const char *path, u32 *value, u32 least, u32 most)
{
    struct pnode *n = pnode_make(path, S_IFREG | 0644);
    if (n) {
        n->value = value;
        n->least = least;
        n->most = most;
    }
}

void proc_when_asked(void (*build)(void))
{
    if (nr_builders == BUILDERS)
        panic("more parts of /proc than were reckoned with");
    builders[nr_builders++] = build;
}

static void build_trees(void)
{
    if (__atomic_load_n(&built, __ATOMIC_ACQUIRE))
        return;
    mutex_lock(&build_lock);
    if (!built) {
        proc_init();
        for (unsigned n = 0; n < nr_builders; n++)
            builders[n]();
        __atomic_store_n(&built, true, __ATOMIC_RELEASE);
    }
    mutex_unlock(&build_lock);
}

// --- Inodes ---------------------------------------------------------------------------------------------------------

static struct proc_inode *PI(struct inode *i) { return container_of(i, struct proc_inode, vfs); }

// What is about the process belongs to it.
static bool of_process(const struct pnode *n, int fd)
{
    for (; n && n->parent; n = n->parent)
        if (n == &process_dir)
            return true;
    return fd >= 0;
}

struct inode *proc_inode(struct superblock *sb, struct pnode *n, int tid, int fd)
{
    struct proc_inode *p = kzalloc(sizeof(*p));
    if (!p)
        return err_ptr(-ENOMEM);
    struct inode *i = &p->vfs;
    inode_init(i, sb, n->ino + (u64)tid * 100000 + (u64)(fd + 1) * 0x10000000);
    i->mode = n->mode;
    bool own = of_process(n, fd);
    i->uid = own ? current_cred()->euid : 0;
    i->gid = own ? current_cred()->egid : 0;
    p->node = n;
    p->tid = tid;
    p->fd = fd;
    switch (n->mode & S_IFMT) {
    case S_IFDIR:
        i->iflags = I_NOCACHE;
        i->nlink = 2;
        i->ops = &dir_ops;
        i->fops = &dir_fops;
        break;
    case S_IFLNK:
        i->ops = n->follow || n == &exe_node ? &link_ops : &plain_link_ops;
        break;
    default:
        i->ops = &file_iops;
        i->fops = n->fops ? n->fops : &text_fops;
    }
    return i;
}

static struct inode *lookup(struct inode *dir, const char *name, size_t len)
{
    struct proc_inode *p = PI(dir);
    if (p->node->dyn_lookup)
        return p->node->dyn_lookup(dir->sb, p, name, len);
    struct pnode *n = pnode_find(p->node, name, len);
    if (!n && !built) {
        build_trees();
        n = pnode_find(p->node, name, len);
    }
    return n ? proc_inode(dir->sb, n, p->tid, -1) : err_ptr(-ENOENT);
}

static int readdir(struct file *f, void *ctx,
                   bool (*emit)(void *ctx, const char *name, size_t len, u64 ino, u8 type, u64 next_pos))
{
    struct proc_inode *p = PI(f->inode);
    if (f->pos == 0 && emit(ctx, ".", 1, f->inode->ino, 4, 1))
        f->pos = 1;
    if (f->pos == 1 && emit(ctx, "..", 2, p->node->parent ? p->node->parent->ino : 1, 4, 2))
        f->pos = 2;
    if (f->pos < 2)
        return 0;
    build_trees();
    if (p->node->dyn_readdir)
        return p->node->dyn_readdir(f, p, ctx, emit);
    u64 k = 2;
    for (struct pnode *n = p->node->child; n; n = n->next, k++) {
        if (k < f->pos)
            continue;
        if (!emit(ctx, n->name, strlen(n->name), n->ino, mode_dtype(n->mode), k + 1))
            return 0;
        f->pos = k + 1;
    }
    return 0;
}

static ssize_t readlink(struct inode *i, char *buf, size_t size)
{
    struct proc_inode *p = PI(i);
    return p->node->link ? p->node->link(p, buf, size) : p->node->text ? (ssize_t)strlcpy(buf, p->node->text, size) : -EINVAL;
}

static struct path *follow(struct inode *i)
{
    struct proc_inode *p = PI(i);
    return p->node->follow ? p->node->follow(p) : NULL;
}

// Attributes cannot be changed; a new size is what O_TRUNC asks for and is ignored, as in Linux.
static int setattr(struct inode *i, const struct setattr *a)
{
    (void)i;
    return (a->valid & ~(u32)ATTR_SIZE) ? -EPERM : 0;
}

static struct inode *no_create(struct inode *dir, const char *name, size_t len, u32 mode, u64 rdev)
{
    (void)dir, (void)name, (void)len, (void)mode, (void)rdev;
    return err_ptr(-ENOENT);
}

static int no_mkdir(struct inode *dir, const char *name, size_t len, u32 mode)
{
    (void)dir, (void)name, (void)len, (void)mode;
    return -ENOENT;
}

// --- Text files -----------------------------------------------------------------------------------------------------

static void release(struct file *f)
{
    struct seqbuf *s = f->priv;
    if (s) {
        kfree(s->buf);
        kfree(s);
    }
}

static ssize_t text_read(struct file *f, struct iter *it, u64 *pos)
{
    struct proc_inode *p = PI(f->inode);
    struct seqbuf *s = f->priv;
    if (!p->node->show && !p->node->text && !p->node->value)
        return -EINVAL;
    if (!s) {
        s = kzalloc(sizeof(*s));
        if (!s)
            return -ENOMEM;
        f->priv = s;
    }
    if (*pos == 0 || !s->buf) {                 // a reader that begins anew sees the present
        s->len = 0;
        s->full = false;
        s->tid = p->tid;
        if (p->node->show)
            p->node->show(s);
        else if (p->node->value)
            seq_printf(s, "%u\n", *p->node->value);
        else
            seq_write(s, p->node->text, strlen(p->node->text));
        if (s->full)
            return -ENOMEM;
    }
    if (*pos >= s->len)
        return 0;
    size_t n = MIN(s->len - *pos, it->left), done = iter_put(it, s->buf + *pos, n);
    *pos += done;
    return done || !n ? (ssize_t)done : -EFAULT;
}

static ssize_t number_store(struct pnode *node, char *text, size_t n)
{
    u64 v;
    size_t end = n;
    while (end && (text[end - 1] == '\n' || text[end - 1] == ' ' || !text[end - 1]))
        end--;
    text[end] = 0;
    if (!n)
        return 0;
    if (!parse_u64(text, 10, &v) || v < node->least || v > node->most)
        return -EINVAL;
    *node->value = (u32)v;
    return (ssize_t)n;
}

static ssize_t text_write(struct file *f, struct iter *it, u64 *pos)
{
    struct proc_inode *p = PI(f->inode);
    size_t n = it->left;
    if (!p->node->store && !p->node->value)
        return -EIO;
    if (n >= PAGE_SIZE)
        return -EINVAL;
    char *buf = kzalloc(n + 1);
    if (!buf)
        return -ENOMEM;
    ssize_t r = -EFAULT;
    if (iter_get(it, buf, n) == n)
        r = p->node->value ? number_store(p->node, buf, n) : p->node->store(buf, n);
    kfree(buf);
    if (r > 0)
        *pos += (u64)r;
    return r;
}

static i64 text_seek(struct file *f, i64 off, int whence)
{
    i64 to = whence == SEEK_SET ? off : whence == SEEK_CUR ? (i64)f->pos + off : -1;
    if (to < 0)
        return -EINVAL;
    f->pos = (u64)to;
    return to;
}

static ssize_t dir_read(struct file *f, struct iter *it, u64 *pos)
{
    (void)f, (void)it, (void)pos;
    return -EISDIR;
}

static const struct inode_ops dir_ops = { .lookup = lookup, .setattr = setattr, .create = no_create, .mkdir = no_mkdir };
static const struct inode_ops link_ops = { .readlink = readlink, .follow = follow, .setattr = setattr };
static const struct inode_ops plain_link_ops = { .readlink = readlink, .setattr = setattr };   // RESOLVE_NO_MAGICLINKS lets them pass
static const struct inode_ops file_iops = { .setattr = setattr };
static const struct file_ops dir_fops = { .readdir = readdir, .seek = text_seek, .read = dir_read };
static const struct file_ops text_fops = { .read = text_read, .write = text_write, .seek = text_seek, .release = release };

// --- Superblocks ----------------------------------------------------------------------------------------------------

static void free_inode(struct inode *i) { kfree(PI(i)); }

static int proc_statfs(struct superblock *sb, struct kstatfs *st)
{
    *st = (struct kstatfs){ .type = strcmp(sb->type, "proc") ? 0x62656572 : 0x9fa0, .bsize = PAGE_SIZE, .frsize = PAGE_SIZE, .namelen = NAME_LEN_MAX };
    return 0;
}

static const struct sb_ops ops = { .statfs = proc_statfs, .free_inode = free_inode };

static struct superblock *mount(const char *type, struct pnode *root)
{
    struct superblock *sb = kzalloc(sizeof(*sb));
    if (!sb)
        return NULL;
    sb->type = type;
    strlcpy(sb->source, type, sizeof(sb->source));
    sb->dev = sb_new_dev();
    sb->ops = &ops;
    sb->root = proc_inode(sb, root, 0, -1);
    if (!is_err(sb->root))
        return sb;
    kfree(sb);
    return NULL;
}

struct superblock *procfs_mount(void) { return mount("proc", &proc_root); }
struct superblock *sysfs_mount(void) { return mount("sysfs", &sys_root); }
