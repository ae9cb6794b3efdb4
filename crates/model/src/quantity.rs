//! Quantities of resources: `100m`, `1.5Gi`, `12e6`.
//!
//! A quantity is an exact number of billionths, with the notation it was written in. Parsing rounds away
//! from zero below a billionth, so that nobody who asks for a little gets nothing. The canonical form is
//! upstream's: no fraction, the largest suffix that keeps the value, the notation kept where it can be.
//!
//! Numbers beyond [`NANOS_MAX`] are taken for that (in binary notation already beyond an `i64` of units);
//! arithmetic that would go beyond it is refused.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use serde_json::Value;

/// The largest magnitude: 10^28 whole units, in billionths. Ten billion times an exabyte, and far enough
/// from the end of an `i128` (1.7 * 10^38) that a sum of two cannot overflow it.
pub const NANOS_MAX: i128 = 10_i128.pow(37);

/// Longest text that is looked at. The longest canonical text has some 32 bytes.
const TEXT_BYTES_MAX: usize = 1024;

const NANOS: i128 = 1_000_000_000;

/// In which notation a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// Suffixes by powers of ten: `100m`, `5k`, `2G`.
    #[default]
    DecimalSi,
    /// Suffixes by powers of 1024: `5Ki`, `2Gi`.
    BinarySi,
    /// Exponents: `5e3`.
    DecimalExponent,
}

/// The text is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text as a whole does not look like one.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    FormatWrong,
    /// There is no such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An amount of a resource. Equality and order are those of the number; the notation does not count.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    /// Reads any notation Kubernetes knows.
    pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(QuantityError::FormatWrong);
        }
        let (negative, unsigned) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let number_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError::FormatWrong);
        }
        let suffix = Suffix::parse(suffix)?;
        let digits = whole.bytes().chain(fraction.bytes());
        let fraction_digits = i64::try_from(fraction.len()).expect("bounded by TEXT_BYTES_MAX");
        let nanos = scaled(digits, fraction_digits, suffix);
        let mut format = suffix.format;
        if format == Format::BinarySi && nanos != 0 && nanos < NANOS {
            format = Format::DecimalSi;
        }
        Ok(Quantity { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// The quantity in an API object.
    pub fn of(quantity: &ApiQuantity) -> Result<Quantity, QuantityError> {
        Quantity::parse(&quantity.0)
    }

    /// `value` whole units.
    pub fn from_value(value: i64, format: Format) -> Quantity {
        Quantity { nanos: i128::from(value) * NANOS, format }
    }

    /// `value` thousandths, in decimal notation.
    pub fn from_milli_value(value: i64) -> Quantity {
        Quantity { nanos: i128::from(value) * (NANOS / 1000), format: Format::DecimalSi }
    }

    /// Whole units, rounded away from zero; the nearest `i64` where it does not fit.
    pub fn value(&self) -> i64 {
        rounded_up(self.nanos, NANOS)
    }

    /// Thousandths, rounded away from zero; the nearest `i64` where it does not fit.
    pub fn milli_value(&self) -> i64 {
        rounded_up(self.nanos, NANOS / 1000)
    }

    /// The notation it prints in, where the value allows.
    pub fn format(&self) -> Format {
        self.format
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        match self.nanos.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// True for nothing.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// True when the value is a number of whole units.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANOS == 0
    }

    /// The sum, in this quantity's notation (the other's, when this one is zero); `None` when too large.
    #[must_use]
    pub fn checked_add(self, other: Quantity) -> Option<Quantity> {
        self.with_sum(self.nanos + other.nanos, other)
    }

    /// The difference, in this quantity's notation; `None` when it is too large.
    #[must_use]
    pub fn checked_sub(self, other: Quantity) -> Option<Quantity> {
        self.with_sum(self.nanos - other.nanos, other)
    }

    fn with_sum(self, nanos: i128, other: Quantity) -> Option<Quantity> {
        let format = if self.is_zero() { other.format } else { self.format };
        (nanos.abs() <= NANOS_MAX).then_some(Quantity { nanos, format })
    }

    /// The quantity for an API object, in canonical form.
    pub fn to_api(self) -> ApiQuantity {
        ApiQuantity(self.to_string())
    }
}

#[derive(Debug, Clone, Copy)]
struct Suffix {
    format: Format,
    /// Power of ten; 0 for binary suffixes.
    ten: i64,
    /// Power of two; 0 for decimal suffixes.
    two: u32,
}

impl Suffix {
    fn parse(text: &str) -> Result<Suffix, QuantityError> {
        let decimal = |ten| Suffix { format: Format::DecimalSi, ten, two: 0 };
        let binary = |two| Suffix { format: Format::BinarySi, ten: 0, two };
        let suffix = match text {
            "n" => decimal(-9),
            "u" => decimal(-6),
            "m" => decimal(-3),
            "" => decimal(0),
            "k" => decimal(3),
            "M" => decimal(6),
            "G" => decimal(9),
            "T" => decimal(12),
            "P" => decimal(15),
            "E" => decimal(18),
            "Ki" => binary(10),
            "Mi" => binary(20),
            "Gi" => binary(30),
            "Ti" => binary(40),
            "Pi" => binary(50),
            "Ei" => binary(60),
            other => return Suffix::parse_exponent(other),
        };
        Ok(suffix)
    }

    fn parse_exponent(text: &str) -> Result<Suffix, QuantityError> {
        let well_formed = |byte: u8| b"eEinumkKMGTP+-0123456789".contains(&byte);
        if !text.bytes().all(well_formed) {
            return Err(QuantityError::FormatWrong);
        }
        let exponent = text.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(QuantityError::Suffix);
        }
        let ten = exponent.parse::<i64>().map_err(|_| QuantityError::Suffix)?;
        Ok(Suffix { format: Format::DecimalExponent, ten, two: 0 })
    }
}

