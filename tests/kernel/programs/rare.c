// SPDX-License-Identifier: Apache-2.0
// Calls that libraries probe for: pidfds, waiting, kcmp, file handles, personality, I/O priorities, and what single processes are refused.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static long raw(long nr, long a, long b, long c, long d, long e) { return syscall(nr, a, b, c, d, e, 0); }

#define S0(name) T(raw(SYS_##name, 0, 0, 0, 0, 0))
#define S(name, a, b, c, d, e) T(raw(SYS_##name, a, b, c, d, e))

static void pidfds(void)
{
    siginfo_t info;
    int fd = syscall(SYS_pidfd_open, getpid(), 0), ends[2], got;
    struct pollfd p = {.fd = fd, .events = POLLIN};

    OK(fd);
    T(fcntl(fd, F_GETFD));
    T(syscall(SYS_pidfd_open, -1, 0));
    T(syscall(SYS_pidfd_open, 0, 0));
    T(syscall(SYS_pidfd_open, 999999, 0));
    T(syscall(SYS_pidfd_open, getpid(), 1));
    T(poll(&p, 1, 0));
    T(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
    T(syscall(SYS_pidfd_send_signal, fd, 65, NULL, 0));
    T(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 1u << 30));
    T(syscall(SYS_pidfd_send_signal, 0, 0, NULL, 0));
    MUST(pipe(ends));
    OK(got = syscall(SYS_pidfd_getfd, fd, ends[1], 0));
    V(fcntl(got, F_GETFD));
    V(syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, got, ends[1]));
    V(write(got, "x", 1));
    T(syscall(SYS_pidfd_getfd, fd, 999, 0));
    T(syscall(SYS_pidfd_getfd, fd, ends[1], 1));
    T(syscall(SYS_pidfd_getfd, 0, ends[1], 0));
    T(syscall(SYS_pidfd_getfd, 998, ends[1], 0));
    T(waitid(P_PIDFD, fd, &info, WEXITED));
    T(waitid(P_PIDFD, 0, &info, WEXITED));
    T(waitid(P_PIDFD, 997, &info, WEXITED));
    T(waitid(P_PIDFD, -1, &info, WEXITED));
    T(waitid(P_PID, 999999, &info, WEXITED));
    T(waitid(P_PID, 0, &info, WEXITED));
    T(waitid(P_ALL, 0, &info, 0));
    T(waitid(P_ALL, 0, &info, WEXITED | WNOHANG));
    T(waitid(P_PGID, 0, &info, WEXITED));
    T(waitid(9, 0, &info, WEXITED));
    T(waitpid(-1, NULL, 0x1000));
    T(waitpid(-1, NULL, WNOHANG));
    T(waitpid(INT_MIN, NULL, 0));
}

static void compare(void)
{
    int e = epoll_create1(0), other = dup(0);

    T(syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, 0, other));
    V(syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, 0, e) > 0);
    T(syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, 0, 999));
    T(syscall(SYS_kcmp, getpid(), getpid(), KCMP_VM, 0, 0));
    T(syscall(SYS_kcmp, getpid(), getpid(), KCMP_FS, 0, 0));
    T(syscall(SYS_kcmp, getpid(), getpid(), 99, 0, 0));
    T(syscall(SYS_kcmp, getpid(), 999999, KCMP_VM, 0, 0));
}

static void persons(void)
{
    T(personality(0xffffffff));
    T(personality(ADDR_NO_RANDOMIZE));
    T(personality(0xffffffff));
    T(personality(0));
    T(syscall(SYS_ioprio_get, 1, 0));
    T(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 5));
    T(syscall(SYS_ioprio_get, 1, 0));
    T(syscall(SYS_ioprio_set, 1, 0, 4 << 13));
    T(syscall(SYS_ioprio_set, 1, 999999, 2 << 13));
    T(syscall(SYS_ioprio_get, 1, 999999));
    T(syscall(SYS_ioprio_get, 9, 0));
    T(syscall(SYS_ioprio_set, 1, 0, 0));
    T(syscall(SYS_ioprio_set, 1, 0, 3));
}

