//! What can be bought, and how a query finds it. Pure.

use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp};

/// A query of more words finds nothing more than these find.
const QUERY_WORDS_MAX: usize = 8;

/// What sort of unit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitKind {
    /// A currency.
    Fiat,
    /// Something traded.
    Asset,
}

impl UnitKind {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fiat => "FIAT",
            Self::Asset => "ASSET",
        }
    }

    /// Reads the name in the database.
    ///
    /// # Errors
    /// `INTERNAL` if there is no such kind.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        match text {
            "FIAT" => Ok(Self::Fiat),
            "ASSET" => Ok(Self::Asset),
            other => Err(Error::internal(format!("there is no kind of unit `{other}`"))),
        }
    }
}

/// Something that amounts are counted in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// `USD`, `BTC`.
    pub code: String,
    /// Currency or asset.
    pub kind: UnitKind,
    /// The decimals of its smallest part, at most eight.
    pub scale: u8,
}

/// A group of products.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// `layer-1`.
    pub name: String,
    /// For people.
    pub title: String,
    /// How many products it has.
    pub product_count: i64,
}

/// Something that can be bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// `prd_…`.
    pub id: String,
    /// What amounts of it are counted in.
    pub unit: Unit,
    /// For people.
    pub name: String,
    /// A sentence.
    pub description: String,
    /// The name of its category.
    pub category: String,
    /// When it was listed.
    pub create_time: Timestamp,
}

impl Product {
    /// The words that a query may name, lower case, each after one blank: ` btc bitcoin the first …`.
    pub fn words(&self) -> String {
        [&self.unit.code, &self.name, &self.description].into_iter().flat_map(|text| words(text)).fold(
            String::new(),
            |mut joined, word| {
                joined.push(' ');
                joined.push_str(&word);
                joined
            },
        )
    }
}

/// A query, as words without anything that a pattern would take for its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query(Vec<String>);

impl Query {
    /// Takes the words of a text.
    ///
    /// # Errors
    /// `INVALID_FIELD` if it has none, or more than eight.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let found: Vec<String> = words(text).collect();
        let problem = match found.len() {
            0 => "must have a word of letters or digits",
            1..=QUERY_WORDS_MAX => return Ok(Self(found)),
            _ => "must not have more than eight words",
        };
        let message = format!("`query` {problem}.");
        Err(Error::new(Reason::InvalidField, message).with("field", "query").violation("query", problem))
    }

    /// The words, one blank between two.
    pub fn text(&self) -> String {
        self.0.join(" ")
    }

    /// One pattern for each word, which a text of [`Product::words`] must match; the patterns left over match all.
    pub fn patterns(&self) -> [String; QUERY_WORDS_MAX] {
        std::array::from_fn(|index| match self.0.get(index) {
            Some(word) => format!("% {word}%"),
            None => "%".to_owned(),
        })
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_keeps_words_and_nothing_that_a_pattern_would_interpret() {
        crate::tests::install_contract();
        assert_eq!(Query::parse(" USD-coin ").unwrap().text(), "usd coin");
        assert_eq!(Query::parse("50%_off\\").unwrap().text(), "50 off");
        let patterns = Query::parse("a b").unwrap().patterns();
        assert_eq!(patterns[..3], ["% a%", "% b%", "%"]);
        for refused in ["", "  ", "%", "'; --", "1 2 3 4 5 6 7 8 9"] {
            assert_eq!(Query::parse(refused).unwrap_err().reason(), "INVALID_FIELD", "{refused}");
        }
    }

    #[test]
    fn a_product_is_found_by_its_unit_its_name_and_its_description() {
        let product = Product {
            id: "prd_1".into(),
            unit: Unit { code: "BTC".into(), kind: UnitKind::Asset, scale: 8 },
            name: "Bitcoin".into(),
            description: "The first, by proof-of-work.".into(),
            category: "layer-1".into(),
            create_time: Timestamp::default(),
        };
        assert_eq!(product.words(), " btc bitcoin the first by proof of work");
    }
}
