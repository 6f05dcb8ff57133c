// SPDX-License-Identifier: Apache-2.0
// Which calls a handler interrupts and which start again, with and without SA_RESTART.
// oracle: libc=musl
#include "oracle.h"
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>

static volatile int count;
static int feed = -1;

static void handler(int number)
{
    (void)number;
    count++;
}

static void *kicker(void *arg)
{
    for (int i = 0; i < 2; i++) {
        nap(30);
        pthread_kill(*(pthread_t *)arg, SIGUSR1);
    }
    nap(30);
    if (feed != -1)
        write(feed, "fed", 3);
    return NULL;
}

static pthread_t thread;
static pthread_t self;

static void begin(int flags, int fd)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

    sigaction(SIGUSR1, &action, NULL);
    count = 0;
    feed = fd;
    pthread_create(&thread, NULL, kicker, &self);
}

static void end(void)
{
    pthread_join(thread, NULL);
    V(count);
}

static void reading(int flags)
{
    char buffer[8];
    int ends[2], pair[2];

    pipe(ends);
    begin(flags, ends[1]);
    T(read(ends[0], buffer, 8));
    end();
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    begin(flags, pair[1]);
    T(recv(pair[0], buffer, 8, 0));
    end();
    struct timeval limit = {5, 0};
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    recv(pair[0], buffer, 8, MSG_DONTWAIT);
    begin(flags, -1);
    T(recv(pair[0], buffer, 8, 0));
    end();
    close(ends[0]), close(ends[1]), close(pair[0]), close(pair[1]);
}

static void sleeping(int flags)
{
    struct timespec request = {5, 0}, left = {9, 9};
    int word = 0;

    begin(flags, -1);
    T(nanosleep(&request, &left));
    V(left.tv_sec < 5);
    end();
    begin(flags, -1);
    E(clock_nanosleep(CLOCK_MONOTONIC, 0, &request, &left));
    end();
    begin(flags, -1);
    T(epoll_wait(epoll_create1(0), &(struct epoll_event){0}, 1, 5000));
    end();
    begin(flags, -1);
    T(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &request, NULL, 0));
    end();
    begin(flags, -1);
    T(poll(NULL, 0, 5000));
    end();
    begin(flags, -1);
    T(select(0, NULL, NULL, NULL, &(struct timeval){5, 0}));
    end();
    sigset_t none;
    sigemptyset(&none);
    sigaddset(&none, SIGUSR2);
    begin(flags, -1);
    T(sigtimedwait(&none, NULL, &request));
    end();
}

static void waiting(int flags)
{
    int a = open("f", O_CREAT | O_RDWR, 0600);

    begin(flags, -1);
    T(pause());
    end();
    close(a);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(listener, &(struct sockaddr){AF_UNIX, "\0listener"}, sizeof(struct sockaddr));
    listen(listener, 1);
    struct timeval limit = {5, 0};
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    begin(flags, -1);
    T(accept(listener, NULL, NULL));
    end();
    close(listener);
}

int main(void)
{
    self = pthread_self();
    SAY("without SA_RESTART");
    reading(0);
    sleeping(0);
    waiting(0);
    SAY("with SA_RESTART");
    reading(SA_RESTART);
    sleeping(SA_RESTART);
    waiting(SA_RESTART);
    return 0;
}
