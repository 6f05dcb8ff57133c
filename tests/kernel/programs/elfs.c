// SPDX-License-Identifier: Apache-2.0
// Executables whose headers say strange things: which does the system start, and with which errno does it refuse the others? What is
// started prints a line and executes this program again, which goes on behind it.
#include "oracle.h"
#include <elf.h>

enum { SIZE = 0x4000, PHDRS = 6, TEXT = 0x401000, DATA = 0x402000 };

struct image {
    Elf64_Ehdr h;
    Elf64_Phdr text, data, extra[4];
};

static char room[SIZE + 70000];
static struct image *const m = (struct image *)room;
static Elf64_Phdr *const x = ((struct image *)room)->extra;
static size_t size;

// write(1, "ran\n", 4); execve(argv[1], argv + 1, NULL); exit(99)
static const unsigned char code[] = {
    0x48, 0x8b, 0x5c, 0x24, 0x10, 0x4c, 0x8d, 0x64, 0x24, 0x10, 0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0x48, 0x8d, 0x35, 35, 0, 0, 0,
    0xba, 4, 0, 0, 0, 0x0f, 0x05, 0xb8, 59, 0, 0, 0, 0x48, 0x89, 0xdf, 0x4c, 0x89, 0xe6, 0x31, 0xd2, 0x0f, 0x05, 0xb8, 60, 0, 0, 0,
    0xbf, 99, 0, 0, 0, 0x0f, 0x05, 0x90, 'r', 'a', 'n', '\n'};

static void fresh(void)
{
    memset(room, 0, sizeof room);
    memcpy(m->h.e_ident, "\177ELF\2\1\1", 7);
    m->h.e_type = ET_EXEC;
    m->h.e_machine = EM_X86_64;
    m->h.e_version = 1;
    m->h.e_entry = TEXT;
    m->h.e_phoff = sizeof m->h;
    m->h.e_ehsize = sizeof m->h;
    m->h.e_phentsize = sizeof(Elf64_Phdr);
    m->h.e_phnum = PHDRS;
    m->text = (Elf64_Phdr){PT_LOAD, PF_R | PF_X, 0x1000, TEXT, TEXT, 0x1000, 0x1000, 0x1000};
    m->data = (Elf64_Phdr){PT_LOAD, PF_R | PF_W, 0x2000, DATA, DATA, 0x1000, 0x2000, 0x1000};
    memcpy(room + 0x1000, code, sizeof code);
    size = SIZE;
}

static void move(uint64_t by)
{
    m->h.e_entry += by;
    m->text.p_vaddr += by;
    m->data.p_vaddr += by;
}

static void load(uint64_t address, uint64_t offset, uint64_t in_file, uint64_t in_memory)
{
    x[0] = (Elf64_Phdr){PT_LOAD, PF_R | PF_W, offset, address, address, in_file, in_memory, 0x1000};
}

static void interpreter(const char *name, uint64_t length)
{
    x[0] = (Elf64_Phdr){PT_INTERP, PF_R, 0x3000, 0, 0, length, length, 1};
    strcpy(room + 0x3000, name);
}
#define INTERPRETER(name) interpreter(name, sizeof name)

