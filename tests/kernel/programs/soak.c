// SPDX-License-Identifier: Apache-2.0
// Memory, files, mappings, pipes, sockets, signals, timers and threads that come and go, all at once in little memory. Everything that is
// read is checked against what was written. The argument is the number of rounds of each worker: run.py --rounds 2000 takes minutes.
// oracle: libc=musl,glibc memory=48 args=12 timeout=300
#include "oracle.h"
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

enum { MEMORY = 10 << 20, FILE_MOST = 1 << 20, MESSAGE = 5000, CHILDREN = 8 };

static int rounds;
static atomic_int wrong, alarms;

static void check(int good, const char *what, int round)
{
    if (!good) {
        SAY("%s is wrong in round %d: %s", what, round, errname(errno));
        wrong++;
    }
}

static unsigned next(unsigned *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 8;
}

static void fill(unsigned char *p, size_t size, unsigned seed)
{
    for (size_t at = 0; at < size; at++)
        p[at] = (unsigned char)((at * 7 + seed) >> (at & 3));
}

static int same(const unsigned char *p, size_t size, unsigned seed)
{
    for (size_t at = 0; at < size; at++)
        if (p[at] != (unsigned char)((at * 7 + seed) >> (at & 3)))
            return 0;
    return 1;
}

// Grows, shrinks, protects and moves one large area.
static void *memory(void *argument)
{
    unsigned seed = (unsigned)(long)argument;

    for (int round = 0; round < rounds; round++) {
        size_t size = (next(&seed) % (MEMORY / PAGE - 64) + 64) * PAGE, less = size / 2 / PAGE * PAGE;
        unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (size_t at = 0; at < size; at += PAGE)
            memcpy(p + at, &at, sizeof at);
        mprotect(p, size, PROT_READ);
        p = mremap(p, size, less, MREMAP_MAYMOVE);
        mprotect(p, less, PROT_READ | PROT_WRITE);
        p = mremap(p, less, less + 32 * PAGE, MREMAP_MAYMOVE);
        for (size_t at = 0; at < less; at += PAGE)
            check(!memcmp(p + at, &at, sizeof at), "memory", round);
        check(p[less] == 0, "memory behind", round);
        madvise(p, less, MADV_DONTNEED);
        check(p[0] == 0 && p[less - 1] == 0, "memory given back", round);
        munmap(p, less + 32 * PAGE);
    }
    return NULL;
}

// One file at a time: written in pieces, cut, read back, mapped, renamed over another.
static void *files(void *argument)
{
    unsigned seed = (unsigned)(long)argument * 77 + 1;
    unsigned char *whole = malloc(FILE_MOST), *got = malloc(FILE_MOST);
    char name[24], other[24];

    snprintf(name, sizeof name, "f%ld", (long)argument);
    snprintf(other, sizeof other, "g%ld", (long)argument);
    for (int round = 0; round < rounds; round++) {
        size_t size = next(&seed) % (FILE_MOST - PAGE) + PAGE, done = 0, cut = next(&seed) % size;
        int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        fill(whole, size, seed);
        while (done < size) {
            size_t piece = next(&seed) % 60000 + 1;
            ssize_t put = write(fd, whole + done, piece < size - done ? piece : size - done);
            if (put <= 0)
                break;
            done += put;
        }
        check(done == size, "write", round);
        if (round % 4 == 0)
            check(!fsync(fd), "fsync", round);
        check(!ftruncate(fd, cut) && !ftruncate(fd, size), "truncate", round);
        memset(whole + cut, 0, size - cut);
        check(pread(fd, got, size, 0) == (ssize_t)size && !memcmp(whole, got, size), "file", round);
        unsigned char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        check(!memcmp(map, whole, size), "mapping", round);
        map[size / 2] = whole[size / 2] = 0x5a;
        check(pread(fd, got, 1, size / 2) == 1 && got[0] == 0x5a, "page cache", round);
        munmap(map, size);
        check(!rename(name, other), "rename", round);
        close(fd);
        fd = open(other, O_RDONLY);
        check(read(fd, got, FILE_MOST) == (ssize_t)size && !memcmp(whole, got, size), "renamed file", round);
        close(fd);
        check(!unlink(other), "unlink", round);
    }
    free(whole);
    free(got);
    return NULL;
}

