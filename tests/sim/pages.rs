//! Pulls as this world's server answers them: in pages, and with parts of tables that an answer is all of.

use rota_engine::{Cover, Failure, Fields, PullCall, Pulled, Value};

use crate::faults::Fault;
use crate::oracle::is_in;
use crate::server::{Key, LARGE, OWNER, Server, TABLES};
use crate::workload::{Draw, Rate};
use crate::world::World;

/// A name of a page that is longer than any may be.
const NAME_BYTES: usize = 10_001;

/// An answer that comes in pages.
pub struct Paging {
    incarnation: u32,
    covers: Vec<Cover>,
    /// The server's last version when the first page was made.
    version: u64,
}

impl Server {
    /// Finds the answer that a page belongs to, and where the page begins. One from before a restore is no longer known.
    fn page(&self, page: &str) -> Option<(usize, Key)> {
        let (number, after) = page.split_once('/')?;
        let (number, after) = (number.parse().ok()?, after.parse().ok()?);
        let paging: &Paging = self.pagings.get(number)?;
        (paging.incarnation == self.incarnation).then_some((number, after))
    }

    /// Answers a pull that names no keys. A page begins where the one before it ended, and shows everything as it is by now.
    pub fn pull_from_cursor(&mut self, call: &PullCall, user: usize, covers: Vec<Cover>) -> Option<Pulled<Row>> {
        let request = &call.request;
        let since = request.cursor.as_deref().and_then(|cursor| self.position(cursor));
        let (number, start) = match &request.page {
            Some(page) => self.page(page)?,
            None => {
                let (incarnation, version) = (self.incarnation, self.last_version());
                self.pagings.push(Paging { incarnation, covers, version });
                (self.pagings.len() - 1, 0)
            }
        };
        let covers = self.pagings[number].covers.clone();
        let mut pulled = Pulled {
            id: call.id,
            cursor: Some(format!("{}:{}", self.incarnation, self.watermark())),
            whole: since.is_none() && covers.is_empty(),
            records: Vec::new(),
            gone: Vec::new(),
            settled: Vec::new(),
            covers,
            next: None,
            at_ms: None,
            unread: Vec::new(),
        };
        let mut count = 0;
        for key in start..self.known.len() {
            // The cursor is the lowest transaction still running, so the last change may come twice.
            let is_new = self.known[key].stand().is_some_and(|stand| stand.xid >= since.unwrap_or(0));
            let known = &self.known[key];
            let is_part =
                |record| pulled.covers.iter().any(|cover| is_in(cover, TABLES[known.table], &known.key, record));
            let is_in_part = known.record().is_some_and(is_part);
            if !is_new && !is_in_part {
                continue;
            }
            if self.page_rows.is_some_and(|rows| count >= rows) {
                pulled.next = Some(format!("{number}/{key}"));
                break;
            }
            count += 1;
            if !self.is_concluded(key, user, &pulled.covers) {
                self.tell(key, user, &mut pulled);
            }
        }
        self.tell_settled(call, user, &mut pulled);
        Some(pulled)
    }

    /// True for the end of a record that everyone who knows the record has within the parts: that it is missing says it.
    fn is_concluded(&self, key: Key, user: usize, covers: &[Cover]) -> bool {
        let known = &self.known[key];
        let is_there = known.record().is_some() && known.is_seen_by(user);
        let always = |cover: &Cover| {
            let mut records = known.history.iter().filter_map(|stand| stand.record.as_ref());
            records.all(|record| is_in(cover, TABLES[known.table], &known.key, record))
        };
        !is_there && covers.iter().any(always)
    }

    /// True when something has changed since the first page of the answer that a page belongs to.
    fn has_changed_since(&self, page: &str) -> bool {
        self.page(page).is_some_and(|(number, _)| self.pagings[number].version != self.last_version())
    }
}

type Row = rota_engine::JsonRecord;

impl World {
    /// Makes the server's answer to a pull; a failure where it does not know the page.
    pub fn answer_pull(&mut self, tab: usize, call: &PullCall) -> Result<Pulled<Row>, Failure> {
        let user = self.tabs[tab].user;
        if call.request.keys.is_some() {
            return Ok(self.server.pull(call, user));
        }
        if let Some(page) = &call.request.page {
            if self.goes_wrong(Rate::PageGone) {
                self.faults.add(Fault::PageForgotten);
                return Err(self.draw.of(&[Failure::Gone, Failure::Invalid]));
            }
            if self.server.has_changed_since(page) {
                self.faults.add(Fault::ChangedBetweenPages);
            }
        }
        let is_partial = call.request.page.is_none() && self.draw.percent(u64::from(self.parts_percent));
        let covers = if is_partial { self.some_parts() } else { Vec::new() };
        let Some(mut pulled) = self.server.pull_from_cursor(call, user, covers) else {
            self.faults.add(Fault::PageForgotten);
            return Err(Failure::Gone);
        };
        if pulled.next.is_some() {
            self.faults.add(Fault::PullInPages);
            if self.goes_wrong(Rate::PageName) {
                self.faults.add(Fault::PageNameTooLong);
                pulled.next = Some("x".repeat(NAME_BYTES));
            }
        }
        Ok(pulled)
    }

    /// Counts what becomes of a pull that has pages.
    pub fn note_page(&mut self, call: &PullCall, is_lost: bool) {
        if call.request.page.is_none() || !is_lost {
            return;
        }
        self.faults.add(if self.mono_ms < self.cut_until_ms { Fault::CutBetweenPages } else { Fault::PageLost });
    }

    /// Some parts of tables, or what is none.
    fn some_parts(&mut self) -> Vec<Cover> {
        self.faults.add(Fault::PullOfParts);
        let mut covers = Vec::new();
        for _ in 0..=self.draw.below(2) {
            covers.push(some_part(&mut self.draw));
        }
        if self.goes_wrong(Rate::EventBad) {
            self.faults.add(Fault::PartOfNothing);
            let nothing = if self.draw.percent(50) { ("ghosts", "id") } else { (TABLES[0], "town") };
            let values = Fields::from([(nothing.1.to_owned(), Value::Null)]);
            covers.push(Cover { table: nothing.0.to_owned(), keys: None, values: Some(values) });
        }
        covers
    }
}

fn some_part(draw: &mut Draw) -> Cover {
    let table = TABLES[usize::from(draw.percent(25))];
    let names = if table == TABLES[0] { "c" } else { "l" };
    let part = Cover { table: table.to_owned(), keys: None, values: None };
    let keys = |draw: &mut Draw| (0..draw.below(6)).map(|_| format!("{names}-{}", draw.below(8))).collect();
    let city = |draw: &mut Draw| {
        let (field, value) = draw.of(&[(LARGE, "Bremen"), (LARGE, "Kiel"), ("name", "Harbour"), (OWNER, "anna")]);
        Fields::from([(field.to_owned(), value.into())])
    };
    let nobody = || Fields::from([(OWNER.to_owned(), Value::Null)]);
    match draw.below(5) {
        0 => part,
        1 => Cover { keys: Some(keys(draw)), ..part },
        2 if table == TABLES[0] => Cover { keys: Some(keys(draw)), values: Some(city(draw)), ..part },
        3 if table == TABLES[0] => Cover { values: Some(nobody()), ..part },
        _ if table == TABLES[0] => Cover { values: Some(city(draw)), ..part },
        _ => part,
    }
}
