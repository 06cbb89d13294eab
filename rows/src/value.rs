//! Values: from the text in which MySQL sends a value to the bytes in which PostgreSQL sends and takes it in binary
//! COPY. One function per type; copy writes what it gives, check compares with it.
//!
//! A value that PostgreSQL cannot hold has a reason, never a substitute.

use crate::json;

/// How a column's values are written. The numbers are those of `rows/native.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Int2,
    Int4,
    Int8,
    Bool,
    BitBool,
    Bits(u32),
    Numeric,
    Float4,
    Float8,
    Text,
    Enum,
    Bytea,
    Date,
    Timestamp,
    Time,
    Interval,
    Jsonb,
}

impl Codec {
    pub fn of(number: u32, parameter: u32) -> Option<Codec> {
        Some(match number {
            1 => Codec::Int2,
            2 => Codec::Int4,
            3 => Codec::Int8,
            4 => Codec::Bool,
            5 => Codec::BitBool,
            6 if (1..=64).contains(&parameter) => Codec::Bits(parameter),
            7 => Codec::Numeric,
            8 => Codec::Float4,
            9 => Codec::Float8,
            10 => Codec::Text,
            11 => Codec::Enum,
            12 => Codec::Bytea,
            13 => Codec::Date,
            14 => Codec::Timestamp,
            15 => Codec::Time,
            16 => Codec::Interval,
            17 => Codec::Jsonb,
            _ => return None,
        })
    }
}

/// Why a value cannot be carried. The numbers are those of `rows/native.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    ZeroDate = 1,
    NulCharacter = 2,
    InvalidUtf8 = 3,
    OutOfRange = 4,
    NotBoolean = 5,
    EmptyEnum = 6,
    JsonNul = 7,
    Malformed = 8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    Checked,
    Unchecked,
}

#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub codec: Codec,
    /// Whether COPY's rows have it (the source's result set always does).
    pub carried: bool,
    /// Zero and partial dates are NULL.
    pub zero_is_null: bool,
    /// The empty string is a declared member of the ENUM.
    pub empty_is_member: bool,
    /// float4: equal at 6 significant digits is equal (they are what MySQL prints).
    pub six_digits: bool,
}

impl Column {
    fn at_six_digits(&self) -> bool {
        self.six_digits && self.codec == Codec::Float4
    }
}

/// PostgreSQL holds no value of a gigabyte or more.
const LONGEST: usize = (1 << 30) - 64;
const MOST_DIGITS: usize = 1000;
const MICROSECONDS: i64 = 1_000_000;
pub const DAY: i64 = 86_400 * MICROSECONDS;

/// Appends NULL as a field of a COPY row.
pub fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1i32).to_be_bytes());
}

/// Appends a field of a COPY row: the value's length and the value. On an error `out` may end in a part of it.
///
/// With `Texts::Unchecked` a text may be none that PostgreSQL can hold: good for comparing it with one that it holds.
pub fn encode(column: &Column, text: &[u8], texts: Texts, out: &mut Vec<u8>) -> Result<(), Reason> {
    match column.codec {
        Codec::Int2 => {
            let value = i16::try_from(integer(text)?).map_err(|_| Reason::OutOfRange)?;
            fixed(out, value.to_be_bytes());
        }
        Codec::Int4 => {
            let value = i32::try_from(integer(text)?).map_err(|_| Reason::OutOfRange)?;
            fixed(out, value.to_be_bytes());
        }
        Codec::Int8 => fixed(out, integer(text)?.to_be_bytes()),
        Codec::Bool => match integer(text)? {
            bit @ (0 | 1) => fixed(out, [bit as u8]),
            _ => return Err(Reason::NotBoolean),
        },
        Codec::BitBool => match text {
            [bit @ (0 | 1)] => fixed(out, [*bit]),
            _ => return Err(Reason::Malformed),
        },
        Codec::Bits(width) => bits(width, text, out)?,
        Codec::Numeric => numeric(text, out)?,
        Codec::Float4 => {
            let value = float(text)? as f32;
            if value.is_infinite() {
                return Err(Reason::OutOfRange);
            }
            fixed(out, value.to_be_bytes());
        }
        Codec::Float8 => fixed(out, float(text)?.to_be_bytes()),
        Codec::Text => plain(text, texts, out)?,
        Codec::Enum => {
            if text.is_empty() && !column.empty_is_member {
                return Err(Reason::EmptyEnum);
            }
            plain(text, texts, out)?;
        }
        Codec::Bytea => variable(out, &[], text)?,
        Codec::Date => match days(text)? {
            Some(days) => fixed(out, days.to_be_bytes()),
            None if column.zero_is_null => null(out),
            None => return Err(Reason::ZeroDate),
        },
        Codec::Timestamp => match timestamp(text)? {
            Some(microseconds) => fixed(out, microseconds.to_be_bytes()),
            None if column.zero_is_null => null(out),
            None => return Err(Reason::ZeroDate),
        },
        Codec::Time => {
            let value = duration(text)?;
            if !(0..DAY).contains(&value) || text.first() == Some(&b'-') {
                return Err(Reason::OutOfRange);
            }
            fixed(out, value.to_be_bytes());
        }
        Codec::Interval => {
            let mut value = [0; 16];
            value[..8].copy_from_slice(&duration(text)?.to_be_bytes());
            fixed(out, value);
        }
        Codec::Jsonb => jsonb(text, texts, out)?,
    }
    Ok(())
}

