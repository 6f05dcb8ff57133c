// SPDX-License-Identifier: Apache-2.0
// The ways into the kernel and out of it: exceptions, interrupts, SYSCALL. Each builds a struct regs (include/regs.h) on the
// kernel stack. SYSCALL and SYSRET: AMD APM volume 3; frames: Intel SDM volume 3, section 6.14.
#include "cpu.h"
#include "asm-offsets.h"

.macro PUSH_REGS rax=%rax           // from rax down
    pushq \rax
    pushq %r9
    pushq %r8
    pushq %r10
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rcx
    pushq %r11
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
.endm

.macro POP_REGS_BUT_RCX_R11
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
.endm

.macro POP_ARGS
    popq %rdi
    popq %rsi
    popq %rdx
    popq %r10
    popq %r8
    popq %r9
    popq %rax
.endm

// A trap from ring 3 leaves a null SS, SYSCALL a flat one. An emulator that keys its translations by SS's attributes would
// translate whatever both reach twice.
.macro LOAD_SS
    movl $KERNEL_DS, %eax
    movl %eax, %ss
.endm

    .text
// One stub of 16 bytes for each vector. Those without an error code push 0 for it.
    .balign 16
    .globl vector_stubs
vector_stubs:
vec = 0
.rept VEC_NR
    .balign 16
    .if (vec == 8) || (vec >= 10 && vec <= 14) || (vec == 17) || (vec == 21) || (vec == 29) || (vec == 30)
    .else
    pushq $0
    .endif
    pushq $vec
    .if (vec == 2) || (vec == 8) || (vec == 18)
    jmp paranoid_entry
    .elseif vec < 32
    jmp trap_entry
    .else
    jmp irq_entry
    .endif
vec = vec + 1
.endr

// The vector lies where orig_rax belongs; it goes to esi, and orig_rax becomes -1.
trap_entry:
    testb $3, 24(%rsp)
    jz 1f
    swapgs
1:  PUSH_REGS
    cld
    call clear_ac
    movl R_ORIG_RAX(%rsp), %esi
    movq $-1, R_ORIG_RAX(%rsp)
    movq %rsp, %rdi
    testb $3, R_CS(%rsp)
    jz 2f
    LOAD_SS
    xorl %ebp, %ebp                 // the chain of frames ends here; a trap in the kernel keeps it whole
2:  call trap_dispatch
    testb $3, R_CS(%rsp)
    jz return_kernel
    jmp return_user

irq_entry:
    testb $3, 24(%rsp)
    jz 1f
    swapgs
1:  PUSH_REGS
    cld
    call clear_ac
    movl R_ORIG_RAX(%rsp), %esi
    movq $-1, R_ORIG_RAX(%rsp)
    movq %rsp, %rdi
    testb $3, R_CS(%rsp)
    jz 2f
    LOAD_SS
    xorl %ebp, %ebp
2:  call irq_dispatch
    testb $3, R_CS(%rsp)
    jz return_kernel
    // fall through

// Interrupts may be on here. Leaves by iretq, after the work that waits for a return to the program.
return_user:
    cli
    movq %gs:C_CURRENT, %rax
    cmpb $0, T_INTERRUPTED(%rax)
    jne 1f
    cmpb $0, T_RESCHED(%rax)
    jne 1f
    movq R_RIP(%rsp), %rcx
    shrq $47, %rcx                  // iretq would fault on it in the kernel
    jz restore_user
1:  movq %rsp, %rdi
    call user_return                // leaves interrupts off
restore_user:
    POP_REGS_BUT_RCX_R11
    popq %r11
    popq %rcx
    POP_ARGS
    addq $16, %rsp                  // orig_rax, error
    swapgs
    .globl user_iretq
user_iretq:
    iretq

return_kernel:
    POP_REGS_BUT_RCX_R11
    popq %r11
    popq %rcx
    POP_ARGS
    addq $16, %rsp
    iretq

// A trap inside uaccess.S must not leave user memory open to what runs meanwhile. clac exists only where SMAP does.
    .globl clear_ac
clear_ac:
    cmpb $0, cpu_has_smap(%rip)
    je 1f
    clac
1:  ret

    .globl syscall_entry
syscall_entry:
    swapgs
    movq %rsp, %gs:C_USER_RSP
    movq %gs:C_KSTACK, %rsp
    pushq $USER_DS
    pushq %gs:C_USER_RSP
    pushq %r11                      // rflags
    pushq $USER_CS
    pushq %rcx                      // rip
    pushq $0
    pushq %rax                      // orig_rax
    PUSH_REGS $-38                  // -ENOSYS until the call gives its result
    xorl %ebp, %ebp
    sti
    movq %rsp, %rdi
    call syscall_dispatch
    cli
    movq %gs:C_CURRENT, %rax
    cmpb $0, T_INTERRUPTED(%rax)
    jne syscall_slow
    cmpb $0, T_RESCHED(%rax)
    jne syscall_slow
    // SYSRET returns to rcx with the flags in r11; anything that changed them (signals, execve) goes by iretq.
    movq R_RCX(%rsp), %rcx
    cmpq %rcx, R_RIP(%rsp)
    jne restore_user
    movq R_R11(%rsp), %r11
    cmpq %r11, R_RFLAGS(%rsp)
    jne restore_user
    shrq $47, %rcx                  // a non-canonical rip would fault in ring 0 on Intel's CPUs
    jnz syscall_slow
    testl $0x10100, %r11d           // RF and TF: SYSRET clears or traps at the wrong place
    jnz restore_user
    POP_REGS_BUT_RCX_R11
    popq %r11
    popq %rcx
    POP_ARGS
    movq 40(%rsp), %rsp             // orig_rax error rip cs rflags rsp
    swapgs
    sysretq

syscall_slow:
    movq %rsp, %rdi
    call user_return
    jmp restore_user

// NMI, double fault, machine check: on a stack of their own, and GS may be the kernel's or the program's. The true per-CPU
// pointer lies at the top of the stack.
paranoid_entry:
    PUSH_REGS
    cld
    call clear_ac
    movl $0xc0000101, %ecx          // GS base
    rdmsr
    movl %eax, %r12d
    movl %edx, %r13d
    movq 22*8(%rsp), %rax           // struct regs has 22 words
    movq %rax, %rdx
    shrq $32, %rdx
    wrmsr
    movl R_ORIG_RAX(%rsp), %esi
    movq $-1, R_ORIG_RAX(%rsp)
    movq %rsp, %rdi
    call trap_paranoid
    movl $0xc0000101, %ecx
    movl %r12d, %eax
    movl %r13d, %edx
    wrmsr
    jmp return_kernel

// void context_switch(u64 *save_sp, u64 next_sp)
    .globl context_switch
context_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

// First run of a kernel thread: rbx = function, r12 = argument (arch_thread_init_kernel).
    .globl kernel_thread_start
kernel_thread_start:
    sti
    movq %r12, %rdi
    xorl %ebp, %ebp
    call *%rbx
    call thread_exit
    ud2

// First run of a thread of the program: its struct regs is at rsp.
    .globl user_thread_start
user_thread_start:
    jmp return_user

    .data
    .globl cpu_has_smap
cpu_has_smap: .byte 0

    .section .note.GNU-stack, "", @progbits
