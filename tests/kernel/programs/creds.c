// SPDX-License-Identifier: Apache-2.0
// Credentials of single threads: ids, groups, capabilities, securebits, what files allow with them, execve with set-id bits.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/auxv.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>

static void ids(const char *when)
{
    uid_t r, e, s;
    gid_t rg, eg, sg;

    syscall(SYS_getresuid, &r, &e, &s);
    syscall(SYS_getresgid, &rg, &eg, &sg);
    SAY("%s: uid %d %d %d fs %d gid %d %d %d fs %d", when, r, e, s, (int)syscall(SYS_setfsuid, -1), rg, eg, sg, (int)syscall(SYS_setfsgid, -1));
}

// CAP_SYS_RESOURCE is not every host's to give.
static unsigned long mask(unsigned low, unsigned high) { return (low & ~(1u << 24)) | (unsigned long)high << 32; }

static void caps(const char *when)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];

    MUST(syscall(SYS_capget, &h, d));
    SAY("%s: effective %lx permitted %lx inheritable %lx", when, mask(d[0].effective, d[1].effective), mask(d[0].permitted, d[1].permitted),
        mask(d[0].inheritable, d[1].inheritable));
}

static int setcaps(unsigned long effective, unsigned long permitted, unsigned long inheritable)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2] = {{effective, permitted, inheritable}, {effective >> 32, permitted >> 32, inheritable >> 32}};

    return syscall(SYS_capset, &h, d);
}

static void status(const char *path)
{
    char line[200];
    FILE *f = fopen(path, "r");

    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "Uid:", 4) || !strncmp(line, "Gid:", 4) || !strncmp(line, "Groups:", 7) || !strncmp(line, "NoNewPrivs", 10))
            printf("  %s", line);
    if (f)
        fclose(f);
}

static void *in_thread(void *arg)
{
    void (*body)(void) = (void (*)(void))arg;

    body();
    return NULL;
}

static void alone(void (*body)(void))
{
    pthread_t t;

    pthread_create(&t, NULL, in_thread, (void *)body);
    pthread_join(t, NULL);
}

static void one_thread(void)
{
    gid_t groups[40], got[40];

    for (int i = 0; i < 40; i++)
        groups[i] = 500 + i;
    T(syscall(SYS_setgroups, 40, groups));
    T(syscall(SYS_getgroups, 0, NULL));
    T(syscall(SYS_getgroups, 39, got));
    T(syscall(SYS_getgroups, 40, got));
    V(got[39]);
    T(syscall(SYS_setresgid, 100, 101, 102));
    T(syscall(SYS_setresuid, 1000, 1001, 1002));
    ids("thread");
    caps("thread");
    char path[64];
    sprintf(path, "/proc/self/task/%d/status", (int)syscall(SYS_gettid));
    status(path);
    T(open("secret", O_RDONLY));
    T(syscall(SYS_setuid, 0));
    T(syscall(SYS_setgroups, 0, NULL));
    T(syscall(SYS_setreuid, 1002, 1000));
    ids("swapped");
    T(prctl(PR_GET_DUMPABLE));
}

static void threads(void)
{
    close(creat("secret", 0600));
    ids("before");
    V(prctl(PR_GET_DUMPABLE));
    alone(one_thread);
    ids("others keep theirs");
    T(syscall(SYS_getgroups, 0, NULL));
    status("/proc/self/status");
    OK(open("secret", O_RDONLY));
}

static void fsids(void)
{
    struct stat st;

    caps("before setfsuid");
    T(setfsgid(77));
    T(setfsuid(1000));
    ids("fsuid");
    caps("after setfsuid");
    T(open("secret", O_RDONLY));
    T(access("secret", R_OK));
    T(close(creat("open/mine", 0644)));
    if (stat("open/mine", &st) == 0)
        SAY("mine: %d %d", st.st_uid, st.st_gid);
    T(chmod("open/mine", 0600));
    T(chown("open/mine", 1, 1));
    T(mknod("open/node", S_IFCHR | 0600, makedev(1, 3)));
    T(setfsuid(0));
    caps("back");
    OK(open("secret", O_RDONLY));
}

