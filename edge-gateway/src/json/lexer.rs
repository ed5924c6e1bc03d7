//! Reads JSON text (RFC 8259), strictly.

use std::borrow::Cow;

/// The text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syntax {
    /// The byte where it stops being JSON.
    pub at: usize,
    /// Why.
    pub what: &'static str,
}

/// A value that holds no other.
#[derive(Debug, Clone, PartialEq)]
pub enum Token<'j> {
    Text(Cow<'j, str>),
    Number(&'j str),
    Bool(bool),
    Null,
}

/// A place in the text.
#[derive(Clone)]
pub struct Lexer<'j> {
    text: &'j str,
    at: usize,
}

impl<'j> Lexer<'j> {
    pub fn new(text: &'j str) -> Self {
        Self { text, at: 0 }
    }

    pub fn fail<T>(&self, what: &'static str) -> Result<T, Syntax> {
        Err(Syntax { at: self.at, what })
    }

    /// The next byte that is not white space, without taking it; 0 at the end.
    pub fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Takes `wanted` if it comes next.
    pub fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == wanted;
        self.at += usize::from(found);
        found
    }

    pub fn expect(&mut self, wanted: u8, what: &'static str) -> Result<(), Syntax> {
        if self.take(wanted) { Ok(()) } else { self.fail(what) }
    }

    /// The end of the text.
    pub fn end(&mut self) -> Result<(), Syntax> {
        self.peek();
        if self.at == self.text.len() { Ok(()) } else { self.fail("more follows after the value") }
    }

    /// Takes the next key of an object and its colon; `None` (and the brace taken) when there is no other. `first` says
    /// that no member came before.
    pub fn key(&mut self, first: bool) -> Result<Option<Cow<'j, str>>, Syntax> {
        if first {
            if self.take(b'}') {
                return Ok(None);
            }
        } else if !self.take(b',') {
            self.expect(b'}', "expected `,` or `}`")?;
            return Ok(None);
        }
        if self.peek() != b'"' {
            return self.fail("expected a key in double quotes");
        }
        let key = self.string()?;
        self.expect(b':', "expected `:` after a key")?;
        Ok(Some(key))
    }

    /// Whether an array has another element; takes the bracket if not.
    pub fn element(&mut self, first: bool) -> Result<bool, Syntax> {
        if first {
            return Ok(!self.take(b']'));
        }
        if self.take(b',') {
            return Ok(true);
        }
        self.expect(b']', "expected `,` or `]`")?;
        Ok(false)
    }

    /// Takes a value that is neither object nor array.
    pub fn token(&mut self) -> Result<Token<'j>, Syntax> {
        match self.peek() {
            b'"' => self.string().map(Token::Text),
            b'-' | b'0'..=b'9' => self.number().map(Token::Number),
            b't' => self.word("true", Token::Bool(true)),
            b'f' => self.word("false", Token::Bool(false)),
            b'n' => self.word("null", Token::Null),
            0 if self.at == self.text.len() => self.fail("the text ends where a value is expected"),
            _ => self.fail("expected a value"),
        }
    }

    fn word(&mut self, word: &str, token: Token<'j>) -> Result<Token<'j>, Syntax> {
        if !self.text[self.at..].starts_with(word) {
            return self.fail("expected a value");
        }
        self.at += word.len();
        Ok(token)
    }

    fn number(&mut self) -> Result<&'j str, Syntax> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let mut at = start + usize::from(bytes[start] == b'-');
        let whole = digits(at);
        if whole == at || (bytes[at] == b'0' && whole > at + 1) {
            return self.fail("a malformed number");
        }
        at = whole;
        if bytes.get(at) == Some(&b'.') {
            let end = digits(at + 1);
            if end == at + 1 {
                return self.fail("a malformed number");
            }
            at = end;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            let end = digits(at + 1 + sign);
            if end == at + 1 + sign {
                return self.fail("a malformed number");
            }
            at = end;
        }
        self.at = at;
        Ok(&self.text[start..at])
    }

    fn string(&mut self) -> Result<Cow<'j, str>, Syntax> {
        let start = self.at + 1;
        let mut owned: Option<String> = None;
        let mut from = start;
        let mut at = start;
        loop {
            let Some(byte) = self.text.as_bytes().get(at) else {
                self.at = at;
                return self.fail("a string does not end");
            };
            match byte {
                b'"' => {
                    self.at = at + 1;
                    let last = &self.text[from..at];
                    return Ok(match owned {
                        None => Cow::Borrowed(last),
                        Some(text) => Cow::Owned(text + last),
                    });
                }
                b'\\' => {
                    let text = owned.get_or_insert_default();
                    text.push_str(&self.text[from..at]);
                    self.at = at;
                    let (escaped, end) = self.escape(at)?;
                    text.push(escaped);
                    (at, from) = (end, end);
                }
                0..0x20 => {
                    self.at = at;
                    return self.fail("a control character in a string must be escaped");
                }
                _ => at += 1,
            }
        }
    }

    /// The character of the escape at `at`, and where it ends.
    fn escape(&self, at: usize) -> Result<(char, usize), Syntax> {
        let plain = |c| Ok((c, at + 2));
        match self.text.as_bytes().get(at + 1) {
            Some(b'"') => plain('"'),
            Some(b'\\') => plain('\\'),
            Some(b'/') => plain('/'),
            Some(b'b') => plain('\u{8}'),
            Some(b'f') => plain('\u{c}'),
            Some(b'n') => plain('\n'),
            Some(b'r') => plain('\r'),
            Some(b't') => plain('\t'),
            Some(b'u') => {
                let high = self.hex(at + 2)?;
                let is_pair = (0xd800..0xdc00).contains(&high) && self.text[at + 6..].starts_with("\\u");
                let low = if is_pair { self.hex(at + 8)? } else { 0 };
                let (code, end) = if is_pair && (0xdc00..0xe000).contains(&low) {
                    (0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), at + 12)
                } else {
                    (high, at + 6)
                };
                char::from_u32(code).map_or_else(|| self.fail("half of a surrogate pair"), |c| Ok((c, end)))
            }
            _ => self.fail("an unknown escape in a string"),
        }
    }

    fn hex(&self, at: usize) -> Result<u32, Syntax> {
        let digits = self.text.as_bytes().get(at..at + 4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        digits
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .map_or_else(|| self.fail("a malformed escape"), Ok)
    }

    /// Skips one value, of at most `depth` levels.
    pub fn skip(&mut self, depth: usize) -> Result<(), Syntax> {
        if depth == 0 {
            return self.fail("nested too deeply");
        }
        if self.take(b'{') {
            let mut first = true;
            while self.key(first)?.is_some() {
                first = false;
                self.skip(depth - 1)?;
            }
        } else if self.take(b'[') {
            let mut first = true;
            while self.element(first)? {
                first = false;
                self.skip(depth - 1)?;
            }
        } else {
            self.token()?;
        }
        Ok(())
    }
}
