// SPDX-License-Identifier: Apache-2.0
// Mounts, the first tree, and files laid over it. A mount point need not exist on the disk: the name cache holds it.
#include "blk.h"
#include "boot.h"
#include "net.h"
#include "printk.h"
#include "process.h"
#include "rundirs.h"
#include "vfs.h"

#include <linux/mount.h>

struct list mounts = LIST_INIT(mounts);
struct path *vfs_root;
static struct superblock *overlay;      // tmpfs that holds invented files and directories

bool vfs_ready(void) { return vfs_root != NULL; }

int mount_at(struct path *at, struct superblock *sb, struct inode *root, bool hidden)
{
    struct mount *m = kzalloc(sizeof(*m));
    struct path *r = m ? d_alloc(NULL, at ? at->name : "/", at ? at->len : 1, inode_get(root)) : NULL;
    if (!r) {
        kfree(m);
        return -ENOMEM;
    }
    m->sb = sb;
    m->root = r;
    m->hidden = hidden;
    if (at) {
        m->at = path_get(at);
        r->covers = path_get(at);
        at->mounted = path_get(r);
    } else {
        vfs_root = path_get(r);
    }
    list_push(&mounts, &m->node);
    return 0;
}

struct mount *mount_of(struct superblock *sb)
{
    for (struct list *n = mounts.next; n != &mounts; n = n->next) {
        struct mount *m = list_entry(n, struct mount, node);
        if (m->sb == sb && !m->hidden)
            return m;
    }
    return NULL;
}

// What tmpfs(5) is told: the last one of each counts.
struct tmpfs_options {
    u64 size, mode, uid, gid;
};

static bool number(const char *s, size_t n, unsigned base, u64 *out)
{
    char text[24];
    if (!n || n >= sizeof(text))
        return false;
    memcpy(text, s, n);
    text[n] = 0;
    return parse_u64(text, base, out);
}

// "64m", "50%" of memory.
static bool amount(const char *s, size_t n, u64 *out)
{
    struct mem_stats m;
    static const char units[] = "kmgt";
    const char *u = n ? strchr(units, s[n - 1] | 32) : NULL;
    if (n && s[n - 1] == '%') {
        mem_stats(&m);
        if (!number(s, n - 1, 10, out) || *out > 100)
            return false;
        *out = m.total / 100 * *out;
        return true;
    }
    if (!number(s, u && *u ? n - 1 : n, 10, out))
        return false;
    for (; u && *u && u >= units; u--)
        *out <<= 10;
    return true;
}

static bool tmpfs_option(struct tmpfs_options *o, const char *s, size_t n)
{
    static const char *const accepted[] = { "ro", "rw", "nr_inodes=", "huge=", "mpol=", "noswap" };
    u64 pages;
    if (!n)
        return true;
    if (!strncmp(s, "size=", 5))
        return amount(s + 5, n - 5, &o->size);
    if (!strncmp(s, "nr_blocks=", 10) && amount(s + 10, n - 10, &pages)) {
        o->size = pages * PAGE_SIZE;
        return true;
    }
    if (!strncmp(s, "mode=", 5))
        return number(s + 5, n - 5, 8, &o->mode);
    if (!strncmp(s, "uid=", 4))
        return number(s + 4, n - 4, 10, &o->uid);
    if (!strncmp(s, "gid=", 4))
        return number(s + 4, n - 4, 10, &o->gid);
    for (unsigned k = 0; k < ARRAY_SIZE(accepted); k++)
        if (!strncmp(s, accepted[k], strlen(accepted[k])))
            return true;
    return false;
}

static bool tmpfs_options(struct tmpfs_options *o, const char *s)
{
    for (;;) {
        size_t n = 0;
        while (s[n] && s[n] != ',')
            n++;
        if (!tmpfs_option(o, s, n))
            return false;
        if (!s[n])
            return true;
        s += n + 1;
    }
}

static struct superblock *tmpfs_with(const char *data, int *err)
{
    struct tmpfs_options o = { .mode = 01777, .uid = current_cred()->fsuid, .gid = current_cred()->fsgid };
    *err = -EINVAL;
    if (!tmpfs_options(&o, data ? data : ""))
        return NULL;
    *err = -ENOMEM;
    struct superblock *sb = tmpfs_mount("tmpfs", o.size, o.mode & 07777);
    if (sb) {
        sb->root->uid = (u32)o.uid;
        sb->root->gid = (u32)o.gid;
    }
    return sb;
}

