// SPDX-License-Identifier: Apache-2.0
// System V semaphores: sets, all-or-nothing operations, waiting, SEM_UNDO at the end of threads, limits, permissions.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <sys/ipc.h>
#include <sys/sem.h>

#ifndef SEM_STAT
#define SEM_STAT 18
#define SEM_INFO 19
#endif
#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif

union semun { int val; struct semid_ds *buf; unsigned short *array; struct seminfo *info; };

#define CTL(id, num, cmd, ...) semctl(id, num, cmd, (union semun){__VA_ARGS__})
#define OPS(id, ...) semop(id, (struct sembuf[]){__VA_ARGS__}, sizeof((struct sembuf[]){__VA_ARGS__}) / sizeof(struct sembuf))

static int set;

static void values(const char *when)
{
    unsigned short v[3];

    MUST(CTL(set, 0, GETALL, .array = v));
    SAY("%s: %u %u %u", when, v[0], v[1], v[2]);
}

static void keys(void)
{
    struct semid_ds ds;
    int a;

    T(semget(0x4321, 3, 0));
    OK(a = semget(0x4321, 3, IPC_CREAT | 0640));
    V(semget(0x4321, 0, 0) == a);
    V(semget(0x4321, 3, 0) == a);
    T(semget(0x4321, 4, 0));
    T(semget(0x4321, 3, IPC_CREAT | IPC_EXCL));
    T(semget(IPC_PRIVATE, 0, 0600));
    T(semget(IPC_PRIVATE, -1, 0600));
    T(semget(IPC_PRIVATE, 32001, 0600));
    T(CTL(a, 0, IPC_STAT, .buf = &ds));
    SAY("nsems %lu mode %o otime %d ctime %d", (unsigned long)ds.sem_nsems, ds.sem_perm.mode, ds.sem_otime != 0, ds.sem_ctime != 0);
    ds.sem_perm.mode = 0606;
    ds.sem_perm.gid = 7;
    T(CTL(a, 0, IPC_SET, .buf = &ds));
    T(CTL(a, 0, IPC_STAT, .buf = &ds));
    SAY("mode %o gid %d cgid %d", ds.sem_perm.mode, ds.sem_perm.gid, ds.sem_perm.cgid);
    T(CTL(a, 0, IPC_RMID, .val = 0));
    T(CTL(a, 0, IPC_RMID, .val = 0));
    T(CTL(a, 0, GETVAL, .val = 0));
    T(CTL(-1, 0, GETVAL, .val = 0));
}

static void single(void)
{
    unsigned short v[3] = {1, 2, 3}, bad[3] = {1, 40000, 2};

    MUST(set = semget(IPC_PRIVATE, 3, 0600));
    values("new");
    T(CTL(set, 0, GETPID, .val = 0));
    T(CTL(set, 0, SETALL, .array = v));
    values("set");
    T(CTL(set, 0, SETALL, .array = bad));
    T(CTL(set, 0, SETALL, .array = (void *)8));
    T(CTL(set, 0, GETALL, .array = (void *)8));
    T(CTL(set, 1, SETVAL, .val = 32767));
    T(CTL(set, 1, SETVAL, .val = 32768));
    T(CTL(set, 1, SETVAL, .val = -1));
    T(CTL(set, 3, SETVAL, .val = 1));
    T(CTL(set, -1, GETVAL, .val = 1));
    T(CTL(set, 1, GETVAL, .val = 0));
    V(CTL(set, 1, GETPID, .val = 0) == getpid());
    T(CTL(set, 1, 99, .val = 0));
    T(OPS(set, {1, 1, 0}));
    T(OPS(set, {0, -1, 0}, {2, -4, IPC_NOWAIT}));
    values("nothing happened");
    T(OPS(set, {0, -1, 0}, {2, -3, IPC_NOWAIT}, {0, 0, 0}, {0, 5, 0}));
    values("all of it");
    T(OPS(set, {0, 0, IPC_NOWAIT}));
    T(OPS(set, {3, 1, 0}));
    T(semop(set, NULL, 0));
    T(semop(set, (void *)8, 1));
    T(semop(-1, (struct sembuf[]){{0, 1, 0}}, 1));
    struct sembuf *many = calloc(501, sizeof *many);
    T(semop(set, many, 501));
    for (int i = 0; i < 500; i++)
        many[i] = (struct sembuf){2, i % 2 ? -1 : 1, 0};
    T(semop(set, many, 500));
    free(many);
    struct timespec zero = {0, 20000000}, bad_time = {0, 1000000000};
    T(semtimedop(set, (struct sembuf[]){{2, -1, 0}}, 1, &zero));
    T(semtimedop(set, (struct sembuf[]){{2, -1, 0}}, 1, &bad_time));
    T(semtimedop(set, (struct sembuf[]){{2, 1, 0}}, 1, &zero));
    values("end");
    MUST(CTL(set, 0, IPC_RMID, .val = 0));
}

static void *wait_two(void *arg)
{
    (void)arg;
    if (OPS(set, {0, -1, 0}, {1, -1, 0}))
        return (void *)(long)errno;
    return NULL;
}

static void *wait_zero(void *arg)
{
    (void)arg;
    if (OPS(set, {2, 0, 0}))
        return (void *)(long)errno;
    return NULL;
}

static void nothing(int sig) { (void)sig; }

static void waiters(int n)
{
    while (CTL(set, 0, GETNCNT, .val = 0) < n)
        nap(5);
}

