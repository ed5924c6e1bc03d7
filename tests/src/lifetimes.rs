//! What ends by itself: quotes, tokens, prices. And a market that a test moves by hand.

use anyhow::Result;
use serde_json::json;

use crate::{
    client::{Client, Protocol},
    people::{Person, text},
    platform::{Platform, Shape, eventually},
};

/// A platform whose quotes and tokens end soon, and whose prices are in a file.
async fn short_lived(shape: Shape, file: &std::path::Path) -> Result<Platform> {
    let feed = format!("file:{}", file.display());
    let settings = [
        ("AGORA_FEED", feed.as_str()),
        ("AGORA_TICK_INTERVAL", "50ms"),
        ("AGORA_PRICE_AGE_MAX", "2s"),
        ("AGORA_QUOTE_LIFETIME", "1s"),
        ("AGORA_ACCESS_TOKEN_LIFETIME", "15s"),
    ];
    Platform::start_with(shape, &settings).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotes_and_tokens_end_and_the_market_moves_in_one_process_with_sidecars() -> Result<()> {
    everything_ends(Shape::Meshed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotes_and_tokens_end_and_the_market_moves_in_one_process_without_sidecars() -> Result<()> {
    everything_ends(Shape::Direct).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotes_and_tokens_end_and_the_market_moves_with_a_process_per_role() -> Result<()> {
    everything_ends(Shape::Roles).await
}

async fn everything_ends(shape: Shape) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("prices");
    let platform = short_lived(shape, &file).await?;
    for protocol in [Protocol::Rest, Protocol::Grpc] {
        let client = platform.client(protocol)?;
        a_price_that_moved_voids_the_quote(&client, &file).await?;
        a_quote_ends(&client).await?;
        a_silent_price_is_not_traded_on(&client, &file).await?;
        an_access_token_ends_and_is_refreshed(&client).await?;
    }
    Ok(())
}

async fn price(client: &Client, file: &std::path::Path, line: &str, shown: &str) -> Result<()> {
    std::fs::write(file, format!("BTC {line}\n"))?;
    eventually("the market has moved", async || {
        let ticker = client.call("catalog.v1.MarketDataService/GetTicker", json!({"unit": "BTC"})).await.ok()?;
        text(&ticker["ticker"]["last"]["value"]).starts_with(shown).then_some(())
    })
    .await;
    Ok(())
}

async fn a_price_that_moved_voids_the_quote(client: &Client, file: &std::path::Path) -> Result<()> {
    price(client, file, "50000", "50000").await?;
    let person = Person::with_money(client, "1000").await?;
    // A quote may have ended by the time a slow machine has moved the market: then it is taken again.
    let refused = eventually("the quote is void", async || {
        std::fs::write(file, "BTC 50000\n").ok()?;
        price(client, file, "50000", "50000").await.ok()?;
        let quote = person.quote("SIDE_BUY", "0.001", "BTC").await.ok()?;
        price(client, file, "60000", "60000").await.ok()?;
        person.take(&quote).await.err().filter(|refusal| refusal.reason != "QUOTE_EXPIRED")
    })
    .await;
    assert_eq!(refused.reason, "SLIPPAGE_EXCEEDED", "{refused}");
    assert_eq!(person.available("USD").await?, "1000.00");
    price(client, file, "50000", "50000").await
}

async fn a_quote_ends(client: &Client) -> Result<()> {
    let person = Person::with_money(client, "1000").await?;
    let quote = person.quote("SIDE_BUY", "0.001", "BTC").await?;
    let refused = eventually("the quote has ended", async || {
        // What an order may use once is refused as used before it ends, so a fresh caller asks with a price limit.
        let verified = person.take(&quote).await.err()?;
        (verified.reason == "QUOTE_EXPIRED").then_some(verified)
    })
    .await;
    assert_eq!(refused.code, tonic::Code::FailedPrecondition);
    Ok(())
}

async fn a_silent_price_is_not_traded_on(client: &Client, file: &std::path::Path) -> Result<()> {
    let person = Person::with_money(client, "1000").await?;
    std::fs::write(file, "BTC -\n")?;
    eventually("the price is stale", async || {
        let refused = person.trade("SIDE_BUY", "0.0001", "BTC").await.err()?;
        (refused.reason == "PRICE_STALE").then_some(())
    })
    .await;
    price(client, file, "50000", "50000").await
}

async fn an_access_token_ends_and_is_refreshed(client: &Client) -> Result<()> {
    let person = Person::register(client).await?;
    let refused = eventually("the token has ended", async || {
        person.call("ledger.v1.WalletService/GetWallet", json!({})).await.err()
    })
    .await;
    assert_eq!(refused.reason, "TOKEN_EXPIRED", "{refused}");
    let request = json!({"refreshToken": person.tokens["refreshToken"]});
    let fresh = client.call("auth.v1.AuthService/RefreshToken", request).await?;
    let again = client.with_token(text(&fresh["tokens"]["accessToken"]));
    again.call("ledger.v1.WalletService/GetWallet", json!({})).await?;
    Ok(())
}
