// SPDX-License-Identifier: Apache-2.0
// exit_group from a thread ends every thread, whatever it waits for.
// oracle: libc=musl,glibc
#include "oracle.h"

static void *spin(void *arg)
{
    for (volatile long i = 0;; i++)
        ;
    return arg;
}

static void *waits(void *arg)
{
    char byte;

    read(*(int *)arg, &byte, 1);
    return NULL;
}

static void *quits(void *arg)
{
    nap(50);
    SAY("leaving");
    _exit(43);
    return arg;
}

int main(void)
{
    int ends[2];
    pthread_t thread;

    pipe(ends);
    pthread_create(&thread, NULL, spin, NULL);
    pthread_create(&thread, NULL, waits, &ends[0]);
    pthread_create(&thread, NULL, quits, NULL);
    pthread_join(thread, NULL);
    SAY("not reached");
    return 1;
}
