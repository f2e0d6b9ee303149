//! Writes DER (X.690), as far as certificates need it.

use alloc::vec::Vec;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// A value with its tag and length.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 4);
    out.push(tag);
    let size = content.len();
    match size {
        0..=0x7f => out.push(size as u8),
        0x80..=0xff => out.extend([0x81, size as u8]),
        _ => {
            assert!(size <= 0xffff, "certificates are small");
            out.extend([0x82, (size >> 8) as u8, size as u8]);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A sequence of values.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(SEQUENCE, &parts.concat())
}

/// A set with one value.
pub(crate) fn set(part: &[u8]) -> Vec<u8> {
    value(SET, part)
}

/// `true`; the other truth is the default wherever it is used, and left out.
pub(crate) fn yes() -> Vec<u8> {
    value(BOOLEAN, &[0xff])
}

/// A positive number of which the first bit is not set.
pub(crate) fn integer(bytes: &[u8]) -> Vec<u8> {
    value(INTEGER, bytes)
}

/// Bits, of which `unused` at the end do not count.
pub(crate) fn bits(bytes: &[u8], unused: u8) -> Vec<u8> {
    value(BIT_STRING, &[&[unused], bytes].concat())
}

/// Bytes.
pub(crate) fn octets(bytes: &[u8]) -> Vec<u8> {
    value(OCTET_STRING, bytes)
}

/// An object identifier, given as it is encoded.
pub(crate) fn identifier(encoded: &[u8]) -> Vec<u8> {
    value(OBJECT_IDENTIFIER, encoded)
}

/// A text.
pub(crate) fn text(text: &str) -> Vec<u8> {
    value(UTF8_STRING, text.as_bytes())
}

/// A value behind a tag of its own with a number.
pub(crate) fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    value(0xa0 | number, content)
}

/// A value with a number in the place of its own tag.
pub(crate) fn implicit(number: u8, content: &[u8]) -> Vec<u8> {
    value(0x80 | number, content)
}

/// A time in seconds since 1970 (RFC 5280, section 4.1.2.5).
pub(crate) fn time(seconds: u64) -> Vec<u8> {
    let (year, month, day) = date(seconds / 86_400);
    let second = seconds % 86_400;
    let parts = [month, day, second / 3600, second / 60 % 60, second % 60];
    let mut digits = Vec::new();
    let recent = year < 2050;
    if !recent {
        two_digits(&mut digits, year / 100);
    }
    two_digits(&mut digits, year % 100);
    for part in parts {
        two_digits(&mut digits, part);
    }
    digits.push(b'Z');
    value(if recent { UTC_TIME } else { GENERALIZED_TIME }, &digits)
}

fn two_digits(out: &mut Vec<u8>, number: u64) {
    out.extend([b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]);
}

/// Year, month and day of a day since 1970, in the Gregorian calendar.
fn date(day: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // Count from a 1st of March on, so that the day that leap years have more is the last one.
    let day = day + 719_468;
    let era = day / DAYS_OF_400_YEARS;
    let day = day % DAYS_OF_400_YEARS;
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let first = (153 * month + 2) / 5;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + later, month, day - first + 1)
}
