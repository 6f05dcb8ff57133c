// SPDX-License-Identifier: Apache-2.0
// What a context switch and a signal must keep: SSE and AVX registers, MXCSR, x87, flags; the vDSO; the red zone.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <elf.h>
#include <sys/auxv.h>

static volatile int running = 1, wrong;

static void *keep(void *arg)
{
    unsigned long seed = (unsigned long)arg, out[4];
    double value = 1.0 + seed, expected = value;

    for (long round = 0; round < 3000; round++) {
        asm volatile("movq %1, %%xmm7\n movq %1, %%xmm15\n pushq $0\n popq %%rax\n"
                     "mov $2000, %%ecx\n 1: dec %%ecx\n jnz 1b\n"
                     "movq %%xmm7, %0\n" : "=r"(out[0]) : "r"(seed) : "rax", "rcx", "xmm7", "xmm15");
        if (out[0] != seed)
            wrong++;
        value = value * 1.000001 / 1.000001;
    }
    if (value < expected - 0.001 || value > expected + 0.001)
        wrong++;
    return NULL;
}

static void *keep_avx(void *arg)
{
    unsigned long seed[4] = {(unsigned long)arg, 2, 3, ~(unsigned long)arg}, out[4];

    for (long round = 0; round < 3000; round++) {
        asm volatile("vmovdqu %1, %%ymm3\n mov $2000, %%ecx\n 1: dec %%ecx\n jnz 1b\n vmovdqu %%ymm3, %0\n vzeroupper"
                     : "=m"(out) : "m"(seed) : "rcx", "xmm3");
        if (memcmp(out, seed, sizeof out))
            wrong++;
    }
    return NULL;
}

static void clobber(int number)
{
    (void)number;
    double garbage[8];

    for (int i = 0; i < 8; i++)
        garbage[i] = i * 3.7;
    asm volatile("pxor %%xmm0, %%xmm0\n pxor %%xmm7, %%xmm7\n fninit\n fldpi\n" : : "m"(garbage) : "xmm0", "xmm7");
}

static void across_signals(void)
{
    struct itimerval fast = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}};

    signal(SIGALRM, clobber);
    setitimer(ITIMER_REAL, &fast, NULL);
    keep((void *)0x1234567);
    if (__builtin_cpu_supports("avx"))
        keep_avx((void *)0x7654321);
    setitimer(ITIMER_REAL, &off, NULL);
    V(wrong);
}

static void switching(void)
{
    pthread_t thread[6];

    for (long i = 0; i < 6; i++)
        pthread_create(&thread[i], NULL, i % 2 && __builtin_cpu_supports("avx") ? keep_avx : keep, (void *)(i * 0x1111));
    for (int i = 0; i < 6; i++)
        pthread_join(thread[i], NULL);
    V(wrong);
}

static void control_words(void)
{
    unsigned mxcsr;
    unsigned short x87;

    asm volatile("stmxcsr %0\n fnstcw %1" : "=m"(mxcsr), "=m"(x87));
    SAY("mxcsr %x x87 %x", mxcsr, x87);
    unsigned long flags;
    asm volatile("pushfq\n popq %0" : "=r"(flags));
    SAY("interrupts %d, iopl %d, direction %d", (flags >> 9 & 1) == 1, (int)(flags >> 12 & 3), (int)(flags >> 10 & 1));
    unsigned short cs, ss;
    asm volatile("mov %%cs, %0\n mov %%ss, %1" : "=r"(cs), "=r"(ss));
    SAY("ring %d %d, cs %x ss %x", cs & 3, ss & 3, cs, ss);
}

static void vdso(void)
{
    Elf64_Ehdr *header = (void *)getauxval(AT_SYSINFO_EHDR);

    V(header != NULL);
    if (header)
        V(memcmp(header->e_ident, ELFMAG, SELFMAG));
    long long last = 0, backwards = 0;
    for (int i = 0; i < 200000; i++) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        long long now = t.tv_sec * 1000000000LL + t.tv_nsec;
        backwards += now < last;
        last = now;
    }
    V(backwards);
    struct timespec by_call, by_vdso;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &by_call);
    clock_gettime(CLOCK_MONOTONIC, &by_vdso);
    V(by_vdso.tv_sec - by_call.tv_sec <= 1 && by_vdso.tv_sec >= by_call.tv_sec);
}

static void syscall_registers(void)
{
    long rax = SYS_getpid, rbx = 1, r12 = 2, rdx = 3, r8 = 4, r9 = 5, r10 = 6;

    asm volatile("mov $11, %%rbx\n mov $12, %%r12\n mov $13, %%rdx\n mov $14, %%r8\n mov $15, %%r9\n mov $16, %%r10\n"
                 "mov $39, %%eax\n syscall\n mov %%rbx, %0\n mov %%r12, %1\n mov %%rdx, %2\n mov %%r8, %3\n mov %%r9, %4\n mov %%r10, %5"
                 : "=m"(rbx), "=m"(r12), "=m"(rdx), "=m"(r8), "=m"(r9), "=m"(r10)
                 : : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "memory");
    (void)rax;
    SAY("%ld %ld %ld %ld %ld %ld", rbx, r12, rdx, r8, r9, r10);
}

int main(void)
{
    control_words();
    syscall_registers();
    vdso();
    switching();
    across_signals();
    return 0;
}
