// SPDX-License-Identifier: Apache-2.0
// A full disk: errors, nothing lost of what was there, and room again after files are removed.
// oracle: libc=musl cwd=/scratch,/small disk=4k,1k config=uni.mount=tmpfs:/small:size=1M memory=192
#include "oracle.h"
#include <sys/statfs.h>

static char block[65536];

static long fill(const char *path)
{
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    long total = 0, done;

    if (fd == -1)
        return -1;
    while ((done = write(fd, block, sizeof block)) > 0)
        total += done;
    while ((done = write(fd, block, 512)) > 0)
        total += done;
    SAY("full: %s", errname(errno));
    T(fsync(fd));
    T(close(fd));
    return total;
}

int main(void)
{
    struct statfs before, full, after;

    memset(block, 'F', sizeof block);
    put("kept", "this stays");
    T(statfs(".", &before));
    long total = fill("filler");
    V(total >= 900000);
    T(statfs(".", &full));
    V(full.f_bavail < 8);
    struct stat s;
    T(stat("filler", &s));
    V(s.st_size == total);
    T(mkdir("directory", 0755) == 0 || errno == ENOSPC);
    int fd = open("another", O_CREAT | O_WRONLY, 0600);
    if (fd != -1) {
        T(write(fd, block, sizeof block) < (long)sizeof block);
        T(write(fd, block, sizeof block));
        close(fd);
    }
    fd = open("filler", O_RDWR);
    T(pwrite(fd, "overwrite", 9, 1000));
    close(fd);
    show("kept");
    T(unlink("filler"));
    unlink("another");
    rmdir("directory");
    T(statfs(".", &after));
    V(after.f_bfree + 4 >= before.f_bfree);
    total = fill("again");
    V(total >= 900000);
    fd = open("again", O_RDONLY);
    long wrong = 0, got;
    while ((got = read(fd, block, sizeof block)) > 0)
        for (long i = 0; i < got; i++)
            wrong += block[i] != 'F';
    V(wrong);
    T(unlink("again"));
    return 0;
}
