// SPDX-License-Identifier: Apache-2.0
// Every system call handler, by the file of linux/ that holds its family. Weak: a handler that is not there yet is a NULL in the table.
#ifndef UNI_SYSCALLS_H
#define UNI_SYSCALLS_H

#include "syscall.h"

// linux/file.c
long sys_read(struct regs *r) WEAK;
long sys_write(struct regs *r) WEAK;
long sys_open(struct regs *r) WEAK;
long sys_close(struct regs *r) WEAK;
long sys_lseek(struct regs *r) WEAK;
long sys_pread64(struct regs *r) WEAK;
long sys_pwrite64(struct regs *r) WEAK;
long sys_readv(struct regs *r) WEAK;
long sys_writev(struct regs *r) WEAK;
long sys_preadv(struct regs *r) WEAK;
long sys_pwritev(struct regs *r) WEAK;
long sys_preadv2(struct regs *r) WEAK;
long sys_pwritev2(struct regs *r) WEAK;
long sys_openat(struct regs *r) WEAK;
long sys_openat2(struct regs *r) WEAK;
long sys_creat(struct regs *r) WEAK;
long sys_dup(struct regs *r) WEAK;
long sys_dup2(struct regs *r) WEAK;
long sys_dup3(struct regs *r) WEAK;
long sys_fcntl(struct regs *r) WEAK;
long sys_ioctl(struct regs *r) WEAK;
long sys_close_range(struct regs *r) WEAK;
long sys_sendfile(struct regs *r) WEAK;
long sys_copy_file_range(struct regs *r) WEAK;
long sys_splice(struct regs *r) WEAK;
long sys_tee(struct regs *r) WEAK;
long sys_vmsplice(struct regs *r) WEAK;
long sys_fsync(struct regs *r) WEAK;
long sys_fdatasync(struct regs *r) WEAK;
long sys_sync(struct regs *r) WEAK;
long sys_syncfs(struct regs *r) WEAK;
long sys_sync_file_range(struct regs *r) WEAK;
long sys_fadvise64(struct regs *r) WEAK;
long sys_readahead(struct regs *r) WEAK;
long sys_fallocate(struct regs *r) WEAK;
long sys_truncate(struct regs *r) WEAK;
long sys_ftruncate(struct regs *r) WEAK;
long sys_flock(struct regs *r) WEAK;

// linux/name.c
long sys_stat(struct regs *r) WEAK;
long sys_fstat(struct regs *r) WEAK;
long sys_lstat(struct regs *r) WEAK;
long sys_newfstatat(struct regs *r) WEAK;
long sys_statx(struct regs *r) WEAK;
long sys_access(struct regs *r) WEAK;
long sys_faccessat(struct regs *r) WEAK;
long sys_faccessat2(struct regs *r) WEAK;
long sys_rename(struct regs *r) WEAK;
long sys_renameat(struct regs *r) WEAK;
long sys_renameat2(struct regs *r) WEAK;
long sys_mkdir(struct regs *r) WEAK;
long sys_mkdirat(struct regs *r) WEAK;
long sys_rmdir(struct regs *r) WEAK;
long sys_link(struct regs *r) WEAK;
long sys_linkat(struct regs *r) WEAK;
long sys_unlink(struct regs *r) WEAK;
long sys_unlinkat(struct regs *r) WEAK;
long sys_symlink(struct regs *r) WEAK;
long sys_symlinkat(struct regs *r) WEAK;
long sys_readlink(struct regs *r) WEAK;
long sys_readlinkat(struct regs *r) WEAK;
long sys_mknod(struct regs *r) WEAK;
long sys_mknodat(struct regs *r) WEAK;
long sys_chdir(struct regs *r) WEAK;
long sys_fchdir(struct regs *r) WEAK;
long sys_getcwd(struct regs *r) WEAK;
long sys_chroot(struct regs *r) WEAK;
long sys_chmod(struct regs *r) WEAK;
long sys_fchmod(struct regs *r) WEAK;
long sys_fchmodat(struct regs *r) WEAK;
long sys_fchmodat2(struct regs *r) WEAK;
long sys_chown(struct regs *r) WEAK;
long sys_fchown(struct regs *r) WEAK;
long sys_lchown(struct regs *r) WEAK;
long sys_fchownat(struct regs *r) WEAK;
long sys_utime(struct regs *r) WEAK;
long sys_utimes(struct regs *r) WEAK;
long sys_futimesat(struct regs *r) WEAK;
long sys_utimensat(struct regs *r) WEAK;
long sys_umask(struct regs *r) WEAK;
long sys_statfs(struct regs *r) WEAK;
long sys_fstatfs(struct regs *r) WEAK;
long sys_getdents(struct regs *r) WEAK;
long sys_getdents64(struct regs *r) WEAK;
long sys_mount(struct regs *r) WEAK;
long sys_mq_open(struct regs *r) WEAK;
long sys_mq_unlink(struct regs *r) WEAK;
long sys_mq_timedsend(struct regs *r) WEAK;
long sys_mq_timedreceive(struct regs *r) WEAK;
long sys_mq_notify(struct regs *r) WEAK;
long sys_mq_getsetattr(struct regs *r) WEAK;
long sys_process_vm_readv(struct regs *r) WEAK;
long sys_process_vm_writev(struct regs *r) WEAK;
long sys_umount2(struct regs *r) WEAK;
long sys_pivot_root(struct regs *r) WEAK;

