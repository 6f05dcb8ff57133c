// SPDX-License-Identifier: Apache-2.0
// signalfd: blocked signals read as records.
// oracle: libc=musl
#include "oracle.h"
#include <sys/signalfd.h>

static void *sender(void *arg)
{
    nap(30);
    kill(getpid(), SIGUSR2);
    return arg;
}

int main(void)
{
    struct signalfd_siginfo info[3];
    sigset_t set;
    pthread_t thread;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGRTMIN);
    T(sigprocmask(SIG_BLOCK, &set, NULL));
    int fd = T(signalfd(-1, &set, SFD_NONBLOCK));
    T(read(fd, info, sizeof *info));
    T(kill(getpid(), SIGUSR1));
    T(kill(getpid(), SIGUSR1));
    union sigval value = {.sival_int = 42};
    T(sigqueue(getpid(), SIGRTMIN, value));
    struct pollfd entry = {fd, POLLIN, 0};
    T(poll(&entry, 1, 0));
    T(read(fd, info, 10));
    T(read(fd, info, sizeof info));
    V(info[0].ssi_signo);
    V(info[0].ssi_code);
    V(info[0].ssi_pid == (uint32_t)getpid());
    V((int)info[1].ssi_signo - SIGRTMIN);
    V(info[1].ssi_code);
    V(info[1].ssi_int);
    T(read(fd, info, sizeof info));
    sigdelset(&set, SIGUSR1);
    T(signalfd(fd, &set, 0));
    kill(getpid(), SIGUSR1);
    T(poll(&entry, 1, 0));
    T(signalfd(0, &set, 0));
    T(signalfd(99, &set, 0));
    T(syscall(SYS_signalfd4, -1, &set, 8, 0x3));
    T(syscall(SYS_signalfd4, -1, &set, 7, 0));
    T(syscall(SYS_signalfd4, -1, WILD, 8, 0));
    int blocking = T(signalfd(-1, &set, 0));
    pthread_create(&thread, NULL, sender, NULL);
    T(read(blocking, info, sizeof info));
    V(info[0].ssi_signo);
    pthread_join(thread, NULL);
    sigset_t pending;
    T(sigpending(&pending));
    V(sigismember(&pending, SIGUSR1));
    V(sigismember(&pending, SIGUSR2));
    struct timespec zero = {0, 0};
    siginfo_t si;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    T(sigtimedwait(&set, &si, &zero));
    T(sigtimedwait(&set, &si, &zero));
    return 0;
}