struct line {
    int ends[2];
};

static void *sender(void *argument)
{
    struct line *l = argument;
    unsigned char message[MESSAGE];

    for (int round = 0; round < rounds * 4; round++) {
        fill(message, sizeof message, round);
        for (size_t done = 0; done < sizeof message;) {
            ssize_t n = write(l->ends[1], message + done, sizeof message - done);
            if (n > 0)
                done += n;
            else if (errno != EINTR)
                return (void *)1;
        }
    }
    close(l->ends[1]);
    return NULL;
}

static void *receiver(void *argument)
{
    struct line *l = argument;
    unsigned char message[MESSAGE];

    for (int round = 0; round < rounds * 4; round++) {
        size_t done = 0;
        while (done < sizeof message) {
            ssize_t n = read(l->ends[0], message + done, sizeof message - done);
            if (n > 0)
                done += n;
            else if (n == 0 || errno != EINTR)
                break;
        }
        check(done == sizeof message && same(message, sizeof message, round), "message", round);
    }
    close(l->ends[0]);
    return NULL;
}

static void *child(void *argument)
{
    char *own = malloc(20000);

    memset(own, (int)(long)argument, 20000);
    sched_yield();
    long sum = own[0] + own[19999];
    free(own);
    return (void *)sum;
}

static void *crowd(void *argument)
{
    pthread_t t[CHILDREN];
    void *sum;

    (void)argument;
    for (int round = 0; round < rounds * 2; round++) {
        for (long n = 0; n < CHILDREN; n++)
            check(!pthread_create(&t[n], NULL, child, (void *)n), "pthread_create", round);
        for (long n = 0; n < CHILDREN; n++)
            check(!pthread_join(t[n], &sum) && (long)sum == 2 * n, "pthread_join", round);
    }
    return NULL;
}

static int events, post;

static void *waiter(void *argument)
{
    struct epoll_event got;
    uint64_t value, ticks = 0, sum = 0;
    int ep = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec every = {{0, 3000000}, {0, 3000000}};
    struct epoll_event a = {EPOLLIN, {.fd = events}}, b = {EPOLLIN, {.fd = timer}};

    (void)argument;
    timerfd_settime(timer, 0, &every, NULL);
    epoll_ctl(ep, EPOLL_CTL_ADD, events, &a);
    epoll_ctl(ep, EPOLL_CTL_ADD, timer, &b);
    while (sum < (uint64_t)rounds * 3 || !ticks) {
        if (epoll_wait(ep, &got, 1, -1) == 1 && read(got.data.fd, &value, 8) == 8)
            *(got.data.fd == events ? &sum : &ticks) += value;
    }
    check(sum == (uint64_t)rounds * 3, "eventfd", (int)sum);
    close(ep);
    close(timer);
    return NULL;
}

static void *poster(void *argument)
{
    uint64_t three = 3;

    (void)argument;
    for (int round = 0; round < rounds; round++) {
        check(write(post, &three, 8) == 8, "event", round);
        usleep(500);
    }
    return NULL;
}

static void on_alarm(int number)
{
    (void)number;
    alarms++;
}

int main(int argc, char **argv)
{
    struct sigaction act = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
    struct line pipes, sockets;
    struct { void *(*work)(void *); void *argument; } all[] = {
        {memory, (void *)1}, {memory, (void *)2}, {files, (void *)1}, {files, (void *)2}, {sender, &pipes}, {receiver, &pipes},
        {sender, &sockets}, {receiver, &sockets}, {crowd, NULL}, {waiter, NULL}, {poster, NULL},
    };
    pthread_t t[COUNT(all)];

    rounds = argc > 1 ? atoi(argv[1]) : 12;
    events = post = eventfd(0, 0);
    pipe(pipes.ends);
    socketpair(AF_UNIX, SOCK_STREAM, 0, sockets.ends);
    sigaction(SIGALRM, &act, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (size_t n = 0; n < COUNT(all); n++)
        pthread_create(&t[n], NULL, all[n].work, all[n].argument);
    for (size_t n = 0; n < COUNT(all); n++)
        pthread_join(t[n], NULL);
    while (!alarms)
        pause();
    setitimer(ITIMER_REAL, &never, NULL);
    V(atomic_load(&wrong));
    return wrong != 0;
}
