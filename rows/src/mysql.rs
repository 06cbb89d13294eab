//! MySQL's side: the packets of one result set in the text protocol, in whatever portions they come.

use std::ops::Range;

use crate::error::{malformed, Error, Result, Side};

const FULL: usize = 0xff_ffff;
/// A buffer that held a giant row is given back.
const LARGE: usize = 8 << 20;
const MORE_RESULTS: u16 = 8;

#[derive(Debug, PartialEq, Eq)]
enum State {
    ColumnCount,
    Definitions(usize),
    Rows,
    Ended,
}

/// One result set: how many columns, their definitions, EOF, the rows, EOF; or an error in place of any of it.
pub struct ResultSet {
    columns: usize,
    buffer: Vec<u8>,
    /// Where the first packet begins that was not read yet.
    start: usize,
    /// The row that `next` gave last, until it is released.
    head: Option<Range<usize>>,
    sequence: u8,
    state: State,
}

impl ResultSet {
    /// `columns`: how many the result set must have.
    pub fn new(columns: usize) -> ResultSet {
        ResultSet { columns, buffer: Vec::new(), start: 0, head: None, sequence: 1, state: State::ColumnCount }
    }

    pub fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Takes bytes as they came. Only the head stays in the buffer of all rows that `next` gave.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        if self.ended() && !bytes.is_empty() {
            return malformed("MySQL sent more than one result set");
        }
        discard(&mut self.buffer, &mut self.start, &mut self.head);
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The row after the head becomes the head: its place in the buffer (see `row`). None when more bytes are needed or
    /// the set has ended.
    pub fn next(&mut self) -> Result<Option<Range<usize>>> {
        self.head = None;
        while !self.ended() {
            let Some(packet) = self.packet()? else { break };
            let payload = &self.buffer[packet.clone()];
            if payload.first() == Some(&0xff) {
                self.state = State::Ended;
                return Err(server_error(payload));
            }
            match self.state {
                State::ColumnCount => self.state = State::Definitions(self.column_count(payload)?),
                State::Definitions(0) if is_eof(payload) => self.state = State::Rows,
                State::Definitions(left) if left > 0 && !is_eof(payload) => self.state = State::Definitions(left - 1),
                State::Definitions(_) => return malformed("MySQL's result set ends within its column definitions"),
                State::Rows if is_eof(payload) => {
                    let more = payload.get(3..5).is_some_and(|s| u16::from_le_bytes([s[0], s[1]]) & MORE_RESULTS != 0);
                    self.state = State::Ended;
                    if more || self.start < self.buffer.len() {
                        return malformed("MySQL sent more than one result set");
                    }
                }
                State::Rows => {
                    self.head = Some(packet.clone());
                    return Ok(Some(packet));
                }
                State::Ended => {}
            }
        }
        Ok(None)
    }

    pub fn row(&self, place: &Range<usize>) -> &[u8] {
        &self.buffer[place.clone()]
    }

    pub fn head(&self) -> Option<Range<usize>> {
        self.head.clone()
    }

    pub fn release(&mut self) {
        self.head = None;
    }

    fn column_count(&self, payload: &[u8]) -> Result<usize> {
        match payload.first() {
            Some(0) => return malformed("MySQL answered without a result set"),
            Some(0xfb) => return malformed("MySQL asked for a local file"),
            _ => {}
        }
        let mut rest = payload;
        match length(&mut rest)? {
            Some(count) if count == self.columns && rest.is_empty() => Ok(count),
            count => {
                let count = count.unwrap_or(0);
                malformed(format!("MySQL's result set has {count} columns, the plan has {}", self.columns))
            }
        }
    }

    /// The payload of the next packet, if all of it is there. A payload of 16 MB or more comes in several packets, which
    /// are joined in place.
    fn packet(&mut self) -> Result<Option<Range<usize>>> {
        let (mut at, mut packets) = (self.start, 0u8);
        loop {
            let Some(header) = self.buffer.get(at..at + 4) else { return Ok(None) };
            let size = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
            let ordered = header[3] == self.sequence.wrapping_add(packets);
            // A server that shuts down says so in a packet with the number 0.
            let goodbye = header[3] == 0 && matches!(self.buffer.get(at + 4), None | Some(0xff));
            if !ordered && !goodbye {
                return malformed("MySQL's packets are out of order");
            }
            at += 4 + size;
            packets = packets.wrapping_add(1);
            if at > self.buffer.len() {
                return Ok(None);
            }
            if size < FULL {
                break;
            }
        }
        let first = self.start + 4;
        let mut from = (first + FULL).min(at);
        let mut end = from;
        while from < at {
            let part = from + 4..(from + 4 + FULL).min(at);
            from = part.end;
            self.buffer.copy_within(part.clone(), end);
            end += part.len();
        }
        self.start = at;
        self.sequence = self.sequence.wrapping_add(packets);
        Ok(Some(first..end))
    }
}

