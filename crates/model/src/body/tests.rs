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
    let decoded =
        json_body(r#"{"a":1,"spec":{"replicas":1,"list":[{"x":1},{"x":1,"x":2}],"replicas":3},"a":2}"#);
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

fn yaml_body(text: &str) -> Value {
    decode(Some(YAML), text.as_bytes(), true).unwrap_or_else(|status| panic!("{text}: {status}")).value
}

#[test]
fn yaml_is_read_as_the_json_it_stands_for() {
    let text = "kind: StatefulSet\nspec:\n  replicas: 3\n  on: true\n  text: \"3\"\n  none: null\n  \
                list:\n  - a\n  - 1.5\n  port: 0x50\n  key: yes\n";
    let value = yaml_body(text);
    assert_eq!(value["spec"]["replicas"], 3);
    assert_eq!(value["spec"]["text"], "3");
    assert_eq!(value["spec"]["none"], Value::Null);
    assert_eq!(value["spec"]["list"], json!(["a", 1.5]));
    let shared = yaml_body("a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n  e: 2\n");
    assert_eq!(shared, json!({ "a": { "b": 1 }, "c": { "b": 1 }, "d": { "b": 1, "e": 2 } }));
    assert_eq!(yaml_body(r#"{"kind":"Pod","spec":{"a":[1,"2"]}}"#)["spec"]["a"], json!([1, "2"]));
}

#[test]
fn alias_bombs_several_documents_and_nonsense_are_refused() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        let list = vec![alias; 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    assert_eq!(refused(YAML, bomb.as_bytes()).code(), 400);
    assert_eq!(refused(YAML, b"a: 1\n---\nb: 2\n").code(), 400);
    for text in ["a: [", "a: b: c", "a: *missing", "{", "? [a]\n: 1"] {
        assert_eq!(refused(YAML, text.as_bytes()).code(), 400, "{text:?}");
    }
    assert_eq!(refused(YAML, b"a: \xff").code(), 400);
}

#[test]
fn a_protobuf_body_is_decoded_and_a_broken_one_refused() {
    assert_eq!(refused(PROTOBUF, b"{}").code(), 400);
    assert_eq!(refused(PROTOBUF, b"k8s\0\xff").code(), 400);
}

#[test]
fn a_body_of_too_many_objects_is_refused() {
    let many = format!("[{}{{}}]", "{},".repeat(tree::OBJECTS_MAX));
    assert_eq!(refused(JSON, many.as_bytes()).code(), 400);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[-a-z0-9:{}\\[\\],\"&*!?|>% \n]{0,60}") {
        let _ = decode(Some(JSON), text.as_bytes(), true);
        let _ = decode(Some(YAML), text.as_bytes(), true);
    }

    #[test]
    fn json_comes_out_as_it_went_in(keys in proptest::collection::vec("[a-z]{1,4}", 0..6), number: i64) {
        let value: Value = keys.iter().map(|key| (key.clone(), json!([number, key, null, true]))).collect();
        let decoded = decode(None, value.to_string().as_bytes(), true).expect("is JSON");
        proptest::prop_assert_eq!(decoded, Decoded { value, duplicate_fields: Vec::new() });
    }
}
