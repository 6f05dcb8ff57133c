// SPDX-License-Identifier: Apache-2.0
// fallocate: growing, keeping the size, punching holes. On tmpfs, because Linux's ext2 refuses it (Uni's does not).
// oracle: libc=musl cwd=/tmp
#include "oracle.h"
#include <linux/falloc.h>

static long size_of(int fd)
{
    struct stat s;

    return fstat(fd, &s) == -1 ? -1 : (long)s.st_size;
}

static void allocation(void)
{
    struct stat s;
    int fd = open("f", O_CREAT | O_TRUNC | O_RDWR, 0600);

    long plain = syscall(SYS_fallocate, fd, 0, 0, 20000);
    if (plain == -1)
        SAY("fallocate: %s", errname(errno));
    else
        V(size_of(fd));
    E(posix_fallocate(fd, 0, 30000));
    V(size_of(fd));
    fstat(fd, &s);
    V(s.st_blocks >= 59);
    T(syscall(SYS_fallocate, fd, 0, -1, 5));
    T(syscall(SYS_fallocate, fd, 0, 0, 0));
    T(syscall(SYS_fallocate, 99, 0, 0, 5));
    T(syscall(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE, 0, 5));
    close(fd);
    fd = open("f", O_RDONLY);
    T(syscall(SYS_fallocate, fd, 0, 0, 5));
    close(fd);
}

static void punching(void)
{
    char buffer[8] = "";
    int fd = open("p", O_CREAT | O_TRUNC | O_RDWR, 0600);

    for (int i = 0; i < 5; i++)
        pwrite(fd, "data", 4, i * 4096);
    T(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192));
    T(pread(fd, buffer, 4, 4096));
    dump("punched", buffer, 4);
    T(pread(fd, buffer, 4, 12288));
    dump("kept", buffer, 4);
    T(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 12289, 2));
    T(pread(fd, buffer, 4, 12288));
    dump("partly", buffer, 4);
    T(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100000));
    V(size_of(fd));
    T(fallocate(fd, 0x1000, 0, 4096));
    close(fd);
}

int main(void)
{
    allocation();
    punching();
    return 0;
}
