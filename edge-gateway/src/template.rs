//! Path templates of `google.api.http`, as its grammar has them:
//!
//! ```text
//! Template = "/" Segments [ ":" Verb ] ;   Segment = "*" | "**" | LITERAL | Variable ;
//! Variable = "{" FieldPath [ "=" Segments ] "}" ;
//! ```
//!
//! Decided where implementations differ: `**` stands last (a verb may follow) and matches zero segments too; variables
//! do not nest; a verb may hold colons (`:a:b`).

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The pattern, with variables flattened into it.
    pub segments: Vec<Segment>,
    /// Which part of the path each variable captures.
    pub variables: Vec<Variable>,
    /// What follows the last `:`, if anything.
    pub verb: Option<String>,
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// This text exactly, percent-decoded.
    Literal(String),
    /// Any one segment that is not empty.
    One,
    /// All the rest, zero segments or more.
    Rest,
}

/// A variable and the segments that it captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The field path, as `order.id`.
    pub field: String,
    /// The first segment captured.
    pub start: usize,
    /// The first segment after it; `None` when it captures the rest.
    pub end: Option<usize>,
}

impl Variable {
    /// Whether it can hold more than one segment; then `%2F` in it is left as it is.
    pub fn is_multi_segment(&self) -> bool {
        self.end != Some(self.start + 1)
    }
}

/// Why a template is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path template `{template}`: {what} at character {at}")]
pub struct TemplateError {
    /// The template.
    pub template: String,
    /// What is wrong.
    pub what: &'static str,
    /// Where, counted from 1.
    pub at: usize,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Names the first thing that the grammar does not allow, and where it stands.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut parser = Parser { text, at: 0, segments: Vec::new(), variables: Vec::new() };
        parser.template().map_err(|what| TemplateError { template: text.to_owned(), what, at: parser.at + 1 })
    }

    /// The values of the variables in a path that this template matched, in the order of [`Template::variables`].
    /// `None` if an escape in it is malformed or not UTF-8.
    pub fn capture(&self, path: &[&str]) -> Option<Vec<String>> {
        let value = |variable: &Variable| {
            let end = variable.end.unwrap_or(path.len()).min(path.len());
            let captured = path.get(variable.start..end).unwrap_or_default();
            if variable.is_multi_segment() {
                percent_decode(&captured.join("/"), true)
            } else {
                percent_decode(captured.first().copied().unwrap_or_default(), false)
            }
        };
        self.variables.iter().map(value).collect()
    }
}

/// The text with its percent escapes decoded, `+` left alone; `%2F` too if `keep_slash`. `None` when an escape is malformed
/// or the result is not UTF-8.
pub fn percent_decode(text: &str, keep_slash: bool) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'%' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let digit = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        let byte = u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok()?;
        if byte == b'/' && keep_slash {
            out.extend_from_slice(&bytes[at..at + 3]);
        } else {
            out.push(byte);
        }
        at += 3;
    }
    String::from_utf8(out).ok()
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    segments: Vec<Segment>,
    variables: Vec<Variable>,
}

impl<'t> Parser<'t> {
    fn template(&mut self) -> Result<Template, &'static str> {
        if !self.take('/') {
            return Err("it must begin with `/`");
        }
        self.segments(false)?;
        let verb = if self.take(':') {
            let verb = &self.text[self.at..];
            if verb.is_empty() || verb.split(':').any(|part| part.is_empty() || !part.chars().all(is_literal)) {
                return Err("the verb after `:` is empty or malformed");
            }
            Some(verb.to_owned())
        } else if self.at < self.text.len() {
            return Err("an unexpected character");
        } else {
            None
        };
        let rest = self.segments.iter().position(|segment| *segment == Segment::Rest);
        if rest.is_some_and(|at| at + 1 != self.segments.len()) {
            return Err("`**` must be the last segment, before");
        }
        let (segments, variables) = (std::mem::take(&mut self.segments), std::mem::take(&mut self.variables));
        Ok(Template { segments, variables, verb })
    }

    fn segments(&mut self, inside: bool) -> Result<(), &'static str> {
        loop {
            if self.peek() == Some('{') {
                if inside {
                    return Err("variables do not nest");
                }
                self.variable()?;
            } else {
                self.plain_segment()?;
            }
            if !self.take('/') {
                return Ok(());
            }
        }
    }

    fn plain_segment(&mut self) -> Result<(), &'static str> {
        if self.take('*') {
            let segment = if self.take('*') { Segment::Rest } else { Segment::One };
            self.segments.push(segment);
            return Ok(());
        }
        let literal = self.take_while(is_literal);
        if literal.is_empty() {
            return Err("a segment is missing");
        }
        let decoded = percent_decode(literal, false).ok_or("a malformed percent escape before")?;
        self.segments.push(Segment::Literal(decoded));
        Ok(())
    }

    fn variable(&mut self) -> Result<(), &'static str> {
        self.at += 1;
        let field = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
        if field.split('.').any(|name| name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit())) {
            return Err("a field path is missing or malformed");
        }
        if self.variables.iter().any(|variable| variable.field == field) {
            return Err("the same variable stands twice, before");
        }
        let start = self.segments.len();
        if self.take('=') {
            self.segments(true)?;
        } else {
            self.segments.push(Segment::One);
        }
        if !self.take('}') {
            return Err("`}` is missing");
        }
        let end = (self.segments.last() != Some(&Segment::Rest)).then_some(self.segments.len());
        self.variables.push(Variable { field: field.to_owned(), start, end });
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = &self.text[self.at..];
        let length = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }
}

