// SPDX-License-Identifier: Apache-2.0
// Walk, read, write, rename and remove all over a disk that may be corrupt: any error is an answer, not coming back is none.
#include "oracle.h"
#include <sys/statfs.h>

static long files, bytes, errors;
static char target;

static void read_all(const char *path)
{
    static char block[16384];
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    long got, here = 0;

    if (fd == -1) {
        errors++;
        return;
    }
    while (here < 4 << 20 && (got = read(fd, block, sizeof block)) > 0)
        here += got;
    bytes += here;
    char *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map != MAP_FAILED && here >= 4096)
        bytes += map[100] & 1;
    close(fd);
}

static void walk(const char *path, int depth)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char name[1024];
    int count = 0;

    if (!dir) {
        errors++;
        return;
    }
    while (depth < 6 && count++ < 2000 && (entry = readdir(dir))) {
        struct stat s;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (snprintf(name, sizeof name, "%s/%s", path, entry->d_name) >= (int)sizeof name || lstat(name, &s) == -1) {
            errors++;
            continue;
        }
        files++;
        if (S_ISDIR(s.st_mode))
            walk(name, depth + 1);
        else if (S_ISREG(s.st_mode))
            read_all(name);
        else if (S_ISLNK(s.st_mode) && readlink(name, &target, 1) == -1)
            errors++;
    }
    closedir(dir);
}

static void change(void)
{
    static char block[40000];
    char name[64];

    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "/scratch/new%d", i);
        int fd = open(name, O_CREAT | O_RDWR, 0644);
        if (fd == -1 || write(fd, block, sizeof block) == -1)
            errors++;
        close(fd);
    }
    errors -= mkdir("/scratch/dir", 0755) + rename("/scratch/new1", "/scratch/dir/moved") + unlink("/scratch/new2") + truncate("/scratch/new3", 5);
    errors -= unlink("/data/d1/f3") + truncate("/data/big", 1000) + rename("/data/d2", "/scratch/d2") + rmdir("/data/d1");
    int fd = open("/data/big", O_WRONLY | O_APPEND);
    errors += write(fd, block, sizeof block) == -1;
    close(fd);
    sync();
}

int main(void)
{
    struct statfs s;

    statfs("/", &s);
    walk("/data", 0);
    walk("/", 0);
    change();
    walk("/", 0);
    SAY("walked");
    return 0;
}
