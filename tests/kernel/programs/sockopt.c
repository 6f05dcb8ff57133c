// SPDX-License-Identifier: Apache-2.0
// Socket options: defaults that programs rely on, setting and reading back, time-outs, errors, ioctls.
// oracle: libc=musl
#include "oracle.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void get(int fd, const char *what, int level, int option)
{
    int value = -7;
    socklen_t length = sizeof value;

    if (getsockopt(fd, level, option, &value, &length) == -1)
        SAY("%s: %s", what, errname(errno));
    else
        SAY("%s: %d (%d)", what, value, length);
}

static void set(int fd, const char *what, int level, int option, int value)
{
    SAY("set %s to %d: %s", what, value, setsockopt(fd, level, option, &value, sizeof value) == -1 ? errname(errno) : "ok");
    get(fd, what, level, option);
}

#define GET(fd, level, option) get(fd, #option, level, option)
#define SET(fd, level, option, value) set(fd, #option, level, option, value)

static void common(int fd)
{
    GET(fd, SOL_SOCKET, SO_TYPE);
    GET(fd, SOL_SOCKET, SO_DOMAIN);
    GET(fd, SOL_SOCKET, SO_PROTOCOL);
    GET(fd, SOL_SOCKET, SO_ERROR);
    GET(fd, SOL_SOCKET, SO_ACCEPTCONN);
    GET(fd, SOL_SOCKET, SO_OOBINLINE);
    GET(fd, SOL_SOCKET, SO_RCVLOWAT);
    SET(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    SET(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    SET(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    SET(fd, SOL_SOCKET, SO_BROADCAST, 1);
    SET(fd, SOL_SOCKET, SO_DONTROUTE, 1);
    SET(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
    SET(fd, SOL_SOCKET, SO_TIMESTAMP, 1);
    SET(fd, SOL_SOCKET, SO_PRIORITY, 3);
    SET(fd, SOL_SOCKET, SO_TYPE, 3);
    SET(fd, SOL_SOCKET, SO_ERROR, 3);
    SET(fd, SOL_SOCKET, 9999, 3);
    SET(fd, IPPROTO_IP, IP_TTL, 33);
    SET(fd, IPPROTO_IP, IP_TTL, 300);
    SET(fd, IPPROTO_IP, IP_TOS, 16);
    GET(fd, IPPROTO_IP, 9999);
    GET(fd, 9999, 1);
    int size = 0;
    socklen_t length = sizeof size;
    V(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &length) == 0 && size >= 4096);
    V(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, &length) == 0 && size >= 2048);
    SET(fd, SOL_SOCKET, SO_RCVBUF, 20000);
    SET(fd, SOL_SOCKET, SO_SNDBUF, 20000);
    SET(fd, SOL_SOCKET, SO_SNDBUF, 1);
}

static void shapes(int fd)
{
    struct linger linger = {5, 5};
    struct timeval time = {1, 500000}, bad = {0, 2000000};
    socklen_t length = sizeof linger;
    char small = 1;

    T(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length));
    SAY("linger %d %d", linger.l_onoff, linger.l_linger);
    linger = (struct linger){1, 7};
    T(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    T(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length));
    SAY("linger %d %d", linger.l_onoff, linger.l_linger);
    T(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, 4));
    T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bad, sizeof bad));
    T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, 4));
    length = sizeof time;
    T(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, &length));
    SAY("time-out %ld %ld", (long)time.tv_sec, (long)time.tv_usec);
    T(getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, &length));
    SAY("time-out %ld %ld", (long)time.tv_sec, (long)time.tv_usec);
    T(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &small, 1));
    T(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, WILD, 4));
    length = 1;
    small = 99;
    T(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &small, &length));
    V(length);
    V(small);
    length = -1;
    T(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &small, &length));
    length = 4;
    T(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, WILD, &length));
    T(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &small, WILD));
    T(setsockopt(0, SOL_SOCKET, SO_REUSEADDR, &small, 4));
    T(setsockopt(99, SOL_SOCKET, SO_REUSEADDR, &small, 4));
}

static void tcp(int fd)
{
    SET(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    SET(fd, IPPROTO_TCP, TCP_CORK, 1);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
    SET(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
    SET(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 0);
    SET(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
    SET(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
    SET(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
    GET(fd, IPPROTO_TCP, TCP_SYNCNT);
    GET(fd, IPPROTO_TCP, 9999);
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    OK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    V(info.tcpi_state);
    int on = 1;
    T(ioctl(fd, FIONBIO, &on));
    V((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    T(ioctl(fd, 0x12345678, &on));
    T(ioctl(fd, FIOCLEX));
    T(fcntl(fd, F_GETFD));
}

static void timing_out(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    struct timeval time = {0, 30000};
    int udp = socket(AF_INET, SOCK_DGRAM, 0), listener = socket(AF_INET, SOCK_STREAM, 0);
    char byte;

    bind(udp, (void *)&any, sizeof any);
    setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    T(recv(udp, &byte, 1, 0));
    bind(listener, (void *)&any, sizeof any);
    listen(listener, 1);
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    T(accept(listener, NULL, NULL));
    GET(listener, SOL_SOCKET, SO_ACCEPTCONN);
    close(udp), close(listener);
}

int main(void)
{
    int stream = socket(AF_INET, SOCK_STREAM, 0), datagram = socket(AF_INET, SOCK_DGRAM, 0);

    common(stream);
    common(datagram);
    shapes(stream);
    tcp(stream);
    timing_out();
    return 0;
}
