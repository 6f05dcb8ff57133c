// SPDX-License-Identifier: Apache-2.0
// The stack a program starts with: System V ABI (x86-64), figure 3.9; the strings above it in Linux's order.
#include <linux/auxvec.h>
#include "arch.h"
#include "boot.h"
#include "errno.h"
#include "exec.h"
#include "kmalloc.h"
#include "lib.h"
#include "uaccess.h"
#include "vm.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51           // asm/auxvec.h, Linux 5.14
#endif
#define STACK_DEFAULT (8ul << 20)
#define STACK_LEAST (128ul << 10)
#define STACK_MOST (1ul << 30)
#define RLIMIT_STACK_NR 3

static const char platform[] = "x86_64";

// The image of the stack's top while it is being written; `base` is its address in the program.
struct builder {
    char *buf;
    size_t size, at;                // strings grow upward from `at`
    u64 base;
};

static u64 put(struct builder *b, const void *data, size_t n)
{
    u64 addr = b->base + b->at;
    memcpy(b->buf + b->at, data, n);
    b->at += n;
    return addr;
}

static u64 map_stack(struct process *p)
{
    u64 size = p->rlim[RLIMIT_STACK_NR].soft;
    if (size > STACK_MOST)
        size = STACK_DEFAULT;
    size = ALIGN_UP(MAX(size, STACK_LEAST), PAGE_SIZE);
    long at = vm_map(p->mm.stack_top - size, size, VM_READ | VM_WRITE, VMA_STACK, NULL, 0, true, true);
    if (at < 0)
        return 0;
    return size;
}

static u32 cpuid_edx1(void)
{
    u32 a = 1, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return d;
}

enum { AUX_NR = 21 };

struct aux {
    u64 v[AUX_NR][2];
};

// What the strings' places decide comes later.
static void fill_aux(struct aux *x, const struct elf_program *g, u64 vdso)
{
    const struct cred *c = current_cred();
    *x = (struct aux){ {
        { vdso ? AT_SYSINFO_EHDR : AT_IGNORE, vdso },
        // The smallest signal stack: the frame's fixed part, the XSAVE image and its end mark, with room to align.
        { AT_MINSIGSTKSZ, ALIGN_UP(fpu_xsave_size() + 4 + 440 + 128 + 8 + 64, 16) },
        { AT_HWCAP, cpuid_edx1() },
        { AT_PAGESZ, PAGE_SIZE }, { AT_CLKTCK, 100 },
        { AT_PHDR, g->phdr }, { AT_PHENT, 56 }, { AT_PHNUM, g->phnum },
        { AT_BASE, g->interp_base }, { AT_FLAGS, 0 }, { AT_ENTRY, g->program_entry },
        { AT_UID, c->uid }, { AT_EUID, c->euid }, { AT_GID, c->gid }, { AT_EGID, c->egid },
        { AT_SECURE, g->secure },
        { AT_HWCAP2, fsgsbase_enabled() ? 2 : 0 },             // HWCAP2_FSGSBASE
        { AT_RANDOM, 0 }, { AT_EXECFN, 0 }, { AT_PLATFORM, 0 }, { AT_NULL, 0 },
    } };
}

static void set_aux(struct aux *x, u64 key, u64 value)
{
    u64 (*entry)[2] = x->v;
    while ((*entry)[0] != key)
        entry++;
    (*entry)[1] = value;
}

static int measure(char **v, int n, size_t *total)
{
    for (int i = 0; i < n; i++) {
        size_t len = strlen(v[i]) + 1;
        if (len > ARG_STRLEN_MAX)
            return -E2BIG;
        *total += len;
    }
    return 0;
}

// Keeps copies for /proc/self/{cmdline,environ,auxv}.
static void keep(char **slot, size_t *len, const void *from, size_t n)
{
    kfree(*slot);
    *slot = kmalloc(n ? n : 1, 0);
    *len = *slot ? n : 0;
    if (*slot)
        memcpy(*slot, from, n);
}

// Writes the strings, and the pointers to them as 64-bit words at `w`.
static u64 *put_strings(struct builder *b, char **v, int n, u64 *w)
{
    for (int i = 0; i < n; i++)
        *w++ = put(b, v[i], strlen(v[i]) + 1);
    *w++ = 0;
    return w;
}

static void build(struct builder *b, struct process *p, const struct exec_args *a, struct aux *x, size_t words)
{
    u8 rnd[16];
    random_bytes(rnd, sizeof(rnd));
    u64 *w = (u64 *)b->buf;
    b->at = words * 8;
    u64 random_at = put(b, rnd, sizeof(rnd));
    u64 platform_at = put(b, platform, sizeof(platform));
    *w++ = (u64)a->argc;
    size_t args_at = b->at;
    w = put_strings(b, a->argv, a->argc, w);
    keep(&p->cmdline, &p->cmdline_len, b->buf + args_at, b->at - args_at);
    size_t env_at = b->at;
    w = put_strings(b, a->envp, a->envc, w);
    keep(&p->environ, &p->environ_len, b->buf + env_at, b->at - env_at);
    u64 execfn_at = put(b, a->path, strlen(a->path) + 1);
    set_aux(x, AT_RANDOM, random_at);
    set_aux(x, AT_EXECFN, execfn_at);
    set_aux(x, AT_PLATFORM, platform_at);
    memcpy(w, x, sizeof(*x));
    keep(&p->auxv, &p->auxv_len, x, sizeof(*x));
}

int exec_build_stack(struct process *p, const struct exec_args *a, const struct elf_program *g, u64 vdso, u64 *sp)
{
    size_t strings = sizeof(platform) + 16 + strlen(a->path) + 1;
    int err = measure(a->argv, a->argc, &strings);
    if (!err)
        err = measure(a->envp, a->envc, &strings);
    if (err)
        return err;
    u64 stack = map_stack(p);
    if (!stack)
        return -ENOMEM;
    struct aux *x = kzalloc(sizeof(*x));
    if (!x)
        return -ENOMEM;
    fill_aux(x, g, vdso);
    size_t words = 1 + (size_t)a->argc + 1 + (size_t)a->envc + 1 + sizeof(x->v) / 8;
    struct builder b = { .size = ALIGN_UP(words * 8 + strings + 8, 16) };
    if (b.size > stack / 4) {       // Linux: a quarter of the stack limit
        kfree(x);
        return -E2BIG;
    }
    u64 shift = 0;
    if (boot_config.aslr)
        random_bytes(&shift, sizeof(shift));
    b.base = ALIGN_DOWN(p->mm.stack_top - b.size - shift % 8192, 16);
    bool small = b.size <= PAGE_SIZE;
    b.buf = small ? kmalloc(b.size, 0) : vmalloc(ALIGN_UP(b.size, PAGE_SIZE));
    if (!b.buf) {
        kfree(x);
        return -ENOMEM;
    }
    memset(b.buf, 0, b.size);
    build(&b, p, a, x, words);
    err = copy_to_user(b.base, b.buf, b.size);
    *sp = b.base;
    if (small)
        kfree(b.buf);
    else
        vfree(b.buf);
    kfree(x);
    return err;
}