// linux/sysv_msg.c, sysv_sem.c, sysv_shm.c
long sys_msgget(struct regs *r) WEAK;
long sys_msgsnd(struct regs *r) WEAK;
long sys_msgrcv(struct regs *r) WEAK;
long sys_msgctl(struct regs *r) WEAK;
long sys_semget(struct regs *r) WEAK;
long sys_semop(struct regs *r) WEAK;
long sys_semtimedop(struct regs *r) WEAK;
long sys_semctl(struct regs *r) WEAK;
long sys_shmget(struct regs *r) WEAK;
long sys_shmat(struct regs *r) WEAK;
long sys_shmdt(struct regs *r) WEAK;
long sys_shmctl(struct regs *r) WEAK;

// linux/fsinfo.c
long sys_ustat(struct regs *r) WEAK;
long sys_sysfs(struct regs *r) WEAK;
long sys_name_to_handle_at(struct regs *r) WEAK;
long sys_open_by_handle_at(struct regs *r) WEAK;

// linux/pidfd.c, beside those that stand with signals and processes
long sys_pidfd_getfd(struct regs *r) WEAK;
long sys_ptrace(struct regs *r) WEAK;

// linux/xattr.c
long sys_setxattr(struct regs *r) WEAK;
long sys_lsetxattr(struct regs *r) WEAK;
long sys_fsetxattr(struct regs *r) WEAK;
long sys_getxattr(struct regs *r) WEAK;
long sys_lgetxattr(struct regs *r) WEAK;
long sys_fgetxattr(struct regs *r) WEAK;
long sys_listxattr(struct regs *r) WEAK;
long sys_llistxattr(struct regs *r) WEAK;
long sys_flistxattr(struct regs *r) WEAK;
long sys_removexattr(struct regs *r) WEAK;
long sys_lremovexattr(struct regs *r) WEAK;
long sys_fremovexattr(struct regs *r) WEAK;

// linux/mm.c
long sys_brk(struct regs *r) WEAK;
long sys_mmap(struct regs *r) WEAK;
long sys_munmap(struct regs *r) WEAK;
long sys_mprotect(struct regs *r) WEAK;
long sys_mremap(struct regs *r) WEAK;
long sys_madvise(struct regs *r) WEAK;
long sys_mincore(struct regs *r) WEAK;
long sys_msync(struct regs *r) WEAK;
long sys_mlock(struct regs *r) WEAK;
long sys_munlock(struct regs *r) WEAK;
long sys_mlockall(struct regs *r) WEAK;
long sys_munlockall(struct regs *r) WEAK;
long sys_mlock2(struct regs *r) WEAK;
long sys_pkey_mprotect(struct regs *r) WEAK;
long sys_pkey_alloc(struct regs *r) WEAK;
long sys_pkey_free(struct regs *r) WEAK;
long sys_remap_file_pages(struct regs *r) WEAK;
long sys_memfd_create(struct regs *r) WEAK;
long sys_process_madvise(struct regs *r) WEAK;
long sys_get_mempolicy(struct regs *r) WEAK;
long sys_set_mempolicy(struct regs *r) WEAK;
long sys_mbind(struct regs *r) WEAK;

// linux/poll.c
long sys_poll(struct regs *r) WEAK;
long sys_ppoll(struct regs *r) WEAK;
long sys_select(struct regs *r) WEAK;
long sys_pselect6(struct regs *r) WEAK;

