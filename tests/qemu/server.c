// SPDX-License-Identifier: GPL-3.0-or-later
// Without arguments: serve "hello PEER" over TCP and UDP, IPv4 and IPv6, on port 80. With arguments, a client:
//   ADDRESS PORT            connect and print what comes     udp ADDRESS PORT    send a datagram, print the answer
//   send ADDRESS PORT BYTES connect and send that much       resolve NAME        print the addresses of a name
//   addresses               print the addresses of every interface, and its MTU
//   sink                    say "listening", take connections on port 80 and read them to their end
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void show(char *text, const struct sockaddr *address)
{
    if (address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, INET6_ADDRSTRLEN);
}

static int fail(const char *what)
{
    perror(what);
    return 1;
}

// A connected socket, with three seconds of patience; negative after an error that was printed.
static int reach(int type, const char *name, const char *port)
{
    struct timeval patience = { .tv_sec = 3 };
    struct addrinfo hints = { .ai_socktype = type }, *found;

    if (getaddrinfo(name, port, &hints, &found)) {
        printf("no such name: %s\n", name);
        return -1;
    }
    int sock = socket(found->ai_family, type, 0);
    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(sock, found->ai_addr, found->ai_addrlen)) {
        perror("connect");
        return -1;
    }
    return sock;
}

static int print_answer(int sock)
{
    char text[64];
    ssize_t got = read(sock, text, sizeof text);

    if (got < 0)
        perror("read");
    return got > 0 && write(1, text, got) == got ? 0 : 2;
}

static int send_much(int sock, long bytes)
{
    static char data[16384];

    while (bytes > 0) {
        ssize_t sent = write(sock, data, bytes < (long)sizeof data ? (size_t)bytes : sizeof data);
        if (sent < 0)
            return fail("write");
        bytes -= sent;
    }
    shutdown(sock, SHUT_WR);
    while (read(sock, data, sizeof data) > 0)
        ;                                   // until the peer has it all: power-off does not wait for that
    puts("sent");
    return 0;
}

static int resolve(const char *name)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
    char text[INET6_ADDRSTRLEN];

    if (getaddrinfo(name, "80", &hints, &found)) {
        puts("no such name");
        return 1;
    }
    for (; found; found = found->ai_next) {
        show(text, found->ai_addr);
        printf("%s ", text);
    }
    puts("");
    return 0;
}

static int addresses(void)
{
    struct ifaddrs *found;
    char text[INET6_ADDRSTRLEN];

    if (getifaddrs(&found))
        return fail("getifaddrs");
    for (; found; found = found->ifa_next) {
        if (!found->ifa_addr || (found->ifa_addr->sa_family != AF_INET && found->ifa_addr->sa_family != AF_INET6))
            continue;
        show(text, found->ifa_addr);
        printf("%s=%s ", found->ifa_name, text);
        struct ifreq request = { 0 };
        int sock = socket(AF_INET, SOCK_DGRAM, 0);
        strncpy(request.ifr_name, found->ifa_name, sizeof request.ifr_name - 1);
        if (found->ifa_addr->sa_family == AF_INET && !ioctl(sock, SIOCGIFMTU, &request))
            printf("%s.mtu=%d ", found->ifa_name, request.ifr_mtu);
        close(sock);
    }
    puts("");
    return 0;
}

static int offer(int family, int type);

// Until somebody ends it.
static int sink(void)
{
    static char data[65536];
    int sock = offer(AF_INET, SOCK_STREAM);

    puts("listening");
    fflush(stdout);
    for (;;) {
        int connection = accept(sock, 0, 0);
        while (read(connection, data, sizeof data) > 0)
            ;
        close(connection);
    }
}

static int client(int argc, char **argv)
{
    if (!strcmp(argv[1], "sink"))
        return sink();
    if (!strcmp(argv[1], "resolve"))
        return resolve(argv[2]);
    if (!strcmp(argv[1], "addresses"))
        return addresses();
    int udp = !strcmp(argv[1], "udp"), much = !strcmp(argv[1], "send"), sock;
    if (argc < 3 + (udp || much))
        return 64;
    sock = reach(udp ? SOCK_DGRAM : SOCK_STREAM, argv[1 + (udp || much)], argv[2 + (udp || much)]);
    if (sock < 0)
        return 1;
    if (much)
        return send_much(sock, argc > 4 ? atol(argv[4]) : 0);
    if (udp && write(sock, "?", 1) != 1)
        return fail("write");
    return print_answer(sock);
}

// A socket of one family and type on port 80.
static int offer(int family, int type)
{
    struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(80) };
    struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(80) };
    int sock = socket(family, type, 0), one = 1, failed;

    setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (family == AF_INET6) {
        setsockopt(sock, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
        failed = bind(sock, (struct sockaddr *)&six, sizeof six);
    } else {
        failed = bind(sock, (struct sockaddr *)&four, sizeof four);
    }
    if (failed || (type == SOCK_STREAM && listen(sock, 16)))
        perror(family == AF_INET6 ? "listen (IPv6)" : "listen");
    return sock;
}

// Answer one connection or datagram.
static void answer(int sock, int type)
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    char text[INET6_ADDRSTRLEN + 16], name[INET6_ADDRSTRLEN];
    int connection = sock;

    if (type == SOCK_DGRAM) {
        if (recvfrom(sock, text, sizeof text, 0, (struct sockaddr *)&peer, &length) < 0)
            return;
    } else {
        connection = accept(sock, (struct sockaddr *)&peer, &length);
        if (connection < 0)
            return;
    }
    show(name, (struct sockaddr *)&peer);
    int count = snprintf(text, sizeof text, "hello %s\n", name);
    if (type == SOCK_DGRAM) {
        sendto(sock, text, count, 0, (struct sockaddr *)&peer, length);
        return;
    }
    if (write(connection, text, count) != count)
        perror("write");
    close(connection);
}

int main(int argc, char **argv)
{
    static const int kinds[4][2] = { { AF_INET, SOCK_STREAM }, { AF_INET, SOCK_DGRAM },
                                     { AF_INET6, SOCK_STREAM }, { AF_INET6, SOCK_DGRAM } };
    struct pollfd socks[4];

    if (argc > 1)
        return client(argc, argv);
    for (int i = 0; i < 4; i++)
        socks[i] = (struct pollfd){ .fd = offer(kinds[i][0], kinds[i][1]), .events = POLLIN };
    puts("listening");
    fflush(stdout);
    for (;;) {
        poll(socks, 4, -1);
        for (int i = 0; i < 4; i++) {
            if (socks[i].revents & POLLIN)
                answer(socks[i].fd, kinds[i][1]);
        }
    }
}
