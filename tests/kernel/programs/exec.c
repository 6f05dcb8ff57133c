// SPDX-License-Identifier: Apache-2.0
// execve of itself with arguments and environment, of scripts, what survives and what does not, and its errors.
// oracle: libc=musl,glibc
#include "oracle.h"
#include <sys/auxv.h>

static char self[256];

static void on_signal(int number)
{
    (void)number;
}

static void *other(void *arg)
{
    pause();
    return arg;
}

static void script(const char *path, const char *text)
{
    put(path, text);
    chmod(path, 0755);
}

static void errors(void)
{
    char *none[] = {NULL};
    char line[600];

    put("plain", "not a program");
    T(execl("plain", "plain", NULL));
    chmod("plain", 0755);
    T(execl("plain", "plain", NULL));
    T(execl("none", "none", NULL));
    T(execl(".", ".", NULL));
    T(execl("plain/x", "x", NULL));
    T(execl("", "x", NULL));
    mkfifo("fifo", 0755);
    T(execl("fifo", "x", NULL));
    T(execl("/dev/null", "x", NULL));
    put("empty", "");
    chmod("empty", 0755);
    T(execl("empty", "x", NULL));
    script("elf", "\177ELF and then nothing");
    T(execl("elf", "x", NULL));
    script("bad", "#!/none/such\n");
    T(execl("bad", "x", NULL));
    script("self1", "#!self1\n");
    T(execl("self1", "x", NULL));
    script("blank", "#!   \n");
    T(execl("blank", "x", NULL));
    memset(line, 'x', sizeof line);
    memcpy(line, "#!/", 3);
    line[599] = 0;
    script("longline", line);
    T(execl("longline", "x", NULL));
    int fd = open("plain", O_RDWR);
    T(execl("plain", "plain", NULL));
    char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    T(execl("plain", "plain", NULL));
    munmap(p, PAGE);
    fd = open("plain", O_PATH | O_RDWR);
    T(execl("plain", "plain", NULL));
    close(fd);
    T(syscall(SYS_execve, WILD, none, none));
    T(syscall(SYS_execve, self, WILD, none));
    T(syscall(SYS_execve, self, none, WILD));
    char *wild[] = {(char *)WILD, NULL};
    T(syscall(SYS_execve, self, wild, none));
    static char huge[200000];
    memset(huge, 'h', sizeof huge - 1);
    T(execl(self, "x", huge, NULL));
    T(syscall(SYS_execveat, 99, "x", none, none, 0));
    T(syscall(SYS_execveat, AT_FDCWD, "none", none, none, 0x8000));
}

static void first(void)
{
    pthread_t thread;
    sigset_t set;

    errors();
    V(open("/dev/null", O_RDONLY));
    V(open("/dev/null", O_RDONLY | O_CLOEXEC));
    signal(SIGUSR1, on_signal);
    signal(SIGUSR2, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGWINCH);
    umask(027);
    chdir("/tmp");
    pthread_create(&thread, NULL, other, NULL);
    stack_t stack = {malloc(65536), 0, 65536};
    sigaltstack(&stack, NULL);
    char *argv[] = {"other-name", "second", "two words", "", NULL}, *env[] = {"A=1", "B=", "ODD", NULL};
    execve(self, argv, env);
    SAY("execve: %s", errname(errno));
}

static void second(int argc, char **argv, char **envp)
{
    struct sigaction action;
    stack_t stack;
    sigset_t set;
    char text[400] = "";

    for (int i = 0; i < argc; i++)
        SAY("arg %d [%s]", i, argv[i]);
    for (int i = 0; envp[i]; i++)
        SAY("env [%s]", envp[i]);
    T(fcntl(3, F_GETFD));
    T(fcntl(4, F_GETFD));
    sigaction(SIGUSR1, NULL, &action);
    V(action.sa_handler == SIG_DFL);
    sigaction(SIGUSR2, NULL, &action);
    V(action.sa_handler == SIG_IGN);
    sigprocmask(SIG_BLOCK, NULL, &set);
    V(sigismember(&set, SIGWINCH));
    sigpending(&set);
    V(sigismember(&set, SIGWINCH));
    sigaltstack(NULL, &stack);
    V(stack.ss_flags);
    SAY("umask %o", umask(022));
    SAY("%s", getcwd(text, sizeof text));
    V(syscall(SYS_gettid) == getpid());
    SAY("execfn %s", (char *)getauxval(AT_EXECFN));
    V(getauxval(AT_PAGESZ));
    V(getauxval(AT_SECURE));
    V(getauxval(AT_UID) == getuid());
    V(getauxval(AT_RANDOM) != 0);
    V(getauxval(AT_PHDR) != 0 && getauxval(AT_PHNUM) > 0 && getauxval(AT_ENTRY) != 0);
    chdir("/scratch");
    snprintf(text, sizeof text, "#!%s  one argument  \nignored\n", self);
    script("script", text);
    script("script2", "#!script\n");
    execl("script2", "lost", "given", NULL);
    SAY("execve: %s", errname(errno));
}

static void third(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        SAY("arg %d [%s]", i, i ? argv[i] : strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i]);
    int fd = open(self, O_RDONLY | O_CLOEXEC);
    char *args[] = {"byfd", "last", NULL}, *env[] = {NULL};
    T(open(self, O_WRONLY));
    syscall(SYS_execveat, fd, "", args, env, AT_EMPTY_PATH);
    SAY("execveat: %s", errname(errno));
}

int main(int argc, char **argv, char **envp)
{
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);

    if (length == -1)
        strcpy(self, "/bin/exec.musl");
    if (argc == 1)
        first();
    else if (!strcmp(argv[0], "other-name"))
        second(argc, argv, envp);
    else if (!strcmp(argv[0], "byfd"))
        SAY("end %d %s", argc, argv[1]);
    else
        third(argc, argv);
    return 12;
}
