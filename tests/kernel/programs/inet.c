// SPDX-License-Identifier: Apache-2.0
// Internet sockets beyond the basics: IPv6 and dual stack, shared ports, multicast, cork, deferred accept, TCP_INFO, queues, names.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <arpa/inet.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static struct sockaddr_in6 six(const char *address, int port)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    inet_pton(AF_INET6, address, &a.sin6_addr);
    return a;
}

static struct sockaddr_in four(const char *address, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &a.sin_addr);
    return a;
}

static int ready(int fd, int events)
{
    struct pollfd p = {fd, events, 0};
    poll(&p, 1, 3000);
    return p.revents;
}

static void say_name(const char *what, int fd, int (*name)(int, struct sockaddr *, socklen_t *), int with_port)
{
    struct sockaddr_in6 a;
    socklen_t n = sizeof a;
    char text[64] = "";
    if (name(fd, (void *)&a, &n) == -1) {
        SAY("%s: %s", what, errname(errno));
        return;
    }
    inet_ntop(AF_INET6, &a.sin6_addr, text, sizeof text);
    SAY("%s: family %d, %s, port %d, length %d", what, a.sin6_family, text, with_port ? ntohs(a.sin6_port) : 0, n);
}

static void dual_stack(void)
{
    int listener = socket(AF_INET6, SOCK_STREAM, 0), client, server, one = 1;
    struct sockaddr_in6 any = six("::", 7201), own = six("::1", 7201), mapped = six("::ffff:127.0.0.1", 7201);
    struct sockaddr_in v4 = four("127.0.0.1", 7201);
    char byte;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    T(bind(listener, (void *)&any, sizeof any));
    T(listen(listener, 5));
    say_name("listener", listener, getsockname, 1);
    client = socket(AF_INET, SOCK_STREAM, 0);
    T(connect(client, (void *)&v4, sizeof v4));
    server = accept(listener, NULL, NULL);
    say_name("from IPv4", server, getpeername, 0);
    say_name("at", server, getsockname, 1);
    close(client), close(server);
    client = socket(AF_INET6, SOCK_STREAM, 0);
    T(connect(client, (void *)&own, sizeof own));
    server = accept(listener, NULL, NULL);
    say_name("from IPv6", server, getpeername, 0);
    T(write(client, "x", 1));
    T(read(server, &byte, 1));
    close(client), close(server);
    client = socket(AF_INET6, SOCK_STREAM, 0);
    T(connect(client, (void *)&mapped, sizeof mapped));
    say_name("mapped peer", client, getpeername, 1);
    say_name("mapped self", client, getsockname, 0);
    close(client);
    int other = socket(AF_INET, SOCK_STREAM, 0);
    T(bind(other, (void *)&v4, sizeof v4));
    close(other), close(listener);
    listener = socket(AF_INET6, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    T(setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one));
    any = six("::", 7202), v4 = four("127.0.0.1", 7202);
    T(bind(listener, (void *)&any, sizeof any));
    T(listen(listener, 5));
    client = socket(AF_INET, SOCK_STREAM, 0);
    T(connect(client, (void *)&v4, sizeof v4));
    close(client), close(listener);
}

