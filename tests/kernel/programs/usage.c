// SPDX-License-Identifier: Apache-2.0
// What the program used and may use: user and system time, RLIMIT_CPU and its signals, RLIMIT_FSIZE and its signal.
// oracle: each=times,soft,hard,fsize,again
#include "oracle.h"
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/times.h>

static double seconds(struct timeval t) { return t.tv_sec + t.tv_usec / 1e6; }

static void burn_user(double until)
{
    struct rusage u;

    do
        for (volatile int i = 0; i < 1000000; i++)
            ;
    while (getrusage(RUSAGE_SELF, &u) == 0 && seconds(u.ru_utime) + seconds(u.ru_stime) < until);
}

static void burn_system(double until)
{
    static char block[1 << 16];
    int zero = open("/dev/zero", O_RDONLY);
    struct rusage u;

    do
        for (int i = 0; i < 50; i++)
            MUST(read(zero, block, sizeof block));
    while (getrusage(RUSAGE_SELF, &u) == 0 && seconds(u.ru_utime) + seconds(u.ru_stime) < until);
    close(zero);
}

static void *in_thread(void *arg)
{
    struct rusage u;

    getrusage(RUSAGE_THREAD, &u);
    V(seconds(u.ru_utime) + seconds(u.ru_stime) < 0.1);
    burn_user(*(double *)arg);
    return NULL;
}

static void times_divided(void)
{
    struct rusage a, b, c;
    struct tms t;
    double until = 1.8;
    pthread_t thread;

    burn_user(0.6);
    getrusage(RUSAGE_SELF, &a);
    V(seconds(a.ru_utime) > 2 * seconds(a.ru_stime));
    burn_system(1.6);
    getrusage(RUSAGE_SELF, &b);
    V(seconds(b.ru_stime) - seconds(a.ru_stime) > seconds(b.ru_utime) - seconds(a.ru_utime));
    pthread_create(&thread, NULL, in_thread, &until);
    pthread_join(thread, NULL);
    getrusage(RUSAGE_SELF, &c);
    V(seconds(c.ru_utime) >= seconds(b.ru_utime) && seconds(c.ru_stime) >= seconds(b.ru_stime));
    OK(times(&t));
    V(t.tms_utime > 20 && t.tms_stime > 20);
    T(getrusage(5, &c));
    T(syscall(SYS_getrusage, RUSAGE_SELF, WILD));
}

static volatile int told;

static void on_limit(int number)
{
    told++;
    SAY("signal %d", number);
}

static void cpu_limit(rlim_t soft, rlim_t hard, int caught)
{
    struct rlimit l = {soft, hard};

    if (caught)
        signal(SIGXCPU, on_limit);
    T(setrlimit(RLIMIT_CPU, &l));
    T(getrlimit(RLIMIT_CPU, &l));
    V(l.rlim_cur);
    for (;;) {
        for (volatile int i = 0; i < 1000000; i++)
            ;
        if (caught && told == 2) {
            T(getrlimit(RLIMIT_CPU, &l));
            V(l.rlim_cur);
            l.rlim_cur = l.rlim_max = 3;
            T(setrlimit(RLIMIT_CPU, &l));
            caught = 0;
        }
    }
}

static void file_limit(void)
{
    struct rlimit l = {10000, 20000};
    char block[6000] = {0};
    int fd = open("limited", O_CREAT | O_RDWR | O_TRUNC, 0644);

    signal(SIGXFSZ, on_limit);
    T(setrlimit(RLIMIT_FSIZE, &l));
    T(write(fd, block, sizeof block));
    T(write(fd, block, sizeof block));
    T(write(fd, block, sizeof block));
    T(write(fd, block, 0));
    T(pwrite(fd, block, 10, 9995));
    T(pwrite(fd, block, 10, 10000));
    T(pwrite(fd, block, 10, 50));
    T(ftruncate(fd, 10000));
    T(ftruncate(fd, 10001));
    T(truncate("limited", 20000));
    T(lseek(fd, 0, SEEK_END));
    int pipes[2];
    MUST(pipe(pipes));
    T(write(pipes[1], block, sizeof block));
    T(sendfile(fd, open("/proc/self/exe", O_RDONLY), NULL, 100));
    T(lseek(fd, 15000, SEEK_SET));
    T(splice(pipes[0], NULL, fd, NULL, 100, 0));
    V(told);
    signal(SIGXFSZ, SIG_IGN);
    T(write(fd, block, 1));
    signal(SIGXFSZ, SIG_DFL);
    write(fd, block, 1);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";

    if (!strcmp(what, "times"))
        times_divided();
    else if (!strcmp(what, "soft"))
        cpu_limit(1, 5, 0);
    else if (!strcmp(what, "again"))
        cpu_limit(0, RLIM_INFINITY, 1);
    else if (!strcmp(what, "hard"))
        cpu_limit(2, 2, 1);
    else
        file_limit();
    return 0;
}
