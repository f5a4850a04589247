//! Who takes the next step: a core, the network or a client, as the seed decides.
//!
//! Invariant: a core turns only when it is awake; a step that somebody can take is always found.

use ironring::base::rng::Rng;
use ironring::ring::simulated::SimNet;

use crate::server::Server;

/// Lets one of `all` take a step, the first who can from a random one on. False if nobody can.
pub(crate) fn any_of<A>(
    rng: &mut Rng,
    all: &mut [A],
    mut act: impl FnMut(&mut A, &mut Rng) -> bool,
) -> bool {
    if all.is_empty() {
        return false;
    }
    let first = rng.below(all.len() as u64) as usize;
    let (behind, from) = all.split_at_mut(first);
    from.iter_mut().chain(behind).any(|one| act(one, rng))
}

/// Nothing happens until the first timer.
pub(crate) fn pass_time(server: &Server) {
    if let Some(next) = server.net.next_timeout() {
        server.clock.set(next);
    }
}

/// Who is how quick in a run.
pub(crate) struct Schedule {
    /// Steps that were taken.
    pub(crate) steps: u64,
    cores: Vec<u64>,
    network: u64,
    clients: u64,
}

impl Schedule {
    pub(crate) fn new(rng: &mut Rng, cores: usize) -> Schedule {
        let mut weight = || [1, 10, 100][rng.below(3) as usize];
        Schedule {
            steps: 0,
            cores: (0..cores).map(|_| weight()).collect(),
            network: weight(),
            clients: weight(),
        }
    }

    /// One step of somebody who can take one; `clients` lets a client take one, at the time that it
    /// is given. False if nobody can.
    pub(crate) fn step(
        &mut self,
        rng: &mut Rng,
        server: &mut Server,
        mut clients: impl FnMut(&mut Rng, &SimNet, u64) -> bool,
    ) -> bool {
        self.steps += 1;
        server.clock.advance(rng.below(STEP_NANOS_MAX));
        let total = self.cores.iter().sum::<u64>() + self.network + self.clients;
        let mut pick = rng.below(total);
        let picked = self.cores.iter().position(|weight| {
            let here = pick < *weight;
            pick = pick.saturating_sub(*weight);
            here
        });
        let done = match picked {
            Some(core) => Self::turn(server, core),
            None if pick < self.network => server.net.step(),
            None => clients(rng, &server.net, self.steps),
        };
        done || server.net.step()
            || clients(rng, &server.net, self.steps)
            || (0..server.cores.len()).any(|core| Self::turn(server, core))
    }

    fn turn(server: &mut Server, core: usize) -> bool {
        let awake = server.net.is_awake(core);
        if awake {
            server.cores[core].turn();
        }
        awake
    }
}

/// Simulated time of one step, at most.
const STEP_NANOS_MAX: u64 = 20_000;
