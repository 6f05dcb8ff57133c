// SPDX-License-Identifier: Apache-2.0
// Pointers that point nowhere, into the kernel, or at the edge of what may be touched, and absurd lengths, in many system calls.
// Each call must give an error; the program and the kernel must go on.
// oracle: libc=musl
#include "oracle.h"
#include <sys/epoll.h>
#include <sys/socket.h>

static void *places[4];
static const char *const names[] = {"null", "kernel", "noncanonical", "guarded"};
static int file, pipe_end[2], pair[2], ep;

// Memory-writing and memory-reading calls with the pointer as the given argument; sane values elsewhere.
static void each(const char *name, long number, int which, long a, long b, long c, long d, long e)
{
    printf("%s arg %d:", name, which);
    for (int i = 0; i < 4; i++) {
        long args[5] = {a, b, c, d, e};
        args[which] = (long)places[i];
        long result = syscall(number, args[0], args[1], args[2], args[3], args[4], 0L);
        printf(" %s %s", names[i], result == -1 ? errname(errno) : "ok");
    }
    putchar('\n');
}

#define EACH(call, which, ...) each(#call, SYS_##call, which, __VA_ARGS__)

static void files(void)
{
    EACH(open, 0, 0, O_RDONLY, 0, 0, 0);
    EACH(openat, 1, AT_FDCWD, 0, O_RDONLY, 0, 0);
    EACH(read, 1, file, 0, 10, 0, 0);
    EACH(write, 1, file, 0, 10, 0, 0);
    EACH(pread64, 1, file, 0, 10, 0, 0);
    EACH(pwrite64, 1, file, 0, 10, 0, 0);
    EACH(readv, 1, file, 0, 1, 0, 0);
    EACH(writev, 1, file, 0, 1, 0, 0);
    EACH(stat, 0, 0, (long)places, 0, 0, 0);
    EACH(fstat, 1, file, 0, 0, 0, 0);
    EACH(newfstatat, 1, AT_FDCWD, 0, (long)&places, 0, 0);
    EACH(newfstatat, 2, AT_FDCWD, (long)"/", 0, 0, 0);
    EACH(statx, 4, AT_FDCWD, (long)"/", 0, 0x7ff, 0);
    EACH(statfs, 1, (long)"/", 0, 0, 0, 0);
    EACH(fstatfs, 1, file, 0, 0, 0, 0);
    EACH(getdents64, 1, 0, 0, 100, 0, 0);
    EACH(access, 0, 0, 0, 0, 0, 0);
    EACH(chdir, 0, 0, 0, 0, 0, 0);
    EACH(getcwd, 0, 0, 100, 0, 0, 0);
    EACH(mkdir, 0, 0, 0755, 0, 0, 0);
    EACH(rmdir, 0, 0, 0, 0, 0, 0);
    EACH(unlink, 0, 0, 0, 0, 0, 0);
    EACH(rename, 0, 0, (long)"x", 0, 0, 0);
    EACH(rename, 1, (long)"wild", 0, 0, 0, 0);
    EACH(link, 1, (long)"wild", 0, 0, 0, 0);
    EACH(symlink, 0, 0, (long)"x", 0, 0, 0);
    EACH(readlink, 1, (long)"/proc/self/exe", 0, 10, 0, 0);
    EACH(chmod, 0, 0, 0644, 0, 0, 0);
    EACH(chown, 0, 0, 0, 0, 0, 0);
    EACH(truncate, 0, 0, 0, 0, 0, 0);
    EACH(utimensat, 1, AT_FDCWD, 0, 0, 0, 0);
    EACH(sendfile, 2, pair[0], file, 0, 10, 0);
    EACH(pipe, 0, 0, 0, 0, 0, 0);
    EACH(pipe2, 0, 0, 0, 0, 0, 0);
    EACH(fcntl, 2, file, F_GETLK, 0, 0, 0);
    EACH(ioctl, 2, pipe_end[0], 0x541b, 0, 0, 0);
}

static void time_and_signals(void)
{
    EACH(clock_gettime, 1, CLOCK_MONOTONIC, 0, 0, 0, 0);
    EACH(clock_nanosleep, 2, CLOCK_MONOTONIC, 0, 0, 0, 0);
    EACH(nanosleep, 0, 0, 0, 0, 0, 0);
    EACH(gettimeofday, 0, 0, 0, 0, 0, 0);
    EACH(setitimer, 1, 0, 0, 0, 0, 0);
    EACH(getitimer, 1, 0, 0, 0, 0, 0);
    EACH(timer_create, 2, 0, 0, 0, 0, 0);
    EACH(timerfd_settime, 2, 0, 0, 0, 0, 0);
    EACH(rt_sigaction, 1, SIGUSR1, 0, 0, 8, 0);
    EACH(rt_sigaction, 2, SIGUSR1, 0, 0, 8, 0);
    EACH(rt_sigprocmask, 1, SIG_BLOCK, 0, 0, 8, 0);
    EACH(rt_sigprocmask, 2, SIG_BLOCK, 0, 0, 8, 0);
    EACH(rt_sigpending, 0, 0, 8, 0, 0, 0);
    EACH(rt_sigtimedwait, 0, 0, 0, 0, 8, 0);
    EACH(sigaltstack, 0, 0, 0, 0, 0, 0);
    EACH(sigaltstack, 1, 0, 0, 0, 0, 0);
    EACH(futex, 0, 0, 1, 1, 0, 0);
}

