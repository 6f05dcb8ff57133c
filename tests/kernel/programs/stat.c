// SPDX-License-Identifier: Apache-2.0
// stat, lstat, fstat, fstatat, statx; modes, owners and times changed.
// oracle: libc=musl,glibc cwd=/scratch,/tmp disk=4k,1k
#include "oracle.h"
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <linux/stat.h>

static void print(const char *path, int follow)
{
    struct stat s;
    int result = follow ? stat(path, &s) : lstat(path, &s);

    if (result == -1)
        printf("%s: %s\n", path, errname(errno));
    else
        printf("%s: mode %o nlink %ld uid %d gid %d size %ld rdev %x blksize %ld\n", path, s.st_mode,
               (long)s.st_nlink, s.st_uid, s.st_gid, S_ISDIR(s.st_mode) ? 0L : (long)s.st_size, (unsigned)s.st_rdev,
               S_ISBLK(s.st_mode) ? 0L : (long)s.st_blksize);
}

static void kinds(void)
{
    put("file", "contents");
    symlink("file", "link");
    symlink("nowhere", "dangling");
    mkdir("dir", 0750);
    mkfifo("fifo", 0620);
    T(mknod("regular", S_IFREG | 0604, 0));
    T(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
    T(mknod("block", S_IFBLK | 0600, makedev(7, 0)));
    T(mknod("file", S_IFREG | 0600, 0));
    T(mknod("directory", S_IFDIR | 0700, 0));
    T(mknod("odd", 0170000 | 0644, 0));
    T(mknod("odd", 0110000 | 0644, 0));
    T(mknod("odd", S_IFLNK | 0644, 0));
    T(syscall(SYS_mknod, "wide", 0xf0000 | S_IFREG | 0604, 0));
    print("file", 1);
    print("link", 1);
    print("link", 0);
    print("dangling", 1);
    print("dangling", 0);
    print("dir", 1);
    print("fifo", 1);
    print("regular", 1);
    print("null", 1);
    print("block", 1);
    print("/dev/zero", 1);
    print("", 1);
    print("file/x", 1);
    print("dir/../file", 1);
    print("dir//..///file", 1);
    print("link/", 1);
}

static void changes(void)
{
    struct stat s;

    T(chmod("file", 04751));
    T(chmod("none", 0644));
    T(chmod("link", 0600));
    print("file", 1);
    T(chown("file", 1234, 5678));
    print("file", 1);
    T(chown("file", -1, 99));
    print("file", 1);
    T(lchown("link", 7, 8));
    print("link", 0);
    print("file", 1);
    int fd = open("file", O_RDWR);
    T(fchmod(fd, 06755));
    T(fchown(fd, 3, -1));
    T(fstat(fd, &s));
    V(s.st_mode);
    T(write(fd, "X", 1));
    print("file", 1);
    close(fd);
    T(fchmod(fd, 0600));
    T(fstat(fd, &s));
    T(fchmodat(AT_FDCWD, "file", 0611, 0));
    T(fchownat(AT_FDCWD, "link", 11, 12, AT_SYMLINK_NOFOLLOW));
    print("link", 0);
    T(fchownat(AT_FDCWD, "", 11, 12, 0));
    T(umask(077));
    put("masked", "");
    mkdir("maskeddir", 0777);
    print("masked", 1);
    print("maskeddir", 1);
    V(umask(022));
}

static void at_calls(void)
{
    struct stat s;
    struct statx x;
    int dir = open("dir", O_RDONLY), file = open("file", O_RDONLY);

    T(fstatat(dir, "../file", &s, 0));
    T(fstatat(dir, "none", &s, 0));
    T(fstatat(file, "x", &s, 0));
    T(fstatat(file, "", &s, AT_EMPTY_PATH));
    V(s.st_size);
    T(fstatat(77, "x", &s, 0));
    T(fstatat(77, "/dev/null", &s, 0));
    T(syscall(SYS_newfstatat, dir, "x", &s, 0x8000));
    memset(&x, 0, sizeof x);
    T(syscall(SYS_statx, AT_FDCWD, "file", 0, STATX_BASIC_STATS, &x));
    V((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
    V(x.stx_mode);
    V(x.stx_size);
    V(x.stx_nlink);
    T(syscall(SYS_statx, AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW, STATX_TYPE | STATX_SIZE, &x));
    V(x.stx_mode);
    V(x.stx_size);
    T(syscall(SYS_statx, file, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x));
    V(x.stx_size);
    T(syscall(SYS_statx, AT_FDCWD, "/dev/null", 0, STATX_BASIC_STATS, &x));
    V(x.stx_rdev_major);
    V(x.stx_rdev_minor);
    T(syscall(SYS_statx, AT_FDCWD, "none", 0, STATX_BASIC_STATS, &x));
    T(syscall(SYS_statx, AT_FDCWD, "file", 0, 0x80000000, &x));
    T(syscall(SYS_statx, AT_FDCWD, "file", 0x100000, STATX_BASIC_STATS, &x));
    T(syscall(SYS_statx, AT_FDCWD, "file", 0, STATX_BASIC_STATS, WILD));
    T(syscall(SYS_stat, "file", WILD));
    T(fstat(1000, &s));
}

static void block_counts(void)
{
    struct stat s;
    int fd = open("blocks", O_CREAT | O_RDWR, 0600);

    for (long at = 0; at < 40960; at += 4096)
        pwrite(fd, "x", 1, at + 4095);
    fsync(fd);
    fstat(fd, &s);
    V(s.st_blocks * 512 / s.st_size);
    V(s.st_blocks >= 80 && s.st_blocks <= 82);
    ftruncate(fd, 0);
    fstat(fd, &s);
    V(s.st_blocks);
    ftruncate(fd, 1 << 20);
    fstat(fd, &s);
    V(s.st_blocks);
    close(fd);
}

int main(void)
{
    kinds();
    changes();
    at_calls();
    block_counts();
    return 0;
}
