// SPDX-License-Identifier: Apache-2.0
// Scheduling policies: what is accepted, who runs first, niceness of single threads and of all.
// oracle: libc=musl
#include "oracle.h"
#include <sys/resource.h>

struct attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint64_t more;
};

static int set(int tid, int policy, int priority)
{
    struct sched_param p = {.sched_priority = priority};

    return syscall(SYS_sched_setscheduler, tid, policy, &p);
}

static int param(int tid, int priority)
{
    struct sched_param p = {.sched_priority = priority};

    return syscall(SYS_sched_setparam, tid, &p);
}

static int priority_of(int tid)
{
    struct sched_param p = {.sched_priority = -7};

    return syscall(SYS_sched_getparam, tid, &p) ? -1 : p.sched_priority;
}

static int policy_of(int tid) { return syscall(SYS_sched_getscheduler, tid); }

static void policies(void)
{
    static const int policy[] = {SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, 4, SCHED_IDLE, 6, -1, 0x40000000, 0x40000001};
    struct timespec slice;

    for (size_t i = 0; i < COUNT(policy); i++) {
        SAY("policy %d", policy[i]);
        T(set(0, policy[i], 0));
        T(set(0, policy[i], 1));
        T(set(0, policy[i], 99));
        T(set(0, policy[i], 100));
        T(policy_of(0));
        T(priority_of(0));
        T(param(0, 0));
        T(param(0, 5));
        T(param(0, -1));
        T(syscall(SYS_sched_get_priority_max, policy[i]));
        T(syscall(SYS_sched_get_priority_min, policy[i]));
    }
    T(set(0, SCHED_RR, 3));
    T(syscall(SYS_sched_rr_get_interval, 0, &slice));
    V(slice.tv_nsec);
    T(set(0, SCHED_FIFO, 3));
    T(syscall(SYS_sched_rr_get_interval, 0, &slice));
    V(slice.tv_nsec);
    T(set(0, SCHED_OTHER, 0));
    T(set(-1, SCHED_OTHER, 0));
    T(set(999999, SCHED_OTHER, 0));
    T(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, NULL));
    T(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, WILD));
    T(syscall(SYS_sched_setparam, 0, NULL));
    T(syscall(SYS_sched_getparam, 0, NULL));
    T(syscall(SYS_sched_getparam, 0, WILD));
    T(syscall(SYS_sched_getparam, -1, &slice));
    T(policy_of(-1));
    T(policy_of(999999));
    T(syscall(SYS_sched_rr_get_interval, -1, &slice));
    T(syscall(SYS_sched_rr_get_interval, 999999, &slice));
    T(syscall(SYS_sched_rr_get_interval, 0, WILD));
}

static int setattr(struct attr a) { return syscall(SYS_sched_setattr, 0, &a, 0); }

static void attributes(void)
{
    struct attr a = {0};

    T(setattr((struct attr){.size = 48, .policy = SCHED_RR, .priority = 7}));
    T(syscall(SYS_sched_getattr, 0, &a, 48, 0));
    SAY("policy %u nice %d priority %u flags %lu", a.policy, a.nice, a.priority, (unsigned long)a.flags);
    T(setattr((struct attr){.size = 48, .policy = SCHED_OTHER, .nice = 5, .flags = 1}));
    T(syscall(SYS_sched_getattr, 0, &a, 48, 0));
    SAY("policy %u nice %d priority %u flags %lu", a.policy, a.nice, a.priority, (unsigned long)a.flags);
    T(policy_of(0));
    T(setattr((struct attr){.size = 48, .policy = SCHED_OTHER, .nice = 40}));
    T(getpriority(PRIO_PROCESS, 0));
    T(setattr((struct attr){.size = 48, .policy = SCHED_OTHER, .priority = 1}));
    T(setattr((struct attr){.size = 48, .policy = SCHED_FIFO}));
    T(setattr((struct attr){.size = 48, .policy = -1}));
    T(setattr((struct attr){.size = 48, .policy = 99}));
    T(setattr((struct attr){.size = 48, .flags = 0x10000}));
    T(setattr((struct attr){.size = 40}));
    T(setattr((struct attr){.size = 0, .nice = 3}));
    T(setattr((struct attr){.size = 64, .nice = 2}));
    T(setattr((struct attr){.size = 64, .nice = 2, .more = 1}));
    T(setattr((struct attr){.size = 8192}));
    T(setattr((struct attr){.size = 48, .flags = 0x18, .nice = 9}));
    T(getpriority(PRIO_PROCESS, 0));
    T(syscall(SYS_sched_setattr, 0, NULL, 0));
    T(syscall(SYS_sched_setattr, 0, &a, 1));
    T(syscall(SYS_sched_setattr, -1, &a, 0));
    T(syscall(SYS_sched_getattr, 0, &a, 47, 0));
    T(syscall(SYS_sched_getattr, 0, &a, 48, 1));
    T(syscall(SYS_sched_getattr, 0, NULL, 48, 0));
    T(syscall(SYS_sched_getattr, 999999, &a, 48, 0));
    T(setattr((struct attr){.size = 48}));
}

