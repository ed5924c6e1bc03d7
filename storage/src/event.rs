//! A fact as the log carries it.

use kit::{Error, Timestamp};
use prost::Message;

use crate::value::{Bind, Row};

/// A fact on its way from one service to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `evt_…`: the same however often the fact is delivered.
    pub id: String,
    /// The topic that carries it.
    pub topic: String,
    /// The full name of its message.
    pub kind: String,
    /// The id of what changed.
    pub aggregate: String,
    /// 1, 2, 3, … per aggregate.
    pub sequence: i64,
    /// When it became true.
    pub time: Timestamp,
    /// The W3C `traceparent` of the request that made it true; may be empty.
    pub trace: String,
    /// The encoded message.
    pub payload: Vec<u8>,
    /// Its place in the topic: 0, 1, 2, … without a gap.
    pub offset: i64,
}

impl Event {
    /// The columns that [`Event::read`] and [`Event::binds`] expect, in this order, after `topic`.
    pub(crate) const COLUMNS: usize = 9;

    /// The message.
    ///
    /// # Errors
    /// `INTERNAL` if the payload is not such a message.
    pub fn decode<M: Message + Default>(&self) -> Result<M, Error> {
        M::decode(self.payload.as_slice())
            .map_err(|error| Error::internal(format!("the payload of {} is no {}: {error}", self.id, self.kind)))
    }

    /// Reads topic, offset, id, type, aggregate, sequence, time, trace and payload from column `first` on.
    pub(crate) fn read(row: &Row, first: usize) -> Result<Self, Error> {
        Ok(Self {
            topic: row.text(first)?,
            offset: row.int(first + 1)?,
            id: row.text(first + 2)?,
            kind: row.text(first + 3)?,
            aggregate: row.text(first + 4)?,
            sequence: row.int(first + 5)?,
            time: row.time(first + 6)?,
            trace: row.text(first + 7)?,
            payload: row.bytes(first + 8)?,
        })
    }

    /// The same columns as parameters.
    pub(crate) fn binds(&self) -> [Bind; Self::COLUMNS] {
        [
            (&self.topic).into(),
            self.offset.into(),
            (&self.id).into(),
            (&self.kind).into(),
            (&self.aggregate).into(),
            self.sequence.into(),
            self.time.into(),
            (&self.trace).into(),
            self.payload.as_slice().into(),
        ]
    }
}
