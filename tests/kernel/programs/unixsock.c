// SPDX-License-Identifier: Apache-2.0
// AF_UNIX: stream, datagram, seqpacket, socketpair, abstract names, SCM_RIGHTS, SCM_CREDENTIALS, errors.
// oracle: libc=musl,glibc cwd=/scratch,/tmp
#include "oracle.h"
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static socklen_t name(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    strcpy(address->sun_path + (*path == '@'), path + (*path == '@'));
    return offsetof(struct sockaddr_un, sun_path) + strlen(path) + (*path != '@');
}

static void streams(void)
{
    struct sockaddr_un address;
    socklen_t length = name(&address, "stream.sock");
    char buffer[32] = "";
    int listener = T(socket(AF_UNIX, SOCK_STREAM, 0)), client = T(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));

    T(connect(client, (void *)&address, length));
    T(bind(listener, (void *)&address, length));
    struct stat s;
    stat("stream.sock", &s);
    V(S_ISSOCK(s.st_mode));
    T(connect(client, (void *)&address, length));
    T(bind(listener, (void *)&address, length));
    T(accept(listener, NULL, NULL));
    T(listen(listener, 1));
    T(connect(client, (void *)&address, length));
    T(connect(client, (void *)&address, length));
    struct sockaddr_un peer;
    socklen_t got = sizeof peer;
    int server = T(accept4(listener, (void *)&peer, &got, SOCK_NONBLOCK));
    V(got);
    got = sizeof peer;
    T(getsockname(server, (void *)&peer, &got));
    V(got);
    SAY("%s", peer.sun_path);
    got = sizeof peer;
    T(getpeername(client, (void *)&peer, &got));
    SAY("%s", peer.sun_path);
    got = 4;
    T(getpeername(client, (void *)&peer, &got));
    V(got);
    T(read(server, buffer, 10));
    T(write(client, "hello", 5));
    T(write(client, "world", 5));
    T(recv(server, buffer, 3, MSG_PEEK));
    T(read(server, buffer, 32));
    dump("stream", buffer, 10);
    T(send(server, "oob", 3, MSG_OOB) == 3 || errno == EOPNOTSUPP);
    T(shutdown(client, SHUT_WR));
    T(read(server, buffer, 10));
    T(send(client, "x", 1, MSG_NOSIGNAL));
    T(write(server, "back", 4));
    T(close(server));
    T(read(client, buffer, 10) >= 4);
    T(read(client, buffer, 10) <= 0);
    int second = socket(AF_UNIX, SOCK_STREAM, 0);
    close(listener);
    T(connect(second, (void *)&address, length));
    T(getpeername(second, (void *)&peer, &got));
    T(unlink("stream.sock"));
    put("file", "");
    length = name(&address, "file");
    T(connect(second, (void *)&address, length));
    T(bind(second, (void *)&address, length));
    address.sun_family = AF_INET;
    T(bind(second, (void *)&address, length));
    T(bind(second, (void *)&address, 200));
    T(shutdown(second, SHUT_RD));
    T(send(second, "x", 1, MSG_NOSIGNAL));
    close(client), close(second);
}

static void abstract(void)
{
    struct sockaddr_un address;
    socklen_t length = name(&address, "@abstract");
    int a = socket(AF_UNIX, SOCK_STREAM, 0), b = socket(AF_UNIX, SOCK_STREAM, 0);

    T(bind(a, (void *)&address, length));
    T(bind(b, (void *)&address, length));
    T(listen(a, 5));
    T(connect(b, (void *)&address, length));
    T(connect(socket(AF_UNIX, SOCK_DGRAM, 0), (void *)&address, length));
    int c = socket(AF_UNIX, SOCK_STREAM, 0);
    T(bind(c, (void *)&address, 2));
    struct sockaddr_un mine;
    socklen_t got = sizeof mine;
    getsockname(c, (void *)&mine, &got);
    V(got);
    V(mine.sun_path[0]);
    for (int fd = 3; fd < 10; fd++)
        close(fd);
}

