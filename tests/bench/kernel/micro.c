// SPDX-License-Identifier: Apache-2.0
// Microbenchmarks: each row does its work for a while and prints nanoseconds per operation, the best of several rounds. The same
// static binary runs on Uni and on Debian's cloud Linux, both under the same QEMU.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 20
#define FILE_PAGES 2048

static int zero, data;
static unsigned seed = 12345;

static long long now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void get_pid(long count)
{
    while (count--)
        syscall(SYS_getpid);
}

static void read_byte(long count)
{
    char byte;

    while (count--)
        if (read(zero, &byte, 1) != 1)
            abort();
}

static void map_touch(long count)
{
    while (count--) {
        char *p = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (int at = 0; at < 16384; at += 4096)
            p[at] = 1;
        munmap(p, 16384);
    }
}

static void *nothing(void *arg)
{
    return arg;
}

static void thread_join(long count)
{
    pthread_t thread;

    while (count--) {
        if (pthread_create(&thread, NULL, nothing, NULL))
            abort();
        pthread_join(thread, NULL);
    }
}

static int ball;

static void hit(int mine, long count)
{
    while (count--) {
        while (__atomic_load_n(&ball, __ATOMIC_ACQUIRE) != mine)
            syscall(SYS_futex, &ball, FUTEX_WAIT_PRIVATE, !mine, NULL, NULL, 0);
        __atomic_store_n(&ball, !mine, __ATOMIC_RELEASE);
        syscall(SYS_futex, &ball, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

static void *other_player(void *count)
{
    hit(1, (long)count);
    return NULL;
}

static void futex_ping_pong(long count)
{
    pthread_t thread;

    ball = 0;
    pthread_create(&thread, NULL, other_player, (void *)count);
    hit(0, count);
    pthread_join(thread, NULL);
}

static int there[2], back[2];

static void *echo(void *count)
{
    char byte;

    for (long left = (long)count; left--;)
        if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
            abort();
    return NULL;
}

static void pipe_ping_pong(long count)
{
    pthread_t thread;
    char byte = 'b';

    pthread_create(&thread, NULL, echo, (void *)count);
    while (count--)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            abort();
    pthread_join(thread, NULL);
}

static void create_unlink(long count)
{
    while (count--) {
        int fd = open("/scratch/short-lived", O_CREAT | O_WRONLY, 0600);
        if (fd == -1)
            abort();
        close(fd);
        unlink("/scratch/short-lived");
    }
}

static void random_read(long count)
{
    static char block[4096];

    while (count--) {
        seed = seed * 1103515245 + 12345;
        if (pread(data, block, sizeof block, (off_t)(seed >> 8) % FILE_PAGES * 4096) != sizeof block)
            abort();
    }
}

static void clock_read(long count)
{
    while (count--)
        now();
}

static const struct row {
    const char *name;
    void (*work)(long count);
    long count;
} rows[] = {
    {"getpid", get_pid, 20000},
    {"read of 1 byte", read_byte, 20000},
    {"mmap, touch 4 pages, munmap", map_touch, 2000},
    {"thread create and join", thread_join, 500},
    {"futex ping-pong", futex_ping_pong, 2000},
    {"pipe ping-pong", pipe_ping_pong, 2000},
    {"file create and unlink", create_unlink, 500},
    {"4 KiB random read", random_read, 3000},
    {"clock_gettime", clock_read, 50000},
};

static void prepare(void)
{
    static char block[65536];

    zero = open("/dev/zero", O_RDONLY);
    data = open("/scratch/data", O_CREAT | O_RDWR, 0600);
    for (int i = 0; i < FILE_PAGES * 4096 / (int)sizeof block; i++)
        if (write(data, block, sizeof block) != sizeof block)
            abort();
    fsync(data);
    if (zero == -1 || pipe(there) == -1 || pipe(back) == -1)
        abort();
}

int main(void)
{
    prepare();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        long long best = 1LL << 62;
        for (int round = 0; round < ROUNDS; round++) {
            long long start = now();
            rows[i].work(rows[i].count);
            long long spent = now() - start;
            if (spent < best)
                best = spent;
        }
        printf("%s\t%lld\n", rows[i].name, best / rows[i].count);
        fflush(stdout);
    }
    return 0;
}
