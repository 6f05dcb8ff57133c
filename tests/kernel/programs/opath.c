// SPDX-License-Identifier: Apache-2.0
// A descriptor opened with O_PATH names a place and nothing else: what every other call makes of it.
// oracle: cwd=/scratch,/tmp
#include "oracle.h"
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/xattr.h>

static void calls(const char *what, int fd, int plain)
{
    char buffer[200];
    struct iovec part = {buffer, sizeof buffer};
    struct pollfd ready = {fd, POLLIN | POLLOUT, 0};
    struct epoll_event event = {EPOLLIN, {0}};
    struct statfs fs;
    struct stat st;
    int epoll = epoll_create1(0), value = 0, pair[2];

    SAY("-- %s", what);
    T(read(fd, buffer, 1));
    T(write(fd, buffer, 1));
    T(pread(fd, buffer, 1, 0));
    T(readv(fd, &part, 1));
    T(lseek(fd, 0, SEEK_SET));
    M(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0));
    M(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
    M(mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE, fd, 0));
    T(fsync(fd));
    T(fdatasync(fd));
    T(syncfs(fd));
    T(ftruncate(fd, 0));
    T(posix_fallocate(fd, 0, 10));
    T(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    T(readahead(fd, 0, 10));
    T(sync_file_range(fd, 0, 0, 0));
    T(ioctl(fd, FIONREAD, &value));
    T(ioctl(fd, FIOCLEX));
    T(flock(fd, LOCK_SH));
    T(fcntl(fd, F_GETFL) & O_PATH);
    T(fcntl(fd, F_SETFL, O_APPEND));
    T(fcntl(fd, F_GETLK, &(struct flock){F_RDLCK, SEEK_SET, 0, 0, 0}));
    T(fcntl(fd, F_SETLK, &(struct flock){F_RDLCK, SEEK_SET, 0, 0, 0}));
    T(fcntl(fd, F_GETOWN));
    T(fcntl(fd, F_SETOWN, 1));
    T(fcntl(fd, F_GETPIPE_SZ));
    T(fcntl(fd, F_GET_SEALS));
    T(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    T(poll(&ready, 1, 0));
    V(ready.revents);
    T(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    T(epoll_ctl(fd, EPOLL_CTL_ADD, epoll, &event));
    T(epoll_wait(fd, &event, 1, 0));
    T(sendfile(plain, fd, NULL, 1));
    T(sendfile(fd, plain, NULL, 1));
    T(copy_file_range(plain, NULL, fd, NULL, 1, 0));
    T(copy_file_range(fd, NULL, plain, NULL, 1, 0));
    T(splice(fd, NULL, plain, NULL, 1, 0));
    T(bind(fd, (void *)buffer, 16));
    T(recv(fd, buffer, 1, 0));
    T(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &(socklen_t){sizeof value}));
    T(fchmod(fd, 0700));
    T(fchown(fd, 0, 0));
    T(futimens(fd, NULL));
    T(fgetxattr(fd, "user.a", buffer, 10));
    T(fsetxattr(fd, "user.a", "x", 1, 0));
    T(flistxattr(fd, buffer, 10));
    T(fstat(fd, &st));
    T(fstatfs(fd, &fs));
    T(faccessat(fd, "", R_OK, 0));
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    union { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control = {.align = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.align), &fd, sizeof fd);
    struct msghdr message = {.msg_iov = &(struct iovec){"x", 1}, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    T(sendmsg(pair[0], &message, MSG_DONTWAIT));
    close(pair[0]);
    close(pair[1]);
    close(epoll);
    T(close(fd));
}

int main(void)
{
    struct sockaddr_un at = {AF_UNIX, "sock"};
    char *argv[] = {"true", NULL}, *env[] = {NULL};
    int socket_fd = socket(AF_UNIX, SOCK_STREAM, 0), plain, opened;

    put("file", "text");
    symlink("file", "link");
    mkdir("dir", 0755);
    mkfifo("fifo", 0644);
    bind(socket_fd, (void *)&at, sizeof at);
    plain = open("other", O_CREAT | O_RDWR, 0644);
    calls("file", open("file", O_PATH), plain);
    calls("file, O_RDWR too", open("file", O_PATH | O_RDWR), plain);
    calls("directory", open("dir", O_PATH | O_DIRECTORY), plain);
    calls("symbolic link", open("link", O_PATH | O_NOFOLLOW), plain);
    calls("fifo", open("fifo", O_PATH), plain);
    calls("socket", open("sock", O_PATH), plain);
    calls("device", open("/dev/zero", O_PATH), plain);
    put("script", "#!/none\n");
    opened = open("script", O_PATH);
    T(syscall(SYS_execveat, opened, "", argv, env, AT_EMPTY_PATH));
    chmod("script", 0755);
    T(syscall(SYS_execveat, opened, "", argv, env, AT_EMPTY_PATH));
    return 0;
}
