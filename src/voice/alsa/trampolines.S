/*
 * One trampoline for each function of libasound: it jumps to where the function is, which `cadence_alsa_resolve` (loader.c)
 * finds out at the first call. All registers that carry arguments are as the caller left them, so signatures do not matter,
 * not even variadic ones. The slots are zero at the start, so none of this costs a relocation when the program starts.
 *
 * The names are hidden: no library that is loaded later binds to a trampoline instead of to the function itself.
 */
#define FAILS(name) entry name
#define EMPTY(name) entry name

    .section .note.GNU-stack, "", %progbits

    .bss
    .balign 8
    .globl cadence_alsa_slots
    .hidden cadence_alsa_slots
    .type cadence_alsa_slots, %object
cadence_alsa_slots:
    .skip CADENCE_ALSA_SYMBOLS * 8
    .size cadence_alsa_slots, CADENCE_ALSA_SYMBOLS * 8

    .text
    .set index, 0

#if defined(__x86_64__)

    .macro entry name
    .balign 16
    .globl \name
    .hidden \name
    .type \name, %function
\name:
    endbr64
    movq (cadence_alsa_slots + 8 * index)(%rip), %r11
    testq %r11, %r11
    jnz 1f
    movl $index, %r11d
    jmp bind
1:  jmp *%r11
    .size \name, . - \name
    .set index, index + 1
    .endm

    /* %r11d: index. %rax tells a variadic function how many vector registers are in use. */
    .type bind, %function
bind:
    .cfi_startproc
    pushq %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    movq %rsp, %rbp
    .cfi_def_cfa_register %rbp
    subq $192, %rsp
    movq %rdi, (%rsp)
    movq %rsi, 8(%rsp)
    movq %rdx, 16(%rsp)
    movq %rcx, 24(%rsp)
    movq %r8, 32(%rsp)
    movq %r9, 40(%rsp)
    movq %rax, 48(%rsp)
    movaps %xmm0, 64(%rsp)
    movaps %xmm1, 80(%rsp)
    movaps %xmm2, 96(%rsp)
    movaps %xmm3, 112(%rsp)
    movaps %xmm4, 128(%rsp)
    movaps %xmm5, 144(%rsp)
    movaps %xmm6, 160(%rsp)
    movaps %xmm7, 176(%rsp)
    movl %r11d, %edi
    call cadence_alsa_resolve
    movq %rax, %r11
    movq (%rsp), %rdi
    movq 8(%rsp), %rsi
    movq 16(%rsp), %rdx
    movq 24(%rsp), %rcx
    movq 32(%rsp), %r8
    movq 40(%rsp), %r9
    movq 48(%rsp), %rax
    movaps 64(%rsp), %xmm0
    movaps 80(%rsp), %xmm1
    movaps 96(%rsp), %xmm2
    movaps 112(%rsp), %xmm3
    movaps 128(%rsp), %xmm4
    movaps 144(%rsp), %xmm5
    movaps 160(%rsp), %xmm6
    movaps 176(%rsp), %xmm7
    leave
    .cfi_def_cfa %rsp, 8
    jmp *%r11
    .cfi_endproc
    .size bind, . - bind

#elif defined(__aarch64__)

    .macro entry name
    .balign 16
    .globl \name
    .hidden \name
    .type \name, %function
\name:
    hint #34                            /* bti c */
    adrp x16, (cadence_alsa_slots + 8 * index)
    add x16, x16, :lo12:(cadence_alsa_slots + 8 * index)
    ldar x16, [x16]
    cbz x16, 1f
    br x16
1:  mov w17, #index
    b bind
    .size \name, . - \name
    .set index, index + 1
    .endm

    /* w17: index. x8 is where a large result goes. */
    .type bind, %function
bind:
    .cfi_startproc
    stp x29, x30, [sp, #-224]!
    .cfi_def_cfa_offset 224
    .cfi_offset x29, -224
    .cfi_offset x30, -216
    mov x29, sp
    stp x0, x1, [sp, #16]
    stp x2, x3, [sp, #32]
    stp x4, x5, [sp, #48]
    stp x6, x7, [sp, #64]
    str x8, [sp, #80]
    stp q0, q1, [sp, #96]
    stp q2, q3, [sp, #128]
    stp q4, q5, [sp, #160]
    stp q6, q7, [sp, #192]
    mov w0, w17
    bl cadence_alsa_resolve
    mov x16, x0
    ldp x0, x1, [sp, #16]
    ldp x2, x3, [sp, #32]
    ldp x4, x5, [sp, #48]
    ldp x6, x7, [sp, #64]
    ldr x8, [sp, #80]
    ldp q0, q1, [sp, #96]
    ldp q2, q3, [sp, #128]
    ldp q4, q5, [sp, #160]
    ldp q6, q7, [sp, #192]
    ldp x29, x30, [sp], #224
    .cfi_def_cfa_offset 0
    .cfi_restore x29
    .cfi_restore x30
    br x16
    .cfi_endproc
    .size bind, . - bind

#else
#error "there are no trampolines for this processor: see src/build.rs"
#endif

#include "symbols.inc"
