// SPDX-License-Identifier: Apache-2.0
// System V message queues: keys and ids, permissions, choice by type, blocking, removal, limits, /proc/sysvipc.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <sys/ipc.h>
#include <sys/msg.h>

#ifndef MSG_STAT
#define MSG_STAT 11
#define MSG_INFO 12
#endif
#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif
#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

static struct { long type; char text[8300]; } m;

static long snd(int q, long type, const char *text, int flags)
{
    m.type = type;
    strcpy(m.text, text);
    return msgsnd(q, &m, strlen(text) + 1, flags);
}

static long rcv(int q, size_t room, long type, int flags)
{
    memset(&m, 0, sizeof m);
    long n = msgrcv(q, &m, room, type, flags);
    if (n >= 0)
        SAY("  type %ld \"%.20s\"", m.type, m.text);
    return n;
}

static void stat_of(int q)
{
    struct msqid_ds ds;

    MUST(msgctl(q, IPC_STAT, &ds));
    SAY("key %x uid %d cuid %d mode %o bytes %lu count %lu limit %lu pids %d %d times %d %d %d", ds.msg_perm.__key, ds.msg_perm.uid,
        ds.msg_perm.cuid, ds.msg_perm.mode, ds.msg_cbytes, ds.msg_qnum, ds.msg_qbytes, ds.msg_lspid == getpid(), ds.msg_lrpid == getpid(),
        ds.msg_stime != 0, ds.msg_rtime != 0, ds.msg_ctime != 0);
}

static void proc(const char *path, int lines)
{
    char line[300];
    FILE *f = fopen(path, "r");

    if (!f) {
        SAY("%s: %s", path, errname(errno));
        return;
    }
    while (lines-- && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        SAY("%.66s|", line);        // what follows are pids and times
    }
    fclose(f);
}

static void keys(void)
{
    int a, b;

    T(msgget(0x1234, 0));
    OK(a = msgget(0x1234, IPC_CREAT | 0640));
    V(msgget(0x1234, 0) == a);
    V(msgget(0x1234, IPC_CREAT | 0777) == a);
    T(msgget(0x1234, IPC_CREAT | IPC_EXCL | 0640));
    OK(b = msgget(IPC_PRIVATE, 0600));
    V(a != b);
    V(b & 32767);
    stat_of(a);
    stat_of(b);
    T(msgctl(b, IPC_RMID, NULL));
    T(msgctl(b, IPC_RMID, NULL));
    T(snd(b, 1, "gone", 0));
    OK(b = msgget(IPC_PRIVATE, 0600));
    V(b & 32767);
    T(msgctl(b, IPC_RMID, NULL));
    T(msgctl(a, IPC_RMID, NULL));
    T(msgctl(-1, IPC_STAT, NULL));
    T(msgctl(a, 99, NULL));
    T(msgctl(12345678, IPC_RMID, NULL));
}

static void order(void)
{
    int q;

    MUST(q = msgget(IPC_PRIVATE, 0600));
    T(snd(q, 3, "three", 0));
    T(snd(q, 1, "one", 0));
    T(snd(q, 2, "two", 0));
    T(snd(q, 3, "three again", 0));
    T(snd(q, 5, "five", 0));
    T(rcv(q, 100, 1, MSG_COPY | IPC_NOWAIT));
    T(rcv(q, 100, 9, MSG_COPY | IPC_NOWAIT));
    T(rcv(q, 100, 0, MSG_COPY));
    T(rcv(q, 100, 0, MSG_COPY | MSG_EXCEPT | IPC_NOWAIT));
    T(rcv(q, 100, 2, IPC_NOWAIT));
    T(rcv(q, 100, 2, IPC_NOWAIT));
    T(rcv(q, 100, -2, IPC_NOWAIT));
    T(rcv(q, 100, -2, IPC_NOWAIT));
    T(rcv(q, 3, 0, IPC_NOWAIT));
    T(rcv(q, 3, 0, IPC_NOWAIT | MSG_NOERROR));
    T(rcv(q, 100, 3, IPC_NOWAIT | MSG_EXCEPT));
    stat_of(q);
    T(rcv(q, 100, LONG_MIN, IPC_NOWAIT));
    T(rcv(q, 100, 0, IPC_NOWAIT));
    T(snd(q, 0, "zero", 0));
    T(snd(q, -1, "negative", 0));
    T(msgsnd(q, &m, 8193, 0));
    T(msgsnd(q, &m, -1, 0));
    m.type = 1;
    T(msgsnd(q, &m, 0, 0));
    T(msgsnd(q, (void *)8, 4, 0));
    T(msgsnd(-1, &m, 4, 0));
    T(rcv(q, 0, 0, 0));
    T(msgrcv(q, &m, -1, 0, 0));
    T(msgrcv(-1, &m, 4, 0, 0));
    T(snd(q, 7, "lost", 0));
    T(msgrcv(q, (void *)8, 100, 0, 0));
    stat_of(q);
    MUST(msgctl(q, IPC_RMID, NULL));
}

