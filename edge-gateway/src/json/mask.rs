//! Which fields a JSON object sets: the field mask of a PATCH that gives none.

use super::{
    lexer::{Lexer, Syntax},
    table::{Form, Shape, Tables, Type},
};

const MAX_DEPTH: usize = 100;

/// The paths of all leaves that `text` sets in the message `index`, in names of the proto. Lists, maps and well-known
/// types are leaves, and so is `null`. Left out is what the message does not have, since reading the body refuses it, and
/// what is not the caller's to set, which has no effect (AIP-203).
pub fn paths(tables: &Tables, index: usize, text: &str) -> Vec<String> {
    let mut walk = Walk { tables, lexer: Lexer::new(text), found: Vec::new() };
    // A body that is not JSON is refused where it is read.
    let _ = walk.object(index, "", MAX_DEPTH);
    walk.found
}

struct Walk<'t> {
    tables: &'t Tables,
    lexer: Lexer<'t>,
    found: Vec<String>,
}

impl Walk<'_> {
    fn object(&mut self, index: usize, prefix: &str, depth: usize) -> Result<(), Syntax> {
        if depth == 0 || !self.lexer.take(b'{') {
            return self.lexer.skip(MAX_DEPTH);
        }
        let mut first = true;
        while let Some(name) = self.lexer.key(first)? {
            first = false;
            let field = self.tables.messages[index].field(&name).filter(|field| !field.output_only);
            let Some(field) = field.filter(|field| !field.immutable || self.lexer.peek() != b'n') else {
                self.lexer.skip(MAX_DEPTH)?;
                continue;
            };
            let path = format!("{prefix}{}", field.name);
            match field.ty {
                Type::Message(inner)
                    if field.form == Form::Explicit
                        && self.tables.messages[inner].shape == Shape::Object
                        && self.lexer.peek() == b'{' =>
                {
                    self.object(inner, &format!("{path}."), depth - 1)?;
                }
                _ => {
                    self.found.push(path);
                    self.lexer.skip(MAX_DEPTH)?;
                }
            }
        }
        if first && !prefix.is_empty() {
            self.found.push(prefix.trim_end_matches('.').to_owned());
        }
        Ok(())
    }
}
