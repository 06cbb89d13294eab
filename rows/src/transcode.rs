//! The transcoder: MySQL's result sets in, rows of binary COPY out. Rows with a value that PostgreSQL cannot hold are
//! set aside.

use std::ops::Range;

use crate::error::{malformed, Result};
use crate::mysql::{discard, ResultSet};
use crate::plan::{report, report_poison, Plan};
use crate::value::Texts;

pub struct Transcoder {
    plan: Plan,
    source: ResultSet,
    output: Vec<u8>,
    /// How much of the output was taken.
    taken: usize,
    poisons: Vec<u8>,
    last_key: Option<Vec<u8>>,
    pub rows: u64,
    pub set_aside: u64,
    pub rows_read: u64,
}

impl Transcoder {
    pub fn new(plan: Plan) -> Transcoder {
        let source = ResultSet::new(plan.columns.len());
        Transcoder {
            plan,
            source,
            output: Vec::new(),
            taken: 0,
            poisons: Vec::new(),
            last_key: None,
            rows: 0,
            set_aside: 0,
            rows_read: 0,
        }
    }

    /// Takes bytes of the result set. Returns whether it has ended.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<bool> {
        discard(&mut self.output, &mut self.taken, &mut None);
        self.source.feed(bytes)?;
        let mut last: Option<Range<usize>> = None;
        while let Some(place) = self.source.next()? {
            let row = self.source.row(&place);
            match self.plan.encode(row, Texts::Checked, &mut self.output)? {
                None => self.rows += 1,
                Some(poison) => {
                    report_poison(&self.plan, row, &poison, &mut self.poisons)?;
                    self.set_aside += 1;
                }
            }
            self.rows_read += 1;
            last = Some(place);
        }
        if let Some(place) = last {
            let mut key = Vec::new();
            self.plan.key_texts(self.source.row(&place))?.into_iter().for_each(|text| report(text, &mut key));
            self.last_key = Some(key);
        }
        Ok(self.source.ended())
    }

    /// Another result set of the same columns follows.
    pub fn next(&mut self) -> Result<()> {
        if !self.source.ended() {
            return malformed("the result set has not ended");
        }
        self.source = ResultSet::new(self.plan.columns.len());
        self.rows_read = 0;
        self.last_key = None;
        Ok(())
    }

    pub fn output(&self) -> &[u8] {
        &self.output[self.taken..]
    }

    pub fn consume(&mut self, size: usize) {
        self.taken = (self.taken + size).min(self.output.len());
    }

    pub fn last_key(&self) -> Option<&[u8]> {
        self.last_key.as_deref()
    }

    pub fn take_poisons(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.poisons)
    }
}
