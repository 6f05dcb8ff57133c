// SPDX-License-Identifier: Apache-2.0
// execve and the start of the first program: interpreters and scripts, the initial stack, the auxiliary vector.
#include <linux/auxvec.h>
#include <linux/fcntl.h>
#include "arch.h"
#include "boot.h"
#include "elf.h"
#include "errno.h"
#include "exec.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "printk.h"
#include "process.h"
#include "signal_priv.h"
#include "uaccess.h"
#include "vdso.h"

#define SCRIPT_LINE 256         // what of a #! line counts (BINPRM_BUF_SIZE)
#define SCRIPT_DEPTH 5          // interpreters of interpreters
#define INTERP_MAX 4096
#define MODE_TYPE 0170000
#define MODE_REG 0100000
#define MS_NOSUID_K 2
#define MS_NOEXEC_K 8

// The open files and headers of one execve; on the heap, because the headers are large.
struct exec_state {
    struct exec_args *args;
    struct file *file, *interp;
    struct elf_image img, interp_img;
    struct elf_program prog;
    char path[256];             // absolute, of the program (of the script's interpreter, when it is a script)
    char line[SCRIPT_LINE + 1];
};

static int fail(const char *path, const char *why, int err)
{
    if (why)
        printk(LOG_WARNING, "uni: %s: %s\n", path, why);
    return err;
}

// A file that somebody has open for writing cannot be executed.
static bool writes_to(const struct file *f, const void *inode) { return f->inode == inode && (f->flags & 3) && !(f->flags & O_PATH); }

// Opens a file that is to be executed: regular, with an execute bit for somebody (root needs one too).
static int open_exec(const char *path, struct file **out)
{
    struct kstat st;
    // Looked at before it is opened: opening a FIFO would wait for its other end.
    struct file *f = vfs_open(path, O_PATH, 0);
    if (is_err(f))
        return (int)ptr_err(f);
    int err = vfs_stat(f, &st);
    if (!err && ((st.mode & MODE_TYPE) != MODE_REG || !exec_permitted(&st) || (f->inode && f->inode->sb->mount_flags & MS_NOEXEC_K)))
        err = -EACCES;
    if (!err && any_file(writes_to, f->inode))
        err = -ETXTBSY;
    file_put(f);
    if (err)
        return err;
    f = vfs_open(path, 0, 0);
    if (is_err(f))
        return (int)ptr_err(f);
    *out = f;
    return 0;
}

// Puts `interp [arg] script` in place of argv[0].
static int push_script(struct exec_args *a, const char *interp, const char *arg)
{
    int extra = arg ? 2 : 1;
    char **argv = kmalloc((size_t)(a->argc + extra + 1) * sizeof(char *), 0);
    if (!argv)
        return -ENOMEM;
    int n = 0;
    argv[n++] = kstrdup(interp);
    if (arg)
        argv[n++] = kstrdup(arg);
    argv[n++] = kstrdup(a->path);
    char *path = kstrdup(interp);
    bool ok = path && argv[0] && argv[1] && argv[n - 1];
    if (!ok) {
        for (int i = 0; i < n; i++)
            kfree(argv[i]);
        kfree(argv);
        kfree(path);
        return -ENOMEM;
    }
    if (a->argc)
        kfree(a->argv[0]);
    for (int i = 1; i < a->argc; i++)
        argv[n++] = a->argv[i];
    argv[n] = NULL;
    kfree(a->argv);
    a->argv = argv;
    a->argc = n;
    kfree(a->path);
    a->path = path;
    return 0;
}

// A line "#! interpreter [one argument]", blanks trimmed (Linux, fs/binfmt_script.c's rules).
static int parse_script(struct exec_state *e, size_t n)
{
    char *end = memchr(e->line, '\n', n);
    char *p = e->line + 2, *stop = end ? end : e->line + n;
    while (p < stop && (*p == ' ' || *p == '\t'))
        p++;
    while (stop > p && (stop[-1] == ' ' || stop[-1] == '\t' || stop[-1] == '\r'))
        stop--;
    char *name = p;
    while (p < stop && *p != ' ' && *p != '\t' && *p)
        p++;
    if (p == name || (!end && n >= SCRIPT_LINE && p == stop))
        return -ENOEXEC;
    char *arg = NULL;
    if (p < stop) {
        *p++ = 0;
        while (p < stop && (*p == ' ' || *p == '\t'))
            p++;
        arg = p < stop && *p ? p : NULL;
    }
    *stop = 0;
    return push_script(e->args, name, arg);
}

// Follows #! lines until the file is something else. e->file is the one to load.
static int open_program(struct exec_state *e)
{
    struct exec_args *a = e->args;
    for (int depth = 0;; depth++) {
        if (a->file) {
            e->file = a->file;
            a->file = NULL;
        } else {
            int err = open_exec(a->path, &e->file);
            if (err)
                return err;
        }
        ssize_t n = vfs_read(e->file, e->line, SCRIPT_LINE, 0);
        if (n < 2 || e->line[0] != '#' || e->line[1] != '!')
            return n < 0 ? (int)n : 0;
        if (depth == SCRIPT_DEPTH)
            return -ELOOP;
        e->line[n] = 0;
        file_put(e->file);
        e->file = NULL;
        int err = parse_script(e, (size_t)n);
        if (err)
            return err;
    }
}

