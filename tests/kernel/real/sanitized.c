// SPDX-License-Identifier: Apache-2.0
// What the sanitizers' run times ask of a kernel: terabytes of reserved shadow memory at fixed addresses, /proc/self/maps, alternate
// stacks, signals with their registers. The argument says which mistake to make at the end.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { THREADS = 4, ROUNDS = 1500 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long sum;
static int done;
static volatile int racy;

static void *work(void *argument)
{
    for (int i = 0; i < ROUNDS; i++) {
        char *block = malloc(i + 1);
        memset(block, (int)(long)argument, i + 1);
        pthread_mutex_lock(&lock);
        sum += block[i];
        pthread_mutex_unlock(&lock);
        free(block);
    }
    pthread_mutex_lock(&lock);
    done++;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void *careless(void *argument)
{
    for (int i = 0; i < 100; i++)
        racy = racy + 1;
    return argument;
}

static int deeper(int n)
{
    volatile char room[1000];

    room[0] = (char)n;
    return n < 0 ? 0 : deeper(n + 1) + room[0];
}

static void mistake(const char *which)
{
    int *volatile p = malloc(40);
    volatile int far = 10, big = 2147483647;
    pthread_t pair[2];

    if (!strcmp(which, "overflow"))
        printf("%d\n", p[far]);
    free(p);
    if (!strcmp(which, "freed"))
        printf("%d\n", p[1]);
    if (!strcmp(which, "wild"))
        *(volatile int *)(long)(far - 10) = 1;
    if (!strcmp(which, "deep"))
        printf("%d\n", deeper(0));
    if (!strcmp(which, "undefined"))
        printf("%d\n", big + far);
    if (!strcmp(which, "race")) {
        for (int i = 0; i < 2; i++)
            pthread_create(&pair[i], NULL, careless, NULL);
        for (int i = 0; i < 2; i++)
            pthread_join(pair[i], NULL);
    }
}

int main(int count, char **words)
{
    pthread_t threads[THREADS];

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (long i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    pthread_mutex_lock(&lock);
    while (done < THREADS)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page[5000] = 1;
    munmap(page, 8192);
    printf("sum %ld\n", sum);
    if (count > 1)
        mistake(words[1]);
    puts("end");
    return 0;
}
