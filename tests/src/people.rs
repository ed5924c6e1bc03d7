//! People that a test registers for itself, so that tests may share a platform.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client},
    platform::{amount, key},
};

/// Someone with an account and a token.
#[derive(Clone)]
pub struct Person {
    pub client: Client,
    pub id: String,
    pub email: String,
    pub password: String,
    pub tokens: Value,
}

impl Person {
    /// Registers and logs in.
    pub async fn register(client: &Client) -> Result<Self> {
        let email = format!("{}@test.example", key());
        let password = "a long enough password".to_owned();
        let request = json!({"email": email, "password": password, "displayName": "Test"});
        let user = client.anonymous().call("user.v1.UserService/CreateUser", request).await?;
        assert_eq!(user["user"]["email"], email.as_str());
        Self::login(client, &email, &password).await
    }

    /// Logs in.
    pub async fn login(client: &Client, email: &str, password: &str) -> Result<Self> {
        let request = json!({"email": email, "password": password, "device": "a test"});
        let reply = client.anonymous().call("auth.v1.AuthService/Login", request).await?;
        let tokens = reply["tokens"].clone();
        Ok(Self {
            client: client.with_token(text(&tokens["accessToken"])),
            id: text(&tokens["userId"]).to_owned(),
            email: email.to_owned(),
            password: password.to_owned(),
            tokens,
        })
    }

    /// The administrator of the demo.
    pub async fn admin(client: &Client) -> Result<Self> {
        let admin = agora::demo::PEOPLE.iter().find(|person| person.roles.contains(&"admin")).expect("a demo admin");
        Self::login(client, admin.email, admin.password).await
    }

    /// Registers, logs in and pays in.
    pub async fn with_money(client: &Client, dollars: &str) -> Result<Self> {
        let person = Self::register(client).await?;
        person.deposit(dollars).await?;
        Ok(person)
    }

    /// The same person at another address.
    pub fn on(&self, client: &Client) -> Self {
        Self { client: client.with_token(text(&self.tokens["accessToken"])), ..self.clone() }
    }

    pub async fn call(&self, rpc: &str, request: Value) -> Answer {
        self.client.call(rpc, request).await
    }

    pub async fn deposit(&self, dollars: &str) -> Answer {
        let request = json!({"requestId": key(), "amount": amount(dollars, "USD")});
        self.call("ledger.v1.WalletService/CreateDeposit", request).await
    }

    pub async fn quote(&self, side: &str, quantity: &str, unit: &str) -> Result<Value> {
        let request = json!({"side": side, "quantity": amount(quantity, unit)});
        Ok(self.call("catalog.v1.PricingService/CreateQuote", request).await?["quote"].clone())
    }

    /// Orders by a quote.
    pub async fn take(&self, quote: &Value) -> Answer {
        let request = json!({"requestId": key(), "quotedTrade": {"quoteToken": quote["token"]}});
        self.call("order.v1.OrderService/CreateOrder", request).await
    }

    /// Orders at the price of the moment.
    pub async fn trade(&self, side: &str, quantity: &str, unit: &str) -> Answer {
        let trade = json!({"side": side, "quantity": amount(quantity, unit)});
        self.call("order.v1.OrderService/CreateOrder", json!({"requestId": key(), "marketTrade": trade})).await
    }

    /// What can be spent of a unit, as a decimal text; `0` if there never was any.
    pub async fn available(&self, unit: &str) -> Result<String> {
        let wallet = self.call("ledger.v1.WalletService/GetWallet", json!({})).await?;
        let balances = wallet["wallet"]["balances"].as_array().cloned().unwrap_or_default();
        let found = balances.iter().find(|balance| balance["total"]["unit"] == unit);
        Ok(found.map_or("0", |balance| text(&balance["available"]["value"])).to_owned())
    }
}

/// The text of a JSON value that must be one.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

/// The atoms of a decimal text with `scale` decimals.
pub fn atoms(value: &str, scale: u8) -> i64 {
    kit::amount::parse(value, scale).unwrap_or_else(|error| panic!("{value}: {error}"))
}
