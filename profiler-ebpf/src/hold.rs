//! Not of the product: holds a CPU as a slow eBPF program does. At each system call of one thread it spins for 15 ms with
//! interrupts on, and writes down when: the kernel skips perf event programs on that CPU meanwhile. An object of its own,
//! which only the tests of missed ticks embed.

// bpf-linker tells that it takes the LLVM it was built with and not rustc's: nothing to be done about.
#![allow(linker_messages)]
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", expect(unsafe_code, reason = "helpers of the kernel are foreign functions"))]

#[cfg(target_arch = "bpf")]
mod hold {
    use core::ffi::c_void;

    use aya_ebpf::{
        helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_loop},
        macros::{map, tracepoint},
        maps::Array,
        programs::TracePointContext,
    };

    /// How long one hold takes.
    const NANOS: u64 = 15_000_000;
    /// More looks at the clock than fit in.
    const LOOKS: u32 = 4_000_000;

    /// Thread id of the one that holds.
    #[map]
    static THREAD: Array<u32> = Array::with_max_entries(1, 0);
    /// How many holds there were.
    #[map]
    static COUNT: Array<u64> = Array::with_max_entries(1, 0);
    /// Beginning and end of each, on the monotonic clock.
    #[map]
    static HOLDS: Array<[u64; 2]> = Array::with_max_entries(1024, 0);

    struct Until {
        end: u64,
        now: u64,
    }

    /// One look at the clock; 1 ends the loop.
    unsafe extern "C" fn look(_: u64, until: *mut Until) -> i64 {
        // SAFETY: the loop's context, which outlives it.
        let until = unsafe { &mut *until };
        // SAFETY: a helper without arguments.
        until.now = unsafe { bpf_ktime_get_ns() };
        i64::from(until.now >= until.end)
    }

    /// Holds the CPU once.
    #[tracepoint]
    pub fn hold(_: TracePointContext) -> u32 {
        // SAFETY: a helper without arguments.
        let tid = unsafe { bpf_get_current_pid_tgid() } as u32;
        if THREAD.get(0) != Some(&tid) {
            return 0;
        }
        // SAFETY: a helper without arguments.
        let begin = unsafe { bpf_ktime_get_ns() };
        let mut until = Until { end: begin + NANOS, now: begin };
        // SAFETY: the callback has the type that the helper documents; the context outlives the call.
        unsafe { bpf_loop(LOOKS, look as *mut c_void, (&raw mut until).cast(), 0) };
        let Some(count) = COUNT.get_ptr_mut(0) else { return 0 };
        // SAFETY: an element of an array map, written by one thread only.
        let nth = unsafe { *count };
        if let Some(hold) = HOLDS.get_ptr_mut(nth as u32) {
            // SAFETY: as above.
            unsafe {
                *hold = [begin, until.now];
                *count = nth + 1;
            }
        }
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
