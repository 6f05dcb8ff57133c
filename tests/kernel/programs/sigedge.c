// SPDX-License-Identifier: Apache-2.0
// Returns from handlers to places that are none, and what sigaltstack(2) shows of flags that it was given.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <setjmp.h>
#include <ucontext.h>
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

static volatile unsigned long target;
static sigjmp_buf back;
static char stack[64 << 10];

static void go_there(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    (void)number, (void)info;
    uc->uc_mcontext.gregs[REG_RIP] = uc->uc_mcontext.gregs[REG_RCX] = (long)target;
    uc->uc_mcontext.gregs[REG_RBX] = 0x77;
}

static void fault(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    SAY("signal %d code %d at %d, rip kept %d, rbx %llx, trap %lld", number, info->si_code, info->si_addr == (void *)target,
        (unsigned long)uc->uc_mcontext.gregs[REG_RIP] == target, uc->uc_mcontext.gregs[REG_RBX], uc->uc_mcontext.gregs[REG_TRAPNO]);
    siglongjmp(back, 1);
}

static void returns(void)
{
    struct sigaction go = {.sa_sigaction = go_there, .sa_flags = SA_SIGINFO}, caught = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};

    sigaction(SIGUSR1, &go, NULL);
    sigaction(SIGSEGV, &caught, NULL);
    for (volatile int bit = 47; bit < 63; bit += 5) {
        target = 1UL << bit;
        SAY("to %lx", target);
        if (!sigsetjmp(back, 1))
            raise(SIGUSR1);
    }
    target = 0x1000;
    if (!sigsetjmp(back, 1))
        raise(SIGUSR1);
}

static void shown(const char *what)
{
    stack_t now;

    sigaltstack(NULL, &now);
    SAY("%s: flags %x, size %zu, ours %d", what, now.ss_flags, now.ss_size, now.ss_sp == stack);
}

static void inside(int number)
{
    SAY("in the handler of %d", number);
    shown("there");
}

static void alternate(void)
{
    struct sigaction act = {.sa_handler = inside, .sa_flags = SA_ONSTACK};
    stack_t wanted = {.ss_sp = stack, .ss_size = sizeof stack, .ss_flags = SS_ONSTACK};

    sigaction(SIGUSR2, &act, NULL);
    shown("at first");
    T(sigaltstack(&wanted, NULL));
    shown("SS_ONSTACK");
    raise(SIGUSR2);
    shown("after");
    wanted.ss_flags = (int)(SS_AUTODISARM | SS_ONSTACK);
    T(sigaltstack(&wanted, NULL));
    shown("both");
    raise(SIGUSR2);
    shown("after");
    wanted.ss_flags = (int)SS_AUTODISARM;
    T(sigaltstack(&wanted, NULL));
    raise(SIGUSR2);
    shown("after");
    wanted.ss_flags = SS_DISABLE;
    T(sigaltstack(&wanted, NULL));
    shown("disabled");
    wanted.ss_flags = 8;
    T(sigaltstack(&wanted, NULL));
}

int main(void)
{
    returns();
    alternate();
    return 0;
}
