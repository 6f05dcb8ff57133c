// SPDX-License-Identifier: Apache-2.0
// uname, sysinfo, limits, usage, prctl, capabilities, ids, scheduling, getrandom, membarrier, personality.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/membarrier.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static void names(void)
{
    struct utsname u;
    struct sysinfo info;

    T(uname(&u));
    SAY("%s %s %s", u.sysname, u.nodename, u.machine);
    V(atoi(u.release) >= 4);
    T(syscall(SYS_uname, WILD));
    char host[64];
    T(gethostname(host, sizeof host));
    T(sethostname("renamed", 7));
    gethostname(host, sizeof host);
    SAY("%s", host);
    T(sethostname("x", -1));
    T(syscall(SYS_sethostname, "x", 65L));
    T(syscall(SYS_setdomainname, "domain", 6L));
    uname(&u);
    SAY("%s", u.domainname);
    T(sysinfo(&info));
    V(info.totalram > 0 && info.freeram <= info.totalram && info.mem_unit > 0 && info.procs > 0);
    T(syscall(SYS_sysinfo, WILD));
}

static void limits(void)
{
    struct rlimit limit, set;

    for (int which = 0; which < 16; which++)
        if (getrlimit(which, &limit) == -1)
            SAY("limit %d: %s", which, errname(errno));
    getrlimit(RLIMIT_NOFILE, &limit);
    SAY("files %ld", (long)limit.rlim_cur);
    getrlimit(RLIMIT_STACK, &limit);
    SAY("stack %ld %ld", (long)limit.rlim_cur, (long)limit.rlim_max);
    getrlimit(RLIMIT_CORE, &limit);
    SAY("core %ld %ld", (long)limit.rlim_cur, (long)limit.rlim_max);
    set = (struct rlimit){100, 50};
    T(setrlimit(RLIMIT_NOFILE, &set));
    set = (struct rlimit){100, 2000};
    T(setrlimit(RLIMIT_NOFILE, &set));
    T(getrlimit(RLIMIT_NOFILE, &limit));
    V(limit.rlim_cur);
    T(getrlimit(99, &limit));
    T(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit));
    V(limit.rlim_max);
    T(syscall(SYS_prlimit64, 0, 99, NULL, &limit));
    T(syscall(SYS_prlimit64, 0x3ffffff, RLIMIT_NOFILE, NULL, &limit));
    T(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, WILD, NULL));
    T(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, WILD));
}

static void usage(void)
{
    struct rusage r;

    for (volatile long i = 0; i < 30000000; i++)
        ;
    T(getrusage(RUSAGE_SELF, &r));
    V(r.ru_utime.tv_sec > 0 || r.ru_utime.tv_usec > 0);
    V(r.ru_maxrss > 0);
    T(getrusage(RUSAGE_THREAD, &r));
    T(getrusage(RUSAGE_CHILDREN, &r));
    T(getrusage(99, &r));
    T(syscall(SYS_getrusage, RUSAGE_SELF, WILD));
}

