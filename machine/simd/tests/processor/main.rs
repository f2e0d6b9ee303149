//! Every operation against this computer's processor.
#![cfg(target_arch = "x86_64")]

mod oracle;
mod scalar;
mod tables;
mod values;
