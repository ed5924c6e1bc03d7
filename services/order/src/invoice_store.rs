//! The SQL of invoices, and of the shipments that wait for one.

use std::collections::BTreeMap;

use contracts::order::v1::{Invoice, Order, Shipment};
use kit::{Error, Scope};
use prost::Message;
use storage::{Bind, Row, Session, Unit};

use crate::{order::State, proto};

/// How many shipments one order may have.
const SHIPMENTS: i64 = 10_000;

/// Whether a shipment waits for its invoice.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn any_due(session: &mut Session) -> Result<bool, Error> {
    const DUE: &str = "SELECT id FROM shipments WHERE invoiced = 0 AND state IN ('SHIPPED', 'DELIVERED') LIMIT 1";
    Ok(session.row(DUE, &[]).await?.is_some())
}

/// The last number of a year. Until the end of the unit nobody else numbers.
pub async fn lock_numbers(unit: &mut Unit, year: i64) -> Result<i64, Error> {
    const LOCK: &str = "INSERT INTO invoice_numbers (year, last) VALUES ($1, 0)
        ON CONFLICT (year) DO UPDATE SET last = invoice_numbers.last RETURNING last";
    unit.row(LOCK, &[year.into()]).await?.map_or(Ok(0), |row| row.int(0))
}

/// Writes the last number of a year.
pub async fn save_numbers(unit: &mut Unit, year: i64, last: i64) -> Result<(), Error> {
    unit.exec("UPDATE invoice_numbers SET last = $2 WHERE year = $1", &[year.into(), last.into()]).await.map(|_| ())
}

/// Shipments that wait for their invoices, the longest first.
pub async fn due(session: &mut Session, limit: i64) -> Result<Vec<Shipment>, Error> {
    const DUE: &str = "SELECT content FROM shipments WHERE invoiced = 0 AND state IN ('SHIPPED', 'DELIVERED')
        ORDER BY update_time LIMIT $1";
    session.rows(DUE, &[limit.into()]).await?.iter().map(|row| decode(&row.bytes(0)?)).collect()
}

/// Every shipment of some orders, the oldest of each first. An order with too many is left out, and harms no other.
pub async fn shipments_of(session: &mut Session, orders: &[&str]) -> Result<BTreeMap<String, Vec<Shipment>>, Error> {
    let sql = format!(
        "SELECT order_id, content FROM
            (SELECT order_id, content, ROW_NUMBER() OVER (PARTITION BY order_id ORDER BY id) AS place
                FROM shipments WHERE order_id IN ({})) AS numbered
        WHERE place <= ${}",
        parameters(orders.len()),
        orders.len() + 1
    );
    let mut binds: Vec<Bind> = orders.iter().map(|id| (*id).into()).collect();
    // One more, to learn whether there are too many.
    binds.push((SHIPMENTS + 1).into());
    let mut found = BTreeMap::<String, Vec<Shipment>>::new();
    for row in session.rows_dynamic(sql, &binds).await? {
        found.entry(row.text(0)?).or_default().push(decode(&row.bytes(1)?)?);
    }
    found.retain(|_, shipments| shipments.len() <= SHIPMENTS.unsigned_abs() as usize);
    let made = |shipment: &Shipment| shipment.create_time.map(|time| (time.seconds, time.nanos));
    for shipments in found.values_mut() {
        shipments.sort_by(|a, b| made(a).cmp(&made(b)).then_with(|| a.id.cmp(&b.id)));
    }
    Ok(found)
}

