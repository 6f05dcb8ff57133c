// SPDX-License-Identifier: Apache-2.0
// SO_RCVBUF and SO_SNDBUF of TCP: what a reader that does not read lets a writer send; TCP_WINDOW_CLAMP, TCP_NOTSENT_LOWAT.
// oracle: libc=musl,glibc timeout=60
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include "loopback.h"

// A connection over loopback: c[0] connected, c[1] accepted. Buffers as given, 0: the default.
static void connection(int c[2], int rcvbuf, int sndbuf)
{
    int l = socket(AF_INET, SOCK_STREAM, 0);

    MUST(l);
    if (rcvbuf)
        MUST(set(l, SOL_SOCKET, SO_RCVBUF, rcvbuf));
    struct sockaddr_in a = here(l);
    socklen_t n = sizeof a;
    MUST(listen(l, 1));
    MUST(c[0] = socket(AF_INET, SOCK_STREAM, 0));
    if (sndbuf)
        MUST(set(c[0], SOL_SOCKET, SO_SNDBUF, sndbuf));
    MUST(connect(c[0], (struct sockaddr *)&a, n));
    MUST(c[1] = accept(l, NULL, NULL));
    close(l);
}

static void drop(const int c[2])
{
    close(c[0]);
    close(c[1]);
}

// Writes until the socket takes no more, with time for what is under way; the bytes.
static long fill(int fd, long most)
{
    static char block[65536];
    long total = 0;

    for (int quiet = 0; quiet < 5 && total < most;) {
        ssize_t n = send(fd, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            total += n;
            quiet = 0;
        } else {
            quiet++;
            nap(20);
        }
    }
    return total;
}

static long unread(int fd)
{
    int n = -1;

    ioctl(fd, FIONREAD, &n);
    return n;
}

static void sizes(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    for (int v = 0; v <= 100000; v = v ? v * 8 : 1) {
        set(fd, SOL_SOCKET, SO_RCVBUF, v);
        set(fd, SOL_SOCKET, SO_SNDBUF, v);
        SAY("%d: %d %d", v, get(fd, SOL_SOCKET, SO_RCVBUF), get(fd, SOL_SOCKET, SO_SNDBUF));
    }
    T(set(fd, SOL_SOCKET, SO_RCVBUFFORCE, 1000000));
    V(get(fd, SOL_SOCKET, SO_RCVBUF));
    T(set(fd, SOL_SOCKET, SO_SNDBUFFORCE, 1000000));
    V(get(fd, SOL_SOCKET, SO_SNDBUF));
    T(get(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP));
    T(set(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, 100));
    T(get(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP));
    T(set(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, 8192));
    T(get(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP));
    T(set(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, 0));
    T(get(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP));
    T(set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 12345));
    T(get(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT));
    close(fd);
}

// How much one that does not read holds, and the writer: not more than both buffers, not less than a part of them.
static void bounded(int rcvbuf, int sndbuf)
{
    int c[2];

    connection(c, rcvbuf, sndbuf);
    long n = fill(c[0], 8 << 20);
    SAY("rcvbuf %d sndbuf %d: bounded %d, something %d, held within the buffer %d", rcvbuf, sndbuf,
        n < 2 * rcvbuf + 2 * sndbuf + 200000, n > rcvbuf / 4, unread(c[1]) <= 2 * rcvbuf + 2304);
    struct pollfd p = {.fd = c[0], .events = POLLOUT};
    T(poll(&p, 1, 0));
    T(send(c[0], "x", 1, MSG_DONTWAIT));
    long got = 0;
    static char block[32768];
    while (got < n) {                               // and all of it arrives
        ssize_t k = recv(c[1], block, sizeof block, 0);
        if (k <= 0)
            break;
        got += k;
    }
    V(got == n);
    T(poll(&p, 1, 1000));
    drop(c);
}

// Smaller or larger while data is under way: nothing is lost, the window follows.
static void changed(void)
{
    int c[2];
    static char block[65536];
    long sent, got = 0;

    connection(c, 0, 0);
    set(c[1], SOL_SOCKET, SO_RCVBUF, 4096);
    sent = fill(c[0], 1 << 20);
    V(sent > 4096);
    while (got < sent) {
        ssize_t k = recv(c[1], block, 1000, 0);
        if (k <= 0)
            break;
        got += k;
    }
    V(got == sent);
    set(c[1], SOL_SOCKET, SO_RCVBUF, 100000);
    MUST(send(c[0], block, 50000, 0));
    T(recv(c[1], block, 50000, MSG_WAITALL));
    set(c[1], SOL_SOCKET, SO_RCVBUF, 4096);
    close(c[1]);
    T(recv(c[0], block, 1, 0));                     // an end, not a reset
    close(c[0]);
}

static void *reader(void *arg)
{
    static char block[65536];

    while (recv(*(int *)arg, block, sizeof block, 0) > 0)
        ;
    return NULL;
}

// A stream through the smallest buffers.
static void narrow(void)
{
    static char block[65536];
    int c[2];
    long sent = 0;
    pthread_t t;

    connection(c, 1, 1);
    pthread_create(&t, NULL, reader, &c[1]);
    while (sent < 20000) {
        ssize_t n = send(c[0], block, sizeof block, 0);
        if (n <= 0)
            break;
        sent += n;
    }
    V(sent >= 20000);
    shutdown(c[0], SHUT_WR);
    pthread_join(t, NULL);
    drop(c);
}

int main(void)
{
    sizes();
    bounded(2304, 2304);
    bounded(16384, 16384);
    bounded(100000, 20000);
    bounded(1, 1);
    changed();
    narrow();
    return 0;
}