/// What may stand in a path segment (RFC 3986 `pchar`) without `:` and `*`, which the grammar uses itself.
fn is_literal(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()+,;=@%".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(template: &Template) -> String {
        let text = |segment: &Segment| match segment {
            Segment::Literal(text) => text.clone(),
            Segment::One => "*".to_owned(),
            Segment::Rest => "**".to_owned(),
        };
        let path: Vec<String> = template.segments.iter().map(text).collect();
        let verb = template.verb.as_ref().map(|verb| format!(":{verb}")).unwrap_or_default();
        let end = |v: &Variable| v.end.map_or("end".to_owned(), |end| end.to_string());
        let variables: Vec<String> =
            template.variables.iter().map(|v| format!("{}@{}..{}", v.field, v.start, end(v))).collect();
        format!("/{}{verb} [{}]", path.join("/"), variables.join(" "))
    }

    #[test]
    fn a_template_of_the_grammar_is_parsed() {
        for (template, expected) in [
            ("/v1/orders", "/v1/orders []"),
            ("/v1/orders/{id}", "/v1/orders/* [id@2..3]"),
            ("/v1/orders/{id}:cancel", "/v1/orders/*:cancel [id@2..3]"),
            ("/v1/{name=shelves/*/books/*}", "/v1/shelves/*/books/* [name@1..5]"),
            ("/v1/{order.id=orders/**}:purge", "/v1/orders/**:purge [order.id@1..end]"),
            ("/v1/{name=**}", "/v1/** [name@1..end]"),
            ("/v1/*/x/**", "/v1/*/x/** []"),
            ("/v1/{uuid}:custom:custom", "/v1/*:custom:custom [uuid@1..2]"),
            ("/.well-known/{kind}", "/.well-known/* [kind@1..2]"),
            ("/{a}/{b=x}/{c}", "/*/x/* [a@0..1 b@1..2 c@2..3]"),
            ("/caf%C3%A9", "/café []"),
        ] {
            assert_eq!(shape(&Template::parse(template).unwrap()), expected, "{template}");
        }
    }

    #[test]
    fn what_is_not_in_the_grammar_is_refused_with_the_place() {
        for (template, what, at) in [
            ("", "begin with `/`", 1),
            ("v1/x", "begin with `/`", 1),
            ("/", "segment is missing", 2),
            ("/v1//x", "segment is missing", 5),
            ("/v1/x/", "segment is missing", 7),
            ("/v1/{id", "`}` is missing", 8),
            ("/v1/{}", "field path", 6),
            ("/v1/{a..b}", "field path", 10),
            ("/v1/{a={b=*}/*}", "do not nest", 8),
            ("/v1/{a}/{a}", "twice", 11),
            ("/v1/**/x", "last segment", 9),
            ("/v1/{a=**}/x", "last segment", 13),
            ("/v1/x:", "verb", 7),
            ("/v1/x:a/b", "verb", 7),
            ("/v1/a*b", "unexpected", 6),
            ("/v1/***", "unexpected", 7),
            ("/v1/%zz", "percent", 8),
            ("/v1/a b", "unexpected", 6),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.what.contains(what), "{template}: {error}");
            assert_eq!(error.at, at, "{template}: {error}");
        }
    }

    #[test]
    fn escapes_are_decoded_after_the_path_is_split() {
        for (template, path, expected) in [
            ("/v1/{id}", "/v1/a%2Fb", Some("a/b")),
            ("/v1/{id}", "/v1/a+b", Some("a+b")),
            ("/v1/{id=x/*}", "/v1/x/a%2Fb%20c", Some("x/a%2Fb c")),
            ("/v1/{id=**}", "/v1/a%2fb/c", Some("a%2fb/c")),
            ("/v1/{id=**}", "/v1", Some("")),
            ("/v1/{id}", "/v1/%C3%A9", Some("é")),
            ("/v1/{id}", "/v1/%C3", None),
            ("/v1/{id}", "/v1/%2", None),
            ("/v1/{id}", "/v1/%+1", None),
        ] {
            let segments: Vec<&str> = path[1..].split('/').collect();
            let values = Template::parse(template).unwrap().capture(&segments);
            assert_eq!(values.as_ref().map(|v| v[0].as_str()), expected, "{template} on {path}");
        }
    }
}
