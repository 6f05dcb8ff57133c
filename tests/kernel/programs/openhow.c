// SPDX-License-Identifier: Apache-2.0
// openat2(2) refuses what open(2) drops; what F_GETFL and /proc/self/fdinfo then say of the descriptor.
// oracle: cwd=/scratch,/tmp
#include "oracle.h"
#include <linux/openat2.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

static long open2(const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
    struct open_how how = {flags, mode, resolve};

    return syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}

static void tried(const char *what, const char *path, uint64_t flags, uint64_t mode)
{
    long fd = open2(path, flags, mode, 0);

    if (fd < 0) {
        SAY("%s: %s", what, errname(errno));
        return;
    }
    SAY("%s: F_GETFL %x, F_GETFD %d", what, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
    close(fd);
}
#define TRY(path, flags, mode) tried(#flags, path, flags, mode)

static void information(const char *what, int fd)
{
    char path[40], text[2000] = "";
    int info;

    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    info = open(path, O_RDONLY);
    read(info, text, sizeof text - 1);
    close(info);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strncmp(line, "mnt_id:", 7) && strncmp(line, "ino:", 4) && strncmp(line, "eventfd-id", 10) && strncmp(line, "eventfd-sem", 11)) {
            char *end = strstr(line, " pos:");
            if (end)
                *end = 0;
            SAY("%s %s", what, line);
        }
}

int main(void)
{
    int fd = creat("file", 0644);
    struct epoll_event event = {EPOLLIN | EPOLLET, {.u64 = 0x1234}};
    sigset_t set;

    close(fd);
    TRY("file", O_RDONLY, 0);
    TRY("file", O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_APPEND, 0);
    TRY("file", O_PATH, 0);
    TRY("file", O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    TRY(".", O_PATH | O_DIRECTORY, 0);
    TRY("file", O_PATH | O_RDWR, 0);
    TRY("file", O_PATH | O_CREAT, 0);
    TRY("file", O_PATH | O_EXCL, 0);
    TRY("file", O_PATH | O_NONBLOCK, 0);
    TRY("file", O_PATH | O_LARGEFILE, 0);
    TRY(".", O_TMPFILE | O_RDWR, 0600);
    TRY(".", O_TMPFILE | O_WRONLY | O_EXCL, 0600);
    TRY(".", O_TMPFILE | O_RDONLY, 0600);
    TRY(".", O_TMPFILE | O_PATH, 0);
    TRY(".", O_TMPFILE | O_CREAT | O_RDWR, 0600);
    TRY(".", (O_TMPFILE & ~O_DIRECTORY) | O_RDWR, 0600);
    TRY("file", O_CREAT | O_EXCL | O_RDWR, 0600);
    fd = T(open("file", O_PATH | O_RDWR | O_CREAT | O_NONBLOCK, 0600));
    SAY("open drops: %x", fcntl(fd, F_GETFL));
    close(fd);
    fd = open("file", O_RDONLY | O_NOFOLLOW | O_NOCTTY);
    SAY("%x", fcntl(fd, F_GETFL));
    close(fd);
    T(open2("/proc/self/exe", O_PATH | O_NOFOLLOW, 0, RESOLVE_NO_MAGICLINKS) >= 0);
    T(open2("/proc/self/exe", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
    T(open2("/proc/self/fd/0", O_PATH, 0, RESOLVE_NO_MAGICLINKS));
    T(open2("/proc/mounts", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS) >= 0);
    T(open2("/proc/self/comm", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
    fd = open("file", O_RDWR | O_CLOEXEC);
    lseek(fd, 7, SEEK_SET);
    information("file", fd);
    fd = eventfd(5, EFD_NONBLOCK);
    information("eventfd", fd);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMAX);
    information("signalfd", signalfd(-1, &set, SFD_CLOEXEC));
    int ep = epoll_create1(0);
    dup2(fd, 40);
    epoll_ctl(ep, EPOLL_CTL_ADD, 40, &event);
    information("epoll", ep);
    return 0;
}
