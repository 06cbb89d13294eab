//! The C ABI: what `rows/native.py` calls. All that is unsafe is here.
//!
//! Objects are made by `*_new`, used by one thread at a time, ended by `*_free`. A call that can fail returns -1 (or a
//! null pointer) and leaves its error for `zdm_rows_error`, per thread. No call panics into its caller.

mod compare;
mod error;
mod hash;
mod json;
mod mysql;
mod plan;
mod postgres;
mod transcode;
mod value;

use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};

use compare::Comparator;
use error::{Error, Result, Side};
use plan::Plan;
use transcode::Transcoder;
use value::{Codec, Column};

/// Changes whenever a function or a report does.
const ABI: u32 = 1;

thread_local! {
    static ERROR: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A column of the plan. The flags: 1 carried, 2 zero is NULL, 4 empty is a member, 8 six digits.
#[repr(C)]
pub struct RawColumn {
    codec: u32,
    parameter: u32,
    flags: u32,
}

/// An object, and whether it may still be used: not after an error.
pub struct Handle<T> {
    inner: T,
    broken: bool,
    /// A report that was asked for last.
    report: Vec<u8>,
}

/// Runs `work`; an error or panic is left for `zdm_rows_error`.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Option<T> {
    let error = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(error)) => error,
        Err(_) => Error::Malformed("a mistake in the native code".into()),
    };
    let mut text = match &error {
        Error::Malformed(_) => b"malformed\0\0".to_vec(),
        Error::Server { side: Side::MySql, code, .. } => format!("mysql\0{code}\0").into_bytes(),
        Error::Server { side: Side::Postgres, code, .. } => format!("postgres\0{code}\0").into_bytes(),
    };
    text.extend_from_slice(match &error {
        Error::Malformed(message) | Error::Server { message, .. } => message.as_bytes(),
    });
    ERROR.with_borrow_mut(|place| *place = text);
    None
}

/// # Safety
/// `data` points to `size` bytes, or `size` is 0.
unsafe fn bytes<'a>(data: *const u8, size: usize) -> &'a [u8] {
    if size == 0 {
        &[]
    } else {
        unsafe { std::slice::from_raw_parts(data, size) }
    }
}

fn give(bytes: &[u8], place: *mut *const u8) -> usize {
    if let Some(place) = unsafe { place.as_mut() } {
        *place = bytes.as_ptr();
    }
    bytes.len()
}

unsafe fn plan_of(columns: *const RawColumn, size: usize, key: *const u32, key_size: usize) -> Result<Plan> {
    let (columns, key) = unsafe {
        let columns = if size == 0 { &[] } else { std::slice::from_raw_parts(columns, size) };
        (columns, if key_size == 0 { &[] } else { std::slice::from_raw_parts(key, key_size) })
    };
    let column = |raw: &RawColumn| {
        let Some(codec) = Codec::of(raw.codec, raw.parameter) else { return error::malformed("unknown codec") };
        let flag = |bit| raw.flags & bit != 0;
        Ok(Column { codec, carried: flag(1), zero_is_null: flag(2), empty_is_member: flag(4), six_digits: flag(8) })
    };
    Plan::new(columns.iter().map(column).collect::<Result<_>>()?, key.iter().map(|&index| index as usize).collect())
}

fn boxed<T>(inner: T) -> *mut Handle<T> {
    Box::into_raw(Box::new(Handle { inner, broken: false, report: Vec::new() }))
}

/// Runs `work` on the object: -1 after an error, now or before.
unsafe fn with<T>(handle: *mut Handle<T>, work: impl FnOnce(&mut T) -> Result<bool>) -> i32 {
    guarded(|| {
        let Some(handle) = (unsafe { handle.as_mut() }) else { return error::malformed("it is closed") };
        if handle.broken {
            return error::malformed("it cannot be used after an error");
        }
        handle.broken = true;
        let answer = work(&mut handle.inner)?;
        handle.broken = false;
        Ok(answer)
    })
    .map_or(-1, i32::from)
}

/// The last error of this thread: its kind (malformed, mysql, postgres), code and message, with NUL between them.
///
/// # Safety
/// `place` is null or can be written to. What it gets is valid until this thread's next call.
#[no_mangle]
pub unsafe extern "C" fn zdm_rows_error(place: *mut *const u8) -> usize {
    ERROR.with_borrow(|text| give(text, place))
}

#[no_mangle]
pub extern "C" fn zdm_rows_abi() -> u32 {
    ABI
}

