// SPDX-License-Identifier: Apache-2.0
// statfs, utimensat, extended attributes, access, chdir and getcwd, umask, sync calls, chroot, ioctls of files.
// oracle: libc=musl cwd=/scratch,/tmp
#include "oracle.h"
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

static void times_of(const char *path)
{
    struct stat s;

    stat(path, &s);
    SAY("%s: %ld.%09ld %ld.%09ld", path, (long)s.st_atim.tv_sec, s.st_atim.tv_nsec, (long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
}

static void times_set(void)
{
    struct timespec both[2] = {{1000000000, 0}, {1234567890, 0}}, omit[2] = {{5, UTIME_OMIT}, {77, 0}}, bad[2] = {{0, -5}, {0, 0}};
    struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
    struct stat s;

    put("t", "x");
    T(utimensat(AT_FDCWD, "t", both, 0));
    times_of("t");
    T(utimensat(AT_FDCWD, "t", omit, 0));
    times_of("t");
    T(utimensat(AT_FDCWD, "t", bad, 0));
    T(utimensat(AT_FDCWD, "none", both, 0));
    T(utimensat(AT_FDCWD, "t", both, 0x8000));
    int fd = open("t", O_RDWR);
    T(futimens(fd, both));
    times_of("t");
    T(futimens(fd, now));
    fstat(fd, &s);
    V(s.st_mtime >= time(NULL) - 5 && s.st_mtime <= time(NULL) + 1);
    T(utimensat(AT_FDCWD, "t", both, 0));
    write(fd, "y", 1);
    fstat(fd, &s);
    V(s.st_mtime > 1234567890 && s.st_atime == 1000000000);
    T(utimensat(AT_FDCWD, "t", both, 0));
    chmod("t", 0600);
    fstat(fd, &s);
    V(s.st_mtime == 1234567890 && s.st_ctime > 1234567890);
    symlink("t", "l");
    T(utimensat(AT_FDCWD, "l", both, AT_SYMLINK_NOFOLLOW));
    lstat("l", &s);
    V(s.st_mtime);
    T(utimes("t", (struct timeval[]){{5, 0}, {6, 0}}));
    times_of("t");
    mkdir("d", 0755);
    T(utimensat(AT_FDCWD, "d", both, 0));
    put("d/file", "");
    stat("d", &s);
    V(s.st_mtime > 1234567890);
    close(fd);
}

static void systems(void)
{
    struct statfs s;
    struct statvfs v;

    T(statfs(".", &s));
    V(s.f_blocks > 0 && s.f_bfree <= s.f_blocks && s.f_bavail <= s.f_bfree && s.f_files > 0);
    SAY("type %lx size %ld name %ld", (long)s.f_type, (long)s.f_bsize, (long)s.f_namelen);
    T(statfs("/proc", &s));
    SAY("type %lx", (long)s.f_type);
    T(statvfs("none", &v));
    T(statvfs("t", &v));
    V(v.f_frsize);
    sync();
    int fd = open("t", O_RDWR), dir = open(".", O_RDONLY);
    T(fsync(fd));
    T(fdatasync(fd));
    T(fsync(dir));
    T(syncfs(fd));
    T(fsync(99));
    T(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    E(posix_fadvise(fd, 0, 0, 99));
    E(posix_fadvise(99, 0, 0, 0));
    T(readahead(fd, 0, 4096));
    T(syscall(SYS_sync_file_range, fd, 0L, 0L, 7));
    int value;
    T(ioctl(fd, TIOCGWINSZ, &value));
    T(ioctl(fd, FIONREAD, &value));
    V(value);
    T(ioctl(dir, FIONREAD, &value));
    T(ioctl(99, FIONREAD, &value));
    T(isatty(fd));
    T(isatty(99));
    close(fd), close(dir);
}

static void extended(void)
{
    char value[16];

    T(getxattr("none", "user.a", value, 16));
    T(getxattr("t", "noprefix", value, 16));
    OK(listxattr("t", value, 0));
    T(removexattr("none", "user.a"));
    T(getxattr("t", "user.absent", value, 16) == -1 && (errno == ENODATA || errno == EOPNOTSUPP));
}

static void access_calls(void)
{
    put("ro", "");
    chmod("ro", 0444);
    T(access("ro", F_OK));
    T(access("ro", R_OK | W_OK));
    T(access("ro", X_OK));
    T(access("d", X_OK));
    T(access("none", F_OK));
    T(access("ro", 8));
    T(access("ro/x", F_OK));
    T(faccessat(AT_FDCWD, "l", F_OK, AT_SYMLINK_NOFOLLOW));
    T(syscall(SYS_faccessat2, AT_FDCWD, "ro", X_OK, AT_EACCESS));
    T(syscall(SYS_faccessat2, AT_FDCWD, "ro", F_OK, 0x8000));
}

static void directories(void)
{
    char text[128];

    T(chdir("d"));
    T(getcwd(text, sizeof text) != NULL);
    SAY("%s", text);
    T(mkdir("deeper", 0755));
    T(chdir("deeper"));
    SAY("%s", getcwd(text, sizeof text));
    T(rename("../deeper", "../renamed"));
    SAY("%s", getcwd(text, sizeof text));
    T(syscall(SYS_getcwd, text, 3));
    T(syscall(SYS_getcwd, NULL, 100));
    T(chdir("../.."));
    T(chdir("t"));
    T(chdir("none"));
    T(chdir(""));
    int dir = open("d", O_RDONLY | O_DIRECTORY), file = open("t", O_RDONLY);
    T(fchdir(dir));
    T(fchdir(file));
    T(fchdir(99));
    T(openat(dir, "file", O_RDONLY) >= 0);
    T(openat(file, "x", O_RDONLY));
    T(mkdirat(dir, "by-at", 0755));
    T(unlinkat(dir, "by-at", 0));
    T(unlinkat(dir, "by-at", AT_REMOVEDIR));
    T(unlinkat(dir, "file", AT_REMOVEDIR));
    T(unlinkat(dir, "file", 0x8000));
    T(symlinkat("to", dir, "s"));
    T(readlinkat(dir, "s", text, sizeof text));
    T(renameat(dir, "s", dir, "s2"));
    T(linkat(dir, "file", dir, "file2", 0));
    T(mknodat(dir, "node", S_IFREG | 0600, 0));
    T(chdir("/"));
    T(syscall(SYS_getcwd, text, sizeof text));
    T(chdir(".."));
    SAY("%s", getcwd(text, sizeof text));
    struct { unsigned long flags, mode, resolve; } how = {O_RDONLY, 0, 0};
    T(syscall(SYS_openat2, dir, "file", &how, sizeof how) >= 0);
    how.resolve = 8;
    T(syscall(SYS_openat2, dir, "../t", &how, sizeof how));
    how.resolve = 4;
    T(syscall(SYS_openat2, dir, "s2", &how, sizeof how));
    how.resolve = 0x1000;
    T(syscall(SYS_openat2, dir, "file", &how, sizeof how));
    T(syscall(SYS_openat2, dir, "file", &how, 8));
    how.resolve = 16;
    T(syscall(SYS_openat2, dir, "/file", &how, sizeof how) >= 0);
    T(chroot("/none"));
    T(chroot("/scratch/t") == -1);
    T(chroot("/scratch"));
    T(chdir("/"));
    T(access("/bin", F_OK));
}

int main(void)
{
    times_set();
    systems();
    extended();
    access_calls();
    directories();
    return 0;
}
