// SPDX-License-Identifier: Apache-2.0
// POSIX message queues: names, attributes, order, blocking, notification, poll, permissions; process_vm_readv on itself.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <mqueue.h>
#include <sys/resource.h>

static char big[8192];

static void attributes(mqd_t q)
{
    struct mq_attr a;

    MUST(mq_getattr(q, &a));
    SAY("flags %lo maxmsg %ld msgsize %ld curmsgs %ld", a.mq_flags, a.mq_maxmsg, a.mq_msgsize, a.mq_curmsgs);
}

static mqd_t sized(const char *name, long maxmsg, long msgsize)
{
    struct mq_attr a = {.mq_maxmsg = maxmsg, .mq_msgsize = msgsize};

    return mq_open(name, O_CREAT | O_RDWR | O_EXCL, 0600, &a);
}

static void names(void)
{
    char name[300];
    mqd_t q;

    T(mq_open("/none", O_RDWR));
    OK(q = mq_open("/plain", O_CREAT | O_RDWR, 0644, NULL));
    attributes(q);
    T(mq_open("/plain", O_CREAT | O_EXCL | O_RDWR, 0644, NULL));
    mq_close(q);
    OK(q = mq_open("/plain", O_RDONLY | O_NONBLOCK));
    attributes(q);
    T(mq_send(q, "x", 1, 0));
    T(mq_receive(q, big, sizeof big, NULL));
    mq_close(q);
    OK(q = mq_open("/plain", O_WRONLY));
    T(mq_receive(q, big, sizeof big, NULL));
    T(mq_unlink("/plain"));
    T(mq_unlink("/plain"));
    T(mq_send(q, "still here", 10, 0));
    attributes(q);
    mq_close(q);
    T(sized("/a", 0, 10));
    T(sized("/a", 10, 0));
    T(sized("/a", -1, 10));
    T(sized("/a", 65537, 10));
    T(sized("/a", 10, 16777217));
    T(mq_open("/a/b", O_CREAT | O_RDWR, 0600, NULL));
    T(mq_open("/", O_CREAT | O_RDWR, 0600, NULL));
    T(mq_unlink("/"));
    memset(name, 'n', sizeof name);
    name[0] = '/';
    name[299] = 0;
    T(mq_open(name, O_CREAT | O_RDWR, 0600, NULL));
    T(mq_unlink(name));
    name[256] = 0;
    OK(q = mq_open(name, O_CREAT | O_RDWR, 0600, NULL));
    mq_close(q);
    T(mq_unlink(name));
    T(syscall(SYS_mq_open, "bad", O_CREAT | O_RDWR | O_WRONLY, 0600, NULL));
    T(syscall(SYS_mq_unlink, "bad"));
    T(syscall(SYS_mq_open, WILD, O_RDWR, 0, NULL));
    T(syscall(SYS_mq_open, "x", O_CREAT | O_RDWR, 0600, WILD));
}

