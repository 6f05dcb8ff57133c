// SPDX-License-Identifier: Apache-2.0
// TCP on loopback: connections, shutdown, linger, refusal, nonblocking connect, MSG_* flags, epoll, addresses.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static struct sockaddr_in at(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    return address;
}

static int listening(int port)
{
    struct sockaddr_in address = at(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
    MUST(bind(fd, (void *)&address, sizeof address));
    MUST(listen(fd, 8));
    return fd;
}

static void pair(int listener, int port, int *client, int *server)
{
    struct sockaddr_in address = at(port);

    *client = socket(AF_INET, SOCK_STREAM, 0);
    MUST(connect(*client, (void *)&address, sizeof address));
    MUST(*server = accept(listener, NULL, NULL));
}

static int wait_readable(int fd)
{
    struct pollfd entry = {fd, POLLIN, 0};

    poll(&entry, 1, 3000);
    return entry.revents;
}

static void basics(int listener)
{
    char buffer[32] = "";
    struct sockaddr_in address = at(7001), peer, mine;
    socklen_t length = sizeof peer;
    int client, server, waiting;

    pair(listener, 7001, &client, &server);
    T(getpeername(client, (void *)&peer, &length));
    SAY("%s %d %d", inet_ntoa(peer.sin_addr), ntohs(peer.sin_port), length);
    T(getsockname(client, (void *)&mine, &length));
    T(getpeername(server, (void *)&peer, &length));
    V(peer.sin_port == mine.sin_port && mine.sin_port != 0);
    T(write(client, "hello world", 11));
    V(wait_readable(server));
    T(recv(server, buffer, 5, MSG_PEEK));
    T(ioctl(server, FIONREAD, &waiting));
    V(waiting);
    T(recv(server, buffer, 32, MSG_PEEK | MSG_DONTWAIT));
    T(read(server, buffer, 6));
    dump("read", buffer, 6);
    T(recv(server, buffer, 32, 0));
    T(recv(server, buffer, 32, MSG_DONTWAIT));
    T(connect(client, (void *)&address, sizeof address));
    T(listen(client, 1));
    T(accept(client, NULL, NULL));
    T(lseek(client, 0, SEEK_SET));
    T(shutdown(client, SHUT_WR));
    T(wait_readable(server) & POLLIN);
    T(read(server, buffer, 8));
    T(write(server, "answer", 6));
    T(recv(client, buffer, 6, MSG_WAITALL));
    T(send(client, "x", 1, MSG_NOSIGNAL));
    T(shutdown(client, 9));
    T(close(server));
    T(read(client, buffer, 8));
    T(close(client));
    T(getpeername(listener, (void *)&peer, &length));
    T(shutdown(listener, SHUT_WR));
}

static void refusals(void)
{
    struct sockaddr_in address = at(7999), any = at(7001);
    int fd = socket(AF_INET, SOCK_STREAM, 0), error = 0;
    socklen_t length = sizeof error;
    char byte;

    T(connect(fd, (void *)&address, sizeof address));
    T(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    V(error);
    T(read(fd, &byte, 1));
    T(send(fd, "x", 1, MSG_NOSIGNAL));
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    T(connect(fd, (void *)&address, sizeof address));
    struct pollfd entry = {fd, POLLOUT, 0};
    T(poll(&entry, 1, 3000));
    SAY("revents %x", entry.revents);
    T(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    SAY("%s", errname(error));
    T(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    V(error);
    T(connect(fd, (void *)&address, sizeof address));    // says that the attempt failed; the error itself was taken
    T(connect(fd, (void *)&address, sizeof address));
    T(poll(&entry, 1, 3000));
    T(connect(fd, (void *)&address, sizeof address));
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    T(bind(fd, (void *)&any, sizeof any));
    any.sin_addr.s_addr = inet_addr("203.0.113.9");
    any.sin_port = htons(7100);
    T(bind(fd, (void *)&any, sizeof any));
    T(bind(fd, (void *)&any, 4));
    any.sin_family = 77;
    T(bind(fd, (void *)&any, sizeof any));
    T(connect(fd, (void *)&address, 4));
    any = at(7101);
    T(bind(fd, (void *)&any, sizeof any));
    T(bind(fd, (void *)&any, sizeof any));
    T(accept(fd, NULL, NULL));
    T(recv(fd, &byte, 1, MSG_DONTWAIT));
    T(send(fd, &byte, 1, MSG_NOSIGNAL));
    T(shutdown(fd, SHUT_RDWR));
    T(accept(0, NULL, NULL));
    T(connect(99, (void *)&any, sizeof any));
    T(bind(fd, WILD, sizeof any));
    close(fd);
    T(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
    T(socket(AF_INET, 99, 0));
    T(socket(99, SOCK_STREAM, 0));
    T(socket(AF_INET, SOCK_STREAM | 0x100, 0));
}

static void nonblocking(int listener)
{
    struct sockaddr_in address = at(7001);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), error;
    socklen_t length = sizeof error;

    fcntl(listener, F_SETFL, O_NONBLOCK);
    T(accept(listener, NULL, NULL));
    T(connect(fd, (void *)&address, sizeof address));
    struct pollfd entry = {fd, POLLOUT, 0};
    T(poll(&entry, 1, 3000));
    SAY("revents %x", entry.revents);
    T(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    V(error);
    T(connect(fd, (void *)&address, sizeof address));
    T(connect(fd, (void *)&address, sizeof address));
    wait_readable(listener);
    int server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    V(fcntl(server, F_GETFD));
    static char block[65536];
    long sent = 0, got;
    while ((got = write(fd, block, sizeof block)) > 0)
        sent += got;
    SAY("full: %s", errname(errno));
    entry.revents = 0;
    T(poll(&entry, 1, 0));
    long received = 0;
    while (received < sent && wait_readable(server))
        if ((got = read(server, block, sizeof block)) > 0)
            received += got;
    V(received == sent && sent > 20000);
    T(poll(&entry, 1, 3000));
    T(accept4(listener, NULL, NULL, 0x1));
    fcntl(listener, F_SETFL, 0);
    struct linger hard = {1, 0};
    T(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
    T(close(fd));
    wait_readable(server);
    T(read(server, block, 1));
    T(read(server, block, 1));
    T(send(server, block, 1, MSG_NOSIGNAL));
    close(server);
}

static void readiness(int listener)
{
    struct epoll_event event = {.events = EPOLLIN}, got[4];
    int ep = epoll_create1(0), client, server;

    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &event);
    T(epoll_wait(ep, got, 4, 0));
    struct sockaddr_in address = at(7001);
    client = socket(AF_INET, SOCK_STREAM, 0);
    connect(client, (void *)&address, sizeof address);
    T(epoll_wait(ep, got, 4, 3000));
    SAY("events %x", got[0].events);
    server = accept(listener, NULL, NULL);
    epoll_ctl(ep, EPOLL_CTL_DEL, listener, NULL);
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    epoll_ctl(ep, EPOLL_CTL_ADD, server, &event);
    T(epoll_wait(ep, got, 4, 3000));
    SAY("events %x", got[0].events);
    T(epoll_wait(ep, got, 4, 0));
    write(client, "data", 4);
    T(epoll_wait(ep, got, 4, 3000));
    SAY("events %x", got[0].events);
    shutdown(client, SHUT_WR);
    T(epoll_wait(ep, got, 4, 3000));
    SAY("events %x", got[0].events);
    shutdown(server, SHUT_WR);
    T(epoll_wait(ep, got, 4, 3000));
    SAY("events %x", got[0].events);
    close(client), close(server), close(ep);
}

static void *echo(void *arg)
{
    static char block[10000];
    int fd = accept(*(int *)arg, NULL, NULL);
    long got;

    while ((got = read(fd, block, sizeof block)) > 0)
        for (long done = 0; done < got;)
            done += write(fd, block + done, got - done);
    close(fd);
    return NULL;
}

static void *pump(void *arg)
{
    static char block[7000];

    for (int i = 0; i < 100; i++) {
        memset(block, i, sizeof block);
        for (size_t done = 0; done < sizeof block;)
            done += write(*(int *)arg, block + done, sizeof block - done);
    }
    shutdown(*(int *)arg, SHUT_WR);
    return NULL;
}

static void bulk(int listener)
{
    pthread_t one, two;
    struct sockaddr_in address = at(7001);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    static unsigned char block[5000];
    long total = 0, wrong = 0, got;

    pthread_create(&one, NULL, echo, &listener);
    connect(fd, (void *)&address, sizeof address);
    pthread_create(&two, NULL, pump, &fd);
    while ((got = read(fd, block, sizeof block)) > 0) {
        for (long i = 0; i < got; i++)
            wrong += block[i] != (total + i) / 7000;
        total += got;
    }
    pthread_join(one, NULL), pthread_join(two, NULL);
    V(total);
    V(wrong);
    close(fd);
}

int main(void)
{
    int listener = listening(7001);

    basics(listener);
    refusals();
    nonblocking(listener);
    readiness(listener);
    bulk(listener);
    return 0;
}