static struct superblock *mount_sb(const char *source, const char *type, u32 flags, const char *data, int *err)
{
    *err = -ENOMEM;
    if (!strcmp(type, "tmpfs") || !strcmp(type, "ramfs"))
        return tmpfs_with(data, err);
    if (!strcmp(type, "proc"))
        return procfs_mount();
    if (!strcmp(type, "sysfs"))
        return sysfs_mount();
    if (!strcmp(type, "ext2") || !strcmp(type, "ext4") || !strcmp(type, "ext3")) {
        struct blkdev *d = blkdev_find(source);
        *err = -ENOENT;
        return d ? ext2_mount(d, flags & MS_RDONLY, err) : NULL;
    }
    *err = -ENODEV;
    return NULL;
}

int do_mount(const char *source, struct path *at, const char *type, u32 flags, const char *data)
{
    int err;
    if (at->inode && !S_ISDIR(at->inode->mode))
        return -ENOTDIR;
    for (struct list *n = mounts.next; n != &mounts; n = n->next) {
        struct superblock *sb = list_entry(n, struct mount, node)->sb;
        if (!strcmp(type, "ext2") && !strcmp(sb->type, "ext2") && !strcmp(sb->source, source))
            return -EBUSY;
    }
    struct superblock *sb = mount_sb(source, type, flags, data, &err);
    if (!sb)
        return err;
    sb->mount_flags = flags;
    if (flags & MS_RDONLY)
        sb->readonly = true;
    if (strcmp(sb->type, "ext2"))
        strlcpy(sb->source, source, sizeof(sb->source));
    return mount_at(at, sb, sb->root, false);
}

// Somebody has a file of it open for writing, or one without a name.
static bool written_to(const struct superblock *sb)
{
    struct fdtable *t = &the_process->fds;
    bool found = false;
    spin_lock(&t->lock);
    for (u32 n = 0; n < t->size && !found; n++) {
        const struct file *f = t->slot[n].file;
        found = f && f->inode && f->inode->sb == sb && ((f->flags & O_ACCMODE) != O_RDONLY || !f->inode->nlink) && !(f->flags & O_PATH) &&
                (S_ISREG(f->inode->mode) || S_ISDIR(f->inode->mode));
    }
    spin_unlock(&t->lock);
    return found;
}

static int set_readonly(struct superblock *sb, bool readonly)
{
    if (readonly == sb->readonly)
        return 0;
    if (!readonly && !sb->made_readonly)
        return -EACCES;                         // the disk, or what is on it, cannot be written
    int err = readonly && written_to(sb) ? -EBUSY : 0;
    if (!err && readonly && sb->ops->sync)
        err = sb->ops->sync(sb);
    if (!err)
        sb->readonly = sb->made_readonly = readonly;
    return err;
}

int do_remount(struct path *at, u32 flags, const char *data)
{
    struct tmpfs_options o = { 0 };
    for (struct list *n = mounts.next; n != &mounts; n = n->next) {
        struct mount *m = list_entry(n, struct mount, node);
        if (m->root != at || m->hidden)
            continue;
        if (!strcmp(m->sb->type, "tmpfs") && !tmpfs_options(&o, data))
            return -EINVAL;
        int err = set_readonly(m->sb, flags & MS_RDONLY);
        if (!err)
            m->sb->mount_flags = flags & ~(u32)MS_REMOUNT;
        return err;
    }
    return -EINVAL;
}

int do_umount(struct path *p)
{
    for (struct list *n = mounts.next; n != &mounts; n = n->next) {
        struct mount *m = list_entry(n, struct mount, node);
        if (m->root != p)
            continue;
        if (!m->at)
            return -EBUSY;
        dcache_drop_sb(m->sb);
        if (p->refs > 3)                        // the mount's, the covered entry's, the caller's
            return -EBUSY;
        if (m->sb->made_readonly)
            m->sb->readonly = false;
        int err = m->sb->ops->unmount ? m->sb->ops->unmount(m->sb) : 0;
        if (err)
            return err;
        list_remove(&m->node);
        spin_lock(&dcache_lock);
        m->at->mounted = NULL;
        spin_unlock(&dcache_lock);
        path_put(m->root);
        path_put(m->root);
        path_put(m->at);
        kfree(m);                               // the superblock stays: it is a few hundred bytes
        return 0;
    }
    return -EINVAL;
}

