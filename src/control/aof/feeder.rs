//! Gives the commands of a file to the cores, in an order that is as good as that of the file.
//!
//! Invariant: as in `persist::aof::replay`. What is under way to a core is bounded.

use std::sync::Arc;

use super::{Done, Part, broken};
use crate::base::number::parse_u64;
use crate::persist::aof::replay::{Line, Lines, Route};
use crate::persist::load::{Load, Piece};

/// Gives the commands of a file to the cores.
pub(super) struct Feeder<'a> {
    part: &'a Part<'a>,
    load: Arc<Load>,
    pub(super) line: Line,
    db: usize,
    /// For the owners of keys.
    lines: Vec<Lines>,
    /// For all partitions together; what comes behind a command that needs them goes along, until
    /// this is full: to wait for all cores costs more than to run on one.
    serial: Option<Lines>,
}

impl<'a> Feeder<'a> {
    pub(super) fn new(part: &'a Part<'a>) -> Feeder<'a> {
        let cores = part.loader.desks.len();
        Feeder {
            part,
            load: Arc::new(Load::new(cores, true, None)),
            line: Line::default(),
            db: 0,
            lines: (0..cores).map(|_| Lines::default()).collect(),
            serial: None,
        }
    }

    /// Takes the command that is complete, and began at `offset`.
    pub(super) async fn take(&mut self, offset: u64) -> Done<()> {
        let name = &self.part.name;
        if self.line.is_too_long() {
            return Err(broken(format!("AOF {name}: the command at byte {offset} is too long")));
        }
        let (bytes, words) = self.line.words();
        let route = (self.part.loader.router.borrow_mut())(bytes, words);
        match route {
            Route::Unknown => {
                let command = String::from_utf8_lossy(self.line.word(0).unwrap_or_default());
                return Err(broken(format!(
                    "Unknown command '{command}' reading the append only file {name} at byte {offset}"
                )));
            }
            Route::Bracket => {}
            Route::Select => {
                let count = self.part.order.databases;
                let index = self.line.word(1).and_then(parse_u64).unwrap_or(u64::MAX);
                let known = usize::try_from(index).ok().filter(|index| *index < count);
                self.db = known.ok_or_else(|| {
                    broken(format!(
                        "FATAL: Data file was created with a Redis server configured to handle more than {count} databases. Exiting"
                    ))
                })?;
            }
            Route::Owner(core, id) => self.push(core, id).await,
            Route::Everywhere(id) => self.push_serial(id).await,
        }
        self.line.clear();
        Ok(())
    }

    async fn push(&mut self, core: usize, id: u16) {
        if self.serial.is_some() {
            return self.push_serial(id).await;
        }
        self.lines[core].push(self.db, id, &self.line);
        if self.lines[core].is_full() {
            self.part.loader.wait_for_room(&self.load, core).await;
            self.send(core);
        }
    }

    async fn push_serial(&mut self, id: u16) {
        if self.serial.as_ref().is_some_and(|lines| lines.db() != Some(self.db)) {
            self.run_serial().await;
        }
        if self.serial.is_none() {
            self.drain().await;
        }
        let lines = self.serial.get_or_insert_with(Lines::serial);
        lines.push(self.db, id, &self.line);
        if lines.is_full() {
            self.run_serial().await;
        }
    }

    /// Has the commands run that need all partitions.
    async fn run_serial(&mut self) {
        if let Some(lines) = self.serial.take() {
            self.part.loader.send(&self.load, 0, Piece::Lines(lines));
            self.part.loader.settle(&self.load).await;
        }
    }

    fn send(&mut self, core: usize) {
        let lines = std::mem::take(&mut self.lines[core]);
        self.part.loader.send(&self.load, core, Piece::Lines(lines));
    }

    /// Waits until all commands have run that were given to the owners of their keys.
    async fn drain(&mut self) {
        for core in 0..self.lines.len() {
            if !self.lines[core].is_empty() {
                self.send(core);
            }
        }
        self.part.loader.settle(&self.load).await;
    }

    pub(super) async fn finish(mut self) {
        self.run_serial().await;
        self.drain().await;
    }
}