static void waiting(void)
{
    pthread_t two, zero;
    void *got;

    MUST(set = semget(IPC_PRIVATE, 3, 0600));
    MUST(CTL(set, 2, SETVAL, .val = 2));
    pthread_create(&two, NULL, wait_two, NULL);
    pthread_create(&zero, NULL, wait_zero, NULL);
    waiters(1);
    while (!CTL(set, 2, GETZCNT, .val = 0))
        nap(5);
    SAY("waiting: %d %d %d, for zero %d", CTL(set, 0, GETNCNT, .val = 0), CTL(set, 1, GETNCNT, .val = 0), CTL(set, 2, GETNCNT, .val = 0),
        CTL(set, 2, GETZCNT, .val = 0));
    T(OPS(set, {0, 1, 0}));
    nap(20);
    SAY("waiting: %d %d", CTL(set, 0, GETNCNT, .val = 0), CTL(set, 1, GETNCNT, .val = 0));
    values("half");
    T(OPS(set, {1, 1, 0}, {2, -2, 0}));
    pthread_join(two, &got);
    SAY("two: %ld", (long)got);
    pthread_join(zero, &got);
    SAY("zero: %ld", (long)got);
    values("after");
    struct sigaction sa = { .sa_handler = nothing, .sa_flags = SA_RESTART };
    sigaction(SIGUSR1, &sa, NULL);
    pthread_create(&two, NULL, wait_two, NULL);
    waiters(1);
    pthread_kill(two, SIGUSR1);
    pthread_join(two, &got);
    SAY("signal: %s", errname((int)(long)got));
    pthread_create(&two, NULL, wait_two, NULL);
    waiters(1);
    T(CTL(set, 0, IPC_RMID, .val = 0));
    pthread_join(two, &got);
    SAY("removed: %d", (int)(long)got);
}

static void *undoing(void *arg)
{
    (void)arg;
    if (OPS(set, {0, 5, SEM_UNDO}, {1, -1, SEM_UNDO}))
        return (void *)(long)errno;
    return NULL;
}

static int raw_body(void *arg)
{
    int ready = *(volatile int *)arg;

    (void)ready;
    undoing(NULL);
    syscall(SYS_exit, 0);
    return 0;
}

static void undo(void)
{
    static char stack[16384] __attribute__((aligned(16)));
    pthread_t t;
    void *got;
    int zero = 0;
    pid_t tid = 1;

    MUST(set = semget(IPC_PRIVATE, 3, 0600));
    MUST(CTL(set, 1, SETVAL, .val = 3));
    pthread_create(&t, NULL, undoing, NULL);
    pthread_join(t, &got);
    SAY("thread: %ld", (long)got);
    values("a POSIX thread shares its undo list");
    // A thread of its own undo list: it is settled when it ends.
    MUST(clone(raw_body, stack + sizeof stack, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_CHILD_CLEARTID |
               CLONE_PARENT_SETTID, &zero, &tid, NULL, &tid));
    while (*(volatile pid_t *)&tid)
        nap(5);
    nap(20);
    values("a thread of its own");
    MUST(CTL(set, 0, SETVAL, .val = 100));
    values("set");
    MUST(CTL(set, 0, IPC_RMID, .val = 0));
}

static void infos(void)
{
    struct seminfo i;
    struct semid_ds ds;

    MUST(set = semget(IPC_PRIVATE, 3, 0600));
    V(CTL(0, 0, IPC_INFO, .info = &i) == (set & 32767));
    SAY("mni %d mns %d msl %d opm %d vmx %d mnu %d map %d ume %d usz %d aem %d", i.semmni, i.semmns, i.semmsl, i.semopm, i.semvmx,
        i.semmnu, i.semmap, i.semume, i.semusz, i.semaem);
    V(CTL(0, 0, SEM_INFO, .info = &i) == (set & 32767));
    SAY("sets %d semaphores %d", i.semusz, i.semaem);
    V(CTL(set & 32767, 0, SEM_STAT, .buf = &ds) == set);
    V(CTL(set & 32767, 0, SEM_STAT_ANY, .buf = &ds) == set);
    MUST(setresuid(1000, 1000, 0));
    T(OPS(set, {0, 1, 0}));
    T(CTL(set, 0, GETVAL, .val = 0));
    T(CTL(set, 0, SETVAL, .val = 1));
    T(CTL(set, 0, IPC_RMID, .val = 0));
    T(CTL(set, 0, IPC_STAT, .buf = &ds));
    MUST(setresuid(0, 0, 0));
    T(CTL(set, 0, IPC_RMID, .val = 0));
}

static void contention(void);

int main(void)
{
    keys();
    single();
    waiting();
    undo();
    infos();
    contention();
    return 0;
}

static long counter;

static void *worker(void *arg)
{
    for (int i = 0; i < 500; i++) {
        OPS(set, {0, -1, 0});
        long was = counter;
        if (i % 50 == 0)
            sched_yield();
        counter = was + 1;
        OPS(set, {0, 1, 0});
    }
    return arg;
}

static void contention(void)
{
    pthread_t t[6];

    MUST(set = semget(IPC_PRIVATE, 1, 0600));
    MUST(CTL(set, 0, SETVAL, .val = 1));
    for (int i = 0; i < 6; i++)
        pthread_create(&t[i], NULL, worker, NULL);
    for (int i = 0; i < 6; i++)
        pthread_join(t[i], NULL);
    V(counter);
    MUST(CTL(set, 0, IPC_RMID, .val = 0));
}
