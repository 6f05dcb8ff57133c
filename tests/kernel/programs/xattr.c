// SPDX-License-Identifier: Apache-2.0
// Extended attributes: names, sizes, flags, kinds of files, permissions; many of them and large ones.
// oracle: libc=musl cwd=/scratch,/tmp disk=4k,1k
#include "oracle.h"
#include <sys/xattr.h>

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// The order of a list is the file system's own.
static void listed(const char *path)
{
    static char names[65536];
    char *sorted[256];
    int n = 0;
    ssize_t length = llistxattr(path, names, sizeof names);

    SAY("%s lists %zd", path, length);
    for (ssize_t at = 0; at < length; at += strlen(names + at) + 1)
        sorted[n++] = names + at;
    qsort(sorted, n, sizeof *sorted, by_name);
    for (int i = 0; i < n; i++)
        if (strncmp(sorted[i], "security.", 9) || strstr(sorted[i], "mine"))
            SAY("  %s", sorted[i]);
}

static void value(const char *path, const char *name)
{
    char buffer[64];
    ssize_t length = getxattr(path, name, buffer, sizeof buffer);

    oracle_show(name, length);
    dump("value", buffer, length);
}

static void basics(void)
{
    char buffer[16], long_name[300];
    int fd = open("file", O_RDWR | O_CREAT, 0644);

    listed("file");
    T(setxattr("file", "user.one", "first", 5, 0));
    T(setxattr("file", "user.one", "again", 5, XATTR_CREATE));
    T(setxattr("file", "user.two", "again", 5, XATTR_REPLACE));
    T(setxattr("file", "user.two", "second value", 12, XATTR_CREATE));
    T(setxattr("file", "user.one", "1st", 3, XATTR_REPLACE));
    T(fsetxattr(fd, "user.empty", "", 0, 0));
    T(setxattr("file", "user.both", "", 0, XATTR_CREATE | XATTR_REPLACE));
    T(setxattr("file", "user.one", "x", 1, XATTR_CREATE | XATTR_REPLACE));
    T(setxattr("file", "user.one", "x", 1, 4));
    value("file", "user.one");
    value("file", "user.two");
    value("file", "user.empty");
    value("file", "user.none");
    listed("file");
    T(getxattr("file", "user.two", NULL, 0));
    T(getxattr("file", "user.two", buffer, 11));
    T(getxattr("file", "user.two", WILD, 12));
    T(getxattr("file", WILD, buffer, 12));
    T(getxattr("nofile", "user.one", buffer, 12));
    T(getxattr("", "user.one", buffer, 12));
    T(fgetxattr(fd, "user.two", buffer, 12));
    T(fgetxattr(77, "user.two", buffer, 12));
    T(listxattr("file", NULL, 0));
    T(listxattr("file", buffer, 4));
    T(flistxattr(fd, WILD, 400));
    T(setxattr("file", "user.", "x", 1, 0));
    T(setxattr("file", "user", "x", 1, 0));
    T(setxattr("file", "", "x", 1, 0));
    T(setxattr("file", "nothing.x", "x", 1, 0));
    T(getxattr("file", "nothing.x", buffer, 16));
    T(setxattr("file", "user.x", WILD, 1, 0));
    T(setxattr("file", WILD, "x", 1, 0));
    T(setxattr("file", "user.x", "x", 65537, 0));
    memset(long_name, 'n', sizeof long_name);
    memcpy(long_name, "user.", 5);
    long_name[255] = 0;
    T(setxattr("file", long_name, "long", 4, 0));
    T(getxattr("file", long_name, buffer, 16));
    T(removexattr("file", long_name));
    long_name[255] = 'n';
    long_name[256] = 0;
    T(setxattr("file", long_name, "long", 4, 0));
    T(removexattr("file", "user.two"));
    T(removexattr("file", "user.two"));
    T(fremovexattr(fd, "user.empty"));
    T(removexattr("file", "nothing.x"));
    listed("file");
    close(fd);
    fd = open("file", O_PATH);
    T(fgetxattr(fd, "user.one", buffer, 16));
    T(fsetxattr(fd, "user.one", buffer, 16, 0));
    T(flistxattr(fd, buffer, 16));
    close(fd);
}