#define IS(text, ...) case __COUNTER__: __VA_ARGS__; return text
// The same file, with one thing changed.
#ifndef REFUSED
static const char *strange(int number)
{
    switch (number) {
    IS("untouched", (void)0);
    IS("type REL", m->h.e_type = ET_REL);
    IS("type CORE", m->h.e_type = ET_CORE);
    IS("type NONE", m->h.e_type = ET_NONE);
    IS("another machine", m->h.e_machine = EM_AARCH64);
    IS("machine i386", m->h.e_machine = EM_386);
    IS("data big-endian", m->h.e_ident[EI_DATA] = ELFDATA2MSB; m->h.e_machine = EM_S390);
    IS("version 0", m->h.e_version = 0; m->h.e_ident[EI_VERSION] = 0);
    IS("an OS of its own", m->h.e_ident[EI_OSABI] = 77; m->h.e_ident[EI_ABIVERSION] = 9);
    IS("flags", m->h.e_flags = ~0U);
    IS("ehsize 0", m->h.e_ehsize = 0);
    IS("section headers nowhere", m->h.e_shoff = ~0UL; m->h.e_shnum = 0xffff; m->h.e_shentsize = 3; m->h.e_shstrndx = 0xfffe);
    IS("no program headers", m->h.e_phnum = 0);
    IS("phnum 65535", m->h.e_phnum = 0xffff);
    IS("phnum 1171", m->h.e_phnum = 1171; size = sizeof room);
    IS("phentsize 0", m->h.e_phentsize = 0);
    IS("phentsize 57", m->h.e_phentsize = 57);
    IS("phoff beyond the end", m->h.e_phoff = SIZE);
    IS("phoff at the last byte", m->h.e_phoff = SIZE - 1);
    IS("phoff negative", m->h.e_phoff = -64UL);
    IS("phoff odd", m->h.e_phoff = 0x3001; memcpy(room + 0x3001, room + 64, PHDRS * 56));
    IS("1 byte", size = 1);
    IS("4 bytes", size = 4);
    IS("63 bytes", size = 63);
    IS("64 bytes", size = 64);
    IS("cut in the program headers", size = 130);
    IS("empty segment", load(0x500000, 0, 0, 0));
    IS("only memory", load(0x500000, 0, 0, 0x3000));
    IS("segment writable and executable", m->text.p_flags = m->data.p_flags = 7);
    IS("segment without permissions", m->data.p_flags = 0);
    IS("segment only executable", m->text.p_flags = PF_X);
    IS("entry in data that may be executed", m->data.p_flags = 7; m->h.e_entry = DATA; memcpy(room + 0x2000, code, sizeof code));
    IS("alignment 0", m->text.p_align = m->data.p_align = 0);
    IS("alignment 1", m->text.p_align = m->data.p_align = 1);
    IS("alignment 2 MiB", m->text.p_align = 0x200000);
    IS("physical addresses", m->text.p_paddr = m->data.p_paddr = ~0UL);
    IS("TLS absurd", x[0] = (Elf64_Phdr){PT_TLS, 7, ~0UL, ~0UL, 0, ~0UL, ~0UL, 3});
    IS("DYNAMIC absurd", x[0] = (Elf64_Phdr){PT_DYNAMIC, 7, ~0UL, ~0UL, 0, ~0UL, ~0UL, 3});
    IS("NOTE absurd", x[0] = (Elf64_Phdr){PT_NOTE, 7, ~0UL, ~0UL, 0, ~0UL, ~0UL, 3});
    IS("PHDR absurd", x[0] = (Elf64_Phdr){PT_PHDR, 7, ~0UL, ~0UL, 0, ~0UL, ~0UL, 3});
    IS("RELRO absurd", x[0] = (Elf64_Phdr){PT_GNU_RELRO, 7, ~0UL, ~0UL, 0, ~0UL, ~0UL, 3});
    IS("unknown types", x[0].p_type = 0x12345678; x[1].p_type = ~0U; x[2].p_type = PT_LOPROC; x[3].p_type = PT_SHLIB);
    IS("STACK executable", x[0] = (Elf64_Phdr){PT_GNU_STACK, 7, 0, 0, 0, 0, 0, 0});
    IS("STACK twice, with sizes", x[0] = (Elf64_Phdr){PT_GNU_STACK, 6, ~0UL, ~0UL, 0, ~0UL, ~0UL, 3}; x[1] = x[0]);
    IS("interpreter that is not there", INTERPRETER("/none/such"));
    IS("interpreter without a name", interpreter("", 1));
    IS("interpreter's name of no length", interpreter("/x", 0));
    IS("interpreter's name unterminated", interpreter("/scratch/good", 8));
    IS("interpreter's name too long", interpreter("/x", 4097));
    IS("interpreter is a directory", INTERPRETER("/scratch"));
    IS("interpreter is a device", INTERPRETER("/dev/null"));
    IS("interpreter may not be executed", INTERPRETER("/scratch/plain"));
    IS("interpreter has a relative name", INTERPRETER("good"));
    IS("position independent", m->h.e_type = ET_DYN; move(-0x400000UL));
    IS("position independent, far up", m->h.e_type = ET_DYN; move(0x100000000000));
    IS("position independent, alignment 1 GiB", m->h.e_type = ET_DYN; move(-0x400000UL); m->text.p_align = 1 << 30);
    }
    return NULL;
}

