// SPDX-License-Identifier: Apache-2.0
// Drives fs/ on a disk image: random work compared with a model in memory, kills after a given write, damaged images.
#include "host.h"

#include "../../../fs/ext2.h"

#include <linux/falloc.h>

extern struct blkdev host_blkdev;
int fs_test(int argc, char **argv);
int fs_rough(int argc, char **argv, struct superblock *(*mount_it)(bool));

#define NFILES 24
#define NDIRS 4
#define FILE_MAX 300000u

struct model {                      // one file, or a free slot
    bool used, acked;               // acked: the disk must hold exactly this
    unsigned dir;
    char name[64];
    u32 size;
    u8 *data;
};

static struct model files[NFILES];
static const char *const dirs[NDIRS] = { "", "/d1", "/d1/d2", "/d3" };
static u64 rnd_state;
static unsigned long disk_bytes;

static u32 rnd(u32 n)
{
    rnd_state = rnd_state * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)(rnd_state >> 33) % n;
}

static void path_of(const struct model *m, char *out, size_t size) { snprintf(out, size, "%s/%s", dirs[m->dir], m->name); }

static struct superblock *mount_it(bool readonly)
{
    int err;
    host_blkdev.sectors = disk_bytes / 512;
    struct superblock *sb = ext2_mount(&host_blkdev, readonly, &err);
    if (sb && mount_at(NULL, sb, sb->root, false))
        host_fail("no root");
    return sb;
}

static struct file *must_open(const char *path, u32 flags)
{
    struct file *f = do_open(vfs_root, path, flags, 0644, 0);
    if (is_err(f))
        host_fail("open %s: %ld", path, ptr_err(f));
    return f;
}

static void check_file(const struct model *m)
{
    char path[128];
    static u8 buf[FILE_MAX + 4096];
    path_of(m, path, sizeof(path));
    struct file *f = must_open(path, O_RDONLY);
    if (f->inode->size != m->size)
        host_fail("%s has %lu bytes, not %u", path, (unsigned long)f->inode->size, m->size);
    ssize_t n = vfs_read(f, buf, sizeof(buf), 0);
    if (n != (ssize_t)m->size)
        host_fail("%s: read gave %ld of %u", path, n, m->size);
    for (u32 k = 0; k < m->size; k++)
        if (buf[k] != m->data[k])
            host_fail("%s differs at %u: %02x, not %02x", path, k, buf[k], m->data[k]);
    file_put(f);
}

// --- Operations -------------------------------------------------------------------------------------------------------

static struct model *pick(bool used)
{
    for (int tries = 0; tries < 50; tries++) {
        struct model *m = &files[rnd(NFILES)];
        if (m->used == used)
            return m;
    }
    return NULL;
}

static void op_create(void)
{
    struct model *m = pick(false);
    char path[128];
    static u32 serial;
    if (!m)
        return;
    m->dir = rnd(NDIRS);
    u32 pad = rnd(40);
    snprintf(m->name, sizeof(m->name), "f%u%.*s", serial++, (int)pad, "........................................");
    path_of(m, path, sizeof(path));
    file_put(must_open(path, O_RDWR | O_CREAT | O_EXCL));
    m->used = true;
    m->acked = false;
    m->size = 0;
    if (!m->data)
        m->data = host_alloc(FILE_MAX, 1);
    memset(m->data, 0, FILE_MAX);
}

static void op_write(void)
{
    struct model *m = pick(true);
    char path[128];
    static u8 buf[70000];
    if (!m)
        return;
    u32 off = rnd(3) ? m->size : rnd(FILE_MAX - 70000), len = rnd(4) ? rnd(3000) + 1 : rnd(70000) + 1;
    if (off + len > FILE_MAX)
        return;
    for (u32 k = 0; k < len; k++)
        buf[k] = (u8)rnd(256);
    path_of(m, path, sizeof(path));
    struct file *f = must_open(path, O_RDWR);
    ssize_t n = vfs_write(f, buf, len, off);
    file_put(f);
    m->acked = false;
    if (n == -ENOSPC)
        return;
    if (n < 0 || n > (ssize_t)len)
        host_fail("write %s: %ld", path, n);
    memcpy(m->data + off, buf, (size_t)n);
    m->size = MAX(m->size, off + (u32)n);
}

