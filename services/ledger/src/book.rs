//! The books, purely: what entries and holds do to accounts, and when they are refused. No await, no clock, no I/O.

use std::collections::BTreeMap;

use contracts::r#type::v1::Reason;
use kit::{
    Error,
    amount::{self, Rounding},
    units::Unit,
};

/// The account through which money comes in and goes out.
pub const HOUSE_BANK: &str = "house/bank";

/// Whether an owner is the house, which may owe.
pub fn is_house(owner: &str) -> bool {
    owner.starts_with("house/")
}

/// In how many parts the accounts of the house are kept, so that trades of different customers do not wait for one row.
const PARTS: u32 = 256;

/// The entries with each account of the house replaced by one of its parts, the same for everything that one customer
/// does. A part is an account like any other: `house/trading#07`.
pub fn spread(mut entries: Vec<Entry>) -> Vec<Entry> {
    let customer = entries.iter().find(|entry| !is_house(&entry.owner)).map_or("", |entry| entry.owner.as_str());
    let part = customer.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % PARTS;
    for entry in entries.iter_mut().filter(|entry| is_house(&entry.owner)) {
        entry.owner.push_str(&format!("#{part:02}"));
    }
    entries
}

/// The name of an account's owner without the part: `house/trading`.
pub fn whole(owner: &str) -> &str {
    owner.split_once('#').map_or(owner, |(whole, _)| whole)
}

/// What one account gets, or gives where `atoms` is negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose account.
    pub owner: String,
    /// The code of the unit.
    pub code: String,
    /// The unit.
    pub unit: Unit,
    /// How much, in atoms of the unit.
    pub atoms: i64,
}

/// The entries that move `atoms` from one owner to another.
pub fn pair(from: &str, to: &str, code: &str, unit: Unit, atoms: i64) -> Vec<Entry> {
    let entry = |owner: &str, atoms| Entry { owner: owner.to_owned(), code: code.to_owned(), unit, atoms };
    vec![entry(from, -atoms), entry(to, atoms)]
}

/// What an owner has of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whose it is.
    pub owner: String,
    /// The code of the unit.
    pub code: String,
    /// Everything, in atoms.
    pub posted: i64,
    /// What of it is set aside.
    pub held: i64,
    /// What the asset cost, fees included, by the average cost of what is left; in atoms of the house's currency.
    pub cost: i64,
    /// What sales brought, less the cost of what was sold.
    pub realized: i64,
}

impl Account {
    /// An account nobody has used yet.
    pub fn empty(owner: &str, code: &str) -> Self {
        Self { owner: owner.to_owned(), code: code.to_owned(), posted: 0, held: 0, cost: 0, realized: 0 }
    }

    /// What can be spent.
    pub fn available(&self) -> i64 {
        self.posted.saturating_sub(self.held)
    }

    /// Counts `quantity` atoms in or out for `money` atoms of the currency, which go the other way. A purchase adds its
    /// money to the cost. A sale takes out the cost of its share, and what it brought beyond that is profit.
    fn trade(&mut self, before: i64, quantity: i64, money: i64) -> Result<(), Error> {
        let overflow = || out_of_range(&self.code);
        if quantity > 0 {
            self.cost = self.cost.checked_sub(money).ok_or_else(overflow)?;
        } else if before > 0 {
            let share = i128::from(self.cost) * -i128::from(quantity);
            let sold = amount::divide(share, i128::from(before), Rounding::HalfEven);
            let sold = i64::try_from(sold).map_err(|_| overflow())?;
            let profit = money.checked_sub(sold).ok_or_else(overflow)?;
            let realized = self.realized.checked_add(profit).ok_or_else(overflow)?;
            self.cost = self.cost.checked_sub(sold).ok_or_else(overflow)?;
            self.realized = realized;
        }
        Ok(())
    }
}

/// The accounts that a unit of work touches, and only those.
#[derive(Clone, Debug, Default)]
pub struct Book {
    accounts: BTreeMap<(String, String), Account>,
}

impl Book {
    /// A book of accounts as they are stored. Those that are not in it are empty.
    pub fn new(accounts: impl IntoIterator<Item = Account>) -> Self {
        let keyed = accounts.into_iter().map(|account| ((account.owner.clone(), account.code.clone()), account));
        Self { accounts: keyed.collect() }
    }