/// 1 if both texts are JSON and the same value, else 0.
///
/// # Safety
/// The pointers point to as many bytes as the sizes say.
#[no_mangle]
pub unsafe extern "C" fn zdm_same_json(a: *const u8, a_size: usize, b: *const u8, b_size: usize) -> i32 {
    let (a, b) = unsafe { (bytes(a, a_size), bytes(b, b_size)) };
    guarded(|| Ok(json::same(a, b))).map_or(-1, i32::from)
}

// --- Transcoder ------------------------------------------------------------------------------------------------------

/// # Safety
/// `columns` and `key` point to as many items as the sizes say.
#[no_mangle]
pub unsafe extern "C" fn zdm_transcoder_new(
    columns: *const RawColumn,
    size: usize,
    key: *const u32,
    key_size: usize,
) -> *mut Handle<Transcoder> {
    guarded(|| Ok(boxed(Transcoder::new(unsafe { plan_of(columns, size, key, key_size) }?))))
        .unwrap_or(std::ptr::null_mut())
}

/// 1 when the result set has ended, 0 when not.
///
/// # Safety
/// `handle` is open; `data` points to `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn zdm_transcoder_feed(handle: *mut Handle<Transcoder>, data: *const u8, size: usize) -> i32 {
    unsafe { with(handle, |transcoder| transcoder.feed(bytes(data, size))) }
}

/// # Safety
/// `handle` is open.
#[no_mangle]
pub unsafe extern "C" fn zdm_transcoder_next(handle: *mut Handle<Transcoder>) -> i32 {
    unsafe { with(handle, |transcoder| transcoder.next().map(|()| false)) }
}

/// The rows that are ready. They stay there until `zdm_transcoder_consume` and the next feed.
///
/// # Safety
/// `handle` is open; `place` is null or can be written to.
#[no_mangle]
pub unsafe extern "C" fn zdm_transcoder_output(handle: *const Handle<Transcoder>, place: *mut *const u8) -> usize {
    unsafe { handle.as_ref() }.map_or(0, |handle| give(handle.inner.output(), place))
}

/// # Safety
/// `handle` is open.
#[no_mangle]
pub unsafe extern "C" fn zdm_transcoder_consume(handle: *mut Handle<Transcoder>, size: usize) {
    if let Some(handle) = unsafe { handle.as_mut() } {
        handle.inner.consume(size);
    }
}

/// Rows carried, rows set aside, rows read of this result set.
///
/// # Safety
/// `handle` is open; `counts` has room for three numbers.
#[no_mangle]
pub unsafe extern "C" fn zdm_transcoder_counts(handle: *const Handle<Transcoder>, counts: *mut u64) {
    if let Some(Handle { inner, .. }) = unsafe { handle.as_ref() } {
        let all = [inner.rows, inner.set_aside, inner.rows_read];
        unsafe { std::ptr::copy_nonoverlapping(all.as_ptr(), counts, all.len()) };
    }
}

/// The key of the last row; nothing when there was none.
///
/// # Safety
/// `handle` is open; `place` is null or can be written to. What it gets is valid until the next feed.
#[no_mangle]
pub unsafe extern "C" fn zdm_transcoder_last_key(handle: *const Handle<Transcoder>, place: *mut *const u8) -> usize {
    unsafe { handle.as_ref() }.map_or(0, |handle| give(handle.inner.last_key().unwrap_or(&[]), place))
}

/// The poisoned rows since the last call.
///
/// # Safety
/// `handle` is open; `place` is null or can be written to. What it gets is valid until the next call of this function.
#[no_mangle]
pub unsafe extern "C" fn zdm_transcoder_poisons(handle: *mut Handle<Transcoder>, place: *mut *const u8) -> usize {
    let Some(handle) = (unsafe { handle.as_mut() }) else { return 0 };
    handle.report = handle.inner.take_poisons();
    give(&handle.report, place)
}

/// # Safety
/// `handle` is open or null; it is closed afterwards.
#[no_mangle]
pub unsafe extern "C" fn zdm_transcoder_free(handle: *mut Handle<Transcoder>) {
    if !handle.is_null() {
        drop(unsafe { Box::from_raw(handle) });
    }
}

// --- Comparator ------------------------------------------------------------------------------------------------------