static void kinds(void)
{
    char buffer[16];
    struct stat before, after;

    T(mkdir("dir", 0755));
    T(symlink("file", "link"));
    T(mkfifo("fifo", 0644));
    T(setxattr("dir", "user.d", "dir", 3, 0));
    T(setxattr("link", "user.l", "to file", 7, 0));
    T(lsetxattr("link", "user.l", "own", 3, 0));
    T(lsetxattr("link", "trusted.l", "own", 3, 0));
    T(lgetxattr("link", "user.l", buffer, 16));
    T(lgetxattr("link", "trusted.l", buffer, 16));
    T(getxattr("link", "trusted.l", buffer, 16));
    T(setxattr("fifo", "user.f", "x", 1, 0));
    T(getxattr("fifo", "user.f", buffer, 16));
    T(removexattr("fifo", "user.f"));
    T(setxattr("fifo", "trusted.f", "x", 1, 0));
    T(setxattr("file", "security.mine", "x", 1, 0));
    listed("file");
    listed("dir");
    listed("link");
    listed("fifo");
    T(getxattr("/proc/self/status", "user.x", buffer, 16));
    T(setxattr("/proc/self/status", "user.x", buffer, 16, 0));
    T(listxattr("/proc/self/status", buffer, 16));
    MUST(stat("file", &before));
    nap(20);
    T(setxattr("file", "user.time", "x", 1, 0));
    MUST(stat("file", &after));
    V(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    V(before.st_ctim.tv_nsec == after.st_ctim.tv_nsec && before.st_ctim.tv_sec == after.st_ctim.tv_sec);
    V(after.st_size);
    V(readlink("link", buffer, 16));
}

static void many(void)
{
    char name[32], text[64], back[64];
    int bad = 0;

    put("many", "some text");
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "user.number%d", i * 7 % 10);
        snprintf(text, sizeof text, "the value of %d", i * 7 % 10);
        T(setxattr("many", name, text, strlen(text), 0));
    }
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "user.number%d", i);
        snprintf(text, sizeof text, "the value of %d", i);
        ssize_t n = getxattr("many", name, back, sizeof back);
        bad += n != (ssize_t)strlen(text) || memcmp(back, text, n);
    }
    V(bad);
    listed("many");
    for (int i = 0; i < 10; i += 2) {
        snprintf(name, sizeof name, "user.number%d", i);
        T(removexattr("many", name));
    }
    listed("many");
    show("many");
    T(rename("many", "moved"));
    listed("moved");
    T(link("moved", "second"));
    listed("second");
    T(unlink("moved"));
    T(unlink("second"));
    static char block[60000];
    put("large", "");
    T(setxattr("large", "user.large", block, 500, 0));
    T(setxattr("large", "user.larger", block, sizeof block, 0) == 0 || errno == ENOSPC || errno == E2BIG);
    listed("large");
}

static void plain_user(void)
{
    char buffer[64];

    put("theirs", "x");
    MUST(chmod("theirs", 0644));
    MUST(setxattr("theirs", "user.read", "me", 2, 0));
    MUST(setxattr("theirs", "trusted.hidden", "me", 2, 0));
    put("secret", "x");
    MUST(chmod("secret", 0600));
    MUST(setxattr("secret", "user.read", "me", 2, 0));
    MUST(mkdir("sticky", 0777));
    MUST(chmod("sticky", 01777));
    MUST(chmod(".", 0777));
    MUST(setresuid(65534, 65534, 65534));
    T(getxattr("theirs", "user.read", buffer, 64));
    T(setxattr("theirs", "user.read", "x", 1, 0));
    T(removexattr("theirs", "user.read"));
    T(getxattr("theirs", "trusted.hidden", buffer, 64));
    T(setxattr("theirs", "trusted.hidden", "x", 1, 0));
    T(setxattr("theirs", "security.mine", "x", 1, 0));
    listed("theirs");
    T(getxattr("secret", "user.read", buffer, 64));
    listed("secret");
    T(setxattr("sticky", "user.x", "x", 1, 0));
    put("own", "x");
    T(setxattr("own", "user.x", "x", 1, 0));
    value("own", "user.x");
}

int main(void)
{
    basics();
    kinds();
    many();
    plain_user();
    return 0;
}
