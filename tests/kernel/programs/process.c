// SPDX-License-Identifier: Apache-2.0
// wait4 and waitid with no children; sessions; what else concerns other processes.
// oracle: libc=musl
#include "oracle.h"

int main(void)
{
    int status;
    siginfo_t info;

    T(wait4(-1, &status, 0, NULL));
    T(wait4(-1, &status, WNOHANG, NULL));
    T(waitpid(12345678, &status, 0));
    T(wait4(-1, &status, 0x100, NULL));
    T(waitid(P_ALL, 0, &info, WEXITED));
    T(waitid(P_ALL, 0, &info, 0));
    T(waitid(77, 0, &info, WEXITED));
    T(setpgid(0, 12345678));
    T(getpgid(0) == getpgrp());
    T(syscall(SYS_pidfd_open, -1, 0));
    T(syscall(SYS_pidfd_open, getpid(), 0xff));
    T(syscall(SYS_ptrace, 0x9999, 0, 0, 0) == -1);
    T(syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 0) >= -1);
    T(syscall(9999));
    T(syscall(-1));
    T(syscall(390));
    T(syscall(600));
    return 0;
}
