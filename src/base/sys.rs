//! The processor's time stamp counter: whether it can be trusted as a clock, and reading it. The
//! only file of `base` that speaks to the processor directly. Source: Intel SDM volume 3,
//! "Invariant TSC"; AMD APM volume 3, CPUID Fn8000_0007.

#![allow(unsafe_code)]

/// Whether the counter runs at one constant rate in every power state, so that it measures time.
/// False on processors without such a counter.
pub(super) fn has_invariant_tsc() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;
        const POWER_MANAGEMENT_LEAF: u32 = 0x8000_0007;
        const INVARIANT_TSC: u32 = 1 << 8;
        __cpuid(0x8000_0000).eax >= POWER_MANAGEMENT_LEAF
            && __cpuid(POWER_MANAGEMENT_LEAF).edx & INVARIANT_TSC != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The counter now; 0 where there is none. Not ordered with the instructions around it: good for
/// durations of a command, not for a benchmark of one instruction.
#[inline(always)]
pub(super) fn read_tsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86_64 processor has RDTSC, it touches no memory, and Linux leaves it open to
    // user space; a task that forbids it for itself (PR_SET_TSC) would get SIGSEGV, and we never
    // do.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}
