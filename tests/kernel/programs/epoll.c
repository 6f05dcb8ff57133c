// SPDX-License-Identifier: Apache-2.0
// epoll: level, edge, oneshot, exclusive, nested, errors.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static void wait_for(int ep, int timeout)
{
    struct epoll_event events[8];
    int count = epoll_wait(ep, events, 8, timeout);

    printf("epoll_wait = %d %s", count, count == -1 ? errname(errno) : "");
    for (int i = 0; i < count; i++)
        printf(" [%lu: %x]", (unsigned long)events[i].data.u64, events[i].events);
    putchar('\n');
}

static int control(int ep, int op, int fd, unsigned events, unsigned long data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};

    return epoll_ctl(ep, op, fd, &event);
}

static void levels(void)
{
    char buffer[8];
    int ends[2], ep = T(epoll_create1(0));

    pipe(ends);
    T(control(ep, EPOLL_CTL_ADD, ends[0], EPOLLIN, 100));
    T(control(ep, EPOLL_CTL_ADD, ends[1], EPOLLOUT, 200));
    T(control(ep, EPOLL_CTL_ADD, ends[0], EPOLLIN, 1));
    wait_for(ep, 0);
    write(ends[1], "abc", 3);
    wait_for(ep, 0);
    wait_for(ep, 0);
    T(control(ep, EPOLL_CTL_DEL, ends[1], 0, 0));
    T(control(ep, EPOLL_CTL_DEL, ends[1], 0, 0));
    T(control(ep, EPOLL_CTL_MOD, ends[1], EPOLLIN, 0));
    T(control(ep, EPOLL_CTL_MOD, ends[0], EPOLLIN | EPOLLET, 300));
    wait_for(ep, 0);
    wait_for(ep, 0);
    write(ends[1], "d", 1);
    wait_for(ep, 0);
    read(ends[0], buffer, 1);
    wait_for(ep, 0);
    T(control(ep, EPOLL_CTL_MOD, ends[0], EPOLLIN | EPOLLONESHOT, 400));
    wait_for(ep, 0);
    wait_for(ep, 0);
    write(ends[1], "e", 1);
    wait_for(ep, 0);
    T(control(ep, EPOLL_CTL_MOD, ends[0], EPOLLIN | EPOLLONESHOT, 401));
    wait_for(ep, 0);
    T(control(ep, EPOLL_CTL_MOD, ends[0], 0, 402));
    close(ends[1]);
    wait_for(ep, 0);
    read(ends[0], buffer, 8);
    T(control(ep, EPOLL_CTL_MOD, ends[0], EPOLLIN | EPOLLRDHUP, 403));
    wait_for(ep, 0);
    int copy = dup(ends[0]);
    close(ends[0]);
    wait_for(ep, 0);
    close(copy);
    wait_for(ep, 10);
    close(ep);
}

static void nested(void)
{
    int inner = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(0), event = eventfd(0, EFD_NONBLOCK);
    uint64_t one = 1;

    T(control(inner, EPOLL_CTL_ADD, event, EPOLLIN, 1));
    T(control(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 2));
    wait_for(outer, 0);
    write(event, &one, 8);
    wait_for(outer, 0);
    wait_for(inner, 0);
    struct pollfd entry = {outer, POLLIN, 0};
    T(poll(&entry, 1, 0));
    read(event, &one, 8);
    wait_for(outer, 0);
    T(poll(&entry, 1, 0));
    T(control(inner, EPOLL_CTL_ADD, outer, EPOLLIN, 3));
    T(control(inner, EPOLL_CTL_ADD, inner, EPOLLIN, 3));
    close(inner), close(outer), close(event);
}

static void errors(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    int ep = epoll_create1(0), file = open("f", O_CREAT | O_RDWR, 0600);

    T(control(ep, EPOLL_CTL_ADD, file, EPOLLIN, 0));
    T(control(ep, EPOLL_CTL_ADD, 99, EPOLLIN, 0));
    T(control(99, EPOLL_CTL_ADD, 0, EPOLLIN, 0));
    T(control(file, EPOLL_CTL_ADD, 0, EPOLLIN, 0));
    T(control(ep, 77, 0, EPOLLIN, 0));
    T(syscall(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, 0, WILD));
    T(epoll_wait(ep, &event, 0, 0));
    T(epoll_wait(ep, &event, -1, 0));
    T(epoll_wait(99, &event, 1, 0));
    T(epoll_wait(file, &event, 1, 0));
    T(epoll_create(0));
    T(epoll_create1(0x10));
    int ends[2];
    pipe(ends);
    T(control(ep, EPOLL_CTL_ADD, ends[1], EPOLLOUT | EPOLLEXCLUSIVE, 5));
    wait_for(ep, 0);
    T(control(ep, EPOLL_CTL_MOD, ends[1], EPOLLOUT, 5));
    T(syscall(SYS_epoll_wait, ep, WILD, 1, 0));
    T(control(ep, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 5));
    T(lseek(ep, 0, SEEK_SET));
    T(read(ep, &event, 1));
}

static int shared_ep;

static void *sleeper(void *arg)
{
    wait_for(shared_ep, 5000);
    return arg;
}

static void waking(void)
{
    pthread_t thread;
    int event = eventfd(0, 0), pair[2];
    uint64_t one = 1;

    shared_ep = epoll_create1(0);
    pthread_create(&thread, NULL, sleeper, NULL);
    nap(20);
    control(shared_ep, EPOLL_CTL_ADD, event, EPOLLIN | EPOLLET, 9);
    nap(20);
    write(event, &one, 8);
    pthread_join(thread, NULL);
    wait_for(shared_ep, 0);
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    control(shared_ep, EPOLL_CTL_ADD, pair[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 10);
    wait_for(shared_ep, 0);
    write(pair[1], "x", 1);
    wait_for(shared_ep, 0);
    shutdown(pair[1], SHUT_WR);
    wait_for(shared_ep, 0);
    close(pair[1]);
    wait_for(shared_ep, 0);
    long long before = now_ms(CLOCK_MONOTONIC);
    struct epoll_event got;
    epoll_ctl(shared_ep, EPOLL_CTL_DEL, pair[0], NULL);
    T(epoll_wait(shared_ep, &got, 1, 30));
    V(now_ms(CLOCK_MONOTONIC) - before >= 29);
}

int main(void)
{
    levels();
    nested();
    errors();
    waking();
    return 0;
}
