// SPDX-License-Identifier: Apache-2.0
// A second process: Uni refuses it, says so, and goes on. Linux's answer is not asked; expect/fork.uni holds Uni's.
#include "oracle.h"
#include <linux/sched.h>
#include <spawn.h>

int main(void)
{
    char *argv[] = {"/bin/fork.musl", NULL};
    pid_t pid;

    T(syscall(SYS_fork));
    T(syscall(SYS_vfork));
    T(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    T(syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0));
    struct clone_args args = {.exit_signal = SIGCHLD};
    T(syscall(SYS_clone3, &args, sizeof args));
    E(posix_spawn(&pid, argv[0], NULL, NULL, argv, NULL));
    T(system("true"));
    T(popen("true", "r") == NULL);
    T(wait(NULL));
    SAY("going on");
    return 3;
}
