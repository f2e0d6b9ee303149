//! The module around compiled functions.

use alloc::vec::Vec;

use cpu::compiled::Addresses;

use crate::emit::{FUNCTION_TYPE, IMPORTS, PARAMETERS};
use crate::graph::{Start, Wanted};
use crate::region;
use crate::wasm::{self, name, section, unsigned, Hint, Type};

/// Regions that become one module.
///
/// The module imports, all from `env`: `memory`; the functions of [`IMPORTS`]; `table`, into which it
/// puts its functions; and `base`, a constant i32, the place of the first in the table.
pub struct Module {
    addresses: Addresses,
    functions: Vec<(Vec<u8>, Vec<(u32, Hint)>)>,
}

/// A compiled region's ways in, and what it was made of.
pub struct Compiled {
    /// Offsets in the page; a place here is the number of the entry.
    pub entries: Vec<u16>,
    /// Offsets of the starts that are in it, but no ways in.
    pub inner: Vec<u16>,
    /// Of each entry, which of the processor's units it needs ([`cpu::state::Units`]).
    pub units: Vec<u32>,
    /// The lines of 64 bytes of the page, a bit for each.
    pub lines: u64,
}

mod id {
    pub const CUSTOM: u8 = 0;
    pub const TYPES: u8 = 1;
    pub const IMPORTS: u8 = 2;
    pub const FUNCTIONS: u8 = 3;
    pub const ELEMENTS: u8 = 9;
    pub const CODE: u8 = 10;
}

impl Module {
    pub fn new(addresses: Addresses) -> Module {
        Module { addresses, functions: Vec::new() }
    }

    /// How many functions it has.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// Compiles what is reachable from some places in a page of code by ways to places that are wanted:
    /// code that was never executed is left out. `mode`: that of the processor
    /// ([`cpu::state::Mode`]), one that is compiled. None where the first instructions of all starts are
    /// none that are compiled. `windows`: whether accesses to the same few bytes share a look at the TLB.
    ///
    /// # Panics
    /// Where `bytes` is no page.
    pub fn add(
        &mut self,
        mode: u32,
        bytes: &[u8],
        starts: &[Start],
        windows: bool,
        wanted: &dyn Fn(u16) -> Wanted,
    ) -> Option<Compiled> {
        assert_eq!(bytes.len(), crate::PAGE);
        let (function, hints, compiled) = region::compile(self.addresses, mode, bytes, starts, windows, wanted)?;
        self.functions.push((function, hints));
        Some(compiled)
    }

    /// The module's bytes.
    pub fn finish(self) -> Vec<u8> {
        let mut module = b"\0asm\x01\0\0\0".to_vec();

        let mut types = Vec::new();
        unsigned(&mut types, FUNCTION_TYPE + 1);
        for (parameters, result) in
            IMPORTS.iter().map(|&(_, parameters, result)| (parameters, result)).chain([(&PARAMETERS[..], Type::I32)])
        {
            types.push(0x60);
            unsigned(&mut types, parameters.len() as u32);
            types.extend(parameters.iter().map(|&kind| kind as u8));
            types.extend([1, result as u8]);
        }
        section(&mut module, id::TYPES, &types);

        let mut imports = Vec::new();
        unsigned(&mut imports, IMPORTS.len() as u32 + 3);
        let mut import = |field: &str, description: &[u8]| {
            name(&mut imports, "env");
            name(&mut imports, field);
            imports.extend_from_slice(description);
        };
        for (number, (field, ..)) in IMPORTS.iter().enumerate() {
            import(field, &[0, number as u8]);
        }
        // A table of functions and a memory without maximum, and a constant of 32 bits.
        import("table", &[1, 0x70, 0, 0]);
        import("memory", &[2, 0, 1]);
        import("base", &[3, Type::I32 as u8, 0]);
        section(&mut module, id::IMPORTS, &imports);

        let count = self.functions.len() as u32;
        let mut functions = Vec::new();
        unsigned(&mut functions, count);
        for _ in 0..count {
            unsigned(&mut functions, FUNCTION_TYPE);
        }
        section(&mut module, id::FUNCTIONS, &functions);

        let first = IMPORTS.len() as u32;
        let mut elements = Vec::new();
        // One segment that is copied into table 0 at the global's place.
        elements.extend([1, 0, 0x23, 0, wasm::op::END]);
        unsigned(&mut elements, count);
        for number in 0..count {
            unsigned(&mut elements, first + number);
        }
        section(&mut module, id::ELEMENTS, &elements);

        let mut hints = Vec::new();
        name(&mut hints, "metadata.code.branch_hint");
        unsigned(&mut hints, count);
        for (number, (_, own)) in self.functions.iter().enumerate() {
            unsigned(&mut hints, first + number as u32);
            unsigned(&mut hints, own.len() as u32);
            for &(at, hint) in own {
                unsigned(&mut hints, at);
                hints.extend([1, hint as u8]);
            }
        }
        section(&mut module, id::CUSTOM, &hints);

        let mut code = Vec::new();
        unsigned(&mut code, count);
        for (body, _) in &self.functions {
            unsigned(&mut code, body.len() as u32);
            code.extend_from_slice(body);
        }
        section(&mut module, id::CODE, &code);
        module
    }
}
