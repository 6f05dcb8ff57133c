// SPDX-License-Identifier: Apache-2.0
// What comes with received data: TCP_INQ (how much is left), SO_TIMESTAMPING beside SO_TIMESTAMPNS (tcp.h, Documentation/networking/timestamping.rst).
// oracle: libc=musl,glibc timeout=60
#include "loopback.h"
#include <netinet/tcp.h>

#ifndef TCP_INQ
#define TCP_INQ 36
#endif

static void receive(int fd, size_t most, size_t room, int flags)
{
    char data[256], control[512];
    struct iovec v = {data, most};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    ssize_t n = recvmsg(fd, &m, flags);

    SAY("recvmsg %ld, flags %#x", (long)n, m.msg_flags);
    for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        int value;
        memcpy(&value, CMSG_DATA(c), sizeof value);
        SAY("control %d %d, %d bytes, %d", c->cmsg_level, c->cmsg_type, (int)(c->cmsg_len - CMSG_LEN(0)),
            c->cmsg_level == IPPROTO_TCP ? value : value > 1000000000);
    }
}

static void left(void)
{
    int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), s;
    struct sockaddr_in a = here(l);

    T(get(c, IPPROTO_TCP, TCP_INQ));
    T(set(c, IPPROTO_TCP, TCP_INQ, 2));
    T(set(c, IPPROTO_TCP, TCP_INQ, -1));
    MUST(listen(l, 1));
    MUST(connect(c, (void *)&a, sizeof a));
    MUST(s = accept(l, NULL, NULL));
    T(set(s, IPPROTO_TCP, TCP_INQ, 1));
    T(get(s, IPPROTO_TCP, TCP_INQ));
    T(get(l, IPPROTO_TCP, TCP_INQ));
    MUST(write(c, "0123456789", 10));
    receive(s, 4, 512, 0);
    receive(s, 4, 512, MSG_PEEK);
    receive(s, 2, 0, 0);
    receive(s, 4, 512, 0);
    receive(s, 4, 512, MSG_DONTWAIT);
    MUST(write(c, "end", 3));
    shutdown(c, SHUT_WR);
    nap(20);
    receive(s, 2, 512, 0);
    receive(s, 2, 512, 0);
    receive(s, 2, 512, 0);
    T(set(s, IPPROTO_TCP, TCP_INQ, 0));
    receive(s, 2, 512, 0);
    close(s);
    close(c);
    close(l);
}

// Linux begins to look at the clock some time after it was asked to.
static void warm(int r, int c, struct sockaddr_in a)
{
    char data[8], control[512];
    struct iovec v = {data, sizeof data};

    for (int i = 0; i < 1000; i++) {
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        MUST(sendto(c, "now", 3, 0, (void *)&a, sizeof a));
        MUST(recvmsg(r, &m, 0));
        if (m.msg_controllen)
            return;
        nap(2);
    }
    SAY("no timestamp ever came");
}

static void stamped(void)
{
    int r = socket(AF_INET, SOCK_DGRAM, 0), c = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = here(r);

    T(get(r, SOL_SOCKET, SO_TIMESTAMPING));
    T(set(r, SOL_SOCKET, SO_TIMESTAMPING, 1 << 30));
    for (int step = 0; step < 5; step++) {
        if (step == 1)
            T(set(r, SOL_SOCKET, SO_TIMESTAMPING, 8 | 16));
        if (step == 2)
            T(set(r, SOL_SOCKET, SO_TIMESTAMPNS, 1));
        if (step == 3)
            T(set(r, SOL_SOCKET, SO_TIMESTAMPING, 0));
        if (step == 4)
            T(set(r, SOL_SOCKET, SO_TIMESTAMPNS, 0));
        T(get(r, SOL_SOCKET, SO_TIMESTAMPING));
        if (step == 1)
            warm(r, c, a);
        MUST(sendto(c, "now", 3, 0, (void *)&a, sizeof a));
        receive(r, 10, 512, 0);
    }
    close(r);
    close(c);
}

int main(void)
{
    left();
    stamped();
    return 0;
}
