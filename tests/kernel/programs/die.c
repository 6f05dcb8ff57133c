// SPDX-License-Identifier: Apache-2.0
// Ways to end: by an exit status, by a signal's default action, by a fault that cannot be handled.
// oracle: each=segv,abort,fpe,term,kill,pipe,rt,blockedsegv,ignoredsegv,stacksegv,exit258,status,thread,ill,execnone
#include "oracle.h"

static void *faulting(void *arg)
{
    *(volatile int *)0x10 = 1;
    return arg;
}

static void fault_blocked(void)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    *(volatile int *)0x10 = 1;
}

static void broken_pipe(void)
{
    int ends[2];

    pipe(ends);
    close(ends[0]);
    write(ends[1], "x", 1);
}

static void by_thread(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, faulting, NULL);
    pthread_join(thread, NULL);
}

static void fault(const char *way)
{
    if (!strcmp(way, "segv"))
        *(volatile int *)0x10 = 1;
    else if (!strcmp(way, "fpe"))
        asm volatile("xor %%ecx, %%ecx\n div %%ecx" : : : "rax", "rcx", "rdx");
    else if (!strcmp(way, "ill"))
        asm volatile("ud2");
    else if (!strcmp(way, "stacksegv"))
        asm volatile("xor %%esp, %%esp\n push %%rax" : : : "memory");
    else if (!strcmp(way, "blockedsegv"))
        fault_blocked();
    else if (!strcmp(way, "ignoredsegv"))
        signal(SIGSEGV, SIG_IGN), *(volatile int *)0x10 = 1;
    else if (!strcmp(way, "thread"))
        by_thread();
}

int main(int argc, char **argv)
{
    const char *way = argc > 1 ? argv[1] : "";

    SAY("before %s", way);
    fault(way);
    if (!strcmp(way, "abort"))
        abort();
    if (!strcmp(way, "term"))
        kill(getpid(), SIGTERM);
    if (!strcmp(way, "kill"))
        kill(getpid(), SIGKILL);
    if (!strcmp(way, "pipe"))
        broken_pipe();
    if (!strcmp(way, "rt"))
        raise(SIGRTMIN);
    if (!strcmp(way, "exit258"))
        exit(258);
    if (!strcmp(way, "execnone"))
        T(execl("/none", "/none", NULL));
    SAY("after");
    return 255;
}
