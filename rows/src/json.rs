//! JSON: whether two texts are the same value. Objects are sets of members (the last of equal keys counts), arrays are
//! in order, types are told apart; numbers are equal when they are exactly equal, or when the shorter has at most 17
//! significant digits and both are the same double (`contract/values.py` says why).

use std::borrow::Cow;

/// Deeper nesting is taken for malformed (MySQL itself stops at 100).
const DEEPEST: usize = 256;
const DIGITS_OF_A_DOUBLE: usize = 17;
/// No double has more significant digits than this.
const LONGEST_DOUBLE: usize = 767;

enum Value<'a> {
    Null,
    Bool(bool),
    Number(&'a [u8]),
    String(Cow<'a, [u8]>),
    Array(Vec<Value<'a>>),
    /// In the order of the keys' bytes.
    Object(Vec<(Cow<'a, [u8]>, Value<'a>)>),
}

/// Whether both texts are JSON and the same value.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => same_value(&a, &b),
        _ => false,
    }
}

/// Appends a form of the value that is the same for the same values (but see `value::normalise`); malformed text as it
/// is.
pub fn normalise(text: &[u8], out: &mut Vec<u8>) {
    match parse(text) {
        Some(value) => normalise_value(&value, out),
        None => {
            out.push(b'?');
            out.extend_from_slice(text);
        }
    }
}

/// Whether there is an escaped U+0000, which jsonb refuses.
pub fn has_nul(text: &[u8]) -> bool {
    if !text.contains(&b'\\') {
        return false;
    }
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        let escape = &rest[at + 1..];
        if escape.starts_with(b"u0000") {
            return true;
        }
        rest = escape.get(1..).unwrap_or(&[]);
    }
    false
}

fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same_value(&a.1, &b.1))
        }
        _ => false,
    }
}

fn same_number(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    let (first, second) = (Decimal::of(a), Decimal::of(b));
    first == second
        || (first.digits.len().min(second.digits.len()) <= DIGITS_OF_A_DOUBLE
            && double(a).is_some_and(|number| double(b) == Some(number)))
}

fn double(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A number as the digits between its first and last that are not zero, and the power of ten behind them.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Of a text that is a JSON number (or Rust's form of a double).
    fn of(text: &[u8]) -> Decimal {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let end = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
        let (mantissa, power) = (&text[..end], text.get(end + 1..).unwrap_or(&[]));
        let point = mantissa.iter().position(|&byte| byte == b'.').unwrap_or(mantissa.len());
        let mut digits: Vec<u8> = mantissa.iter().copied().filter(u8::is_ascii_digit).collect();
        let mut exponent = small_integer(power) - mantissa.len().saturating_sub(point + 1) as i64;
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent += 1;
        }
        let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
        digits.drain(..zeros);
        if digits.is_empty() {
            return Decimal { negative: false, digits, exponent: 0 };
        }
        Decimal { negative, digits, exponent }
    }
}

/// An exponent. Beyond 10^15 it is cut there: no text is that long, so what differs still differs in practice.
fn small_integer(text: &[u8]) -> i64 {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let value =
        digits.iter().fold(0i64, |value, digit| (value * 10 + i64::from(digit & 15)).min(1_000_000_000_000_000));
    if negative {
        -value
    } else {
        value
    }
}

fn normalise_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(value) => out.push(if *value { b't' } else { b'f' }),
        Value::Number(text) => normalise_number(text, out),
        Value::String(text) => framed(b's', text, out),
        Value::Array(items) => {
            out.push(b'[');
            items.iter().for_each(|item| normalise_value(item, out));
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (key, value) in members {
                framed(b'k', key, out);
                normalise_value(value, out);
            }
            out.push(b'}');
        }
    }
}

fn framed(tag: u8, text: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&(text.len() as u64).to_be_bytes());
    out.extend_from_slice(text);
}

/// A number that a double can stand for is that double; any other is itself.
fn normalise_number(text: &[u8], out: &mut Vec<u8>) {
    let number = Decimal::of(text);
    match double(text) {
        Some(double) if number.digits.len() <= DIGITS_OF_A_DOUBLE || is_expansion(&number, double) => {
            out.push(b'd');
            out.extend_from_slice(&(double + 0.0).to_be_bytes());
        }
        _ => {
            out.extend_from_slice(if number.negative { b"-" } else { b"+" });
            out.extend_from_slice(&number.exponent.to_be_bytes());
            framed(b'#', &number.digits, out);
        }
    }
}

/// Whether the number is exactly the double.
fn is_expansion(number: &Decimal, double: f64) -> bool {
    number.digits.len() <= LONGEST_DOUBLE && *number == Decimal::of(format!("{double:.LONGEST_DOUBLE$e}").as_bytes())
}

// --- Parsing ---------------------------------------------------------------------------------------------------------