#else
// What Uni is stricter about: it refuses before it lets go of the old program, where Linux ignores the field, has another errno or kills.
static const char *strange(int number)
{
    switch (number) {
    IS("alignment 3", m->text.p_align = 3);
    IS("alignment 2^40", m->text.p_align = 1UL << 40);
    IS("alignment 2^63", m->text.p_align = 1UL << 63);
    IS("interpreter's name beyond the end", interpreter("/x", 10); x[0].p_offset = SIZE - 3);
    IS("interpreter's name at minus one", interpreter("/x", 10); x[0].p_offset = ~0UL);
    IS("interpreter is a script", INTERPRETER("/scratch/script"));
    IS("interpreter is empty", INTERPRETER("/scratch/empty"));
    IS("interpreter is of another class", INTERPRETER("/scratch/class32"));
    IS("in the kernel's half", m->text.p_vaddr = m->h.e_entry = 0xffff800000001000);
    IS("up to the very top", m->text.p_vaddr = m->h.e_entry = 0x7fffffffe000 + 0x1000; m->data.p_type = PT_NULL);
    IS("at zero", move(-(uint64_t)TEXT); m->data.p_type = PT_NULL);
    IS("entry at 0", m->h.e_entry = 0);
    IS("entry behind all segments", m->h.e_entry = DATA + 0x100000);
    IS("nothing to load", m->text.p_type = m->data.p_type = PT_NOTE);
    IS("larger in the file than in memory", m->data.p_memsz = 0x800);
    IS("the file's part beyond its end", m->data.p_filesz = m->data.p_memsz = 0x10000);
    IS("offset beyond the end", m->data.p_offset = 0x102000);
    IS("offset negative", m->data.p_offset = -0x1000UL);
    IS("memory beyond all bounds", m->data.p_memsz = ~0UL - DATA);
    IS("memory that wraps", m->data.p_memsz = ~0UL);
    IS("offset and address of different remainders", m->data.p_offset = 0x2100);
    IS("segments in the wrong order", x[0] = m->text; m->text = m->data; m->data = x[0]; x[0].p_type = PT_NULL);
    IS("segments that overlap", m->data.p_vaddr = TEXT; m->data.p_memsz = 0x3000);
    IS("segments that share a page", load(TEXT + 0x800, 0x1800, 8, 8); x[1] = m->data; m->data = x[0]; x[0] = x[1]; x[1].p_type = PT_NULL);
    IS("two interpreters", INTERPRETER("/scratch/good"); x[1] = x[0]);
    IS("interpreter that is itself", INTERPRETER("/scratch/mutant0"));
    IS("interpreter over the program", INTERPRETER("/scratch/fixed"));
    IS("position independent, entry nowhere", m->h.e_type = ET_DYN; m->h.e_entry = 0);
    IS("position independent, wraps", m->h.e_type = ET_DYN; move(-(uint64_t)TEXT); m->data.p_vaddr = 0x7ffffffff000);
    }
    return NULL;
}
#endif

static void store(const char *path)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0755);

    MUST(fd);
    MUST(write(fd, room, size));
    close(fd);
}

static void others(void)
{
    fresh();
    store("/scratch/fixed");
    m->h.e_ident[EI_CLASS] = ELFCLASS32;
    store("/scratch/class32");
    fresh();
    m->h.e_type = ET_DYN;
    move(-0x400000UL);
    store("/scratch/good");
    put("/scratch/script", "#!/bin/sh\n");
    chmod("/scratch/script", 0755);
    put("/scratch/empty", "");
    chmod("/scratch/empty", 0755);
    put("/scratch/plain", "plain");
}

int main(int argc, char **argv)
{
    int number = argc > 1 ? atoi(argv[1]) : 0;
    const char *what;
    char next[16], path[32], self[256] = "";

    readlink("/proc/self/exe", self, sizeof self - 1);
    MUST(chdir("/scratch"));
    if (number == 0)
        others();
    for (; fresh(), (what = strange(number)); number++) {
        snprintf(path, sizeof path, "mutant%d", number % 2);      // the other one is what runs
        unlink(path);
        store(path);
        snprintf(next, sizeof next, "%d", number + 1);
        printf("%s: ", what);
        fflush(stdout);
        execl(path, path, self, next, NULL);
        SAY("%s", errname(errno));
    }
    return 0;
}
