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

    /// Who makes code for it keeps frame pointers.
    #[inline(always)]
    fn taken_down(_: u64) -> Option<u64> {
        None
    }
}
