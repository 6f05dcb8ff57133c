// SPDX-License-Identifier: Apache-2.0
// ICMP errors and what sockets make of them (ip(7), tcp(7), udp(7), RFC 1122, RFC 5461): the program reports on its own packets, as a
// router would, from a raw socket.
// oracle: libc=musl,glibc timeout=60
#include "loopback.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>

static int icmp, sniffer;

static const char *error_of(int fd)
{
    int e = get(fd, SOL_SOCKET, SO_ERROR);

    return e ? errname(e) : "0";
}

static short events(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};

    poll(&p, 1, ms);
    return p.revents;
}

static uint16_t sum(const uint8_t *p, int n)
{
    uint32_t s = 0;

    for (int i = 0; i < n; i += 2)
        s += (uint32_t)p[i] << 8 | p[i + 1];
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return htons((uint16_t)~s);
}

// An error about a packet from port `from` to port `to`: its IP header and eight bytes more.
static void report(int type, int code, int protocol, uint16_t from, uint16_t to, uint32_t seq)
{
    uint8_t m[36] = {(uint8_t)type, (uint8_t)code}, *ip = m + 8, *data = m + 28;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint16_t s;

    ip[0] = 0x45;
    ip[3] = 60;
    ip[8] = 64;
    ip[9] = (uint8_t)protocol;
    memcpy(ip + 12, &a.sin_addr, 4);
    memcpy(ip + 16, &a.sin_addr, 4);
    memcpy(data, &from, 2);
    memcpy(data + 2, &to, 2);
    seq = protocol == IPPROTO_TCP ? htonl(seq) : htonl(40u << 16);
    memcpy(data + 4, &seq, 4);
    s = sum(m, sizeof m);
    memcpy(m + 2, &s, 2);
    MUST(sendto(icmp, m, sizeof m, 0, (void *)&a, sizeof a));
}

// The sequence number after what a port last sent, as the wire shows it.
static uint32_t sniff(uint16_t from, uint32_t *first)
{
    uint8_t p[2048];
    uint32_t seq = 0;
    ssize_t n;

    nap(20);
    while ((n = recv(sniffer, p, sizeof p, MSG_DONTWAIT)) > 0) {
        uint8_t *t = p + (p[0] & 15) * 4;
        uint32_t s;
        if (memcmp(t, &from, 2))
            continue;
        memcpy(&s, t + 4, 4);
        if (first && !seq)
            *first = ntohl(s);
        seq = ntohl(s) + (uint32_t)(n - (p[0] & 15) * 4 - (t[12] >> 4) * 4) + ((t[13] & 3) != 0);
    }
    return seq;
}

// A listener that takes no more, a connection to it that hangs, and what the errors make of that.
static void connecting(int type, int code, int off)
{
    int l = socket(AF_INET, SOCK_STREAM, 0), fill[4], fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = here(l), mine;
    socklen_t n = sizeof mine;
    uint32_t first = 0;

    MUST(listen(l, 0));
    for (int i = 0; i < 4; i++) {
        MUST(fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
        connect(fill[i], (void *)&a, sizeof a);
    }
    SAY("-- connecting: type %d code %d, sequence number off by %d", type, code, off);
    connect(fd, (void *)&a, sizeof a);
    MUST(getsockname(fd, (void *)&mine, &n));
    sniff(mine.sin_port, &first);
    V(events(fd, 0));
    report(type, code, IPPROTO_TCP, mine.sin_port, a.sin_port, first + (uint32_t)off);
    V(events(fd, off ? 50 : 5000));
    SAY("SO_ERROR %s", error_of(fd));
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    close(fd);
    close(l);
}

static void established(int type, int code, int recverr, int off)
{
    int l = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0), s;
    struct sockaddr_in a = here(l), mine;
    socklen_t n = sizeof mine;
    char b[8];

    MUST(listen(l, 1));
    MUST(set(fd, IPPROTO_IP, IP_RECVERR, recverr));
    MUST(connect(fd, (void *)&a, sizeof a));
    MUST(s = accept(l, NULL, NULL));
    MUST(getsockname(fd, (void *)&mine, &n));
    uint32_t next = sniff(mine.sin_port, NULL);
    SAY("-- established: type %d code %d, IP_RECVERR %d, sequence number off by %d", type, code, recverr, off);
    report(type, code, IPPROTO_TCP, mine.sin_port, a.sin_port, next + (uint32_t)off);
    V(events(fd, 20));
    SAY("SO_ERROR %s", error_of(fd));
    T(write(fd, "still", 5));
    T(read(s, b, sizeof b));
    T(write(s, "there", 5));
    V(events(fd, 2000));
    T(read(fd, b, sizeof b));
    close(fd);
    close(s);
    close(l);
}

static void datagrams(int type, int code, bool connected, int recverr)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0), other = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = here(other), mine = here(fd);
    char data[64], control[256];
    struct iovec v = {data, sizeof data};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};

    SAY("-- UDP: type %d code %d, connected %d, IP_RECVERR %d", type, code, connected, recverr);
    MUST(set(fd, IPPROTO_IP, IP_RECVERR, recverr));
    if (connected)
        MUST(connect(fd, (void *)&a, sizeof a));
    MUST(sendto(fd, "hello", 5, 0, connected ? NULL : (void *)&a, connected ? 0 : sizeof a));
    report(type, code, IPPROTO_UDP, mine.sin_port, a.sin_port, 0);
    V(events(fd, 20) & (POLLERR | POLLIN));
    SAY("SO_ERROR %s", error_of(fd));
    ssize_t n = recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);
    SAY("error queue: %s", n < 0 ? errname(errno) : "one");
    for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        uint32_t e[4];
        memcpy(e, CMSG_DATA(c), sizeof e);
        SAY("%d %d: %s, %#x, %u", c->cmsg_level, c->cmsg_type, errname((int)e[0]), e[1], e[2]);
    }
    T(sendto(fd, "again", 5, 0, connected ? NULL : (void *)&a, connected ? 0 : sizeof a));
    close(fd);
    close(other);
}

int main(void)
{
    static const int codes[] = {0, 1, 2, 3, 5, 6, 9, 10, 11, 13};

    MUST(icmp = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    MUST(sniffer = socket(AF_INET, SOCK_RAW, IPPROTO_TCP));
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++)
        connecting(3, codes[i], 0);
    connecting(11, 0, 0);
    connecting(12, 0, 0);
    connecting(3, 1, 1000);
    connecting(3, 1, -1);
    for (int recverr = 0; recverr < 2; recverr++) {
        established(3, 1, recverr, 0);
        established(3, 3, recverr, 0);
        established(11, 0, recverr, 0);
        established(3, 1, recverr, 5000);
        established(3, 1, recverr, -5000);
    }
    for (int connected = 0; connected < 2; connected++)
        for (int recverr = 0; recverr < 2; recverr++) {
            for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++)
                datagrams(3, codes[i], connected, recverr);
            datagrams(11, 0, connected, recverr);
            datagrams(12, 0, connected, recverr);
        }
    return 0;
}
