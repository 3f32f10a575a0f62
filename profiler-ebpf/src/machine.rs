//! What differs between processors: register numbers, how far the stack pointer moves, where a signal frame keeps registers.

use crate::tables::Registers;

/// Words of user memory that a walk reads at once, where a page boundary leaves room. A few frames; the size has not been tuned.
pub const WINDOW_WORDS: usize = 64;

/// One processor, as its DWARF numbering and its Linux ABI describe it.
pub trait Machine {
    /// DWARF number of the stack pointer.
    const SP: u8;
    /// DWARF number of the frame pointer.
    const FP: u8;
    /// The bits of a return address that are address.
    const ADDRESS_MASK: u64;
    /// Whether a function that calls nobody keeps its return address in the link register and may use no stack at all.
    const HAS_LINK_REGISTER: bool;
    /// Where the saved registers begin in a `ucontext`.
    const UCONTEXT_REGISTERS: u64;
    /// How many words they are.
    const SIGNAL_WORDS: usize;

    /// Takes over the registers that a signal frame saved.
    fn interrupted(words: &[u64; WINDOW_WORDS], registers: &mut Registers);

    /// Whether the last of eight bytes of code may be those of a call.
    fn ends_with_call(code: u64) -> bool;

    /// Whether the last of eight bytes of code are those of an instruction behind which code does not go on, or of padding.
    fn ends_function(code: u64) -> bool;

    /// Bytes of stack that the function takes down before it returns, where that is all that the code at hand does.
    fn taken_down(code: u64) -> Option<u64>;
}

/// x86-64. System V ABI, AMD64 supplement, 3.6.2; `struct sigcontext_64` of the kernel's uapi/asm/sigcontext.h.
#[derive(Clone, Copy, Debug)]
pub struct X86_64;

impl Machine for X86_64 {
    const SP: u8 = 7;
    const FP: u8 = 6;
    const ADDRESS_MASK: u64 = u64::MAX;
    const HAS_LINK_REGISTER: bool = false;
    // uc_flags, uc_link, uc_stack: 8 + 8 + 24 bytes.
    const UCONTEXT_REGISTERS: u64 = 40;
    const SIGNAL_WORDS: usize = 17;

    #[inline(always)]
    fn interrupted(words: &[u64; WINDOW_WORDS], registers: &mut Registers) {
        // In this order: r8..r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip.
        let general = &mut registers.general;
        general[8..16].copy_from_slice(&words[..8]);
        [general[5], general[4], general[6], general[3]] = [words[8], words[9], words[10], words[11]];
        [general[1], general[0], general[2], general[7]] = [words[12], words[13], words[14], words[15]];
        [registers.fp, registers.sp, registers.ip] = [words[10], words[15], words[16]];
        registers.lr = 0;
        registers.all = 1;
    }

    /// `call rel32`, e8 and four bytes, or `call r/m64`, ff with 2 in bits 3 to 5 of the next byte and up to five more (Intel SDM,
    /// volume 2, CALL). No other code than a call's may look like it by chance: then the walk goes on, as it does behind a call.
    #[inline(always)]
    fn ends_with_call(code: u64) -> bool {
        const INDIRECT: u64 = 0x10ff;
        const OPCODE: u64 = 0x38ff;
        code >> 24 & 0xff == 0xe8
            || code >> 48 & OPCODE == INDIRECT
            || code >> 40 & OPCODE == INDIRECT
            || code >> 32 & OPCODE == INDIRECT
            || code >> 16 & OPCODE == INDIRECT
            || code >> 8 & OPCODE == INDIRECT
    }

    /// `ret`, `int3`, `hlt`, `nop`; `ud2`; `jmp` with one and four bytes, by a register, by memory; the `nop`s of two to nine bytes that
    /// assemblers fill with (Intel SDM, volume 2, NOP).
    #[inline(always)]
    fn ends_function(code: u64) -> bool {
        const INDIRECT: u64 = 0x20ff;
        const OPCODE: u64 = 0x38ff;
        matches!(code >> 56, 0xc3 | 0xcc | 0xf4 | 0x90)
            || code >> 48 == 0x0b0f
            || code >> 48 & 0xff == 0xeb
            || code >> 24 & 0xff == 0xe9
            || code >> 48 & OPCODE == INDIRECT
            || code >> 16 & OPCODE == INDIRECT
            || code >> 40 == 0x00_1f0f
            || code >> 32 == 0x0040_1f0f
            || code >> 24 == 0x00_0044_1f0f
            || code >> 8 == 0x00_0000_0080_1f0f
            || code == 0x0000_0000_0084_1f0f
    }

    /// `add rsp, imm8; ret`, 48 83 c4 ib c3. CPython's trampolines (`-X perf`) go on so after their call, and keep no frame pointer
    /// (Python/asm_trampoline.S).
    #[inline(always)]
    fn taken_down(code: u64) -> Option<u64> {
        let bytes = code >> 24 & 0xff;
        (code & 0xff_00ff_ffff == 0xc3_00c4_8348 && bytes & 0x87 == 0).then_some(bytes)
    }
}

/// aarch64. DWARF for the Arm 64-bit Architecture, 4.1; `struct rt_sigframe` and `struct sigcontext` of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Aarch64;

impl Machine for Aarch64 {
    const SP: u8 = 31;
    const FP: u8 = 29;
    // Linux gives user addresses beyond 48 bits only to who asks for them; above lie tags and authentication codes.
    const ADDRESS_MASK: u64 = (1 << 48) - 1;
    const HAS_LINK_REGISTER: bool = true;
    // uc_flags, uc_link, uc_stack, 128 bytes of signal mask, padding to 16, fault_address: 8 + 8 + 24 + 128 + 8 + 8.
    const UCONTEXT_REGISTERS: u64 = 184;
    const SIGNAL_WORDS: usize = 33;

    #[inline(always)]
    fn interrupted(words: &[u64; WINDOW_WORDS], registers: &mut Registers) {
        // x0..x30, sp, pc.
        registers.general.copy_from_slice(&words[..32]);
        [registers.fp, registers.lr, registers.sp, registers.ip] = [words[29], words[30], words[31], words[32]];
        registers.all = 1;
    }

    /// `bl`, or `blr` and its forms with authentication (Arm ARM, C6.2).
    #[inline(always)]
    fn ends_with_call(code: u64) -> bool {
        let instruction = (code >> 32) as u32;
        instruction & 0xfc00_0000 == 0x9400_0000 || instruction & 0xfeff_f000 == 0xd63f_0000
    }

    /// `ret`, `br`, `b`, `nop`, `brk`, `udf` (Arm ARM, C6.2).
    #[inline(always)]
    fn ends_function(code: u64) -> bool {
        let instruction = (code >> 32) as u32;
        instruction & 0xffff_fc1f == 0xd65f_0000
            || instruction & 0xffff_fc1f == 0xd61f_0000
            || instruction & 0xfc00_0000 == 0x1400_0000
            || instruction & 0xffe0_001f == 0xd420_0000
            || instruction == 0xd503_201f
            || instruction & 0xffff_0000 == 0
    }

    /// Who makes code for it keeps frame pointers.
    #[inline(always)]
    fn taken_down(_: u64) -> Option<u64> {
        None
    }
}
