// SPDX-License-Identifier: Apache-2.0
// SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP: siginfo, ucontext, and going on by changing the saved registers.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf back;
static volatile int skip;
static char *expected;
static char *page;

static void handler(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *regs = uc->uc_mcontext.gregs;

    SAY("signal %d code %d errno %d trap %ld address %s error %lx", number, info->si_code, info->si_errno, (long)regs[REG_TRAPNO],
        info->si_addr == expected ? "expected" : number == SIGFPE || number == SIGILL || number == SIGTRAP
            ? (info->si_addr == (void *)regs[REG_RIP] ? "rip" : "other") : "unexpected", (long)regs[REG_ERR] & ~0x11L);
    if (skip) {
        regs[REG_RIP] += skip;
        regs[REG_RAX] = 77;
        skip = 0;
        return;
    }
    siglongjmp(back, 1);
}

#define TRY(address, statement) do { expected = (char *)(address); SAY("%s", #statement); \
    if (sigsetjmp(back, 1) == 0) { statement; SAY("no fault"); } } while (0)

static void memory(void)
{
    page = guard_page();
    TRY(NULL, *(volatile int *)NULL);
    TRY(0x1234, *(volatile int *)0x1234 = 1);
    TRY(page, *(volatile char *)page);
    TRY(page + 5, *(volatile char *)(page + 5) = 1);
    mprotect(page, PAGE, PROT_READ);
    TRY(page + 9, *(volatile char *)(page + 9) = 1);
    TRY(page, ((void (*)(void))page)());
    TRY(0, *(volatile char *)0x8000000000000000 = 1);
    TRY(KERNEL_ADDRESS, *(volatile char *)KERNEL_ADDRESS);
    TRY(0, asm volatile("hlt"));
    TRY(0, asm volatile("cli"));
    TRY(0, asm volatile("in $0x60, %%al" : : : "rax"));
    TRY(0, asm volatile("mov %%cr3, %%rax" : : : "rax"));
    TRY(0, ((void (*)(void))0x7ff0000000000000)());
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    char *past = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    TRY(past + 1, *(volatile char *)(past + 1));
    TRY(past + 2, *(volatile char *)(past + 2) = 1);
    munmap(past, PAGE);
    TRY(past, *(volatile char *)past);
}

static void arithmetic(void)
{
    TRY(0, asm volatile("xor %%edx, %%edx\n xor %%ecx, %%ecx\n mov $1, %%eax\n div %%ecx" : : : "rax", "rcx", "rdx"));
    TRY(0, asm volatile("mov $-2147483648, %%eax\n cdq\n mov $-1, %%ecx\n idiv %%ecx" : : : "rax", "rcx", "rdx"));
    TRY(0, asm volatile("ud2"));
}

static void resuming(void)
{
    long result;

    SAY("resume after ud2");
    skip = 2;
    asm volatile("ud2" : "=a"(result) : : "memory");
    V(result);
    SAY("resume after a load");
    expected = NULL;
    skip = 2;
    asm volatile("xor %%edx, %%edx\n .byte 0x8b, 0x02" : "=a"(result) : : "rdx", "memory");
    V(result);
    SAY("breakpoint");
    skip = 0;
    if (sigsetjmp(back, 1) == 0)
        asm volatile("int3");
}

static char *lazy;

static void fill(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    char *at = (char *)((unsigned long)info->si_addr & -PAGE);

    mprotect(at, PAGE, PROT_READ | PROT_WRITE);
    at[0] = (at - lazy) / PAGE;
}

static void user_paging(void)
{
    struct sigaction action = {.sa_sigaction = fill, .sa_flags = SA_SIGINFO};
    long sum = 0;

    sigaction(SIGSEGV, &action, NULL);
    lazy = mmap(NULL, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 64; i++)
        sum += lazy[i * PAGE];
    V(sum);
}

static char alternate[65536];

static void overflowed(int number, siginfo_t *info, void *context)
{
    char here;

    (void)info, (void)context;
    SAY("stack overflow: signal %d on the alternate stack %d", number, &here >= alternate && &here < alternate + sizeof alternate);
    siglongjmp(back, 1);
}

static int recurse(volatile int n)
{
    volatile char block[4096];

    block[0] = n;
    return n < 0 ? 0 : recurse(n + 1) + block[0];
}

static void overflow(void)
{
    stack_t stack = {alternate, 0, sizeof alternate};
    struct sigaction action = {.sa_sigaction = overflowed, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigaltstack(&stack, NULL);
    sigaction(SIGSEGV, &action, NULL);
    if (sigsetjmp(back, 1) == 0)
        recurse(0);
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};

    for (int *number = (int[]){SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, 0}; *number; number++)
        sigaction(*number, &action, NULL);
    memory();
    arithmetic();
    resuming();
    user_paging();
    overflow();
    return 0;
}
