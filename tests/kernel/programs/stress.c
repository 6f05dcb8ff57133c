// SPDX-License-Identifier: Apache-2.0
// Many threads at once: a ring of condition variables, thread-local data, floating point, memory, signals during reads, faults.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/mman.h>

enum { RING = 16, ROUNDS = 100, CROWD = 48 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn, pipe_ends[2];
static volatile int signals;
static __thread long own = 5;
static sigjmp_buf back;

static void *ring(void *argument)
{
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        while (turn % RING != (int)(long)argument)
            pthread_cond_wait(&changed, &lock);
        turn++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

// Wrong results come back as not NULL.
static void *private_state(void *argument)
{
    double start = (double)(long)argument + 1, value = start;
    own = (long)argument;
    for (int i = 0; i < 50; i++) {
        for (int k = 0; k < 200; k++)
            value = value * 1.5 / 1.5;
        char *memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memory[0] = memory[65535] = (char)i;
        sched_yield();
        if (memory[0] != (char)i || own != (long)argument || value != start)
            return (void *)1;
        munmap(memory, 65536);
    }
    return NULL;
}

static void *reader(void *argument)
{
    long count = 0;
    char byte;
    while (read(pipe_ends[0], &byte, 1) == 1)
        count++;
    (void)argument;
    return (void *)count;
}

static void on_signal(int number)
{
    (void)number;
    signals++;
}

static void on_fault(int number)
{
    siglongjmp(back, number);
}

static long crowd(int n, void *(*body)(void *))
{
    pthread_t threads[CROWD];
    long sum = 0;
    for (long i = 0; i < n; i++)
        pthread_create(&threads[i], NULL, body, (void *)i);
    for (int i = 0; i < n; i++) {
        void *result;
        pthread_join(threads[i], &result);
        sum += (long)result;
    }
    return sum;
}

int main(void)
{
    V(crowd(RING, ring));
    V(turn);
    for (int i = 0; i < 5; i++)
        V(crowd(CROWD, private_state));

    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    pthread_t thread;
    void *count;
    T(pipe(pipe_ends));
    pthread_create(&thread, NULL, reader, NULL);
    for (int i = 0; i < 1000; i++) {
        pthread_kill(thread, SIGUSR1);
        if (i % 4 == 0)
            write(pipe_ends[1], "x", 1);
    }
    close(pipe_ends[1]);
    pthread_join(thread, &count);
    V((long)count);
    V(signals > 0);

    action = (struct sigaction){.sa_handler = on_fault};
    sigaction(SIGSEGV, &action, NULL);
    volatile int faults = 0;
    for (volatile int i = 0; i < 500; i++) {
        if (!sigsetjmp(back, 1))
            *(volatile int *)16 = 1;
        faults++;
    }
    V(faults);
    return 0;
}
