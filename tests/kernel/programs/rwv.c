// SPDX-License-Identifier: Apache-2.0
// pread, pwrite, readv, writev, preadv2 and friends, with their limits and faults.
// oracle: libc=musl cwd=/scratch,/tmp
#include "oracle.h"

static void positioned(void)
{
    char buffer[16] = "";
    int fd = open("p", O_CREAT | O_TRUNC | O_RDWR, 0600), ends[2];

    T(pwrite(fd, "abcdef", 6, 10));
    T(pread(fd, buffer, 16, 8));
    dump("read", buffer, 8);
    T(lseek(fd, 0, SEEK_CUR));
    T(pread(fd, buffer, 16, 16));
    T(pread(fd, buffer, 16, 100));
    T(pread(fd, buffer, 16, -1));
    T(pwrite(fd, buffer, 16, -1));
    pipe(ends);
    T(pread(ends[0], buffer, 1, 0));
    T(pwrite(ends[1], buffer, 1, 0));
    T(pread(ends[1], buffer, 1, 0));
    close(fd);
    fd = open("p", O_WRONLY | O_APPEND);
    T(pwrite(fd, "Z", 1, 0));
    close(fd);
    show("p");
    close(ends[0]), close(ends[1]);
}

static void vectors(void)
{
    char a[4], b[4], c[8] = "";
    struct iovec out[] = {{"one", 3}, {"", 0}, {"twotwo", 6}, {NULL, 0}};
    struct iovec in[] = {{a, 4}, {b, 4}, {c, 8}};
    int fd = open("v", O_CREAT | O_TRUNC | O_RDWR, 0600);

    T(writev(fd, out, 4));
    show("v");
    T(lseek(fd, 0, SEEK_SET));
    T(readv(fd, in, 3));
    dump("a", a, 4), dump("b", b, 4), dump("c", c, 1);
    T(writev(fd, out, 0));
    T(writev(fd, out, -1));
    T(writev(fd, out, 1025));
    T(readv(fd, WILD, 2));
    T(readv(fd, in, 0));
    T(readv(99, in, 3));
    struct iovec bad[] = {{"good", 4}, {WILD, 4}};
    T(writev(fd, bad, 2));
    struct iovec worst[] = {{WILD, 4}, {"good", 4}};
    T(writev(fd, worst, 2));
    struct iovec huge[] = {{a, SSIZE_MAX}, {b, SSIZE_MAX}};
    T(lseek(fd, 0, SEEK_END));
    T(readv(fd, huge, 2));
    struct iovec negative[] = {{a, (size_t)-1}};
    T(readv(fd, negative, 1));
    static struct iovec thousand[1024];
    static char bytes[1024];
    for (int i = 0; i < 1024; i++)
        thousand[i] = (struct iovec){bytes + i, 1};
    memset(bytes, 'k', sizeof bytes);
    T(writev(fd, thousand, 1024));
    T(preadv(fd, in, 3, 1));
    dump("a", a, 4);
    T(pwritev(fd, out, 4, 2));
    T(preadv(fd, in, 3, -1));
    T(pwritev(fd, out, 4, -1));
    T(lseek(fd, 0, SEEK_CUR));
    close(fd);
}

static void second_versions(void)
{
    char a[8] = "";
    struct iovec in[] = {{a, 8}}, out[] = {{"second", 6}};
    int fd = open("v2", O_CREAT | O_TRUNC | O_RDWR, 0600);

    T(syscall(SYS_pwritev2, fd, out, 1, 0L, 0L, 0));
    T(syscall(SYS_pwritev2, fd, out, 1, -1L, -1L, 0));
    T(lseek(fd, 0, SEEK_CUR));
    T(syscall(SYS_pwritev2, fd, out, 1, 0L, 0L, 0x10));
    T(syscall(SYS_preadv2, fd, in, 1, 0L, 0L, 0));
    dump("a", a, 8);
    T(syscall(SYS_preadv2, fd, in, 1, 3L, 0L, 0x40000000));
    T(lseek(fd, 0, SEEK_END));
    close(fd);
}

static void faults(void)
{
    char *page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = open("edge", O_CREAT | O_TRUNC | O_RDWR, 0600);

    mprotect(page + PAGE, PAGE, PROT_NONE);
    memset(page, 'e', PAGE);
    T(write(fd, page, PAGE));
    T(write(fd, page + PAGE, 10));
    T(lseek(fd, 0, SEEK_SET));
    T(read(fd, page + PAGE, 10));
    T(lseek(fd, 0, SEEK_CUR));
    T(read(fd, WILD, 10));
    T(read(fd, KERNEL_ADDRESS, 10));
    T(write(fd, KERNEL_ADDRESS, 10));
    T(read(fd, (void *)-1, 10));
    T(lseek(fd, 0, SEEK_END));
    T(read(fd, WILD, 10));
    T(read(fd, page, SSIZE_MAX));
    T(read(fd, page, (size_t)-1));
    T(write(fd, page, (size_t)-1));
    mprotect(page, PAGE, PROT_READ);
    T(lseek(fd, 0, SEEK_SET));
    T(read(fd, page, 10));
    T(write(fd, page, 10));
    close(fd);
}

int main(void)
{
    positioned();
    vectors();
    second_versions();
    faults();
    return 0;
}
