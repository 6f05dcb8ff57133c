// SPDX-License-Identifier: Apache-2.0
// pthreads: many threads, TLS, keys, mutexes, conditions, barriers, cancellation, stacks, names.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <semaphore.h>
#include <stdatomic.h>

static __thread int tls = 5;
static __thread char big_tls[5000];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static long counter;
static atomic_long atomic;
static pthread_key_t key;

static void *work(void *arg)
{
    long n = (long)arg;

    tls += n;
    big_tls[4999] = n;
    for (int i = 0; i < 2000; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
        atomic++;
        if (i % 500 == 0)
            sched_yield();
    }
    return (void *)(long)(tls + big_tls[4999]);
}

static void many(void)
{
    pthread_t thread[16];
    long sum = 0;

    for (long i = 0; i < 16; i++)
        pthread_create(&thread[i], NULL, work, (void *)i);
    for (int i = 0; i < 16; i++) {
        void *result;
        pthread_join(thread[i], &result);
        sum += (long)result;
    }
    V(sum);
    V(counter);
    V(atomic);
    V(tls);
    for (int i = 0; i < 500; i++) {
        pthread_create(&thread[0], NULL, work, NULL);
        if (i % 2)
            pthread_join(thread[0], NULL);
        else
            pthread_detach(thread[0]);
    }
    while (atomic < 32000 + 500 * 2000)
        nap(5);
    V(atomic);
}

static void destroyed(void *value)
{
    atomic += (long)value;
}

static void *with_key(void *arg)
{
    pthread_setspecific(key, arg);
    return NULL;
}

static void keys(void)
{
    pthread_t thread;

    pthread_key_create(&key, destroyed);
    atomic = 0;
    pthread_create(&thread, NULL, with_key, (void *)77);
    pthread_join(thread, NULL);
    V(atomic);
    V(pthread_getspecific(key) == NULL);
}

static int turn;

static void *alternate(void *arg)
{
    for (int i = 0; i < 200; i++) {
        pthread_mutex_lock(&mutex);
        while (turn != (int)(long)arg)
            pthread_cond_wait(&cond, &mutex);
        turn = !turn;
        counter++;
        pthread_cond_signal(&cond);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void conditions(void)
{
    pthread_t a, b;
    struct timespec soon;

    counter = 0;
    pthread_create(&a, NULL, alternate, (void *)0);
    pthread_create(&b, NULL, alternate, (void *)1);
    pthread_join(a, NULL), pthread_join(b, NULL);
    V(counter);
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 20000000;
    if (soon.tv_nsec >= 1000000000)
        soon.tv_sec++, soon.tv_nsec -= 1000000000;
    pthread_mutex_lock(&mutex);
    E(pthread_cond_timedwait(&cond, &mutex, &soon));
    E(pthread_mutex_trylock(&mutex));
    E(pthread_mutex_timedlock(&mutex, &soon));
    pthread_mutex_unlock(&mutex);
    sem_t semaphore;
    sem_init(&semaphore, 0, 1);
    T(sem_trywait(&semaphore));
    T(sem_trywait(&semaphore));
    T(sem_timedwait(&semaphore, &soon));
}

static pthread_barrier_t barrier;

static void *meet(void *arg)
{
    for (int i = 0; i < 50; i++)
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            atomic++;
    return arg;
}

static void cleanup(void *arg)
{
    (void)arg;
    SAY("cleaned up");
}

static void *sleeper(void *arg)
{
    pthread_cleanup_push(cleanup, NULL);
    pause();
    pthread_cleanup_pop(0);
    return arg;
}

static void meeting_and_cancelling(void)
{
    pthread_t thread[4];
    void *result;

    atomic = 0;
    pthread_barrier_init(&barrier, NULL, 4);
    for (int i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, meet, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    V(atomic);
    pthread_create(&thread[0], NULL, sleeper, NULL);
    nap(20);
    pthread_cancel(thread[0]);
    E(pthread_join(thread[0], &result));
    V(result == PTHREAD_CANCELED);
}

static void *deep(void *arg)
{
    char block[200000];

    memset(block, 1, sizeof block);
    return (void *)(long)(block[0] + block[199999] + (arg != NULL));
}

static void attributes(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    void *result;

    pthread_attr_init(&attr);
    E(pthread_attr_setstacksize(&attr, 1 << 20));
    E(pthread_create(&thread, &attr, deep, stdout));
    pthread_join(thread, &result);
    V((long)result);
    char name[16] = "";
    E(pthread_setname_np(pthread_self(), "renamed"));
    E(pthread_getname_np(pthread_self(), name, sizeof name));
    SAY("%s", name);
    E(pthread_setname_np(pthread_self(), "much-longer-than-sixteen"));
    V(syscall(SYS_gettid) == getpid());
}

int main(void)
{
    many();
    keys();
    conditions();
    meeting_and_cancelling();
    attributes();
    return 0;
}