// --- Places that the disk does not have -----------------------------------------------------------------------------

// Names in `f`'s directory that exist only as mounts over nothing; after the directory's own entries.
bool emit_invented(struct file *f, void *ctx,
                   bool (*emit)(void *ctx, const char *name, size_t len, u64 ino, u8 type, u64 next_pos))
{
    const u64 base = 1ull << 62;
    u64 k = 0;
    for (struct list *n = mounts.next; n != &mounts; n = n->next) {
        struct mount *m = list_entry(n, struct mount, node);
        if (!m->at || m->at->inode || m->at->parent != f->path)
            continue;
        k++;
        if (f->pos >= base + k)
            continue;
        struct inode *i = m->root->inode;
        if (!emit(ctx, m->at->name, m->at->len, i->ino, mode_dtype(i->mode), base + k))
            return false;
        f->pos = base + k;
    }
    return true;
}

static bool in_memory(const struct path *p) { return !strcmp(p->inode->sb->type, "tmpfs") || !strcmp(p->inode->sb->type, "devtmpfs"); }

// The directory for the negative entry p; takes over p.
static struct path *make_dir(struct path *parent, struct path *p)
{
    int err;
    struct path *made = NULL;
    if (in_memory(parent)) {
        err = do_mkdir(parent, p->name, 0755);
        made = err ? err_ptr(err) : lookup_child(parent, p->name, p->len);
    } else {
        struct inode *i = tmpfs_new_inode(overlay, S_IFDIR | 0755, 0);
        err = i ? mount_at(p, overlay, i, true) : -ENOMEM;
        if (i)
            inode_put(i);
        made = err ? err_ptr(err) : follow_mount(path_get(p));
    }
    path_put(p);
    return made;
}

// The entry of the last component, which may be negative; directories on the way are made, on tmpfs or as mounts. Counted.
static struct path *place(const char *path)
{
    struct path *cur = path_get(vfs_root);
    while (!is_err(cur)) {
        while (*path == '/')
            path++;
        size_t len = 0;
        while (path[len] && path[len] != '/')
            len++;
        if (!len)
            return cur;
        const char *rest = path + len;
        while (*rest == '/')
            rest++;
        if (cur->inode && !S_ISDIR(cur->inode->mode)) {
            path_put(cur);
            return err_ptr(-ENOTDIR);
        }
        struct path *p = lookup_child(cur, path, len);
        if (is_err(p) || (!*rest && !p->mounted)) {
            path_put(cur);
            return p;
        }
        p = follow_mount(p);
        if (p->inode && S_ISLNK(p->inode->mode)) {
            struct path *to = path_lookup(cur, p->name, WALK_FOLLOW);
            path_put(p);
            p = to;
        } else if (!p->inode) {
            p = make_dir(cur, p);
        }
        path_put(cur);
        cur = p;
        path = rest;
    }
    return cur;
}

// An ordinary file for the negative entry p of a directory in memory.
static int make_file(struct path *p, struct inode **out)
{
    struct inode *dir = p->parent->inode;
    mutex_lock(&dir->lock);
    struct inode *i = p->inode ? err_ptr(-EEXIST) : dir->ops->create(dir, p->name, p->len, S_IFREG | 0600, 0);
    if (!is_err(i)) {
        *out = inode_get(i);
        d_set_inode(p, i);
    }
    mutex_unlock(&dir->lock);
    return is_err(i) ? (int)ptr_err(i) : 0;
}

// Other contents for a file that somebody may have open.
static int rewrite(struct inode *i, const void *data, size_t n)
{
    struct setattr a = { .valid = ATTR_SIZE };
    i->ops->setattr(i, &a);
    struct file *f = file_alloc(NULL, i, i->fops, O_RDWR);
    ssize_t w = f ? vfs_write(f, data, n, 0) : -ENOMEM;
    if (f)
        file_put(f);
    return w < 0 ? (int)w : 0;
}

