// SPDX-License-Identifier: Apache-2.0
// The tree that the program finds: root, /dev, /proc and the rest, the configured mounts, and files laid over what is there.
// Directories that the disk lacks are made on a tmpfs of their own, and mounted over nothing.
#include "blk.h"
#include "boot.h"
#include "net.h"
#include "printk.h"
#include "rundirs.h"
#include "vfs.h"

#include <linux/mount.h>

static struct superblock *overlay;      // tmpfs that holds invented files and directories

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
    mutex_lock(&i->lock);
    i->ops->setattr(i, &a);
    mutex_unlock(&i->lock);
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

// The mounts that are always there: what they are needs no words, and whoever mounts nothing else needs no code that reads any.
static int mount_first(const char *path, struct superblock *sb, u32 flags)
{
    struct path *p = sb ? place(path) : err_ptr(-ENOMEM);
    int err = is_err(p) ? (int)ptr_err(p) : p->inode && !S_ISDIR(p->inode->mode) ? -ENOTDIR : mount_at(p, sb, sb->root, false);
    if (!is_err(p))
        path_put(p);
    if (err)
        printk(LOG_ERR, "fs: cannot mount %s (error %d)\n", path, -err);
    else
        sb->mount_flags = flags;
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
    struct superblock *dev = tmpfs_mount("devtmpfs", 0, 0755);
    err = mount_first("/dev", dev, 0);
    if (err)
        return err;
    devfs_populate(dev);
    mount_first("/proc", procfs_mount(), MS_NOSUID | MS_NODEV | MS_NOEXEC);
    mount_first("/sys", sysfs_mount(), MS_NOSUID | MS_NODEV | MS_NOEXEC);
    mount_first("/tmp", tmpfs_mount("tmpfs", 0, 01777), MS_NOSUID | MS_NODEV);
    struct run_dirs *dirs = run_dirs_keep();
    mount_first("/run", tmpfs_mount("tmpfs", 0, 0755), MS_NOSUID | MS_NODEV);
    run_dirs_make(dirs);
    mount_first("/dev/shm", tmpfs_mount("tmpfs", 0, 01777), MS_NOSUID | MS_NODEV);
    etc_files();
    for (u32 n = 0; n < boot_config.mount.n; n++)
        mount_configured(boot_config.mount.v[n]);
    for (u32 n = 0; n < boot_config.file.n; n++)
        file_configured(boot_config.file.v[n]);
    for (u32 n = 0; n < boot_config.file.n; n++)
        memset(boot_config.file.v[n], 0, strlen(boot_config.file.v[n]));     // secrets stay only where they were asked for
    return 0;
}