static void messages(void)
{
    struct mq_attr a = {.mq_flags = O_NONBLOCK}, old;
    struct timespec past = {1, 0}, bad = {0, 2000000000};
    unsigned priority;
    mqd_t q = sized("/order", 4, 16);

    T(mq_send(q, "low", 3, 1));
    T(mq_send(q, "high", 4, 9));
    T(mq_send(q, "middle", 6, 5));
    T(mq_send(q, "high two", 8, 9));
    attributes(q);
    T(mq_timedsend(q, "full", 4, 0, &past));
    T(mq_timedsend(q, "full", 4, 0, &bad));
    T(mq_setattr(q, &a, &old));
    SAY("old flags %lo", old.mq_flags);
    T(mq_send(q, "full", 4, 0));
    T(mq_send(q, "seventeen letters", 17, 0));
    T(mq_send(q, "x", 1, 32768));
    T(mq_receive(q, big, 15, NULL));
    struct pollfd p = {.fd = q, .events = POLLIN | POLLOUT};
    T(poll(&p, 1, 0));
    V(p.revents);
    for (int i = 0; i < 4; i++) {
        ssize_t n = mq_receive(q, big, 16, &priority);
        SAY("priority %u", priority);
        dump("message", big, n);
    }
    T(mq_receive(q, big, 16, &priority));
    T(poll(&p, 1, 0));
    V(p.revents);
    T(mq_send(q, "", 0, 32767));
    T(mq_receive(q, big, 16, &priority));
    V(priority);
    a.mq_flags = O_NONBLOCK | O_APPEND;
    T(syscall(SYS_mq_getsetattr, q, &a, NULL));
    T(syscall(SYS_mq_getsetattr, q, WILD, NULL));
    T(syscall(SYS_mq_getsetattr, 0, NULL, &a));
    T(syscall(SYS_mq_getsetattr, 77, NULL, &a));
    a.mq_flags = 0;
    T(mq_setattr(q, &a, NULL));
    T(mq_timedreceive(q, big, 16, NULL, &past));
    T(mq_timedreceive(q, big, 16, NULL, &bad));
    T(mq_send(q, WILD, 3, 0));
    T(mq_send(q, "abc", 3, 0));
    T(mq_send(q, "defg", 4, 0));
    ssize_t n = pread(q, big, sizeof big, 0);
    dump("read", big, n);
    T(mq_receive(77, big, 16, NULL));
    T(mq_send(0, big, 16, 0));
    T(lseek(q, 0, SEEK_SET));
    mq_close(q);
    T(mq_unlink("/order"));
}

static mqd_t shared;

static void *receiver(void *arg)
{
    char text[16];
    unsigned priority;

    (void)arg;
    for (int i = 0; i < 6; i++) {
        ssize_t n = mq_receive(shared, text, sizeof text, &priority);
        dump("received", text, n);
    }
    return NULL;
}

static volatile int notified;

static void on_message(int number, siginfo_t *info, void *context)
{
    (void)context;
    notified++;
    SAY("signal %d code %d value %d own pid %d", number, info->si_code, info->si_value.sival_int, info->si_pid == getpid());
}

static void waiting(void)
{
    pthread_t t;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
    struct sigaction action = {.sa_sigaction = on_message, .sa_flags = SA_SIGINFO};

    shared = sized("/wait", 2, 16);
    pthread_create(&t, NULL, receiver, NULL);
    nap(50);
    for (int i = 0; i < 6; i++)
        MUST(mq_send(shared, "abcdef" + i, 1, 0));
    pthread_join(t, NULL);
    sigaction(SIGUSR1, &action, NULL);
    T(mq_notify(shared, &event));
    T(mq_notify(shared, &event));
    T(mq_send(shared, "x", 1, 0));
    V(notified);
    T(mq_notify(shared, &event));
    T(mq_send(shared, "y", 1, 0));
    V(notified);
    T(mq_receive(shared, big, 16, NULL));
    T(mq_receive(shared, big, 16, NULL));
    T(mq_notify(shared, NULL));
    T(mq_send(shared, "z", 1, 0));
    V(notified);
    T(mq_receive(shared, big, 16, NULL));
    event.sigev_notify = SIGEV_NONE;
    T(mq_notify(shared, &event));
    T(mq_notify(shared, &event));
    T(mq_notify(shared, NULL));
    event.sigev_notify = 99;
    T(mq_notify(shared, &event));
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = 999;
    T(mq_notify(shared, &event));
    T(syscall(SYS_mq_notify, 0, NULL));
    T(mq_unlink("/wait"));
}

