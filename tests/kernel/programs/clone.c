// SPDX-License-Identifier: Apache-2.0
// clone and clone3 with thread flags, by hand: TLS, tids, shared tables, exit of one thread, refused flags.
// oracle: libc=musl
#include "oracle.h"
#include <asm/prctl.h>
#include <linux/futex.h>
#include <linux/sched.h>

#define THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

static char stack[8][65536] __attribute__((aligned(64)));
static volatile int parent_tid, child_tid, seen, tid_matches;
static volatile unsigned long fs_value;
static unsigned long fake_tls[8] = {0x1122334455667788};

static void wait_gone(volatile int *tid)
{
    int value;

    while ((value = *tid) != 0)
        syscall(SYS_futex, tid, FUTEX_WAIT, value, NULL, NULL, 0);
}

// The child may not use the C library: its TLS is not the library's.
static void child_body(void)
{
    long tid, ignored;

    asm volatile("syscall" : "=a"(tid) : "a"(SYS_gettid) : "rcx", "r11", "memory");
    asm volatile("mov %%fs:0, %0" : "=r"(fs_value));
    tid_matches = tid == parent_tid;
    seen++;
    asm volatile("syscall" : "=a"(ignored) : "a"(SYS_close), "D"(50) : "rcx", "r11", "memory");
    asm volatile("syscall" : "=a"(ignored) : "a"(SYS_chdir), "D"("/tmp") : "rcx", "r11", "memory");
    asm volatile("syscall" : "=a"(ignored) : "a"(SYS_exit), "D"(0) : "rcx", "r11", "memory");
}

static long raw_clone(unsigned long flags, int which, unsigned long tls)
{
    register void *body asm("r12") = (void *)child_body;

    asm volatile("" : "+r"(body));
    long result;
    register void *r10 asm("r10") = (void *)&child_tid;
    register unsigned long r8 asm("r8") = tls;
    asm volatile("syscall\n test %%rax, %%rax\n jnz 1f\n xor %%ebp, %%ebp\n call *%%r12\n hlt\n1:"
                 : "=a"(result)
                 : "a"(SYS_clone), "D"(flags), "S"(stack[which] + 65536), "d"(&parent_tid), "r"(r10), "r"(r8), "r"(body)
                 : "rcx", "r11", "memory");
    return result;
}

static void threads(void)
{
    char directory[64];

    dup2(0, 50);
    child_tid = -1;
    long tid = raw_clone(THREAD | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID, 0,
                     (unsigned long)fake_tls);
    V(tid > 0);
    wait_gone(&child_tid);
    V(seen);
    V(parent_tid == tid);
    V(tid_matches);
    SAY("fs:0 %lx", fs_value);
    T(fcntl(50, F_GETFD));
    getcwd(directory, sizeof directory);
    SAY("cwd %s", directory);
    chdir("/scratch");
    for (int i = 1; i < 8; i++) {
        child_tid = -1;
        tid = raw_clone(THREAD | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID, i, (unsigned long)fake_tls);
        while (seen < i + 1)
            sched_yield();
        while (child_tid == -1)
            sched_yield();
    }
    V(seen);
}

static void refused(void)
{
    T(raw_clone(CLONE_THREAD, 0, 0));
    T(raw_clone(CLONE_SIGHAND, 0, 0));
    T(raw_clone(CLONE_VM | CLONE_THREAD, 0, 0));
    T(raw_clone(CLONE_FS | CLONE_NEWNS, 0, 0));
}

static void third(void)
{
    struct clone_args args = {.flags = CLONE_THREAD, .stack = (unsigned long)stack[0], .stack_size = 65536};

    T(syscall(SYS_clone3, &args, 8));
    T(syscall(SYS_clone3, &args, sizeof args));
    T(syscall(SYS_clone3, WILD, sizeof args));
    T(syscall(SYS_clone3, &args, 1 << 20));
    args.flags = THREAD | 0xff;
    T(syscall(SYS_clone3, &args, sizeof args));
    args.flags = THREAD;
    args.exit_signal = SIGCHLD;
    T(syscall(SYS_clone3, &args, sizeof args));
    args.exit_signal = 0;
    args.stack_size = 0;
    T(syscall(SYS_clone3, &args, sizeof args));
}

static void registers(void)
{
    unsigned long value = 0;

    T(syscall(SYS_arch_prctl, ARCH_GET_FS, &value));
    V(value == (unsigned long)pthread_self());
    T(syscall(SYS_arch_prctl, ARCH_SET_GS, fake_tls));
    T(syscall(SYS_arch_prctl, ARCH_GET_GS, &value));
    V(value == (unsigned long)fake_tls);
    asm volatile("mov %%gs:0, %0" : "=r"(value));
    SAY("gs:0 %lx", value);
    T(syscall(SYS_arch_prctl, ARCH_SET_FS, KERNEL_ADDRESS));
    T(syscall(SYS_arch_prctl, 0x9999, &value));
    T(syscall(SYS_arch_prctl, ARCH_GET_FS, WILD));
    V(syscall(SYS_set_tid_address, &child_tid) == syscall(SYS_gettid));
}

int main(void)
{
    threads();
    refused();
    third();
    registers();
    return 0;
}