#[inline]
fn fixed<const N: usize>(out: &mut Vec<u8>, value: [u8; N]) {
    let mut field = [0; 20];
    field[..4].copy_from_slice(&(N as i32).to_be_bytes());
    field[4..4 + N].copy_from_slice(&value);
    out.extend_from_slice(&field[..4 + N]);
}

fn variable(out: &mut Vec<u8>, prefix: &[u8], value: &[u8]) -> Result<(), Reason> {
    let length = prefix.len() + value.len();
    if length > LONGEST {
        return Err(Reason::OutOfRange);
    }
    out.extend_from_slice(&(length as i32).to_be_bytes());
    out.extend_from_slice(prefix);
    out.extend_from_slice(value);
    Ok(())
}

fn integer(text: &[u8]) -> Result<i64, Reason> {
    let (negative, digits) = sign(text);
    if digits.is_empty() {
        return Err(Reason::Malformed);
    }
    let mut value: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Reason::Malformed);
        }
        // Beyond 2^60 the next digit leaves the range of both signs, so what is kept there need not be right.
        value = value.min(1 << 60) * 10 + u64::from(digit);
    }
    let limit = i64::MAX as u64 + u64::from(negative);
    if value > limit {
        return Err(Reason::OutOfRange);
    }
    Ok(if negative { (value as i64).wrapping_neg() } else { value as i64 })
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    }
}

/// BIT(n): MySQL sends a number in the least bytes that hold n bits; PostgreSQL fills its bytes from the left.
fn bits(width: u32, text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    let bytes = width.div_ceil(8) as usize;
    if text.len() != bytes {
        return Err(Reason::Malformed);
    }
    let number = text.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
    if width < 64 && number >> width != 0 {
        return Err(Reason::OutOfRange);
    }
    let aligned = (number << (64 - width)).to_be_bytes();
    variable(out, &width.to_be_bytes(), &aligned[..bytes])
}

