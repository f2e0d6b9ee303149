//! Segments and descriptor tables. Intel SDM volume 3, chapter 3 and section 5.

use crate::exception::{GENERAL_PROTECTION, NOT_PRESENT, STACK_FAULT};
use crate::state::Mode;
use crate::{Cpu, Step, Stop};

pub const ES: usize = 0;
pub const CS: usize = 1;
pub const SS: usize = 2;
pub const DS: usize = 3;
pub const FS: usize = 4;
pub const GS: usize = 5;

/// A segment register with its hidden part.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment {
    pub base: u64,
    pub limit: u32,
    /// As bits 8 to 23 of a descriptor's second half: type, S, DPL, P, and AVL, L, D/B, G at 12 to 15.
    pub access: u16,
    pub selector: u16,
}

/// GDTR or IDTR.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Table {
    pub base: u64,
    pub limit: u16,
    pub reserved: [u16; 3],
}

const ACCESSED: u16 = 1;
const WRITABLE_OR_READABLE: u16 = 2;
const CONFORMING: u16 = 4;
const CODE: u16 = 8;
const NOT_SYSTEM: u16 = 0x10;
const PRESENT: u16 = 0x80;
const LONG: u16 = 0x2000;
const DEFAULT_32: u16 = 0x4000;
const GRANULAR: u16 = 0x8000;

impl Segment {
    pub fn null(selector: u16) -> Segment {
        Segment { selector, ..Segment::default() }
    }

    /// Flat 64-bit code of privilege 0, as a boot loader leaves it.
    pub fn flat_code(selector: u16) -> Segment {
        Segment { base: 0, limit: u32::MAX, access: 0xa09b, selector }
    }

    pub fn flat_data(selector: u16) -> Segment {
        Segment { base: 0, limit: u32::MAX, access: 0xc093, selector }
    }

    pub fn from_descriptor(selector: u16, descriptor: u64) -> Segment {
        let access = (descriptor >> 40 & 0xf0ff) as u16;
        let limit = (descriptor & 0xffff | descriptor >> 32 & 0xf_0000) as u32;
        Segment {
            base: descriptor >> 16 & 0xff_ffff | descriptor >> 32 & 0xff00_0000,
            limit: if access & GRANULAR != 0 { limit << 12 | 0xfff } else { limit },
            access,
            selector,
        }
    }

    pub fn is_code(&self) -> bool {
        self.access & (NOT_SYSTEM | CODE) == NOT_SYSTEM | CODE
    }

    pub fn is_data(&self) -> bool {
        self.access & (NOT_SYSTEM | CODE) == NOT_SYSTEM
    }

    pub fn is_system(&self) -> bool {
        self.access & NOT_SYSTEM == 0
    }

    /// The type of a system descriptor.
    pub fn kind(&self) -> u16 {
        self.access & 15
    }

    pub fn writable(&self) -> bool {
        self.is_data() && self.access & WRITABLE_OR_READABLE != 0
    }

    pub fn readable(&self) -> bool {
        self.is_data() || self.access & WRITABLE_OR_READABLE != 0
    }

    pub fn conforming(&self) -> bool {
        self.is_code() && self.access & CONFORMING != 0
    }

    pub fn is_long(&self) -> bool {
        self.access & LONG != 0
    }

    pub fn is_32(&self) -> bool {
        self.access & DEFAULT_32 != 0
    }

    pub fn present(&self) -> bool {
        self.access & PRESENT != 0
    }

    pub fn privilege(&self) -> u8 {
        (self.access >> 5 & 3) as u8
    }
}

impl Cpu {
    /// Where a selector's descriptor is, or None beyond the table's end.
    fn descriptor_address(&self, selector: u16, size: u64) -> Option<u64> {
        let at = u64::from(selector & 0xfff8);
        let (base, limit) = if selector & 4 != 0 {
            (self.ldtr.base, u64::from(self.ldtr.limit))
        } else {
            (self.gdtr.base, u64::from(self.gdtr.limit))
        };
        (at + size - 1 <= limit).then(|| base.wrapping_add(at))
    }

    /// The segment that a selector names. #GP(selector) where the tables have none.
    pub fn descriptor(&mut self, selector: u16, external: u32) -> Result<Segment, Stop> {
        let error = u32::from(selector & 0xfffc) | external;
        if selector & 0xfffc == 0 {
            return self.raise(GENERAL_PROTECTION, external);
        }
        match self.descriptor_address(selector, 8) {
            None => self.raise(GENERAL_PROTECTION, error),
            Some(at) => Ok(Segment::from_descriptor(selector, self.load_system(at)?)),
        }
    }

    /// As `descriptor`, for LAR and LSL, which do not fault.
    pub fn try_descriptor(&mut self, selector: u16) -> Result<Option<Segment>, Stop> {
        if selector & 0xfffc == 0 {
            return Ok(None);
        }
        match self.descriptor_address(selector, 8) {
            None => Ok(None),
            Some(at) => Ok(Some(Segment::from_descriptor(selector, self.load_system(at)?))),
        }
    }

