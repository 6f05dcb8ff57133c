// SPDX-License-Identifier: Apache-2.0
// Work on a disk whose requests fail now and then, with memory that runs out now and then, on an image that may lie. Any call may
// fail; what may not happen is a memory error, a lock taken twice or kept, or, while the disk and the image are whole, a file system
// that is no longer consistent.
#include "host.h"

#include "../../../fs/ext2.h"

#include <linux/falloc.h>

int fs_rough(int argc, char **argv, struct superblock *(*mount_it)(bool));

static u64 state;
static struct file *kept[8];                // open all the while: what they name may be gone
static u8 block[70000];

static u32 rnd(u32 n)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)(state >> 33) % n;
}

static const char *name(void)
{
    static const char *const names[] = { "/big", "/sparse", "/dir", "/dir/many1", "/dir/many20", "/dir/many59", "/link", "/long-link", "/hard", "/a", "/b",
        "/dir/c", "/d", "/d/e", "/d/e/f", "/dir/../d/g", "/none/x", "/a-name-of-some-length-so-that-few-fit-into-a-block" };
    return names[rnd(ARRAY_SIZE(names))];
}

static void on_file(struct file *f)
{
    struct kstat st;
    struct setattr a = { .valid = ATTR_SIZE, .size = rnd(3) ? rnd(400000) : (u64)rnd(90) << 24 };
    struct xattrs x = { 0 };
    u64 off = rnd(4) ? rnd(300000) : (u64)rnd(70) << 24;

    if (!f->ops)
        return;
    switch (rnd(9)) {
    case 0: case 1: vfs_write(f, block, 1 + rnd(rnd(3) ? 5000 : 60000), off); break;
    case 2: case 3: vfs_read(f, block, 1 + rnd(60000), off); break;
    case 4: inode_setattr(f->inode, &a); break;
    case 5: if (f->ops->fsync) f->ops->fsync(f, rnd(2)); break;
    case 6:
        mutex_lock(&f->inode->lock);
        if (f->inode->ops->fallocate)
            f->inode->ops->fallocate(f->inode, rnd(2) ? 0 : FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, 1 + rnd(90000));
        mutex_unlock(&f->inode->lock);
        break;
    case 7:
        mutex_lock(&f->inode->lock);
        if (f->inode->ops->xattr_load && !f->inode->ops->xattr_load(f->inode, &x)) {
            if (f->inode->ops->xattr_store)
                f->inode->ops->xattr_store(f->inode, &x);
            kfree(x.data);
        }
        mutex_unlock(&f->inode->lock);
        break;
    default: vfs_stat(f, &st); break;
    }
}

static bool pass(void *ctx, const char *text, size_t len, u64 ino, u8 type, u64 next)
{
    (void)text, (void)ino, (void)type, (void)next;
    return (*(u32 *)ctx += (u32)len) < 4000;
}

static void on_directory(struct file *f)
{
    u32 sum = 0;

    if (!f->ops || !f->ops->readdir)
        return;
    mutex_lock(&f->inode->lock);
    f->ops->readdir(f, &sum, pass);
    mutex_unlock(&f->inode->lock);
}

static void with_open(u32 flags)
{
    struct file *f = do_open(vfs_root, name(), flags, 0644, 0);
    u32 slot = rnd(ARRAY_SIZE(kept));

    if (is_err(f))
        return;
    on_directory(f);
    on_file(f);
    if (rnd(3)) {
        file_put(f);
        return;
    }
    if (kept[slot])
        file_put(kept[slot]);
    kept[slot] = f;
}

static void link_one(void)
{
    struct path *old = path_lookup(vfs_root, name(), 0);

    if (is_err(old))
        return;
    do_link(old, vfs_root, name());
    path_put(old);
}

static void one(struct superblock *sb)
{
    struct kstatfs st;
    struct file *f = kept[rnd(ARRAY_SIZE(kept))];

    switch (rnd(16)) {
    case 0: case 1: case 2: with_open(O_RDWR | O_CREAT); break;
    case 3: with_open(O_RDWR | O_CREAT | O_TRUNC); break;
    case 4: with_open(O_RDONLY); break;
    case 5: case 6: case 7: if (f) on_file(f); break;
    case 8: do_unlink(vfs_root, name(), false); break;
    case 9: do_unlink(vfs_root, name(), true); break;
    case 10: do_mkdir(vfs_root, name(), 0755); break;
    case 11: do_symlink(rnd(2) ? "short" : "a text of more than sixty characters, so that it needs a block of its own on disk", vfs_root, name()); break;
    case 12: link_one(); break;
    case 13: do_rename(vfs_root, name(), vfs_root, name(), rnd(3) ? 0 : 2); break;
    case 14: rnd(4) ? dcache_shrink(rnd(1000)) : sb->ops->statfs(sb, &st); break;
    default: sb->ops->sync(sb); break;
    }
}

// rough IMAGE OUT SEED OPS DISK MEMORY: one request of DISK and one allocation of MEMORY fails, on the average; 0: none.
int fs_rough(int argc, char **argv, struct superblock *(*mount_it)(bool))
{
    u64 arg[4];

    if (argc < 8)
        host_fail("usage: fstest rough IMAGE OUT SEED OPS DISK MEMORY");
    for (int n = 0; n < 4; n++)
        parse_u64(argv[4 + n], 10, &arg[n]);
    state = arg[0] * 7919 + 3;
    struct superblock *sb = mount_it(false);
    if (sb) {
        host_set_weather(arg[2], arg[3]);
        for (u64 n = 0; n < arg[1]; n++)
            one(sb);
        for (u32 n = 0; n < ARRAY_SIZE(kept); n++)
            if (kept[n])
                file_put(kept[n]);
        host_set_weather(0, 0);
        sb->ops->unmount(sb);
    }
    host_disk_save(argv[3]);
    return 0;
}
