//! Commands to reservations, many at a time: whatever arrives while a batch is being written is the next batch. Each
//! batch loads what it needs at once, is decided one command after the other in the order of arrival, and is written
//! with a handful of statements, so that a unit that everybody wants costs no more than one that few want. Each caller
//! gets its own answer. Nobody waits for company: a lone command is a batch of one.

use kit::{Call, Error};
use storage::{Db, Unit, failpoint};
use tokio::sync::{mpsc, oneshot};

use crate::{
    reservation::{Command, Reservation},
    store,
};

/// How many commands are written at a time.
const BATCH: usize = 256;
/// How many commands may wait.
pub(crate) const LINE: usize = 4_096;
/// How often a batch is tried that others overtake. From the second time on it locks its items first.
const ATTEMPTS: u32 = 5;

/// Where commands stand in line.
pub struct Batcher(mpsc::Sender<Job>);

struct Job {
    id: String,
    command: Command,
    /// Facts and refusals belong to the call that made them.
    call: Call,
    answer: oneshot::Sender<Result<Reservation, Error>>,
}

impl Batcher {
    /// A line, and the task that serves it for as long as the line exists.
    pub fn new(db: Db) -> Self {
        let (line, jobs) = mpsc::channel(LINE);
        tokio::spawn(work(db, jobs));
        Self(line)
    }

    /// Carries out `command` on the reservation `id`, as part of the running call. Once it is in line it is carried out
    /// or not, whether or not the caller waits: a repeat under the same id finds out.
    ///
    /// # Errors
    /// What is refused; `OVERLOADED` if the line is too long; what keeps the batch from being written.
    pub async fn submit(&self, id: String, command: Command) -> Result<Reservation, Error> {
        let (answer, answered) = oneshot::channel();
        let job = Job { id, command, call: Call::current()?, answer };
        self.0.try_send(job).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => overloaded(),
            mpsc::error::TrySendError::Closed(_) => Error::internal("the batches have ended"),
        })?;
        answered.await.map_err(|_| Error::internal("a batch ended without an answer"))?
    }
}

async fn work(db: Db, mut line: mpsc::Receiver<Job>) {
    let mut jobs = Vec::new();
    while line.recv_many(&mut jobs, BATCH).await > 0 {
        let batch: Vec<Job> = jobs.drain(..).filter(|job| !job.answer.is_closed()).collect();
        if batch.is_empty() {
            continue;
        }
        // A task of its own: should it panic, the callers of this batch are told and the next batch is served.
        if let Err(error) = tokio::spawn(carry_out(db.clone(), batch)).await {
            tracing::error!(%error, "a batch of reservations ended at once");
        }
    }
}

async fn carry_out(db: Db, batch: Vec<Job>) {
    match write(&db, &batch).await {
        Ok(outcomes) => {
            for (job, outcome) in batch.into_iter().zip(outcomes) {
                // Who has left finds its reservation by its id.
                let _ = job.answer.send(outcome);
            }
        }
        Err(error) => {
            for job in batch {
                let _ = job.answer.send(Err(error.clone()));
            }
        }
    }
}

/// Decides and writes a batch. If another process was faster with one of its rows, it is decided anew.
async fn write(db: &Db, batch: &[Job]) -> Result<Vec<Result<Reservation, Error>>, Error> {
    let mut attempt = 1;
    loop {
        let written = db.write(async |unit: &mut Unit| decide(unit, batch, attempt).await).await;
        match written {
            Err(error) if attempt < ATTEMPTS && is_overtaken(&error) => attempt += 1,
            written => {
                failpoint::hit("inventory-after-batch");
                return written;
            }
        }
    }
}

async fn decide(unit: &mut Unit, batch: &[Job], attempt: u32) -> Result<Vec<Result<Reservation, Error>>, Error> {
    let commands: Vec<(&str, &Command)> = batch.iter().map(|job| (job.id.as_str(), &job.command)).collect();
    let mut room = store::room::load(unit, &commands, attempt > 1).await?;
    let now = unit.now();
    let mut outcomes = Vec::with_capacity(batch.len());
    for job in batch {
        let decided = async {
            let outcome = room.decide(&job.id, &job.command, now);
            room.take_told().into_iter().try_for_each(|told| store::tell(unit, told))?;
            match outcome {
                // A reservation and its items were read at different moments.
                Err(error) if attempt < ATTEMPTS && is_overtaken(&error) => Err(error),
                outcome => Ok(outcome),
            }
        };
        outcomes.push(kit::call::run(job.call.clone(), decided).await?);
    }
    store::room::save(unit, &room).await?;
    Ok(outcomes)
}

fn is_overtaken(error: &Error) -> bool {
    error.reason() == "SERIALIZATION_FAILURE"
}

fn overloaded() -> Error {
    let message = "Too many reservations wait to be written. Repeat this one later, with the same id.";
    Error::named("OVERLOADED", message).retry_after(std::time::Duration::from_millis(500))
}