/// # Safety
/// `columns` and `key` point to as many items as the sizes say.
#[no_mangle]
pub unsafe extern "C" fn zdm_comparator_new(
    columns: *const RawColumn,
    size: usize,
    key: *const u32,
    key_size: usize,
    keep: i32,
) -> *mut Handle<Comparator> {
    guarded(|| Ok(boxed(Comparator::new(unsafe { plan_of(columns, size, key, key_size) }?, keep != 0)?)))
        .unwrap_or(std::ptr::null_mut())
}

/// 1 when the source's result set has ended, 0 when not.
///
/// # Safety
/// `handle` is open; `data` points to `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn zdm_comparator_source(handle: *mut Handle<Comparator>, data: *const u8, size: usize) -> i32 {
    unsafe { with(handle, |comparator| comparator.feed_source(bytes(data, size))) }
}

/// 1 when the target's answer has ended, 0 when not.
///
/// # Safety
/// `handle` is open; `data` points to `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn zdm_comparator_target(handle: *mut Handle<Comparator>, data: *const u8, size: usize) -> i32 {
    unsafe { with(handle, |comparator| comparator.feed_target(bytes(data, size))) }
}

/// Which sides have to send more: 1 the source, 2 the target, 3 both, 0 none.
///
/// # Safety
/// `handle` is open.
#[no_mangle]
pub unsafe extern "C" fn zdm_comparator_wants(handle: *const Handle<Comparator>) -> i32 {
    unsafe { handle.as_ref() }
        .map_or(0, |Handle { inner, .. }| i32::from(inner.wants_source()) + 2 * i32::from(inner.wants_target()))
}

/// # Safety
/// `handle` is open.
#[no_mangle]
pub unsafe extern "C" fn zdm_comparator_finish(handle: *mut Handle<Comparator>) -> i32 {
    unsafe { with(handle, |comparator| comparator.finish().map(|()| false)) }
}

/// The target's rows that are kept. They stay there until `zdm_comparator_consume` and the next feed.
///
/// # Safety
/// `handle` is open; `place` is null or can be written to.
#[no_mangle]
pub unsafe extern "C" fn zdm_comparator_kept(handle: *const Handle<Comparator>, place: *mut *const u8) -> usize {
    unsafe { handle.as_ref() }.map_or(0, |handle| give(handle.inner.kept(), place))
}

/// # Safety
/// `handle` is open.
#[no_mangle]
pub unsafe extern "C" fn zdm_comparator_consume(handle: *mut Handle<Comparator>, size: usize) {
    if let Some(handle) = unsafe { handle.as_mut() } {
        handle.inner.consume_kept(size);
    }
}

/// Rows of the source and of the target.
///
/// # Safety
/// `handle` is open; `counts` has room for two numbers.
#[no_mangle]
pub unsafe extern "C" fn zdm_comparator_counts(handle: *const Handle<Comparator>, counts: *mut u64) {
    if let Some(Handle { inner, .. }) = unsafe { handle.as_ref() } {
        let all = [inner.source_rows, inner.target_rows];
        unsafe { std::ptr::copy_nonoverlapping(all.as_ptr(), counts, all.len()) };
    }
}

/// The key of a side's last row: 0 the source's in PostgreSQL's form, 1 the source's as MySQL wrote it, 2 the target's.
/// Nothing when there was none.
///
/// # Safety
/// `handle` is open; `place` is null or can be written to. What it gets is valid until the next feed.
#[no_mangle]
pub unsafe extern "C" fn zdm_comparator_last_key(
    handle: *const Handle<Comparator>,
    which: u32,
    place: *mut *const u8,
) -> usize {
    let Some(Handle { inner, .. }) = (unsafe { handle.as_ref() }) else { return 0 };
    let key = match which {
        0 => &inner.source_last_key,
        1 => &inner.source_last_texts,
        _ => &inner.target_last_key,
    };
    give(key.as_deref().unwrap_or(&[]), place)
}

/// The suspects since the last call.
///
/// # Safety
/// `handle` is open; `place` is null or can be written to. What it gets is valid until the next call of this function.
#[no_mangle]
pub unsafe extern "C" fn zdm_comparator_suspects(handle: *mut Handle<Comparator>, place: *mut *const u8) -> usize {
    let Some(handle) = (unsafe { handle.as_mut() }) else { return 0 };
    handle.report = handle.inner.take_suspects();
    give(&handle.report, place)
}

/// # Safety
/// `handle` is open or null; it is closed afterwards.
#[no_mangle]
pub unsafe extern "C" fn zdm_comparator_free(handle: *mut Handle<Comparator>) {
    if !handle.is_null() {
        drop(unsafe { Box::from_raw(handle) });
    }
}