// A file of the overlay at `path`, over whatever is there.
static int place_file(const char *path, u32 mode, u32 uid, u32 gid, const void *data, size_t n)
{
    struct path *p = place(path);
    if (is_err(p))
        return (int)ptr_err(p);
    struct inode *i = p->inode && p->inode->sb == overlay ? inode_get(p->inode) : NULL;
    int err = 0;
    if (!i && p->inode && S_ISDIR(p->inode->mode)) {
        err = -EISDIR;
    } else if (!i) {
        i = tmpfs_new_inode(overlay, S_IFREG, 0);
        if (i && p->parent && in_memory(p->parent) && !p->inode) {
            inode_put(i);                       // the directory is tmpfs itself: an ordinary file there
            i = NULL;
            err = make_file(p, &i);
        } else {
            err = i ? mount_at(p, overlay, i, true) : -ENOMEM;
        }
    }
    if (!err) {
        i->mode = S_IFREG | (mode & 07777);
        i->uid = uid;
        i->gid = gid;
        err = i->mapping.nr ? rewrite(i, data, n) : tmpfs_fill(i, data, n);
    }
    inode_put(i);
    path_put(p);
    return err;
}

int vfs_write_file(const char *path, const void *data, size_t n, u32 mode, u32 uid, u32 gid)
{
    if (!vfs_ready())
        return -ENOENT;
    return place_file(path, mode, uid, gid, data, n);
}

// --- The first tree -------------------------------------------------------------------------------------------------------

static int mount_on(const char *path, const char *source, const char *type, u32 flags, const char *data)
{
    struct path *p = place(path);
    int err = is_err(p) ? (int)ptr_err(p) : do_mount(source, p, type, flags, data);
    if (!is_err(p))
        path_put(p);
    if (err)
        printk(LOG_ERR, "fs: cannot mount %s at %s (error %d)\n", source, path, -err);
    return err;
}

static int mount_root(void)
{
    const char *name = boot_config.root ? boot_config.root : "/dev/vda";
    struct blkdev *d = blkdev_find(name);
    struct superblock *sb = NULL;
    int err = 0;
    if (d) {
        sb = ext2_mount(d, boot_config.root_ro, &err);
        if (!sb) {
            printk(LOG_ERR, "fs: cannot mount root %s (error %d)\n", name, -err);
            return err;
        }
    } else if (boot_config.root) {
        printk(LOG_ERR, "fs: there is no root device %s\n", name);
        return -ENODEV;
    } else {
        sb = tmpfs_mount("tmpfs", 0, 0755);
        if (!sb)
            return -ENOMEM;
    }
    return mount_at(NULL, sb, sb->root, false);
}

static int mount_dev(void)
{
    struct superblock *sb = tmpfs_mount("devtmpfs", 0, 0755);
    struct path *p = place("/dev");
    if (is_err(p) || !sb)
        return sb ? (int)ptr_err(p) : -ENOMEM;
    int err = mount_at(p, sb, sb->root, false);
    path_put(p);
    if (!err)
        devfs_populate(sb);
    return err;
}

// "/dev/vdb:/data[:ro]" or "tmpfs:/path[:size=N]"
static void mount_configured(const char *spec)
{
    char *s = kstrdup(spec), *at = s ? strchr(s, ':') : NULL;
    if (!at) {
        printk(LOG_ERR, "fs: uni.mount=%s: not understood\n", spec);
        kfree(s);
        return;
    }
    *at++ = 0;
    char *opt = strchr(at, ':');
    if (opt)
        *opt++ = 0;
    bool tmp = !strcmp(s, "tmpfs");
    u32 flags = opt && !strcmp(opt, "ro") ? MS_RDONLY : 0;
    mount_on(at, s, tmp ? "tmpfs" : "ext2", flags, opt);
    kfree(s);
}

static int b64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// RFC 4648 section 4; in place. The length, or -EINVAL.
static ssize_t b64_decode(char *s)
{
    size_t n = 0;
    u32 acc = 0, bits = 0;
    for (char *p = s; *p && *p != '='; p++) {
        int v = b64_value(*p);
        if (v < 0)
            return -EINVAL;
        acc = acc << 6 | (u32)v;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            s[n++] = (char)(acc >> bits);
        }
    }
    return (ssize_t)n;
}

