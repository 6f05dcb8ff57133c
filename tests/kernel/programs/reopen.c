// SPDX-License-Identifier: Apache-2.0
// What /proc/self/fd/N leads to: pipes and fifos opened anew, sockets and others that cannot be; times of mapped files; O_DIRECT.
// oracle: libc=musl cwd=/scratch,/tmp
#include "oracle.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static const char *link_of(int fd)
{
    static char path[32];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

static void pipes(void)
{
    char buffer[16] = "";
    struct stat a, b;
    int ends[2], reader, writer, both;

    MUST(pipe(ends));
    MUST(fstat(ends[0], &a));
    MUST(stat(link_of(ends[0]), &b));
    V(a.st_ino == b.st_ino);
    V(S_ISFIFO(b.st_mode));
    OK(writer = open(link_of(ends[0]), O_WRONLY));
    OK(reader = open(link_of(ends[1]), O_RDONLY | O_NONBLOCK));
    OK(both = open(link_of(ends[1]), O_RDWR));
    T(write(writer, "hello", 5));
    T(read(reader, buffer, sizeof buffer));
    dump("read", buffer, 5);
    T(read(reader, buffer, sizeof buffer));
    MUST(fstat(writer, &b));
    V(a.st_ino == b.st_ino);
    V(b.st_mode);
    char shown[64], original[64];
    V(readlink(link_of(writer), shown, 64) == readlink(link_of(ends[0]), original, 64));
    close(ends[1]);
    close(both);
    T(write(writer, "more", 4));
    close(writer);
    T(read(ends[0], buffer, sizeof buffer));
    T(read(ends[0], buffer, sizeof buffer));
    close(ends[0]);
    T(read(reader, buffer, sizeof buffer));
    int keep = open(link_of(reader), O_PATH);
    V(keep >= 0);
    close(reader);
    close(keep);
    T(open(link_of(reader), O_RDONLY));
    T(open("/proc/self/fd/", O_RDONLY | O_NOFOLLOW) >= 0);
}

static void others(void)
{
    int pair[2], fd;
    struct stat st;

    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    T(open(link_of(pair[0]), O_RDWR));
    T(stat(link_of(pair[0]), &st));
    V(S_ISSOCK(st.st_mode));
    fd = eventfd(0, 0);
    T(open(link_of(fd), O_RDWR));
    T(stat(link_of(fd), &st));
    V(st.st_mode);
    fd = epoll_create1(0);
    T(open(link_of(fd), O_RDONLY));
    MUST(mkfifo("fifo", 0600));
    fd = open("fifo", O_RDWR);
    int second = open(link_of(fd), O_WRONLY | O_NONBLOCK);
    V(second >= 0);
    T(write(second, "x", 1));
    char c;
    T(read(fd, &c, 1));
    T(unlink("fifo"));
    OK(open(link_of(fd), O_RDONLY | O_NONBLOCK));
}

static long after(struct timespec a, struct timespec b)
{
    return b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec > a.tv_nsec);
}

static void mapped(void)
{
    struct stat before, now;
    int fd;

    put("mapped", "0123456789");
    nap(20);
    fd = open("mapped", O_RDWR);
    MUST(fstat(fd, &before));
    nap(20);
    char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(fstat(fd, &now));
    V(after(before.st_atim, now.st_atim));
    V(after(before.st_mtim, now.st_mtim));
    nap(20);
    p[3] = 'x';
    MUST(msync(p, PAGE, MS_SYNC));
    MUST(fstat(fd, &now));
    V(after(before.st_mtim, now.st_mtim));
    V(after(before.st_ctim, now.st_ctim));
    char *q = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    MUST(fstat(fd, &before));
    nap(20);
    q[0] = 'y';
    MUST(fstat(fd, &now));
    V(after(before.st_mtim, now.st_mtim));
    show("mapped");
}

static void direct(void)
{
    char *block = aligned_alloc(4096, 8192);
    int fd = open("direct", O_CREAT | O_RDWR | O_DIRECT, 0644);
    char cwd[16];

    V(fd >= 0);
    V(fcntl(fd, F_GETFL) & O_DIRECT ? 1 : 0);
    memset(block, 'd', 8192);
    T(write(fd, block, 8192));
    T(pread(fd, block, 4096, 4096));
    T(pread(fd, block, 4096, 8192));
    T(pread(fd, block, 8192, 4096));
    if (!strcmp(getcwd(cwd, sizeof cwd), "/scratch")) {
        T(pread(fd, block, 100, 0));
        T(pread(fd, block, 512, 100));
        T(pwrite(fd, block, 512, 7));
        T(pwrite(fd, block, 10, 0));
        T(pread(fd, block + 512, 512, 512));
        T(pwrite(fd, block + 512, 512, 512));
    }
    T(fcntl(fd, F_SETFL, 0));
    T(pread(fd, block + 1, 100, 1));
    T(fcntl(fd, F_SETFL, O_DIRECT));
    T(lseek(fd, 0, SEEK_END));
}

int main(void)
{
    pipes();
    others();
    mapped();
    direct();
    return 0;
}
