//! Protobuf bodies as kubectl sends them, and as nobody should.

use super::*;

#[test]
fn every_name_in_the_table_resolves() {
    let table = Table::get();
    for (api_version, kind) in [
        ("v1", "Pod"),
        ("v1", "Secret"),
        ("apps/v1", "StatefulSet"),
        ("policy/v1", "Eviction"),
        ("autoscaling/v1", "Scale"),
        ("coordination.k8s.io/v1", "Lease"),
        ("events.k8s.io/v1", "Event"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ("apps/v1", "DeleteOptions"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("v1", "Status"),
        ("meta.k8s.io/v1", "PartialObjectMetadata"),
        ("flowcontrol.apiserver.k8s.io/v1", "FlowSchema"),
    ] {
        assert!(table.object(api_version, kind).is_some(), "{api_version} {kind}");
    }
    assert_eq!(table.object("example.com/v1", "Pod"), None);
    assert_eq!(table.object("v1", "Nonsense"), None);
    assert_eq!(table.object("apps.example.com/v1", "StatefulSet"), None);
}

/// Bodies recorded from kubectl 1.32, each with the JSON that `--dry-run=client -o json` printed for the same
/// command: three lines a case, and an empty one between.
const KUBECTL: &str = include_str!("tests/kubectl-1.32.txt");

fn cases() -> impl Iterator<Item = (&'static str, Vec<u8>, Value)> {
    KUBECTL.split("\n\n").map(|case| {
        let mut lines = case.lines();
        let mut line = || lines.next().expect("three lines a case");
        let (command, hex, json) = (line(), line(), line());
        (command, from_hex(hex), serde_json::from_str(json).expect("JSON"))
    })
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit");
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).expect("two digits");
    text.as_bytes().chunks(2).map(byte).collect()
}

/// Go's JSON encoder writes times never set as null and a status' required numbers as zero; both mean the
/// same as nothing.
fn without_unset(value: &mut Value, in_status: bool) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !(value.is_null() || in_status && value.as_i64() == Some(0)));
            for (key, value) in map.iter_mut() {
                without_unset(value, in_status || key == "status");
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| without_unset(value, in_status)),
        _ => {}
    }
}

#[test]
fn bodies_of_kubectl_decode_to_the_json_it_prints_for_them() {
    let mut count = 0;
    for (command, body, mut expected) in cases() {
        without_unset(&mut expected, false);
        let decoded = decode(&body).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert_eq!(decoded, expected, "{command}");
        count += 1;
    }
    assert_eq!(count, 22);
}

/// Writes fields the way a client does.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn number(mut self, field: u64, mut number: u64) -> Writer {
        self.raw(field << 3);
        loop {
            let byte = u8::try_from(number & 0x7f).expect("seven bits");
            number >>= 7;
            self.0.push(if number == 0 { byte } else { byte | 0x80 });
            if number == 0 {
                return self;
            }
        }
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Writer {
        self.raw(field << 3 | 2);
        self.raw(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn raw(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
            number >>= 7;
        }
        self.0.push(u8::try_from(number).expect("seven bits"));
    }
}

fn body(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let meta = Writer::default().bytes(1, api_version.as_bytes()).bytes(2, kind.as_bytes()).0;
    let mut body = MAGIC.to_vec();
    body.extend(Writer::default().bytes(1, &meta).bytes(2, object).0);
    body
}

