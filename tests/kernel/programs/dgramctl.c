// SPDX-License-Identifier: Apache-2.0
// oracle: libc=musl,glibc
// Ancillary data of datagrams both ways, the error queue, UDP-Lite, SO_REUSEPORT's sharing.
#include "oracle.h"
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <sys/socket.h>

#ifndef IPPROTO_UDPLITE
#define IPPROTO_UDPLITE 136
#endif

static struct sockaddr_in at(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static struct sockaddr_in6 at6(int port)
{
    return (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
}

static void on(int fd, int level, int option)
{
    int one = 1;
    if (setsockopt(fd, level, option, &one, sizeof one))
        SAY("option %d/%d: %s", level, option, errname(errno));
}

static void show_control(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        int value = 0;
        size_t n = c->cmsg_len - CMSG_LEN(0);
        memcpy(&value, CMSG_DATA(c), n < sizeof value ? n : sizeof value);
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo *info = (void *)CMSG_DATA(c);
            SAY("pktinfo %d %s %s", info->ipi_ifindex, inet_ntoa(info->ipi_spec_dst), inet_ntoa(info->ipi_addr));
        } else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
                   (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
            struct sock_extended_err *e = (void *)CMSG_DATA(c);
            struct sockaddr *who = SO_EE_OFFENDER(e);
            SAY("error %s origin %d type %d code %d info %u family %d len %zu", errname((int)e->ee_errno), e->ee_origin, e->ee_type,
                e->ee_code, e->ee_info, who->sa_family, n);
        } else {
            SAY("control %d/%d len %zu value %d", c->cmsg_level, c->cmsg_type, n, value);
        }
    }
}

static void receive(int fd, int flags)
{
    char data[64] = "", control[256];
    struct sockaddr_storage from;
    struct iovec v = {data, sizeof data};
    struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control,
                       .msg_controllen = sizeof control};
    struct pollfd entry = {fd, POLLIN, 0};
    poll(&entry, 1, 2000);
    SAY("revents %x", entry.revents);
    if (T(recvmsg(fd, &m, flags | MSG_DONTWAIT)) < 0)
        return;
    SAY("%s flags %x name %u port %d", data, m.msg_flags, m.msg_namelen, ntohs(((struct sockaddr_in *)&from)->sin_port));
    show_control(&m);
}

// Sends with one piece of ancillary data.
static void send_with(int fd, struct sockaddr *to, socklen_t len, int level, int type, const void *value, size_t n)
{
    char control[64] = "";
    struct iovec v = {"asked", 5};
    struct msghdr m = {.msg_name = to, .msg_namelen = len, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control,
                       .msg_controllen = CMSG_SPACE(n)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(n), .cmsg_level = level, .cmsg_type = type};
    memcpy(CMSG_DATA(c), value, n);
    long sent = sendmsg(fd, &m, 0);
    SAY("control %d/%d: %ld %s", level, type, sent, sent < 0 ? errname(errno) : "");
}

