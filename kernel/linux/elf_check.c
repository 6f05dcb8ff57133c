// SPDX-License-Identifier: Apache-2.0
// Nothing in an executable's headers is believed before it has passed here. Pure: also built on the host for its unit tests.
#include "elf.h"
#include "errno.h"

#define ELF_USER_MAX 0x00007ffffffff000ul
#define ELF_LOW 0x10000ul           // vm.mmap_min_addr: a null pointer must fault
#define ELF_ALIGN_MAX (1ul << 30)

static int bad(const char **why, const char *text)
{
    *why = text;
    return -ENOEXEC;
}

int elf_check_header(const Elf64_Ehdr *h, u64 file_size, const char **why)
{
    if (file_size < sizeof(*h) || h->e_ident[0] != 0x7f || h->e_ident[1] != 'E' || h->e_ident[2] != 'L' || h->e_ident[3] != 'F')
        return bad(why, "not an ELF file");
    if (h->e_ident[EI_CLASS] != ELFCLASS64)
        return bad(why, "a 32-bit executable; only x86-64 runs here");
    if (h->e_ident[EI_DATA] != ELFDATA2LSB)
        return bad(why, "a big-endian executable");
    if (h->e_machine != EM_X86_64)
        return bad(why, "made for another processor; only x86-64 runs here");
    if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
        return bad(why, "neither an executable nor position independent");
    if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0)
        return bad(why, "no program headers");
    if (h->e_phnum > ELF_PHDRS_MAX)
        return bad(why, "too many program headers");
    u64 size = (u64)h->e_phnum * sizeof(Elf64_Phdr);
    if (h->e_phoff > file_size || file_size - h->e_phoff < size)
        return bad(why, "truncated: the program headers lie beyond the end of the file");
    return 0;
}

static int check_load(const Elf64_Phdr *p, u64 file_size, const struct elf_image *out, const char **why)
{
    if (p->p_filesz > p->p_memsz)
        return bad(why, "a segment is larger in the file than in memory");
    if (p->p_offset > file_size || file_size - p->p_offset < p->p_filesz)
        return bad(why, "truncated: a segment lies beyond the end of the file");
    if (p->p_memsz > ELF_USER_MAX || p->p_vaddr > ELF_USER_MAX - p->p_memsz)
        return bad(why, "a segment lies outside the program's address space");
    if (p->p_filesz && (p->p_offset - p->p_vaddr) % PAGE_SIZE)
        return bad(why, "a segment's offset and address disagree within a page");
    if (p->p_align > 1 && ((p->p_align & (p->p_align - 1)) || p->p_align > ELF_ALIGN_MAX))
        return bad(why, "a segment's alignment is not a power of two that can be honored");
    if (out->nr && ALIGN_DOWN(p->p_vaddr, PAGE_SIZE) < out->high)
        return bad(why, "segments overlap or are out of order");
    if (out->nr == ELF_SEGMENTS_MAX)
        return bad(why, "too many segments");
    return 0;
}

static void take_load(const Elf64_Phdr *p, struct elf_image *out)
{
    if (!out->nr)
        out->low = ALIGN_DOWN(p->p_vaddr, PAGE_SIZE);
    out->high = ALIGN_UP(p->p_vaddr + p->p_memsz, PAGE_SIZE);
    if (p->p_align > out->align)
        out->align = p->p_align;
    out->seg[out->nr++] = (struct elf_segment){ p->p_vaddr, p->p_offset, p->p_filesz, p->p_memsz, p->p_flags };
}

// Where the program headers themselves come to lie, which the C library asks for (AT_PHDR).
static u64 find_phdr(const Elf64_Ehdr *h, const struct elf_image *out)
{
    u64 end = h->e_phoff + (u64)h->e_phnum * sizeof(Elf64_Phdr);
    for (u32 i = 0; i < out->nr; i++) {
        const struct elf_segment *s = &out->seg[i];
        if (h->e_phoff >= s->offset && end <= s->offset + s->filesz)
            return s->vaddr + (h->e_phoff - s->offset);
    }
    return 0;
}

static int check_interp(const Elf64_Phdr *p, u64 file_size, struct elf_image *out, const char **why)
{
    if (out->interp_len)
        return bad(why, "two interpreters");
    if (p->p_filesz < 2 || p->p_filesz > 4096)
        return bad(why, "the interpreter's name is empty or too long");
    if (p->p_offset > file_size || file_size - p->p_offset < p->p_filesz)
        return bad(why, "truncated: the interpreter's name lies beyond the end of the file");
    out->interp_offset = p->p_offset;
    out->interp_len = (u32)p->p_filesz;
    return 0;
}

int elf_check_segments(const Elf64_Ehdr *h, const Elf64_Phdr *ph, u64 file_size, struct elf_image *out, const char **why)
{
    __builtin_memset(out, 0, sizeof(*out));
    out->pie = h->e_type == ET_DYN;
    out->entry = h->e_entry;
    out->phnum = h->e_phnum;
    out->align = PAGE_SIZE;
    for (u32 i = 0; i < h->e_phnum; i++) {
        int err = 0;
        if (ph[i].p_type == PT_GNU_STACK)
            out->exec_stack = ph[i].p_flags & PF_X;
        else if (ph[i].p_type == PT_INTERP)
            err = check_interp(&ph[i], file_size, out, why);
        else if (ph[i].p_type == PT_LOAD && ph[i].p_memsz) {
            err = check_load(&ph[i], file_size, out, why);
            if (!err)
                take_load(&ph[i], out);
        }
        if (err)
            return err;
    }
    if (!out->nr)
        return bad(why, "nothing to load");
    if (!out->pie && out->low < ELF_LOW)
        return bad(why, "wants to be loaded at the very bottom of memory");
    if (out->entry < out->low || out->entry >= out->high)
        return bad(why, "the entry point lies in no segment");
    out->phdr_vaddr = find_phdr(h, out);
    return 0;
}
