# Where a guest begins: the kernel left argc, argv and the environment on the stack.
    .section .text.start, "ax"
    .globl _start
_start:
    .option push
    .option norelax
    la      gp, __global_pointer$
    .option pop
    ld      a0, 0(sp)
    addi    a1, sp, 8
    andi    sp, sp, -16
    call    main
    li      a7, 94
    ecall
    ebreak

# GCC may call these whatever the flags.
    .section .text.memcpy, "ax"
    .globl memcpy
memcpy:
    mv      a3, a0
1:  beqz    a2, 2f
    lbu     a4, 0(a1)
    sb      a4, 0(a3)
    addi    a1, a1, 1
    addi    a3, a3, 1
    addi    a2, a2, -1
    j       1b
2:  ret
    .section .text.memset, "ax"
    .globl memset
memset:
    mv      a3, a0
1:  beqz    a2, 2f
    sb      a1, 0(a3)
    addi    a3, a3, 1
    addi    a2, a2, -1
    j       1b
2:  ret
    .section .note.GNU-stack, "", @progbits
