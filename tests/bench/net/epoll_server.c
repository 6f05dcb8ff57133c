// SPDX-License-Identifier: Apache-2.0
// The minimal server of the network benchmarks: one thread, epoll, no library beyond libc.
//   8080/tcp  HTTP with keep-alive: every request gets the same 13 bytes
//   8081/tcp  takes whatever comes (bulk upload)
//   8082/tcp  sends a known pattern until the client goes (bulk download)
//   8083/udp  echo
//   8084/tcp  echo
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum kind { HTTP, SINK, SOURCE, UDP, ECHO_TCP, KINDS };
#define MAX_FD 20000
#define BASE_PORT 8080

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nhello, world\n";
static struct conn { unsigned char kind, listening, matched; unsigned long sent; } conns[MAX_FD];
static char buffer[65536], pattern[65536 + 256];
static int ep;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(int fd, enum kind kind, int listening, unsigned events)
{
    struct epoll_event e = {.events = events, .data.fd = fd};
    conns[fd] = (struct conn){.kind = kind, .listening = listening};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == -1)
        fail("epoll_ctl");
}

static void serve_on(enum kind kind)
{
    int type = kind == UDP ? SOCK_DGRAM : SOCK_STREAM, one = 1;
    int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(BASE_PORT + kind)};
    if (fd == -1)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) == -1)
        fail("bind");
    if (kind != UDP && listen(fd, 1024) == -1)
        fail("listen");
    watch(fd, kind, kind != UDP, EPOLLIN);
}

static void accept_all(int fd)
{
    int c, one = 1;
    while ((c = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (c >= MAX_FD) {
            close(c);
            continue;
        }
        setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(c, conns[fd].kind, 0, conns[fd].kind == SOURCE ? EPOLLOUT | EPOLLIN : EPOLLIN);
    }
}

// Requests end with an empty line; bytes of several may come in one read.
static int http(int fd, const char *data, ssize_t n)
{
    static const char end[] = "\r\n\r\n";
    struct conn *c = &conns[fd];
    for (ssize_t i = 0; i < n; i++) {
        c->matched = data[i] == end[c->matched] ? c->matched + 1 : data[i] == '\r';
        if (c->matched < 4)
            continue;
        c->matched = 0;
        if (write(fd, answer, sizeof answer - 1) != sizeof answer - 1)
            return -1;
    }
    return 0;
}

static int source(int fd)
{
    struct conn *c = &conns[fd];
    ssize_t n;
    while ((n = write(fd, pattern + c->sent % 256, 65536)) > 0)
        c->sent += n;
    return n == -1 && errno == EAGAIN ? 0 : -1;
}

static void udp_echo(int fd)
{
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    ssize_t n;
    while ((n = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &len)) >= 0)
        sendto(fd, buffer, n, 0, (struct sockaddr *)&from, len);
}

static void handle(int fd, unsigned events)
{
    struct conn *c = &conns[fd];
    int bad = 0;
    if (c->kind == SOURCE && (events & EPOLLOUT))
        bad = source(fd);
    if (!bad && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        ssize_t n = read(fd, buffer, sizeof buffer);
        bad = n == 0 || (n == -1 && errno != EAGAIN);
        if (n > 0 && c->kind == HTTP)
            bad = http(fd, buffer, n);
        if (n > 0 && c->kind == ECHO_TCP)
            bad = write(fd, buffer, n) != n;
    }
    if (bad)
        close(fd);
}

int main(void)
{
    struct epoll_event e[256];
    signal(SIGPIPE, SIG_IGN);
    ep = epoll_create1(0);
    if (ep == -1)
        fail("epoll_create1");
    for (unsigned i = 0; i < sizeof pattern; i++)
        pattern[i] = (char)i;
    for (int kind = 0; kind < KINDS; kind++)
        serve_on(kind);
    puts("serving");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(ep, e, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = e[i].data.fd;
            if (conns[fd].listening)
                accept_all(fd);
            else if (conns[fd].kind == UDP)
                udp_echo(fd);
            else
                handle(fd, e[i].events);
        }
    }
}
