//! Numbers out of JSON text, as far as a field holds them exactly.

/// Doubles up to this hold every integer.
const EXACT: u64 = 1 << 53;

/// A number that is written as an integer and fits.
#[inline]
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let (digits, is_negative) = text.strip_prefix(b"-").map_or((text, false), |digits| (digits, true));
    if digits.len() > 18 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let value = digits.iter().try_fold(0, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| value * 10 + i64::from(digit))
    })?;
    Some(if is_negative { -value } else { value })
}

/// A number for a `double` field: one that is written as an integer fits when a double holds it and its neighbours.
pub(super) fn double(text: &[u8]) -> Option<f64> {
    match integer(text) {
        Some(value) => (value.unsigned_abs() <= EXACT).then_some(value as f64),
        None if is_integer(text) => None,
        None => finite(text),
    }
}

/// The double that is nearest to a number; nothing when there is none.
pub(super) fn nearest(text: &[u8]) -> Option<f64> {
    integer(text).map_or_else(|| finite(text), |value| Some(value as f64))
}

/// The float that is nearest to a number; nothing when there is none.
#[inline]
pub(super) fn float(text: &[u8]) -> Option<f32> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|value: &f32| value.is_finite())
}

fn finite(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
}

fn is_integer(text: &[u8]) -> bool {
    !text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}
