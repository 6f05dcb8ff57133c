// SPDX-License-Identifier: Apache-2.0
// Where a program crashed, in words: file, function and offset for the instruction and the callers that its frame pointers lead
// to. Names come from the ELF file's own symbol table. Everything read here is the program's or a file's and may be nonsense.
#include <linux/elf.h>
#include "crash.h"
#include "fs.h"
#include "kmalloc.h"
#include "lib.h"
#include "page.h"
#include "printk.h"
#include "process.h"
#include "regs.h"
#include "uaccess.h"
#include "vm.h"

#define FRAMES 16
#define CHUNK 64u               // symbols read at a time
#define SYMBOLS_MAX 200000u     // a larger table is not searched to its end
#define NAME 64

// What a lookup needs, in one block: the kernel's stacks are small.
struct lookup {
    char path[128], name[NAME];
    Elf64_Ehdr eh;
    Elf64_Phdr ph;
    Elf64_Shdr sh, strings;
    Elf64_Sym sym[CHUNK];
};

static bool read_exact(struct file *f, void *buf, size_t n, u64 off) { return vfs_read(f, buf, n, off) == (ssize_t)n; }

// File offset to the address that the file's headers speak of.
static bool to_vaddr(struct file *f, struct lookup *l, u64 off, u64 *vaddr)
{
    if (!read_exact(f, &l->eh, sizeof(l->eh), 0) || memcmp(l->eh.e_ident, ELFMAG, SELFMAG) || l->eh.e_phentsize != sizeof(Elf64_Phdr))
        return false;
    for (u32 i = 0; i < l->eh.e_phnum; i++) {
        if (!read_exact(f, &l->ph, sizeof(l->ph), l->eh.e_phoff + i * sizeof(l->ph)))
            return false;
        if (l->ph.p_type == PT_LOAD && off >= l->ph.p_offset && off - l->ph.p_offset < l->ph.p_filesz) {
            *vaddr = l->ph.p_vaddr + (off - l->ph.p_offset);
            return true;
        }
    }
    return false;
}

// The symbol table: the full one where it was not stripped, else the dynamic one.
static bool find_table(struct file *f, struct lookup *l)
{
    bool found = false;
    Elf64_Shdr s;
    if (l->eh.e_shentsize != sizeof(Elf64_Shdr))
        return false;
    for (u32 i = 0; i < l->eh.e_shnum; i++) {
        if (!read_exact(f, &s, sizeof(s), l->eh.e_shoff + i * sizeof(s)))
            return false;
        if (s.sh_type == SHT_SYMTAB || (s.sh_type == SHT_DYNSYM && !found)) {
            l->sh = s;
            found = true;
        }
    }
    return found && l->sh.sh_link < l->eh.e_shnum &&
           read_exact(f, &l->strings, sizeof(l->strings), l->eh.e_shoff + l->sh.sh_link * sizeof(l->strings));
}

static bool find_symbol(struct file *f, struct lookup *l, u64 vaddr, u64 *offset)
{
    u64 n = MIN(l->sh.sh_size / sizeof(Elf64_Sym), (u64)SYMBOLS_MAX), best = 0;
    u32 name = 0;
    for (u64 i = 0; i < n; i += CHUNK) {
        u32 k = (u32)MIN((u64)CHUNK, n - i);
        if (!read_exact(f, l->sym, k * sizeof(Elf64_Sym), l->sh.sh_offset + i * sizeof(Elf64_Sym)))
            break;
        for (u32 j = 0; j < k; j++) {
            const Elf64_Sym *s = &l->sym[j];
            if (ELF64_ST_TYPE(s->st_info) == STT_FUNC && s->st_shndx && s->st_value <= vaddr && s->st_value >= best &&
                (vaddr - s->st_value < s->st_size || !s->st_size)) {
                best = s->st_value;
                name = s->st_name;
            }
        }
    }
    if (!name || name >= l->strings.sh_size)
        return false;
    ssize_t got = vfs_read(f, l->name, NAME - 1, l->strings.sh_offset + name);
    if (got <= 0)
        return false;
    l->name[got] = 0;
    for (char *c = l->name; *c; c++)
        if (*c < 32 || *c > 126)
            *c = '?';
    *offset = vaddr - best;
    return true;
}

static void print_place(struct lookup *l, u64 addr)
{
    struct mm *mm = &the_process->mm;
    struct file *f = NULL;
    u64 off = 0, vaddr, in;
    rw_read_lock(&mm->lock);
    struct vma *v = vm_find(addr);
    if (v && v->start <= addr && v->file) {
        f = file_get(v->file);
        off = (v->pgoff << PAGE_SHIFT) + addr - v->start;
    }
    rw_read_unlock(&mm->lock);
    if (!f || !f->path || path_string(f->path, l->path, sizeof(l->path)) < 0) {
        printk(LOG_ERR, "uni:   %016lx\n", addr);
    } else if (to_vaddr(f, l, off, &vaddr) && find_table(f, l) && find_symbol(f, l, vaddr, &in)) {
        printk(LOG_ERR, "uni:   %016lx %s+0x%lx in %s\n", addr, l->name, in, l->path);
    } else {
        printk(LOG_ERR, "uni:   %016lx %s+0x%lx\n", addr, l->path, off);
    }
    if (f)
        file_put(f);
}

void crash_backtrace(const struct regs *r)
{
    struct lookup *l = kmalloc(sizeof(*l), PA_ZERO);
    u64 rbp = r->rbp, next[2];
    if (!l)
        return;
    printk(LOG_ERR, "uni: backtrace:\n");
    print_place(l, r->rip);
    for (int i = 1; i < FRAMES && !(rbp & 7) && rbp >= r->rsp; i++) {
        if (copy_from_user(next, rbp, sizeof(next)) || next[1] < PAGE_SIZE || next[1] >= USER_MAX)
            break;
        print_place(l, next[1] - 1);    // inside the call, not behind it
        if (next[0] <= rbp)
            break;
        rbp = next[0];
    }
    kfree(l);
}
