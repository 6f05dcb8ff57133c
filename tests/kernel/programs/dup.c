// SPDX-License-Identifier: Apache-2.0
// dup, dup2, dup3, fcntl's commands, close_range, exhausted descriptors.
// oracle: libc=musl
#include "oracle.h"
#include <sys/resource.h>

static void copies(void)
{
    put("f", "0123456789");
    int fd = T(open("f", O_RDWR)), copy = T(dup(fd));
    char byte;

    read(fd, &byte, 1);
    T(lseek(copy, 0, SEEK_CUR));
    T(dup2(fd, 10));
    T(dup2(fd, fd));
    T(dup2(99, 99));
    T(dup2(99, 5));
    T(dup2(fd, -1));
    T(dup2(fd, 5000));
    T(dup3(fd, 11, O_CLOEXEC));
    T(fcntl(11, F_GETFD));
    T(fcntl(10, F_GETFD));
    T(dup3(fd, fd, 0));
    T(dup3(fd, 12, O_APPEND));
    T(dup(99));
    T(dup(-1));
    T(fcntl(fd, F_DUPFD, 20));
    T(fcntl(fd, F_DUPFD_CLOEXEC, 20));
    T(fcntl(21, F_GETFD));
    T(fcntl(fd, F_DUPFD, -1));
    T(fcntl(fd, F_DUPFD, 5000));
    T(close(fd));
    T(read(copy, &byte, 1));
    V(byte);
    T(dup2(copy, 10));
    T(read(10, &byte, 1));
    V(byte);
}

static void flags(void)
{
    int fd = open("f", O_RDWR | O_APPEND | O_CLOEXEC);

    V(fcntl(fd, F_GETFD));
    T(fcntl(fd, F_SETFD, 0));
    V(fcntl(fd, F_GETFD));
    T(fcntl(fd, F_SETFD, 0xff));
    V(fcntl(fd, F_GETFD));
    V((fcntl(fd, F_GETFL) & ~O_LARGEFILE) == (O_RDWR | O_APPEND));
    T(fcntl(fd, F_SETFL, O_NONBLOCK));
    V((fcntl(fd, F_GETFL) & ~O_LARGEFILE) == (O_RDWR | O_NONBLOCK));
    T(fcntl(fd, F_SETFL, O_WRONLY | O_CREAT | O_EXCL));
    V((fcntl(fd, F_GETFL) & ~O_LARGEFILE) == O_RDWR);
    T(fcntl(99, F_GETFL));
    T(fcntl(fd, 9999, 0));
    T(fcntl(fd, F_GETPIPE_SZ));
    int ends[2];
    T(pipe2(ends, O_CLOEXEC | O_NONBLOCK));
    V(fcntl(ends[0], F_GETFD));
    V(fcntl(ends[0], F_GETFL) == (O_RDONLY | O_NONBLOCK));
    V(fcntl(ends[1], F_GETFL) == (O_WRONLY | O_NONBLOCK));
    T(fcntl(ends[0], F_GETPIPE_SZ));
    T(fcntl(ends[0], F_SETPIPE_SZ, 5000));
    T(fcntl(ends[1], F_GETPIPE_SZ));
    T(pipe2(ends, 0x123));
    T(syscall(SYS_pipe2, WILD, 0));
    T(fcntl(fd, F_SETOWN, 0));
    T(fcntl(fd, F_GETOWN));
    T(fcntl(fd, F_SETSIG, 0));
    T(fcntl(fd, F_GETSIG));
}

static void ranges(void)
{
    for (int i = 30; i < 40; i++)
        dup2(0, i);
    T(syscall(SYS_close_range, 30, 34, 0));
    T(fcntl(34, F_GETFD));
    T(fcntl(35, F_GETFD));
    T(syscall(SYS_close_range, 35, 37, 4));
    T(fcntl(37, F_GETFD));
    T(fcntl(38, F_GETFD));
    T(syscall(SYS_close_range, 5, 3, 0));
    T(syscall(SYS_close_range, 3, 5, 0x80));
    T(syscall(SYS_close_range, 3, ~0U, 0));
    T(fcntl(39, F_GETFD));
    T(open("/dev/null", O_RDONLY));
    T(close(3));
}

static void exhausted(void)
{
    struct rlimit limit = {16, 16}, old;
    int ends[2] = {-7, -7}, fd, last = -1;

    getrlimit(RLIMIT_NOFILE, &old);
    limit.rlim_max = old.rlim_max;
    T(setrlimit(RLIMIT_NOFILE, &limit));
    while ((fd = open("/dev/null", O_RDONLY)) != -1)
        last = fd;
    SAY("last %d: %s", last, errname(errno));
    T(dup(0));
    T(pipe(ends));
    V(ends[0]);
    T(fcntl(0, F_DUPFD, 3));
    T(fcntl(0, F_DUPFD, 16));
    T(dup2(0, 15));
    T(dup2(0, 16));
    T(syscall(SYS_socket, 1, 1, 0));
    T(syscall(SYS_eventfd2, 0, 0));
    T(syscall(SYS_epoll_create1, 0));
    T(syscall(SYS_memfd_create, "m", 0));
    T(open("new", O_CREAT | O_WRONLY, 0600));
    T(access("new", F_OK));
    T(close(15));
    T(pipe(ends));
    T(open("/dev/null", O_RDONLY));
    limit.rlim_cur = 8;
    T(setrlimit(RLIMIT_NOFILE, &limit));
    T(fcntl(12, F_GETFD));
    T(close(7));
    T(open("/dev/null", O_RDONLY));
    T(open("/dev/null", O_RDONLY));
}

int main(void)
{
    copies();
    flags();
    ranges();
    exhausted();
    return 0;
}
