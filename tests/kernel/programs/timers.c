// SPDX-License-Identifier: Apache-2.0
// setitimer, alarm, timer_create in its ways, clocks, nanosleep, gettimeofday, times.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <sys/times.h>

static volatile int count, value, code, overrun;

static void handler(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    count++;
    value = info->si_value.sival_int;
    code = info->si_code;
    if (count == 1)             // what timer_getoverrun says is of the last signal, and on a busy machine there may be two
        overrun = info->si_overrun;
}

static void interval(void)
{
    struct itimerval soon = {{0, 0}, {0, 400000}}, every = {{0, 5000}, {0, 5000}}, off = {{0, 0}, {0, 0}}, old;

    T(setitimer(ITIMER_REAL, &soon, NULL));
    T(pause());
    V(count);
    T(getitimer(ITIMER_REAL, &old));
    V(old.it_value.tv_sec + old.it_value.tv_usec);
    count = 0;
    T(setitimer(ITIMER_REAL, &every, NULL));
    while (count < 4)
        pause();
    T(setitimer(ITIMER_REAL, &off, &old));
    V(old.it_interval.tv_usec);
    T(setitimer(9, &soon, NULL));
    T(setitimer(ITIMER_REAL, WILD, NULL));
    soon.it_value.tv_usec = 1000000;
    T(setitimer(ITIMER_REAL, &soon, NULL));
    V(alarm(100));
    V(alarm(0) >= 99);
    V(alarm(0));
    signal(SIGVTALRM, SIG_IGN);
    count = 0;
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGVTALRM, &action, NULL);
    struct itimerval burn = {{0, 0}, {0, 30000}};
    T(setitimer(ITIMER_VIRTUAL, &burn, NULL));
    while (!count)
        ;
    V(count);
}

static void posix(void)
{
    timer_t timer, other;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 321};
    struct itimerspec soon = {{0, 0}, {0, 20000000}}, now;

    count = 0;
    T(timer_create(CLOCK_MONOTONIC, &event, &timer));
    T(timer_settime(timer, 0, &soon, NULL));
    while (!count)
        pause();
    V(value);
    V(code);
    T(timer_gettime(timer, &now));
    V(now.it_value.tv_nsec);
    T(timer_getoverrun(timer));
    soon.it_interval.tv_nsec = 2000000;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    T(timer_settime(timer, 0, &soon, NULL));
    nap(60);
    count = 0;
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    V(count >= 1);
    V(overrun > 0);
    V(timer_getoverrun(timer) >= 0);
    T(timer_delete(timer));
    T(syscall(SYS_timer_delete, 12345));
    T(syscall(SYS_timer_gettime, 12345, &now));
    event.sigev_notify = SIGEV_NONE;
    T(timer_create(CLOCK_REALTIME, &event, &other));
    soon = (struct itimerspec){{0, 0}, {100, 0}};
    T(timer_settime(other, 0, &soon, NULL));
    T(timer_gettime(other, &now));
    V(now.it_value.tv_sec == 99 || now.it_value.tv_sec == 100);
    soon.it_value.tv_nsec = -1;
    T(timer_settime(other, 0, &soon, NULL));
    T(syscall(SYS_timer_settime, other, 0, WILD, NULL));
    T(timer_delete(other));
    event.sigev_notify = 99;
    T(timer_create(CLOCK_REALTIME, &event, &other));
    T(timer_create(77, NULL, &other));
    T(syscall(SYS_timer_create, CLOCK_REALTIME, NULL, WILD));
}

static void clocks(void)
{
    struct timespec a, b, resolution;
    struct timeval tv;
    struct tms tms;
    const clockid_t all[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW,
                             CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_TAI};

    for (size_t i = 0; i < COUNT(all); i++) {
        int first = syscall(SYS_clock_gettime, all[i], &a);
        for (volatile int spin = 0; spin < 100000; spin++)
            ;
        int second = clock_gettime(all[i], &b);
        SAY("clock %d: %d %d resolution %d, forward %d", all[i], first, second, clock_getres(all[i], &resolution),
            b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec));
    }
    T(clock_gettime(99, &a));
    T(clock_getres(99, &a));
    T(syscall(SYS_clock_gettime, CLOCK_REALTIME, WILD));
    T(clock_settime(CLOCK_MONOTONIC, &a));
    clock_gettime(CLOCK_REALTIME, &a);
    gettimeofday(&tv, NULL);
    V(tv.tv_sec - a.tv_sec <= 1 && a.tv_sec > 1700000000);
    V(time(NULL) - tv.tv_sec <= 1);
    V(times(&tms) != -1);
    V(syscall(SYS_time, NULL) - tv.tv_sec <= 1);
    clockid_t mine;
    E(clock_getcpuclockid(0, &mine));
    T(clock_gettime(mine, &a));
    E(pthread_getcpuclockid(pthread_self(), &mine));
    T(clock_gettime(mine, &a));
}

static void sleeping(void)
{
    struct timespec little = {0, 20000000}, bad = {0, 1000000000}, negative = {-1, 0}, when;
    long long before = now_ms(CLOCK_MONOTONIC);

    T(nanosleep(&little, NULL));
    V(now_ms(CLOCK_MONOTONIC) - before >= 19);
    T(nanosleep(&bad, NULL));
    T(nanosleep(&negative, NULL));
    T(syscall(SYS_nanosleep, WILD, NULL));
    clock_gettime(CLOCK_MONOTONIC, &when);
    before = now_ms(CLOCK_MONOTONIC);
    when.tv_nsec += 20000000;
    if (when.tv_nsec >= 1000000000)
        when.tv_sec++, when.tv_nsec -= 1000000000;
    E(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL));
    V(now_ms(CLOCK_MONOTONIC) - before >= 19);
    E(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &(struct timespec){5, 0}, NULL));
    E(clock_nanosleep(99, 0, &little, NULL));
    T(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &little, NULL));
    T(usleep(1000));
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};

    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    interval();
    posix();
    clocks();
    sleeping();
    return 0;
}
