//! stub
use crate::control::Control;
use crate::f80::F80;
use crate::round::Rounded;
/// x
pub fn is_out_of_range(_: F80) -> bool { false }
/// x
pub fn sine(_: Control, x: F80) -> Rounded { (x, 0) }
/// x
pub fn cosine(_: Control, x: F80) -> Rounded { (x, 0) }
/// x
pub fn tangent(_: Control, x: F80) -> Rounded { (x, 0) }
/// x
pub fn exp2_minus_1(_: Control, x: F80) -> Rounded { (x, 0) }
/// x
pub fn y_log2_x(_: Control, y: F80, _: F80) -> Rounded { (y, 0) }
/// x
pub fn y_log2_x_plus_1(_: Control, y: F80, _: F80) -> Rounded { (y, 0) }
/// x
pub fn arctangent(_: Control, y: F80, _: F80) -> Rounded { (y, 0) }
