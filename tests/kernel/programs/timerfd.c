// SPDX-License-Identifier: Apache-2.0
// timerfd: one shot, periodic, absolute, disarmed, readiness.
// oracle: libc=musl
#include "oracle.h"
#include <sys/timerfd.h>

static void set(int fd, int flags, long milliseconds, long every)
{
    struct itimerspec when = {{every / 1000, every % 1000 * 1000000}, {milliseconds / 1000, milliseconds % 1000 * 1000000}};

    T(timerfd_settime(fd, flags, &when, NULL));
}

int main(void)
{
    uint64_t count = 0;
    struct itimerspec now, old, bad = {{0, 0}, {0, 1000000000}};
    int fd = T(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));

    T(read(fd, &count, 8));
    T(timerfd_gettime(fd, &now));
    V(now.it_value.tv_sec + now.it_value.tv_nsec);
    set(fd, 0, 30, 0);
    T(read(fd, &count, 8));
    struct pollfd entry = {fd, POLLIN, 0};
    T(poll(&entry, 1, 5000));
    T(read(fd, &count, 7));
    T(read(fd, &count, 8));
    V(count);
    T(read(fd, &count, 8));
    set(fd, 0, 5, 5);
    nap(60);
    T(read(fd, &count, 8));
    V(count >= 5);
    T(timerfd_gettime(fd, &now));
    V(now.it_interval.tv_nsec);
    V(now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 5000000);
    set(fd, 0, 0, 0);
    T(read(fd, &count, 8));
    set(fd, 0, 100000, 0);
    T(timerfd_settime(fd, 0, &(struct itimerspec){{0, 0}, {0, 0}}, &old));
    V(old.it_value.tv_sec >= 99 && old.it_value.tv_sec <= 100);
    set(fd, TFD_TIMER_ABSTIME, 1, 0);
    T(poll(&entry, 1, 5000));
    T(read(fd, &count, 8));
    V(count);
    T(timerfd_settime(fd, 0, &bad, NULL));
    T(timerfd_settime(fd, 0x100, &now, NULL));
    T(timerfd_settime(fd, 0, WILD, NULL));
    T(timerfd_settime(0, 0, &now, NULL));
    T(timerfd_settime(99, 0, &now, NULL));
    T(timerfd_gettime(fd, WILD));
    T(timerfd_create(77, 0));
    T(timerfd_create(CLOCK_REALTIME, 0x10));
    T(write(fd, &count, 8));
    int wall = T(timerfd_create(CLOCK_REALTIME, 0));
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    struct itimerspec soon = {{0, 0}, {t.tv_sec, t.tv_nsec}};
    T(timerfd_settime(wall, TFD_TIMER_ABSTIME, &soon, NULL));
    T(read(wall, &count, 8));
    V(count);
    long long before = now_ms(CLOCK_MONOTONIC);
    set(wall, 0, 40, 0);
    T(read(wall, &count, 8));
    V(now_ms(CLOCK_MONOTONIC) - before >= 39);
    return 0;
}