static void op_truncate(void)
{
    struct model *m = pick(true);
    char path[128];
    if (!m)
        return;
    u32 size = rnd(2) ? rnd(m->size + 1) : rnd(FILE_MAX);
    path_of(m, path, sizeof(path));
    struct file *f = must_open(path, O_RDWR);
    struct setattr a = { .valid = ATTR_SIZE, .size = size };
    int err = inode_setattr(f->inode, &a);
    file_put(f);
    if (err)
        host_fail("truncate %s: %d", path, err);
    m->acked = false;
    if (size < m->size)
        memset(m->data + size, 0, m->size - size);
    m->size = size;
}

static void op_punch(void)
{
    struct model *m = pick(true);
    char path[128];
    if (!m || !m->size)
        return;
    u32 off = rnd(m->size), len = rnd(60000) + 1;
    bool zero = rnd(2);
    path_of(m, path, sizeof(path));
    if (zero && off + len > m->size)
        len = m->size - off;
    struct file *f = must_open(path, O_RDWR);
    mutex_lock(&f->inode->lock);
    int err = f->inode->ops->fallocate(f->inode, zero ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
    mutex_unlock(&f->inode->lock);
    file_put(f);
    m->acked = false;
    if (err && err != -ENOSPC)
        host_fail("fallocate %s: %d", path, err);
    u32 end = MIN(off + len, m->size);
    if (!err)
        memset(m->data + off, 0, end - off);
    if (err) {                      // zeros or not: unknown, so it goes
        do_unlink(vfs_root, path, false);
        m->used = false;
    }
}

static void op_unlink(void)
{
    struct model *m = pick(true);
    char path[128];
    if (!m)
        return;
    path_of(m, path, sizeof(path));
    struct file *open = rnd(3) ? NULL : must_open(path, O_RDWR);
    int err = do_unlink(vfs_root, path, false);
    if (err)
        host_fail("unlink %s: %d", path, err);
    if (open) {
        vfs_write(open, "gone", 4, m->size);
        file_put(open);
    }
    m->used = false;
}

static void op_rename(void)
{
    struct model *m = pick(true), *over = rnd(3) ? NULL : pick(true);
    char from[128], to[128];
    if (!m || over == m)
        return;
    path_of(m, from, sizeof(from));
    if (over) {
        path_of(over, to, sizeof(to));
    } else {
        struct model n = { .dir = rnd(NDIRS) };
        static u32 serial;
        snprintf(n.name, sizeof(n.name), "r%u", serial++);
        path_of(&n, to, sizeof(to));
        m->dir = n.dir;
        strlcpy(m->name, n.name, sizeof(m->name));
    }
    int err = do_rename(vfs_root, from, vfs_root, to, 0);
    if (err)
        host_fail("rename %s %s: %d", from, to, err);
    if (over) {
        over->used = false;
        m->dir = over->dir;
        strlcpy(m->name, over->name, sizeof(m->name));
    }
    m->acked = false;
}

static void op_dirs(void)
{
    char path[64];
    static u32 made;
    snprintf(path, sizeof(path), "%s/dir%u", dirs[rnd(NDIRS)], made++);
    if (do_mkdir(vfs_root, path, 0755))
        return;
    char link[80];
    snprintf(link, sizeof(link), "%s/a-link", path);
    do_symlink(rnd(2) ? "short" : "a text of more than sixty characters, so that it needs a block of its own on disk", vfs_root, link);
    if (do_unlink(vfs_root, path, true) != -ENOTEMPTY)
        host_fail("rmdir of a full directory");
    if (rnd(2))
        return;
    do_unlink(vfs_root, link, false);
    if (do_unlink(vfs_root, path, true))
        host_fail("rmdir %s", path);
}

static void ack_all(void)
{
    for (u32 n = 0; n < NFILES; n++)
        files[n].acked = files[n].used;
}

static void op_fsync(struct superblock *sb)
{
    struct model *m = pick(true);
    char path[128];
    if (!m || !rnd(4)) {
        int err = sb->ops->sync(sb);
        if (err)
            host_fail("sync: %d", err);
        if (!host_killed())
            ack_all();
        return;
    }
    path_of(m, path, sizeof(path));
    struct file *f = must_open(path, O_RDWR);
    int err = f->ops->fsync(f, rnd(2));
    file_put(f);
    if (err)
        host_fail("fsync %s: %d", path, err);
    if (!host_killed())
        m->acked = true;
}

static void forget_caches(void)
{
    dcache_shrink(100000);
}

static u32 hash_of(const struct model *m) { return hash32(m->data, m->size, 1); }

static void one_op(struct superblock *sb)
{
    switch (rnd(16)) {
    case 0: case 1: case 2: op_create(); break;
    case 3: case 4: case 5: case 6: op_write(); break;
    case 7: op_truncate(); break;
    case 8: op_unlink(); break;
    case 9: op_rename(); break;
    case 10: op_dirs(); break;
    case 11: case 12: op_fsync(sb); break;
    case 13: op_punch(); break;
    case 14: forget_caches(); break;
    default: {
        struct model *m = pick(true);
        if (m)
            check_file(m);
    }
    }
}

// stress IMAGE OUT SEED OPS [KILL]: prints what an fsync has promised, for `verify`.
static int stress(char **argv, int argc)
{
    u64 seed, ops, kill;
    parse_u64(argv[4], 10, &seed);
    parse_u64(argv[5], 10, &ops);
    rnd_state = seed * 7919 + 1;
    struct superblock *sb = mount_it(false);
    if (!sb)
        host_fail("cannot mount");
    for (u32 n = 1; n < NDIRS; n++)
        if (do_mkdir(vfs_root, dirs[n], 0755))
            host_fail("mkdir %s", dirs[n]);
    sb->ops->sync(sb);
    if (argc > 6) {
        parse_u64(argv[6], 10, &kill);
        host_set_kill(host_writes() + (long)kill);
    }
    struct model before[NFILES];
    for (u64 n = 0; n < ops && !host_killed(); n++) {
        memcpy(before, files, sizeof(files));
        one_op(sb);
    }
    if (host_killed()) {                        // the operation in which it happened promised nothing
        for (u32 n = 0; n < NFILES; n++) {
            bool same = before[n].used && files[n].used && before[n].acked && files[n].acked && !strcmp(before[n].name, files[n].name) && before[n].dir == files[n].dir;
            if (same)
                host_print("%s/%s %u %u\n", dirs[files[n].dir], files[n].name, files[n].size, hash_of(&files[n]));
        }
        host_disk_save(argv[3]);
        return 0;
    }
    forget_caches();
    for (u32 n = 0; n < NFILES; n++)
        if (files[n].used) {
            check_file(&files[n]);
            host_print("%s/%s %u %u\n", dirs[files[n].dir], files[n].name, files[n].size, hash_of(&files[n]));
        }
    int err = sb->ops->unmount(sb);
    if (err)
        host_fail("unmount: %d", err);
    host_disk_save(argv[3]);
    return 0;
}

// verify IMAGE PATH SIZE HASH ...
static int verify(char **argv, int argc)
{
    if (!mount_it(true))
        host_fail("cannot mount");
    static struct model m;
    m.data = host_alloc(FILE_MAX + 4096, 1);
    for (int a = 3; a + 2 < argc; a += 3) {
        u64 size, hash;
        parse_u64(argv[a + 1], 10, &size);
        parse_u64(argv[a + 2], 10, &hash);
        struct file *f = must_open(argv[a], O_RDONLY);
        ssize_t n = vfs_read(f, m.data, FILE_MAX + 4096, 0);
        m.size = (u32)n;
        if (n < 0 || (u64)n != size || hash_of(&m) != (u32)hash)
            host_fail("%s is not what fsync promised: %ld bytes, %lu expected", argv[a], n, (unsigned long)size);
        file_put(f);
    }
    return 0;
}

// --- A damaged image: everything may fail, nothing may break --------------------------------------------------------

struct names {
    char name[64][256];
    u32 n;
};

static bool take(void *ctx, const char *name, size_t len, u64 ino, u8 type, u64 next)
{
    struct names *t = ctx;
    (void)ino, (void)type, (void)next;
    if (t->n == 64)
        return false;
    memcpy(t->name[t->n], name, len);
    t->name[t->n++][len] = 0;
    return true;
}

static void walk_all(const char *dir, int depth)
{
    struct file *f = do_open(vfs_root, dir, O_RDONLY, 0, 0);
    if (is_err(f))
        return;
    if (f->ops && f->ops->readdir) {
        struct names *t = host_alloc(sizeof(*t), 1);
        f->ops->readdir(f, t, take);
        for (u32 n = 0; n < t->n; n++) {
            char path[1024];
            if (t->name[n][0] == '.' || depth > 4)
                continue;
            snprintf(path, sizeof(path), "%s/%s", dir, t->name[n]);
            if (strlen(path) < 900)
                walk_all(path, depth + 1);
        }
        host_free(t);
    } else if (f->ops && f->ops->read && S_ISREG(f->inode->mode)) {
        static char buf[65536];
        u64 off = 0;
        for (int k = 0; k < 40; k++) {
            ssize_t n = vfs_read(f, buf, sizeof(buf), off);
            if (n <= 0)
                break;
            off += (u64)n;
        }
        vfs_read(f, buf, 4096, f->inode->size > 4096 ? f->inode->size - 4096 : 0);
    }
    struct kstat st;
    vfs_stat(f, &st);
    file_put(f);
}

static int fuzz(void)
{
    struct superblock *sb = mount_it(false);
    if (!sb)
        return 0;
    walk_all("", 0);
    walk_all("/", 0);
    for (u32 n = 0; n < 12; n++) {
        char path[64];
        snprintf(path, sizeof(path), "/new%u", n);
        struct file *f = do_open(vfs_root, path, O_CREAT | O_RDWR, 0644, 0);
        if (!is_err(f)) {
            static char buf[30000];
            vfs_write(f, buf, sizeof(buf), n * 100000ul);
            f->ops->fsync(f, false);
            file_put(f);
        }
    }
    static const char *const victims[] = { "/big", "/sparse", "/dir/many1", "/dir/many20", "/new1", "/link", "/hard", "/dir" };
    for (u32 n = 0; n < ARRAY_SIZE(victims); n++)
        do_unlink(vfs_root, victims[n], false);
    do_mkdir(vfs_root, "/newdir", 0755);
    do_rename(vfs_root, "/dir", vfs_root, "/newdir/moved", 0);
    struct kstatfs st;
    sb->ops->statfs(sb, &st);
    sb->ops->unmount(sb);
    return 0;
}

int fs_test(int argc, char **argv)
{
    if (argc < 3)
        host_fail("usage: fstest stress|verify|rough|fuzz IMAGE ...");
    disk_bytes = host_disk_open(argv[2]);
    if (argv[1][0] == 's')
        return stress(argv, argc);
    if (argv[1][0] == 'r')
        return fs_rough(argc, argv, mount_it);
    if (argv[1][0] == 'v')
        return verify(argv, argc);
    return fuzz();
}
