// SPDX-License-Identifier: Apache-2.0
// Every socket option of an int: its first value, what it takes, what it is then, on each kind of socket.
// oracle: each=udp,tcp,udp6,tcp6,raw,unix
#include "oracle.h"
#include <stdbool.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static const struct {
    int level, name;
    const char *text;
} options[] = {
#define S(n) {SOL_SOCKET, n, #n}
#define I(n, v) {IPPROTO_IP, v, "IP_" #n}
#define V6(n, v) {IPPROTO_IPV6, v, "IPV6_" #n}
#define P(n, v) {IPPROTO_TCP, v, "TCP_" #n}
    S(SO_DEBUG), S(SO_REUSEADDR), S(SO_TYPE), S(SO_ERROR), S(SO_DONTROUTE), S(SO_BROADCAST), S(SO_KEEPALIVE), S(SO_OOBINLINE),
    S(SO_NO_CHECK), S(SO_PRIORITY), S(SO_SNDLOWAT), S(SO_ACCEPTCONN),
    S(SO_TIMESTAMP), S(SO_TIMESTAMPNS), S(SO_MARK), S(SO_PROTOCOL), S(SO_DOMAIN), S(SO_RXQ_OVFL),
    S(SO_BUSY_POLL), 
    {SOL_SOCKET, 45, "SO_SELECT_ERR_QUEUE"},
    
    I(TOS, 1), I(TTL, 2), I(HDRINCL, 3), I(RECVOPTS, 6), I(RETOPTS, 7), I(PKTINFO, 8), I(MTU_DISCOVER, 10),
    I(RECVERR, 11), I(RECVTTL, 12), I(RECVTOS, 13), I(MTU, 14), I(FREEBIND, 15), I(PASSSEC, 18), I(TRANSPARENT, 19),
    I(ORIGDSTADDR, 20), I(MINTTL, 21), I(NODEFRAG, 22), I(CHECKSUM, 23), I(BIND_ADDRESS_NO_PORT, 24), I(RECVFRAGSIZE, 25),
    I(RECVERR_RFC4884, 26), I(MULTICAST_TTL, 33), I(MULTICAST_LOOP, 34), I(MULTICAST_ALL, 49), I(UNICAST_IF, 50),
    V6(UNICAST_HOPS, 16), V6(MULTICAST_IF, 17), V6(MULTICAST_HOPS, 18), V6(MULTICAST_LOOP, 19), V6(MTU_DISCOVER, 23), V6(MTU, 24),
    V6(RECVERR, 25), V6(V6ONLY, 26), V6(MULTICAST_ALL, 29), V6(RECVPKTINFO, 49), V6(RECVHOPLIMIT, 51), V6(RECVHOPOPTS, 53),
    V6(RECVRTHDR, 56), V6(RECVDSTOPTS, 58), V6(RECVPATHMTU, 60), V6(DONTFRAG, 62), V6(RECVTCLASS, 66), V6(TCLASS, 67),
    V6(AUTOFLOWLABEL, 70), V6(MINHOPCOUNT, 73), V6(TRANSPARENT, 75), V6(UNICAST_IF, 76),
    V6(RECVFRAGSIZE, 77), V6(FREEBIND, 78), V6(FLOWINFO, 11), V6(FLOWINFO_SEND, 33),
    P(NODELAY, 1), P(MAXSEG, 2), P(CORK, 3), P(KEEPIDLE, 4), P(KEEPINTVL, 5), P(KEEPCNT, 6), P(SYNCNT, 7), P(DEFER_ACCEPT, 9),
    P(WINDOW_CLAMP, 10), P(QUICKACK, 12), P(USER_TIMEOUT, 18), 
    P(FASTOPEN, 23), P(NOTSENT_LOWAT, 25), P(FASTOPEN_CONNECT, 30),
    
};

static void value(int fd, size_t i)
{
    int v = -99;
    socklen_t n = sizeof v;

    if (getsockopt(fd, options[i].level, options[i].name, &v, &n))
        printf(" %s", errname(errno));
    else
        printf(" %d/%d", v, (int)n);
}

static void all(int domain, int type, int protocol)
{
    static const int values[] = {1, 0, 7, -1, 300};

    for (size_t i = 0; i < COUNT(options); i++) {
        int fd = socket(domain, type, protocol);
        MUST(fd);
        if (options[i].level == IPPROTO_IPV6 && domain != AF_INET6 && type == SOCK_RAW)
            continue;
        printf("%s:", options[i].text);
        // What depends on the machine's configuration or on the kernel's version is not shown.
        bool named = strcmp(options[i].text, "TCP_TIMESTAMP") != 0 && strcmp(options[i].text, "TCP_MAXSEG") != 0;
        if (named)
            value(fd, i);
        for (size_t k = 0; k < COUNT(values); k++) {
            int r = setsockopt(fd, options[i].level, options[i].name, &values[k], sizeof values[k]);
            printf(" | %d %s", values[k], r ? errname(errno) : "ok");
            if (!r && named)
                value(fd, i);
        }
        char c = 1;
        printf(" | char %s", setsockopt(fd, options[i].level, options[i].name, &c, 1) ? errname(errno) : "ok");
        printf(" | none %s\n", setsockopt(fd, options[i].level, options[i].name, &c, 0) ? errname(errno) : "ok");
        close(fd);
    }
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "udp";

    if (strncmp(kind, "udp", 3) == 0)
        all(kind[3] ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
    else if (strncmp(kind, "tcp", 3) == 0)
        all(kind[3] ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
    else if (strcmp(kind, "raw") == 0)
        all(AF_INET, SOCK_RAW, 200);
    else
        all(AF_UNIX, SOCK_DGRAM, 0);
    return 0;
}
