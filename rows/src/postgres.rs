//! PostgreSQL's side: the server's messages during `COPY ... TO STDOUT (FORMAT binary)`, in whatever portions they
//! come. Rows may span or share CopyData messages.

use std::ops::Range;

use crate::error::{malformed, Error, Result, Side};
use crate::mysql::discard;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// No message but CopyData is longer than this.
const LONGEST_MESSAGE: usize = 1 << 20;

#[derive(Debug, PartialEq, Eq)]
enum Stream {
    Header,
    Rows,
    Trailer,
}

/// The answer to one COPY statement, up to ReadyForQuery.
pub struct CopyOut {
    columns: usize,
    /// The beginning of a message: its kind and length, as far as they have come.
    opening: [u8; 5],
    opening_size: usize,
    /// How much of the message is still to come.
    left: usize,
    /// A message other than CopyData.
    message: Vec<u8>,
    /// What the CopyData messages hold; what is before `start` was read.
    data: Vec<u8>,
    start: usize,
    /// The row that `next` gave last, until it is released.
    head: Option<Range<usize>>,
    stream: Stream,
    ready: bool,
    error: Option<Error>,
}

impl CopyOut {
    /// `columns`: how many each row must have.
    pub fn new(columns: usize) -> CopyOut {
        CopyOut {
            columns,
            opening: [0; 5],
            opening_size: 0,
            left: 0,
            message: Vec::new(),
            data: Vec::new(),
            start: 0,
            head: None,
            stream: Stream::Header,
            ready: false,
            error: None,
        }
    }

    /// Whether the server waits for the next statement and all rows were read.
    pub fn ended(&self) -> bool {
        self.ready && self.stream == Stream::Trailer
    }

    /// Takes bytes as they came. Only the head stays in the data of all rows that `next` gave. The server's own error is
    /// raised when it is ready for the next statement.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        discard(&mut self.data, &mut self.start, &mut self.head);
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.ready {
                return malformed("PostgreSQL sent more than the answer to one COPY");
            }
            if self.opening_size < 5 {
                let (part, tail) = rest.split_at(rest.len().min(5 - self.opening_size));
                self.opening[self.opening_size..self.opening_size + part.len()].copy_from_slice(part);
                self.opening_size += part.len();
                rest = tail;
                if self.opening_size == 5 {
                    self.begin()?;
                }
                continue;
            }
            let (part, tail) = rest.split_at(rest.len().min(self.left));
            if self.opening[0] == b'd' { &mut self.data } else { &mut self.message }.extend_from_slice(part);
            self.left -= part.len();
            rest = tail;
            if self.left == 0 {
                self.end()?;
            }
        }
        Ok(())
    }

    /// The row after the head becomes the head: its place in the data (see `row`; its count of fields is in front). None
    /// when more bytes are needed or the rows have ended.
    #[inline]
    pub fn next(&mut self) -> Result<Option<Range<usize>>> {
        self.head = self.parse()?;
        if self.head.is_none() && self.ready && self.stream != Stream::Trailer {
            return malformed("PostgreSQL's COPY ended within its rows");
        }
        Ok(self.head.clone())
    }

    #[inline]
    fn parse(&mut self) -> Result<Option<Range<usize>>> {
        if self.stream == Stream::Header && !self.header()? {
            return Ok(None);
        }
        let data = &self.data[self.start..];
        if self.stream == Stream::Trailer && !data.is_empty() {
            return malformed("PostgreSQL sent rows after the end of the COPY");
        }
        let Some(&[high, low]) = data.get(..2) else { return Ok(None) };
        match i16::from_be_bytes([high, low]) {
            -1 => {
                self.start += 2;
                self.stream = Stream::Trailer;
                return self.parse();
            }
            count if usize::try_from(count) == Ok(self.columns) => {}
            count => return malformed(format!("PostgreSQL's row has {count} columns, the plan has {}", self.columns)),
        }
        let mut size = 2;
        for _ in 0..self.columns {
            let Some(&[a, b, c, d]) = data.get(size..size + 4) else { return Ok(None) };
            size += 4;
            match i32::from_be_bytes([a, b, c, d]) {
                -1 => {}
                length => match usize::try_from(length) {
                    Ok(length) => size += length,
                    Err(_) => return malformed("a length in PostgreSQL's row is negative"),
                },
            }
        }
        if size > data.len() {
            return Ok(None);
        }
        self.start += size;
        Ok(Some(self.start - size..self.start))
    }

    pub fn row(&self, place: &Range<usize>) -> &[u8] {
        &self.data[place.clone()]
    }

    pub fn head(&self) -> Option<Range<usize>> {
        self.head.clone()
    }

    pub fn release(&mut self) {
        self.head = None;
    }

    /// Reads the header, if all of it is there.
    fn header(&mut self) -> Result<bool> {
        let known = self.data.len().min(SIGNATURE.len());
        if self.data[..known] != SIGNATURE[..known] {
            return malformed("PostgreSQL's COPY is not binary");
        }
        let Some(&[f0, f1, f2, f3, e0, e1, e2, e3]) = self.data.get(11..19) else { return Ok(false) };
        if u32::from_be_bytes([f0, f1, f2, f3]) >> 16 != 0 {
            return malformed("PostgreSQL's COPY has flags that are not known here");
        }
        let extension = u32::from_be_bytes([e0, e1, e2, e3]) as usize;
        if extension > LONGEST_MESSAGE {
            return malformed("PostgreSQL's COPY has a header that is too long");
        }
        if self.data.len() < 19 + extension {
            return Ok(false);
        }
        self.start = 19 + extension;
        self.stream = Stream::Rows;
        Ok(true)
    }

    fn begin(&mut self) -> Result<()> {
        let [kind, a, b, c, d] = self.opening;
        let Some(left) = (u32::from_be_bytes([a, b, c, d]) as usize).checked_sub(4) else {
            return malformed("a message of PostgreSQL has no valid length");
        };
        if kind != b'd' && left > LONGEST_MESSAGE {
            return malformed("a message of PostgreSQL is too long");
        }
        self.left = left;
        self.message.clear();
        if left == 0 {
            self.end()
        } else {
            Ok(())
        }
    }

    fn end(&mut self) -> Result<()> {
        self.opening_size = 0;
        match self.opening[0] {
            b'd' | b'c' | b'C' | b'N' | b'S' | b'A' => {}
            b'H' if self.message.first() == Some(&1) => {}
            b'H' => return malformed("PostgreSQL's COPY is not binary"),
            b'E' => {
                let error = server_error(&self.message);
                if matches!(field(&self.message, b'V'), Some("FATAL" | "PANIC")) {
                    return Err(error);
                }
                self.error = Some(error);
            }
            b'Z' => {
                self.ready = true;
                if let Some(error) = self.error.take() {
                    return Err(error);
                }
            }
            kind => return malformed(format!("PostgreSQL answered with a message of kind {:?}", char::from(kind))),
        }
        Ok(())
    }
}

