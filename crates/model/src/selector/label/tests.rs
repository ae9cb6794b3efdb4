//! Label selectors, against the texts upstream accepts and refuses.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(text: &str) -> Selector {
    Selector::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn refused(text: &str) -> String {
    Selector::parse(text).expect_err("should be refused")
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_operator_is_read_and_printed_canonically() {
    let table = [
        ("", ""),
        ("\n", ""),
        ("x=a,y=b,z=c", "x=a,y=b,z=c"),
        ("z=c,x=a", "x=a,z=c"),
        ("x==a", "x==a"),
        ("x!=a", "x!=a"),
        ("x = a", "x=a"),
        ("x=", "x="),
        ("x=,z= ", "x=,z="),
        ("x", "x"),
        ("!x", "!x"),
        ("! x", "!x"),
        ("x>1", "x>1"),
        ("x<1,z<5", "x<1,z<5"),
        ("x in (b,a)", "x in (a,b)"),
        ("x in (a,a)", "x in (a)"),
        ("x notin (c)", "x notin (c)"),
        ("x in (,)", "x in ()"),
        ("x in (a,)", "x in (,a)"),
        ("x in (,,a)", "x in (,a)"),
        ("x notin (a,in)", "x notin (a,in)"),
        ("in in (in)", "in in (in)"),
        ("notin=in", "notin=in"),
        ("example.com/a in (b),!c,d", "!c,d,example.com/a in (b)"),
    ];
    for (text, canonical) in table {
        assert_eq!(parse(text).to_string(), canonical, "{text:?}");
    }
}

#[test]
fn what_is_no_selector_is_refused_in_upstreams_words() {
    assert_eq!(refused("x=a||y=b").split(':').next(), Some("unable to parse requirement"));
    assert_eq!(refused("x==a==b"), "found '==', expected: ',' or 'end of string'");
    assert_eq!(refused("!x=a"), "found '=', expected: ',' or 'end of string'");
    assert!(refused("x<a").contains("the value must be an integer"));
    assert_eq!(refused(","), "found ',', expected: !, identifier, or 'end of string'");
    assert_eq!(refused("x,"), "found '', expected: identifier after ','");
    assert_eq!(refused("x in a"), "unable to parse requirement: found 'a' expected: '('");
    assert_eq!(refused("x in (a"), "unable to parse requirement: found '', expected: ',' or ')'");
    assert_eq!(
        refused("x y"),
        "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt"
    );
    assert_eq!(
        refused("x in ()"),
        "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set \
         can't be empty"
    );
    assert!(refused("a/b/c=d").starts_with(
        "unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a qualified name must consist of"
    ));
    assert!(refused("app=-bad").starts_with(
        "unable to parse requirement: values[0][app]: Invalid value: \"-bad\": a valid label must be"
    ));
    assert!(Selector::parse(&"a,".repeat(40_000)).is_err());
}

#[test]
fn matching_follows_the_operator() {
    let pod = labels(&[("app", "web"), ("tier", ""), ("n", "10")]);
    let matching = [
        "",
        "app=web",
        "app in (web,db)",
        "app",
        "tier=",
        "!other",
        "other!=x",
        "other notin (x)",
        "n>9",
        "n<11",
        "app=web,n>9",
    ];
    for text in matching {
        assert!(parse(text).matches(&pod), "{text:?}");
    }
    let others = [
        "app=db",
        "other",
        "other=",
        "!app",
        "app!=web",
        "app notin (web)",
        "n>10",
        "n<10",
        "app>1",
        "other<1",
        "app=web,n>10",
    ];
    for text in others {
        assert!(!parse(text).matches(&pod), "{text:?}");
    }
    assert!(!Selector::nothing().matches(&pod) && !Selector::nothing().is_everything());
    assert!(Selector::everything().matches_optional(None));
}

#[test]
fn selectors_in_objects_become_requirements() {
    let selector: LabelSelector = serde_json::from_value(json!({
        "matchLabels": { "app": "web" },
        "matchExpressions": [
            { "key": "tier", "operator": "NotIn", "values": ["b", "a"] },
            { "key": "gone", "operator": "DoesNotExist" },
            { "key": "there", "operator": "Exists" },
        ],
    }))
    .expect("a selector");
    let parsed = Selector::from_label_selector(&selector).expect("is valid");
    assert_eq!(parsed.to_string(), "app=web,!gone,there,tier notin (a,b)");
    assert!(Selector::from_label_selector(&LabelSelector::default()).expect("valid").is_everything());
    assert_eq!(Selector::from_labels(&labels(&[("b", "1"), ("a", "2")])).to_string(), "a=2,b=1");
}

#[test]
fn selectors_in_objects_are_validated() {
    let selector: LabelSelector = serde_json::from_value(json!({
        "matchLabels": { "app": "web" },
        "matchExpressions": [
            { "key": "a", "operator": "In" },
            { "key": "b", "operator": "Exists", "values": ["x"] },
            { "key": "c", "operator": "Gt", "values": ["1"] },
            { "key": "d", "operator": "In", "values": ["-"] },
        ],
    }))
    .expect("a selector");
    let errors = validate_label_selector(&selector, &Path::new("spec.selector"));
    let texts: Vec<String> = errors.iter().map(Error::to_string).collect();
    assert_eq!(
        texts[..3],
        [
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is \
             'In' or 'NotIn'",
            "spec.selector.matchExpressions[1].values: Forbidden: may not be specified when `operator` is \
             'Exists' or 'DoesNotExist'",
            "spec.selector.matchExpressions[2].operator: Invalid value: \"Gt\": not a valid selector \
             operator",
        ]
    );
    assert!(texts[3].starts_with("spec.selector.matchExpressions[3].values[0]: Invalid value: \"-\""));
    assert_eq!(texts.len(), 4);
    let unknown = Selector::from_label_selector(&selector).expect_err("In needs values");
    assert!(unknown.contains("values set can't be empty"));
}

proptest! {
    #[test]
    fn the_canonical_text_parses_back(
        terms in proptest::collection::vec(
            ("[a-z]{1,5}", 0..8_usize, proptest::collection::btree_set("[a-z0-9]{1,4}", 1..4)), 0..6)
    ) {
        let mut list = Vec::new();
        for (key, operator, values) in terms {
            let values: Vec<String> = values.into_iter().collect();
            let one = &values[0];
            list.push(match operator {
                0 => format!("{key} in ({})", values.join(",")),
                1 => format!("{key} notin ({})", values.join(",")),
                2 => format!("{key}={one}"),
                3 => format!("{key}=={one}"),
                4 => format!("{key}!={one}"),
                5 => key,
                6 => format!("!{key}"),
                _ => format!("{key}>{}", one.len()),
            });
        }
        let first = parse(&list.join(","));
        prop_assert_eq!(&parse(&first.to_string()), &first);
    }

    #[test]
    fn no_text_panics(text in "[a-z=!<>(), ä]{0,60}") {
        let _ = Selector::parse(&text);
    }
}
