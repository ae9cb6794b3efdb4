//! Bodies that are read, and bodies that are refused.

use serde_json::json;

use super::*;

fn json_body(text: &str) -> Decoded {
    decode(Some(JSON), text.as_bytes(), true).unwrap_or_else(|status| panic!("{text}: {status}"))
}

fn refused(content_type: &str, bytes: &[u8]) -> Status {
    decode(Some(content_type), bytes, true).expect_err("should be refused")
}

#[test]
fn a_content_type_names_the_encoding_and_parameters_do_not_count() {
    assert_eq!(encoding(None), Ok(Encoding::Json));
    assert_eq!(encoding(Some("application/json; charset=utf-8")), Ok(Encoding::Json));
    assert_eq!(encoding(Some("Application/YAML")), Ok(Encoding::Yaml));
    assert_eq!(encoding(Some("application/vnd.kubernetes.protobuf;stream=watch")), Ok(Encoding::Protobuf));
    let status = encoding(Some("text/plain")).expect_err("is refused");
    assert_eq!(status.code(), 415);
    assert_eq!(
        status.message,
        "the body of the request was in an unknown format - accepted media types include: \
         application/json, application/yaml, application/vnd.kubernetes.protobuf"
    );
}

#[test]
fn duplicate_fields_are_reported_with_their_paths_and_the_last_wins() {
    let decoded = json_body(r#"{"a":1,"spec":{"replicas":1,"list":[{"x":1},{"x":1,"x":2}],"replicas":3},"a":2}"#);
    assert_eq!(decoded.duplicate_fields, ["spec.list[1].x", "spec.replicas", "a"]);
    assert_eq!(decoded.value, json!({"a": 2, "spec": {"replicas": 3, "list": [{"x": 1}, {"x": 2}]}}));
    let lax = decode(Some(JSON), br#"{"a":1,"a":2}"#, false).expect("is read");
    assert_eq!(lax.duplicate_fields, Vec::<String>::new());
    let many: Vec<String> = (0..1000).map(|index| format!("\"k{index}\":1,\"k{index}\":2")).collect();
    assert_eq!(json_body(&format!("{{{}}}", many.join(","))).duplicate_fields.len(), DUPLICATES_MAX);
}

#[test]
fn numbers_keep_being_integers_where_they_are() {
    let decoded = json_body("[9223372036854775807,-9223372036854775808,18446744073709551615,1.5,1e2]");
    assert_eq!(decoded.value[0].as_i64(), Some(i64::MAX));
    assert_eq!(decoded.value[1].as_i64(), Some(i64::MIN));
    assert_eq!(decoded.value[2].as_u64(), Some(u64::MAX));
    assert_eq!(decoded.value[4].as_f64(), Some(100.0));
    assert_eq!(refused(JSON, b"1e999").code(), 400);
}

#[test]
fn what_is_not_json_is_a_bad_request() {
    for text in ["", "{", "{\"a\":1}}", "{a:1}", "nul", "{\"a\":1} x", "\u{feff}{}", "{\"a\":\"\u{1}\"}"] {
        assert_eq!(refused(JSON, text.as_bytes()).code(), 400, "{text:?}");
    }
    assert_eq!(refused(JSON, b"{\"a\":\"\xff\"}").code(), 400);
}

#[test]
fn deep_nesting_is_refused_and_shallow_nesting_is_not() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    json_body(&nested(100));
    assert_eq!(refused(JSON, nested(200).as_bytes()).code(), 400);
    assert_eq!(refused(JSON, "[".repeat(1_000_000).as_bytes()).code(), 400);
    assert_eq!(refused(YAML, nested(200).as_bytes()).code(), 400);
}

#[test]
fn a_body_beyond_the_limit_is_too_large() {
    let body = vec![b' '; BODY_BYTES_MAX + 1];
    assert_eq!(refused(JSON, &body).code(), 413);
}
