// SPDX-License-Identifier: Apache-2.0
// The first program: who it runs as, where, with which files, arguments and limits.
#include "arch.h"
#include "boot.h"
#include "errno.h"
#include "fs.h"
#include "futex.h"
#include "kmalloc.h"
#include "lib.h"
#include "printk.h"
#include "process.h"
#include "procinfo.h"
#include "rlimit.h"
#include "signal_priv.h"
#include "time.h"
#include "../sched/sched_priv.h"

static struct process init_process;     // there is one process, so it needs no allocation

static const char *const default_inits[] = { "/sbin/init", "/init", "/bin/init", "/bin/sh" };

static struct cred init_cred;

static void cred_setup(struct cred *c)
{
    c->refs = 2;                    // never freed
    c->uid = c->euid = c->suid = c->fsuid = boot_config.uid;
    c->gid = c->egid = c->sgid = c->fsgid = boot_config.gid;
    c->bounding = CAP_ALL;
    c->effective = c->permitted = c->uid == 0 ? CAP_ALL : 0;
}

static void process_setup(struct process *p)
{
    p->pid = 1;
    list_init(&p->threads);
    waitq_init(&p->thread_wait);
    waitq_init(&p->signal_wait);
    waitq_init(&p->stop_wait);
    signal_queue_init(&p->pending);
    p->umask = 022;
    p->dumpable = true;
    p->start_ns = clock_mono_ns();
    rlimits_setup(p);
}

static int open_stdio(void)
{
    struct file *f = vfs_open("/dev/console", 2, 0);
    if (is_err(f)) {
        printk(LOG_ERR, "uni: /dev/console cannot be opened (error %ld)\n", -ptr_err(f));
        return (int)ptr_err(f);
    }
    for (int fd = 0; fd < 3; fd++)
        fd_install_at(file_get(f), fd, false);
    file_put(f);
    return 0;
}

static int enter_cwd(struct process *p)
{
    const char *cwd = boot_config.cwd && *boot_config.cwd ? boot_config.cwd : "/";
    struct file *f = vfs_open(cwd, 0200000, 0);     // O_DIRECTORY
    if (is_err(f)) {
        printk(LOG_ERR, "uni: working directory %s: error %ld\n", cwd, -ptr_err(f));
        return (int)ptr_err(f);
    }
    p->cwd = path_get(f->path);
    file_put(f);
    return 0;
}

static int fill_args(struct exec_args *a, const char *path)
{
    const struct strings *arg = &boot_config.arg, *env = &boot_config.env;
    a->path = kstrdup(path);
    a->argv = kzalloc((arg->n + 2) * sizeof(char *));
    a->envp = kzalloc((env->n + 1) * sizeof(char *));
    if (!a->path || !a->argv || !a->envp)
        return -ENOMEM;
    a->argv[a->argc++] = kstrdup(boot_config.arg0 && *boot_config.arg0 ? boot_config.arg0 : path);
    for (u32 i = 0; i < arg->n; i++)
        a->argv[a->argc++] = kstrdup(arg->v[i]);
    for (u32 i = 0; i < env->n; i++)
        a->envp[a->envc++] = kstrdup(env->v[i]);
    return 0;
}

static void free_args(struct exec_args *a)
{
    for (int i = 0; i < a->argc; i++)
        kfree(a->argv[i]);
    for (int i = 0; i < a->envc; i++)
        kfree(a->envp[i]);
    kfree(a->argv);
    kfree(a->envp);
    kfree(a->path);
}

static int try_exec(const char *path, struct regs *r)
{
    struct exec_args a = { 0 };
    int err = fill_args(&a, path);
    if (!err)
        err = process_exec(&a, r);
    free_args(&a);
    return err;
}

static int exec_first(struct regs *r)
{
    if (boot_config.init && *boot_config.init) {
        int err = try_exec(boot_config.init, r);
        if (err)
            printk(LOG_ERR, "uni: %s cannot be run: %s (error %d)\n", boot_config.init,
                   err == -ENOENT ? "no such file" : err == -EACCES ? "not an executable file" :
                   err == -ENOEXEC ? "not a program that runs here" : err == -ENOMEM ? "not enough memory" : "failed", -err);
        return err;
    }
    int err = -ENOENT;
    for (u32 i = 0; i < ARRAY_SIZE(default_inits) && err == -ENOENT; i++)
        err = try_exec(default_inits[i], r);
    if (err)
        printk(LOG_ERR, "uni: no program to run: none of /sbin/init, /init, /bin/init, /bin/sh; name one with init= (error %d)\n", -err);
    return err;
}

int process_start_init(void)
{
    struct process *p = &init_process;
    struct regs r;
    process_setup(p);
    cred_setup(&init_cred);
    the_process = p;
    current()->cred = &init_cred;   // what follows happens as the program's user
    futex_init();
    proc_when_asked(procinfo_register);
    int err = enter_cwd(p);
    if (!err)
        err = open_stdio();
    if (!err)
        err = exec_first(&r);
    if (err)
        return err;
    struct thread *t = thread_create_user(p, &r);
    if (!t)
        return -ENOMEM;
    t->altstack.flags = SS_DISABLE_K;
    strlcpy(t->name, p->name, sizeof(t->name));
    t->cred = current()->cred;
    current()->cred = NULL;
    process_add_thread(p, t);
    struct kv kv[] = { { "boot_us", NULL, (i64)boot_usec() } };
    control_event("ready", kv, ARRAY_SIZE(kv));
    sched_add(t);
    return 0;
}