    fn mark_accessed(&mut self, segment: &mut Segment) -> Step {
        if segment.access & ACCESSED == 0 {
            segment.access |= ACCESSED;
            if let Some(at) = self.descriptor_address(segment.selector, 8) {
                let descriptor = self.load_system(at)?;
                self.store_system(at, descriptor | u64::from(ACCESSED) << 40)?;
            }
        }
        Ok(())
    }

    /// MOV and POP to a segment register other than CS.
    pub fn load_segment(&mut self, number: usize, selector: u16) -> Step {
        let privilege = self.privilege();
        let requested = (selector & 3) as u8;
        let error = u32::from(selector & 0xfffc);
        if selector & 0xfffc == 0 {
            if number == SS && (!self.long() || privilege == 3 || requested != privilege) {
                return self.raise(GENERAL_PROTECTION, 0);
            }
            // The base goes, as on Intel's processors.
            self.set_segment(number, Segment::null(selector));
            return Ok(());
        }
        let mut segment = self.descriptor(selector, 0)?;
        if number == SS {
            if requested != privilege || segment.privilege() != privilege || !segment.writable() {
                return self.raise(GENERAL_PROTECTION, error);
            }
            if !segment.present() {
                return self.raise(STACK_FAULT, error);
            }
        } else {
            let rights = segment.conforming()
                || (segment.privilege() >= requested && segment.privilege() >= privilege);
            if segment.is_system() || !segment.readable() || !rights {
                return self.raise(GENERAL_PROTECTION, error);
            }
            if !segment.present() {
                return self.raise(NOT_PRESENT, error);
            }
        }
        self.mark_accessed(&mut segment)?;
        self.set_segment(number, segment);
        Ok(())
    }

    pub fn set_segment(&mut self, number: usize, segment: Segment) {
        self.segments[number] = segment;
        match number {
            FS => self.state.fs_base = segment.base,
            GS => self.state.gs_base = segment.base,
            _ => {}
        }
        self.update_mode();
    }

    /// Changes CS and with it privilege, mode and what the TLB's table is.
    pub fn set_code_segment(&mut self, segment: Segment) {
        self.segments[CS] = segment;
        self.update_mode();
    }

    pub fn update_mode(&mut self) {
        let code = &self.segments[CS];
        let mut mode = 0;
        if code.is_long() {
            mode |= Mode::LONG;
        } else if !code.is_32() {
            mode |= Mode::BITS16;
        } else if [ES, CS, SS, DS].iter().all(|&number| self.segments[number].base == 0) {
            mode |= Mode::FLAT;
        }
        if self.privilege() == 3 {
            mode |= Mode::USER;
        }
        self.state.mode = mode;
        self.table = &mut self.tlb.tables[(mode & Mode::USER) as usize];
    }

    /// The base that an address in this segment has.
    pub fn segment_base(&self, number: usize) -> u64 {
        match number {
            FS => self.state.fs_base,
            GS => self.state.gs_base,
            _ if self.long() => 0,
            _ => self.segments[number].base,
        }
    }

    /// LLDT and LTR: a system descriptor of 16 bytes.
    pub fn load_system_segment(&mut self, selector: u16) -> Result<Segment, Stop> {
        let error = u32::from(selector & 0xfffc);
        let Some(at) = self.descriptor_address(selector, 16).filter(|_| selector & 4 == 0) else {
            return self.raise(GENERAL_PROTECTION, error);
        };
        let mut segment = Segment::from_descriptor(selector, self.load_system(at)?);
        segment.base |= self.load_system(at + 8)? << 32;
        if !segment.is_system() {
            return self.raise(GENERAL_PROTECTION, error);
        }
        if !segment.present() {
            return self.raise(NOT_PRESENT, error);
        }
        Ok(segment)
    }

    /// LTR marks the descriptor as busy.
    pub fn load_task(&mut self, selector: u16) -> Step {
        let error = u32::from(selector & 0xfffc);
        if error == 0 {
            return self.raise(GENERAL_PROTECTION, 0);
        }
        let mut segment = self.load_system_segment(selector)?;
        if segment.kind() != 9 {
            return self.raise(GENERAL_PROTECTION, error);
        }
        segment.access |= 2;
        if let Some(at) = self.descriptor_address(selector, 8) {
            let descriptor = self.load_system(at)?;
            self.store_system(at, descriptor | 2 << 40)?;
        }
        self.tr = segment;
        Ok(())
    }

    /// The target of a far jump, call, return or IRET: a code segment, checked.
    pub fn far_code(&mut self, selector: u16, returning: bool) -> Result<Segment, Stop> {
        let error = u32::from(selector & 0xfffc);
        let mut code = self.descriptor(selector, 0)?;
        let requested = (selector & 3) as u8;
        let privilege = self.privilege();
        let rights = if returning {
            requested >= privilege
                && (if code.conforming() { code.privilege() <= requested } else { code.privilege() == requested })
        } else if code.conforming() {
            code.privilege() <= privilege
        } else {
            requested <= privilege && code.privilege() == privilege
        };
        if !code.is_code() || !rights || (code.is_long() && code.is_32()) {
            return self.raise(GENERAL_PROTECTION, error);
        }
        if !code.present() {
            return self.raise(NOT_PRESENT, error);
        }
        self.mark_accessed(&mut code)?;
        if !returning {
            code.selector = selector & 0xfffc | u16::from(privilege);
        }
        Ok(code)
    }
}
