// SPDX-License-Identifier: Apache-2.0
// truncate, ftruncate, holes with SEEK_DATA and SEEK_HOLE, files of several gigabytes that hold little.
// oracle: libc=musl cwd=/scratch,/tmp disk=4k,1k
#include "oracle.h"
#include <sys/resource.h>

static long size_of(int fd)
{
    struct stat s;

    return fstat(fd, &s) == -1 ? -1 : (long)s.st_size;
}

static void cutting(void)
{
    char buffer[32] = "";
    int fd;

    put("t", "0123456789");
    T(truncate("t", 4));
    show("t");
    T(truncate("t", 8));
    show("t");
    T(truncate("t", -1));
    T(truncate("none", 0));
    T(truncate(".", 0));
    T(truncate("", 0));
    fd = open("t", O_RDONLY);
    T(ftruncate(fd, 1));
    close(fd);
    T(ftruncate(fd, 1));
    fd = open("t", O_RDWR);
    T(ftruncate(fd, -5));
    for (int i = 0; i < 10000; i++)
        pwrite(fd, "ABCDEFGH", 8, i * 8L);
    T(ftruncate(fd, 5001));
    T(ftruncate(fd, 9000));
    T(pread(fd, buffer, 10, 4996));
    dump("round the cut", buffer, 10);
    V(size_of(fd));
    T(lseek(fd, 0, SEEK_CUR));
    close(fd);
    int ends[2];
    pipe(ends);
    T(ftruncate(ends[1], 0));
    fd = open("/dev/null", O_RDWR);
    T(ftruncate(fd, 0));
}

static void holes(void)
{
    char byte = 1;
    int fd = open("h", O_CREAT | O_TRUNC | O_RDWR, 0600);

    T(lseek(fd, 0, SEEK_DATA));
    T(lseek(fd, 0, SEEK_HOLE));
    T(pwrite(fd, "data", 4, 65536));
    fsync(fd);
    T(lseek(fd, 0, SEEK_DATA));
    T(lseek(fd, 0, SEEK_HOLE));
    T(lseek(fd, 65536, SEEK_HOLE));
    T(lseek(fd, 65537, SEEK_DATA));
    T(lseek(fd, 65540, SEEK_DATA));
    T(lseek(fd, 65540, SEEK_HOLE));
    T(lseek(fd, 70000, SEEK_HOLE));
    T(lseek(fd, -1, SEEK_DATA));
    T(pread(fd, &byte, 1, 30000));
    V(byte);
    close(fd);
}

static void large(void)
{
    char buffer[8] = "";
    int fd = open("big", O_CREAT | O_TRUNC | O_RDWR, 0600);
    struct stat s;

    T(pwrite(fd, "far", 3, 3000000000));
    V(size_of(fd));
    T(pread(fd, buffer, 8, 2999999999));
    dump("far", buffer, 4);
    fsync(fd);
    fstat(fd, &s);
    V(s.st_blocks < 100);
    T(ftruncate(fd, 2500000000));
    T(pread(fd, buffer, 8, 2999999999));
    T(ftruncate(fd, 100));
    fstat(fd, &s);
    V(s.st_size);
    T(pwrite(fd, "x", 1, 70000));
    T(pwrite(fd, "x", 1, 5000000));
    T(pread(fd, buffer, 2, 4999999));
    dump("double", buffer, 2);
    close(fd);
    T(unlink("big"));
}

static void limit(void)
{
    struct rlimit small = {1000, 2000};
    int fd = open("limited", O_CREAT | O_TRUNC | O_RDWR, 0600);
    static char data[1500];

    signal(SIGXFSZ, SIG_IGN);
    T(setrlimit(RLIMIT_FSIZE, &small));
    T(write(fd, data, sizeof data));
    T(write(fd, data, 1));
    T(ftruncate(fd, 1001));
    T(ftruncate(fd, 10));
    T(pwrite(fd, data, 1, 999));
    T(pwrite(fd, data, 1, 1000));
}

int main(void)
{
    cutting();
    holes();
    large();
    limit();
    return 0;
}
