// SPDX-License-Identifier: Apache-2.0
// O_ASYNC, F_SETOWN, F_SETSIG and SIGURG on sockets and pipes.
// oracle: libc=musl,glibc timeout=60
#include "loopback.h"
#include <arpa/inet.h>
#include <stdbool.h>
#include <sys/ioctl.h>

#ifndef F_SETOWN_EX
#define F_SETOWN_EX 15
#define F_GETOWN_EX 16
struct f_owner_ex {
    int type, pid;
};
#endif
#ifndef F_SETSIG
#define F_SETSIG 10
#define F_GETSIG 11
#endif
#ifndef FIOSETOWN
#define FIOSETOWN 0x8901
#define SIOCSPGRP 0x8902
#define FIOGETOWN 0x8903
#define SIOCGPGRP 0x8904
#endif
#define REALTIME (SIGRTMIN + 3)

static sigset_t all;

// The signals that come within a moment, each sort once.
static void signals(const char *when)
{
    struct timespec moment = {0, 150000000};
    siginfo_t i;
    int last = 0, code = 0;

    for (;;) {
        int s = sigtimedwait(&all, &i, &moment);
        if (s < 0 && errno == EINTR)
            continue;
        if (s < 0)
            break;
        moment.tv_nsec = 20000000;
        if (s == last && i.si_code == code)
            continue;
        last = s;
        code = i.si_code;
        if (s == REALTIME)
            SAY("%s: real-time, code %d band %#lx", when, i.si_code, i.si_band);
        else
            SAY("%s: %s code %s", when, s == SIGIO ? "SIGIO" : s == SIGURG ? "SIGURG" : s == SIGPIPE ? "SIGPIPE" : "other",
                i.si_code == SI_KERNEL ? "kernel" : "other");
    }
    if (!last)
        SAY("%s: none", when);
}

static void async(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    MUST(fcntl(fd, F_SETFL, on ? flags | O_ASYNC : flags & ~O_ASYNC));
}

static void owners(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0), v = -1;
    struct f_owner_ex o = {9, 9};

    T(fcntl(fd, F_GETOWN));
    T(fcntl(fd, F_SETOWN, 12345678));
    T(fcntl(fd, F_SETOWN, -12345678));
    T(fcntl(fd, F_SETOWN, INT_MIN));
    T(fcntl(fd, F_SETOWN, getpid()));
    V(fcntl(fd, F_GETOWN) == getpid());
    T(fcntl(fd, F_GETOWN_EX, &o));
    V(o.type);
    V(o.pid == getpid());
    o.type = 3;
    T(fcntl(fd, F_SETOWN_EX, &o));
    o.type = 0;
    o.pid = gettid();
    T(fcntl(fd, F_SETOWN_EX, &o));
    o.type = 7;
    T(fcntl(fd, F_GETOWN_EX, &o));
    V(o.type);
    o.pid = 12345678;
    T(fcntl(fd, F_SETOWN_EX, &o));
    T(fcntl(fd, F_SETOWN_EX, NULL));
    T(fcntl(fd, F_SETOWN, 0));
    T(fcntl(fd, F_GETOWN));
    v = getpid();
    T(ioctl(fd, FIOSETOWN, &v));
    v = 0;
    T(ioctl(fd, SIOCGPGRP, &v));
    V(v == getpid());
    v = 0;
    T(ioctl(fd, SIOCSPGRP, &v));
    v = 5;
    T(ioctl(fd, FIOGETOWN, &v));
    V(v);
    T(fcntl(fd, F_GETSIG));
    T(fcntl(fd, F_SETSIG, 65));
    T(fcntl(fd, F_SETSIG, SIGUSR1));
    T(fcntl(fd, F_GETSIG) == SIGUSR1);
    v = 1;
    T(ioctl(fd, FIOASYNC, &v));
    T(!!(fcntl(fd, F_GETFL) & O_ASYNC));
    v = 0;
    T(ioctl(fd, FIOASYNC, &v));
    T(!!(fcntl(fd, F_GETFL) & O_ASYNC));
    close(fd);
    fd = open("/dev/null", O_RDWR);
    v = 1;
    T(ioctl(fd, FIOASYNC, &v));
    T(fcntl(fd, F_SETFL, O_ASYNC));
    close(fd);
}

