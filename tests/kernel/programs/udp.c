// SPDX-License-Identifier: Apache-2.0
// UDP on loopback: addresses, connected and not, truncation, peeking, errors, recvmmsg, sendmmsg; IPv6 on ::1.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static struct sockaddr_in at(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void basics(void)
{
    struct sockaddr_in a = at(7010), b = at(7011), from = {0};
    socklen_t length = sizeof from;
    char buffer[16] = "";
    int one = T(socket(AF_INET, SOCK_DGRAM, 0)), two = T(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)), waiting;

    T(bind(one, (void *)&a, sizeof a));
    T(bind(two, (void *)&a, sizeof a));
    T(bind(two, (void *)&b, sizeof b));
    T(recv(two, buffer, 4, 0));
    T(sendto(one, "datagram", 8, 0, (void *)&b, sizeof b));
    T(sendto(one, "", 0, 0, (void *)&b, sizeof b));
    T(sendto(one, "third", 5, 0, (void *)&b, sizeof b));
    nap(20);
    T(ioctl(two, FIONREAD, &waiting));
    V(waiting);
    T(recvfrom(two, buffer, 4, MSG_PEEK | MSG_TRUNC, (void *)&from, &length));
    SAY("%s %d %d", inet_ntoa(from.sin_addr), ntohs(from.sin_port), length);
    T(recvfrom(two, buffer, 4, 0, (void *)&from, &length));
    T(recv(two, buffer, 16, 0));
    T(recv(two, buffer, 16, 0));
    T(recv(two, buffer, 16, 0));
    T(send(one, "x", 1, 0));
    T(connect(one, (void *)&b, sizeof b));
    T(send(one, "connected", 9, 0));
    T(getpeername(two, (void *)&from, &length));
    T(getpeername(one, (void *)&from, &length));
    V(ntohs(from.sin_port));
    struct sockaddr_in c = at(7012);
    int three = socket(AF_INET, SOCK_DGRAM, 0);
    bind(three, (void *)&c, sizeof c);
    sendto(three, "filtered", 8, 0, (void *)&a, sizeof a);
    nap(20);
    T(recv(one, buffer, 16, MSG_DONTWAIT));
    static char big[70000];
    T(sendto(three, big, sizeof big, 0, (void *)&b, sizeof b));
    T(sendto(three, big, 60000, 0, (void *)&b, sizeof b));
    from.sin_family = AF_UNSPEC;
    T(connect(one, (void *)&from, sizeof from));
    T(getpeername(one, (void *)&from, &length));
    T(listen(one, 1));
    T(accept(one, NULL, NULL));
    T(sendto(three, "x", 1, 0, (void *)&b, 3));
    T(sendto(three, WILD, 1, 0, (void *)&b, sizeof b));
    T(sendto(three, "x", 1, 0, WILD, sizeof b));
    T(shutdown(three, SHUT_RDWR));
    close(one), close(two), close(three);
}

static void refused(void)
{
    struct sockaddr_in nobody = at(7999);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), error;
    socklen_t length = sizeof error;
    char byte;

    connect(fd, (void *)&nobody, sizeof nobody);
    T(send(fd, "x", 1, 0));
    nap(30);
    T(recv(fd, &byte, 1, MSG_DONTWAIT));
    T(recv(fd, &byte, 1, MSG_DONTWAIT));
    T(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    V(error);
    close(fd);
}

static void many(void)
{
    struct sockaddr_in b = at(7013);
    int one = socket(AF_INET, SOCK_DGRAM, 0), two = socket(AF_INET, SOCK_DGRAM, 0);
    struct iovec out[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
    char text[3][8];
    struct iovec in[3] = {{text[0], 8}, {text[1], 8}, {text[2], 2}};
    struct mmsghdr send[3] = {{{0}}}, receive[4] = {{{0}}};

    bind(two, (void *)&b, sizeof b);
    connect(one, (void *)&b, sizeof b);
    for (int i = 0; i < 3; i++) {
        send[i].msg_hdr = (struct msghdr){.msg_iov = &out[i], .msg_iovlen = 1};
        receive[i].msg_hdr = (struct msghdr){.msg_iov = &in[i], .msg_iovlen = 1};
    }
    T(sendmmsg(one, send, 3, 0));
    V(send[2].msg_len);
    T(recvmmsg(two, receive, 3, 0, NULL));
    V(receive[1].msg_len);
    V(receive[2].msg_len);
    V(receive[2].msg_hdr.msg_flags & MSG_TRUNC ? 1 : 0);
    T(recvmmsg(two, receive, 3, MSG_DONTWAIT, NULL));
    struct timespec zero = {0, 1000000};
    T(recvmmsg(two, receive, 0, 0, &zero));
    close(one), close(two);
}

static void addresses(void)
{
    struct ifaddrs *all, *one;
    int found = 0;

    T(getifaddrs(&all));
    for (one = all; one; one = one->ifa_next)
        if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET && !strcmp(one->ifa_name, "lo")) {
            SAY("lo %s up %d loopback %d", inet_ntoa(((struct sockaddr_in *)one->ifa_addr)->sin_addr),
                (one->ifa_flags & IFF_UP) != 0, (one->ifa_flags & IFF_LOOPBACK) != 0);
            found++;
        }
    freeifaddrs(all);
    V(found);
    V(if_nametoindex("lo"));
    V(if_nametoindex("none"));
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    T(ioctl(fd, SIOCGIFADDR, &request));
    SAY("%s", inet_ntoa(((struct sockaddr_in *)&request.ifr_addr)->sin_addr));
    T(ioctl(fd, SIOCGIFFLAGS, &request));
    T(ioctl(fd, SIOCGIFMTU, &request));
    V(request.ifr_mtu > 1000);
    strcpy(request.ifr_name, "none0");
    T(ioctl(fd, SIOCGIFFLAGS, &request));
    char name[IF_NAMESIZE];
    SAY("%s", if_indextoname(1, name) ? name : "none");
    close(fd);
}

static void version6(void)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(7020), .sin6_addr = IN6ADDR_LOOPBACK_INIT}, from;
    socklen_t length = sizeof from;
    char buffer[8], text[64];
    int fd = T(socket(AF_INET6, SOCK_DGRAM, 0)), client = socket(AF_INET6, SOCK_DGRAM, 0);

    T(bind(fd, (void *)&a, sizeof a));
    T(sendto(client, "six", 3, 0, (void *)&a, sizeof a));
    T(recvfrom(fd, buffer, 8, 0, (void *)&from, &length));
    V(length);
    SAY("%s", inet_ntop(AF_INET6, &from.sin6_addr, text, sizeof text));
    a.sin6_addr = (struct in6_addr)IN6ADDR_ANY_INIT;
    a.sin6_port = htons(7021);
    int listener = socket(AF_INET6, SOCK_STREAM, 0), on;
    length = sizeof on;
    T(getsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &on, &length));
    V(on);
    T(bind(listener, (void *)&a, sizeof a));
    T(listen(listener, 1));
    struct sockaddr_in four = at(7021);
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    T(connect(tcp, (void *)&four, sizeof four));
    length = sizeof from;
    T(accept(listener, (void *)&from, &length) >= 0);
    SAY("%s", inet_ntop(AF_INET6, &from.sin6_addr, text, sizeof text));
    close(tcp), close(listener), close(fd), close(client);
}

int main(void)
{
    basics();
    refused();
    many();
    addresses();
    version6();
    return 0;
}
