// SPDX-License-Identifier: Apache-2.0
// flock, POSIX record locks and open-file-description locks, within one process.
// oracle: libc=musl cwd=/scratch,/tmp
#include "oracle.h"
#include <sys/file.h>

static struct flock range(int type, long start, long length)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
}

static void whole_files(void)
{
    int a = open("f", O_CREAT | O_RDWR, 0600), b = open("f", O_RDWR), copy = dup(a);

    T(flock(a, LOCK_EX));
    T(flock(b, LOCK_SH | LOCK_NB));
    T(flock(copy, LOCK_SH | LOCK_NB));
    T(flock(b, LOCK_SH | LOCK_NB));
    T(flock(b, LOCK_EX | LOCK_NB));
    T(flock(a, LOCK_UN));
    T(flock(b, LOCK_EX | LOCK_NB));
    T(close(b));
    T(flock(a, LOCK_EX | LOCK_NB));
    T(flock(a, 0));
    T(flock(99, LOCK_EX));
    close(a);
    b = open("f", O_RDONLY);
    T(flock(b, LOCK_EX | LOCK_NB));
    close(copy);
    T(flock(b, LOCK_EX | LOCK_NB));
    close(b);
}

static void records(void)
{
    int a = open("f", O_RDWR), b = open("f", O_RDWR), readonly = open("f", O_RDONLY);
    struct flock lock = range(F_WRLCK, 0, 10);

    T(fcntl(a, F_SETLK, &lock));
    T(fcntl(b, F_SETLK, &lock));
    lock = range(F_WRLCK, 5, 10);
    T(fcntl(b, F_GETLK, &lock));
    V(lock.l_type == F_UNLCK);
    lock = range(F_WRLCK, 0, 1);
    T(fcntl(readonly, F_SETLK, &lock));
    lock = range(F_RDLCK, 20, 0);
    T(fcntl(readonly, F_SETLKW, &lock));
    lock = range(77, 0, 0);
    T(fcntl(a, F_SETLK, &lock));
    lock = range(F_WRLCK, -5, 1);
    T(fcntl(a, F_SETLK, &lock));
    lock = range(F_UNLCK, 0, 0);
    T(fcntl(a, F_SETLK, &lock));
    T(fcntl(a, F_SETLK, WILD));
    T(fcntl(99, F_SETLK, &lock));
    close(a), close(b), close(readonly);
}

static void descriptions(void)
{
    int a = open("f", O_RDWR), b = open("f", O_RDWR);
    struct flock lock = range(F_WRLCK, 0, 10);

    T(fcntl(a, F_OFD_SETLK, &lock));
    T(fcntl(b, F_OFD_SETLK, &lock));
    lock = range(F_RDLCK, 8, 20);
    T(fcntl(b, F_OFD_GETLK, &lock));
    SAY("held: type %d start %ld length %ld pid %d", lock.l_type, (long)lock.l_start, (long)lock.l_len, lock.l_pid);
    lock = range(F_WRLCK, 10, 10);
    T(fcntl(b, F_OFD_SETLK, &lock));
    lock = range(F_UNLCK, 3, 4);
    T(fcntl(a, F_OFD_SETLK, &lock));
    lock = range(F_RDLCK, 3, 4);
    T(fcntl(b, F_OFD_SETLK, &lock));
    lock = range(F_RDLCK, 2, 4);
    T(fcntl(b, F_OFD_SETLK, &lock));
    lock = range(F_RDLCK, 0, 10);
    T(fcntl(a, F_OFD_SETLK, &lock));
    lock = range(F_RDLCK, 0, 10);
    T(fcntl(b, F_OFD_SETLK, &lock));
    lock.l_pid = 1;
    T(fcntl(b, F_OFD_SETLK, &lock));
    close(a);
    lock = range(F_WRLCK, 0, 0);
    T(fcntl(b, F_OFD_SETLK, &lock));
    close(b);
}

static int waiter_fd;

static void *waiter(void *arg)
{
    T(flock(waiter_fd, LOCK_EX));
    return arg;
}

static void waiting(void)
{
    pthread_t thread;
    int a = open("f", O_RDWR);

    waiter_fd = open("f", O_RDWR);
    flock(a, LOCK_EX);
    pthread_create(&thread, NULL, waiter, NULL);
    nap(50);
    SAY("release");
    flock(a, LOCK_UN);
    pthread_join(thread, NULL);
    T(flock(a, LOCK_SH | LOCK_NB));
}

int main(void)
{
    whole_files();
    records();
    descriptions();
    waiting();
    return 0;
}