// linux/epoll.c
long sys_epoll_create(struct regs *r) WEAK;
long sys_epoll_create1(struct regs *r) WEAK;
long sys_epoll_ctl(struct regs *r) WEAK;
long sys_epoll_wait(struct regs *r) WEAK;
long sys_epoll_pwait(struct regs *r) WEAK;
long sys_epoll_pwait2(struct regs *r) WEAK;

// linux/pipe.c
long sys_pipe(struct regs *r) WEAK;
long sys_pipe2(struct regs *r) WEAK;

// linux/eventfd.c
long sys_eventfd(struct regs *r) WEAK;
long sys_eventfd2(struct regs *r) WEAK;

// linux/timerfd.c
long sys_timerfd_create(struct regs *r) WEAK;
long sys_timerfd_settime(struct regs *r) WEAK;
long sys_timerfd_gettime(struct regs *r) WEAK;

// linux/signalfd.c
long sys_signalfd(struct regs *r) WEAK;
long sys_signalfd4(struct regs *r) WEAK;

// linux/inotify.c
long sys_inotify_init(struct regs *r) WEAK;
long sys_inotify_init1(struct regs *r) WEAK;
long sys_inotify_add_watch(struct regs *r) WEAK;
long sys_inotify_rm_watch(struct regs *r) WEAK;

// linux/signal.c
long sys_rt_sigaction(struct regs *r) WEAK;
long sys_rt_sigprocmask(struct regs *r) WEAK;
long sys_rt_sigreturn(struct regs *r) WEAK;
long sys_rt_sigpending(struct regs *r) WEAK;
long sys_rt_sigtimedwait(struct regs *r) WEAK;
long sys_rt_sigqueueinfo(struct regs *r) WEAK;
long sys_rt_tgsigqueueinfo(struct regs *r) WEAK;
long sys_rt_sigsuspend(struct regs *r) WEAK;
long sys_sigaltstack(struct regs *r) WEAK;
long sys_kill(struct regs *r) WEAK;
long sys_tkill(struct regs *r) WEAK;
long sys_tgkill(struct regs *r) WEAK;
long sys_pause(struct regs *r) WEAK;
long sys_pidfd_open(struct regs *r) WEAK;
long sys_pidfd_send_signal(struct regs *r) WEAK;
long sys_restart_syscall(struct regs *r) WEAK;

// linux/time.c
long sys_time(struct regs *r) WEAK;
long sys_gettimeofday(struct regs *r) WEAK;
long sys_settimeofday(struct regs *r) WEAK;
long sys_clock_gettime(struct regs *r) WEAK;
long sys_clock_settime(struct regs *r) WEAK;
long sys_clock_getres(struct regs *r) WEAK;
long sys_clock_nanosleep(struct regs *r) WEAK;
long sys_nanosleep(struct regs *r) WEAK;
long sys_alarm(struct regs *r) WEAK;
long sys_getitimer(struct regs *r) WEAK;
long sys_setitimer(struct regs *r) WEAK;
long sys_timer_create(struct regs *r) WEAK;
long sys_timer_settime(struct regs *r) WEAK;
long sys_timer_gettime(struct regs *r) WEAK;
long sys_timer_getoverrun(struct regs *r) WEAK;
long sys_timer_delete(struct regs *r) WEAK;
long sys_times(struct regs *r) WEAK;
long sys_adjtimex(struct regs *r) WEAK;
long sys_clock_adjtime(struct regs *r) WEAK;

// linux/futex.c
long sys_futex(struct regs *r) WEAK;
long sys_set_robust_list(struct regs *r) WEAK;
long sys_get_robust_list(struct regs *r) WEAK;
long sys_futex_waitv(struct regs *r) WEAK;

