// SPDX-License-Identifier: Apache-2.0
// Brings a checked ELF file into memory: static, static-PIE and, with an interpreter, dynamic executables.
#include "arch.h"
#include "boot.h"
#include "elf.h"
#include "errno.h"
#include "fs.h"
#include "kmalloc.h"
#include "process.h"
#include "uaccess.h"
#include "vm.h"

#define PIE_BASE 0x555555554000ul       // two thirds of the address space, as Linux's ELF_ET_DYN_BASE
#define PIE_RANDOM_PAGES (1ul << 28)    // vm.mmap_rnd_bits

int elf_read(struct file *f, struct elf_image *img, const char **why)
{
    Elf64_Ehdr h;
    struct kstat st;
    int err = vfs_stat(f, &st);
    if (err) {
        *why = "cannot be read";
        return err;
    }
    ssize_t n = vfs_read(f, &h, sizeof(h), 0);
    if (n < 0) {
        *why = "cannot be read";
        return (int)n;
    }
    if ((size_t)n < sizeof(h))
        st.size = 0;
    err = elf_check_header(&h, st.size, why);
    if (err)
        return err;
    size_t size = h.e_phnum * sizeof(Elf64_Phdr);
    Elf64_Phdr *ph = kmalloc(size, 0);
    if (!ph) {
        *why = "no memory for its headers";
        return -ENOMEM;
    }
    n = vfs_read(f, ph, size, h.e_phoff);
    if (n != (ssize_t)size) {
        *why = "its program headers cannot be read";
        err = n < 0 ? (int)n : -ENOEXEC;
    } else {
        err = elf_check_segments(&h, ph, st.size, img, why);
    }
    kfree(ph);
    return err;
}

static u32 segment_prot(const struct elf_segment *s)
{
    return (s->flags & PF_R ? VM_READ : 0) | (s->flags & PF_W ? VM_WRITE : 0) | (s->flags & PF_X ? VM_EXEC : 0);
}

// What lies behind the file's part: the rest of its last page is zeroed, further pages are anonymous.
static int map_bss(const struct elf_segment *s, u64 bias, u32 prot)
{
    u64 start = s->vaddr + bias + s->filesz, end = s->vaddr + bias + s->memsz;
    u64 page_end = ALIGN_UP(start, PAGE_SIZE);
    if (s->filesz && start < page_end && (prot & VM_WRITE)) {
        // To the page's end, not just the segment's: the dynamic loader's first allocations lie there and count on zeros.
        int err = clear_user(start, page_end - start);
        if (err)
            return err;
    }
    u64 from = s->filesz ? page_end : ALIGN_DOWN(start, PAGE_SIZE);
    if (from >= ALIGN_UP(end, PAGE_SIZE))
        return 0;
    long at = vm_map(from, ALIGN_UP(end, PAGE_SIZE) - from, prot, 0, NULL, 0, true, false);
    return at < 0 ? (int)at : 0;
}

static int map_segment(struct file *f, const struct elf_segment *s, u64 bias)
{
    u32 prot = segment_prot(s);
    u64 start = ALIGN_DOWN(s->vaddr + bias, PAGE_SIZE);
    if (s->filesz) {
        u64 off = ALIGN_DOWN(s->offset, PAGE_SIZE);
        u64 end = ALIGN_UP(s->vaddr + bias + s->filesz, PAGE_SIZE);
        long at = vm_map(start, end - start, prot, 0, f, off >> PAGE_SHIFT, true, false);
        if (at < 0)
            return (int)at;
    }
    return s->memsz > s->filesz ? map_bss(s, bias, prot) : 0;
}

static u64 random_pages(u64 limit)
{
    u64 r = 0;
    if (boot_config.aslr)
        random_bytes(&r, sizeof(r));
    return (r % limit) << PAGE_SHIFT;
}

// A span that may lie anywhere is found by reserving it; then each segment is put in its place. At an address of its own the span need
// only be free: nothing else runs that could come between.
int elf_map(struct file *f, const struct elf_image *img, bool lib, u64 *bias)
{
    u64 span = img->high - img->low, want = img->low;
    bool fixed = !img->pie;
    if (img->pie) {
        want = lib ? 0 : ALIGN_UP(PIE_BASE + random_pages(PIE_RANDOM_PAGES), img->align);
        fixed = !lib;
    }
    u64 slack = lib && img->align > PAGE_SIZE ? img->align : 0;
    if (fixed && vm_in_use(want, span))
        return -ENOMEM;
    long at = fixed ? (long)want : vm_map(want, span + slack, 0, VMA_NORESERVE, NULL, 0, false, false);
    if (at < 0)
        return (int)at;
    u64 base = (u64)at;
    if (slack) {                // keep the aligned part
        base = ALIGN_UP((u64)at, img->align);
        if (base > (u64)at)
            vm_unmap((u64)at, base - (u64)at);
        if ((u64)at + slack > base)
            vm_unmap(base + span, (u64)at + slack - base);
    }
    *bias = img->pie ? base - img->low : 0;
    for (u32 i = 0; i < img->nr; i++) {
        int err = map_segment(f, &img->seg[i], *bias);
        if (err)
            return err;
    }
    // What lies between the segments is nobody's.
    for (u32 i = 0; !fixed && i + 1 < img->nr; i++) {
        u64 end = ALIGN_UP(img->seg[i].vaddr + img->seg[i].memsz, PAGE_SIZE) + *bias;
        u64 next = ALIGN_DOWN(img->seg[i + 1].vaddr, PAGE_SIZE) + *bias;
        if (next > end)
            vm_unmap(end, next - end);
    }
    return 0;
}
