// SPDX-License-Identifier: Apache-2.0
// Futexes with priority inheritance: the lock protocol, errors, time-outs, death of an owner, inheritance itself, requeueing.
#include "oracle.h"
#include <linux/futex.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

static int lock, second, cond;

static long futex(int *at, int op, long value, const void *timeout, int *other, int third)
{
    return syscall(SYS_futex, at, op, value, timeout, other, third);
}

static int tid(void) { return syscall(SYS_gettid); }

static const char *word(int *at)
{
    static char text[64];
    int now = *at, owner = now & FUTEX_TID_MASK;

    snprintf(text, sizeof text, "%s%s%s", !owner ? "free" : owner == tid() ? "mine" : "another's", now & FUTEX_WAITERS ? " waiters" : "",
             now & FUTEX_OWNER_DIED ? " died" : "");
    return text;
}

static void fifo(int priority)
{
    struct sched_param p = {.sched_priority = priority};

    MUST(sched_setscheduler(0, priority ? SCHED_FIFO : SCHED_OTHER, &p));
}

static struct timespec in_ms(clockid_t clock, long ms)
{
    struct timespec t;

    clock_gettime(clock, &t);
    t.tv_nsec += ms * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static void errors(void)
{
    struct timespec past = {1, 0}, bad = {0, -1};
    int zero = 0;

    T(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    T(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    SAY("%s", word(&lock));
    T(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    T(futex(&lock, FUTEX_LOCK_PI2, 0, NULL, NULL, 0));
    T(futex(&lock, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
    T(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    SAY("%s", word(&lock));
    T(futex(&lock, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
    T(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    lock = 4000000;
    T(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    T(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    lock = FUTEX_OWNER_DIED;
    T(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    SAY("%s", word(&lock));
    lock = 0;
    T(futex(&lock, FUTEX_LOCK_PI, 0, &bad, NULL, 0));
    T(futex(&lock, FUTEX_LOCK_PI, 0, &past, NULL, 0));
    T(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    T(futex(WILD, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    T(futex(WILD, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    T(futex((int *)((char *)&lock + 2), FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    T(futex(guard_page(), FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    T(futex(&cond, FUTEX_WAIT_REQUEUE_PI, 1, NULL, &lock, 0));
    T(futex(&cond, FUTEX_WAIT_REQUEUE_PI, 0, NULL, &cond, 0));
    T(futex(&cond, FUTEX_WAIT_REQUEUE_PI, 0, &past, &lock, 0));
    T(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)0, &lock, 1));
    T(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)0, &lock, 0));
    T(futex(&cond, FUTEX_CMP_REQUEUE_PI, 2, (void *)0, &lock, 0));
    T(futex(&cond, FUTEX_CMP_REQUEUE_PI, 0, (void *)0, &lock, 0));
    T(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)0, &cond, 0));
    T(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)-1, &lock, 0));
    T(futex(&zero, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)0, WILD, 0));
}

static int *wanted;
static volatile int through;

static void *locker(void *arg)
{
    (void)arg;
    T(futex(wanted, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    SAY("the other has it: %s", word(wanted));
    through = 1;
    T(futex(wanted, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    SAY("the other gave it back: %s", word(wanted));
    return NULL;
}

static void contention(void)
{
    pthread_t t;
    struct timespec soon;

    wanted = &lock;
    MUST(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    pthread_create(&t, NULL, locker, NULL);
    nap(50);
    V(through);
    SAY("%s", word(&lock));
    T(futex(&lock, FUTEX_WAKE, 1, NULL, NULL, 0));
    T(futex(&lock, FUTEX_REQUEUE, 1, (void *)1, &second, 0));
    MUST(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    pthread_join(t, NULL);
    SAY("%s", word(&lock));
    soon = in_ms(CLOCK_MONOTONIC, 30);
    T(futex(&lock, FUTEX_LOCK_PI2, 0, &soon, NULL, 0));
    T(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
}

static void *holder(void *arg)
{
    MUST(futex(arg, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    nap(600);
    MUST(futex(arg, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    return NULL;
}

static void *dies_holding(void *arg)
{
    MUST(futex(arg, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    nap(600);
    return NULL;
}

// An interrupted wait goes on; one with a deadline ends; the lock of a dead thread is inherited.
static void waits(void)
{
    pthread_t t;
    struct timespec soon;

    pthread_create(&t, NULL, holder, &lock);
    nap(50);
    soon = in_ms(CLOCK_REALTIME, 50);
    T(futex(&lock, FUTEX_LOCK_PI, 0, &soon, NULL, 0));
    T(futex(&lock, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
    T(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    pthread_join(t, NULL);
    SAY("%s", word(&lock));
    pthread_create(&t, NULL, dies_holding, &lock);
    nap(50);
    T(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    SAY("%s", word(&lock));
    lock = tid();
    T(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    pthread_join(t, NULL);
}

static volatile int has_first;

static void *crosser(void *arg)
{
    (void)arg;
    MUST(futex(&second, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    has_first = 1;
    MUST(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    MUST(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    MUST(futex(&second, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    return NULL;
}

static void deadlock(void)
{
    pthread_t t;

    MUST(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    pthread_create(&t, NULL, crosser, NULL);
    nap(50);
    T(futex(&second, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    MUST(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    pthread_join(t, NULL);
}

// The classical inversion: low has the lock, middle computes, high wants the lock. With inheritance low goes on before middle.
static char order[16];
static int nr_order;

static void note(char who) { order[__atomic_fetch_add(&nr_order, 1, __ATOMIC_SEQ_CST)] = who; }

static void spin(void)
{
    for (volatile int i = 0; i < 5000000; i++)
        ;
}

static void *low(void *arg)
{
    (void)arg;
    fifo(10);
    MUST(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    nap(100);
    spin();
    note('l');
    MUST(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    spin();
    note('L');
    return NULL;
}

static void *middle(void *arg)
{
    (void)arg;
    fifo(20);
    nap(100);
    spin();
    spin();
    note('m');
    return NULL;
}

static void *high(void *arg)
{
    (void)arg;
    fifo(30);
    MUST(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    note('h');
    MUST(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    return NULL;
}

static void inversion(void)
{
    pthread_t t[3];

    pthread_create(&t[0], NULL, low, NULL);
    nap(30);
    pthread_create(&t[1], NULL, middle, NULL);
    nap(30);
    pthread_create(&t[2], NULL, high, NULL);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    SAY("order %s", order);
}

static volatile int done[3];

static void *waiter(void *arg)
{
    int me = (int)(long)arg;

    if (me)
        fifo(me * 10);
    T(futex(&cond, FUTEX_WAIT_REQUEUE_PI, 0, NULL, &lock, 0));
    SAY("waiter %d: %s", me, word(&lock));
    done[me] = 1;
    T(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    return NULL;
}

static void conditions(void)
{
    pthread_t t[3];

    for (long i = 0; i < 3; i++) {
        pthread_create(&t[i], NULL, waiter, (void *)i);
        nap(20);
    }
    T(futex(&cond, FUTEX_WAKE, 1, NULL, NULL, 0));
    T(futex(&cond, FUTEX_CMP_REQUEUE, 1, (void *)1, &lock, 0));
    T(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)5, &second, 0));
    MUST(futex(&lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    T(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)0, &lock, 0));
    SAY("%s, %d %d %d", word(&lock), done[0], done[1], done[2]);
    T(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)0x7fffffff, &lock, 0));
    T(futex(&lock, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    SAY("%s", word(&lock));
}

int main(void)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(0, &one);
    MUST(sched_setaffinity(0, sizeof one, &one));
    errors();
    contention();
    waits();
    deadlock();
    inversion();
    fifo(0);
    conditions();
    return 0;
}
