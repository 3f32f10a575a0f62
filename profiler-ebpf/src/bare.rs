//! Not of the product: what a user stack costs at least. A perf event program that has the kernel follow frame pointers into a buffer
//! and does nothing else; `make bench-walk` measures our walk against it. An object of its own, which only that example embeds.

// bpf-linker tells that it takes the LLVM it was built with and not rustc's: nothing to be done about.
#![allow(linker_messages)]
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", expect(unsafe_code, reason = "helpers of the kernel are foreign functions"))]

#[cfg(target_arch = "bpf")]
mod bare {
    use aya_ebpf::{
        EbpfContext as _,
        bindings::BPF_F_USER_STACK,
        helpers::generated::bpf_get_stack,
        macros::{map, perf_event},
        maps::PerCpuArray,
        programs::PerfEventContext,
    };

    /// The kernel's limit, `PERF_MAX_STACK_DEPTH`.
    const FRAMES: usize = 127;

    #[map]
    static FRAMES_OF_CPU: PerCpuArray<[u64; FRAMES]> = PerCpuArray::with_max_entries(1, 0);

    /// Takes one stack.
    #[perf_event]
    pub fn bare(ctx: PerfEventContext) -> u32 {
        let Some(frames) = FRAMES_OF_CPU.get_ptr_mut(0) else { return 0 };
        // SAFETY: this CPU's element, of this size.
        unsafe { bpf_get_stack(ctx.as_ptr(), frames.cast(), 8 * FRAMES as u32, u64::from(BPF_F_USER_STACK)) };
        0
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! {
        loop {}
    }

    /// See `main.rs`.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
