//! What an admin may change of a good: each command gives the good as it is afterwards, or a refusal. Pure.

use contracts::{catalog::v1 as proto, r#type::v1::Reason};
use kit::{Error, Timestamp};

use crate::{
    message::{self, invalid},
    product::{Form, Good, Product, State, Variant},
};

/// A good has no more variants than this, those off sale included.
pub const VARIANTS_MAX: usize = 50;
const NAME_MAX: usize = 100;
const DESCRIPTION_MAX: usize = 2_000;
const CHANGEABLE: [&str; 4] = ["name", "description", "category", "tax_class"];

impl Product {
    /// What stands for this version of the product and its variants.
    pub fn etag(&self) -> String {
        format!("\"v{}\"", self.version)
    }

    /// Refuses a change that was based on another version. An empty etag is based on any.
    ///
    /// # Errors
    /// `ETAG_MISMATCH`.
    pub fn check_etag(&self, etag: &str) -> Result<(), Error> {
        if etag.is_empty() || etag == self.etag() {
            return Ok(());
        }
        let message = "The product has changed since you read it. Read it again, and repeat your change.";
        Err(Error::new(Reason::EtagMismatch, message).with("etag", self.etag()))
    }

    /// Takes over those fields of `patch` that `mask` names; `*` names all that can be changed, no mask all that have a
    /// value (AIP-134). Nothing if they are as they should be.
    ///
    /// # Errors
    /// `INVALID_FIELD` if the mask names what cannot be changed, or a value is refused, or this is an asset;
    /// `INVALID_STATE_TRANSITION` if it is off sale.
    pub fn change(&self, patch: &proto::Product, mask: &[String], now: Timestamp) -> Result<Option<Self>, Error> {
        let good = self.sold()?;
        let known = |path: &str| path == "*" || path == "id" || path == "etag" || CHANGEABLE.contains(&path);
        if let Some(path) = mask.iter().find(|path| !known(path)) {
            let what = format!("must not name `{path}`; these can be changed: {}", CHANGEABLE.join(", "));
            return Err(invalid("update_mask", &what));
        }
        let named = |field: &str, set: bool| match mask {
            [] => set,
            mask => mask.iter().any(|path| path == "*" || path == field),
        };
        let (mut next, mut good) = (self.clone(), good.clone());
        if named("name", !patch.name.is_empty()) {
            next.name.clone_from(&patch.name);
        }
        if named("description", !patch.description.is_empty()) {
            next.description.clone_from(&patch.description);
        }
        if named("category", !patch.category.is_empty()) {
            next.category.clone_from(&patch.category);
        }
        if named("tax_class", patch.tax_class != 0) {
            good.tax_class = message::tax_class("product.tax_class", patch.tax_class)?;
        }
        next.form = Form::Good(good);
        check_length("product.name", &next.name, 1, NAME_MAX)?;
        check_length("product.description", &next.description, 0, DESCRIPTION_MAX)?;
        Ok((next != *self).then(|| next.touched(now)))
    }

    /// Takes it off sale, with all of its variants.
    ///
    /// # Errors
    /// `INVALID_FIELD` if this is an asset, `INVALID_STATE_TRANSITION` if it is off sale.
    pub fn archive(&self, now: Timestamp) -> Result<Self, Error> {
        let mut good = self.sold()?.clone();
        good.variants.iter_mut().for_each(|variant| variant.state = State::Archived);
        Ok(Self { state: State::Archived, form: Form::Good(good), ..self.clone() }.touched(now))
    }

    /// Adds a variant.
    ///
    /// # Errors
    /// As [`Product::archive`]; `LIMIT_EXCEEDED` if it has 50.
    pub fn with_variant(&self, variant: Variant, now: Timestamp) -> Result<Self, Error> {
        let mut good = self.sold()?.clone();
        if good.variants.len() >= VARIANTS_MAX {
            let message = format!("A product has at most {VARIANTS_MAX} variants. Create another product.");
            return Err(Error::new(Reason::LimitExceeded, message).with("limit", "variants_per_product"));
        }
        good.variants.push(variant);
        Ok(Self { form: Form::Good(good), ..self.clone() }.touched(now))
    }

    /// Takes one variant off sale.
    ///
    /// # Errors
    /// As [`Product::archive`], also for the variant; `RESOURCE_NOT_FOUND` if it has no such variant.
    pub fn archive_variant(&self, id: &str, now: Timestamp) -> Result<Self, Error> {
        let mut good = self.sold()?.clone();
        let variant = good.variants.iter_mut().find(|variant| variant.id == id).ok_or_else(|| no_variant(id))?;
        check_active("variant", id, variant.state)?;
        variant.state = State::Archived;
        Ok(Self { form: Form::Good(good), ..self.clone() }.touched(now))
    }

    /// Notes that a variant was given a price.
    ///
    /// # Errors
    /// As [`Product::archive_variant`].
    pub fn priced(&self, variant: &str, now: Timestamp) -> Result<Self, Error> {
        let found = self.sold()?.variants.iter().find(|known| known.id == variant);
        check_active("variant", variant, found.ok_or_else(|| no_variant(variant))?.state)?;
        Ok(self.clone().touched(now))
    }

    /// Shows what a piece of a variant costs at this moment, in atoms of the platform's currency.
    pub fn show_price(&mut self, variant: &str, atoms: i64) {
        if let Form::Good(good) = &mut self.form {
            let found = good.variants.iter_mut().find(|known| known.id == variant);
            found.into_iter().for_each(|variant| variant.list_price = Some(atoms));
        }
    }

    /// The good that this is, if it is one and on sale.
    fn sold(&self) -> Result<&Good, Error> {
        let Form::Good(good) = &self.form else {
            return Err(invalid("id", "must be that of a good: assets are not changed here"));
        };
        check_active("product", &self.id, self.state)?;
        Ok(good)
    }

    fn touched(self, now: Timestamp) -> Self {
        Self { version: self.version + 1, update_time: now, ..self }
    }
}

/// There is no such variant.
pub fn no_variant(id: &str) -> Error {
    Error::new(Reason::ResourceNotFound, format!("There is no variant `{id}`.")).with("resource", id)
}

fn check_active(what: &str, id: &str, state: State) -> Result<(), Error> {
    match state {
        State::Active => Ok(()),
        State::Archived => {
            let message = format!("The {what} `{id}` is off sale for ever. Create another one.");
            Err(Error::new(Reason::InvalidStateTransition, message).with("resource", id).with("state", state.as_str()))
        }
    }
}

fn check_length(field: &str, text: &str, min: usize, max: usize) -> Result<(), Error> {
    if (min..=max).contains(&text.chars().count()) {
        return Ok(());
    }
    Err(invalid(field, &format!("must have {min} to {max} characters")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::{TaxClass, Unit, UnitKind};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn variant(id: &str) -> Variant {
        Variant { id: id.into(), sku: id.to_uppercase(), title: "One".into(), state: State::Active, list_price: None }
    }

    fn mug() -> Product {
        let variants = vec![variant("var_1"), variant("var_2")];
        Product {
            id: "prd_1".into(),
            form: Form::Good(Good { physical: true, tax_class: TaxClass::Standard, variants }),
            name: "Mug".into(),
            description: "A mug.".into(),
            category: "kitchen".into(),
            state: State::Active,
            version: 1,
            create_time: Timestamp::default(),
            update_time: Timestamp::default(),
        }
    }

    fn bitcoin() -> Product {
        let unit = Unit { code: "BTC".into(), kind: UnitKind::Asset, scale: 8 };
        Product { form: Form::Asset(unit), ..mug() }
    }

    fn mask(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn only_what_the_mask_names_changes_and_a_change_to_the_same_is_none() {
        crate::tests::install_contract();
        let reduced = proto::product::TaxClass::Reduced.into();
        let patch = proto::Product { name: "Cup".into(), tax_class: reduced, ..Default::default() };
        for (paths, name, description, changed) in [
            (vec![], "Cup", "A mug.", true),
            (vec!["name"], "Cup", "A mug.", true),
            (vec!["name", "etag", "id"], "Cup", "A mug.", true),
            (vec!["description"], "Mug", "", true),
            (vec!["tax_class"], "Mug", "A mug.", true),
            (vec!["etag"], "Mug", "A mug.", false),
        ] {
            let next = mug().change(&patch, &mask(&paths), NOW).unwrap();
            assert_eq!(next.is_some(), changed, "{paths:?}");
            let next = next.unwrap_or_else(mug);
            assert_eq!((next.name.as_str(), next.description.as_str()), (name, description), "{paths:?}");
            assert_eq!(next.etag(), if changed { "\"v2\"" } else { "\"v1\"" });
        }
        for (patch, paths) in [
            (patch.clone(), vec!["kind"]),
            (patch.clone(), vec!["variants"]),
            (proto::Product::default(), vec!["name"]),
            (proto::Product::default(), vec!["*"]),
            (proto::Product::default(), vec!["tax_class"]),
            (proto::Product { name: "n".repeat(101), ..Default::default() }, vec![]),
            (proto::Product { description: "d".repeat(2_001), ..Default::default() }, vec![]),
        ] {
            let refused = mug().change(&patch, &mask(&paths), NOW).unwrap_err();
            assert_eq!(refused.reason(), "INVALID_FIELD", "{paths:?}");
        }
    }

    #[test]
    fn an_etag_of_another_version_is_refused_and_none_is_any() {
        crate::tests::install_contract();
        assert!(mug().check_etag("").is_ok() && mug().check_etag("\"v1\"").is_ok());
        let refused = mug().check_etag("\"v2\"").unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("etag")), ("ETAG_MISMATCH", Some("\"v1\"")));
    }

    #[test]
    fn every_command_to_every_state_moves_it_or_is_refused() {
        crate::tests::install_contract();
        let half = mug().archive_variant("var_1", NOW).unwrap();
        assert_eq!((half.state, half.version, half.update_time), (State::Active, 2, NOW));
        assert_eq!(half.variants().iter().map(|v| v.state).collect::<Vec<_>>(), [State::Archived, State::Active]);
        let gone = half.archive(NOW).unwrap();
        assert_eq!((gone.state, gone.version), (State::Archived, 3));
        assert!(gone.variants().iter().all(|variant| variant.state == State::Archived));
        let patch = proto::Product { name: "Cup".into(), ..Default::default() };
        type Command<'a> = (&'a str, Box<dyn Fn(&Product) -> Result<Product, Error> + 'a>);
        let commands: [Command<'_>; 6] = [
            ("change", Box::new(|of| of.change(&patch, &[], NOW).map(|next| next.unwrap_or_else(mug)))),
            ("archive", Box::new(|of| of.archive(NOW))),
            ("add", Box::new(|of| of.with_variant(variant("var_3"), NOW))),
            ("archive the first", Box::new(|of| of.archive_variant("var_1", NOW))),
            ("price the first", Box::new(|of| of.priced("var_1", NOW))),
            ("price another's", Box::new(|of| of.priced("var_9", NOW))),
        ];
        const OK: &str = "";
        const ENDED: &str = "INVALID_STATE_TRANSITION";
        const ABSENT: &str = "RESOURCE_NOT_FOUND";
        const ASSET: &str = "INVALID_FIELD";
        for (state, product, outcomes) in [
            ("on sale", mug(), [OK, OK, OK, OK, OK, ABSENT]),
            ("half", half, [OK, OK, OK, ENDED, ENDED, ABSENT]),
            ("gone", gone, [ENDED; 6]),
            ("asset", bitcoin(), [ASSET; 6]),
        ] {
            for ((name, command), outcome) in commands.iter().zip(outcomes) {
                match command(&product) {
                    Ok(next) => assert_eq!((outcome, next.version), (OK, product.version + 1), "{name} {state}"),
                    Err(refused) => assert_eq!(refused.reason(), outcome, "{name} {state}"),
                }
            }
        }
    }

    #[test]
    fn a_product_has_a_limit_of_variants() {
        crate::tests::install_contract();
        let mut product = mug();
        for number in 3..=VARIANTS_MAX {
            product = product.with_variant(variant(&format!("var_{number}")), NOW).unwrap();
        }
        let refused = product.with_variant(variant("var_51"), NOW).unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("limit")), ("LIMIT_EXCEEDED", Some("variants_per_product")));
    }
}