static void datagrams(void)
{
    struct sockaddr_un address, from;
    socklen_t length = name(&address, "dgram.sock"), got = sizeof from;
    char buffer[8] = "";
    int a = socket(AF_UNIX, SOCK_DGRAM, 0), b = socket(AF_UNIX, SOCK_DGRAM, 0);

    T(sendto(b, "x", 1, 0, (void *)&address, length));
    T(bind(a, (void *)&address, length));
    T(sendto(b, "first-long", 10, 0, (void *)&address, length));
    T(sendto(b, "", 0, 0, (void *)&address, length));
    T(sendto(b, "second", 6, 0, (void *)&address, length));
    int waiting;
    T(ioctl(a, FIONREAD, &waiting));
    V(waiting);
    T(recvfrom(a, buffer, 4, MSG_TRUNC, (void *)&from, &got));
    V(got);
    T(recv(a, buffer, 8, 0));
    T(recv(a, buffer, 8, 0));
    T(recv(a, buffer, 8, MSG_DONTWAIT));
    T(send(b, "x", 1, 0));
    T(connect(b, (void *)&address, length));
    T(send(b, "connected", 9, 0));
    struct iovec piece = {buffer, 4};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    T(recvmsg(a, &message, 0));
    V(message.msg_flags & MSG_TRUNC ? 1 : 0);
    T(listen(a, 1));
    T(close(a));
    T(send(b, "x", 1, MSG_NOSIGNAL));
    close(b);
    unlink("dgram.sock");
}

static void packets(void)
{
    int pair[2], kind;
    char buffer[8];
    socklen_t length = sizeof kind;

    T(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
    T(send(pair[0], "record one", 10, 0));
    T(send(pair[0], "two", 3, 0));
    T(recv(pair[1], buffer, 4, 0));
    T(recv(pair[1], buffer, 8, 0));
    T(close(pair[0]));
    T(recv(pair[1], buffer, 8, 0));
    T(getsockopt(pair[1], SOL_SOCKET, SO_TYPE, &kind, &length));
    V(kind);
    close(pair[1]);
    T(socketpair(AF_UNIX, SOCK_RAW, 0, pair));
    T(socketpair(AF_UNIX, 99, 0, pair));
    T(socketpair(AF_INET, SOCK_STREAM, 0, pair));
    T(socketpair(AF_UNIX, SOCK_STREAM, 5, pair));
    T(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, WILD));
}

static void rights(void)
{
    int pair[2], ends[2], got[4] = {-1, -1, -1, -1};
    char control[CMSG_SPACE(sizeof got)], byte = 'r';
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(2 * sizeof(int))};

    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    pipe(ends);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(2 * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(header), ends, sizeof ends);
    T(sendmsg(pair[0], &message, 0));
    close(ends[0]), close(ends[1]);
    message.msg_controllen = sizeof control;
    T(recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC));
    header = CMSG_FIRSTHDR(&message);
    V(header && header->cmsg_type == SCM_RIGHTS);
    V(header->cmsg_len);
    memcpy(got, CMSG_DATA(header), 2 * sizeof(int));
    T(fcntl(got[0], F_GETFD));
    T(write(got[1], "through", 7));
    char buffer[8];
    T(read(got[0], buffer, 8));
    message.msg_controllen = CMSG_SPACE(sizeof(int));
    header = CMSG_FIRSTHDR(&message);
    header->cmsg_len = CMSG_LEN(sizeof(int));
    *(int *)CMSG_DATA(header) = 99;
    T(sendmsg(pair[0], &message, 0));
    *(int *)CMSG_DATA(header) = got[0];
    T(sendmsg(pair[0], &message, 0));
    T(read(pair[1], buffer, 8));
    T(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)));
    T(send(pair[0], "c", 1, 0));
    message.msg_controllen = sizeof control;
    T(recvmsg(pair[1], &message, 0));
    header = CMSG_FIRSTHDR(&message);
    V(header && header->cmsg_type == SCM_CREDENTIALS);
    struct ucred peer;
    socklen_t length = sizeof peer;
    T(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &peer, &length));
    V(peer.pid == getpid() && peer.uid == getuid());
}

int main(void)
{
    streams();
    abstract();
    datagrams();
    packets();
    rights();
    return 0;
}
