// SPDX-License-Identifier: Apache-2.0
// sources: linux/elf_check.c
// The checks of an executable's headers: what must be accepted, and that every field that lies is refused.
#include <string.h>
#include "test.h"
#include "elf.h"

#define FILE_SIZE 0x10000ull

struct sample {
    Elf64_Ehdr h;
    Elf64_Phdr ph[4];
};

static struct sample good(void)
{
    struct sample s;
    memset(&s, 0, sizeof(s));
    memcpy(s.h.e_ident, "\177ELF", 4);
    s.h.e_ident[EI_CLASS] = ELFCLASS64;
    s.h.e_ident[EI_DATA] = ELFDATA2LSB;
    s.h.e_machine = EM_X86_64;
    s.h.e_type = ET_EXEC;
    s.h.e_phentsize = sizeof(Elf64_Phdr);
    s.h.e_phnum = 4;
    s.h.e_phoff = sizeof(Elf64_Ehdr);
    s.h.e_entry = 0x401010;
    s.ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_flags = PF_R, .p_offset = 0, .p_vaddr = 0x400000, .p_filesz = 0x500, .p_memsz = 0x500, .p_align = 0x1000 };
    s.ph[1] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_offset = 0x1000, .p_vaddr = 0x401000, .p_filesz = 0x800, .p_memsz = 0x800, .p_align = 0x1000 };
    s.ph[2] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_offset = 0x2e10, .p_vaddr = 0x403e10, .p_filesz = 0x200, .p_memsz = 0x3000, .p_align = 0x1000 };
    s.ph[3] = (Elf64_Phdr){ .p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W };
    return s;
}

static int load(const struct sample *s, struct elf_image *out)
{
    const char *why = NULL;
    int err = elf_check_header(&s->h, FILE_SIZE, &why);
    if (!err)
        err = elf_check_segments(&s->h, s->ph, FILE_SIZE, out, &why);
    CHECK(!err == !why);            // every refusal says why
    return err;
}

static void a_good_file_is_accepted(void)
{
    struct sample s = good();
    struct elf_image img;
    CHECK(load(&s, &img) == 0);
    CHECK(img.nr == 3 && img.low == 0x400000 && img.high == 0x407000);
    CHECK(img.phdr_vaddr == 0x400000 + sizeof(Elf64_Ehdr));
    CHECK(!img.pie && !img.exec_stack && !img.interp_len);
}

static void a_position_independent_one_may_lie_at_zero(void)
{
    struct sample s = good();
    struct elf_image img;
    s.h.e_type = ET_DYN;
    for (int i = 0; i < 3; i++)
        s.ph[i].p_vaddr -= 0x400000;
    s.h.e_entry -= 0x400000;
    s.ph[2].p_align = 0x200000;
    CHECK(load(&s, &img) == 0 && img.pie && img.low == 0 && img.align == 0x200000);
    s.h.e_type = ET_EXEC;
    CHECK(load(&s, &img) != 0);
}

// Breaks one field at a time.
#define REFUSED(change) do { struct sample s = good(); struct elf_image img; change; CHECK(load(&s, &img) == -8); } while (0)

static void every_lying_field_is_refused(void)
{
    REFUSED(s.h.e_ident[0] = 0);
    REFUSED(s.h.e_ident[EI_CLASS] = ELFCLASS32);
    REFUSED(s.h.e_ident[EI_DATA] = ELFDATA2MSB);
    REFUSED(s.h.e_machine = 183);
    REFUSED(s.h.e_type = ET_REL);
    REFUSED(s.h.e_phnum = 0);
    REFUSED(s.h.e_phnum = 0xffff);
    REFUSED(s.h.e_phentsize = 32);
    REFUSED(s.h.e_phoff = ~0ull);
    REFUSED(s.h.e_phoff = FILE_SIZE - 8);
    REFUSED(s.h.e_entry = 0x500000);
    REFUSED(s.h.e_entry = 0);
    REFUSED(s.ph[1].p_filesz = 0x900);
    REFUSED(s.ph[1].p_offset = FILE_SIZE);
    REFUSED(s.ph[1].p_offset = ~0ull);
    REFUSED(s.ph[1].p_offset = 0x1001);
    REFUSED(s.ph[2].p_memsz = ~0ull);
    REFUSED(s.ph[2].p_vaddr = 0xffff800000000e10);
    REFUSED(s.ph[2].p_vaddr = 0x401e10);
    REFUSED(s.ph[1].p_vaddr = 0x3ff000);
    REFUSED(s.ph[1].p_align = 3);
    REFUSED(s.ph[1].p_align = 1ull << 40);
    REFUSED(for (int i = 0; i < 3; i++) s.ph[i].p_type = PT_NOTE);
}

static void interpreters_are_checked(void)
{
    REFUSED((s.ph[3] = (Elf64_Phdr){ .p_type = PT_INTERP, .p_offset = 0x100, .p_filesz = 1 }));
    REFUSED((s.ph[3] = (Elf64_Phdr){ .p_type = PT_INTERP, .p_offset = 0x100, .p_filesz = 5000 }));
    REFUSED((s.ph[3] = (Elf64_Phdr){ .p_type = PT_INTERP, .p_offset = FILE_SIZE - 4, .p_filesz = 20 }));
    REFUSED((s.ph[3] = (Elf64_Phdr){ .p_type = PT_INTERP, .p_offset = ~0ull, .p_filesz = 20 }));
    struct sample s = good();
    struct elf_image img;
    s.ph[3] = (Elf64_Phdr){ .p_type = PT_INTERP, .p_offset = 0x200, .p_filesz = 28 };
    CHECK(load(&s, &img) == 0 && img.interp_offset == 0x200 && img.interp_len == 28);
}

// Random bytes in the headers: whatever is accepted must keep the promises that the loader relies on.
static void whatever_passes_is_sound(void)
{
    unsigned seed = 7;
    int accepted = 0;
    for (int round = 0; round < 200000; round++) {
        struct sample s = good();
        struct elf_image img;
        for (int n = 0; n < 3; n++) {
            seed = seed * 1103515245 + 12345;
            ((unsigned char *)&s)[(seed >> 8) % sizeof(s)] = (unsigned char)(seed >> 24);
        }
        if (s.h.e_phnum > 4 || load(&s, &img))
            continue;
        accepted++;
        u64 last = 0;
        int ok = img.entry >= img.low && img.entry < img.high && img.nr <= ELF_SEGMENTS_MAX;
        for (u32 i = 0; i < img.nr; i++) {
            const struct elf_segment *g = &img.seg[i];
            ok = ok && g->filesz <= g->memsz && g->offset + g->filesz <= FILE_SIZE && (g->vaddr & ~0xfffull) >= last;
            ok = ok && g->vaddr + g->memsz <= 0x7ffffffff000ull;
            last = (g->vaddr + g->memsz + 0xfff) & ~0xfffull;
        }
        CHECK(ok);
    }
    CHECK(accepted > 1000);
}

TESTS({ "a good file is accepted", a_good_file_is_accepted },
      { "a position-independent one may lie at zero", a_position_independent_one_may_lie_at_zero },
      { "every lying field is refused", every_lying_field_is_refused },
      { "interpreters are checked", interpreters_are_checked },
      { "whatever passes is sound", whatever_passes_is_sound })
