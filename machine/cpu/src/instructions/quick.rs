//! The handlers that the interpreter's loop has in itself.
//!
//! A call of a function that is found in an instruction costs as much as what most instructions do. So the
//! loop has the code of the most frequent ones in a branch table: those that compilers make most of their
//! code of, with operands of 32 and 64 bits, as a start of bash, Perl and Python executes them.

use super::arithmetic::{to_memory, to_register, Add, And, Cmp, Immediate, InMemory, Register, Sub, Test, Xor};
use super::control::{call, conditional_jump, jump, ret};
use super::moves::{
    extend, load_address, move_immediate, move_load, move_register, move_store, pop_register, push_register,
    store_immediate,
};
use super::{Byte, Dword, Qword};
use crate::decode::{Handler, Op};
use crate::{Cpu, Step};

macro_rules! quick {
    ($($number:literal => $handler:expr,)*) => {
        const HANDLERS: &[(Handler, u8)] = &[$(($handler, $number),)*];

        /// Executes an instruction.
        #[inline(always)]
        pub fn execute(cpu: &mut Cpu, op: &Op) -> Step {
            match op.quick {
                $($number => $handler(cpu, op),)*
                _ => (op.handler)(cpu, op),
            }
        }
    };
}

quick! {
    1 => move_register::<Dword>,
    2 => move_register::<Qword>,
    3 => move_load::<Dword>,
    4 => move_load::<Qword>,
    5 => move_store::<Dword>,
    6 => move_store::<Qword>,
    7 => move_immediate::<Dword>,
    8 => store_immediate::<Dword>,
    9 => load_address::<Dword>,
    10 => load_address::<Qword>,
    11 => extend::<false, false, Byte, Dword>,
    12 => extend::<false, true, Byte, Dword>,
    13 => push_register::<Dword>,
    14 => push_register::<Qword>,
    15 => pop_register::<Dword>,
    16 => pop_register::<Qword>,
    17 => to_register::<Add, Immediate, Dword>,
    18 => to_register::<Add, Immediate, Qword>,
    19 => to_register::<Add, Register, Dword>,
    20 => to_register::<Add, Register, Qword>,
    21 => to_register::<Sub, Immediate, Dword>,
    22 => to_register::<Sub, Immediate, Qword>,
    23 => to_register::<Sub, Register, Dword>,
    24 => to_register::<And, Immediate, Dword>,
    25 => to_register::<Xor, Register, Dword>,
    26 => to_register::<Cmp, Immediate, Byte>,
    27 => to_register::<Cmp, Immediate, Dword>,
    28 => to_register::<Cmp, Immediate, Qword>,
    29 => to_register::<Cmp, Register, Dword>,
    30 => to_register::<Cmp, Register, Qword>,
    31 => to_register::<Cmp, InMemory, Dword>,
    32 => to_memory::<Cmp, Immediate, Byte>,
    33 => to_memory::<Cmp, Immediate, Dword>,
    34 => to_register::<Test, Register, Byte>,
    35 => to_register::<Test, Register, Dword>,
    36 => to_register::<Test, Register, Qword>,
    37 => to_register::<Test, Immediate, Byte>,
    38 => conditional_jump::<0x2>,
    39 => conditional_jump::<0x3>,
    40 => conditional_jump::<0x4>,
    41 => conditional_jump::<0x5>,
    42 => conditional_jump::<0x6>,
    43 => conditional_jump::<0x7>,
    44 => conditional_jump::<0x8>,
    45 => conditional_jump::<0x9>,
    46 => conditional_jump::<0xc>,
    47 => conditional_jump::<0xd>,
    48 => conditional_jump::<0xe>,
    49 => conditional_jump::<0xf>,
    50 => jump,
    51 => call::<Dword>,
    52 => call::<Qword>,
    53 => ret::<Dword>,
    54 => ret::<Qword>,
}

/// What [`Op::quick`] is for an instruction with this handler.
pub fn number(handler: Handler) -> u8 {
    let known = HANDLERS.iter().find(|&&(quick, _)| quick as usize == handler as usize);
    known.map_or(0, |&(_, number)| number)
}
