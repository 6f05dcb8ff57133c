// SPDX-License-Identifier: Apache-2.0
// What clock_settime moves: absolute timers and sleeps on the wall clock, and nothing else. Not on Linux, whose clock is the host's:
// the expected answers stand in expect/clockset.uni.
// oracle: libc=glibc
#include "oracle.h"
#include <mqueue.h>
#include <semaphore.h>
#include <sys/timerfd.h>

static volatile int fired;

static void handler(int number)
{
    (void)number;
    fired++;
}

static void shift(long seconds)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += seconds;
    MUST(clock_settime(CLOCK_REALTIME, &now));
}

static struct timespec in(long seconds)
{
    struct timespec at;

    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += seconds;
    return at;
}

static void *mover(void *arg)
{
    nap(100);
    shift((long)arg);
    return NULL;
}

static pthread_t moving(long seconds)
{
    pthread_t t;

    pthread_create(&t, NULL, mover, (void *)seconds);
    return t;
}

static void timers(void)
{
    struct itimerspec when = {.it_value = in(1000)}, left;
    timer_t absolute, relative;

    signal(SIGALRM, handler);
    MUST(timer_create(CLOCK_REALTIME, NULL, &absolute));
    MUST(timer_create(CLOCK_REALTIME, NULL, &relative));
    MUST(timer_settime(absolute, TIMER_ABSTIME, &when, NULL));
    when.it_value = (struct timespec){500, 0};
    MUST(timer_settime(relative, 0, &when, NULL));
    shift(900);
    V(fired);
    shift(200);
    while (!fired)
        nap(5);
    V(fired);
    MUST(timer_gettime(relative, &left));
    V(left.it_value.tv_sec > 400 && left.it_value.tv_sec <= 500);
    when.it_value = in(1);
    MUST(timer_settime(absolute, TIMER_ABSTIME, &when, NULL));
    shift(-300);
    nap(1200);
    V(fired);
    timer_delete(absolute);
    timer_delete(relative);
}

static void sleeps(void)
{
    struct timespec at = in(3000);
    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t t = moving(3001);
    sem_t sem;

    E(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, NULL));
    pthread_join(t, NULL);
    at = in(3000);
    t = moving(3001);
    pthread_mutex_lock(&lock);
    E(pthread_cond_timedwait(&cond, &lock, &at));
    pthread_join(t, NULL);
    at = in(3000);
    t = moving(3001);
    sem_init(&sem, 0, 0);
    T(sem_timedwait(&sem, &at));
    pthread_join(t, NULL);
    struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = 8};
    mqd_t q = mq_open("/clock", O_CREAT | O_RDWR, 0600, &attr);
    char text[8];
    at = in(3000);
    t = moving(3001);
    T(mq_timedreceive(q, text, sizeof text, NULL, &at));
    pthread_join(t, NULL);
    mq_unlink("/clock");
}

static void descriptors(void)
{
    struct itimerspec when = {.it_value = in(1000)};
    int fd = timerfd_create(CLOCK_REALTIME, 0);
    uint64_t ticks;

    MUST(timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL));
    pthread_t t = moving(1001);
    T(read(fd, &ticks, sizeof ticks));
    V(ticks);
    pthread_join(t, NULL);
    when.it_value = in(1000);
    MUST(timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &when, NULL));
    t = moving(1);
    T(read(fd, &ticks, sizeof ticks));
    pthread_join(t, NULL);
}

int main(void)
{
    timers();
    sleeps();
    descriptors();
    return 0;
}
