//! What does not add up.

use kit::Error;
use storage::{Row, Session};

/// An item beside what its movements say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The item.
    pub id: String,
    /// How many pieces are there.
    pub on_hand: i64,
    /// How many of them are reserved.
    pub reserved: i64,
    /// The number of the last movement.
    pub movements: i64,
    /// What its movements add up to.
    pub moved: i64,
    /// How many movements there are.
    pub moves: i64,
}

/// The next items after an id, and how many movements each has had.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn items(session: &mut Session, after: &str, limit: i64) -> Result<Vec<(String, i64)>, Error> {
    const NEXT: &str = "SELECT id, movements FROM stock_items WHERE id > $1 ORDER BY id LIMIT $2";

    pairs(session.rows(NEXT, &[after.into(), limit.into()]).await?.as_slice())
}

/// The next items after an id of which something is reserved, and how much.
pub async fn reserved(session: &mut Session, after: &str, limit: i64) -> Result<Vec<(String, i64)>, Error> {
    const NEXT: &str = "SELECT id, reserved FROM stock_items WHERE id > $1 AND reserved <> 0 ORDER BY id LIMIT $2";

    pairs(session.rows(NEXT, &[after.into(), limit.into()]).await?.as_slice())
}

/// Items after one id and up to another, and the sums of their movements.
pub async fn counted(session: &mut Session, after: &str, end: &str) -> Result<Vec<Counted>, Error> {
    const COUNT: &str = "SELECT s.id, s.on_hand, s.reserved, s.movements,
            (SELECT CAST(COALESCE(SUM(m.quantity), 0) AS BIGINT) FROM stock_movements m WHERE m.stock_item_id = s.id),
            (SELECT CAST(COUNT(*) AS BIGINT) FROM stock_movements m WHERE m.stock_item_id = s.id)
        FROM stock_items s WHERE s.id > $1 AND s.id <= $2 ORDER BY s.id";

    session.rows(COUNT, &[after.into(), end.into()]).await?.iter().map(read_counted).collect()
}

/// An item of which too much has moved to be added up at once, with the sums of what is beyond its last movement only:
/// nothing.
pub async fn beyond(session: &mut Session, id: &str) -> Result<Vec<Counted>, Error> {
    const COUNT: &str = "SELECT s.id, s.on_hand, s.reserved, s.movements,
            (SELECT CAST(COALESCE(SUM(m.quantity), 0) AS BIGINT) FROM stock_movements m
                WHERE m.stock_item_id = s.id AND m.sequence > s.movements),
            (SELECT CAST(COUNT(*) AS BIGINT) FROM stock_movements m
                WHERE m.stock_item_id = s.id AND m.sequence > s.movements)
        FROM stock_items s WHERE s.id = $1";

    session.rows(COUNT, &[id.into()]).await?.iter().map(read_counted).collect()
}

/// What the movements of an item after one number and up to another add up to, and how many there are.
pub async fn moved(session: &mut Session, id: &str, after: i64, end: i64) -> Result<(i64, i64), Error> {
    const ADD_UP: &str = "SELECT CAST(COALESCE(SUM(quantity), 0) AS BIGINT), CAST(COUNT(*) AS BIGINT)
        FROM stock_movements WHERE stock_item_id = $1 AND sequence > $2 AND sequence <= $3";

    let row = session.row(ADD_UP, &[id.into(), after.into(), end.into()]).await?;
    row.map_or(Ok((0, 0)), |row| Ok((row.int(0)?, row.int(1)?)))
}

fn read_counted(row: &Row) -> Result<Counted, Error> {
    Ok(Counted {
        id: row.text(0)?,
        on_hand: row.int(1)?,
        reserved: row.int(2)?,
        movements: row.int(3)?,
        moved: row.int(4)?,
        moves: row.int(5)?,
    })
}

fn pairs(rows: &[Row]) -> Result<Vec<(String, i64)>, Error> {
    rows.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
}