/// As `numeric_send` gives it: how many groups of four digits, the first one's weight, sign, digits after the point,
/// then the groups, of which neither the first nor the last is zero.
fn numeric(text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    let (negative, digits) = sign(text);
    let point = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..point], digits.get(point + 1..).unwrap_or(&[]));
    if whole.len() + fraction.len() == 0 {
        return Err(Reason::Malformed);
    }
    let zeros = whole.iter().take_while(|&&digit| digit == b'0').count();
    let whole = &whole[zeros..];
    if whole.len() + fraction.len() > MOST_DIGITS {
        return Err(Reason::OutOfRange);
    }
    let field = out.len();
    out.extend_from_slice(&[0; 12]);
    let groups = out.len();
    let mut weight = whole.len().div_ceil(4) as i16 - 1;
    let mut missing = (whole.len() + 3) % 4 + 1;
    let mut group = 0u16;
    let padding = &b"000"[..(4 - fraction.len() % 4) % 4];
    for part in [whole, fraction, padding] {
        for &byte in part {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return Err(Reason::Malformed);
            }
            group = group * 10 + u16::from(digit);
            missing -= 1;
            if missing == 0 {
                if group == 0 && out.len() == groups {
                    weight -= 1;
                } else {
                    out.extend_from_slice(&group.to_be_bytes());
                }
                (group, missing) = (0, 4);
            }
        }
    }
    while out.len() > groups && out.ends_with(&[0, 0]) {
        out.truncate(out.len() - 2);
    }
    let length = out.len() - groups;
    let zero = length == 0;
    let header = &mut out[field..groups];
    header[..4].copy_from_slice(&(8 + length as i32).to_be_bytes());
    header[4..6].copy_from_slice(&(length as i16 / 2).to_be_bytes());
    header[6..8].copy_from_slice(&if zero { 0 } else { weight }.to_be_bytes());
    header[8..10].copy_from_slice(&if negative && !zero { 0x4000u16 } else { 0 }.to_be_bytes());
    header[10..12].copy_from_slice(&(fraction.len() as u16).to_be_bytes());
    Ok(())
}

fn float(text: &[u8]) -> Result<f64, Reason> {
    let text = std::str::from_utf8(text).map_err(|_| Reason::Malformed)?;
    let value: f64 = text.parse().map_err(|_| Reason::Malformed)?;
    if value.is_finite() {
        return Ok(value);
    }
    // Rust reads "inf" and "nan" as well.
    Err(if text.contains(|character: char| character.is_ascii_digit()) {
        Reason::OutOfRange
    } else {
        Reason::Malformed
    })
}

fn plain(text: &[u8], texts: Texts, out: &mut Vec<u8>) -> Result<(), Reason> {
    if texts == Texts::Checked && !is_plain_ascii(text) {
        std::str::from_utf8(text).map_err(|_| Reason::InvalidUtf8)?;
        if text.contains(&0) {
            return Err(Reason::NulCharacter);
        }
    }
    variable(out, &[], text)
}

/// Whether all bytes are from 1 to 127: eight at a time, as most texts are such.
fn is_plain_ascii(text: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let words = text.chunks_exact(8);
    let rest = words.remainder();
    let high = words.fold(0, |high, word| {
        let word = word.try_into().map_or(0, u64::from_ne_bytes);
        // The high bit of a byte: it was set, or the byte was 0 (a borrow from below needs a 0 there).
        high | (word | word.wrapping_sub(ONES)) & (ONES << 7)
    });
    high == 0 && rest.iter().all(|byte| (1..=127).contains(byte))
}

fn jsonb(text: &[u8], texts: Texts, out: &mut Vec<u8>) -> Result<(), Reason> {
    if texts == Texts::Checked {
        std::str::from_utf8(text).map_err(|_| Reason::InvalidUtf8)?;
        if text.is_empty() || text.contains(&0) {
            return Err(Reason::Malformed);
        }
        if json::has_nul(text) {
            return Err(Reason::JsonNul);
        }
    }
    variable(out, &[1], text)
}

/// A number of digits; `wrong` is set where they are none.
#[inline]
fn number(digits: &[u8], wrong: &mut bool) -> u32 {
    digits.iter().fold(0, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        *wrong |= digit > 9;
        number * 10 + u32::from(digit)
    })
}

