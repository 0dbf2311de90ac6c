//! Desks at work: each act goes to some validator, and acts of one instant to different ones.

use super::{Happening, Shown, World};
use crate::sim::desks::Acts;

impl World {
    pub(super) fn somebody_at_a_desk(&mut self) {
        // Then everything that is owed can be waited for: what one person does may let another's act in again.
        if self.healed {
            return;
        }
        let Some(mut desks) = self.desks.take() else { return };
        let every = self.scenario.desk_every_us;
        let next = desks.between(every / 2, every * 3 / 2);
        self.after(next, Happening::Desk);
        let (now_ms, now_us) = (self.world_ms(), self.now_us);
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].is_up() && !self.nodes[*node].paused)
            .collect();
        if !up.is_empty() {
            let asked = up[desks.place(up.len())];
            let shown = Shown(self.nodes[asked].ledger().cloned());
            let Acts { sent, apart, race } = desks.act(&mut self.client, &shown, now_ms, now_us);
            for (person, handle) in desks.new_handles() {
                self.checker.enrollments.knows(person, handle);
            }
            self.counts.device_races += u64::from(race);
            self.counts.desks_at_once += u64::from(apart);
            let first = desks.place(up.len());
            for (nth, index) in sent.into_iter().enumerate() {
                let at = up[(first + nth * usize::from(apart)) % up.len()];
                self.open.push(index);
                self.counts.transactions_sent += 1;
                self.submit(at, index);
            }
        }
        self.desks = Some(desks);
    }
}