fn field(message: &[u8], kind: u8) -> Option<&str> {
    let text = message.split(|&byte| byte == 0).find(|part| part.first() == Some(&kind))?;
    std::str::from_utf8(&text[1..]).ok()
}

fn server_error(message: &[u8]) -> Error {
    let text = |kind| field(message, kind).unwrap_or("").to_owned();
    Error::Server { side: Side::Postgres, code: text(b'C'), message: text(b'M') }
}

/// Takes the next field off the front of a row (behind its count); None is NULL. The row is one that `next` gave, or one
/// that was encoded here.
#[inline]
pub fn value<'a>(row: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = row.split_at(4);
    let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
    let (value, rest) = rest.split_at(length.max(0) as usize);
    *row = rest;
    (length >= 0).then_some(value)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend_from_slice(&(payload.len() as u32 + 4).to_be_bytes());
        out.extend_from_slice(payload);
        out
    }

    /// The answer to a COPY, its data cut into messages of `size` bytes.
    pub fn answer(rows: &[Vec<u8>], size: usize) -> Vec<u8> {
        let mut data = [SIGNATURE, &[0; 8]].concat();
        data.extend(rows.concat());
        data.extend_from_slice(&[0xff, 0xff]);
        let mut out = message(b'H', &[1, 0, 1, 0, 1]);
        data.chunks(size).for_each(|part| out.extend(message(b'd', part)));
        out.extend(message(b'c', b""));
        out.extend(message(b'C', b"COPY 2\0"));
        out.extend(message(b'Z', b"I"));
        out
    }

    fn read(bytes: &[u8], portion: usize) -> Result<Vec<Vec<u8>>> {
        let (mut copy, mut rows) = (CopyOut::new(2), Vec::new());
        for part in bytes.chunks(portion) {
            copy.feed(part)?;
            while let Some(place) = copy.next()? {
                rows.push(copy.row(&place).to_vec());
            }
        }
        assert!(copy.ended());
        Ok(rows)
    }

    #[test]
    fn any_messages_and_portions_give_the_same_rows() {
        let rows = vec![b"\0\x02\0\0\0\x01a\xff\xff\xff\xff".to_vec(), b"\0\x02\0\0\0\0\0\0\0\x02bc".to_vec()];
        for size in 1..60 {
            let bytes = answer(&rows, size);
            for portion in [1, 2, 3, 7, 11, 64, 1000] {
                assert_eq!(read(&bytes, portion).unwrap(), rows);
            }
        }
    }

    #[test]
    fn the_servers_error_comes_when_it_is_ready() {
        let mut bytes = message(b'E', b"SERROR\0VERROR\0C42P01\0Mno table\0\0");
        let mut copy = CopyOut::new(2);
        copy.feed(&bytes).unwrap();
        let expected = Error::Server { side: Side::Postgres, code: "42P01".into(), message: "no table".into() };
        assert_eq!(copy.feed(&message(b'Z', b"I")), Err(expected));
        bytes = message(b'E', b"VFATAL\0C57P01\0Mbye\0\0");
        assert!(CopyOut::new(2).feed(&bytes).is_err());
    }

    #[test]
    fn nonsense_is_an_error() {
        let rows = vec![b"\0\x02\0\0\0\x01a\xff\xff\xff\xff".to_vec()];
        let good = answer(&rows, 100);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let mut copy = CopyOut::new(2);
                let _ = copy.feed(&bad).and_then(|()| {
                    while copy.next()?.is_some() {}
                    Ok(())
                });
            }
        }
        let mut rest = answer(&rows, 100);
        rest.extend_from_slice(&answer(&rows, 100));
        assert!(read(&rest, 1000).is_err());
        let more = [&rows[0][..], &[0xff, 0xff], &rows[0]].concat();
        assert!(read(&answer(&[more], 1000), 1000).is_err());
        assert!(read(&message(b'T', b"\0\0"), 1000).is_err());
        assert!(read(&message(b'H', &[0, 0, 0]), 1000).is_err());
    }
}
