// SPDX-License-Identifier: Apache-2.0
// The guest of six.py. TCP 8080, both versions: "A" lists the addresses, anything else is echoed. UDP 8085: echo, also of what is
// sent to the groups 239.9.9.9 and ff15::99.
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static int listing(char *text, size_t size)
{
    struct ifaddrs *all;
    int n = 0;

    if (getifaddrs(&all))
        return snprintf(text, size, "getifaddrs failed\n.\n");
    for (struct ifaddrs *a = all; a; a = a->ifa_next) {
        char address[INET6_ADDRSTRLEN] = "";
        if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET)
            inet_ntop(AF_INET, &((struct sockaddr_in *)a->ifa_addr)->sin_addr, address, sizeof address);
        else if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET6)
            inet_ntop(AF_INET6, &((struct sockaddr_in6 *)a->ifa_addr)->sin6_addr, address, sizeof address);
        if (*address)
            n += snprintf(text + n, size - (size_t)n, "%s %s\n", a->ifa_name, address);
    }
    freeifaddrs(all);
    return n + snprintf(text + n, size - (size_t)n, ".\n");
}

static void stream(int fd)
{
    static char data[65536];
    ssize_t n = recv(fd, data, sizeof data, 0);

    if (n <= 0) {
        close(fd);
    } else {
        if (n == 1 && *data == 'A')
            n = listing(data, sizeof data);
        for (ssize_t at = 0, done; at < n; at += done)
            if ((done = send(fd, data + at, (size_t)(n - at), MSG_NOSIGNAL)) <= 0)
                break;
    }
}

static void datagram(int fd)
{
    static char data[65536];
    struct sockaddr_storage from;
    socklen_t size = sizeof from;
    ssize_t n = recvfrom(fd, data, sizeof data, 0, (void *)&from, &size);

    if (n >= 0)
        sendto(fd, data, (size_t)n, 0, (void *)&from, size);
}

static int bound(int family, int type, int port, int only)
{
    int fd = socket(family, type, 0), one = 1;
    struct sockaddr_in six_four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    if (bind(fd, family == AF_INET ? (void *)&six_four : (void *)&six, family == AF_INET ? sizeof six_four : sizeof six))
        perror("bind");
    return fd;
}

int main(void)
{
    int tcp = bound(AF_INET6, SOCK_STREAM, 8080, 0), udp4 = bound(AF_INET, SOCK_DGRAM, 8085, 0);
    int udp6 = bound(AF_INET6, SOCK_DGRAM, 8085, 1), poll = epoll_create1(0);
    struct ip_mreqn four = {.imr_multiaddr.s_addr = inet_addr("239.9.9.9"), .imr_ifindex = (int)if_nametoindex("eth0")};
    struct ipv6_mreq six = {.ipv6mr_interface = if_nametoindex("eth0")};

    inet_pton(AF_INET6, "ff15::99", &six.ipv6mr_multiaddr);
    if (setsockopt(udp4, IPPROTO_IP, IP_ADD_MEMBERSHIP, &four, sizeof four))
        perror("IP_ADD_MEMBERSHIP");
    if (setsockopt(udp6, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &six, sizeof six))
        perror("IPV6_ADD_MEMBERSHIP");
    listen(tcp, 16);
    for (int i = 0, fds[] = {tcp, udp4, udp6}; i < 3; i++)
        epoll_ctl(poll, EPOLL_CTL_ADD, fds[i], &(struct epoll_event){.events = EPOLLIN, .data.fd = fds[i]});
    for (;;) {
        struct epoll_event e;
        if (epoll_wait(poll, &e, 1, -1) != 1)
            continue;
        if (e.data.fd == tcp) {
            int fd = accept(tcp, NULL, NULL);
            epoll_ctl(poll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
        } else if (e.data.fd == udp4 || e.data.fd == udp6) {
            datagram(e.data.fd);
        } else {
            stream(e.data.fd);
        }
    }
}
