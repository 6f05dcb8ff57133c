// SPDX-License-Identifier: Apache-2.0
// The vDSO (vdso/) as the kernel carries it: a page of its own, because it is mapped into the program as it stands.
    .section .rodata.vdso, "a"
    .balign 4096
    .globl vdso_image, vdso_image_end
vdso_image:
    .incbin "vdso.so"
vdso_image_end:
    .balign 4096
    .section .note.GNU-stack, "", @progbits
