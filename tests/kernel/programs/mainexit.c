// SPDX-License-Identifier: Apache-2.0
// The first thread leaves by pthread_exit; the process ends with the last thread, status 0.
// oracle: libc=musl,glibc
#include "oracle.h"

static void *last(void *arg)
{
    nap(60);
    SAY("last thread, pid still %d", kill(getpid(), 0));
    return arg;
}

int main(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, last, NULL);
    pthread_detach(thread);
    pthread_exit((void *)5);
}