static void waiting_and_sockets(void)
{
    EACH(poll, 0, 0, 1, 0, 0, 0);
    EACH(select, 1, 8, 0, 0, 0, (long)&(struct timeval){0, 0});
    EACH(epoll_ctl, 3, ep, EPOLL_CTL_ADD, pipe_end[0], 0, 0);
    EACH(epoll_wait, 1, ep, 0, 1, 0, 0);
    EACH(socketpair, 3, AF_UNIX, SOCK_STREAM, 0, 0, 0);
    EACH(bind, 1, pair[0], 0, 16, 0, 0);
    EACH(connect, 1, pair[0], 0, 16, 0, 0);
    EACH(getsockname, 1, pair[0], 0, (long)&(int){16}, 0, 0);
    EACH(getsockname, 2, pair[0], (long)places, 0, 0, 0);
    EACH(sendmsg, 1, pair[0], 0, 0, 0, 0);
    EACH(recvmsg, 1, pair[1], 0, MSG_DONTWAIT, 0, 0);
    EACH(sendto, 1, pair[0], 0, 10, 0, 0);
    write(pair[0], "data", 4);
    EACH(recvfrom, 1, pair[1], 0, 10, MSG_DONTWAIT, 0);
    EACH(setsockopt, 3, pair[0], SOL_SOCKET, SO_PASSCRED, 0, 4);
    EACH(getsockopt, 3, pair[0], SOL_SOCKET, SO_TYPE, 0, (long)&(int){4});
    EACH(getsockopt, 4, pair[0], SOL_SOCKET, SO_TYPE, (long)places, 0);
}

static void process(void)
{
    EACH(uname, 0, 0, 0, 0, 0, 0);
    EACH(sysinfo, 0, 0, 0, 0, 0, 0);
    EACH(getrusage, 1, 0, 0, 0, 0, 0);
    EACH(getrlimit, 1, 7, 0, 0, 0, 0);
    EACH(setrlimit, 1, 7, 0, 0, 0, 0);
    EACH(prlimit64, 3, 0, 7, 0, 0, 0);
    EACH(getrandom, 0, 0, 10, 0, 0, 0);
    EACH(sched_getaffinity, 2, 0, 8, 0, 0, 0);
    EACH(sched_setaffinity, 2, 0, 8, 0, 0, 0);
    EACH(getgroups, 1, 0, 0, 0, 0, 0);
    EACH(setgroups, 1, 1, 0, 0, 0, 0);
    EACH(getresuid, 0, 0, (long)places, (long)places, 0, 0);
    EACH(execve, 0, 0, 0, 0, 0, 0);
    EACH(mincore, 2, (long)places & -4096, 4096, 0, 0, 0);
    EACH(memfd_create, 0, 0, 0, 0, 0, 0);
    EACH(times, 0, 0, 0, 0, 0, 0);
    EACH(arch_prctl, 1, 0x1003, 0, 0, 0, 0);
    EACH(clone3, 0, 0, 64, 0, 0, 0);
}

static void lengths(void)
{
    static char buffer[64];
    const unsigned long sizes[] = {1UL << 31, 1UL << 40, 1UL << 63, -1UL, -4096UL};

    for (size_t i = 0; i < COUNT(sizes); i++) {
        unsigned long n = sizes[i];
        SAY("length %lx", n);
        T(syscall(SYS_read, file, WILD, n) == -1);
        T(syscall(SYS_write, file, WILD, n) == -1);
        T(syscall(SYS_writev, file, buffer, n));
        T(syscall(SYS_poll, buffer, n & 0xffffffff, 0));
        T(syscall(SYS_getcwd, WILD, n));
        T(syscall(SYS_readlink, "/proc/self/exe", WILD, n));
        T(syscall(SYS_getdents64, 0, WILD, n));
        T(syscall(SYS_getrandom, WILD, n, 0));
        T(syscall(SYS_sendto, pair[0], WILD, n, MSG_DONTWAIT, NULL, 0));
        T(syscall(SYS_setsockopt, pair[0], SOL_SOCKET, SO_PASSCRED, buffer, n));
        T(syscall(SYS_setgroups, n, buffer));
        T(syscall(SYS_epoll_wait, ep, WILD, n, 0));
        T(syscall(SYS_madvise, buffer, n, 4));
        T(syscall(SYS_mprotect, (long)buffer & -4096, n, 1));
        T(syscall(SYS_munmap, 0x10000, n));
        T(syscall(SYS_mlock, 0x10000, n));
        T(syscall(SYS_mincore, (long)buffer & -4096, n, buffer));
        T(syscall(SYS_sched_setaffinity, 0, n, WILD));
        T(syscall(SYS_fallocate, file, 0, n, n));
        T(syscall(SYS_ftruncate, file, n) == -1 || ftruncate(file, 0) == 0);
    }
}

int main(void)
{
    places[0] = NULL;
    places[1] = KERNEL_ADDRESS;
    places[2] = (void *)0x8000000000000000;
    places[3] = guard_page();
    put("wild", "some contents to read");
    file = open("wild", O_RDWR);
    pipe(pipe_end);
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    ep = epoll_create1(0);
    files();
    time_and_signals();
    waiting_and_sockets();
    process();
    lengths();
    SAY("alive");
    return 0;
}
