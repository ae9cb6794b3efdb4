//! Quantities, against the texts upstream accepts, refuses and prints.

use proptest::prelude::*;

use super::*;

fn quantity(text: &str) -> Quantity {
    Quantity::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[test]
fn the_canonical_form_has_no_fraction_and_the_largest_suffix() {
    let table = [
        ("0", "0"),
        ("0n", "0"),
        ("-0.0Ki", "0"),
        ("1", "1"),
        ("1000m", "1"),
        ("100m", "100m"),
        ("0.1", "100m"),
        ("1.5", "1500m"),
        ("1.5k", "1500"),
        ("5000", "5k"),
        ("1.5Gi", "1536Mi"),
        ("1024Mi", "1Gi"),
        ("1Ki", "1Ki"),
        ("512Ki", "512Ki"),
        ("1023", "1023"),
        ("1000Ki", "1000Ki"),
        ("0.5Ki", "512"),
        ("0.001Ki", "1024m"),
        ("0.0001Ki", "102400u"),
        ("12e6", "12e6"),
        ("12E6", "12e6"),
        ("1e3", "1e3"),
        ("1e4", "10e3"),
        ("12e-4", "1200e-6"),
        ("1.2e3", "1200"),
        ("1E", "1E"),
        ("10E", "10E"),
        ("-1Gi", "-1Gi"),
        ("+1", "1"),
        ("1.", "1"),
        (".5", "500m"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("1.0000000001", "1000000001n"),
        ("009", "9"),
        ("100Mi", "100Mi"),
        ("128974848", "128974848"),
        ("129M", "129M"),
        ("123Mi", "123Mi"),
    ];
    for (text, canonical) in table {
        assert_eq!(quantity(text).to_string(), canonical, "{text:?}");
    }
}

#[test]
fn what_is_not_a_quantity_is_refused_in_upstreams_words() {
    for text in ["", ".", "-", "+", "1.1.1", "1+1.0M", " 1", "1 ", "- 1", "aoeu", "++1", "1,5", "0x10", "ä"]
    {
        assert_eq!(Quantity::parse(text), Err(QuantityError::FormatWrong), "{text:?}");
    }
    let suffixes = ["0.1mi", "1i", ".5i", "-3.01i", "-3.01e-", "1K", "1ki", "1e", "1e+", "1ee3", "1KiB"];
    for text in suffixes {
        assert!(Quantity::parse(text).is_err(), "{text:?}");
    }
    assert_eq!(Quantity::parse("1K"), Err(QuantityError::Suffix));
    assert_eq!(Quantity::parse("1e99999999999999999999"), Err(QuantityError::Suffix));
    assert_eq!(
        QuantityError::FormatWrong.to_string(),
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    );
}

#[test]
fn huge_and_tiny_values_are_bounded() {
    let most = Quantity { nanos: NANOS_MAX, format: Format::DecimalSi };
    for text in ["1e400", "1e9223372036854775807", &"9".repeat(1000), "99999999999999999999999999999E"] {
        assert_eq!(quantity(text), most, "{text:?}");
    }
    assert_eq!(quantity("1e-400"), quantity("1n"));
    assert_eq!(quantity("1e-9223372036854775808"), quantity("1n"));
    assert_eq!(quantity(&format!("0.{}1", "0".repeat(1000))), quantity("1n"));
    assert!(Quantity::parse(&"9".repeat(1025)).is_err());
    assert_eq!(most.value(), i64::MAX);
    assert_eq!(quantity("-1e400").value(), i64::MIN);
    assert_eq!(most.checked_add(quantity("1n")), None);
    assert_eq!(quantity("-1e400").checked_sub(quantity("1n")), None);
    assert_eq!(quantity("8Ei").value(), i64::MAX);
    assert_eq!(quantity("99999999999999999999999999999Ei"), Quantity::from_value(i64::MAX, Format::BinarySi));
    assert_eq!(quantity("7Ei").value(), 7 << 60);
    assert_eq!(quantity("0.000000000000000000000000000000000000000000000001Ei"), quantity("1n"));
    assert_eq!(quantity("1.00000000000000000000000000000000000000Ei"), quantity("1Ei"));
}

#[test]
fn values_round_away_from_zero() {
    assert_eq!(quantity("1.2").value(), 2);
    assert_eq!(quantity("-1.2").value(), -2);
    assert_eq!(quantity("1m").value(), 1);
    assert_eq!(quantity("1u").milli_value(), 1);
    assert_eq!(quantity("1.5").milli_value(), 1500);
    assert_eq!(quantity("2Gi").value(), 2 << 30);
    assert_eq!(Quantity::from_milli_value(250).to_string(), "250m");
    assert_eq!(Quantity::from_value(1 << 30, Format::BinarySi).to_string(), "1Gi");
}

#[test]
fn sums_keep_the_notation_of_the_first_that_is_not_zero() {
    let sum = |a: &str, b: &str| quantity(a).checked_add(quantity(b)).expect("fits").to_string();
    assert_eq!(sum("1Gi", "1024Mi"), "2Gi");
    assert_eq!(sum("0", "1Gi"), "1Gi");
    assert_eq!(sum("500m", "1"), "1500m");
    let difference = quantity("1Gi").checked_sub(quantity("512Mi")).expect("fits");
    assert_eq!(difference.to_string(), "512Mi");
    assert_eq!(quantity("1").checked_sub(quantity("1")).expect("fits").sign(), 0);
}

#[test]
fn equal_numbers_in_different_notations_are_equal() {
    assert_eq!(quantity("1Gi"), quantity("1073741824"));
    assert_eq!(quantity("1k"), quantity("1e3"));
    assert!(quantity("1G") < quantity("1Gi"));
    assert!(quantity("-1") < quantity("0"));
}

proptest! {
    #[test]
    fn the_canonical_form_parses_back(
        text in "[+-]?[0-9]{1,12}(\\.[0-9]{0,12})?(|n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e-?[0-9]{1,2}|E[0-9])"
    ) {
        let first = quantity(&text);
        let canonical = first.to_string();
        let second = quantity(&canonical);
        prop_assert_eq!(first, second);
        prop_assert_eq!(second.to_string(), canonical);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        let _ = Quantity::parse(&text);
    }

    #[test]
    fn no_number_with_a_strange_tail_panics(text in "[+-]?[0-9.]{0,60}[eEinumkKMGTP]{0,3}[-+]?[0-9]{0,25}") {
        if let Ok(quantity) = Quantity::parse(&text) {
            let _ = (quantity.value(), quantity.milli_value(), quantity.to_string());
        }
    }

    #[test]
    fn adding_and_taking_away_cancel(a in -(1_i64 << 60)..1_i64 << 60, b in -(1_i64 << 60)..1_i64 << 60) {
        let (a, b) = (Quantity::from_milli_value(a), Quantity::from_milli_value(b));
        prop_assert_eq!(a.checked_add(b).and_then(|sum| sum.checked_sub(b)), Some(a));
    }
}
