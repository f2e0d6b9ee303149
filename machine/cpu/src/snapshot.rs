//! The processor's registers as words. (Memory and what is around the processor are saved elsewhere.)

use alloc::vec::Vec;

use simd::Xmm;

use crate::control::Control;
use crate::cpuid::Level;
use crate::exception::FIXED;
use crate::flags::Flags;
use crate::segment::{Segment, Table};
use crate::Cpu;

/// Changes whenever the words mean something else.
const VERSION: u64 = 2;

/// The words are not those of a processor of this version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidState;

struct Words<'a>(core::slice::Iter<'a, u64>);

impl Words<'_> {
    fn next(&mut self) -> Result<u64, InvalidState> {
        self.0.next().copied().ok_or(InvalidState)
    }

    fn segment(&mut self) -> Result<Segment, InvalidState> {
        let (base, hidden) = (self.next()?, self.next()?);
        Ok(Segment {
            base,
            limit: (hidden >> 32) as u32,
            access: (hidden >> 16) as u16,
            selector: hidden as u16,
        })
    }
}

impl Control {
    fn words(&mut self) -> [&mut u64; 27] {
        let [d0, d1, d2, d3, d4, d5, d6, d7] = &mut self.dr;
        [
            &mut self.cr0,
            &mut self.cr2,
            &mut self.cr3,
            &mut self.cr4,
            &mut self.efer,
            &mut self.star,
            &mut self.lstar,
            &mut self.cstar,
            &mut self.fmask,
            &mut self.kernel_gs_base,
            &mut self.tsc_aux,
            &mut self.tsc_offset,
            &mut self.pat,
            &mut self.misc_enable,
            &mut self.sysenter_cs,
            &mut self.sysenter_esp,
            &mut self.sysenter_eip,
            &mut self.apic_base,
            &mut self.xcr0,
            d0,
            d1,
            d2,
            d3,
            d4,
            d5,
            d6,
            d7,
        ]
    }
}

impl Cpu {
    /// The registers, between two calls of `run`.
    pub fn save(&self) -> Vec<u64> {
        let state = &self.state;
        let mut words = Vec::new();
        words.push(VERSION);
        words.extend_from_slice(&state.gpr);
        words.extend([state.rip, self.rflags(), state.fs_base, state.gs_base, u64::from(state.mxcsr)]);
        for register in state.xmm.iter().chain(&state.ymm_high) {
            words.extend(register.0);
        }
        words.extend(self.control.clone().words().into_iter().map(|word| *word));
        for segment in self.segments.iter().chain([&self.ldtr, &self.tr]) {
            let hidden = u64::from(segment.limit) << 32 | u64::from(segment.access) << 16;
            words.extend([segment.base, hidden | u64::from(segment.selector)]);
        }
        for table in [&self.gdtr, &self.idtr] {
            words.extend([table.base, u64::from(table.limit)]);
        }
        words.extend([u64::from(self.shadow), u64::from(self.halted), self.executed(), self.level as u64]);
        let fpu = self.fpu.to_bytes();
        words.push(fpu.len() as u64);
        words.extend(fpu.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        }));
        words
    }

    /// Takes registers over that `save` gave. Whatever the words are, the processor can do no more with
    /// them than a program in it could.
    ///
    /// # Errors
    /// The processor must not be used after one.
    pub fn restore(&mut self, words: &[u64]) -> Result<(), InvalidState> {
        let mut words = Words(words.iter());
        if words.next()? != VERSION {
            return Err(InvalidState);
        }
        for register in &mut self.state.gpr {
            *register = words.next()?;
        }
        self.state.rip = words.next()?;
        let flags = words.next()?;
        self.state.flags = Flags::explicit(flags);
        self.state.system_flags = flags & !crate::flags::ARITHMETIC | FIXED;
        self.state.fs_base = words.next()?;
        self.state.gs_base = words.next()?;
        self.state.mxcsr = words.next()? as u32 & 0xffff;
        for register in self.state.xmm.iter_mut().chain(&mut self.state.ymm_high) {
            *register = Xmm([words.next()?, words.next()?]);
        }
        let long_mode = Control::long_mode();
        for word in self.control.words() {
            *word = words.next()?;
        }
        let control = &mut self.control;
        control.cr0 |= long_mode.cr0 & !crate::control::CR0_WP;
        control.cr4 = control.cr4 & crate::control::CR4_KNOWN | long_mode.cr4;
        control.efer |= long_mode.efer;
        control.xcr0 = control.xcr0 & crate::control::XCR0_KNOWN | long_mode.xcr0;
        for number in 0..8 {
            let segment = words.segment()?;
            match number {
                0..6 => self.segments[number] = segment,
                6 => self.ldtr = segment,
                _ => self.tr = segment,
            }
        }
        for table in [&mut self.gdtr, &mut self.idtr] {
            *table = Table { base: words.next()?, limit: words.next()? as u16, ..Table::default() };
        }
        self.shadow = words.next()? != 0;
        self.halted = words.next()? != 0;
        self.granted = words.next()?;
        self.level = Level::of(words.next()? as u32).ok_or(InvalidState)?;
        self.saved = 0;
        self.state.budget = 0;
        self.state.event = 0;
        self.fault = None;
        let mut fpu = [0; x87::Fpu::SNAPSHOT];
        if words.next()? != fpu.len() as u64 {
            return Err(InvalidState);
        }
        for chunk in fpu.chunks_mut(8) {
            chunk.copy_from_slice(&words.next()?.to_le_bytes()[..chunk.len()]);
        }
        self.fpu = x87::Fpu::from_bytes(&fpu);
        if words.0.next().is_some() {
            return Err(InvalidState);
        }
        self.code.clear();
        self.update_mode();
        self.flush_tlb();
        Ok(())
    }
}
