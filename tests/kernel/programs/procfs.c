// SPDX-License-Identifier: Apache-2.0
// /proc, /dev and /sys as libraries and runtimes read them: presence, shape and what must agree with other calls.
// oracle: libc=musl,glibc args="one two"
#include "oracle.h"
#include <sys/prctl.h>
#include <sys/resource.h>

static char text[65536];

static long slurp(const char *path)
{
    long total = read_whole(path, text, sizeof text);

    if (total == -1)
        SAY("%s: %s", path, errname(errno));
    return total;
}

static void has(const char *path, const char *what)
{
    slurp(path);
    SAY("%s has %s: %d", path, what, strstr(text, what) != NULL);
}

static void own(char **argv)
{
    char link[256] = "";

    V(readlink("/proc/self/exe", link, sizeof link) > 0);
    SAY("exe is argv[0]: %d", !strcmp(link, argv[0]));
    memset(link, 0, sizeof link);
    readlink("/proc/self/cwd", link, sizeof link);
    SAY("cwd %s", link);
    memset(link, 0, sizeof link);
    readlink("/proc/self/root", link, sizeof link);
    SAY("root %s", link);
    V(readlink("/proc/self", link, sizeof link) > 0);
    V(atoi(link) == getpid());
    long length = slurp("/proc/self/cmdline");
    SAY("cmdline ends %s", text + length - 8);
    MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit){1000, 4000}));
    slurp("/proc/self/environ");
    SAY("environ %s", text);
    prctl(PR_SET_NAME, "renamed");
    slurp("/proc/self/comm");
    SAY("comm %s", text);
    slurp("/proc/self/stat");
    V(atoi(text) == getpid());
    V(strstr(text, "(renamed) R ") != NULL);
    has("/proc/self/status", "Name:\trenamed\n");
    has("/proc/self/status", "Threads:\t1\n");
    has("/proc/self/status", "VmRSS:");
    has("/proc/self/status", "SigBlk:");
    has("/proc/self/status", "Uid:\t0\t0\t0\t0\n");
    has("/proc/self/status", "Cpus_allowed_list:\t0");
    has("/proc/self/statm", " ");
    has("/proc/self/limits", "Max open files            1000                 4000                 files");
    has("/proc/self/mounts", " / ext2 rw");
    has("/proc/self/mounts", " /tmp tmpfs rw");
    has("/proc/mounts", " /proc proc rw");
    has("/proc/self/mountinfo", " / ");
    V(slurp("/proc/self/auxv") % 16);
    V(slurp("/proc/self/oom_score_adj") > 0);
    V(access("/proc/self/task", F_OK));
}

static void maps(void)
{
    int local, found_stack = 0, found_code = 0, found_heap = 0;
    char *heap = malloc(100);

    slurp("/proc/self/maps");
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned long from, to;
        char flags[8], name[128] = "";
        sscanf(line, "%lx-%lx %7s %*s %*s %*s %127s", &from, &to, flags, name);
        if ((unsigned long)&local >= from && (unsigned long)&local < to)
            found_stack = !strcmp(flags, "rw-p") && !strcmp(name, "[stack]");
        if ((unsigned long)maps >= from && (unsigned long)maps < to)
            found_code = !strcmp(flags, "r-xp") && strstr(name, "/bin/procfs") != NULL;
        if ((unsigned long)heap >= from && (unsigned long)heap < to)
            found_heap = !strcmp(flags, "rw-p");
    }
    V(found_stack);
    V(found_code);
    V(found_heap);
}

static void descriptors(void)
{
    char link[64] = "";
    int fd = open("/etc/passwd", O_RDONLY | O_APPEND);

    lseek(fd, 5, SEEK_SET);
    readlink("/proc/self/fd/3", link, sizeof link);
    SAY("fd 3 %s", link);
    has("/proc/self/fdinfo/3", "pos:\t5\n");
    has("/proc/self/fdinfo/3", "flags:\t0102000\n");
    int again = open("/proc/self/fd/3", O_RDONLY);
    T(lseek(again, 0, SEEK_CUR));
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    V(count);
    int ends[2];
    pipe(ends);
    memset(link, 0, sizeof link);
    snprintf(text, 64, "/proc/self/fd/%d", ends[0]);
    readlink(text, link, sizeof link);
    V(strncmp(link, "pipe:[", 6));
    T(open("/proc/self/fd/77", O_RDONLY));
    T(open("/dev/fd/3", O_RDONLY) >= 0);
    unlink("/scratch/deleted");
    fd = open("/scratch/deleted", O_CREAT | O_RDWR, 0600);
    unlink("/scratch/deleted");
    snprintf(text, 64, "/proc/self/fd/%d", fd);
    memset(link, 0, sizeof link);
    readlink(text, link, sizeof link);
    SAY("%s", link);
}