// "/path:MODE:UID:GID:BASE64"
static void file_configured(const char *spec)
{
    char *s = kstrdup(spec), *field[5] = { s };
    unsigned n = 1;
    for (char *p = s; p && *p && n < 5; p++)
        if (*p == ':') {
            *p = 0;
            field[n++] = p + 1;
        }
    u64 mode, uid, gid;
    int err = -EINVAL;
    if (n == 5 && parse_u64(field[1], 8, &mode) && parse_u64(field[2], 10, &uid) && parse_u64(field[3], 10, &gid)) {
        ssize_t len = b64_decode(field[4]);
        err = len < 0 ? (int)len : place_file(field[0], (u32)mode, (u32)uid, (u32)gid, field[4], (size_t)len);
    }
    if (err)
        printk(LOG_ERR, "fs: uni.file=%s: not placed (error %d)\n", s ? s : "", -err);
    if (s)
        memset(s, 0, strlen(s));
    kfree(s);
}

struct text {
    char buf[2048];
    size_t n;
};

// A line of three parts, or nothing where it does not fit.
static void line(struct text *t, const char *a, const char *b, const char *c)
{
    const char *part[] = { a, b, c, "\n" };
    size_t at = t->n;
    for (unsigned n = 0; n < ARRAY_SIZE(part); n++) {
        at += strlcpy(t->buf + at, part[n], sizeof(t->buf) - at);
        if (at >= sizeof(t->buf))
            return;
    }
    t->n = at;
}

static void etc_files(void)
{
    struct text *t = kzalloc(sizeof(*t));
    if (!t)
        return;
    const char *host = boot_config.hostname ? boot_config.hostname : "uni";
    line(t, "127.0.0.1\tlocalhost", "", "");
    line(t, "::1\tlocalhost ip6-localhost ip6-loopback", "", "");
    line(t, "127.0.1.1\t", host, "");
    for (u32 n = 0; n < boot_config.host.n; n++) {
        char *h = boot_config.host.v[n], *eq = strchr(h, '=');
        if (!eq)
            continue;
        char name[256];
        size_t len = MIN((size_t)(eq - h), sizeof(name) - 1);
        memcpy(name, h, len);
        name[len] = 0;
        line(t, eq + 1, "\t", name);
    }
    place_file("/etc/hosts", 0644, 0, 0, t->buf, t->n);
    t->n = 0;
    line(t, host, "", "");
    place_file("/etc/hostname", 0644, 0, 0, t->buf, t->n);
    t->n = net_resolv_conf(t->buf, sizeof(t->buf));
    if (t->n)
        place_file("/etc/resolv.conf", 0644, 0, 0, t->buf, t->n);
    kfree(t);
}

int vfs_init(void)
{
    pc_init();
    int err = mount_root();
    if (err)
        return err;
    overlay = tmpfs_mount("tmpfs", 0, 0755);
    if (!overlay)
        return -ENOMEM;
    memdev_init();
    err = mount_dev();
    if (err)
        return err;
    mount_on("/proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_on("/sys", "sysfs", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_on("/tmp", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, NULL);
    struct run_dirs *dirs = run_dirs_keep();
    mount_on("/run", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
    run_dirs_make(dirs);
    mount_on("/dev/shm", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, NULL);
    etc_files();
    for (u32 n = 0; n < boot_config.mount.n; n++)
        mount_configured(boot_config.mount.v[n]);
    for (u32 n = 0; n < boot_config.file.n; n++)
        file_configured(boot_config.file.v[n]);
    for (u32 n = 0; n < boot_config.file.n; n++)
        memset(boot_config.file.v[n], 0, strlen(boot_config.file.v[n]));     // secrets stay only where they were asked for
    return 0;
}

void vfs_shutdown(void)
{
    for (struct list *n = mounts.prev; n != &mounts; n = n->prev) {
        struct superblock *sb = list_entry(n, struct mount, node)->sb;
        if (sb->made_readonly)
            sb->readonly = false;               // so that the disk is marked as clean
        if (sb->ops->unmount)
            sb->ops->unmount(sb);
    }
}