static int open_interp(struct exec_state *e, const char **why)
{
    char *name = kmalloc(INTERP_MAX + 1, 0);
    if (!name)
        return -ENOMEM;
    ssize_t n = vfs_read(e->file, name, e->img.interp_len, e->img.interp_offset);
    int err = -ENOEXEC;
    if (n == (ssize_t)e->img.interp_len && name[n - 1] == 0) {
        err = open_exec(name, &e->interp);
        if (err)
            printk(LOG_WARNING, "uni: %s: its interpreter %s cannot be opened (error %d)\n", e->args->path, name, -err);
        else
            err = elf_read(e->interp, &e->interp_img, why);
        if (!err && !e->interp_img.pie)
            err = fail(name, "this interpreter is not position independent", -ENOEXEC);
    } else {
        *why = "the interpreter's name is not terminated";
    }
    kfree(name);
    return err;
}

// Everything that may fail without harm. After this the old program is gone.
static int exec_prepare(struct exec_state *e)
{
    const char *why = NULL;
    int err = open_program(e);
    if (err)
        return err;
    err = elf_read(e->file, &e->img, &why);
    if (!err && e->img.interp_len)
        err = open_interp(e, &why);
    if (err)
        return fail(e->args->path, why, err);
    ssize_t n = e->file->path ? path_string(e->file->path, e->path, sizeof(e->path)) : -ENOENT;
    if (n < 0)
        strlcpy(e->path, e->args->path, sizeof(e->path));
    return 0;
}

static int map_program(struct exec_state *e, struct process *p)
{
    u64 bias, interp_bias = 0;
    int err = elf_map(e->file, &e->img, false, &bias);
    if (err)
        return err;
    struct elf_program *g = &e->prog;
    g->program_entry = g->entry = e->img.entry + bias;
    g->phdr = e->img.phdr_vaddr ? e->img.phdr_vaddr + bias : 0;
    g->phnum = e->img.phnum;
    g->end = e->img.high + bias;
    if (e->interp) {
        err = elf_map(e->interp, &e->interp_img, true, &interp_bias);
        if (err)
            return err;
        g->entry = e->interp_img.entry + interp_bias;
        g->interp_base = interp_bias + e->interp_img.low;
    }
    u64 gap = 0;
    if (boot_config.aslr)
        random_bytes(&gap, sizeof(gap));
    p->mm.brk_start = p->mm.brk = g->end + ((gap % 8192) << PAGE_SHIFT);
    return 0;
}

static void set_names(struct exec_state *e, struct process *p)
{
    struct inode *old = p->exe_inode;
    p->exe_inode = e->file->inode ? inode_get(e->file->inode) : NULL;
    if (old)
        inode_put(old);
    strlcpy(p->exe, e->path, sizeof(p->exe));
    const char *base = strrchr(e->args->path, '/');
    strlcpy(p->name, base ? base + 1 : e->args->path, sizeof(p->name));
    strlcpy(current()->name, p->name, sizeof(current()->name));
}

static void exec_regs(struct regs *r, u64 entry, u64 sp)
{
    memset(r, 0, sizeof(*r));
    r->rip = r->rcx = entry;
    r->rsp = sp;
    r->rflags = r->r11 = 0x202;         // interrupts on
    r->cs = 0x33;                       // Linux's __USER_CS and __USER_DS, which some programs compare with
    r->ss = 0x2b;
    r->orig_rax = ~0ull;
}

// The point of no return is behind us.
static int exec_commit(struct exec_state *e, struct regs *r)
{
    struct process *p = the_process;
    fd_close_on_exec();
    signal_exec(p);
    vm_destroy_user();
    vm_init_user(&p->mm, boot_config.aslr);
    set_names(e, p);
    const struct inode *i = e->file->inode;
    e->prog.secure = cred_exec(i, i && (i->sb->mount_flags & MS_NOSUID_K));
    int err = map_program(e, p);
    u64 vdso = 0, sp = 0;
    if (!err)
        vdso = vdso_map();
    if (!err)
        err = exec_build_stack(p, e->args, &e->prog, vdso, &sp);
    if (err)
        return err;
    exec_regs(r, e->prog.entry, sp);
    return 0;
}

static void exec_free(struct exec_state *e)
{
    if (e->file)
        file_put(e->file);
    if (e->interp)
        file_put(e->interp);
    kfree(e);
}

int process_exec(struct exec_args *a, struct regs *r)
{
    struct exec_state *e = kzalloc(sizeof(*e));
    if (!e)
        return -ENOMEM;
    e->args = a;
    int err = exec_prepare(e);
    if (err) {
        exec_free(e);
        return err;
    }
    struct thread *t = current();
    if (t->proc)
        err = process_end_other_threads();
    if (err) {
        exec_free(e);
        return err;
    }
    if (t->proc) {
        t->clear_child_tid = t->robust_list = t->rseq = 0;
        memset(&t->altstack, 0, sizeof(t->altstack));
        t->altstack.flags = 2;          // SS_DISABLE
        fpu_reset(t);
        set_fs_base(0);
        set_user_gs_base(0);
    }
    err = exec_commit(e, r);
    if (err && t->proc) {
        printk(LOG_ERR, "uni: %s: cannot be brought into memory (error %d)\n", a->path, -err);
        exec_free(e);
        process_exit_group(9);          // the old program is gone: SIGKILL, as on Linux
    }
    exec_free(e);
    return err;
}
