// SPDX-License-Identifier: Apache-2.0
// Load for the network benchmarks and tests, every answer checked. Prints one number.
//   load connect ADDRESS PORT SECONDS CONCURRENCY   connections a second: open, one HTTP request, close
//   load udp ADDRESS PORT SECONDS WINDOW            datagrams a second echoed (a lost one counts as none)
//   load download|upload ADDRESS PORT SECONDS N     megabytes a second over N connections
//   load count ADDRESS PORT TOTAL CONCURRENCY       opens TOTAL connections one after another in CONCURRENCY lanes; prints TOTAL
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in to;
static int sources;                           // rotate over so many addresses of ours, x.y.z.100 and up: ports last longer
static double end;
static char buffer[65536];
static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_socket(int type)
{
    int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
    if (fd == -1)
        fail("socket");
    if (sources) {
        static unsigned next;
        struct sockaddr_in from = to;
        from.sin_port = 0;
        from.sin_addr.s_addr = htonl((ntohl(to.sin_addr.s_addr) & ~255u) + 100 + next++ % sources);
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
        if (bind(fd, (struct sockaddr *)&from, sizeof from) == -1)
            fail("bind");
    }
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == -1 && errno != EINPROGRESS)
        fail("connect");
    return fd;
}

struct lane { int fd, sent, got; };

static void start_lane(int ep, struct lane *l)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP, .data.ptr = l};
    *l = (struct lane){.fd = open_socket(SOCK_STREAM)};
    epoll_ctl(ep, EPOLL_CTL_ADD, l->fd, &e);
}

// True when the lane's answer is complete and right.
static int drive(int ep, struct lane *l)
{
    if (!l->sent) {
        int err = 0;
        socklen_t n = sizeof err;
        getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &err, &n);
        errno = err;
        if (err)
            fail("connect");
        ssize_t w = write(l->fd, request, sizeof request - 1);
        if (w == -1 && errno == EAGAIN)
            return 0;
        if (w != sizeof request - 1)
            fail("write");
        l->sent = 1;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = l};
        epoll_ctl(ep, EPOLL_CTL_MOD, l->fd, &e);
        return 0;
    }
    ssize_t n = read(l->fd, buffer, sizeof buffer - 1);
    if (n == -1 && errno == EAGAIN)
        return 0;
    if (n == -1)
        fail("read");
    buffer[n] = 0;
    if (n == 0 || !strstr(buffer, "hello, world\n")) {
        fprintf(stderr, "load: wrong answer of %zd bytes\n", n);
        exit(1);
    }
    return 1;
}

static double connections(long total, int concurrency)
{
    static struct lane lanes[1024];
    struct epoll_event e[64];
    int ep = epoll_create1(0), open = 0;
    double begun = now();
    long done = 0, started = 0;
    for (; open < concurrency && (!total || started < total); open++, started++)
        start_lane(ep, &lanes[open]);
    while (open > 0) {
        int n = epoll_wait(ep, e, 64, 10000);
        if (n == 0) {
            fprintf(stderr, "load: nothing for ten seconds after %ld connections\n", done);
            exit(1);
        }
        for (int i = 0; i < n; i++) {
            struct lane *l = e[i].data.ptr;
            if (!drive(ep, l))
                continue;
            close(l->fd);
            done++;
            if (total ? started < total : now() < end) {
                start_lane(ep, l);
                started++;
            } else {
                open--;
            }
        }
    }
    return total ? (double)done : done / (now() - begun);
}

static double udp(int window)
{
    struct pollfd p = {.fd = open_socket(SOCK_DGRAM), .events = POLLIN};
    char packet[64] = "", back[64];
    unsigned next = 0, done = 0, flying = 0;
    double begun = now();
    while (now() < end) {
        for (; flying < (unsigned)window; flying++) {
            memcpy(packet, &next, sizeof next);
            next++;
            if (write(p.fd, packet, sizeof packet) != sizeof packet)
                break;
        }
        if (poll(&p, 1, 200) == 0)
            flying = 0;                       // lost: start anew
        while (read(p.fd, back, sizeof back) == sizeof back) {
            unsigned id;
            memcpy(&id, back, sizeof id);
            if (id >= next) {
                fprintf(stderr, "load: an echo of nothing\n");
                exit(1);
            }
            done++;
            flying -= flying > 0;
        }
    }
    return done / (now() - begun);
}

static double bulk(int upload, int n)
{
    struct pollfd p[64];
    unsigned long bytes = 0, at[64] = {0};
    if (n > 64)
        n = 64;
    for (int i = 0; i < n; i++)
        p[i] = (struct pollfd){.fd = open_socket(SOCK_STREAM), .events = upload ? POLLOUT : POLLIN};
    double begun = now();
    while (now() < end) {
        if (poll(p, n, 5000) == 0) {
            fprintf(stderr, "load: bulk transfer stands still after %lu bytes\n", bytes);
            exit(1);
        }
        for (int i = 0; i < n; i++) {
            if (!p[i].revents)
                continue;
            ssize_t k = upload ? write(p[i].fd, buffer, sizeof buffer) : read(p[i].fd, buffer, sizeof buffer);
            if (k == -1 && errno == EAGAIN)
                continue;
            if (k <= 0)
                fail("bulk");
            for (ssize_t j = 0; !upload && j < k; j += 509)
                if (buffer[j] != (char)(at[i] + j)) {
                    fprintf(stderr, "load: wrong byte at %lu\n", at[i] + j);
                    exit(1);
                }
            at[i] += k;
            bytes += k;
        }
    }
    return bytes / (now() - begun) / 1e6;
}

int main(int argc, char **argv)
{
    if (argc < 6 || argc > 7 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) {
        fprintf(stderr, "usage: load connect|udp|download|upload|count ADDRESS PORT SECONDS|TOTAL N [SOURCES]\n");
        return 2;
    }
    to.sin_family = AF_INET;
    to.sin_port = htons(atoi(argv[3]));
    end = now() + atof(argv[4]);
    int n = atoi(argv[5]);
    sources = argc == 7 ? atoi(argv[6]) : 0;
    double result;
    if (!strcmp(argv[1], "connect"))
        result = connections(0, n);
    else if (!strcmp(argv[1], "count"))
        result = connections(atol(argv[4]), n);
    else if (!strcmp(argv[1], "udp"))
        result = udp(n);
    else
        result = bulk(!strcmp(argv[1], "upload"), n);
    printf("%.1f\n", result);
    return 0;
}
