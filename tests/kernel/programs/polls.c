// SPDX-License-Identifier: Apache-2.0
// poll, ppoll, select, pselect6 on many kinds of descriptor.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <sys/select.h>
#include <sys/socket.h>

static void show_poll(const char *what, struct pollfd *set, int count, int timeout)
{
    int result = poll(set, count, timeout);

    printf("%s = %d %s", what, result, result == -1 ? errname(errno) : "");
    for (int i = 0; i < count; i++)
        printf(" %x", set[i].revents);
    putchar('\n');
}

static void polling(void)
{
    int ends[2], file = open("f", O_CREAT | O_RDWR, 0600), null = open("/dev/null", O_RDWR), pair[2];
    pipe(ends);
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    struct pollfd set[] = {{ends[0], POLLIN, 7}, {ends[1], POLLOUT, 7}, {file, POLLIN | POLLOUT | POLLPRI, 7},
                           {null, POLLIN | POLLOUT, 7}, {99, POLLIN, 7}, {-1, POLLIN, 7}, {pair[0], POLLIN | POLLOUT | POLLRDHUP, 7}};

    show_poll("fresh", set, 7, 0);
    write(ends[1], "x", 1);
    show_poll("written", set, 7, 0);
    close(pair[1]);
    show_poll("peer closed", set + 6, 1, 0);
    close(ends[1]);
    show_poll("writer closed", set, 1, 0);
    char byte;
    read(ends[0], &byte, 1);
    show_poll("drained", set, 1, 0);
    pipe(ends);
    set[0].fd = ends[1], set[0].events = POLLOUT;
    close(ends[0]);
    show_poll("reader closed", set, 1, 0);
    show_poll("none", set, 0, 10);
    T(syscall(SYS_poll, WILD, 1, 0));
    T(syscall(SYS_poll, set, 5000, 0));
    struct timespec short_time = {0, 10000000}, bad = {0, -1};
    T(ppoll(NULL, 0, &short_time, NULL));
    T(syscall(SYS_ppoll, NULL, 0, &bad, NULL, 8));
    T(syscall(SYS_ppoll, NULL, 0, &short_time, WILD, 8));
}

static void selecting(void)
{
    fd_set in, out, except;
    int ends[2];
    struct timeval zero = {0, 0}, some = {0, 20000};

    pipe(ends);
    FD_ZERO(&in); FD_ZERO(&out); FD_ZERO(&except);
    FD_SET(ends[0], &in); FD_SET(ends[1], &out); FD_SET(ends[0], &except);
    T(select(64, &in, &out, &except, &zero));
    V(FD_ISSET(ends[0], &in) != 0);
    V(FD_ISSET(ends[1], &out) != 0);
    write(ends[1], "x", 1);
    FD_ZERO(&in); FD_ZERO(&out);
    FD_SET(ends[0], &in);
    T(select(ends[0] + 1, &in, NULL, NULL, NULL));
    FD_ZERO(&in);
    T(select(0, NULL, NULL, NULL, &some));
    V(some.tv_sec + some.tv_usec);
    FD_SET(500, &in);
    T(select(501, &in, NULL, NULL, &zero));
    T(select(-1, NULL, NULL, NULL, &zero));
    some.tv_sec = -1;
    T(syscall(SYS_select, 0, NULL, NULL, NULL, &some));
    T(syscall(SYS_select, 64, WILD, NULL, NULL, &zero));
    int big = dup2(ends[0], 900);
    FD_ZERO(&in);
    FD_SET(big, &in);
    T(select(1024, &in, NULL, NULL, &zero));
    V(FD_ISSET(big, &in) != 0);
    close(ends[0]), close(ends[1]);
    FD_ZERO(&in);
    FD_SET(big, &in);
    T(pselect(1024, &in, NULL, NULL, NULL, NULL));
}

static volatile int handled;

static void handler(int number)
{
    handled = number;
}

static void *kicker(void *arg)
{
    nap(40);
    pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

static void masks(void)
{
    pthread_t self = pthread_self(), thread;
    sigset_t blocked, none;
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct timespec second = {5, 0};

    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&thread, NULL, kicker, &self);
    T(poll(NULL, 0, 5000));
    pthread_join(thread, NULL);
    V(handled);
    handled = 0;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    raise(SIGUSR1);
    T(poll(NULL, 0, 5));
    V(handled);
    T(ppoll(NULL, 0, &second, &none));
    V(handled);
    handled = 0;
    raise(SIGUSR1);
    T(pselect(0, NULL, NULL, NULL, &second, &none));
    V(handled);
}

int main(void)
{
    polling();
    selecting();
    masks();
    return 0;
}
