//! Streams of an order.

use api::order::State;
use futures::StreamExt;
use kit::drain::Drain;

use super::{fakes::Mood, *};

type Stream = <Service as OrderService>::WatchOrderStream;

async fn watch(bench: &Bench, owner: &str, id: &str, after_sequence: i64) -> Result<Stream, Error> {
    let request = Request::new(api::WatchOrderRequest { id: id.to_owned(), after_sequence });
    answer(user_call(owner), bench.service.watch_order(request)).await
}

async fn rest(stream: Stream) -> Vec<(i64, State)> {
    let read = |message: Result<api::WatchOrderResponse, Status>| {
        let message = message.unwrap();
        (message.sequence, message.order.unwrap().state())
    };
    stream.map(read).collect().await
}

/// An order that is pending, since the ledger is away.
async fn pending(bench: &Bench, owner: &str) -> String {
    bench.ledger.set(Mood::Away);
    bench.create(owner, market_buy()).await.unwrap_err();
    bench.ledger.set(Mood::Well);
    bench.list(user_call(owner), api::ListOrdersRequest::default()).await.unwrap().orders[0].id.clone()
}

#[tokio::test]
async fn a_watcher_sees_the_order_as_it_stands_and_then_how_it_ends() {
    for bench in Bench::each().await {
        let me = user();
        let id = pending(&bench, &me).await;
        let mut stream = watch(&bench, &me, &id, 0).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().sequence, 1);
        bench.clock.advance(Duration::from_secs(1));
        runner::reconcile_once(&bench.service).await.unwrap();
        assert_eq!(rest(stream).await, [(2, State::Fulfilled)]);
        assert_eq!(rest(watch(&bench, &me, &id, 0).await.unwrap()).await, [(2, State::Fulfilled)]);
        assert_eq!(rest(watch(&bench, &me, &id, 1).await.unwrap()).await, [(2, State::Fulfilled)]);
        assert_eq!(rest(watch(&bench, &me, &id, 2).await.unwrap()).await, []);
    }
}

#[tokio::test]
async fn a_caller_watches_so_many_orders_and_no_more() {
    for bench in Bench::each().await {
        let (me, you) = (user(), user());
        let id = pending(&bench, &me).await;
        let first = watch(&bench, &me, &id, 0).await.unwrap();
        let _second = watch(&bench, &me, &id, 0).await.unwrap();
        let refused = watch(&bench, &me, &id, 0).await.err().unwrap();
        assert_eq!((refused.reason(), refused.metadata("limit")), ("LIMIT_EXCEEDED", Some("2")));
        assert_eq!(watch(&bench, &you, &id, 0).await.err().unwrap().reason(), "RESOURCE_NOT_FOUND");
        drop(first);
        assert!(watch(&bench, &me, &id, 0).await.is_ok());
    }
}

#[tokio::test]
async fn streams_end_on_drain() {
    for bench in Bench::each().await {
        let me = user();
        let id = pending(&bench, &me).await;
        let stream = watch(&bench, &me, &id, 0).await.unwrap();
        let (drain, draining) = Drain::new();
        let service = bench.service.clone();
        let background = tokio::spawn(async move { service.work(&draining).await });
        drain.start();
        assert_eq!(rest(stream).await, [(1, State::Pending)]);
        background.await.unwrap();
    }
}