static void control(void)
{
    char name[16];
    int value = 0;

    T(prctl(PR_SET_NAME, "a-name-that-is-long"));
    T(prctl(PR_GET_NAME, name));
    SAY("%s", name);
    T(prctl(PR_GET_DUMPABLE));
    T(prctl(PR_SET_DUMPABLE, 0));
    T(prctl(PR_GET_DUMPABLE));
    T(prctl(PR_SET_DUMPABLE, 7));
    T(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    T(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    T(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    T(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    T(prctl(PR_GET_PDEATHSIG, &value));
    T(prctl(PR_SET_PDEATHSIG, 999));
    T(prctl(PR_GET_KEEPCAPS));
    T(prctl(PR_SET_KEEPCAPS, 2));
    T(prctl(PR_CAPBSET_READ, 999));
    T(prctl(PR_GET_SECCOMP));
    T(prctl(PR_GET_TIMERSLACK));
    T(prctl(0x7fffffff, 0, 0, 0, 0));
    T(prctl(PR_GET_NAME, WILD));
    T(prctl(PR_GET_CHILD_SUBREAPER, &value));
    V(value);
}

static void capabilities(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0}};

    T(syscall(SYS_capget, &header, data));
    V((data[0].effective & 1) && (data[0].permitted & 1));
    header.version = 0x1234;
    T(syscall(SYS_capget, &header, data));
    SAY("version %x", header.version);
    header.version = 0x1234;
    T(syscall(SYS_capget, &header, NULL));
    T(syscall(SYS_capget, WILD, data));
    header = (struct __user_cap_header_struct){_LINUX_CAPABILITY_VERSION_3, -1};
    T(syscall(SYS_capget, &header, data));
}

static void ids(void)
{
    gid_t groups[4];
    uid_t a, b, c;

    SAY("%d %d %d %d", getuid(), geteuid(), getgid(), getegid());
    T(getresuid(&a, &b, &c));
    SAY("%d %d %d", a, b, c);
    T(setgroups(2, (gid_t[]){5, 6}));
    T(getgroups(4, groups));
    T(getgroups(1, groups));
    T(getgroups(0, NULL));
    T(getpgid(0) >= 0);
    T(getpgid(0x3ffffff));
    T(getsid(0x3ffffff));
    T(getpriority(PRIO_PROCESS, 0));
    T(setpriority(PRIO_PROCESS, 0, 5));
    T(getpriority(PRIO_PROCESS, 0));
    T(setpriority(99, 0, 5));
    T(syscall(SYS_personality, 0xffffffff));
    T(syscall(SYS_setfsuid, 0));
    T(setresgid(100, 200, 300));
    T(getegid());
    T(setresuid(1000, 2000, 1000));
    SAY("%d %d", getuid(), geteuid());
    T(seteuid(5));
    T(seteuid(1000));
    T(setuid(0));
    T(sethostname("no", 2));
    T(open("/etc/passwd", O_WRONLY));
    T(mkdir("/bin/mine", 0755));
    T(chown("/etc/passwd", 1, 1));
    T(setgroups(0, NULL));
    T(unlink("/etc/passwd"));
}

static void scheduling(void)
{
    struct sched_param parameter = {0};
    struct timespec quantum;
    cpu_set_t set;
    unsigned cpu = 99, node = 99;

    T(sched_getscheduler(0) == -1 ? syscall(SYS_sched_getscheduler, 0) : 0);
    T(syscall(SYS_sched_getparam, 0, &parameter));
    T(sched_get_priority_max(SCHED_FIFO));
    T(sched_get_priority_min(SCHED_FIFO));
    T(sched_get_priority_max(SCHED_OTHER));
    T(sched_get_priority_max(99));
    T(syscall(SYS_sched_rr_get_interval, 0, &quantum));
    T(syscall(SYS_sched_getscheduler, 0x3ffffff));
    T(syscall(SYS_sched_setscheduler, 0, 99, &parameter));
    parameter.sched_priority = 50;
    T(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &parameter));
    T(sched_yield());
    T(sched_getaffinity(0, sizeof set, &set));
    V(CPU_COUNT(&set) >= 1);
    T(syscall(SYS_sched_getaffinity, 0, 1, &set));
    T(syscall(SYS_sched_getaffinity, 0, 8, WILD));
    T(syscall(SYS_sched_getaffinity, 0x3ffffff, 8, &set));
    CPU_ZERO(&set);
    T(sched_setaffinity(0, sizeof set, &set));
    CPU_SET(0, &set);
    T(sched_setaffinity(0, sizeof set, &set));
    T(syscall(SYS_getcpu, &cpu, &node, NULL));
    V(cpu);
    V(node);
    V(sched_getcpu());
    V(sysconf(_SC_PAGESIZE));
}

static void randomness(void)
{
    unsigned char a[300], b[300];
    int same = 0;

    T(getrandom(a, sizeof a, 0));
    T(getrandom(b, sizeof b, GRND_NONBLOCK));
    for (int i = 0; i < 300; i++)
        same += a[i] == b[i];
    V(same < 30);
    T(getrandom(a, 10, GRND_RANDOM));
    T(getrandom(a, 10, 0x100));
    T(syscall(SYS_getrandom, WILD, 10, 0));
    T(syscall(SYS_getrandom, a, 0, 0));
    T(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) >= 0);
    T(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
    T(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    T(syscall(SYS_membarrier, 0x40000000, 0, 0));
    T(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 5, 0));
}

int main(void)
{
    names();
    limits();
    usage();
    control();
    capabilities();
    scheduling();
    randomness();
    ids();
    return 0;
}
