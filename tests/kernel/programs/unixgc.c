// SPDX-License-Identifier: Apache-2.0
// oracle: libc=musl,glibc
// AF_UNIX sockets that only messages refer to are closed: cycles, deep nesting, and what hangs on them. A pipe's end tells.
#include "oracle.h"
#include <sys/socket.h>
#include <sys/un.h>

static void pass(int through, const int *fds, int n)
{
    char control[CMSG_SPACE(8 * sizeof(int))] = "";
    struct iovec v = {"m", 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE((size_t)n * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    *c = (struct cmsghdr){.cmsg_len = CMSG_LEN((size_t)n * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(c), fds, (size_t)n * sizeof(int));
    if (sendmsg(through, &m, 0) != 1)
        SAY("sendmsg: %s", errname(errno));
}

static int take(int from)
{
    char control[CMSG_SPACE(8 * sizeof(int))], byte;
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int fd = -1;

    if (recvmsg(from, &m, 0) == 1 && CMSG_FIRSTHDR(&m))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
    return fd;
}

// Is the pipe's other end gone? Closing any socket makes the system look; it may take Linux a moment.
static void gone(const char *what, int fd, int wait)
{
    struct pollfd entry = {fd, POLLIN, 0};
    close(socket(AF_UNIX, SOCK_DGRAM, 0));
    int n = poll(&entry, 1, wait);

    SAY("%s: %d revents %x", what, n, entry.revents);
}

static void to_itself(void)
{
    int ends[2], s[2];

    pipe(ends);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
    pass(s[0], (int[]){s[1], ends[1]}, 2);    // s[1] waits in its own queue
    close(ends[1]);
    close(s[1]);
    gone("one end open", ends[0], 100);
    close(s[0]);
    gone("itself", ends[0], 3000);
    close(ends[0]);
}

static void to_each_other(int type)
{
    int ends[2], a[2], b[2];

    pipe(ends);
    socketpair(AF_UNIX, type, 0, a);
    socketpair(AF_UNIX, type, 0, b);
    pass(a[0], (int[]){b[0], b[1], ends[1]}, 3);
    pass(b[0], (int[]){a[0], a[1]}, 2);
    close(ends[1]);
    close(b[0]);
    close(b[1]);
    close(a[0]);
    gone("reachable", ends[0], 100);
    close(a[1]);
    gone("each other", ends[0], 3000);
    close(ends[0]);
}

// What is reachable stays, and works, however often others are collected.
static void innocent(void)
{
    int ends[2], a[2], b[2], got;
    char data[8] = "";

    pipe(ends);
    socketpair(AF_UNIX, SOCK_STREAM, 0, a);
    socketpair(AF_UNIX, SOCK_STREAM, 0, b);
    pass(a[0], (int[]){b[0]}, 1);
    close(b[0]);
    for (int i = 0; i < 20; i++) {
        int s[2];
        socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
        pass(s[0], (int[]){s[0], s[1]}, 2);
        close(s[0]);
        close(s[1]);
    }
    got = take(a[1]);
    V(got >= 0);
    T(write(got, "alive", 5));
    T(read(b[1], data, sizeof data));
    SAY("%s", data);
    close(got);
    T(read(b[1], data, sizeof data));
    close(a[0]);
    close(a[1]);
    close(b[1]);
    close(ends[1]);
    gone("innocent", ends[0], 1000);
    close(ends[0]);
}

// A connection that nobody accepted holds the cycle; the listener goes.
static void unaccepted(void)
{
    int ends[2], listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0gc"};

    pipe(ends);
    T(bind(listener, (void *)&name, sizeof(sa_family_t) + 3));
    T(listen(listener, 4));
    T(connect(client, (void *)&name, sizeof(sa_family_t) + 3));
    pass(client, (int[]){listener, client, ends[1]}, 3);
    close(ends[1]);
    close(client);
    gone("listening", ends[0], 100);
    close(listener);
    gone("unaccepted", ends[0], 3000);
    close(ends[0]);
}

// Each socket waits in the queue of the next: closing the last closes them all, however many.
static void deep(void)
{
    int ends[2], hold;

    pipe(ends);
    hold = ends[1];
    for (int i = 0; i < 3000; i++) {
        int s[2];
        if (socketpair(AF_UNIX, SOCK_DGRAM, 0, s))
            break;
        pass(s[0], &hold, 1);
        close(hold);
        close(s[0]);
        hold = s[1];
    }
    gone("deep", ends[0], 100);
    close(hold);
    gone("all", ends[0], 5000);
    close(ends[0]);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    to_itself();
    to_each_other(SOCK_DGRAM);
    to_each_other(SOCK_STREAM);
    innocent();
    unaccepted();
    deep();
    return 0;
}