#[test]
fn zero_behind_a_pointer_is_kept_and_elsewhere_is_nothing() {
    // DeleteOptions: gracePeriodSeconds = 1 (pointer), orphanDependents = 3 (pointer), propagationPolicy = 4.
    let options = Writer::default().number(1, 0).number(3, 0).bytes(4, b"Foreground").0;
    let decoded = decode(&body("apps/v1", "DeleteOptions", &options)).expect("decodes");
    assert_eq!(
        decoded,
        serde_json::json!({ "apiVersion": "apps/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "orphanDependents": false, "propagationPolicy": "Foreground" })
    );
    // StatefulSetSpec: replicas = 1 (pointer), minReadySeconds = 9, ordinals = 11.
    let spec = Writer::default().number(1, 0).number(9, 0).bytes(11, &[]).bytes(5, b"").0;
    let decoded = decode(&body("apps/v1", "StatefulSet", &Writer::default().bytes(2, &spec).0));
    let spec = &decoded.expect("decodes")["spec"];
    assert_eq!(*spec, serde_json::json!({ "replicas": 0, "ordinals": {} }));
    // A claim's storageClassName (5) may be empty on purpose.
    let spec = Writer::default().bytes(5, b"").bytes(3, b"").0;
    let claim = decode(&body("v1", "PersistentVolumeClaim", &Writer::default().bytes(2, &spec).0));
    assert_eq!(claim.expect("decodes")["spec"], serde_json::json!({ "storageClassName": "" }));
}

#[test]
fn times_and_raw_json_have_their_own_form() {
    let micro = Writer::default().number(1, 1_767_225_600).number(2, 123_456_789).0;
    let spec = Writer::default().bytes(1, b"holder").number(2, 15).bytes(3, &micro).0;
    let lease = decode(&body("coordination.k8s.io/v1", "Lease", &Writer::default().bytes(2, &spec).0));
    assert_eq!(
        lease.expect("decodes")["spec"],
        serde_json::json!({ "holderIdentity": "holder", "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-01T00:00:00.123456Z" })
    );
    let raw = Writer::default().bytes(1, br#"{"spec":{"a":[1]}}"#).0;
    let revision = Writer::default().bytes(2, &raw).number(3, 7).0;
    let decoded = decode(&body("apps/v1", "ControllerRevision", &revision)).expect("decodes");
    assert_eq!(decoded["data"], serde_json::json!({ "spec": { "a": [1] } }));
    assert_eq!(decoded["revision"], 7);
    let broken = Writer::default().bytes(2, &Writer::default().bytes(1, b"{").0).0;
    let error = decode(&body("apps/v1", "ControllerRevision", &broken)).expect_err("is refused");
    assert_eq!(error, ProtobufError::Json("data".to_owned()));
    let absurd = Writer::default().bytes(3, &Writer::default().number(1, u64::MAX >> 1).0).0;
    let lease = body("coordination.k8s.io/v1", "Lease", &Writer::default().bytes(2, &absurd).0);
    assert_eq!(decode(&lease), Err(ProtobufError::Time("acquireTime".to_owned())));
}

#[test]
fn schemas_of_custom_resources_keep_their_shapes() {
    // JSONSchemaProps: type = 5, items = 24 (schema = 1), additionalProperties = 30 (allows = 1),
    // properties = 29.
    let text = Writer::default().bytes(5, b"string").0;
    let items = Writer::default().bytes(1, &text).0;
    let list = Writer::default().bytes(5, b"array").bytes(24, &items).0;
    let entry = Writer::default().bytes(1, b"list").bytes(2, &list).0;
    let open = Writer::default().number(1, 1).0;
    let root = Writer::default().bytes(5, b"object").bytes(29, &entry).bytes(30, &open).0;
    let validation = Writer::default().bytes(1, &root).0;
    let version = Writer::default().bytes(1, b"v1").number(2, 1).bytes(4, &validation).0;
    let spec = Writer::default().bytes(7, &version).0;
    let object = Writer::default().bytes(2, &spec).0;
    let decoded = decode(&body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &object));
    assert_eq!(
        decoded.expect("decodes")["spec"]["versions"][0],
        serde_json::json!({ "name": "v1", "served": true, "schema": { "openAPIV3Schema": {
            "type": "object", "additionalProperties": true,
            "properties": { "list": { "type": "array", "items": { "type": "string" } } },
        } } })
    );
}

#[test]
fn malformed_bodies_are_errors() {
    assert_eq!(decode(b"{}"), Err(ProtobufError::NoMagic));
    assert_eq!(decode(b""), Err(ProtobufError::NoMagic));
    let unknown = decode(&body("example.com/v1", "Thing", &[])).expect_err("is refused");
    assert_eq!(unknown.to_string(), "no kind \"Thing\" is registered for version \"example.com/v1\"");
    let pod = |object: &[u8]| decode(&body("v1", "Pod", object));
    assert_eq!(pod(&[0x0a]), Err(ProtobufError::Truncated));
    assert_eq!(
        pod(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        Err(ProtobufError::Truncated)
    );
    assert_eq!(pod(&[0xff; 11]), Err(ProtobufError::Overflow));
    assert_eq!(pod(&[0x00]), Err(ProtobufError::Tag(0)));
    assert_eq!(pod(&[0x0b]), Err(ProtobufError::Tag(11)));
    assert_eq!(pod(&[0x08, 0x01]), Err(ProtobufError::WireType("metadata".to_owned())));
    let name = Writer::default().bytes(1, &[0xff]).0;
    let object = Writer::default().bytes(1, &name).0;
    assert_eq!(pod(&object), Err(ProtobufError::Utf8("name".to_owned())));
    let mut gzip = body("v1", "Pod", &[]);
    gzip.extend(Writer::default().bytes(3, b"gzip").0);
    assert!(matches!(decode(&gzip), Err(ProtobufError::Content(_))));
    // Fields that nobody knows are skipped, whatever their type.
    let newer = Writer::default().number(999, 1).bytes(998, b"x").0;
    assert!(pod(&newer).is_ok() && pod(&[0xfd, 0x3f, 1, 2, 3, 4]).is_ok());
}

#[test]
fn nesting_and_the_number_of_values_are_bounded() {
    // JSONSchemaProps.not = 28, ever deeper.
    let mut schema = Vec::new();
    for _ in 0..1000 {
        schema = Writer::default().bytes(28, &schema).0;
    }
    let validation = Writer::default().bytes(1, &schema).0;
    let version = Writer::default().bytes(4, &validation).0;
    let object = Writer::default().bytes(2, &Writer::default().bytes(7, &version).0).0;
    let deep = body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &object);
    assert_eq!(decode(&deep), Err(ProtobufError::Depth));
    // PodSpec.containers = 2, each of them empty: two bytes.
    let containers = [0x12, 0x00].repeat(VALUES_MAX + 1);
    let many = body("v1", "Pod", &Writer::default().bytes(2, &containers).0);
    assert_eq!(decode(&many), Err(ProtobufError::Values));
}

#[test]
fn a_body_cut_anywhere_is_no_panic() {
    for (command, body, _) in cases() {
        for end in 0..body.len() {
            let _ = decode(&body[..end]);
        }
        assert!(decode(&body[..body.len() - 1]).is_err(), "{command}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(
        index in 0_usize..22,
        changes in proptest::collection::vec((0_usize..400, 0_u8..=255), 1..8),
    ) {
        let (_, mut body, _) = cases().nth(index).expect("there are 22");
        for (position, byte) in changes {
            let length = body.len();
            body[4 + position % (length - 4)] = byte;
        }
        let _ = decode(&body);
    }
}