// linux/process.c
long sys_clone(struct regs *r) WEAK;
long sys_clone3(struct regs *r) WEAK;
long sys_fork(struct regs *r) WEAK;
long sys_vfork(struct regs *r) WEAK;
long sys_execve(struct regs *r) WEAK;
long sys_execveat(struct regs *r) WEAK;
long sys_exit(struct regs *r) WEAK;
long sys_exit_group(struct regs *r) WEAK;
long sys_wait4(struct regs *r) WEAK;
long sys_waitid(struct regs *r) WEAK;
long sys_set_tid_address(struct regs *r) WEAK;
long sys_gettid(struct regs *r) WEAK;
long sys_getpid(struct regs *r) WEAK;
long sys_getppid(struct regs *r) WEAK;
long sys_getuid(struct regs *r) WEAK;
long sys_geteuid(struct regs *r) WEAK;
long sys_getgid(struct regs *r) WEAK;
long sys_getegid(struct regs *r) WEAK;
long sys_setuid(struct regs *r) WEAK;
long sys_setgid(struct regs *r) WEAK;
long sys_setreuid(struct regs *r) WEAK;
long sys_setregid(struct regs *r) WEAK;
long sys_setresuid(struct regs *r) WEAK;
long sys_getresuid(struct regs *r) WEAK;
long sys_setresgid(struct regs *r) WEAK;
long sys_getresgid(struct regs *r) WEAK;
long sys_getgroups(struct regs *r) WEAK;
long sys_setgroups(struct regs *r) WEAK;
long sys_setfsuid(struct regs *r) WEAK;
long sys_setfsgid(struct regs *r) WEAK;
long sys_getpgid(struct regs *r) WEAK;
long sys_setpgid(struct regs *r) WEAK;
long sys_getpgrp(struct regs *r) WEAK;
long sys_getsid(struct regs *r) WEAK;
long sys_setsid(struct regs *r) WEAK;
long sys_getrlimit(struct regs *r) WEAK;
long sys_setrlimit(struct regs *r) WEAK;
long sys_prlimit64(struct regs *r) WEAK;
long sys_getrusage(struct regs *r) WEAK;
long sys_prctl(struct regs *r) WEAK;
long sys_arch_prctl(struct regs *r) WEAK;
long sys_capget(struct regs *r) WEAK;
long sys_capset(struct regs *r) WEAK;
long sys_personality(struct regs *r) WEAK;
long sys_getpriority(struct regs *r) WEAK;
long sys_setpriority(struct regs *r) WEAK;
long sys_ioprio_set(struct regs *r) WEAK;
long sys_ioprio_get(struct regs *r) WEAK;
long sys_sched_yield(struct regs *r) WEAK;
long sys_sched_setparam(struct regs *r) WEAK;
long sys_sched_getparam(struct regs *r) WEAK;
long sys_sched_setscheduler(struct regs *r) WEAK;
long sys_sched_getscheduler(struct regs *r) WEAK;
long sys_sched_get_priority_max(struct regs *r) WEAK;
long sys_sched_get_priority_min(struct regs *r) WEAK;
long sys_sched_rr_get_interval(struct regs *r) WEAK;
long sys_sched_setaffinity(struct regs *r) WEAK;
long sys_sched_getaffinity(struct regs *r) WEAK;
long sys_sched_setattr(struct regs *r) WEAK;
long sys_sched_getattr(struct regs *r) WEAK;
long sys_getcpu(struct regs *r) WEAK;
long sys_membarrier(struct regs *r) WEAK;
long sys_rseq(struct regs *r) WEAK;
long sys_seccomp(struct regs *r) WEAK;
long sys_kcmp(struct regs *r) WEAK;
long sys_unshare(struct regs *r) WEAK;
long sys_setns(struct regs *r) WEAK;
long sys_vhangup(struct regs *r) WEAK;

// linux/system.c
long sys_uname(struct regs *r) WEAK;
long sys_sethostname(struct regs *r) WEAK;
long sys_setdomainname(struct regs *r) WEAK;
long sys_sysinfo(struct regs *r) WEAK;
long sys_getrandom(struct regs *r) WEAK;
long sys_syslog(struct regs *r) WEAK;
long sys_reboot(struct regs *r) WEAK;
long sys_acct(struct regs *r) WEAK;
long sys_swapon(struct regs *r) WEAK;
long sys_swapoff(struct regs *r) WEAK;

// linux/socket.c
long sys_socket(struct regs *r) WEAK;
long sys_socketpair(struct regs *r) WEAK;
long sys_connect(struct regs *r) WEAK;
long sys_accept(struct regs *r) WEAK;
long sys_accept4(struct regs *r) WEAK;
long sys_bind(struct regs *r) WEAK;
long sys_listen(struct regs *r) WEAK;
long sys_getsockname(struct regs *r) WEAK;
long sys_getpeername(struct regs *r) WEAK;
long sys_setsockopt(struct regs *r) WEAK;
long sys_getsockopt(struct regs *r) WEAK;
long sys_shutdown(struct regs *r) WEAK;
long sys_sendto(struct regs *r) WEAK;
long sys_recvfrom(struct regs *r) WEAK;
long sys_sendmsg(struct regs *r) WEAK;
long sys_recvmsg(struct regs *r) WEAK;
long sys_sendmmsg(struct regs *r) WEAK;
long sys_recvmmsg(struct regs *r) WEAK;

#endif