static long number_after(const char *path, const char *name)
{
    slurp(path);
    char *at = strstr(text, name);
    return at ? atol(at + strlen(name)) : -1;
}

// Another thread's call is not the reader's.
static void *reads_syscall(void *path)
{
    slurp(path);
    SAY("%s from another thread: read(2) %d", (const char *)path, !strncmp(text, "0 0x", 4));
    return NULL;
}

// What lsblk, lscpu, ps and psutil ask for.
static void tools(void)
{
    char link[64] = "", line[32];
    int fd = open("/etc/passwd", O_RDONLY);
    long before = number_after("/proc/self/io", "rchar: "), calls = number_after("/proc/self/io", "syscw: ");

    read(fd, link, 50);
    V(number_after("/proc/self/io", "rchar: ") - before >= 50);
    write(1, "", 0);
    V(number_after("/proc/self/io", "syscw: ") > calls);
    V(number_after("/proc/self/io", "read_bytes: ") >= 0);
    snprintf(line, sizeof line, "/proc/self/fdinfo/%d", fd);
    long id = number_after(line, "mnt_id:\t");
    snprintf(line, sizeof line, "%ld ", id);
    slurp("/proc/self/mountinfo");
    char *at = strncmp(text, line, strlen(line)) ? strstr(text, line) : text;
    V(at && strstr(at, " / / ") != NULL);
    memset(link, 0, sizeof link);
    readlink("/proc/self/ns/net", link, sizeof link - 1);
    V(strncmp(link, "net:[", 5));
    T(open("/proc/self/ns/none", O_RDONLY));
    T(access("/sys/dev/block", R_OK | X_OK));
    V(slurp("/sys/devices/system/cpu/cpu0/topology/core_siblings_list") > 0);
    V(slurp("/sys/devices/system/cpu/cpu0/topology/thread_siblings") > 0);
    char buffer[256] = "";
    long number = -1, first = -1, second = -1, third = -1;
    int in = open("/proc/self/syscall", O_RDONLY);
    read(in, buffer, sizeof buffer - 1);
    sscanf(buffer, "%ld %lx %lx %lx", &number, &first, &second, &third);
    SAY("system call %ld, %d %d %ld", number, first == in, second == (long)buffer, third);
    close(in);
    for (const char *const *path = (const char *const[]){"/proc/self/syscall", "/proc/thread-self/syscall", NULL}; *path; path++) {
        pthread_t other;
        pthread_create(&other, NULL, reads_syscall, (void *)*path);
        pthread_join(other, NULL);
    }
    slurp("/proc/self/timerslack_ns");
    SAY("%s", text);
    V(number_after("/proc/stat", "\nctxt ") >= 0);
    close(fd);
}

static void whole(void)
{
    has("/proc/meminfo", "MemTotal:");
    has("/proc/meminfo", "MemAvailable:");
    has("/proc/cpuinfo", "processor\t: 0");
    has("/proc/cpuinfo", "flags\t");
    has("/proc/stat", "cpu ");
    has("/proc/stat", "btime ");
    has("/proc/uptime", ".");
    has("/proc/loadavg", "/");
    has("/proc/version", "Linux version ");
    has("/proc/filesystems", "ext2");
    has("/proc/filesystems", "nodev\ttmpfs");
    slurp("/proc/sys/kernel/ostype");
    SAY("%s", text);
    slurp("/proc/sys/kernel/hostname");
    SAY("%s", text);
    V(slurp("/proc/sys/kernel/osrelease") > 0);
    V(slurp("/proc/sys/kernel/random/uuid"));
    V(slurp("/proc/sys/kernel/random/boot_id"));
    V(slurp("/proc/sys/vm/overcommit_memory") > 0);
    V(slurp("/proc/sys/net/core/somaxconn") > 0);
    V(slurp("/proc/sys/kernel/pid_max") > 0);
    V(slurp("/proc/sys/fs/file-max") > 0);
    V(slurp("/proc/self/net/dev") > 0);
    V(slurp("/proc/net/tcp") > 0);
    slurp("/sys/devices/system/cpu/online");
    V(text[0] == '0');
    V(slurp("/sys/devices/system/cpu/possible") > 0);
    T(open("/proc/none", O_RDONLY));
    T(open("/proc/meminfo", O_WRONLY) >= -1);
    T(mkdir("/proc/x", 0755));
    T(unlink("/proc/meminfo"));
    T(open("/proc/x", O_CREAT | O_WRONLY, 0600));
    T(access("/dev/null", R_OK | W_OK));
    T(access("/dev/tty", F_OK));
    T(access("/dev/shm", W_OK));
    T(access("/dev/none", F_OK));
    V(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
    V(sysconf(_SC_PHYS_PAGES) > 0);
}

int main(int argc, char **argv)
{
    V(argc);
    own(argv);
    maps();
    descriptors();
    whole();
    tools();
    return 0;
}
