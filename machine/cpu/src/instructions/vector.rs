//! MMX and SSE.
use iced_x86::Instruction;
use crate::decode::{Handler, Op};
pub fn select(_: &Instruction, _: &mut Op) -> Option<Handler> { None }
