// SPDX-License-Identifier: Apache-2.0
// Entry by PVH (Xen's docs/misc/pvh.pandoc): 32-bit protected mode, paging off, flat segments, ebx = physical address of
// struct hvm_start_info. Sets up a first page table (the first GiB, at 0, at the direct map and at -2 GiB), long mode, a stack.

#define PHYS(sym) ((sym) - 0xffffffff80000000)

    .section .note.pvh, "a", @note
    .align 4
    .long 4, 4, 18                  // name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long PHYS(pvh_entry)

    .section .boot.text, "ax"
    .code32
    .globl pvh_entry
pvh_entry:
    cld
    cli
    rdtsc
    movl %eax, %esi
    movl %edx, %ebp
    movl $PHYS(boot_stack_top), %esp
    // .bss is zeroed by the loader (p_memsz > p_filesz); the boot tables lie in it.
    movl $(PHYS(boot_pdpt_low) + 3), PHYS(boot_pml4)
    movl $(PHYS(boot_pdpt_low) + 3), PHYS(boot_pml4) + 256 * 8
    movl $(PHYS(boot_pdpt_high) + 3), PHYS(boot_pml4) + 511 * 8
    movl $(PHYS(boot_pd) + 3), PHYS(boot_pdpt_low)
    movl $(PHYS(boot_pd) + 3), PHYS(boot_pdpt_high) + 510 * 8
    movl $PHYS(boot_pd), %edi
    movl $0x83, %eax                // present, writable, 2 MiB
    movl $512, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    decl %ecx
    jnz 1b
    movl %cr4, %eax
    orl $0x20, %eax                 // PAE
    movl %eax, %cr4
    movl $PHYS(boot_pml4), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx          // EFER: LME, NXE, SCE
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl %cr0, %eax
    andl $~0xe, %eax                // no MP, EM, TS
    orl $0x80010023, %eax           // PG, WP, NE, MP, PE
    movl %eax, %cr0
    lgdt PHYS(boot_gdtr)
    ljmp $8, $PHYS(long_mode)
    .code64
long_mode:
    movq $high, %rax
    jmp *%rax
high:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movq $boot_stack_top, %rsp
    movl %ebx, %edi
    shlq $32, %rbp
    movl %esi, %esi
    orq %rbp, %rsi                  // the TSC at entry
    xorl %ebp, %ebp
    call boot_main
    ud2

    .align 8
boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff        // 64-bit code
boot_gdtr:
    .word 15
    .long PHYS(boot_gdt)

    .section .boot.bss, "aw", @nobits
    .align 4096
    .globl boot_tables, boot_cmdline
boot_tables:
boot_pml4: .skip 4096
boot_pdpt_low: .skip 4096
boot_pdpt_high: .skip 4096
boot_pd: .skip 4096
boot_cmdline: .skip 8192            // to the end of the section

    .bss
    .align 4096
    .globl boot_guard, boot_stack, boot_stack_top
boot_guard: .skip 4096
boot_stack: .skip 8192
boot_stack_top:
    .section .note.GNU-stack, "", @progbits
