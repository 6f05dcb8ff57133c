// SPDX-License-Identifier: Apache-2.0
// The guest of day.py: answers every byte on port 8080 with its clocks, its hourly timer's count and how many connections died.
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static int dead, hours;

static void answer(int fd)
{
    struct timespec mono, real;
    char text[128], byte;
    ssize_t got = recv(fd, &byte, 1, 0);

    if (got != 1) {
        dead += got < 0 && errno == ETIMEDOUT;
        close(fd);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &mono);
    clock_gettime(CLOCK_REALTIME, &real);
    snprintf(text, sizeof text, "%ld %ld %d %d\n", (long)mono.tv_sec, (long)real.tv_sec, hours, dead);
    send(fd, text, strlen(text), MSG_NOSIGNAL);
}

int main(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(8080)};
    struct itimerspec hourly = {{3600, 0}, {3600, 0}};
    int listener = socket(AF_INET, SOCK_STREAM, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0), poll = epoll_create1(0), one = 1;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&any, sizeof any) || listen(listener, 64) || timerfd_settime(timer, 0, &hourly, NULL))
        return 1;
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    epoll_ctl(poll, EPOLL_CTL_ADD, timer, &(struct epoll_event){.events = EPOLLIN, .data.fd = timer});
    for (;;) {
        struct epoll_event e;
        if (epoll_wait(poll, &e, 1, -1) != 1)
            continue;
        if (e.data.fd == timer) {
            uint64_t n;
            hours += read(timer, &n, sizeof n) == sizeof n ? (int)n : 0;
        } else if (e.data.fd == listener) {
            int fd = accept(listener, NULL, NULL);
            setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
            epoll_ctl(poll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
        } else {
            answer(e.data.fd);
        }
    }
}
