//! Statements over many rows, in the two texts that the databases need.

/// A statement for many rows of parameters: SQLite takes rows, PostgreSQL whole columns.
#[derive(Clone, Copy)]
pub(crate) struct Each {
    pub(super) rows: Rows,
    pub(super) all: &'static str,
}

/// A statement over rows: what stands before them, and after.
#[derive(Clone, Copy)]
pub(crate) struct Rows(pub(super) &'static str, pub(super) &'static str);

/// How many rows one statement takes at most on SQLite.
const ROWS: usize = 32;

impl Rows {
    /// The rows in pieces whose sizes are powers of two, each with its statement: few texts, which stay prepared.
    pub(super) fn pieces<T>(self, mut rows: Vec<Vec<T>>) -> Vec<(String, Vec<T>)> {
        let mut pieces = Vec::new();
        while !rows.is_empty() {
            let size = (1 << rows.len().ilog2()).min(ROWS);
            let rest = rows.split_off(size);
            pieces.push((self.text(size, rows[0].len()), rows.into_iter().flatten().collect()));
            rows = rest;
        }
        pieces
    }

    /// The statement for so many rows of so many parameters.
    fn text(self, rows: usize, columns: usize) -> String {
        let Self(before, after) = self;
        format!("{before} {} {after}", crate::value::placeholders(rows, columns))
    }
}

/// Appends records to the log, leaving out those that it has. Parameters are the columns of an event.
pub(crate) const APPEND: Each = Each {
    rows: Rows(
        "INSERT INTO log_records (topic, log_offset, id, type, aggregate, sequence, time, trace, payload) VALUES",
        "ON CONFLICT (topic, id) DO NOTHING",
    ),
    all: "INSERT INTO log_records (topic, log_offset, id, type, aggregate, sequence, time, trace, payload)
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[],
            $7::bigint[], $8::text[], $9::bytea[]) ON CONFLICT (topic, id) DO NOTHING",
};

/// Removes facts from the outbox. Parameters are aggregate and sequence.
pub(crate) const REMOVE: Each = Each {
    rows: Rows("DELETE FROM outbox WHERE (aggregate, sequence) IN (VALUES", ")"),
    all: "DELETE FROM outbox USING unnest($1::text[], $2::bigint[]) AS sent (aggregate, sequence)
        WHERE outbox.aggregate = sent.aggregate AND outbox.sequence = sent.sequence",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_few_sizes_and_none_is_lost() {
        let rows: Vec<Vec<usize>> = (0..77).map(|number| vec![number, number + 1000]).collect();
        let pieces = REMOVE.rows.pieces(rows.clone());
        let sizes: Vec<usize> = pieces.iter().map(|(_, binds)| binds.len() / 2).collect();
        assert_eq!(sizes, [32, 32, 8, 4, 1]);
        let whole: Vec<usize> = pieces.into_iter().flat_map(|(_, binds)| binds).collect();
        assert_eq!(whole, rows.concat());
        assert_eq!(
            REMOVE.rows.text(2, 2),
            "DELETE FROM outbox WHERE (aggregate, sequence) IN (VALUES ($1, $2), ($3, $4) )"
        );
    }
}
