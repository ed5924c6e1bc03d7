//! Entity tags (RFC 9110, section 8.8): what a reply is called, and what a request says of it.
//!
//! The `etag` of a resource (AIP-154) names its version. What is shown of it may change though that does not, such as a
//! price of the moment, so the `ETag` of a reply has a digest of its body behind the version: `"v3"` becomes
//! `"v3~0f1e2d3c4b5a6978"`. `If-Match` takes both; `If-None-Match` means the very body.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{IF_MATCH, IF_NONE_MATCH},
};
use kit::Error;
use uuid::Uuid;

/// Stands before the digest.
const BEFORE_DIGEST: char = '~';
/// How many hexadecimal digits a digest has.
const DIGEST: usize = 16;

/// The tag of a body that shows a resource with this etag. None if the etag is not a quoted text that a header can hold.
pub fn of(resource: &str, body: &[u8]) -> Option<HeaderValue> {
    let version = resource.strip_suffix('"').filter(|_| is_one(resource))?;
    let digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, body).simple().to_string();
    HeaderValue::from_str(&format!("{version}{BEFORE_DIGEST}{}\"", &digest[..DIGEST])).ok()
}

/// The etag that a resource must have by `If-Match`; none for any, which a refusal offers if that is of use.
///
/// # Errors
/// `INVALID_FIELD` if it is there and is not one tag as it was given out.
pub fn required(headers: &HeaderMap, takes_any: bool) -> Result<Option<String>, Error> {
    let tags = list(headers, &IF_MATCH);
    match tags.as_slice() {
        [] if !headers.contains_key(IF_MATCH) => Ok(None),
        [any] if any == "*" => Ok(None),
        [one] if is_one(one) => Ok(Some(version(one))),
        _ if takes_any => Err(refusal("If-Match", "`If-Match` must be one etag, in its quotes, or `*`.")),
        _ => Err(refusal("If-Match", "`If-Match` must be one etag, in its quotes.")),
    }
}

/// Refuses a condition in this header, for this reason.
pub fn refusal(header: &str, what: &str) -> Error {
    Error::named("INVALID_FIELD", what).violation(header, what)
}

/// Whether a header is there and names nothing: a guard that guards against nothing was not meant.
pub fn is_empty(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.contains_key(name) && list(headers, name).is_empty()
}

/// Whether `If-Match` names an etag: `*` names none.
pub fn is_named(headers: &HeaderMap) -> bool {
    list(headers, &IF_MATCH).iter().any(|tag| tag != "*")
}

/// Whether `If-Match` admits what a body with this tag shows.
pub fn is_admitted(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let tags = list(headers, &IF_MATCH);
    let tag = tag.to_str().unwrap_or_default();
    let admits =
        |given: &String| given == "*" || (!given.starts_with("W/") && (given == tag || *given == version(tag)));
    !headers.contains_key(IF_MATCH) || tags.iter().any(admits)
}

/// Whether the caller has a body with this tag already, by `If-None-Match`.
pub fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let strong = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let tag = strong(tag.to_str().unwrap_or_default());
    list(headers, &IF_NONE_MATCH).iter().any(|given| given == "*" || strong(given) == tag)
}

/// The tags of a header, in all of its lines. A comma within quotes is a part of a tag.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let mut tags = Vec::new();
    for line in headers.get_all(name) {
        let mut quoted = false;
        let is_between = |c: char| {
            quoted ^= c == '"';
            c == ',' && !quoted
        };
        // What is no text is no tag that was given out, and matches none.
        let line = line.to_str().unwrap_or("?");
        tags.extend(line.split(is_between).map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()));
    }
    tags
}

fn is_one(tag: &str) -> bool {
    let quoted = tag.strip_prefix("W/").unwrap_or(tag);
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| !inner.contains('"'))
}

/// The etag of the resource in a tag of ours; any other tag as it is.
fn version(tag: &str) -> String {
    let inner = tag.strip_suffix('"').unwrap_or(tag);
    let is_digest = |text: &str| text.len() == DIGEST && text.bytes().all(|c| c.is_ascii_hexdigit());
    match inner.rsplit_once(BEFORE_DIGEST) {
        Some((version, digest)) if is_digest(digest) => format!("{version}\""),
        _ => tag.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_tag_names_version_and_body_and_gives_the_version_back() {
        let tag = of("\"v3\"", b"{}").unwrap();
        assert_ne!(tag, of("\"v3\"", b"{ }").unwrap());
        assert_eq!(tag, of("\"v3\"", b"{}").unwrap());
        let text = tag.to_str().unwrap();
        assert!(text.starts_with("\"v3~") && text.len() == "\"v3~\"".len() + DIGEST, "{text}");
        assert_eq!(required(&headers(IF_MATCH, &[text]), true).unwrap().unwrap(), "\"v3\"");
        for no_etag in ["", "v3", "\"", "\"v\"3\"", "\"v\n\""] {
            assert!(of(no_etag, b"").is_none(), "{no_etag}");
        }
    }

    #[test]
    fn if_match_is_one_etag_or_any() {
        let read =
            |values: &[&str]| required(&headers(IF_MATCH, values), true).map_err(|error| error.reason().to_owned());
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["*"]), Ok(None));
        assert_eq!(read(&["\"v,3\""]), Ok(Some("\"v,3\"".to_owned())));
        assert_eq!(read(&["W/\"v3\""]), Ok(Some("W/\"v3\"".to_owned())));
        assert_eq!(read(&["\"v3~x\""]), Ok(Some("\"v3~x\"".to_owned())));
        for wrong in [&["v3"][..], &["\"a\", \"b\""], &["\"a\"", "\"b\""], &["\"a"], &[""], &[","], &["", " ,"]] {
            assert_eq!(read(wrong), Err("INVALID_FIELD".to_owned()), "{wrong:?}");
        }
    }

    #[test]
    fn an_if_match_names_an_etag_names_any_or_is_empty() {
        for (values, named, empty) in [
            (&[][..], false, false),
            (&["*"], false, false),
            (&["\"v3\""], true, false),
            (&["\"v2\", \"v3\""], true, false),
            (&[""], false, true),
            (&[","], false, true),
        ] {
            let headers = headers(IF_MATCH, values);
            assert_eq!((is_named(&headers), is_empty(&headers, &IF_MATCH)), (named, empty), "{values:?}");
        }
    }

    #[test]
    fn a_body_is_known_by_its_own_tag_alone() {
        let tag = of("\"v3\"", b"{}").unwrap();
        let text = tag.to_str().unwrap();
        for (known, values) in [
            (true, vec![text.to_owned()]),
            (true, vec![format!("\"other\", W/{text}")]),
            (true, vec!["\"other\"".to_owned(), text.to_owned()]),
            (true, vec!["*".to_owned()]),
            (false, vec!["\"v3\"".to_owned()]),
            (false, vec![]),
        ] {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            assert_eq!(is_known(&headers(IF_NONE_MATCH, &values), &tag), known, "{values:?}");
        }
    }

    #[test]
    fn a_read_is_admitted_by_version_or_by_body() {
        let tag = of("\"v3\"", b"{}").unwrap();
        let text = tag.to_str().unwrap();
        for (admitted, value) in [
            (true, "\"v3\""),
            (true, text),
            (true, "*"),
            (true, "\"v1\", \"v3\""),
            (false, "\"v2\""),
            (false, "W/\"v3\""),
            (false, ""),
            (false, ","),
        ] {
            assert_eq!(is_admitted(&headers(IF_MATCH, &[value]), &tag), admitted, "{value}");
        }
        assert!(is_admitted(&HeaderMap::new(), &tag));
    }
}
