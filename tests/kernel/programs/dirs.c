// SPDX-License-Identifier: Apache-2.0
// mkdir, rmdir, readdir by getdents64, seekdir, and what may not be removed.
// oracle: libc=musl,glibc cwd=/scratch,/tmp disk=4k,1k
#include "oracle.h"

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *path)
{
    char *names[600];
    int count = 0;
    DIR *dir = opendir(path);

    if (!dir) {
        printf("opendir %s: %s\n", path, errname(errno));
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        char text[300];
        snprintf(text, sizeof text, "%s type %d", entry->d_name, entry->d_type);
        names[count++] = strdup(text);
    }
    closedir(dir);
    qsort(names, count, sizeof *names, by_name);
    printf("%s: %d entries\n", path, count);
    for (int i = 0; i < count; i++) {
        if (count < 20 || i % 50 == 0)
            printf("  %s\n", names[i]);
        free(names[i]);
    }
}

static void making(void)
{
    struct stat status;

    T(mkdir("d", 0755));
    T(mkdir("d", 0755));
    T(mkdir("d/e/f", 0755));
    T(mkdir("d/e", 0700));
    T(mkdir("d/e/", 0700));
    T(mkdir("", 0700));
    T(mkdir(".", 0700));
    T(mkdir("/", 0700));
    stat("d", &status);
    V(status.st_nlink);
    put("d/file", "x");
    T(mkdir("d/file", 0700));
    T(mkdir("d/file/g", 0700));
    symlink("nowhere", "d/dangling");
    T(mkdir("d/dangling", 0700));
    mkfifo("d/fifo", 0600);
    list("d");
    T(rmdir("d"));
    T(rmdir("d/file"));
    T(rmdir("d/none"));
    T(rmdir("d/e/."));
    T(rmdir("d/e/.."));
    T(rmdir("/"));
    T(unlink("d/e"));
    T(unlink("d"));
    T(rmdir("d/e/"));
    stat("d", &status);
    V(status.st_nlink);
    list("d");
    list("none");
    list("d/file");
}

static void many(void)
{
    char name[64];

    MUST(mkdir("many", 0755));
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "many/file-with-a-rather-long-name-%03d", i);
        int fd = open(name, O_CREAT | O_WRONLY, 0644);
        if (fd == -1) {
            printf("%s: %s\n", name, errname(errno));
            return;
        }
        close(fd);
    }
    list("many");
    for (int i = 0; i < 500; i += 2) {
        snprintf(name, sizeof name, "many/file-with-a-rather-long-name-%03d", i);
        unlink(name);
    }
    list("many");
}

static void raw(void)
{
    char buffer[1024];
    int fd = open("many", O_RDONLY | O_DIRECTORY), total = 0;
    long length;

    T(syscall(SYS_getdents64, fd, buffer, 8));
    while ((length = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < length; total++) {
            struct dirent64 *entry = (void *)(buffer + at);
            if (entry->d_reclen % 8 || entry->d_reclen < 24)
                printf("odd record length %d\n", entry->d_reclen);
            at += entry->d_reclen;
        }
    V(total);
    T(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    T(lseek(fd, 0, SEEK_SET));
    OK(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    T(syscall(SYS_getdents64, fd, WILD, sizeof buffer));
    T(syscall(SYS_getdents64, 0, buffer, sizeof buffer));
    T(syscall(SYS_getdents64, 77, buffer, sizeof buffer));
    T(read(fd, buffer, 10));
    T(write(fd, buffer, 10));
    close(fd);
}

static void positions(void)
{
    DIR *dir = opendir("many");
    char first[256];

    readdir(dir);
    readdir(dir);
    long place = telldir(dir);
    strcpy(first, readdir(dir)->d_name);
    readdir(dir);
    seekdir(dir, place);
    V(strcmp(first, readdir(dir)->d_name));
    rewinddir(dir);
    int count = 0;
    while (readdir(dir))
        count++;
    V(count);
    closedir(dir);
}

static void removed_underfoot(void)
{
    MUST(mkdir("gone", 0755));
    int fd = open("gone", O_RDONLY | O_DIRECTORY);
    char buffer[256];

    T(chdir("gone"));
    T(rmdir("../gone"));
    T(open("file", O_CREAT | O_WRONLY, 0600));
    T(mkdir("sub", 0700));
    T(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    T(access(".", F_OK));
    T(syscall(SYS_getcwd, buffer, sizeof buffer));
    T(chdir(".."));
    close(fd);
}

int main(void)
{
    making();
    many();
    raw();
    positions();
    removed_underfoot();
    return 0;
}
