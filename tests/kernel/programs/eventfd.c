// SPDX-License-Identifier: Apache-2.0
// eventfd: counter, semaphore, overflow, blocking, readiness.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <sys/eventfd.h>

static int shared;

static void *adder(void *arg)
{
    nap(30);
    uint64_t seven = 7;
    write(shared, &seven, 8);
    return arg;
}

static short ready(int fd)
{
    struct pollfd entry = {fd, POLLIN | POLLOUT, 0};

    poll(&entry, 1, 0);
    return entry.revents;
}

int main(void)
{
    uint64_t value = 0;
    int fd = T(eventfd(5, EFD_NONBLOCK));

    V(ready(fd));
    T(read(fd, &value, 8));
    V(value);
    V(ready(fd));
    T(read(fd, &value, 8));
    T(read(fd, &value, 7));
    T(write(fd, &value, 7));
    value = UINT64_MAX;
    T(write(fd, &value, 8));
    value = UINT64_MAX - 1;
    T(write(fd, &value, 8));
    V(ready(fd));
    value = 1;
    T(write(fd, &value, 8));
    T(read(fd, &value, 16));
    V(value == UINT64_MAX - 1);
    value = 0;
    T(write(fd, &value, 8));
    T(read(fd, &value, 8));
    T(write(fd, WILD, 8));
    T(lseek(fd, 0, SEEK_SET));
    close(fd);
    fd = T(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK));
    for (int i = 0; i < 4; i++) {
        value = 99;
        T(read(fd, &value, 8));
        V(value);
    }
    T(eventfd(0, 0x7));
    T(eventfd(0, EFD_CLOEXEC));
    shared = T(eventfd(0, 0));
    pthread_t thread;
    pthread_create(&thread, NULL, adder, NULL);
    T(read(shared, &value, 8));
    V(value);
    pthread_join(thread, NULL);
    struct stat s;
    T(fstat(shared, &s));
    V(s.st_mode & S_IFMT);
    return 0;
}