static void memory(void)
{
    char here[16] = "", there[16] = "the other side";
    struct iovec local[2] = {{here, 4}, {here + 4, 10}}, remote = {there, 15};

    T(syscall(SYS_process_vm_readv, getpid(), local, 2, &remote, 1, 0));
    dump("here", here, 16);
    local[0].iov_base = "THE";
    T(syscall(SYS_process_vm_writev, getpid(), local, 1, &remote, 1, 0));
    dump("there", there, 16);
    T(syscall(SYS_process_vm_readv, getpid(), local, 2, &remote, 1, 1));
    T(syscall(SYS_process_vm_readv, 4000000, local, 2, &remote, 1, 0));
    remote.iov_base = WILD;
    T(syscall(SYS_process_vm_readv, getpid(), local + 1, 1, &remote, 1, 0));
    T(syscall(SYS_process_vm_readv, getpid(), WILD, 2, &remote, 1, 0));
    T(syscall(SYS_process_vm_readv, getpid(), local, 2000, &remote, 1, 0));
    T(syscall(SYS_process_vm_readv, getpid(), local, 0, &remote, 0, 0));
}

static void plain_user(void)
{
    mqd_t q = mq_open("/root", O_CREAT | O_RDWR, 0604, NULL);
    struct rlimit little = {1000, 1000};

    MUST(setresgid(65534, 65534, 65534));
    MUST(setresuid(54322, 54322, 54322));
    T(mq_open("/root", O_RDWR));
    OK(mq_open("/root", O_RDONLY));
    T(mq_unlink("/root"));
    T(sized("/mine", 11, 10));
    T(sized("/mine", 10, 8193));
    MUST(setrlimit(RLIMIT_MSGQUEUE, &little));
    T(sized("/mine", 10, 8192));
    OK(sized("/mine", 1, 100));
    T(mq_unlink("/mine"));
    mq_close(q);
}

static volatile int told;

static void by_thread(union sigval v)
{
    told = v.sival_int;
}

static void notification_thread(void)
{
    struct sigevent e = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = by_thread, .sigev_value.sival_int = 5};
    mqd_t q = sized("/thread", 2, 16);

    T(mq_notify(q, &e));
    T(mq_notify(q, &e));
    T(mq_send(q, "hello", 5, 0));
    for (int i = 0; i < 1000 && !told; i++)
        nap(5);
    V(told);
    T(mq_receive(q, big, sizeof big, NULL));
    T(mq_notify(q, &e));
    T(mq_notify(q, NULL));
    e.sigev_signo = 0;
    T(syscall(SYS_mq_notify, q, &e));
    mq_close(q);
    mq_unlink("/thread");
}

static void setting(const char *name, const char *value)
{
    char path[64], now[32] = "";
    snprintf(path, sizeof path, "/proc/sys/fs/mqueue/%s", name);
    int fd = open(path, O_RDWR);
    ssize_t n = write(fd, value, strlen(value));
    SAY("%s to %s: %s", name, value, n < 0 ? errname(errno) : "written");
    lseek(fd, 0, SEEK_SET);
    read(fd, now, sizeof now - 1);
    SAY("%s", now);
    close(fd);
}

// /proc/sys/fs/mqueue: what a queue gets that nobody asked for.
static void settings(void)
{
    struct mq_attr got;

    setting("msg_max", "7\n");
    setting("msg_default", "20");
    setting("msg_default", "0");
    setting("msg_default", "");
    setting("msg_default", "70000");
    setting("msgsize_default", "127");
    setting("msgsize_default", "512");
    setting("msgsize_max", "x");
    setting("queues_max", "300");
    mqd_t q = mq_open("/defaults", O_RDWR | O_CREAT, 0600, NULL);
    T(mq_getattr(q, &got));
    SAY("%ld of %ld", got.mq_maxmsg, got.mq_msgsize);
    mq_close(q);
    mq_unlink("/defaults");
    setting("msg_max", "30");
    q = mq_open("/defaults", O_RDWR | O_CREAT, 0600, NULL);
    T(mq_getattr(q, &got));
    SAY("%ld of %ld", got.mq_maxmsg, got.mq_msgsize);
    mq_close(q);
    mq_unlink("/defaults");
}

int main(void)
{
    settings();
    notification_thread();
    names();
    messages();
    waiting();
    memory();
    plain_user();
    return 0;
}
