// SPDX-License-Identifier: Apache-2.0
// sigaction, masks, pending, nesting, alternate stacks, siginfo, SA_* flags, sigsuspend, sigtimedwait, kill and friends.
// oracle: libc=musl,glibc
#include "oracle.h"

static volatile int count, last, last_code, last_value, depth, deepest, raised;

static void simple(int number)
{
    count++;
    last = number;
}

static void informed(int number, siginfo_t *info, void *context)
{
    (void)context;
    count++;
    last = number;
    last_code = info->si_code;
    last_value = info->si_value.sival_int;
}

static void install(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

    sigaction(number, &action, NULL);
}

static sigset_t only(int number)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, number);
    return set;
}

static void actions(void)
{
    struct sigaction old, new = {.sa_handler = simple, .sa_flags = SA_RESTART};

    T(sigaction(SIGUSR1, &new, &old));
    V(old.sa_handler == SIG_DFL);
    T(sigaction(SIGUSR1, NULL, &old));
    V(old.sa_handler == simple);
    V(old.sa_flags & SA_RESTART ? 1 : 0);
    T(sigaction(SIGKILL, &new, NULL));
    T(sigaction(SIGSTOP, NULL, &old));
    T(sigaction(0, &new, NULL));
    T(sigaction(65, &new, NULL));
    T(syscall(SYS_rt_sigaction, SIGUSR1, &new, NULL, 7));
    T(syscall(SYS_rt_sigaction, SIGUSR1, WILD, NULL, 8));
    T(raise(SIGUSR1));
    V(last);
    install(SIGUSR2, simple, SA_RESETHAND);
    raise(SIGUSR2);
    sigaction(SIGUSR2, NULL, &old);
    V(old.sa_handler == SIG_DFL);
    install(SIGWINCH, SIG_IGN, 0);
    T(raise(SIGWINCH));
    install(SIGCHLD, SIG_DFL, 0);
    T(raise(SIGCHLD));
    T(raise(SIGURG));
    T(kill(getpid(), 0));
    T(kill(getpid(), 65));
    T(kill(getpid(), -1));
    T(kill(0x3ffffff, 0));
    T(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1));
    T(syscall(SYS_tgkill, getpid(), -1, SIGUSR1));
    T(syscall(SYS_tgkill, getpid() + 1, syscall(SYS_gettid), SIGUSR1));
    T(syscall(SYS_tkill, syscall(SYS_gettid), SIGUSR1));
    V(count);
}

static void masks(void)
{
    sigset_t set = only(SIGUSR1), pending, old;

    count = 0;
    T(sigprocmask(SIG_BLOCK, &set, NULL));
    raise(SIGUSR1);
    raise(SIGUSR1);
    T(sigpending(&pending));
    V(sigismember(&pending, SIGUSR1));
    V(count);
    T(sigprocmask(SIG_UNBLOCK, &set, &old));
    V(sigismember(&old, SIGUSR1));
    V(count);
    T(sigprocmask(77, &set, NULL));
    T(sigprocmask(77, NULL, &old));
    T(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 16));
    T(syscall(SYS_rt_sigprocmask, SIG_BLOCK, WILD, NULL, 8));
    install(SIGRTMIN + 1, simple, 0);
    sigfillset(&set);
    T(sigprocmask(SIG_SETMASK, &set, NULL));
    sigprocmask(SIG_SETMASK, NULL, &old);
    V(sigismember(&old, SIGKILL) + sigismember(&old, SIGSTOP));
    V(sigismember(&old, SIGTERM));
    raise(SIGUSR1);
    raise(SIGRTMIN + 1);
    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &(sigset_t){0}, NULL);
}

static void queueing(void)
{
    struct sigaction action = {.sa_sigaction = informed, .sa_flags = SA_SIGINFO};
    sigset_t set = only(SIGRTMIN);

    sigaction(SIGRTMIN, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigprocmask(SIG_BLOCK, &set, NULL);
    count = 0;
    for (int i = 0; i < 3; i++)
        T(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 100 + i}));
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    V(count);
    V(last_value);
    V(last_code);
    kill(getpid(), SIGUSR1);
    V(last_code);
    raise(SIGUSR1);
    V(last_code);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 55});
    siginfo_t info;
    struct timespec little = {0, 10000000}, bad = {0, -1};
    T(sigwaitinfo(&set, &info) - SIGRTMIN);
    V(info.si_value.sival_int);
    T(sigtimedwait(&set, &info, &little));
    T(sigtimedwait(&set, &info, &bad));
    int number;
    raise(SIGRTMIN);
    E(sigwait(&set, &number));
    V(number - SIGRTMIN);
    siginfo_t forged = {.si_code = SI_QUEUE};
    T(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &forged));
    T(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, WILD));
    T(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGUSR1, &forged));
}

static void nest(int number)
{
    depth++;
    if (depth > deepest)
        deepest = depth;
    if (number == SIGUSR1 && raised++ < 2)
        raise(SIGUSR1);
    if (number == SIGUSR1)
        raise(SIGUSR2);
    depth--;
}

static void nesting(void)
{
    struct sigaction action = {.sa_handler = nest};

    sigaction(SIGUSR2, &action, NULL);
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    V(deepest);
    deepest = raised = 0;
    action.sa_flags = SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    V(deepest);
}

static char alternate[65536];
static volatile int on_alternate, flags_inside, change_inside;

static void look(int number)
{
    char here;
    stack_t now;

    (void)number;
    on_alternate = &here >= alternate && &here < alternate + sizeof alternate;
    sigaltstack(NULL, &now);
    flags_inside = now.ss_flags;
    stack_t other = {alternate, 0, sizeof alternate / 2};
    change_inside = sigaltstack(&other, NULL) == -1 ? errno : 0;
}

static void stacks(void)
{
    stack_t stack = {alternate, 0, sizeof alternate}, old, tiny = {alternate, 0, 100}, odd = {alternate, 99, sizeof alternate};

    T(sigaltstack(NULL, &old));
    V(old.ss_flags);
    T(sigaltstack(&stack, NULL));
    T(sigaltstack(&tiny, NULL));
    T(sigaltstack(&odd, NULL));
    T(syscall(SYS_sigaltstack, WILD, NULL));
    install(SIGUSR1, look, SA_ONSTACK);
    raise(SIGUSR1);
    V(on_alternate);
    V(flags_inside);
    SAY("change inside: %s", errname(change_inside));
    install(SIGUSR1, look, 0);
    raise(SIGUSR1);
    V(on_alternate);
    stack.ss_flags = SS_DISABLE;
    T(sigaltstack(&stack, &old));
    V(old.ss_size);
    install(SIGUSR1, look, SA_ONSTACK);
    raise(SIGUSR1);
    V(on_alternate);
}

static void *kicker(void *arg)
{
    nap(40);
    pthread_kill(*(pthread_t *)arg, SIGUSR1);
    nap(40);
    pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

static void suspending(void)
{
    pthread_t self = pthread_self(), thread;
    sigset_t set = only(SIGUSR1), none;

    sigemptyset(&none);
    install(SIGUSR1, simple, SA_RESTART);
    sigprocmask(SIG_BLOCK, &set, NULL);
    count = 0;
    raise(SIGUSR1);
    T(sigsuspend(&none));
    V(count);
    T(syscall(SYS_rt_sigsuspend, &none, 4));
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    pthread_create(&thread, NULL, kicker, &self);
    T(pause());
    T(pause());
    pthread_join(thread, NULL);
    V(count);
}

int main(void)
{
    actions();
    masks();
    queueing();
    nesting();
    stacks();
    suspending();
    return 0;
}