fn parse(text: &[u8]) -> Option<Value<'_>> {
    std::str::from_utf8(text).ok()?;
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.space();
    (parser.at == text.len()).then_some(value)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes past `byte` (and the space before it) if it comes next.
    fn skip(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &[u8], value: Value<'a>) -> Option<Value<'a>> {
        self.text[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        if depth > DEEPEST {
            return None;
        }
        self.space();
        match self.peek()? {
            b'n' => self.word(b"null", Value::Null),
            b't' => self.word(b"true", Value::Bool(true)),
            b'f' => self.word(b"false", Value::Bool(false)),
            b'"' => self.string().map(Value::String),
            b'[' => self.array(depth),
            b'{' => self.object(depth),
            _ => self.number(),
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value<'a>> {
        self.at += 1;
        let mut items = Vec::new();
        if self.skip(b']') {
            return Some(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.skip(b']') {
                return Some(Value::Array(items));
            }
            if !self.skip(b',') {
                return None;
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value<'a>> {
        self.at += 1;
        let mut members = Vec::new();
        if self.skip(b'}') {
            return Some(Value::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return None;
            }
            let key = self.string()?;
            if !self.skip(b':') {
                return None;
            }
            members.push((key, self.value(depth + 1)?));
            if self.skip(b'}') {
                break;
            }
            if !self.skip(b',') {
                return None;
            }
        }
        // Of equal keys the last one counts: reversed, then sorted stably, it comes first.
        members.reverse();
        members.sort_by(|a, b| a.0.cmp(&b.0));
        members.dedup_by(|later, first| later.0 == first.0);
        Some(Value::Object(members))
    }

    fn number(&mut self) -> Option<Value<'a>> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Some(Value::Number(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(Cow::Borrowed(&self.text[start..self.at - 1]));
                }
                b'\\' => return self.escaped(start).map(Cow::Owned),
                0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
    }

    /// The rest of a string that has an escape at the present place.
    fn escaped(&mut self, start: usize) -> Option<Vec<u8>> {
        let mut out = self.text[start..self.at].to_vec();
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(out),
                b'\\' => {
                    let escape = self.peek()?;
                    self.at += 1;
                    match escape {
                        b'"' | b'\\' | b'/' => out.push(escape),
                        b'b' => out.push(8),
                        b'f' => out.push(12),
                        b'n' => out.push(b'\n'),
                        b'r' => out.push(b'\r'),
                        b't' => out.push(b'\t'),
                        b'u' => {
                            let unit = self.hex()?;
                            let code = self.low_surrogate(unit).unwrap_or(unit);
                            push_code(code, &mut out);
                        }
                        _ => return None,
                    }
                }
                0..=0x1f => return None,
                _ => out.push(byte),
            }
        }
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        let mut value = 0;
        for &digit in digits {
            value = value * 16 + char::from(digit).to_digit(16)?;
        }
        self.at += 4;
        Some(value)
    }

    /// The character of a pair of surrogates, if `high` is the first of one.
    fn low_surrogate(&mut self, high: u32) -> Option<u32> {
        if !(0xd800..0xdc00).contains(&high) || !self.text[self.at..].starts_with(b"\\u") {
            return None;
        }
        let before = self.at;
        self.at += 2;
        match self.hex() {
            Some(low @ 0xdc00..=0xdfff) => Some(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)),
            _ => {
                self.at = before;
                None
            }
        }
    }
}

/// Appends a character; half of a pair of surrogates, which is none, in the three bytes that UTF-8 would give it.
fn push_code(code: u32, out: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => {
            out.extend_from_slice(&[0xe0 | (code >> 12) as u8, 0x80 | (code >> 6 & 63) as u8, 0x80 | (code & 63) as u8])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, b: &str, expected: bool) {
        assert_eq!(same(a.as_bytes(), b.as_bytes()), expected, "{a:.80} {b:.80}");
        let (mut first, mut second) = (Vec::new(), Vec::new());
        normalise(a.as_bytes(), &mut first);
        normalise(b.as_bytes(), &mut second);
        assert!(expected || a == b || first != second, "{a:.80} {b:.80}");
    }

    #[test]
    fn equality() {
        check(r#"{"a": 1, "b": [1, 2]}"#, r#" {"b":[1,2] , "a":1.0}"#, true);
        check(r#"{"a": 1, "a": 2}"#, r#"{"a": 2}"#, true);
        check("[1, 2]", "[2, 1]", false);
        check("1", "true", false);
        check("0", "false", false);
        check("1", r#""1""#, false);
        check("null", "[]", false);
        check(r#""\ud83d\ude00\u00e9\/\n""#, "\"😀é/\\u000a\"", true);
        check(r#""\ud83d""#, r#""\ud83d""#, true);
        check(r#""\ud83d""#, r#""\ude00""#, false);
        check("1e2", "100", true);
        check("-0.0", "0", true);
        check("0.1", "0.1000000000000000055511151231257827021181583404541015625", true);
        check("0.10000000000000000001", "0.10000000000000000002", false);
        check("9007199254740993", "9007199254740992", true); // at most 17 digits: the rule takes them for doubles
        check("123456789012345678", "123456789012345679", false);
        check("1e400", "2e400", false);
        check("", "", false);
        check("01", "01", false);
        check("[1,]", "[1,]", false);
        check("{\"a\":1", "{\"a\":1", false);
        check("\"a\nb\"", "\"a\nb\"", false);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        check(&nested(100), &nested(100), true);
        check(&nested(1_000_000), &nested(1_000_000), false);
    }

    #[test]
    fn escaped_nul() {
        assert!(has_nul(br#""\u0000""#) && has_nul(br#""\\\u0000""#));
        assert!(!has_nul(br#""\\u0000""#) && !has_nul(br#""\u00001"x"#.strip_prefix(b"\"\\u").unwrap()));
    }
}
