// SPDX-License-Identifier: Apache-2.0
// First process of the Linux guest: does on Debian's kernel what Uni does by itself (docs/guest-interface.md), so that one disk and
// one configuration file boot on both. Reads fw_cfg, mounts the disk, runs the program, reports its end on the second serial port.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <sys/socket.h>

#define CONFIG "/sys/firmware/qemu_fw_cfg/by_name/opt/uni/config/raw"

static char *argument[256], *environment[256] = {"HOME=/", "TERM=linux",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
static int arguments = 1, variables = 3;
static const char *directory = "/";
static char config[1 << 20];

static void die(const char *what)
{
    fprintf(stderr, "linux-guest: %s: %s\n", what, strerror(errno));
    reboot(RB_POWER_OFF);
}

static void load_modules(void)
{
    char line[128];
    FILE *list = fopen("/modules", "r");

    while (list && fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        int fd = open(line, O_RDONLY);
        if (fd == -1 || (syscall(SYS_finit_module, fd, "", 0) == -1 && errno != EEXIST))
            fprintf(stderr, "linux-guest: module %s: %s\n", line, strerror(errno));
        close(fd);
    }
}

static void mount_small(char *record)
{
    char path[256];
    char *size = strchr(record, ':');

    if (size)
        *size++ = 0;
    snprintf(path, sizeof path, "/root%s", record);
    if (mount("small", path, "tmpfs", 0, size ? size : "") == -1)
        die(path);
}

static void read_config(void)
{
    int fd = open(CONFIG, O_RDONLY);
    ssize_t length = fd == -1 ? -1 : read(fd, config, sizeof config - 1);

    if (length == -1)
        die(CONFIG);
    for (char *record = config; record < config + length; record += strlen(record) + 1) {
        if (!strncmp(record, "init=", 5))
            argument[0] = record + 5;
        else if (!strncmp(record, "arg=", 4) && arguments < 255)
            argument[arguments++] = record + 4;
        else if (!strncmp(record, "env=", 4) && variables < 255)
            environment[variables++] = record + 4;
        else if (!strncmp(record, "cwd=", 4))
            directory = record + 4;
    }
}

static void mount_all(void)
{
    mkdir("/root", 0755);
    for (int i = 0; i < 200 && access("/dev/vda", F_OK); i++)
        usleep(10000);
    if (mount("/dev/vda", "/root", "ext2", 0, "") == -1 && mount("/dev/vda", "/root", "ext4", 0, "") == -1)
        die("/dev/vda");
    mount("proc", "/root/proc", "proc", 0, "");
    mount("sysfs", "/root/sys", "sysfs", MS_RDONLY, "");
    mount("dev", "/root/dev", "devtmpfs", 0, "");
    mkdir("/root/dev/shm", 0777);
    mount("shm", "/root/dev/shm", "tmpfs", 0, "mode=1777");
    symlink("/proc/self/fd", "/root/dev/fd");
    symlink("/proc/self/fd/0", "/root/dev/stdin");
    symlink("/proc/self/fd/1", "/root/dev/stdout");
    symlink("/proc/self/fd/2", "/root/dev/stderr");
    mount("tmp", "/root/tmp", "tmpfs", 0, "mode=1777");
    mount("run", "/root/run", "tmpfs", 0, "mode=755");
    for (char *record = config; *record; record += strlen(record) + 1)
        if (!strncmp(record, "uni.mount=tmpfs:", 16))
            mount_small(record + 16);
}

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    ioctl(fd, SIOCSIFFLAGS, &request);
    close(fd);
}

static void address_up(void)
{
    char text[32] = "";
    struct ifreq request = {.ifr_name = "eth0"};
    struct sockaddr_in *address = (void *)&request.ifr_addr;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    for (char *record = config; *record; record += strlen(record) + 1)
        if (sscanf(record, "ip=%31[0-9.]:", text) == 1) {
            address->sin_family = AF_INET;
            inet_aton(text, &address->sin_addr);
            ioctl(fd, SIOCSIFADDR, &request);
            inet_aton("255.255.255.0", &address->sin_addr);
            ioctl(fd, SIOCSIFNETMASK, &request);
            request.ifr_flags = IFF_UP | IFF_RUNNING;
            ioctl(fd, SIOCSIFFLAGS, &request);
        }
    close(fd);
}

// Commands of the control port: only signals.
static void obey(int control, pid_t child)
{
    char line[4096], *at;
    FILE *port = fdopen(control, "r");

    while (fgets(line, sizeof line, port))
        if ((at = strstr(line, "\"signo\": ")) != NULL) {
            kill(child, atoi(at + 9));
            dprintf(control, "{\"event\": \"ok\", \"id\": 1}\n");
        }
    _exit(0);
}

static int raw_port(const char *path)
{
    struct termios modes;
    int fd = open(path, O_RDWR | O_NOCTTY);

    if (fd == -1)
        die(path);
    tcgetattr(fd, &modes);
    cfmakeraw(&modes);
    tcsetattr(fd, TCSANOW, &modes);
    return fd;
}

static void become_program(int input, int output)
{
    struct rlimit locked = {8 << 20, 8 << 20};

    dup2(input, 0);
    dup2(output, 1);
    dup2(output, 2);
    syscall(SYS_close_range, 3, ~0U, 0);
    setsid();
    setrlimit(RLIMIT_MEMLOCK, &locked);
    umask(022);
    if (chroot("/root") == -1 || chdir(directory) == -1)
        die(directory);
    execve(argument[0], argument, environment);
    dprintf(1, "exec %s: %s\n", argument[0], strerror(errno));
    _exit(127);
}

static void write_all(int fd, const char *data, ssize_t length)
{
    while (length > 0) {
        ssize_t done = write(fd, data, length);
        if (done <= 0)
            return;
        data += done;
        length -= done;
    }
}

int main(void)
{
    int input[2], output[2], status;
    static char buffer[65536];

    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/dev", 0755);
    mount("sysfs", "/sys", "sysfs", 0, "");
    mount("dev", "/dev", "devtmpfs", 0, "");
    load_modules();
    read_config();
    mount_all();
    loopback_up();
    address_up();
    sethostname("uni", 3);
    int console = raw_port("/dev/ttyS0"), control = raw_port("/dev/ttyS1");
    if (pipe(input) == -1 || pipe(output) == -1)
        die("pipe");
    pid_t child = fork();
    if (child == 0)
        become_program(input[0], output[1]);
    close(output[1]);
    if (fork() == 0) {
        close(output[0]);
        obey(control, child);
    }
    // The obeying process holds no end of this pipe, so it ends with the program.
    for (ssize_t length; (length = read(output[0], buffer, sizeof buffer)) > 0;)
        write_all(console, buffer, length);
    while (waitpid(child, &status, 0) == -1 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        dprintf(control, "{\"event\": \"exit\", \"signal\": %d}\n", WTERMSIG(status));
    else
        dprintf(control, "{\"event\": \"exit\", \"status\": %d}\n", WEXITSTATUS(status));
    tcdrain(console);
    tcdrain(control);
    sync();
    umount2("/root/small", MNT_DETACH);
    for (const char *const *p = (const char *const[]){"tmp", "run", "dev/shm", "dev", "sys", "proc", "", NULL}; *p; p++) {
        char path[64];
        snprintf(path, sizeof path, "/root/%s", *p);
        umount2(path, **p ? MNT_DETACH : 0);
    }
    reboot(RB_POWER_OFF);
    return 0;
}