static void full(void)
{
    struct msqid_ds ds;
    int q;

    MUST(q = msgget(0x77, IPC_CREAT | 0600));
    memset(m.text, 'x', sizeof m.text);
    m.type = 1;
    T(msgsnd(q, &m, 8192, IPC_NOWAIT));
    T(msgsnd(q, &m, 8192, IPC_NOWAIT));
    T(msgsnd(q, &m, 1, IPC_NOWAIT));
    T(msgsnd(q, &m, 0, IPC_NOWAIT));
    proc("/proc/sysvipc/msg", 1);
    MUST(msgctl(q, IPC_STAT, &ds));
    ds.msg_qbytes = 16000;
    ds.msg_perm.mode = 0644;
    ds.msg_perm.uid = 5;
    T(msgctl(q, IPC_SET, &ds));
    T(msgsnd(q, &m, 3000, IPC_NOWAIT));
    stat_of(q);
    ds.msg_perm.uid = -1;
    T(msgctl(q, IPC_SET, &ds));
    T(msgctl(q, IPC_SET, (void *)8));
    MUST(msgctl(q, IPC_RMID, NULL));
}

static int shared;

static void *receiver(void *arg)
{
    struct { long type; char text[32]; } r = { 0, "" };
    long n = msgrcv(shared, &r, sizeof r.text, (long)arg, 0);

    if (n < 0)
        return (void *)(long)errno;
    return (void *)r.type;
}

static void nothing(int sig) { (void)sig; }

static void blocking(void)
{
    pthread_t t[3];
    void *got;

    MUST(shared = msgget(IPC_PRIVATE, 0600));
    for (long i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, receiver, (void *)(i + 1));
    nap(50);
    for (long i = 3; i; i--)
        T(snd(shared, i, "to a waiter", 0));
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], &got);
        SAY("waiter %d got %ld", i, (long)got);
    }
    pthread_create(&t[0], NULL, receiver, (void *)4);
    struct sigaction sa = { .sa_handler = nothing, .sa_flags = SA_RESTART };
    sigaction(SIGUSR1, &sa, NULL);
    do {                        // it may not be waiting yet
        nap(20);
        pthread_kill(t[0], SIGUSR1);
        nap(20);
    } while (pthread_tryjoin_np(t[0], &got));
    SAY("signal: %s", errname((int)(long)got));
    pthread_create(&t[0], NULL, receiver, (void *)4);
    nap(200);
    T(msgctl(shared, IPC_RMID, NULL));
    pthread_join(t[0], &got);
    SAY("removed: %d", (int)(long)got);
}

static void infos(void)
{
    struct msginfo i;
    struct msqid_ds ds;
    int q;

    MUST(q = msgget(IPC_PRIVATE, 0600));
    MUST(snd(q, 1, "four", 0));
    V(msgctl(0, IPC_INFO, (void *)&i) == (q & 32767));
    SAY("max %d mnb %d mni %d pool %d map %d tql %d ssz %d seg %d", i.msgmax, i.msgmnb, i.msgmni, i.msgpool, i.msgmap, i.msgtql, i.msgssz,
        i.msgseg);
    V(msgctl(0, MSG_INFO, (void *)&i) == (q & 32767));
    SAY("queues %d messages %d bytes %d", i.msgpool, i.msgmap, i.msgtql);
    V(msgctl(q & 32767, MSG_STAT, &ds) == q);
    V(msgctl(q & 32767, MSG_STAT_ANY, &ds) == q);
    T(msgctl(30000, MSG_STAT, &ds));
    MUST(setresuid(1000, 1000, 0));
    T(snd(q, 1, "not mine", 0));
    T(rcv(q, 10, 0, IPC_NOWAIT));
    T(msgctl(q, IPC_STAT, &ds));
    T(msgctl(q, IPC_RMID, NULL));
    V(msgctl(q & 32767, MSG_STAT_ANY, &ds) == q);
    T(msgctl(q & 32767, MSG_STAT, &ds));
    MUST(setresuid(0, 0, 0));
    T(msgctl(q, IPC_RMID, NULL));
}

int main(void)
{
    keys();
    order();
    full();
    blocking();
    infos();
    proc("/proc/sys/kernel/msgmax", 1);
    proc("/proc/sys/kernel/msgmnb", 1);
    return 0;
}
