// SPDX-License-Identifier: Apache-2.0
// System V shared memory: segments, attaching in several places, rights, removal with attachments left, /proc/self/maps.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <sys/ipc.h>
#include <sys/shm.h>

#ifndef SHM_STAT
#define SHM_STAT 13
#define SHM_INFO 14
#endif
#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif

static long where(void *p) { return p == (void *)-1 ? -1 : 0; }

static void stat_of(const char *when, int id)
{
    struct shmid_ds ds;

    if (shmctl(id, IPC_STAT, &ds) == -1) {
        SAY("%s: %s", when, errname(errno));
        return;
    }
    SAY("%s: size %lu mode %o attached %lu key %x pids %d %d times %d %d %d", when, (unsigned long)ds.shm_segsz, ds.shm_perm.mode,
        (unsigned long)ds.shm_nattch, ds.shm_perm.__key, ds.shm_cpid == getpid(), ds.shm_lpid == getpid(), ds.shm_atime != 0,
        ds.shm_dtime != 0, ds.shm_ctime != 0);
}

static void keys(void)
{
    int a;

    T(shmget(0x99, 100, 0));
    OK(a = shmget(0x99, 5000, IPC_CREAT | 0640));
    V(shmget(0x99, 5000, 0) == a);
    V(shmget(0x99, 0, 0) == a);
    T(shmget(0x99, 5001, 0));
    T(shmget(0x99, 1, IPC_CREAT | IPC_EXCL));
    T(shmget(IPC_PRIVATE, 0, 0600));
    T(shmget(IPC_PRIVATE, -1, 0600));
    T(shmget(IPC_PRIVATE, 1l << 60, 0600));
    stat_of("new", a);
    T(shmctl(a, IPC_RMID, NULL));
    T(shmctl(a, IPC_RMID, NULL));
    T(where(shmat(a, NULL, 0)));
    T(where(shmat(-1, NULL, 0)));
    T(shmctl(a, 99, NULL));
    T(shmctl(-1, IPC_STAT, NULL));
}

static void maps(const char *name)
{
    char line[400];
    FILE *f = fopen("/proc/self/maps", "r");
    int n = 0;

    while (fgets(line, sizeof line, f))
        if (strstr(line, name)) {
            n++;
            line[strcspn(line, "\n")] = 0;
            SAY("maps: %.4s %s", strchr(line, ' ') + 1, strstr(line, "/SYSV"));
        }
    SAY("maps: %d", n);
    fclose(f);
}

static void attach(void)
{
    struct shmid_ds ds;
    int id;
    char *a, *b, *c;

    MUST(id = shmget(0xabc, 5 * PAGE - 10, IPC_CREAT | 0600));
    MUST(where(a = shmat(id, NULL, 0)));
    MUST(where(b = shmat(id, NULL, SHM_RDONLY)));
    V(a != b);
    strcpy(a + 10000, "seen from both");
    SAY("%s", b + 10000);
    stat_of("twice", id);
    T(mprotect(b, PAGE, PROT_READ | PROT_WRITE));
    maps("SYSV00000abc");
    T(where(shmat(id, a, 0)));
    T(where(shmat(id, a + 1, 0)));
    T(where(shmat(id, NULL, SHM_REMAP)));
    c = mmap(NULL, 20 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    T(where(shmat(id, c, 0)));
    V(shmat(id, c, SHM_REMAP) == c);
    SAY("%s", c + 10000);
    munmap(c + 5 * PAGE, 15 * PAGE);
    V(shmat(id, c + 5 * PAGE + 100, SHM_RND) == c + 5 * PAGE);
    stat_of("four times", id);
    T(munmap(c + PAGE, PAGE));
    MUST(shmctl(id, IPC_STAT, &ds));
    SAY("split: attached %lu", (unsigned long)ds.shm_nattch);
    T(shmdt(c + 1));
    T(shmdt(c + PAGE));
    T(shmdt(c));
    stat_of("detached whole", id);
    T(shmdt(c));
    T(munmap(c + 5 * PAGE, 5 * PAGE));
    stat_of("unmapped", id);
    T(shmctl(id, IPC_RMID, NULL));
    stat_of("removed", id);
    T(shmget(0xabc, 10, 0));
    MUST(where(c = shmat(id, NULL, 0)));
    SAY("%s", c + 10000);
    maps("SYSV00000abc");
    T(shmdt(a));
    T(shmdt(b));
    SAY("%s", c + 10000);
    T(shmdt(c));
    stat_of("gone", id);
    T(where(shmat(id, NULL, 0)));
}

static void rights(void)
{
    struct shm_info now;
    struct shminfo limits;
    struct shmid_ds ds;
    int id;

    MUST(id = shmget(IPC_PRIVATE, 3 * PAGE, 0640));
    V(shmctl(0, IPC_INFO, (void *)&limits) == (id & 32767));
    SAY("max %lx min %lu mni %lu seg %lu all %lx", limits.shmmax, limits.shmmin, limits.shmmni, limits.shmseg, limits.shmall);
    V(shmctl(0, SHM_INFO, (void *)&now) == (id & 32767));
#ifdef __GLIBC__
    SAY("used %d pages %lu", now.used_ids, now.shm_tot);
#else
    SAY("used %d pages %lu", now.__used_ids, now.shm_tot);
#endif
    V(shmctl(id & 32767, SHM_STAT, &ds) == id);
    V(shmctl(id & 32767, SHM_STAT_ANY, &ds) == id);
    T(shmctl(id, SHM_LOCK, NULL));
    stat_of("locked", id);
    T(shmctl(id, SHM_UNLOCK, NULL));
    MUST(shmctl(id, IPC_STAT, &ds));
    ds.shm_perm.mode = 0644;
    T(shmctl(id, IPC_SET, &ds));
    MUST(setresuid(1000, 1000, 0));
    T(where(shmat(id, NULL, 0)));
    T(where(shmat(id, NULL, SHM_RDONLY)));
    T(shmctl(id, IPC_SET, &ds));
    T(shmctl(id, IPC_RMID, NULL));
    T(shmctl(id, SHM_LOCK, NULL));
    MUST(setresuid(0, 0, 0));
    T(shmctl(id, IPC_RMID, NULL));
}

static void *churn(void *arg)
{
    int id = *(int *)arg;

    for (int i = 0; i < 200; i++) {
        long *p = shmat(id, NULL, 0);
        if (p == (void *)-1)
            return (void *)1;
        __atomic_add_fetch(p, 1, __ATOMIC_RELAXED);
        shmdt(p);
    }
    return NULL;
}

static void threads(void)
{
    pthread_t t[4];
    int id;

    MUST(id = shmget(IPC_PRIVATE, PAGE, 0600));
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, churn, &id);
    struct shmid_ds ds;
    for (int i = 0; i < 200; i++)
        shmctl(id, IPC_STAT, &ds);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    long *p = shmat(id, NULL, 0);
    V(*p);
    MUST(shmctl(id, IPC_RMID, NULL));
    shmdt(p);
    for (int i = 0; i < 300; i++) {             // more than the memory, were something kept
        MUST(id = shmget(IPC_PRIVATE, 1 << 20, 0600));
        void *all = shmat(id, NULL, 0);
        memset(all, 1, 1 << 20);
        MUST(shmctl(id, IPC_RMID, NULL));
        MUST(shmdt(all));
    }
}

int main(void)
{
    keys();
    attach();
    rights();
    threads();
    return 0;
}
