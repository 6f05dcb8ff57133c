// SPDX-License-Identifier: Apache-2.0
// System calls with random numbers and half-sensible arguments. An alarm interrupts what would block; calls that would end the
// program, stop the alarm or take away its own memory are left out. Never run this outside a virtual machine.
#include "oracle.h"
#include <sys/epoll.h>
#include <sys/socket.h>

static uint64_t state;
static char *arena, *guard;
static const char *const texts[] = {"/scratch/a", "/scratch/b/c", "/proc/self", "a"};
static char *names;

static const int left_out[] = {SYS_exit, SYS_exit_group, SYS_rt_sigreturn, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_setitimer,
    SYS_alarm, SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_execve, SYS_execveat, SYS_fork,
    SYS_vfork, SYS_clone, SYS_clone3, SYS_brk, SYS_arch_prctl, SYS_reboot, SYS_sigaltstack, SYS_set_tid_address, SYS_rseq,
    SYS_set_robust_list, SYS_prlimit64, SYS_setrlimit, SYS_chroot, SYS_pivot_root, SYS_seccomp, SYS_prctl, SYS_ptrace,
    SYS_shmat, SYS_umount2, SYS_mount, SYS_mlockall, SYS_ppoll, SYS_pselect6, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_rt_sigsuspend,
    SYS_kexec_load, SYS_swapon, SYS_vhangup, SYS_timer_create, SYS_settimeofday, SYS_clock_settime, SYS_process_madvise};

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static long argument(void)
{
    switch (next() % 12) {
    case 0: return 0;
    case 1: return next() % 16;
    case 2: return -1 - (long)(next() % 4);
    case 3: return (long)(arena + next() % 60000);
    case 4: return (long)(arena + next() % 15 * PAGE);
    case 5: return (long)(guard - next() % 64);
    case 6: return (long)(names + next() % 4 * 16);
    case 7: return 1L << next() % 64;
    case 8: return (long)next();
    case 9: return next() % 65536;
    case 10: return PAGE * (next() % 20);
    default: return 3 + next() % 12;
    }
}

static int allowed(long number)
{
    for (size_t i = 0; i < COUNT(left_out); i++)
        if (left_out[i] == number)
            return 0;
    return 1;
}

// Calls that free or change memory, or close the console, get arguments that spare what the program stands on.
static void spare(long number, long *args)
{
    if (number == SYS_munmap || number == SYS_mprotect || number == SYS_mremap || number == SYS_madvise || number == SYS_mmap ||
        number == SYS_remap_file_pages || number == SYS_pkey_mprotect) {
        args[0] = (long)(arena + 65536 + next() % 64 * PAGE + (next() % 8 == 0));
        args[1] = next() % 16 * PAGE;
        if (number == SYS_mremap || number == SYS_mmap)
            args[3] = next() % 2 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED : (long)(next() % 4);
        if (number == SYS_mremap)
            args[4] = (long)(arena + 65536 + next() % 64 * PAGE);
    }
    if ((number == SYS_close || number == SYS_dup2 || number == SYS_dup3 || number == SYS_close_range) && (args[0] & 0xffffffff) < 3)
        args[0] = 3;
    if ((number == SYS_dup2 || number == SYS_dup3) && (args[1] & 0xffffffff) < 3)
        args[1] = 3;
    if (number == SYS_futex)
        args[3] = 0;
}

static void on_alarm(int number)
{
    (void)number;
}

static void refresh(void)
{
    int ends[2], pair[2];

    syscall(SYS_close_range, 3, ~0U, 0);
    open("/scratch/a", O_CREAT | O_RDWR, 0644);
    open("/scratch", O_RDONLY | O_DIRECTORY);
    pipe(ends);
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    socket(AF_INET, SOCK_STREAM, 0);
    socket(AF_INET, SOCK_DGRAM, 0);
    syscall(SYS_eventfd2, 1, 0);
    epoll_create1(0);
    syscall(SYS_memfd_create, "fuzz", 0);
    syscall(SYS_timerfd_create, 1, 0);
    mmap(arena + 65536, 80 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    chdir("/scratch");
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval often = {{0, 20000}, {0, 20000}};
    long seed = argc > 1 ? atol(argv[1]) : 1, count = argc > 2 ? atol(argv[2]) : 1000, good = 0;

    state = 88172645463325252ULL + seed * 2654435761ULL;
    arena = mmap(NULL, 65536 + 512 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    guard = (char *)guard_page();
    // On pages of their own: a call that writes through them must not reach the C library's data.
    names = mmap(NULL, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mkdir("/scratch/b", 0755);
    sigaction(SIGALRM, &action, NULL);
    for (int number = 1; number < 32; number++)
        if (number != SIGALRM && number != SIGSEGV && number != SIGBUS && number != SIGKILL && number != SIGSTOP)
            signal(number, SIG_IGN);
    for (long i = 0; i < count; i++) {
        long number = next() % 460, args[6];
        if (i % 50 == 0) {
            refresh();
            setitimer(ITIMER_REAL, &often, NULL);
            for (int at = 0; at < 65536; at += 8)
                *(uint64_t *)(arena + at) = next() % 3 ? next() % 64 : next();
        }
        for (int a = 0; a < 4; a++)
            strcpy(names + a * 16, texts[a]);
        for (int a = 0; a < 6; a++)
            args[a] = argument();
        if (!allowed(number))
            continue;
        spare(number, args);
        if (argc > 3)
            printf("%ld: %ld %lx %lx %lx %lx %lx %lx\n", i, number, args[0], args[1], args[2], args[3], args[4], args[5]);
        good += syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) != -1;
    }
    write(1, "survived\n", 9);
    _exit(good < 0);
}
