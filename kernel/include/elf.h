// SPDX-License-Identifier: Apache-2.0
// ELF executables: what the loader (linux/elf.c) makes of a file, and the checks that every header field passes first
// (linux/elf_check.c, which knows nothing of the kernel and is also built on the host). Layout: System V ABI, linux/elf.h.
#ifndef UNI_ELF_H
#define UNI_ELF_H

#include <linux/elf.h>
#include "types.h"

#define ELF_SEGMENTS_MAX 64         // loadable ones
#define ELF_PHDRS_MAX 256

struct elf_segment {
    u64 vaddr, offset, filesz, memsz;
    u32 flags;                      // PF_R, PF_W, PF_X
};

// A checked file. Addresses are those of the file; the loader adds the bias of a position-independent one.
struct elf_image {
    bool pie;                       // ET_DYN
    u64 entry;
    u64 low, high;                  // page-aligned span of the segments
    u64 align;                      // of the bias
    u64 phdr_vaddr;                 // where the program headers lie in memory; 0: in no segment
    u16 phnum;
    u32 nr;
    struct elf_segment seg[ELF_SEGMENTS_MAX];
    u64 interp_offset;
    u32 interp_len;                 // with the NUL; 0: none
    bool exec_stack;
};

// 0, or -ENOEXEC with *why set to what is wrong, in words for the user.
int elf_check_header(const Elf64_Ehdr *h, u64 file_size, const char **why);
int elf_check_segments(const Elf64_Ehdr *h, const Elf64_Phdr *ph, u64 file_size, struct elf_image *out, const char **why);

struct file;
// The program in memory, ready to run.
struct elf_program {
    u64 entry;                      // first instruction: the interpreter's, if there is one
    u64 program_entry;              // AT_ENTRY
    u64 phdr, phnum, interp_base;
    bool secure;                    // AT_SECURE
    u64 end;                        // of the program's own segments: the heap starts behind
};

// Reads and checks an executable's headers (no side effects). -errno with *why.
int elf_read(struct file *f, struct elf_image *img, const char **why);
// Maps it. `lib`: the interpreter, placed where there is room. *bias is added to every address.
int elf_map(struct file *f, const struct elf_image *img, bool lib, u64 *bias);

#endif