static void shared_port(void)
{
    int l[2], one = 1, got[2] = {0, 0};
    struct sockaddr_in a = four("127.0.0.1", 7203);

    for (int i = 0; i < 2; i++) {
        l[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        T(setsockopt(l[i], SOL_SOCKET, SO_REUSEPORT, &one, sizeof one));
        T(bind(l[i], (void *)&a, sizeof a));
        T(listen(l[i], 64));
    }
    for (int i = 0; i < 40; i++) {
        int c = socket(AF_INET, SOCK_STREAM, 0), s;
        if (connect(c, (void *)&a, sizeof a) == -1)
            SAY("connect: %s", errname(errno));
        for (int tries = 0; tries < 1000; tries++) {
            int k = (s = accept(l[0], NULL, NULL)) >= 0 ? 0 : (s = accept(l[1], NULL, NULL)) >= 0 ? 1 : -1;
            if (k == -1) {
                usleep(1000);
                continue;
            }
            got[k]++;
            close(s);
            break;
        }
        close(c);
    }
    V(got[0] + got[1]);
    V(got[0] > 0 && got[1] > 0);
    int third = socket(AF_INET, SOCK_STREAM, 0);
    T(bind(third, (void *)&a, sizeof a));
    close(third), close(l[0]);
    int c = socket(AF_INET, SOCK_STREAM, 0);
    T(connect(c, (void *)&a, sizeof a));
    V(ready(l[1], POLLIN));
    close(c), close(l[1]);
}

static void multicast(void)
{
    int in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in any = four("0.0.0.0", 7204), group = four("239.1.2.3", 7204);
    struct ip_mreq join = {.imr_multiaddr = group.sin_addr};
    struct in_addr lo = {htonl(INADDR_LOOPBACK)};
    char text[16] = "";

    join.imr_interface = lo;
    T(bind(in, (void *)&any, sizeof any));
    T(setsockopt(in, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join));
    T(setsockopt(in, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join));
    T(setsockopt(out, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof lo));
    T(sendto(out, "hello", 5, 0, (void *)&group, sizeof group));
    V(ready(in, POLLIN));
    T(recv(in, text, sizeof text, MSG_DONTWAIT));
    SAY("%s", text);
    T(setsockopt(in, IPPROTO_IP, IP_DROP_MEMBERSHIP, &join, sizeof join));
    T(setsockopt(in, IPPROTO_IP, IP_DROP_MEMBERSHIP, &join, sizeof join));
    join.imr_multiaddr.s_addr = inet_addr("10.1.2.3");
    T(setsockopt(in, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join));
    close(in), close(out);
}

static void tcp_details(void)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), server, one = 1, zero = 0, n;
    struct sockaddr_in a = four("127.0.0.1", 7205);
    struct tcp_info info;
    socklen_t length = sizeof info;
    char buffer[64];

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bind(listener, (void *)&a, sizeof a);
    listen(listener, 5);
    T(getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &length));
    V(info.tcpi_state);
    T(connect(client, (void *)&a, sizeof a));
    server = accept(listener, NULL, NULL);
    length = sizeof info;
    getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &length);
    V(info.tcpi_state);
    V(info.tcpi_snd_mss > 500);
    V(info.tcpi_options & (TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE));
    int sysctl = open("/proc/sys/net/ipv4/tcp_timestamps", O_RDONLY);
    T(read(sysctl, buffer, 2));
    V(buffer[0]);
    close(sysctl);
    T(setsockopt(client, IPPROTO_TCP, TCP_CORK, &one, sizeof one));
    T(write(client, "cor", 3));
    T(write(client, "ked", 3));
    T(setsockopt(client, IPPROTO_TCP, TCP_CORK, &zero, sizeof zero));
    V(recv(server, buffer, 6, MSG_WAITALL));
    T(send(client, "more", 4, MSG_MORE));
    T(send(client, "over", 4, 0));
    V(recv(server, buffer, 8, MSG_WAITALL));
    T(write(client, "0123456789", 10));
    V(ready(server, POLLIN));
    T(ioctl(server, FIONREAD, &n));
    V(n);
    T(recv(server, buffer, 4, MSG_TRUNC));
    T(recv(server, buffer, 6, MSG_PEEK | MSG_WAITALL));
    T(recv(server, buffer, sizeof buffer, 0));
    struct timeval brief = {0, 50000};
    T(setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &brief, sizeof brief));
    T(recv(server, buffer, 1, 0));
    T(recv(server, buffer, 0, MSG_DONTWAIT));
    T(shutdown(client, SHUT_WR));
    V(ready(server, POLLIN | POLLRDHUP) & (POLLIN | POLLRDHUP | POLLHUP));
    T(recv(server, buffer, 1, 0));
    T(write(server, "still", 5));
    T(read(client, buffer, 5));
    T(shutdown(server, SHUT_WR));
    V(ready(client, POLLIN | POLLRDHUP));
    say_name("after both ends", client, getpeername, 0);
    T(shutdown(client, SHUT_RDWR));
    T(write(client, "x", 1));
    close(client), close(server), close(listener);
}

// Every address of 127/8 is this machine's; the host's name has one of them.
static void loopback_net(void)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    int in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = four("127.0.1.1", 7207), wrong = four("127.0.0.1", 7207), self;
    socklen_t length = sizeof self;
    char byte;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    T(bind(listener, (void *)&a, sizeof a));
    T(listen(listener, 5));
    T(connect(client, (void *)&a, sizeof a));
    T(getsockname(client, (void *)&self, &length));
    SAY("from %s", inet_ntoa(self.sin_addr));
    close(client);
    client = socket(AF_INET, SOCK_STREAM, 0);
    T(connect(client, (void *)&wrong, sizeof wrong));
    a = four("127.8.9.10", 7208);
    T(bind(in, (void *)&a, sizeof a));
    T(sendto(out, "u", 1, 0, (void *)&a, sizeof a));
    V(ready(in, POLLIN));
    T(recv(in, &byte, 1, MSG_DONTWAIT));
    close(client), close(listener), close(in), close(out);
}

static int add_route(const char *to, const char *mask, int flags)
{
    struct rtentry r = {.rt_flags = (unsigned short)(RTF_UP | RTF_GATEWAY | flags)};
    struct sockaddr_in dst = four(to, 0), netmask = four(mask, 0), gateway = four("192.0.2.1", 0);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), failed;

    memcpy(&r.rt_dst, &dst, sizeof dst);
    memcpy(&r.rt_genmask, &netmask, sizeof netmask);
    memcpy(&r.rt_gateway, &gateway, sizeof gateway);
    failed = ioctl(fd, SIOCADDRT, &r);
    close(fd);
    return failed;
}

// No gateway is near, so what is right about the rest says ENETUNREACH.
static void routes(void)
{
    T(add_route("198.51.100.0", "255.255.255.0", 0));
    T(add_route("198.51.100.1", "255.255.255.0", 0));
    T(add_route("198.0.100.0", "255.0.255.0", 0));
    T(add_route("198.51.100.1", "0.0.0.0", RTF_HOST));
    T(add_route("198.51.100.1", "0.255.0.0", RTF_HOST));
    T(add_route("198.51.100.1", "255.255.255.255", 0));
}

static void deferred(void)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), client = socket(AF_INET, SOCK_STREAM, 0), one = 1, five = 5;
    struct sockaddr_in a = four("127.0.0.1", 7206);

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bind(listener, (void *)&a, sizeof a);
    T(setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &five, sizeof five));
    listen(listener, 5);
    T(connect(client, (void *)&a, sizeof a));
    T(accept(listener, NULL, NULL));
    T(write(client, "now", 3));
    V(ready(listener, POLLIN));
    int server = accept(listener, NULL, NULL);
    V(server >= 0);
    close(server), close(client), close(listener);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    dual_stack();
    shared_port();
    multicast();
    tcp_details();
    deferred();
    loopback_net();
    routes();
    return 0;
}