/// Days since 2000-01-01 of `YYYY-MM-DD`; None for a date without year, month or day.
fn days(text: &[u8]) -> Result<Option<i32>, Reason> {
    let &[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = text else { return Err(Reason::Malformed) };
    let mut wrong = false;
    let year = number(&[y0, y1, y2, y3], &mut wrong);
    let (month, day) = (number(&[m0, m1], &mut wrong), number(&[d0, d1], &mut wrong));
    if wrong {
        return Err(Reason::Malformed);
    }
    if year == 0 || month == 0 || day == 0 {
        return Ok(None);
    }
    if month > 12 || day > days_of(year, month) {
        return Err(Reason::OutOfRange);
    }
    // Years that begin in March put the leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let since_march = (153 * month + 2) / 5 + day - 1;
    let total = year * 365 + year / 4 - year / 100 + year / 400 + since_march;
    Ok(Some(total as i32 - 730_425))
}

fn days_of(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Microseconds since 2000-01-01 00:00:00 of `YYYY-MM-DD HH:MM:SS[.ffffff]`; None for a zero or partial date.
fn timestamp(text: &[u8]) -> Result<Option<i64>, Reason> {
    let (Some(date), Some(b" "), Some(time)) = (text.get(..10), text.get(10..11), text.get(11..)) else {
        return Err(Reason::Malformed);
    };
    let (days, time) = (days(date)?, clock(time)?);
    if time >= DAY {
        return Err(Reason::OutOfRange);
    }
    Ok(days.map(|days| i64::from(days) * DAY + time))
}

/// Microseconds of `[-]HHH:MM:SS[.ffffff]`.
fn duration(text: &[u8]) -> Result<i64, Reason> {
    let (negative, time) = sign(text);
    let value = clock(time)?;
    Ok(if negative { -value } else { value })
}

/// Microseconds of `HH:MM:SS[.ffffff]`, where there may be one more digit of hours.
fn clock(text: &[u8]) -> Result<i64, Reason> {
    let mut wrong = false;
    let (hours, rest) = match *text {
        [h0, h1, b':', ref rest @ ..] => (number(&[h0, h1], &mut wrong), rest),
        [h0, h1, h2, b':', ref rest @ ..] => (number(&[h0, h1, h2], &mut wrong), rest),
        _ => return Err(Reason::Malformed),
    };
    let &[m0, m1, b':', s0, s1, ref rest @ ..] = rest else { return Err(Reason::Malformed) };
    let (minutes, seconds) = (number(&[m0, m1], &mut wrong), number(&[s0, s1], &mut wrong));
    let microseconds = match *rest {
        [] => 0,
        [b'.', f0, f1, f2, f3, f4, f5] => number(&[f0, f1, f2, f3, f4, f5], &mut wrong),
        [b'.', ref fraction @ ..] if (1..=5).contains(&fraction.len()) => {
            number(fraction, &mut wrong) * [100_000, 10_000, 1000, 100, 10][fraction.len() - 1]
        }
        _ => return Err(Reason::Malformed),
    };
    if wrong {
        return Err(Reason::Malformed);
    }
    if minutes > 59 || seconds > 59 {
        return Err(Reason::OutOfRange);
    }
    Ok(i64::from(hours * 3600 + minutes * 60 + seconds) * MICROSECONDS + i64::from(microseconds))
}

/// Whether two values in PostgreSQL's form are the same, where their bytes may differ.
pub fn same(column: &Column, a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    match column.codec {
        Codec::Float4 | Codec::Float8 => match (float_value(a), float_value(b)) {
            (Some(first), Some(second)) if column.at_six_digits() => six_digits(first) == six_digits(second),
            (Some(first), Some(second)) => first == second,
            _ => false,
        },
        Codec::Interval => span(a).is_some() && span(a) == span(b),
        Codec::Jsonb => match (a, b) {
            ([1, first @ ..], [1, second @ ..]) => json::same(first, second),
            _ => false,
        },
        _ => false,
    }
}

/// Appends a value so that two values have the same bytes only if they are the same. (Equal JSON may still differ
/// here: a number of more than 17 digits against a shorter one. It then is looked at again.)
pub fn normalise(column: &Column, value: &[u8], out: &mut Vec<u8>) {
    match column.codec {
        Codec::Float4 | Codec::Float8 => match float_value(value) {
            Some(number) if column.at_six_digits() => out.extend_from_slice(six_digits(number).as_bytes()),
            Some(0.0) => out.resize(out.len() + value.len(), 0),
            _ => out.extend_from_slice(value),
        },
        Codec::Interval => match span(value) {
            Some((months, microseconds)) => {
                out.extend_from_slice(&months.to_be_bytes());
                out.extend_from_slice(&microseconds.to_be_bytes());
            }
            None => out.extend_from_slice(value),
        },
        Codec::Jsonb => match value {
            [1, text @ ..] => json::normalise(text, out),
            _ => out.extend_from_slice(value),
        },
        _ => out.extend_from_slice(value),
    }
}

fn float_value(value: &[u8]) -> Option<f64> {
    match value.len() {
        4 => Some(f32::from_be_bytes(value.try_into().ok()?).into()),
        8 => Some(f64::from_be_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

fn six_digits(value: f64) -> String {
    if value == 0.0 {
        "0".into()
    } else {
        format!("{value:.5e}")
    }
}

/// Months and microseconds of an interval; a day is 24 hours (MySQL's TIME knows no other).
fn span(value: &[u8]) -> Option<(i32, i128)> {
    let value: &[u8; 16] = value.try_into().ok()?;
    let microseconds = i64::from_be_bytes(value[..8].try_into().ok()?);
    let days = i32::from_be_bytes(value[8..12].try_into().ok()?);
    let months = i32::from_be_bytes(value[12..].try_into().ok()?);
    Some((months, i128::from(microseconds) + i128::from(days) * i128::from(DAY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(codec: Codec) -> Column {
        Column { codec, carried: true, zero_is_null: false, empty_is_member: false, six_digits: false }
    }

    fn value(codec: Codec, text: &str) -> Result<Vec<u8>, Reason> {
        let mut out = Vec::new();
        encode(&column(codec), text.as_bytes(), Texts::Checked, &mut out)?;
        let length = i32::from_be_bytes(out[..4].try_into().unwrap());
        assert_eq!(length as usize, out.len() - 4);
        Ok(out.split_off(4))
    }

    #[test]
    fn integers_end_where_their_type_ends() {
        assert_eq!(value(Codec::Int2, "-32768").unwrap(), [0x80, 0]);
        assert_eq!(value(Codec::Int2, "32768"), Err(Reason::OutOfRange));
        assert_eq!(value(Codec::Int4, "0000000042").unwrap(), [0, 0, 0, 42]);
        assert_eq!(value(Codec::Int8, "-9223372036854775808").unwrap(), i64::MIN.to_be_bytes());
        assert_eq!(value(Codec::Int8, "9223372036854775808"), Err(Reason::OutOfRange));
        for text in ["", "-", "1.0", "1e3", "+1", " 1"] {
            assert_eq!(value(Codec::Int8, text), Err(Reason::Malformed), "{text}");
        }
    }

    #[test]
    fn numerics_are_as_postgres_sends_them() {
        let fields = |text| {
            let bytes = value(Codec::Numeric, text).unwrap();
            bytes.chunks(2).map(|pair| i16::from_be_bytes(pair.try_into().unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(fields("0"), [0, 0, 0, 0]);
        assert_eq!(fields("-0.00"), [0, 0, 0, 2]);
        assert_eq!(fields("12345.678"), [3, 1, 0, 3, 1, 2345, 6780]);
        assert_eq!(fields("-0.00001234"), [1, -2, 0x4000, 8, 1234]);
        assert_eq!(fields("00120000.0000"), [1, 1, 0, 4, 12]);
        assert_eq!(fields("18446744073709551615"), [5, 4, 0, 0, 1844, 6744, 737, 955, 1615]);
        for text in ["", "-", ".", "1.2.3", "1e5", "NaN"] {
            assert_eq!(value(Codec::Numeric, text), Err(Reason::Malformed), "{text}");
        }
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let mut expected = -730_119;
        for year in 1..=9999 {
            for month in 1..=12 {
                for day in 1..=days_of(year, month) {
                    assert_eq!(days(format!("{year:04}-{month:02}-{day:02}").as_bytes()), Ok(Some(expected)));
                    expected += 1;
                }
            }
        }
        assert_eq!(days(b"2000-01-01"), Ok(Some(0)));
    }

    #[test]
    fn dates_that_are_none() {
        for text in ["0000-00-00", "2024-00-10", "2024-01-00", "0000-05-05"] {
            assert_eq!(value(Codec::Date, text), Err(Reason::ZeroDate), "{text}");
            let mut out = Vec::new();
            let nullable = Column { zero_is_null: true, ..column(Codec::Date) };
            encode(&nullable, text.as_bytes(), Texts::Checked, &mut out).unwrap();
            assert_eq!(out, [0xff; 4]);
        }
        assert_eq!(value(Codec::Date, "2023-02-29"), Err(Reason::OutOfRange));
        assert_eq!(value(Codec::Timestamp, "0000-00-00 00:00:00"), Err(Reason::ZeroDate));
        assert_eq!(value(Codec::Timestamp, "2024-02-29 23:59:60"), Err(Reason::OutOfRange));
    }

    #[test]
    fn times() {
        let micros = |codec, text| value(codec, text).map(|v| i64::from_be_bytes(v[..8].try_into().unwrap()));
        assert_eq!(micros(Codec::Timestamp, "2000-01-02 00:00:00.5"), Ok(DAY + 500_000));
        assert_eq!(micros(Codec::Time, "23:59:59.999999"), Ok(DAY - 1));
        assert_eq!(micros(Codec::Time, "24:00:00"), Err(Reason::OutOfRange));
        assert_eq!(micros(Codec::Time, "-00:00:01"), Err(Reason::OutOfRange));
        assert_eq!(micros(Codec::Interval, "-838:59:59.000001"), Ok(-(3_020_399_000_001)));
        assert_eq!(micros(Codec::Interval, "1:00:00"), Err(Reason::Malformed));
    }

    #[test]
    fn bits_go_to_the_left() {
        let mut out = Vec::new();
        encode(&column(Codec::Bits(12)), &[0x0a, 0xbc], Texts::Checked, &mut out).unwrap();
        assert_eq!(out, [0, 0, 0, 6, 0, 0, 0, 12, 0xab, 0xc0]);
        assert_eq!(encode(&column(Codec::Bits(12)), &[0x1a, 0xbc], Texts::Checked, &mut out), Err(Reason::OutOfRange));
        assert_eq!(encode(&column(Codec::Bits(64)), &[0xff; 8], Texts::Checked, &mut out), Ok(()));
    }

    #[test]
    fn texts_that_postgres_refuses() {
        assert_eq!(value(Codec::Text, "a\0"), Err(Reason::NulCharacter));
        assert_eq!(encode(&column(Codec::Text), b"\xff", Texts::Checked, &mut Vec::new()), Err(Reason::InvalidUtf8));
        assert_eq!(value(Codec::Enum, ""), Err(Reason::EmptyEnum));
        assert_eq!(value(Codec::Jsonb, r#"["\u0000"]"#), Err(Reason::JsonNul));
        assert_eq!(value(Codec::Jsonb, r#"["\\u0000"]"#).unwrap()[0], 1);
        assert_eq!(value(Codec::Bool, "2"), Err(Reason::NotBoolean));
    }

    #[test]
    fn equal_values_of_different_bytes() {
        let float = column(Codec::Float8);
        assert!(same(&float, &(-0.0f64).to_be_bytes(), &0.0f64.to_be_bytes()));
        let mut forms = [Vec::new(), Vec::new()];
        normalise(&float, &(-0.0f64).to_be_bytes(), &mut forms[0]);
        normalise(&float, &0.0f64.to_be_bytes(), &mut forms[1]);
        assert_eq!(forms[0], forms[1]);
        let six = Column { six_digits: true, ..column(Codec::Float4) };
        assert!(same(&six, &0.1234567f32.to_be_bytes(), &0.123457f32.to_be_bytes()));
        assert!(!same(&six, &0.123456f32.to_be_bytes(), &0.123457f32.to_be_bytes()));
        let mut hours = [0; 16];
        hours[..8].copy_from_slice(&(25 * DAY / 24).to_be_bytes());
        let mut day = [0; 16];
        day[..8].copy_from_slice(&(DAY / 24).to_be_bytes());
        day[11] = 1;
        assert!(same(&column(Codec::Interval), &hours, &day));
    }
}
