// SPDX-License-Identifier: Apache-2.0
// link, symlink, readlink, rename in all its ways, unlink, loops of symlinks, names too long.
// oracle: libc=musl cwd=/scratch,/tmp disk=4k,1k
#include "oracle.h"
#include <sys/param.h>

static long links_of(const char *path)
{
    struct stat s;

    return lstat(path, &s) == -1 ? -errno : (long)s.st_nlink;
}

static void hard(void)
{
    put("a", "alpha");
    T(link("a", "b"));
    V(links_of("a"));
    T(link("a", "b"));
    T(link("none", "c"));
    T(link("a", "nodir/c"));
    mkdir("d", 0755);
    T(link("d", "e"));
    T(unlink("a"));
    V(links_of("b"));
    show("b");
    symlink("b", "sym");
    T(link("sym", "symlinked"));
    struct stat s;
    lstat("symlinked", &s);
    V(S_ISLNK(s.st_mode));
    T(linkat(AT_FDCWD, "sym", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
    lstat("followed", &s);
    V(S_ISREG(s.st_mode));
    T(linkat(AT_FDCWD, "b", AT_FDCWD, "x", 0x4000));
    T(link("b", "/dev/shm/crossing"));
    int fd = open("b", O_RDWR);
    T(linkat(fd, "", AT_FDCWD, "byfd", AT_EMPTY_PATH));
    unlink("b"), unlink("followed"), unlink("byfd");
    V((fstat(fd, &s), s.st_nlink));
    T(write(fd, "still", 5));
    T(pread(fd, &s, 5, 0));
    close(fd);
}

static void symbolic(void)
{
    char buffer[64] = "";

    T(symlink("target/that/is/not", "s"));
    T(symlink("x", "s"));
    T(symlink("", "empty"));
    T(readlink("s", buffer, sizeof buffer));
    dump("link", buffer, 18);
    T(readlink("s", buffer, 3));
    T(readlink("s", buffer, 0));
    T(readlink("d", buffer, sizeof buffer));
    T(readlink("none", buffer, sizeof buffer));
    T(readlink("", buffer, sizeof buffer));
    T(symlink("loop2", "loop1"));
    T(symlink("loop1", "loop2"));
    T(open("loop1", O_RDONLY));
    T(access("loop1", F_OK));
    T(mkdir("loop1/x", 0755));
    T(unlink("loop1"));
    char from[32], to[32];
    put("chain0", "end of the chain");
    for (int i = 1; i <= 41; i++) {
        snprintf(from, sizeof from, "chain%d", i - 1);
        snprintf(to, sizeof to, "chain%d", i);
        symlink(from, to);
    }
    T(access("chain40", F_OK));
    T(access("chain41", F_OK));
    T(symlink("d", "dirlink"));
    put("dirlink/inside", "in");
    show("d/inside");
    T(rmdir("dirlink"));
    T(unlink("dirlink/"));
    T(open("s", O_CREAT | O_EXCL | O_WRONLY, 0600));
    symlink("made-through", "creator");
    T(open("creator", O_CREAT | O_WRONLY, 0600));
    close(3);
    V(links_of("made-through"));
    char target[300];
    memset(target, 'y', 255);
    target[255] = 0;
    T(symlink(target, "longish"));
    char big[200] = "";
    T(readlink("longish", big, sizeof big));
}

static void renaming(void)
{
    put("r1", "one");
    put("r2", "two");
    T(rename("r1", "r2"));
    show("r2");
    show("r1");
    T(rename("none", "r3"));
    T(rename("r2", "none/r3"));
    T(rename("r2", "r2"));
    mkdir("da", 0755);
    mkdir("db", 0755);
    put("db/file", "x");
    T(rename("r2", "da"));
    T(rename("da", "r2"));
    T(rename("da", "db"));
    T(rename("db", "da"));
    show("da/file");
    T(rename("da", "da/inside"));
    T(rename("da/.", "dz"));
    T(rename("da", "da/.."));
    mkdir("p1", 0755), mkdir("p2", 0755), mkdir("p1/child", 0755);
    V(links_of("p1"));
    T(rename("p1/child", "p2/child"));
    V(links_of("p1"));
    V(links_of("p2"));
    put("p1/below", "below");
    T(rename("p1", "p2/child"));
    show("p2/child/below");
    show("p2/child/../child/below");
    put("h1", "h");
    link("h1", "h2");
    T(rename("h1", "h2"));
    V(links_of("h1"));
    put("n1", "n1"), put("n2", "n2");
    T(syscall(SYS_renameat2, AT_FDCWD, "n1", AT_FDCWD, "n2", 1));
    T(syscall(SYS_renameat2, AT_FDCWD, "n1", AT_FDCWD, "n3", 1));
    T(syscall(SYS_renameat2, AT_FDCWD, "n2", AT_FDCWD, "n3", 2));
    show("n2"), show("n3");
    T(syscall(SYS_renameat2, AT_FDCWD, "n2", AT_FDCWD, "none", 2));
    T(syscall(SYS_renameat2, AT_FDCWD, "n2", AT_FDCWD, "n3", 3));
    T(syscall(SYS_renameat2, AT_FDCWD, "n2", AT_FDCWD, "n3", 0x80));
    T(rename("n2", "/dev/shm/n2"));
    T(rename("/", "root"));
    symlink("n3", "sl");
    T(rename("sl", "n2"));
    show("n2");
}

static void lengths(void)
{
    static char name[5000];

    memset(name, 'n', 255);
    T(open(name, O_CREAT | O_WRONLY, 0600) >= 0);
    T(unlink(name));
    name[255] = 'n';
    T(open(name, O_CREAT | O_WRONLY, 0600));
    T(mkdir(name, 0700));
    T(access(name, F_OK));
    T(rename("n3", name));
    T(symlink("x", name));
    memset(name, 0, sizeof name);
    for (int i = 0; i < 4094; i += 2)
        memcpy(name + i, "./", 2);
    name[4094] = '.';
    V(strlen(name));
    T(access(name, F_OK));
    strcat(name, "/");
    T(access(name, F_OK));
    T(symlink(name, "toolong"));
    T(access(WILD, F_OK));
}

int main(void)
{
    hard();
    symbolic();
    renaming();
    lengths();
    return 0;
}