/// Drops what was read from the front of a buffer, up to `start`; but keeps the head.
pub fn discard(buffer: &mut Vec<u8>, start: &mut usize, head: &mut Option<Range<usize>>) {
    let size = head.as_ref().map_or(*start, |head| head.start);
    buffer.drain(..size);
    *start -= size;
    *head = head.take().map(|head| head.start - size..head.end - size);
    if buffer.capacity() > LARGE && buffer.len() < LARGE / 2 {
        buffer.shrink_to(LARGE / 2);
    }
}

fn is_eof(payload: &[u8]) -> bool {
    payload.first() == Some(&0xfe) && payload.len() < 9
}

fn server_error(payload: &[u8]) -> Error {
    let code = payload.get(1..3).map_or(0, |code| u16::from_le_bytes([code[0], code[1]]));
    let mut message = payload.get(3..).unwrap_or(&[]);
    if message.first() == Some(&b'#') {
        message = message.get(6..).unwrap_or(&[]);
    }
    Error::Server { side: Side::MySql, code: code.to_string(), message: String::from_utf8_lossy(message).into_owned() }
}

#[inline]
/// A length in MySQL's encoding, taken off the front; None stands for NULL.
fn length(rest: &mut &[u8]) -> Result<Option<usize>> {
    let (&first, tail) = rest.split_first().ok_or_else(short)?;
    let width = match first {
        0..=0xfa => {
            *rest = tail;
            return Ok(Some(first.into()));
        }
        0xfb => {
            *rest = tail;
            return Ok(None);
        }
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xff => return malformed("a length in MySQL's row is none"),
    };
    if tail.len() < width {
        return Err(short());
    }
    let (bytes, tail) = tail.split_at(width);
    *rest = tail;
    let value = bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    usize::try_from(value).map(Some).map_err(|_| short())
}

fn short() -> Error {
    Error::Malformed("MySQL's row is shorter than its fields".into())
}

/// Takes the next field off the front of a row; None is NULL.
#[inline]
pub fn field<'a>(row: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    let Some(size) = length(row)? else { return Ok(None) };
    if size > row.len() {
        return Err(short());
    }
    let (value, rest) = row.split_at(size);
    *row = rest;
    Ok(Some(value))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn packets(payloads: &[Vec<u8>]) -> Vec<u8> {
        let (mut out, mut sequence) = (Vec::new(), 1u8);
        for payload in payloads {
            let mut rest = &payload[..];
            loop {
                let (part, tail) = rest.split_at(rest.len().min(FULL));
                out.extend_from_slice(&(part.len() as u32).to_le_bytes()[..3]);
                out.push(sequence);
                sequence = sequence.wrapping_add(1);
                out.extend_from_slice(part);
                rest = tail;
                if part.len() < FULL {
                    break;
                }
            }
        }
        out
    }

    pub fn result_set(columns: usize, rows: &[Vec<u8>]) -> Vec<u8> {
        let eof = vec![0xfe, 0, 0, 2, 0];
        let mut payloads = vec![vec![columns as u8]];
        payloads.extend((0..columns).map(|_| b"\x03def".to_vec()));
        payloads.push(eof.clone());
        payloads.extend_from_slice(rows);
        payloads.push(eof);
        packets(&payloads)
    }

    fn read(bytes: &[u8], portion: usize) -> Result<Vec<Vec<u8>>> {
        let (mut set, mut rows) = (ResultSet::new(1), Vec::new());
        for part in bytes.chunks(portion) {
            set.feed(part)?;
            while let Some(place) = set.next()? {
                rows.push(set.row(&place).to_vec());
            }
        }
        assert!(set.ended());
        Ok(rows)
    }

    #[test]
    fn any_portions_give_the_same_rows() {
        let rows = vec![b"\x01a".to_vec(), b"\xfb".to_vec(), b"\x00".to_vec()];
        let bytes = result_set(1, &rows);
        for portion in 1..bytes.len() {
            assert_eq!(read(&bytes, portion).unwrap(), rows);
        }
    }

    #[test]
    fn giant_rows_are_joined() {
        for size in [FULL - 1, FULL, FULL + 1, 2 * FULL, 3 * FULL + 5] {
            let row: Vec<u8> = (0..size).map(|at| (at * 7 % 251) as u8).collect();
            let rows = vec![vec![0], row, vec![1]];
            let read = read(&result_set(1, &rows), 1 << 20).unwrap();
            assert!(read == rows, "{size}");
        }
    }

    #[test]
    fn errors_of_the_server() {
        let bytes = packets(&[b"\xff\x25\x05#70100interrupted".to_vec()]);
        let expected = Error::Server { side: Side::MySql, code: "1317".into(), message: "interrupted".into() };
        assert_eq!(read(&bytes, 3), Err(expected));
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(read(&packets(&[vec![2]]), 9).is_err());
        assert!(read(&packets(&[vec![0, 0, 0, 2, 0, 0, 0]]), 9).is_err());
        assert!(read(&[1, 0, 0, 7, 1], 9).is_err());
        let mut twice = result_set(1, &[]);
        twice.extend_from_slice(&twice.clone());
        assert!(read(&twice, 1 << 20).is_err());
        for row in [&b"\x05abc"[..], b"\xfc\x01", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff", b"\xff", b""] {
            assert!(field(&mut &row[..]).is_err());
        }
    }
}
