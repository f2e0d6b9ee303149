//! How devices are saved: nested sections, each with a tag, a version and a length.
//!
//! A section is its tag (4 bytes), its version (u16), the length of its content (u32), and the content:
//! fields one after the other, little-endian, vectors with their length (u32) in front. What is restored
//! may be anything: the result is an error or a device whose next steps are as safe as ever.

use alloc::vec::Vec;

/// Why a state cannot be restored. The device may have taken some of it over: it must not be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StateError {
    /// It ends too early.
    Truncated,
    /// Another section than this one was expected.
    Section { expected: [u8; 4], found: [u8; 4] },
    /// The section is of a version that this code does not know.
    Version { section: [u8; 4], version: u16 },
    /// A section is longer than what this version has in it.
    Surplus,
    /// A value that a field cannot have.
    Value(&'static str),
}

/// Something that is saved as a section.
pub trait State {
    fn save(&self, out: &mut Vec<u8>);
    fn restore(&mut self, reader: &mut Reader) -> Result<(), StateError>;

    /// Restores from bytes that have nothing else in them.
    fn restore_all(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut reader = Reader::new(bytes);
        self.restore(&mut reader)?;
        reader.finish()
    }
}

/// Appends a section whose content `content` appends.
pub fn save_section(out: &mut Vec<u8>, tag: &[u8; 4], version: u16, content: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(tag);
    version.save(out);
    let length_at = out.len();
    0u32.save(out);
    content(out);
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

/// What is left of a state, or of a section.
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], StateError> {
        if length > self.bytes.len() {
            return Err(StateError::Truncated);
        }
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        Ok(taken)
    }

    /// The content of the section that comes next.
    pub fn section(&mut self, tag: &[u8; 4], version: u16) -> Result<Reader<'a>, StateError> {
        let found = <[u8; 4]>::load(self)?;
        if found != *tag {
            return Err(StateError::Section { expected: *tag, found });
        }
        let found = u16::load(self)?;
        let length = u32::load(self)?;
        if found != version {
            return Err(StateError::Version { section: *tag, version: found });
        }
        Ok(Reader { bytes: self.take(length as usize)? })
    }

    /// Makes sure that all was read.
    pub fn finish(self) -> Result<(), StateError> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(StateError::Surplus)
        }
    }
}

/// A value within a section.
pub trait Field: Sized {
    fn save(&self, out: &mut Vec<u8>);
    fn load(reader: &mut Reader) -> Result<Self, StateError>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Field for $number {
            fn save(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn load(reader: &mut Reader) -> Result<Self, StateError> {
                let bytes = reader.take(core::mem::size_of::<$number>())?;
                Ok(<$number>::from_le_bytes(bytes.try_into().map_err(|_| StateError::Truncated)?))
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, i64);

impl Field for bool {
    fn save(&self, out: &mut Vec<u8>) {
        u8::from(*self).save(out);
    }

    fn load(reader: &mut Reader) -> Result<Self, StateError> {
        match u8::load(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(StateError::Value("a truth value")),
        }
    }
}

impl<T: Field + Copy + Default, const N: usize> Field for [T; N] {
    fn save(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|item| item.save(out));
    }

    fn load(reader: &mut Reader) -> Result<Self, StateError> {
        let mut items = [T::default(); N];
        for item in &mut items {
            *item = T::load(reader)?;
        }
        Ok(items)
    }
}

impl<T: Field> Field for Vec<T> {
    fn save(&self, out: &mut Vec<u8>) {
        (self.len() as u32).save(out);
        self.iter().for_each(|item| item.save(out));
    }

    /// Takes no more memory than a small multiple of what there is to read.
    fn load(reader: &mut Reader) -> Result<Self, StateError> {
        let length = u32::load(reader)?;
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(T::load(reader)?);
        }
        Ok(items)
    }
}

impl<T: Field> Field for Option<T> {
    fn save(&self, out: &mut Vec<u8>) {
        self.is_some().save(out);
        if let Some(value) = self {
            value.save(out);
        }
    }

    fn load(reader: &mut Reader) -> Result<Self, StateError> {
        Ok(if bool::load(reader)? { Some(T::load(reader)?) } else { None })
    }
}

/// Implements [`State`] for a struct by a list of its fields, in a section with this tag and version.
/// All values that the fields' types have must be harmless.
#[macro_export]
macro_rules! saved_fields {
    ($type:ty, $tag:literal, $version:literal, [$($field:ident),* $(,)?]) => {
        impl $crate::state::State for $type {
            fn save(&self, out: &mut alloc::vec::Vec<u8>) {
                $crate::state::save_section(out, $tag, $version, |out| {
                    $($crate::state::Field::save(&self.$field, out);)*
                });
            }

            fn restore(&mut self, reader: &mut $crate::state::Reader) -> Result<(), $crate::state::StateError> {
                let mut section = reader.section($tag, $version)?;
                $(self.$field = $crate::state::Field::load(&mut section)?;)*
                section.finish()
            }
        }
    };
}
