// SPDX-License-Identifier: Apache-2.0
// Timers whose signal waits: the timer stands still, its overruns are counted at the delivery; ignored and queued signals' limits.
// oracle: libc=musl
#include "oracle.h"
#include <sys/resource.h>

static volatile int caught, overruns;

static void on_timer(int number, siginfo_t *info, void *context)
{
    (void)context;
    caught++;
    overruns = info->si_overrun;
    (void)number;
}

static timer_t start(int notify, int number, long value, long interval)
{
    struct sigevent event = {.sigev_notify = notify, .sigev_signo = number};
    struct itimerspec when = {{interval / 1000000000, interval % 1000000000}, {value / 1000000000, value % 1000000000}};
    timer_t t;

    MUST(timer_create(CLOCK_MONOTONIC, &event, &t));
    MUST(timer_settime(t, 0, &when, NULL));
    return t;
}

static void blocked(void)
{
    struct itimerspec left, none = {{0, 0}, {0, 0}};
    sigset_t set;
    timer_t t;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    t = start(SIGEV_SIGNAL, SIGUSR1, 1000000, 2);
    nap(50);
    MUST(timer_gettime(t, &left));
    V(left.it_value.tv_sec == 0 && left.it_value.tv_nsec <= 2 && left.it_interval.tv_nsec == 2);
    // A timer so fast is over again at once: only the first delivery is of interest.
    signal(SIGUSR2, SIG_IGN);
    siginfo_t info;
    T(sigtimedwait(&set, &info, &(struct timespec){1, 0}));
    V(info.si_overrun > 1000000);
    MUST(timer_settime(t, 0, &none, NULL));
    MUST(timer_gettime(t, &left));
    V(left.it_value.tv_nsec);
    V(timer_getoverrun(t) > 1000000);
    MUST(timer_delete(t));
    while (sigtimedwait(&set, &info, &(struct timespec){0, 0}) > 0)
        ;
    t = start(SIGEV_SIGNAL, SIGUSR1, 1000000, 10000000);
    nap(105);
    T(sigwaitinfo(&set, &info));
    V(info.si_overrun >= 8 && info.si_overrun < 60);
    T(sigwaitinfo(&set, &info));
    V(info.si_overrun < 50);
    MUST(timer_delete(t));
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void ignored(void)
{
    struct sigaction action = {.sa_sigaction = on_timer, .sa_flags = SA_SIGINFO};
    timer_t t;

    signal(SIGUSR1, SIG_IGN);
    t = start(SIGEV_SIGNAL, SIGUSR1, 1000000, 20000000);
    nap(30);
    V(caught);
    sigaction(SIGUSR1, &action, NULL);
    while (caught < 3)
        nap(5);
    V(caught >= 3);
    MUST(timer_delete(t));
    t = start(SIGEV_NONE, 0, 1000000, 1000);
    nap(20);
    struct itimerspec left;
    MUST(timer_gettime(t, &left));
    V(left.it_value.tv_nsec <= 1000 && left.it_interval.tv_nsec == 1000);
    T(timer_getoverrun(t));
    MUST(timer_delete(t));
}

static void queued(void)
{
    struct rlimit few = {5, 5};
    sigset_t set;
    siginfo_t info;
    int n = 0;

    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    MUST(setresuid(54321, 54321, 54321));       // signals are counted by user
    MUST(setrlimit(RLIMIT_SIGPENDING, &few));
    for (int i = 0; i < 8; i++)
        n += sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}) == 0;
    V(n);
    T(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 9}));
    T(kill(getpid(), SIGRTMIN));
    T(sigqueue(getpid(), SIGTERM, (union sigval){.sival_int = 9}));
    for (int i = 0; i < 5; i++) {
        T(sigwaitinfo(&set, &info));
        V(info.si_code);
    }
    T(sigtimedwait(&set, &info, &(struct timespec){0, 0}));
    T(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 9}));
}

int main(void)
{
    blocked();
    ignored();
    queued();
    return 0;
}
