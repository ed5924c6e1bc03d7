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

/// Whether a product, or a variant of it, is on sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can be bought.
    Active,
    /// It is no longer sold.
    Archived,
}

impl State {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Archived => "ARCHIVED",
        }
    }

    /// Reads the name in the database.
    ///
    /// # Errors
    /// `INTERNAL` if there is no such state.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let known = [Self::Active, Self::Archived].into_iter().find(|state| state.as_str() == text);
        known.ok_or_else(|| Error::internal(format!("there is no state `{text}`")))
    }
}

/// What sort of product it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Traded at a live price.
    Asset,
    /// Kept in stock and shipped.
    PhysicalGood,
    /// Delivered at once.
    DigitalGood,
}

impl Kind {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asset => "ASSET",
            Self::PhysicalGood => "PHYSICAL_GOOD",
            Self::DigitalGood => "DIGITAL_GOOD",
        }
    }

    /// Reads the name in the database.
    ///
    /// # Errors
    /// `INTERNAL` if there is no such kind.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let known = [Self::Asset, Self::PhysicalGood, Self::DigitalGood].into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| Error::internal(format!("there is no kind of product `{text}`")))
    }
}

/// How a good is taxed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaxClass {
    /// At the full rate of the country.
    Standard,
    /// At its reduced rate.
    Reduced,
    /// Not at all.
    Exempt,
}

impl TaxClass {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Reduced => "REDUCED",
            Self::Exempt => "EXEMPT",
        }
    }

    /// Reads the name in the database.
    ///
    /// # Errors
    /// `INTERNAL` if there is no such class.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let known = [Self::Standard, Self::Reduced, Self::Exempt].into_iter().find(|class| class.as_str() == text);
        known.ok_or_else(|| Error::internal(format!("there is no tax class `{text}`")))
    }
}

/// Something that can be bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// `prd_…`.
    pub id: String,
    /// What only an asset has, or only a good.
    pub form: Form,
    /// For people.
    pub name: String,
    /// A sentence.
    pub description: String,
    /// The name of its category.
    pub category: String,
    /// Whether it is on sale.
    pub state: State,
    /// Counts its changes and those of its variants, from 1.
    pub version: i64,
    /// When it was listed.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

/// What only an asset has, or only a good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Traded at a live price; amounts of it are counted in this unit.
    Asset(Unit),
    /// Sold by the piece, at a list price.
    Good(Good),
}

/// What only a good has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Good {
    /// Whether it is shipped; otherwise it is delivered at once.
    pub physical: bool,
    /// How it is taxed.
    pub tax_class: TaxClass,
    /// In which forms it is sold, in the order in which they are shown.
    pub variants: Vec<Variant>,
}

/// One form in which a good is sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// `var_…`.
    pub id: String,
    /// The code under which the merchant knows it.
    pub sku: String,
    /// What sets it apart from its siblings; may be empty.
    pub title: String,
    /// Whether it is on sale.
    pub state: State,
    /// What a piece costs at this moment in the currency of the platform, in atoms.
    pub list_price: Option<i64>,
}

impl Product {
    /// What sort of product it is.
    pub fn kind(&self) -> Kind {
        match &self.form {
            Form::Asset(_) => Kind::Asset,
            Form::Good(Good { physical: true, .. }) => Kind::PhysicalGood,
            Form::Good(Good { physical: false, .. }) => Kind::DigitalGood,
        }
    }

    /// The variants of a good, none of an asset.
    pub fn variants(&self) -> &[Variant] {
        match &self.form {
            Form::Asset(_) => &[],
            Form::Good(good) => &good.variants,
        }
    }

    /// The words that a query may name, lower case, each after one blank: ` btc bitcoin the first …`. For an asset those
    /// of its unit, for a good those of its category and of the SKUs that are on sale.
    pub fn words(&self, category_title: &str) -> String {
        let mut texts = vec![];
        match &self.form {
            Form::Asset(unit) => texts.extend([&unit.code, &self.name, &self.description].map(String::as_str)),
            Form::Good(good) => {
                texts.extend([&self.name, &self.description].map(String::as_str));
                texts.push(category_title);
                let on_sale = good.variants.iter().filter(|variant| variant.state == State::Active);
                texts.extend(on_sale.map(|variant| variant.sku.as_str()));
            }
        }
        texts.into_iter().flat_map(words).fold(String::new(), |joined, word| joined + " " + &word)
    }
}

/// A list price: what one piece of a variant costs from a moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPrice {
    /// The variant.
    pub variant_id: String,
    /// The currency.
    pub currency: Unit,
    /// The price, in atoms of the currency.
    pub atoms: i64,
    /// From when it holds.
    pub start_time: Timestamp,
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
            form: Form::Asset(Unit { code: "BTC".into(), kind: UnitKind::Asset, scale: 8 }),
            name: "Bitcoin".into(),
            description: "The first, by proof-of-work.".into(),
            category: "layer-1".into(),
            state: State::Active,
            version: 1,
            create_time: Timestamp::default(),
            update_time: Timestamp::default(),
        };
        assert_eq!(product.words("Layer 1 networks"), " btc bitcoin the first by proof of work");
        let variant = |sku: &str, state| {
            let (id, title) = ("var_1".to_owned(), "Blue".to_owned());
            Variant { id, sku: sku.to_owned(), title, state, list_price: None }
        };
        let variants = vec![variant("MUG-BLUE", State::Active), variant("MUG-RED", State::Archived)];
        let good = Good { physical: true, tax_class: TaxClass::Standard, variants };
        let product = Product { form: Form::Good(good), name: "Mug".into(), ..product };
        assert_eq!(product.words("Home"), " mug the first by proof of work home mug blue");
    }
}