static void version4(void)
{
    struct sockaddr_in here = at(7301), to = at(7301);
    int rx = socket(AF_INET, SOCK_DGRAM, 0), tx = socket(AF_INET, SOCK_DGRAM, 0), value;
    unsigned char tos = 0x10;

    bind(rx, (void *)&here, sizeof here);
    here = at(7302);
    bind(tx, (void *)&here, sizeof here);
    on(rx, IPPROTO_IP, IP_PKTINFO);
    on(rx, IPPROTO_IP, IP_RECVTTL);
    on(rx, IPPROTO_IP, IP_RECVTOS);
    T(sendto(tx, "plain", 5, 0, (void *)&to, sizeof to));
    receive(rx, 0);
    value = 7;
    send_with(tx, (void *)&to, sizeof to, IPPROTO_IP, IP_TTL, &value, sizeof value);
    receive(rx, 0);
    send_with(tx, (void *)&to, sizeof to, IPPROTO_IP, IP_TOS, &tos, 1);
    receive(rx, 0);
    value = 0;
    send_with(tx, (void *)&to, sizeof to, IPPROTO_IP, IP_TTL, &value, sizeof value);
    send_with(tx, (void *)&to, sizeof to, IPPROTO_IP, IP_TTL, &tos, 1);
    struct in_pktinfo info = {.ipi_ifindex = 1};
    send_with(tx, (void *)&to, sizeof to, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    receive(rx, 0);
    info.ipi_spec_dst.s_addr = inet_addr("127.0.0.1");
    send_with(tx, (void *)&to, sizeof to, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    receive(rx, 0);
    info.ipi_ifindex = 77;
    send_with(tx, (void *)&to, sizeof to, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    send_with(tx, (void *)&to, sizeof to, IPPROTO_IP, 199, &value, sizeof value);
    send_with(tx, (void *)&to, sizeof to, IPPROTO_IPV6, IPV6_HOPLIMIT, &value, sizeof value);
    receive(rx, 0);
    T(sendto(tx, "plain", 5, 0, (void *)&to, sizeof to));
    receive(rx, 0);
    close(rx);
    close(tx);
}

static void version6(void)
{
    struct sockaddr_in6 here = at6(7311), to = at6(7311);
    int rx = socket(AF_INET6, SOCK_DGRAM, 0), tx = socket(AF_INET6, SOCK_DGRAM, 0), value;

    bind(rx, (void *)&here, sizeof here);
    here = at6(7312);
    bind(tx, (void *)&here, sizeof here);
    on(rx, IPPROTO_IPV6, IPV6_RECVHOPLIMIT);
    on(rx, IPPROTO_IPV6, IPV6_RECVTCLASS);
    T(sendto(tx, "six", 3, 0, (void *)&to, sizeof to));
    receive(rx, 0);
    value = 9;
    send_with(tx, (void *)&to, sizeof to, IPPROTO_IPV6, IPV6_HOPLIMIT, &value, sizeof value);
    receive(rx, 0);
    value = 0x20;
    send_with(tx, (void *)&to, sizeof to, IPPROTO_IPV6, IPV6_TCLASS, &value, sizeof value);
    receive(rx, 0);
    value = 256;
    send_with(tx, (void *)&to, sizeof to, IPPROTO_IPV6, IPV6_HOPLIMIT, &value, sizeof value);
    T(setsockopt(tx, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &(int){33}, sizeof value));
    T(setsockopt(tx, IPPROTO_IPV6, IPV6_TCLASS, &(int){0x40}, sizeof value));
    T(sendto(tx, "set", 3, 0, (void *)&to, sizeof to));
    receive(rx, 0);
    close(rx);
    close(tx);
}

static void errors(int family, struct sockaddr *nobody, socklen_t len)
{
    int fd = socket(family, SOCK_DGRAM, 0), error = 0;
    socklen_t size = sizeof error;

    receive(fd, MSG_ERRQUEUE);
    T(connect(fd, nobody, len));
    T(send(fd, "gone", 4, 0));
    receive(fd, MSG_ERRQUEUE);
    T(recv(fd, &error, sizeof error, MSG_DONTWAIT));
    on(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, family == AF_INET ? IP_RECVERR : IPV6_RECVERR);
    T(send(fd, "lost", 4, 0));
    receive(fd, MSG_ERRQUEUE);
    receive(fd, MSG_ERRQUEUE);
    T(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
    SAY("%s", errname(error));
    close(fd);
    fd = socket(family, SOCK_DGRAM, 0);       // not connected: hears of it only so
    T(sendto(fd, "deaf", 4, 0, nobody, len));
    receive(fd, MSG_ERRQUEUE);
    on(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, family == AF_INET ? IP_RECVERR : IPV6_RECVERR);
    T(sendto(fd, "heard", 5, 0, nobody, len));
    receive(fd, MSG_ERRQUEUE);
    close(fd);
}

static void lite(void)
{
    struct sockaddr_in here = at(7321);
    int rx = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE), other = socket(AF_INET, SOCK_DGRAM, 0), value = 0;
    socklen_t size = sizeof value;

    T(getsockopt(rx, SOL_SOCKET, SO_PROTOCOL, &value, &size));
    V(value);
    T(bind(rx, (void *)&here, sizeof here));
    here = at(7322);
    T(bind(other, (void *)&here, sizeof here));
    int tx = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE);
    here = at(7321);
    T(connect(tx, (void *)&here, sizeof here));
    T(send(tx, "light", 5, 0));
    char data[16] = "";
    struct pollfd entry = {rx, POLLIN, 0};
    poll(&entry, 1, 2000);
    T(recv(rx, data, sizeof data, MSG_DONTWAIT));
    SAY("%s", data);
    T(socket(AF_INET, SOCK_STREAM, IPPROTO_UDPLITE));
    close(rx);
    close(tx);
    close(other);
}

// Datagrams of many senders: none is lost, none comes twice, and more than one socket gets some.
static void shared(void)
{
    struct sockaddr_in here = at(7331);
    int rx[4], got[4] = {0}, busy = 0, total = 0;
    char data[16];

    for (int i = 0; i < 4; i++) {
        rx[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        on(rx[i], SOL_SOCKET, SO_REUSEPORT);
        T(bind(rx[i], (void *)&here, sizeof here));
    }
    for (int i = 0; i < 64; i++) {
        int tx = socket(AF_INET, SOCK_DGRAM, 0);
        sendto(tx, "x", 1, 0, (void *)&here, sizeof here);
        sendto(tx, "y", 1, 0, (void *)&here, sizeof here);
        close(tx);
    }
    for (int i = 0; i < 4; i++) {
        while (recv(rx[i], data, sizeof data, 0) == 1)
            got[i]++;
        busy += got[i] > 0;
        total += got[i];
        V(got[i] % 2);                        // a sender stays with its socket
        close(rx[i]);
    }
    V(total);
    V(busy > 1);
}

int main(void)
{
    struct sockaddr_in nobody = at(7399);
    struct sockaddr_in6 nobody6 = at6(7399);

    version4();
    version6();
    errors(AF_INET, (void *)&nobody, sizeof nobody);
    errors(AF_INET6, (void *)&nobody6, sizeof nobody6);
    lite();
    shared();
    return 0;
}
