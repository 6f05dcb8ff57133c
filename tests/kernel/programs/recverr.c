// SPDX-License-Identifier: Apache-2.0
// Error queues (IP_RECVERR, MSG_ERRQUEUE), IP_MTU, datagrams that must not be cut, SO_RXQ_OVFL, credentials of a peer.
// oracle: libc=musl,glibc timeout=60
#include "loopback.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/un.h>

struct extended {
    uint32_t number;
    uint8_t origin, type, code, pad;
    uint32_t info, data;
};

static short events(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLPRI};

    poll(&p, 1, 0);
    return p.revents;
}

// One message with its ancillary data; from the error queue or not.
static void receive(int fd, int flags, bool port)
{
    char data[64], control[512];
    struct sockaddr_storage from;
    struct iovec v = {data, sizeof data};
    struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &v, .msg_iovlen = 1, .msg_control = control,
                       .msg_controllen = sizeof control};
    ssize_t n = recvmsg(fd, &m, flags | MSG_DONTWAIT);

    if (n < 0) {
        SAY("receive: %s", errname(errno));
        return;
    }
    SAY("receive: %ld bytes, flags %#x, name of %d", (long)n, m.msg_flags, (int)m.msg_namelen);
    dump("data", data, n > 20 ? 20 : n);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        printf("control %d %d, %d bytes:", c->cmsg_level, c->cmsg_type, (int)(c->cmsg_len - CMSG_LEN(0)));
        if ((c->cmsg_level == 0 && c->cmsg_type == 11) || (c->cmsg_level == 41 && c->cmsg_type == 25)) {
            struct extended e;
            struct sockaddr_in who;
            memcpy(&e, CMSG_DATA(c), sizeof e);
            memcpy(&who, CMSG_DATA(c) + sizeof e, sizeof who);
            printf(" %s origin %d type %d code %d info %u data %u offender family %d", errname((int)e.number), e.origin, e.type, e.code,
                   e.info, e.data, who.sin_family);
        } else if (c->cmsg_len - CMSG_LEN(0) == 4 && port) {
            int value;
            memcpy(&value, CMSG_DATA(c), 4);
            printf(" %d", value);
        }
        putchar('\n');
    }
}

// A port of loopback where nobody listens.
static struct sockaddr_in nobody(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = here(fd);

    close(fd);
    return a;
}

static void refused(bool connected, bool recverr)
{
    struct sockaddr_in a = nobody();
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    SAY("-- connected %d, IP_RECVERR %d", connected, recverr);
    MUST(set(fd, IPPROTO_IP, 11, recverr));
    if (connected)
        MUST(connect(fd, (struct sockaddr *)&a, sizeof a));
    T(sendto(fd, "hello", 5, 0, connected ? NULL : (struct sockaddr *)&a, connected ? 0 : sizeof a));
    nap(50);
    V(events(fd));
    V(get(fd, SOL_SOCKET, SO_ERROR));
    V(events(fd));
    receive(fd, MSG_ERRQUEUE, false);
    receive(fd, MSG_ERRQUEUE, false);
    V(events(fd));
    T(sendto(fd, "again", 5, 0, connected ? NULL : (struct sockaddr *)&a, connected ? 0 : sizeof a));
    nap(50);
    receive(fd, 0, false);
    T(sendto(fd, "third", 5, 0, connected ? NULL : (struct sockaddr *)&a, connected ? 0 : sizeof a));
    receive(fd, MSG_ERRQUEUE, false);
    receive(fd, MSG_ERRQUEUE, false);
    close(fd);
}

static void whole(void)
{
    static char big[65507];
    int r = socket(AF_INET, SOCK_DGRAM, 0), fd = socket(AF_INET, SOCK_DGRAM, 0), c[2];
    struct sockaddr_in a = here(r), b;
    socklen_t n = sizeof a;

    T(get(fd, IPPROTO_IP, 14));
    MUST(connect(fd, (struct sockaddr *)&a, n));
    T(get(fd, IPPROTO_IP, 14));
    T(set(fd, IPPROTO_IP, 10, 2));
    T(send(fd, big, 65507, 0));
    T(set(fd, IPPROTO_IP, 10, 0));
    T(send(fd, big, 65507, 0));
    close(fd);
    MUST(c[0] = socket(AF_INET, SOCK_STREAM, 0));
    MUST(c[1] = socket(AF_INET, SOCK_STREAM, 0));
    b = here(c[1]);
    MUST(listen(c[1], 1));
    MUST(connect(c[0], (struct sockaddr *)&b, n));
    T(get(c[0], IPPROTO_IP, 14));
    receive(c[0], MSG_ERRQUEUE, false);
    close(c[0]);
    close(c[1]);
    close(r);
}

static void overflow(void)
{
    int r = socket(AF_INET, SOCK_DGRAM, 0), fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = here(r);
    socklen_t n = sizeof a;
    char b[1024] = "", control[64];
    bool told = false, grew = true;
    uint32_t last = 0;

    MUST(set(r, SOL_SOCKET, SO_RCVBUF, 4096));
    MUST(set(r, SOL_SOCKET, SO_RXQ_OVFL, 1));
    MUST(connect(fd, (struct sockaddr *)&a, n));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 50; i++)
            MUST(send(fd, b, 500, 0));
        nap(20);
        for (;;) {
            struct iovec v = {b, sizeof b};
            struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
            if (recvmsg(r, &m, MSG_DONTWAIT) < 0)
                break;
            struct cmsghdr *c = CMSG_FIRSTHDR(&m);
            if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
                uint32_t now;
                memcpy(&now, CMSG_DATA(c), 4);
                grew = grew && now >= last;
                last = now;
                told = true;
            }
        }
    }
    SAY("dropped: told %d, only grows %d, of 150 less %d", told, grew, last < 150);
    close(r);
    close(fd);
}

static void credentials(void)
{
    struct ucred u = {9, 9, 9};
    gid_t groups[32];
    socklen_t n = sizeof u;
    int p[2], fd;

    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
    T(getsockopt(p[0], SOL_SOCKET, SO_PEERCRED, &u, &n));
    V(u.pid == getpid() && u.uid == getuid() && u.gid == getgid());
    n = sizeof groups;
    T(getsockopt(p[0], SOL_SOCKET, 59, groups, &n));
    V(n == sizeof(gid_t) * (size_t)getgroups(0, NULL));
    n = sizeof groups;
    T(getsockopt(p[0], SOL_SOCKET, 31, groups, &n));
    close(p[0]);
    close(p[1]);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    n = sizeof groups;
    T(getsockopt(fd, SOL_SOCKET, 59, groups, &n));
    n = sizeof u;
    T(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &n));
    SAY("%d %d %d", u.pid, (int)u.uid, (int)u.gid);
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    n = sizeof u;
    T(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &n));
    SAY("%d %d %d", u.pid, (int)u.uid, (int)u.gid);
    close(fd);
}

static void device(void)
{
    char name[16] = "";
    socklen_t n = sizeof name;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    T(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "none0", 6));
    T(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
    T(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &n));
    SAY("%d %s", (int)n, name);
    n = 2;
    T(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &n));
    n = sizeof name;
    T(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0));
    T(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &n));
    V(n);
    close(fd);
}

int main(void)
{
    for (int k = 0; k < 4; k++)
        refused(k & 1, k & 2);
    whole();
    overflow();
    credentials();
    device();
    return 0;
}