static void pipes(void)
{
    static char big[65536];
    int p[2];

    MUST(pipe2(p, O_NONBLOCK));
    async(p[0], true);
    MUST(write(p[1], "a", 1));
    signals("pipe without an owner");
    MUST(fcntl(p[0], F_SETOWN, getpid()));
    MUST(read(p[0], big, 1));
    MUST(write(p[1], "a", 1));
    signals("pipe written");
    MUST(fcntl(p[0], F_SETSIG, REALTIME));
    MUST(read(p[0], big, 1));
    MUST(write(p[1], "a", 1));
    signals("pipe written, F_SETSIG");
    async(p[0], false);
    MUST(write(p[1], "a", 1));
    signals("pipe written, off");
    MUST(fcntl(p[1], F_SETOWN, getpid()));
    MUST(fcntl(p[1], F_SETSIG, REALTIME));
    async(p[1], true);
    while (write(p[1], big, 4096) > 0)
        ;
    signals("pipe full");
    while (read(p[0], big, sizeof big) > 0)
        ;
    signals("pipe drained");
    async(p[1], false);
    async(p[0], true);
    close(p[1]);
    signals("pipe's writer closed");
    close(p[0]);
}

static void datagrams(void)
{
    int r = socket(AF_INET, SOCK_DGRAM, 0), s = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = here(r);
    socklen_t n = sizeof a;
    char b[16];

    MUST(fcntl(r, F_SETOWN, getpid()));
    async(r, true);
    signals("UDP, nothing yet");
    MUST(sendto(s, "x", 1, 0, (struct sockaddr *)&a, n));
    signals("UDP came");
    MUST(fcntl(r, F_SETSIG, REALTIME));
    MUST(sendto(s, "x", 1, 0, (struct sockaddr *)&a, n));
    signals("UDP came, F_SETSIG");
    T(recv(r, b, sizeof b, 0));
    close(r);
    close(s);
}

static void streams(void)
{
    int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), s;
    struct sockaddr_in a = here(l);
    socklen_t n = sizeof a;
    char b[16];

    MUST(listen(l, 4));
    MUST(fcntl(l, F_SETOWN, getpid()));
    MUST(fcntl(l, F_SETSIG, REALTIME));
    async(l, true);
    MUST(connect(c, (struct sockaddr *)&a, n));
    signals("a connection came");
    MUST(s = accept(l, NULL, NULL));
    V(fcntl(s, F_GETOWN));
    V(fcntl(s, F_GETFL) & O_ASYNC);
    close(l);
    MUST(send(c, "a", 1, MSG_OOB));
    signals("urgent, no owner");
    MUST(fcntl(s, F_SETOWN, getpid()));
    MUST(send(c, "bc", 2, MSG_OOB));
    signals("urgent");
    T(recv(s, b, 1, MSG_OOB));
    V(b[0]);
    async(s, true);
    MUST(send(c, "d", 1, 0));
    signals("data");
    MUST(send(c, "e", 1, MSG_OOB));
    signals("urgent, O_ASYNC");
    MUST(fcntl(s, F_SETSIG, REALTIME));
    MUST(send(c, "f", 1, 0));
    signals("data, F_SETSIG");
    MUST(shutdown(c, SHUT_WR));
    signals("the end");
    close(c);
    close(s);
}

static void local(void)
{
    int p[2];

    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    MUST(fcntl(p[0], F_SETOWN, getpid()));
    async(p[0], true);
    MUST(write(p[1], "x", 1));
    signals("AF_UNIX data");
    MUST(fcntl(p[0], F_SETSIG, REALTIME));
    MUST(write(p[1], "x", 1));
    signals("AF_UNIX data, F_SETSIG");
    close(p[0]);
    close(p[1]);
}

static void *other(void *arg)
{
    (void)arg;
    signals("other thread");
    return NULL;
}

// Only the thread that owns the file hears of it.
static void by_thread(void)
{
    struct f_owner_ex o = {0, gettid()};
    pthread_t t;
    int p[2];

    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    MUST(fcntl(p[0], F_SETOWN_EX, &o));
    async(p[0], true);
    MUST(write(p[1], "x", 1));
    pthread_create(&t, NULL, other, NULL);
    pthread_join(t, NULL);
    signals("owner thread");
    close(p[0]);
    close(p[1]);
}

int main(void)
{
    sigemptyset(&all);
    sigaddset(&all, SIGIO);
    sigaddset(&all, SIGURG);
    sigaddset(&all, SIGUSR1);
    sigaddset(&all, SIGPIPE);
    sigaddset(&all, REALTIME);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    owners();
    pipes();
    datagrams();
    streams();
    local();
    by_thread();
    return 0;
}
