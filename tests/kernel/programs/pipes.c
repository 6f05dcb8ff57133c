// SPDX-License-Identifier: Apache-2.0
// Pipes and FIFOs: capacity, atomic writes, end of file, SIGPIPE, nonblocking, FIONREAD, packets.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <sys/ioctl.h>

static void on_pipe(int number)
{
    (void)number;
    write(1, "SIGPIPE\n", 8);
}

static void basics(void)
{
    char buffer[16] = "";
    int ends[2], waiting = -1;

    T(pipe(ends));
    T(write(ends[1], "hello", 5));
    T(ioctl(ends[0], FIONREAD, &waiting));
    V(waiting);
    T(read(ends[0], buffer, 2));
    T(read(ends[0], buffer, 16));
    dump("rest", buffer, 3);
    T(lseek(ends[0], 0, SEEK_CUR));
    T(read(ends[1], buffer, 1));
    T(write(ends[0], buffer, 1));
    T(write(ends[1], buffer, 0));
    T(close(ends[1]));
    T(read(ends[0], buffer, 1));
    T(close(ends[0]));
    T(pipe(ends));
    T(close(ends[0]));
    signal(SIGPIPE, on_pipe);
    T(write(ends[1], "x", 1));
    signal(SIGPIPE, SIG_IGN);
    T(write(ends[1], "x", 1));
    T(write(ends[1], "", 0));
    close(ends[1]);
    struct stat s;
    pipe(ends);
    T(fstat(ends[0], &s));
    V(S_ISFIFO(s.st_mode));
    V(s.st_mode & 0777);
    T(fsync(ends[0]));
    close(ends[0]), close(ends[1]);
}

static void capacity(void)
{
    static char block[70000];
    int ends[2];

    pipe2(ends, O_NONBLOCK);
    T(read(ends[0], block, 1));
    T(write(ends[1], block, 70000));
    T(write(ends[1], block, 1));
    T(read(ends[0], block, 4095));
    T(write(ends[1], block, 1));
    T(read(ends[0], block, 1));
    T(write(ends[1], block, 4096));
    T(write(ends[1], block, 4097));
    T(read(ends[0], block, 70000));
    T(read(ends[0], block, 1));
    T(fcntl(ends[1], F_SETPIPE_SZ, 4096));
    T(write(ends[1], block, 70000));
    T(fcntl(ends[1], F_SETPIPE_SZ, 100));
    close(ends[0]), close(ends[1]);
}

static void *writer(void *arg)
{
    static char block[200000];

    for (size_t i = 0; i < sizeof block; i++)
        block[i] = i % 251;
    T(write(*(int *)arg, block, sizeof block));
    close(*(int *)arg);
    return NULL;
}

static void blocking(void)
{
    int ends[2];
    long total = 0, got, wrong = 0;
    static unsigned char block[7777];
    pthread_t thread;

    pipe(ends);
    pthread_create(&thread, NULL, writer, &ends[1]);
    while ((got = read(ends[0], block, sizeof block)) > 0) {
        for (long i = 0; i < got; i++)
            wrong += block[i] != (total + i) % 251;
        total += got;
    }
    pthread_join(thread, NULL);
    V(total);
    V(wrong);
    close(ends[0]);
}

static void *fifo_reader(void *arg)
{
    char buffer[32] = "";
    int fd = open("fifo", O_RDONLY);

    read(fd, buffer, 5);
    nap(30);
    SAY("reader got %s", buffer);
    read(fd, buffer, 5);
    close(fd);
    return arg;
}

static void fifos(void)
{
    pthread_t thread;

    T(mkfifo("fifo", 0600));
    T(mkfifo("fifo", 0600));
    T(open("fifo", O_WRONLY | O_NONBLOCK));
    int fd = T(open("fifo", O_RDONLY | O_NONBLOCK));
    char byte;
    T(read(fd, &byte, 1));
    close(fd);
    pthread_create(&thread, NULL, fifo_reader, NULL);
    fd = open("fifo", O_WRONLY);
    T(write(fd, "fifo!", 5));
    close(fd);
    pthread_join(thread, NULL);
    fd = T(open("fifo", O_RDWR));
    T(write(fd, "b", 1));
    T(read(fd, &byte, 1));
    close(fd);
    T(unlink("fifo"));
}

static void packets(void)
{
    char buffer[16];
    int ends[2];

    T(pipe2(ends, O_DIRECT));
    T(write(ends[1], "first", 5));
    T(write(ends[1], "second", 6));
    T(read(ends[0], buffer, 3));
    T(read(ends[0], buffer, 16));
    dump("packet", buffer, 6);
}

int main(void)
{
    basics();
    capacity();
    blocking();
    fifos();
    packets();
    return 0;
}