// Who of several woken threads runs first is decided by priority, whatever the order they came in.
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t open_gate = PTHREAD_COND_INITIALIZER;
static int opened, order[8], nr_order;

static void *racer(void *arg)
{
    int priority = (int)(long)arg;

    MUST(set(0, priority ? SCHED_FIFO : SCHED_OTHER, priority));
    pthread_mutex_lock(&gate);
    while (!opened)
        pthread_cond_wait(&open_gate, &gate);
    pthread_mutex_unlock(&gate);
    for (volatile int i = 0; i < 3000000; i++)
        ;
    order[__atomic_fetch_add(&nr_order, 1, __ATOMIC_SEQ_CST)] = priority;
    return NULL;
}

static void one_cpu(void)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(0, &one);
    MUST(sched_setaffinity(0, sizeof one, &one));
}

static void race(void)
{
    static const int priority[] = {10, 30, 0, 20, 40};
    pthread_t t[COUNT(priority)];

    for (size_t i = 0; i < COUNT(priority); i++)
        pthread_create(&t[i], NULL, racer, (void *)(long)priority[i]);
    nap(100);
    MUST(set(0, SCHED_FIFO, 50));
    pthread_mutex_lock(&gate);
    opened = 1;
    pthread_cond_broadcast(&open_gate);
    pthread_mutex_unlock(&gate);
    MUST(set(0, SCHED_OTHER, 0));
    for (size_t i = 0; i < COUNT(priority); i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < nr_order; i++)
        SAY("%d. priority %d", i + 1, order[i]);
}

// sched_yield gives way to equals only; a thread of lower priority does not run meanwhile.
static volatile int turns[3], stop;

static void *turner(void *arg)
{
    int me = (int)(long)arg;

    while (!stop) {
        turns[me]++;
        sched_yield();
    }
    return NULL;
}

static void yields(void)
{
    pthread_attr_t a;
    pthread_t t[3];

    MUST(set(0, SCHED_FIFO, 50));
    for (int i = 0; i < 3; i++) {
        struct sched_param p = {.sched_priority = i == 2 ? 5 : 10};
        pthread_attr_init(&a);
        pthread_attr_setinheritsched(&a, PTHREAD_EXPLICIT_SCHED);
        pthread_attr_setschedpolicy(&a, SCHED_FIFO);
        pthread_attr_setschedparam(&a, &p);
        E(pthread_create(&t[i], &a, turner, (void *)(long)i));
    }
    nap(50);
    stop = 1;
    int low = turns[2];
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    V(turns[0] > 10);
    V(turns[0] - turns[1] <= 1 && turns[1] - turns[0] <= 1);
    V(low);
    MUST(set(0, SCHED_OTHER, 0));
}

static volatile int tids[2], go_home;

static void *member(void *arg)
{
    tids[(long)arg] = syscall(SYS_gettid);
    while (!go_home)
        nap(5);
    return NULL;
}

static void niceness(void)
{
    pthread_t t[2];

    for (long i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, member, (void *)i);
    while (!tids[0] || !tids[1])
        nap(5);
    T(setpriority(PRIO_PROCESS, tids[0], 4));
    T(getpriority(PRIO_PROCESS, tids[0]));
    T(getpriority(PRIO_PROCESS, tids[1]));
    T(getpriority(PRIO_PROCESS, 0));
    T(setpriority(PRIO_PROCESS, tids[1], 100));
    T(getpriority(PRIO_PROCESS, tids[1]));
    T(setpriority(PRIO_PROCESS, tids[1], -100));
    T(getpriority(PRIO_PROCESS, tids[1]));
    T(setpriority(3, 0, 0));
    T(getpriority(-1, 0));
    T(getpriority(PRIO_PROCESS, 999999));
    T(setpriority(PRIO_PROCESS, 999999, 0));
    T(set(tids[0], SCHED_IDLE, 0));
    T(policy_of(tids[0]));
    T(policy_of(0));
    go_home = 1;
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
}

// Without the capability.
static void plain_user(void)
{
    MUST(setresuid(65534, 65534, 65534));
    T(setpriority(PRIO_PROCESS, 0, 5));
    T(setpriority(PRIO_PROCESS, 0, -2));
    T(setpriority(PRIO_PROCESS, 0, -3));
    T(set(0, SCHED_FIFO, 5));
    T(set(0, SCHED_FIFO, 6));
    T(set(0, SCHED_RR, 4));
    T(set(0, SCHED_BATCH, 0));
    T(set(0, SCHED_OTHER | 0x40000000, 0));
    T(set(0, SCHED_OTHER, 0));
    T(setattr((struct attr){.size = 48, .nice = -10}));
}

int main(void)
{
    one_cpu();
    policies();
    attributes();
    race();
    yields();
    niceness();
    plain_user();
    return 0;
}