/// The billionths of `digits`, of which the last `fraction_digits` follow the point, times the suffix;
/// rounded up, and never more than [`NANOS_MAX`], or an `i64` of whole units in binary notation.
fn scaled(digits: impl Iterator<Item = u8>, fraction_digits: i64, suffix: Suffix) -> i128 {
    // Leading digits are gathered while they fit; those that follow shift the exponent and count as "there is
    // more". An i128 holds 10^38, and 10^20 * 2^60.
    let mantissa_max = if suffix.two == 0 { 10_i128.pow(37) } else { 10_i128.pow(19) };
    let mut mantissa: i128 = 0;
    let mut dropped: i64 = 0;
    let mut inexact = false;
    for digit in digits {
        if mantissa < mantissa_max {
            mantissa = mantissa * 10 + i128::from(digit - b'0');
        } else {
            dropped += 1;
            inexact |= digit != b'0';
        }
    }
    if mantissa == 0 {
        return 0;
    }
    let exponent = suffix.ten.saturating_add(9 - fraction_digits + dropped);
    let power = u32::try_from(exponent.unsigned_abs()).ok().and_then(|power| 10_i128.checked_pow(power));
    let doubled = mantissa << suffix.two;
    let nanos = match power {
        Some(power) if exponent >= 0 => {
            doubled.checked_mul(power).map_or(NANOS_MAX, |nanos| nanos.saturating_add(i128::from(inexact)))
        }
        Some(power) => doubled / power + i128::from(inexact || doubled % power != 0),
        None if exponent >= 0 => NANOS_MAX,
        None => 1,
    };
    let nanos_max = if suffix.two == 0 { NANOS_MAX } else { i128::from(i64::MAX) * NANOS };
    nanos.min(nanos_max)
}

fn rounded_up(nanos: i128, unit: i128) -> i64 {
    let magnitude = (nanos.abs() + unit - 1) / unit;
    let signed = if nanos < 0 { -magnitude } else { magnitude };
    i64::try_from(signed).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return formatter.write_str("0");
        }
        let format = match self.format {
            // Small or fractional amounts would lose digits in powers of 1024.
            Format::BinarySi if self.nanos.abs() < 1024 * NANOS || !self.is_whole() => Format::DecimalSi,
            format => format,
        };
        if format == Format::BinarySi {
            let suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
            let (value, power) = without_factor(self.nanos / NANOS, 1024, suffixes.len() - 1);
            return write!(formatter, "{value}{}", suffixes[power]);
        }
        let suffixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        let power_max = if format == Format::DecimalSi { suffixes.len() - 1 } else { usize::MAX };
        let (value, power) = without_factor(self.nanos, 1000, power_max);
        if format == Format::DecimalSi {
            return write!(formatter, "{value}{}", suffixes[power]);
        }
        match i64::try_from(power).expect("at most 13 powers of 1000 in 10^38") * 3 - 9 {
            0 => write!(formatter, "{value}"),
            exponent => write!(formatter, "{value}e{exponent}"),
        }
    }
}

/// `value` without as many factors as it has, at most `count_max`, and how many those were.
fn without_factor(mut value: i128, factor: i128, count_max: usize) -> (i128, usize) {
    let mut count = 0;
    while count < count_max && value % factor == 0 {
        value /= factor;
        count += 1;
    }
    (value, count)
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Quantity, QuantityError> {
        Quantity::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// The quantity in a JSON value: a text, or a bare number.
pub fn in_json(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// Writes the amounts of a map in their canonical form, as upstream's decoder does: `0.5` becomes `500m`.
pub fn canonical(amounts: Option<&mut Value>) {
    let amounts = amounts.and_then(Value::as_object_mut);
    for amount in amounts.into_iter().flat_map(serde_json::Map::values_mut) {
        if let Some(quantity) = in_json(amount) {
            *amount = quantity.to_string().into();
        }
    }
}

#[cfg(test)]
mod tests;