static void capabilities(void)
{
    T(setcaps(1ul << CAP_CHOWN, 1ul << CAP_CHOWN | 1ul << CAP_FOWNER | 1ul << CAP_SETPCAP, 1ul << CAP_FOWNER));
    caps("few");
    T(setcaps(1ul << CAP_KILL, 1ul << CAP_KILL, 0));
    T(setcaps(1ul << CAP_FOWNER, 1ul << CAP_CHOWN, 0));
    T(syscall(SYS_setuid, 5));
    T(syscall(SYS_setresuid, 5, -1, -1));
    T(syscall(SYS_setresuid, 0, 0, 0));
    T(chroot("/"));
    T(sethostname("x", 1));
    T(mknod("open/node", S_IFCHR | 0600, makedev(1, 3)));
    T(mknod("open/fifo", S_IFIFO | 0600, 0));
    MUST(chown("open/fifo", 3, 3));
    T(open("open/fifo", O_RDWR));
    T(chmod("open/fifo", 0666));
    T(setcaps(1ul << CAP_FOWNER, 1ul << CAP_FOWNER, 0));
    T(chmod("open/fifo", 0644));
    T(chown("open/fifo", 4, 4));
    T(open("open/fifo", O_RDWR));
    T(setcaps(0, 0, 0));
    caps("none");
    T(open("secret", O_RDONLY) >= 0);
    T(chown("secret", 0, 0));
    T(chown("secret", 1, 0));
    T(unlink("sticky/theirs"));
}

static void ambient(void)
{
    T(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
    MUST(setcaps(1ul << CAP_CHOWN | 1ul << CAP_SETPCAP | 1ul << CAP_SETUID, 1ul << CAP_CHOWN | 1ul << CAP_SETPCAP | 1ul << CAP_SETUID,
                 1ul << CAP_CHOWN));
    T(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
    T(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0));
    T(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
    T(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 99, 0, 0));
    T(prctl(PR_CAP_AMBIENT, 9, 1, 0, 0));
    T(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0));
    T(prctl(PR_GET_SECUREBITS));
    T(prctl(PR_SET_SECUREBITS, SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED));
    T(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_CHOWN, 0, 0));
    T(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
    T(prctl(PR_SET_SECUREBITS, 0));
    T(prctl(PR_SET_SECUREBITS, 0x1000 | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED));
    T(prctl(PR_SET_KEEPCAPS, 1));
    T(prctl(PR_GET_KEEPCAPS));
    T(prctl(PR_GET_SECUREBITS));
    T(syscall(SYS_setresuid, 1000, 1000, 1000));
    caps("kept");
    T(setcaps(1ul << CAP_CHOWN, 1ul << CAP_CHOWN, 1ul << CAP_CHOWN));
    T(chown("secret", 0, 1));
    T(prctl(PR_CAPBSET_READ, CAP_CHOWN));
    T(prctl(PR_CAPBSET_DROP, CAP_CHOWN));
    T(prctl(PR_CAPBSET_READ, 64));
    T(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    T(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

static void no_fixup(void)
{
    T(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
    MUST(syscall(SYS_setresuid, 1000, 1000, 1000));
    caps("no fixup");
    T(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

static void copy_owned(const char *to, unsigned uid, unsigned gid, unsigned mode)
{
    copy_self(to);
    MUST(chown(to, uid, gid));
    MUST(chmod(to, mode));
}

static void again(const char *file, const char *stage)
{
    char *argv[] = {"creds", (char *)stage, NULL}, *envp[] = {NULL};

    fflush(stdout);
    execve(file, argv, envp);
    SAY("execve: %s", errname(errno));
    exit(1);
}

static void seen(const char *stage)
{
    ids(stage);
    caps(stage);
    SAY("secure %ld uid %ld euid %ld", getauxval(AT_SECURE), getauxval(AT_UID), getauxval(AT_EUID));
    V(prctl(PR_GET_KEEPCAPS));
    V(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        seen(argv[1]);
        if (!strcmp(argv[1], "root again"))
            again("/scratch/bin/plain", "plain");
        if (!strcmp(argv[1], "plain")) {
            MUST(setcaps(0xfffffful, 0xfffffful, 1ul << CAP_KILL));
            MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
            MUST(prctl(PR_SET_KEEPCAPS, 1));
            MUST(setresuid(1000, 1000, 1000));
            again("/scratch/bin/plain", "user");
        }
        if (!strcmp(argv[1], "user"))
            again("/scratch/bin/suid", "set-uid");
        if (!strcmp(argv[1], "set-uid")) {
            MUST(setresuid(1000, 1000, 1000));
            again("/scratch/bin/sgid", "set-gid");
        }
        if (!strcmp(argv[1], "set-gid")) {
            MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
            again("/scratch/bin/suid", "no new privileges");
        }
        return 0;
    }
    mkdir("open", 0777);
    MUST(chmod("open", 0777));
    mkdir("sticky", 01777);
    MUST(chmod("sticky", 01777));
    close(creat("sticky/theirs", 0644));
    MUST(chown("sticky", 9, 9));
    MUST(chown("sticky/theirs", 8, 8));
    threads();
    alone(fsids);
    alone(capabilities);
    alone(ambient);
    alone(no_fixup);
    ids("at last");
    mkdir("/scratch/bin", 0755);
    copy_owned("/scratch/bin/plain", 0, 0, 0755);
    copy_owned("/scratch/bin/suid", 7, 7, 04755);
    copy_owned("/scratch/bin/sgid", 7, 8, 02755);
    again("/scratch/bin/plain", "root again");
}