static void refused(void)
{
    T(ptrace(PTRACE_ATTACH, getpid(), NULL, NULL));
    T(ptrace(PTRACE_PEEKDATA, getpid(), NULL, NULL));
    T(ptrace(PTRACE_CONT, 999999, NULL, NULL));
    T(ptrace(PTRACE_SEIZE, getpid(), NULL, NULL));
    S(uselib, 0, 0, 0, 0, 0);
    S(_sysctl, 0, 0, 0, 0, 0);
    S(create_module, 0, 0, 0, 0, 0);
    S(nfsservctl, 0, 0, 0, 0, 0);
    S(getpmsg, 0, 0, 0, 0, 0);
    S(afs_syscall, 0, 0, 0, 0, 0);
    S(tuxcall, 0, 0, 0, 0, 0);
    S(security, 0, 0, 0, 0, 0);
    S(set_thread_area, 0, 0, 0, 0, 0);
    S(get_thread_area, 0, 0, 0, 0, 0);
    S(epoll_ctl_old, 0, 0, 0, 0, 0);
    S(vserver, 0, 0, 0, 0, 0);
    S(setns, 0, 0, 0, 0, 0);
    S(setns, -1, 0, 0, 0, 0);
    S(unshare, 0x10, 0, 0, 0, 0);
    S(unshare, 0, 0, 0, 0, 0);
    S(ustat, 0, 8, 0, 0, 0);
    S(sysfs, 9, 0, 0, 0, 0);
    V(raw(SYS_sysfs, 3, 0, 0, 0, 0) > 0);
}

static void handles(void)
{
    struct { struct file_handle h; unsigned char room[128]; } f = {.h = {.handle_bytes = 0}};
    int id;

    close(creat("handled", 0644));
    f.h.handle_bytes = 128;
    T(name_to_handle_at(AT_FDCWD, "none", &f.h, &id, 0));
    T(name_to_handle_at(AT_FDCWD, "handled", &f.h, &id, 0x40000000));
    T(name_to_handle_at(999, "handled", &f.h, &id, 0));
    T(name_to_handle_at(AT_FDCWD, "/proc/self/status", &f.h, &id, 0));
    f.h.handle_bytes = 0;
    T(open_by_handle_at(AT_FDCWD, &f.h, O_RDONLY));
    f.h.handle_bytes = 500;
    T(open_by_handle_at(AT_FDCWD, &f.h, O_RDONLY));
    f.h.handle_bytes = 8;
    T(open_by_handle_at(999, &f.h, O_RDONLY));
}

static void controls(void)
{
    int tsc = 0;

    T(prctl(PR_GET_TSC, &tsc));
    V(tsc);
    T(prctl(PR_SET_TSC, 1));
    T(prctl(PR_GET_TIMING, 0, 0, 0, 0));
    T(prctl(PR_SET_TIMING, 0, 0, 0, 0));
    T(prctl(PR_SET_TIMING, 1, 0, 0, 0));
    T(prctl(PR_GET_ENDIAN, &tsc, 0, 0, 0));
    T(prctl(PR_GET_FPEMU, &tsc, 0, 0, 0));
    T(prctl(PR_GET_UNALIGN, &tsc, 0, 0, 0));
    T(prctl(PR_TASK_PERF_EVENTS_DISABLE, 0, 0, 0, 0));
    T(prctl(PR_TASK_PERF_EVENTS_ENABLE, 0, 0, 0, 0));
    T(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    T(prctl(PR_MCE_KILL_GET, 1, 0, 0, 0));
    T(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
    T(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    T(prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0));
    T(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    T(prctl(PR_MCE_KILL, 7, 0, 0, 0));
    T(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    T(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    T(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    T(prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0));
    T(prctl(PR_SET_DUMPABLE, 2));
    T(prctl(PR_SET_NAME, (void *)8));
    T(prctl(PR_SET_PDEATHSIG, 65));
    T(prctl(PR_SET_TIMERSLACK, 70000));
    T(prctl(PR_GET_TIMERSLACK));
    T(prctl(PR_SET_TIMERSLACK, 0));
    T(prctl(PR_GET_TIMERSLACK));
    T(prctl(12345, 0, 0, 0, 0));
}

int main(void)
{
    pidfds();
    compare();
    persons();
    refused();
    handles();
    controls();
    return 0;
}