    /// The accounts as they are now, by owner and unit.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = &Account> {
        self.accounts.values()
    }

    /// One account.
    pub fn account(&mut self, owner: &str, code: &str) -> &mut Account {
        let key = (owner.to_owned(), code.to_owned());
        self.accounts.entry(key).or_insert_with(|| Account::empty(owner, code))
    }

    /// Applies the entries of one transaction, all or none. Gives back what each entry left of its unit. `currency` is
    /// the unit in which cost and profit are counted.
    ///
    /// # Errors
    /// `UNBALANCED_TRANSACTION`, `INSUFFICIENT_FUNDS`, `INSUFFICIENT_HOLDINGS`, `AMOUNT_OUT_OF_RANGE`, or
    /// `INVALID_FIELD` where one owner moves more than one asset, so that the money of neither is known.
    pub fn post(&mut self, entries: &[Entry], currency: &str) -> Result<Vec<i64>, Error> {
        balanced(entries)?;
        let mut after = self.clone();
        after.count_positions(entries, currency)?;
        let mut balances = Vec::with_capacity(entries.len());
        for entry in entries {
            let account = after.account(&entry.owner, &entry.code);
            account.posted = account.posted.checked_add(entry.atoms).ok_or_else(|| out_of_range(&entry.code))?;
            balances.push(account.posted);
        }
        for entry in entries {
            let available = after.account(&entry.owner, &entry.code).available();
            if available < 0 && !is_house(&entry.owner) {
                let had = self.account(&entry.owner, &entry.code).available();
                return Err(insufficient(&entry.code, entry.unit, had));
            }
        }
        *self = after;
        Ok(balances)
    }

    /// Sets `atoms` of an account aside.
    ///
    /// # Errors
    /// `INSUFFICIENT_FUNDS` or `INSUFFICIENT_HOLDINGS`.
    pub fn hold(&mut self, owner: &str, code: &str, unit: Unit, atoms: i64) -> Result<(), Error> {
        let account = self.account(owner, code);
        if account.available() < atoms {
            return Err(insufficient(code, unit, account.available()));
        }
        account.held = account.held.checked_add(atoms).ok_or_else(|| out_of_range(code))?;
        Ok(())
    }

    /// Makes what was set aside available again.
    ///
    /// # Errors
    /// `EXCEEDS_HOLD` if less than that is set aside.
    pub fn release(&mut self, owner: &str, code: &str, atoms: i64) -> Result<(), Error> {
        let account = self.account(owner, code);
        if account.held < atoms {
            return Err(Error::new(Reason::ExceedsHold, "More is released than is held.").with("unit", code));
        }
        account.held -= atoms;
        Ok(())
    }

    /// Counts the assets that customers get and give, with the money that goes the other way.
    fn count_positions(&mut self, entries: &[Entry], currency: &str) -> Result<(), Error> {
        let mut moves: BTreeMap<&str, Move> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| !is_house(&entry.owner)) {
            let of_owner = moves.entry(&entry.owner).or_default();
            let overflow = || out_of_range(&entry.code);
            if entry.code == currency {
                of_owner.money = of_owner.money.checked_add(entry.atoms).ok_or_else(overflow)?;
            } else if !entry.unit.fiat {
                let (code, quantity) = of_owner.asset.unwrap_or((&entry.code, 0));
                if code != entry.code {
                    let message = "A transaction may move one asset of an owner. Post one for each asset.";
                    return Err(Error::new(Reason::InvalidField, message).violation("entries", "move several assets"));
                }
                of_owner.asset = Some((code, quantity.checked_add(entry.atoms).ok_or_else(overflow)?));
            }
        }
        for (owner, of_owner) in moves {
            if let Some((code, quantity)) = of_owner.asset {
                let account = self.account(owner, code);
                account.trade(account.posted, quantity, of_owner.money)?;
            }
        }
        Ok(())
    }
}

/// What one customer gets and gives in a transaction.
#[derive(Default)]
struct Move<'a> {
    money: i64,
    asset: Option<(&'a str, i64)>,
}

/// Refuses entries that do not sum to zero per unit: nothing comes from nowhere.
fn balanced(entries: &[Entry]) -> Result<(), Error> {
    let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
    for entry in entries {
        *sums.entry(&entry.code).or_default() += i128::from(entry.atoms);
    }
    match sums.into_iter().find(|(_, sum)| *sum != 0) {
        None => Ok(()),
        Some((code, _)) => {
            let message = format!("The entries in {code} do not sum to zero.");
            Err(Error::new(Reason::UnbalancedTransaction, message).with("unit", code))
        }
    }
}

fn insufficient(code: &str, unit: Unit, available: i64) -> Error {
    let available = amount::format(available, unit.scale);
    let (reason, message) = if unit.fiat {
        (Reason::InsufficientFunds, format!("You have {available} {code} to spend. Deposit more, or ask for less."))
    } else {
        (Reason::InsufficientHoldings, format!("You have {available} {code}. Ask for less."))
    };
    Error::new(reason, message).with("unit", code).with("available", available)
}

fn out_of_range(code: &str) -> Error {
    let message = format!("The amount of {code} is too large to be written down.");
    Error::new(Reason::AmountOutOfRange, message).with("unit", code)
}
