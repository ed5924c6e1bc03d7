use std::{collections::HashSet, path::Path, sync::LazyLock};

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};

use super::*;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [here.join("testdata"), here.join("../proto"), here.join("../third_party/proto")];
    let mut compiler = protox::Compiler::new(folders).unwrap();
    compiler.include_imports(true).open_file("validate.proto").unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
});

fn descriptor(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(&format!("validate.test.{name}")).unwrap()
}

fn validator(name: &str) -> Validator {
    Validator::compile(&descriptor(name)).unwrap()
}

fn encode(name: &str, json: &str) -> Vec<u8> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(descriptor(name), &mut deserializer);
    message.unwrap_or_else(|error| panic!("{json}: {error}")).encode_to_vec()
}

fn violations(name: &str, bytes: &[u8]) -> Vec<String> {
    match validator(name).check(bytes) {
        Ok(()) => Vec::new(),
        Err(found) => found.iter().map(|violation| format!("{} {}", violation.field, violation.description)).collect(),
    }
}

#[track_caller]
fn expect(name: &str, table: &[(&str, &[&str])]) {
    for (json, expected) in table {
        assert_eq!(violations(name, &encode(name, json)), *expected, "{name} {json}");
    }
}

#[test]
fn texts_are_held_to_their_rules() {
    expect(
        "Texts",
        &[
            ("{}", &[]),
            (r#"{"len": "abc", "between": "äöüß", "bytes": "äö"}"#, &[]),
            (r#"{"len": "ab"}"#, &["len must have exactly 3 characters"]),
            (r#"{"between": "a"}"#, &["between must have between 2 and 4 characters"]),
            (r#"{"bytes": "äöü"}"#, &["bytes must have at most 4 bytes"]),
            (r#"{"pattern": "aB"}"#, &["pattern must match `^[a-z]*$`"]),
            (r#"{"shown": "usd"}"#, &["shown must be like `USD`, or empty"]),
            (r#"{"prefix": "b/"}"#, &["prefix must begin with `a/`"]),
            (r#"{"suffix": "z"}"#, &["suffix must end with `.z`"]),
            (r#"{"contains": "z"}"#, &["contains must contain `-`"]),
            (r#"{"notContains": "a-b"}"#, &["not_contains must not contain `-`"]),
            (r#"{"in": "c"}"#, &["in must be one of ``, `a`, `b`"]),
            (r#"{"notIn": "y"}"#, &["not_in must not be one of `x`, `y`"]),
            (r#"{"const": "loose"}"#, &["const must be `fixed`"]),
            (r#"{"raw": "AAECAw=="}"#, &["raw must have at most 2 bytes"]),
            (r#"{"raw": "AQ=="}"#, &[r"raw must not be one of `\x01`"]),
        ],
    );
}

#[test]
fn a_text_that_is_left_empty_is_told_to_be_required_and_one_that_is_too_long_what_is_the_most() {
    let table = [
        ("", "is required, such as `12.50`"),
        ("1,50", "must be like `12.50`"),
        ("007", "must be like `12.50`"),
        ("0.123456789", "must be like `12.50`, with at most 8 digits after `.`"),
        ("-0.123456789", "must be like `12.50`, with at most 8 digits after `.`"),
        ("-1234567890123456789", "must be like `12.50`, with at most 18 digits before `.`"),
        ("1234567890123456789.5", "must be like `12.50`, with at most 18 digits before `.`"),
    ];
    for (value, expected) in table {
        let expected = format!("value {expected}");
        assert_eq!(violations("Sum", &encode("Sum", &format!(r#"{{"value": "{value}"}}"#)))[0], expected, "{value}");
    }
    let long = "value must be like `12.50`; value must have at most 28 characters";
    let found = violations("Sum", &encode("Sum", &format!(r#"{{"value": "{}"}}"#, "1".repeat(100_000))));
    assert_eq!(found.join("; "), long);
}

#[test]
fn a_limit_of_digits_is_told_of_numbers_alone() {
    let sku = "^[A-Z0-9][A-Z0-9-]{1,39}$";
    let amount = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,8})?$";
    let long_sku = format!("AB-{}", "C".repeat(38));
    for (pattern, value, expected) in [
        (sku, long_sku.as_str(), None),
        (sku, "-12", None),
        ("^[A-Z0-9]{2,12}$", "ABCDEFGHIJ12345", None),
        ("^[A-Z0-9]{2,12}$", "ABC1234567890", None),
        ("^([a-z]{2,3}(-[A-Z]{2})?)?$", "en-GBR", None),
        ("^[A-Z0-9-]{3,5}$", "-12345", None),
        ("^[0-9]{12,19}$", "12345678901234567890", Some("at most 19 digits")),
        (r"^[0-9](\.[0-9])?$", "12", Some("at most 1 digit before `.`")),
        (r"^[0-9](\.[0-9])?$", "1.25", Some("at most 1 digit after `.`")),
        (r"^[0-9](\.[0-9])?$", "-1.2", None),
        (amount, "1.2.345678901", None),
        (amount, "1-0.123456789", None),
        (amount, "00123", None),
        (amount, ".123456789", None),
        (amount, "1234567890123456789.123456789", None),
    ] {
        let rule = rule::Rule::Pattern { regex: regex::Regex::new(pattern).unwrap(), example: Some("X".into()) };
        let limit = expected.map(|limit| format!(", with {limit}")).unwrap_or_default();
        let refusal = rule.refuse(&rule::Value::Text(value));
        assert_eq!(refusal, format!("{}{limit}", rule.describe()), "{pattern} {value}");
    }
}

#[test]
fn the_rules_of_a_field_can_be_told_before_any_is_broken() {
    let told =
        |message: &str, field: &str| super::words(&descriptor(message).get_field_by_name(field).unwrap()).join("; ");
    for (message, field, expected) in [
        ("Texts", "between", "must have between 2 and 4 characters"),
        ("Texts", "shown", "must be like `USD`, or empty"),
        ("Texts", "id", "must be an id such as `ord_01h455vb4pex5vsknk084sn02q`"),
        ("Texts", "ids", "each must be an id such as `ord_01h455vb4pex5vsknk084sn02q`"),
        ("Numbers", "color", "must not be one of `COLOR_GREEN`"),
        ("Collections", "numbers", "must not hold the same item twice; each must be at least 0"),
        ("Collections", "by_name", "must have at most 2 entries; each key must have at most 3 characters"),
        ("Tree", "children", ""),
    ] {
        assert_eq!(told(message, field), expected, "{message}.{field}");
    }
}

#[test]
fn what_a_request_is_refused_without_can_be_told_before() {
    let field = |path: &str| {
        let (message, field) = path.split_once('.').unwrap();
        descriptor(message).get_field_by_name(field).unwrap()
    };
    for path in ["Presence.behavior", "Presence.zero_will_do", "Sum.value", "Defaults.always", "Collections.lines"] {
        assert!(super::is_required(&field(path)), "{path}");
    }
    for path in ["Presence.left", "Texts.shown", "Texts.id", "Defaults.if_set", "Defaults.unless_zero", "Numbers.after"]
    {
        assert!(!super::is_required(&field(path)), "{path}");
    }
}

#[test]
fn formats_admit_what_they_name_and_nothing_else() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("email", &["a@b", "a.b+c@example.com"], &["", "a", "@b", "a@", "a@-b", "a b@c", "a@b..c", "a@b@c"]),
        (
            "uuid",
            &["123e4567-e89b-12d3-a456-426614174000"],
            &["", "123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g"],
        ),
        ("uri", &["https://a.b/c?d=%20#e", "mailto:a@b"], &["", "a/b", "1a:b", "http://a b", "http://%2", "a:#b#c"]),
        ("hostname", &["a", "example.com.", "1.a"], &["", "a..b", "-a", "127.0.0.1", "a_b", "."]),
        ("ip", &["127.0.0.1", "::1", "fe80::1%eth0"], &["", "1.2.3", "1.2.3.256", "::g", "::1%"]),
        ("hostAndPort", &["a:0", "1.2.3.4:80", "[::1]:443"], &["", "a", "a:", "a:01", "a:70000", "::1:443", "[::1:4"]),
        ("ulid", &["01ARZ3NDEKTSV4RRFFQ69G5FAV"], &["", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAI"]),
    ];
    for (field, right, wrong) in table {
        let count = |text: &str| violations("Texts", &encode("Texts", &format!(r#"{{"{field}": "{text}"}}"#))).len();
        right.iter().for_each(|text| assert_eq!(count(text), 0, "{field} {text}"));
        wrong.iter().for_each(|text| assert_eq!(count(text), 1, "{field} {text}"));
    }
}

#[test]
fn numbers_are_held_to_their_rules() {
    expect(
        "Numbers",
        &[
            ("{}", &[]),
            (r#"{"between": 10, "outside": 11, "large": 1, "negative": -1, "fixed": -5}"#, &[]),
            (r#"{"between": -1}"#, &["between must be at least 0 and at most 10"]),
            (r#"{"between": 11}"#, &["between must be at least 0 and at most 10"]),
            (r#"{"outside": 1}"#, &["outside must be greater than 10 or less than 1"]),
            (r#"{"large": "18446744073709551615"}"#, &["large must be less than 18446744073709551615"]),
            (r#"{"negative": 1}"#, &["negative must be at most 0"]),
            (r#"{"fixed": "-6"}"#, &["fixed must be at least -5"]),
            (r#"{"ratio": 1.0}"#, &["ratio must be at least 0 and less than 1"]),
            (r#"{"ratio": "NaN"}"#, &["ratio must be at least 0 and less than 1"]),
            (r#"{"finite": "-Infinity"}"#, &["finite must be a finite number"]),
            (r#"{"in": 3}"#, &["in must be one of 0, 2, 4"]),
            (r#"{"notIn": 7}"#, &["not_in must not be one of 7"]),
            (r#"{"yes": false}"#, &["yes must be true"]),
            (r#"{"color": 3}"#, &["color must be one of the values that the contract defines"]),
            (r#"{"color": 2}"#, &["color must not be one of `COLOR_GREEN`"]),
            (r#"{"wait": "60s"}"#, &[]),
            (r#"{"wait": "0s"}"#, &["wait must be greater than 0s and at most 60s"]),
            (r#"{"wait": "60.000000001s"}"#, &["wait must be greater than 0s and at most 60s"]),
            (r#"{"after": "1970-01-01T00:16:39Z"}"#, &["after must be at least 1000s"]),
            (r#"{"after": "1970-01-01T00:16:40Z"}"#, &[]),
        ],
    );
}

#[test]
fn what_is_required_must_be_set() {
    let id = "ord_01h455vb4pex5vsknk084sn02q";
    let full = format!(
        r#"{{"required": "a", "behavior": "a", "message": {{"quantity": 1}}, "items": [0], "zeroWillDo": 0,
        "left": "ab", "id": "{id}"}}"#
    );
    let both = full.replace(r#""a""#, r#""""#);
    expect(
        "Presence",
        &[
            (&full, &[]),
            (&both, &["required is required", "behavior is required"]),
            (
                "{}",
                &[
                    "required is required",
                    "behavior is required",
                    "message is required",
                    "items is required",
                    "zero_will_do is required",
                    "id is required",
                    " must set exactly one of left, right",
                ],
            ),
        ],
    );
}

#[test]
fn the_last_member_of_a_oneof_counts() {
    let id = "ord_01h455vb4pex5vsknk084sn02q";
    let rest = format!(
        r#"{{"required": "a", "behavior": "a", "message": {{"quantity": 1}}, "items": [0], "zeroWillDo": 0, "id": "{id}"}}"#
    );
    let rest = encode("Presence", &rest);
    // `left` with one letter, which is too short, and `right` with a quantity of one.
    let (left, right): (&[u8], &[u8]) = (&[0x32, 1, b'a'], &[0x3a, 2, 8, 1]);
    assert_eq!(violations("Presence", &[&rest, left, right].concat()), Vec::<String>::new());
    let short = ["left must have at least 2 characters"];
    assert_eq!(violations("Presence", &[&rest, right, left].concat()), short);
}

#[test]
fn a_zero_without_presence_is_checked_unless_the_contract_says_otherwise() {
    let always = "always must have at least 1 character";
    expect(
        "Defaults",
        &[
            (r#"{"always": "a"}"#, &[]),
            ("{}", &[always]),
            (r#"{"always": "a", "unlessZero": "b"}"#, &["unless_zero must have at least 2 characters"]),
            (r#"{"always": "a", "ifSet": ""}"#, &["if_set must have at least 1 character"]),
            (r#"{"always": "a", "never": "", "unseen": {"quantity": -1}}"#, &[]),
        ],
    );
}

#[test]
fn lists_and_maps_are_counted_and_looked_into() {
    let line = r#"{"quantity": 1}"#;
    let with = |more: &str| format!(r#"{{"lines": [{line}], {more}}}"#);
    expect(
        "Collections",
        &[
            ("{}", &["lines must have between 1 and 3 items"]),
            (&format!(r#"{{"lines": [{line}, {line}, {line}, {line}]}}"#), &["lines must have between 1 and 3 items"]),
            (r#"{"lines": [{"quantity": 1}, {}]}"#, &["lines[1].quantity must be greater than 0"]),
            (&with(r#""numbers": [3, 1, 3]"#), &["numbers must not hold the same item twice"]),
            (&with(r#""numbers": [3, -1]"#), &["numbers[1] must be at least 0"]),
            (&with(r#""words": ["", "ab", "a"]"#), &["words[2] must have at least 2 characters"]),
            (
                &with(r#""byName": {"long": {}}"#),
                &[
                    r#"by_name["long"] must have at most 3 characters"#,
                    r#"by_name["long"].quantity must be greater than 0"#,
                ],
            ),
            (&with(r#""byNumber": {"7": "ab"}"#), &["by_number[7] must have at most 1 character"]),
            (&with(r#""tags": ["a", "b", "a"]"#), &["tags must not hold the same item twice"]),
        ],
    );
}

#[test]
fn counts_are_those_of_the_decoded_message() {
    let name = |key: &[u8]| [&[0x22, 6 + 1, 0x0a, 1][..], key, &[0x12, 2, 8, 1]].concat();
    let line = [0x0a, 2, 8, 1];
    // Three entries, two keys: at most two are allowed.
    let repeated = [&line[..], &name(b"a"), &name(b"b"), &name(b"a")].concat();
    assert_eq!(violations("Collections", &repeated), Vec::<String>::new());
    let different = [&line[..], &name(b"a"), &name(b"b"), &name(b"c")].concat();
    assert_eq!(violations("Collections", &different), ["by_name must have at most 2 entries"]);
    // Numbers packed, unpacked, and both.
    for bytes in [&[0x12, 2, 5, 5][..], &[0x10, 5, 0x10, 5], &[0x10, 5, 0x12, 1, 5]] {
        let bytes = [&line[..], bytes].concat();
        assert_eq!(violations("Collections", &bytes), ["numbers must not hold the same item twice"]);
    }
}

#[test]
fn a_message_that_comes_in_parts_is_checked_as_a_whole() {
    let only = |name: &str| encode("Tree", &format!(r#"{{"only": {{"name": "{name}"}}}}"#));
    assert_eq!(violations("Tree", &only("long")), ["only.name must have at most 3 characters"]);
    // The later name wins.
    assert_eq!(violations("Tree", &[only("long"), only("ok")].concat()), Vec::<String>::new());
    assert_eq!(violations("Tree", &[only("ok"), only("long")].concat()), ["only.name must have at most 3 characters"]);
    // Lists of the parts add up.
    let line = |count: usize| [0x0a, 2, 8, 1].repeat(count);
    let message = |part: Vec<u8>| [vec![0x0a, u8::try_from(part.len()).unwrap()], part].concat();
    let plan = [message(line(0)), line(3)].concat();
    assert!(violations("Collections", &plan).iter().any(|found| found.contains("between 1 and 3")));
}

#[test]
fn a_set_of_fields_of_which_one_must_be_set_is_enforced() {
    expect(
        "Either",
        &[
            (r#"{"email": "a@b"}"#, &[]),
            (r#"{"phones": ["1"]}"#, &[]),
            ("{}", &[" must set exactly one of email, phones"]),
            (r#"{"email": "a@b", "phones": ["1"]}"#, &[" must set exactly one of email, phones"]),
        ],
    );
}

#[test]
fn a_wrong_id_is_told_apart_from_other_mistakes() {
    let check = |json: &str| validator("Texts").check(&encode("Texts", json)).unwrap_err();
    let wrong =
        check(r#"{"id": "usr_01h455vb4pex5vsknk084sn02q", "ids": ["ord_01h455vb4pex5vsknk084sn02q", "ord_1"]}"#);
    let paths: Vec<_> = wrong.iter().map(|violation| (violation.field.as_str(), violation.kind)).collect();
    assert_eq!(paths, [("ids[1]", Kind::Id), ("id", Kind::Id)]);
    assert_eq!(Error::from(wrong).reason(), "INVALID_ID");
    let mixed = check(r#"{"id": "ord", "in": "c"}"#);
    assert_eq!(Error::from(mixed).reason(), "INVALID_FIELD");
    assert!(validator("Texts").check(&[]).is_ok());
}

#[test]
fn every_rule_that_would_not_be_enforced_is_named() {
    let found = Validator::compile(&descriptor("Unenforceable")).unwrap_err();
    let found: Vec<_> =
        found.iter().map(|problem| (problem.field.rsplit('.').next().unwrap(), &*problem.rule)).collect();
    let expected = [
        ("cel", "cel"),
        ("header", "string.well_known_regex"),
        ("past", "timestamp.lt_now"),
        ("pattern", "string.pattern"),
        ("misplaced", "string"),
        ("id", "agora.policy.v1.id"),
        ("items", "repeated.items.cel"),
        ("lines", "repeated.unique"),
        ("shown", "string.example"),
        ("Unenforceable", "cel"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_message_may_contain_itself_but_not_for_ever() {
    let mut bytes = Vec::new();
    for _ in 0..20 {
        bytes = [vec![0x1a, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    }
    assert_eq!(violations("Tree", &bytes), Vec::<String>::new());
    for _ in 0..200 {
        let mut outer = vec![0x1a];
        prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
        outer.append(&mut bytes);
        bytes = outer;
    }
    let found = violations("Tree", &bytes);
    assert!(found[0].ends_with("must not nest deeper than 100 messages"), "{found:?}");
}

#[test]
fn no_more_than_32_violations_are_reported() {
    let lines = vec!["{}"; 100].join(",");
    let found = violations("Collections", &encode("Collections", &format!(r#"{{"lines": [{lines}]}}"#)));
    assert_eq!(found.len(), 32);
}

#[test]
fn bytes_that_are_no_message_are_a_violation() {
    let table: &[&[u8]] = &[
        &[0x0a],
        &[0x0a, 5, b'a'],
        &[0x08, 1],
        &[0x0a, 2, 0xff, 0xfe],
        &[0x00],
        &[0x07],
        &[0x0c],
        &[0xff; 11],
        &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
    ];
    for bytes in table {
        let found = violations("Tree", bytes);
        assert!(found.iter().any(|text| text.contains("encoded")), "{bytes:?}: {found:?}");
    }
}

/// The rules of `Collections` and `Line` once more, on a decoded message.
fn expected_count(message: &DynamicMessage) -> usize {
    let lines = message.get_field_by_name("lines").unwrap().into_owned();
    let lines = lines.as_list().unwrap();
    let numbers = message.get_field_by_name("numbers").unwrap().into_owned();
    let numbers: Vec<_> = numbers.as_list().unwrap().iter().map(|value| value.as_i32().unwrap()).collect();
    let quantity = |line: &&Value| line.as_message().unwrap().get_field_by_name("quantity").unwrap().as_i32().unwrap();
    let mut count = usize::from(!(1..=3).contains(&lines.len()));
    count += lines.iter().filter(|line| quantity(line) <= 0).count();
    count += usize::from(numbers.iter().collect::<HashSet<_>>().len() < numbers.len());
    count + numbers.iter().filter(|number| **number < 0).count()
}

proptest! {
    #[test]
    fn random_bytes_are_refused_exactly_where_they_do_not_decode(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        for name in ["Texts", "Numbers", "Presence", "Defaults", "Collections", "Tree", "Either"] {
            let decodes = DynamicMessage::decode(descriptor(name), bytes.as_slice()).is_ok();
            let malformed = violations(name, &bytes).iter().any(|found| found.contains("encoded"));
            // An overwritten value, or one that is not looked into, need not decode.
            prop_assert!(decodes || !violations(name, &bytes).is_empty() || name == "Defaults" || name == "Presence");
            prop_assert!(!(decodes && malformed), "{name}: {:?}", violations(name, &bytes));
        }
    }

    #[test]
    fn a_check_of_bytes_finds_what_a_check_of_the_decoded_message_finds(
        quantities in prop::collection::vec(-1i32..3, 0..6), numbers in prop::collection::vec(-1i32..9, 0..6),
    ) {
        let line = descriptor("Line");
        let lines = quantities.iter().map(|quantity| {
            let mut message = DynamicMessage::new(line.clone());
            message.set_field_by_name("quantity", Value::I32(*quantity));
            Value::Message(message)
        });
        let mut message = DynamicMessage::new(descriptor("Collections"));
        message.set_field_by_name("lines", Value::List(lines.collect()));
        message.set_field_by_name("numbers", Value::List(numbers.into_iter().map(Value::I32).collect()));
        prop_assert_eq!(violations("Collections", &message.encode_to_vec()).len(), expected_count(&message));
    }
}
