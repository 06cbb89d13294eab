//! What the columns of a result set are, and how a row of it is written.

use std::ops::Range;

use crate::error::{malformed, Result};
use crate::mysql;
use crate::value::{self, Column, Reason, Texts};

const MOST_COLUMNS: usize = 4096;
/// How much of a value is shown.
const SHOWN: usize = 200;

pub struct Plan {
    pub columns: Vec<Column>,
    /// Indices of the key's columns.
    pub key: Vec<usize>,
    /// For each part of the key its place among the carried columns, where it is carried.
    pub key_fields: Vec<Option<usize>>,
    pub carried: usize,
}

/// Why and where a row cannot be carried.
pub struct Poison {
    pub column: usize,
    pub reason: Reason,
    /// The beginning of MySQL's text, as a place in the row.
    pub value: Range<usize>,
}

impl Plan {
    pub fn new(columns: Vec<Column>, key: Vec<usize>) -> Result<Plan> {
        if columns.is_empty() || columns.len() > MOST_COLUMNS {
            return malformed(format!("a plan has 1 to {MOST_COLUMNS} columns"));
        }
        if key.iter().any(|&index| index >= columns.len()) {
            return malformed("the key has a column that the plan has not");
        }
        let carried = columns.iter().filter(|column| column.carried).count();
        let place = |index: usize| columns[..index].iter().filter(|column| column.carried).count();
        let key_fields = key.iter().map(|&index| columns[index].carried.then(|| place(index))).collect();
        Ok(Plan { columns, key, key_fields, carried })
    }

    /// Appends MySQL's row as a row of binary COPY, and says what stands in the way of that: then nothing is appended.
    pub fn encode(&self, row: &[u8], texts: Texts, out: &mut Vec<u8>) -> Result<Option<Poison>> {
        let start = out.len();
        let mut rest = row;
        out.extend_from_slice(&(self.carried as i16).to_be_bytes());
        let mut poison = None;
        for (index, column) in self.columns.iter().enumerate() {
            let text = mysql::field(&mut rest)?;
            if !column.carried || poison.is_some() {
                continue;
            }
            let Some(text) = text else {
                value::null(out);
                continue;
            };
            if let Err(reason) = value::encode(column, text, texts, out) {
                let at = row.len() - rest.len() - text.len();
                poison = Some(Poison { column: index, reason, value: at..at + text.len().min(SHOWN) });
            }
        }
        if !rest.is_empty() {
            return malformed("MySQL's row has more fields than the plan");
        }
        if poison.is_some() {
            out.truncate(start);
        }
        Ok(poison)
    }

    /// The key's values as MySQL wrote them.
    pub fn key_texts<'a>(&self, row: &'a [u8]) -> Result<Vec<Option<&'a [u8]>>> {
        let mut rest = row;
        let fields = self.columns.iter().map(|_| mysql::field(&mut rest)).collect::<Result<Vec<_>>>()?;
        Ok(self.key.iter().map(|&index| fields[index]).collect())
    }
}

/// Appends a value in a report: its length (-1 for NULL) and its bytes.
pub fn report(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        None => out.extend_from_slice(&(-1i64).to_be_bytes()),
        Some(value) => {
            out.extend_from_slice(&(value.len() as i64).to_be_bytes());
            out.extend_from_slice(value);
        }
    }
}

/// Appends a poisoned row to a report: column, reason, the key's texts, the value's beginning.
pub fn report_poison(plan: &Plan, row: &[u8], poison: &Poison, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(&(poison.column as u32).to_be_bytes());
    out.extend_from_slice(&(poison.reason as u32).to_be_bytes());
    for text in plan.key_texts(row)? {
        report(text, out);
    }
    report(Some(&row[poison.value.clone()]), out);
    Ok(())
}
