// SPDX-License-Identifier: Apache-2.0
// oracle: libc=musl,glibc
// Urgent data on TCP: out of band and inline, the mark, readiness; TCP_FASTOPEN's options, SO_BINDTODEVICE.
#include "oracle.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef SIOCATMARK
#define SIOCATMARK 0x8905
#endif
#ifndef FIONREAD
#define FIONREAD 0x541B
#endif

static int listener;

static struct sockaddr_in at(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void pair(int *client, int *server)
{
    struct sockaddr_in address = at(7401);
    int one = 1;

    *client = socket(AF_INET, SOCK_STREAM, 0);
    connect(*client, (void *)&address, sizeof address);
    *server = accept(listener, NULL, NULL);
    setsockopt(*client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void look(int fd)
{
    int mark = -1, unread = -1;
    struct pollfd entry = {fd, POLLIN | POLLPRI, 0};

    poll(&entry, 1, 1000);
    ioctl(fd, SIOCATMARK, &mark);
    ioctl(fd, FIONREAD, &unread);
    SAY("revents %x mark %d unread %d", entry.revents, mark, unread);
}

static void take(int fd, int flags, size_t want)
{
    char data[32] = "";
    long n = recv(fd, data, want, flags | MSG_DONTWAIT);

    SAY("recv %x: %ld %s \"%s\"", flags, n, n < 0 ? errname(errno) : "", data);
}

static void out_of_band(void)
{
    int client, server;

    pair(&client, &server);
    take(server, MSG_OOB, 1);
    T(send(client, "abc", 3, MSG_OOB));
    look(server);
    take(server, MSG_OOB | MSG_PEEK, 1);
    take(server, MSG_OOB, 1);
    take(server, MSG_OOB, 1);
    look(server);
    T(send(client, "def", 3, 0));
    usleep(50000);
    take(server, MSG_PEEK, 32);
    take(server, 0, 32);
    look(server);
    take(server, 0, 32);
    look(server);
    take(server, 0, 32);
    T(send(client, "x", 1, MSG_OOB));
    look(server);
    take(server, 0, 32);
    take(server, MSG_OOB, 4);
    T(send(client, "12", 2, MSG_OOB));
    usleep(50000);
    T(send(client, "345", 3, 0));
    usleep(50000);
    take(server, 0, 1);
    look(server);
    take(server, 0, 2);                       // across the mark, unread: it is gone
    take(server, MSG_OOB, 1);
    take(server, 0, 32);
    T(send(client, "", 0, MSG_OOB));
    T(shutdown(client, SHUT_WR));
    usleep(50000);
    take(server, MSG_OOB, 1);
    close(client);
    close(server);
}

static void in_band(void)
{
    int client, server, one = 1;

    pair(&client, &server);
    T(setsockopt(server, SOL_SOCKET, SO_OOBINLINE, &one, sizeof one));
    T(send(client, "abc", 3, MSG_OOB));
    usleep(50000);
    T(send(client, "de", 2, 0));
    usleep(50000);
    look(server);
    take(server, MSG_OOB, 1);
    take(server, 0, 32);
    look(server);
    take(server, 0, 32);
    look(server);
    close(client);
    close(server);
}

static void blocked(void)
{
    int client, server;
    static char block[65536];
    long sent = 0, n;

    pair(&client, &server);
    fcntl(client, F_SETFL, O_NONBLOCK);
    while ((n = write(client, block, sizeof block)) > 0)
        sent += n;
    T(send(client, "!", 1, MSG_OOB));
    while (sent > 0 && (n = recv(server, block, sizeof block, 0)) > 0)
        sent -= n;
    V(sent);
    close(client);
    close(server);
}

static void get(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    long result = getsockopt(fd, IPPROTO_TCP, option, &value, &size);

    SAY("option %d: %ld value %d %s", option, result, value, result ? errname(errno) : "");
}

static void fast_open(void)
{
    struct sockaddr_in address = at(7401);
    int fd = socket(AF_INET, SOCK_STREAM, 0), server;
    char data[8] = "";

    get(fd, 23);
    get(fd, 30);
    T(setsockopt(fd, IPPROTO_TCP, 23, &(int){5}, sizeof(int)));
    get(fd, 23);
    T(setsockopt(fd, IPPROTO_TCP, 23, &(int){-1}, sizeof(int)));
    T(setsockopt(listener, IPPROTO_TCP, 23, &(int){16}, sizeof(int)));
    get(listener, 23);
    T(setsockopt(fd, IPPROTO_TCP, 30, &(int){2}, sizeof(int)));
    T(sendto(fd, "early", 5, 0x20000000, (void *)&address, sizeof address));
    server = accept(listener, NULL, NULL);
    T(recv(server, data, sizeof data, 0));
    SAY("%s", data);
    T(setsockopt(fd, IPPROTO_TCP, 23, &(int){5}, sizeof(int)));
    close(server);
    close(fd);
}

static void congestion(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char name[16] = "";
    socklen_t size = sizeof name;

    T(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
    T(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size));
    SAY("%s %u", name, size);
    T(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "nonesuch", 8));
    T(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "", 0));
    close(fd);
}

static void devices(void)
{
    struct sockaddr_in here = at(7411);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), tx = socket(AF_INET, SOCK_DGRAM, 0);
    char name[16] = "";
    socklen_t size = sizeof name;

    T(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nosuch0", 8));
    T(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
    T(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &size));
    SAY("%s %u", name, size);
    T(bind(fd, (void *)&here, sizeof here));
    T(sendto(tx, "dev", 3, 0, (void *)&here, sizeof here));
    struct pollfd entry = {fd, POLLIN, 0};
    T(poll(&entry, 1, 1000));
    T(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
    size = sizeof name;
    T(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &size));
    V(size);
    close(fd);
    close(tx);
}

int main(void)
{
    struct sockaddr_in address = at(7401);

    listener = socket(AF_INET, SOCK_STREAM, 0);
    bind(listener, (void *)&address, sizeof address);
    listen(listener, 8);
    out_of_band();
    in_band();
    blocked();
    fast_open();
    congestion();
    devices();
    return 0;
}
