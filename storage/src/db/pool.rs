//! Connections that are lent out, first come first served. A connection comes back only if its user says that it is
//! clean; any other is closed, which undoes whatever was open on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kit::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{overloaded, unavailable};

/// How many callers may stand in line for each connection.
const LINE: usize = 256;

pub(super) struct Pool<C> {
    idle: Arc<Mutex<Vec<C>>>,
    permits: Arc<Semaphore>,
    line: Arc<Semaphore>,
    size: u32,
}

impl<C> Pool<C> {
    pub(super) fn new(size: u32) -> Self {
        let size = size.max(1);
        let permits = size as usize;
        Self {
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(permits)),
            line: Arc::new(Semaphore::new(permits.saturating_mul(LINE))),
            size,
        }
    }

    /// The right to one connection. The pool has none idle if [`Lent::take`] then finds none: open one.
    pub(super) async fn borrow(&self) -> Result<Lent<C>, Error> {
        let _place = self.line.try_acquire().map_err(|_| overloaded())?;
        let permit = self.permits.clone().acquire_owned().await.map_err(unavailable)?;
        Ok(Lent { idle: self.idle.clone(), connection: None, _permit: permit })
    }

    /// Waits until nobody has a connection, then shows each to `look`.
    pub(super) async fn take_all(&self) -> Result<(Vec<C>, OwnedSemaphorePermit), Error> {
        let permits = self.permits.clone().acquire_many_owned(self.size).await.map_err(unavailable)?;
        Ok((std::mem::take(&mut *lock(&self.idle)), permits))
    }

    pub(super) fn put_all(&self, connections: Vec<C>) {
        lock(&self.idle).extend(connections);
    }
}

/// A borrowed place of the pool, with its connection once there is one.
pub(super) struct Lent<C> {
    idle: Arc<Mutex<Vec<C>>>,
    connection: Option<C>,
    _permit: OwnedSemaphorePermit,
}

impl<C> Lent<C> {
    /// A connection that was used before, if one is idle.
    pub(super) fn idle(&self) -> Option<C> {
        lock(&self.idle).pop()
    }

    pub(super) fn set(&mut self, connection: C) {
        self.connection = Some(connection);
    }

    pub(super) fn get(&mut self) -> Result<&mut C, Error> {
        self.connection.as_mut().ok_or_else(|| Error::internal("a session was used after its end"))
    }

    /// Closes the connection.
    pub(super) fn forget(&mut self) {
        self.connection = None;
    }

    /// Gives the connection back for the next user. Without this call it is closed.
    pub(super) fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            lock(&self.idle).push(connection);
        }
    }
}

/// A panic while the list was held cannot have left it half changed.
fn lock<C>(idle: &Mutex<Vec<C>>) -> MutexGuard<'_, Vec<C>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
