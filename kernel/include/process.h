// SPDX-License-Identifier: Apache-2.0
// The one process: what its threads share.
#ifndef UNI_PROCESS_H
#define UNI_PROCESS_H

#include "cred.h"
#include "sched.h"
#include "signal.h"
#include "types.h"
#include "vm.h"

struct file;
struct path_k;

#define NOFILE_MAX 1048576u
#define RLIM_NR 16
enum { RLIMIT_CPU_K = 0, RLIMIT_FSIZE_K = 1, RLIMIT_SIGPENDING_K = 11, RLIMIT_NICE_K = 13, RLIMIT_RTPRIO_K = 14 };

struct rlimit_k {
    u64 soft, hard;
};

struct fd_slot {
    struct file *file;
    bool cloexec;
};

struct fdtable {
    spinlock_t lock;            // guards all below
    struct fd_slot *slot;
    u32 size;                   // slots there are; grows up to RLIMIT_NOFILE
    u32 first_free;             // no free slot below
    u32 used;
};

struct process {
    struct mm mm;
    struct fdtable fds;
    struct list threads;        // changed under thread_lock and sig_lock, read under either
    u32 nr_threads;
    spinlock_t thread_lock;
    int pid;                    // 1, as in a container
    u32 umask;
    struct path *cwd;           // fs.h
    struct inode *exe_inode;    // counted: the program's file cannot be written while it runs (ETXTBSY)
    char exe[256];              // absolute path of the program, for /proc/self/exe
    char name[16];
    char *cmdline;              // argv, NUL separated, and its length (for /proc/self/cmdline)
    size_t cmdline_len;
    char *environ;
    size_t environ_len;
    char *auxv;                 // pairs of u64, ended by AT_NULL
    size_t auxv_len;
    struct rlimit_k rlim[RLIM_NR];
    spinlock_t sig_lock;        // actions, shared pending, every thread's pending and mask
    struct sigaction_k actions[64];
    struct sigqueue pending;
    u64 start_ns;
    struct waitq thread_wait;   // a thread ended (execve waits for the others)
    int leader_status;          // exit status of the first thread, when it went before the others
    struct thread *exec_thread; // execve under way: every other thread ends at its next return to the program
    struct waitq signal_wait;   // signalfd and its pollers
    struct waitq stop_wait;     // SIGCONT
    bool stopped;
    u64 dead_cpu_ns;            // of threads that are gone
    u64 dead_uticks, dead_sticks;
    struct cputime_prev shown;  // what was reported last of user and system time
    u64 dead_nvcsw, dead_nivcsw, dead_minflt, dead_majflt;
    struct itimer *itimers;     // linux/itimer.c
    int next_tid;               // thread_lock
    bool exiting;               // exit_group or a fatal signal: threads end at their next return to the program
    int exit_status;            // as wait(2) has it: status << 8, or the signal's number
    bool dumpable;
    struct { u64 calls, bytes; } io[2];      // read, write and their like: /proc/self/io
};

extern struct process *the_process;      // NULL until init runs
static inline struct process *current_process(void) { return the_process; }

// Starts init as the boot configuration says; returns only when that is impossible (with a clear message and -errno).
int process_start_init(void);
// Replaces the program. argv and envp are kernel copies.
struct exec_args {
    char *path;
    struct file *file;          // execveat(AT_EMPTY_PATH) and the like: run this one; NULL: open path
    char **argv, **envp;
    int argc, envc;
};
int process_exec(struct exec_args *a, struct regs *r);
void process_add_thread(struct process *p, struct thread *t);     // gives it a number
struct thread *process_find_thread(int tid);          // thread_lock held; NULL: none of that number
void process_thread_exit(int code) NORETURN;          // the current thread; the last one ends the process
int process_end_other_threads(void);                  // execve; -EAGAIN when another thread does the same or the process ends
u64 process_cpu_ns(struct process *p);                // all threads, also those that ended
// User and system time, ns: the exact sum divided as the samples say. t NULL: of the whole process (linux/usage.c).
struct cputime { u64 user, system; };
struct cputime cputime_of(struct process *p, struct thread *t);
void rlimit_cpu_check(struct process *p);             // on the way back to the program: SIGXCPU, SIGKILL
const char *signal_name(int sig);                     // "SIGSEGV"; NULL when there is none of that number
void process_exit_group(int wait_status) NORETURN;    // the current thread; ends all the others, then the machine
void process_kill(int sig);                           // fatal signal from any context (out of memory, control port)

// File descriptors (fs/fdtable.c). fd_get takes a reference (NULL: EBADF), file_put (fs.h) drops it. It refuses what O_PATH has opened:
// such a file has no operations. fd_any is for calls that only want the place or the descriptor.
struct file *fd_get(int fd);
struct file *fd_any(int fd);
bool any_file(bool (*is)(const struct file *f, const void *arg), const void *arg);     // of those that are open or mapped
int fd_install(struct file *f, int min, bool cloexec);  // takes over the reference; -EMFILE leaves it with the caller
int fd_install_at(struct file *f, int fd, bool cloexec); // dup2
int fd_close(int fd);
void fd_close_on_exec(void);

#endif