/// Some orders, as far as they are purchases.
pub async fn orders_of(session: &mut Session, ids: &[&str]) -> Result<BTreeMap<String, Order>, Error> {
    let sql = format!(
        "SELECT id, owner, state, sequence, create_time, update_time, purchase FROM orders
        WHERE purchase IS NOT NULL AND id IN ({})",
        parameters(ids.len())
    );
    let binds: Vec<Bind> = ids.iter().map(|id| (*id).into()).collect();
    let order = |row: &Row| {
        let order = Order {
            id: row.text(0)?,
            owner_id: row.text(1)?,
            state: proto::state(State::named(&row.text(2)?)?).into(),
            sequence: row.int(3)?,
            create_time: Some(row.time(4)?.to_proto()),
            update_time: Some(row.time(5)?.to_proto()),
            purchase: Some(decode(&row.bytes(6)?)?),
            ..Default::default()
        };
        Ok((order.id.clone(), order))
    };
    session.rows_dynamic(sql, &binds).await?.iter().map(order).collect()
}

/// Writes invoices, and notes that their shipments wait no longer.
pub async fn insert(unit: &mut Unit, invoices: &[Invoice]) -> Result<(), Error> {
    const COLUMNS: usize = 6;

    let row = |row: usize| {
        let columns: Vec<String> = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column)).collect();
        format!("({})", columns.join(", "))
    };
    let rows: Vec<String> = (0..invoices.len()).map(row).collect();
    let sql =
        format!("INSERT INTO invoices (id, number, order_id, shipment_id, owner, content) VALUES {}", rows.join(", "));
    let binds = invoices.iter().flat_map(|invoice| -> [Bind; COLUMNS] {
        let Invoice { id, number, order_id, shipment_id, owner_id, .. } = invoice;
        let content = invoice.encode_to_vec().into();
        [id.into(), number.into(), order_id.into(), shipment_id.into(), owner_id.into(), content]
    });
    unit.rows_dynamic(sql, &binds.collect::<Vec<_>>()).await?;
    let sql = format!("UPDATE shipments SET invoiced = 1 WHERE id IN ({})", parameters(invoices.len()));
    let binds: Vec<Bind> = invoices.iter().map(|invoice| (&invoice.shipment_id).into()).collect();
    unit.rows_dynamic(sql, &binds).await.map(|_| ())
}

/// Notes that invoices of some shipments cannot be written.
pub async fn set_aside(unit: &mut Unit, shipments: &[&str]) -> Result<(), Error> {
    let sql = format!("UPDATE shipments SET invoiced = 2 WHERE id IN ({})", parameters(shipments.len()));
    let binds: Vec<Bind> = shipments.iter().map(|id| (*id).into()).collect();
    unit.rows_dynamic(sql, &binds).await.map(|_| ())
}

/// An invoice, as far as the scope goes.
pub async fn load(session: &mut Session, scope: &Scope, id: &str) -> Result<Option<Invoice>, Error> {
    const FIND: &str = "SELECT content FROM invoices WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR owner = $2)";
    session.row(FIND, &[id.into(), scope.owner().into()]).await?.as_ref().map(read).transpose()
}

/// Invoices before an id, the newest first, of one order or of any.
pub async fn list(
    session: &mut Session,
    scope: &Scope,
    order_id: Option<&str>,
    before: Option<&str>,
    limit: i64,
) -> Result<Vec<Invoice>, Error> {
    let mut sql = "SELECT content FROM invoices WHERE 1 = 1".to_owned();
    let mut binds: Vec<Bind> = Vec::new();
    let conditions = [(" AND owner = $", scope.owner()), (" AND order_id = $", order_id), (" AND id < $", before)];
    for (condition, value) in conditions {
        if let Some(value) = value {
            binds.push(value.into());
            sql.push_str(&format!("{condition}{}", binds.len()));
        }
    }
    binds.push(limit.into());
    sql.push_str(&format!(" ORDER BY id DESC LIMIT ${}", binds.len()));
    session.rows_dynamic(sql, &binds).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Invoice, Error> {
    decode(&row.bytes(0)?)
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Error> {
    M::decode(bytes).map_err(Error::internal)
}

/// `$1, $2, $3`.
fn parameters(count: usize) -> String {
    (1..=count).map(|position| format!("${position}")).collect::<Vec<_>>().join(", ")
}
