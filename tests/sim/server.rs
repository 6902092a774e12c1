//! A model of the server kit, from `PROTOCOL.md` alone: a ledger of operation ids, versions drawn database-wide, conflicts per
//! field, a feed in commit order with transactions that commit late, pulls under each person's rights.

mod deciding;

use rota_engine::{
    Answer, Fields, Gone, JsonRecord, Operation, OperationId, Outcome, PullCall, Pulled, Record, Row, Value, Version,
};

pub use self::deciding::{busy, key_value};
use crate::FastMap;
use crate::pages::Paging;

/// In the last one the server gives the keys.
pub const TABLES: [&str; 3] = ["companies", "leads", ORDERS];
pub const ORDERS: &str = "orders";
pub const OWNER: &str = "owner_id";
/// The column that events may lack.
pub const LARGE: &str = "city";

/// A record's number in the simulation.
pub type Key = usize;

/// A record at one of its versions.
#[derive(Clone, Debug)]
pub struct Stand {
    pub version: u64,
    pub xid: u64,
    pub record: Option<JsonRecord>,
    pub op: Option<OperationId>,
}

/// Everything the server knows of one record.
#[derive(Default)]
pub struct Known {
    pub table: usize,
    pub key: String,
    /// All its versions, oldest first. What is committed late is not in it before.
    pub history: Vec<Stand>,
    /// One bit a user who may not see it.
    pub hidden: u32,
    /// The same for whoever ever could not.
    pub ever_hidden: u32,
    /// Nobody may change it.
    pub is_refused: bool,
    is_locked: bool,
}

impl Known {
    pub fn stand(&self) -> Option<&Stand> {
        self.history.last()
    }

    pub fn record(&self) -> Option<&JsonRecord> {
        self.stand().and_then(|stand| stand.record.as_ref())
    }

    pub fn at(&self, version: u64) -> Option<&Stand> {
        let place = self.history.binary_search_by_key(&version, |stand| stand.version).ok()?;
        Some(&self.history[place])
    }

    pub fn is_seen_by(&self, user: usize) -> bool {
        self.hidden & (1 << user) == 0
    }
}

/// What the ledger recorded.
pub struct Decision {
    pub actor: usize,
    pub op: Operation,
    pub answer: Answer<JsonRecord>,
    /// How often it had an effect.
    pub effects: u32,
    /// Without a ledger: what it was answered when it was sent before.
    pub earlier: Vec<Outcome>,
}

struct Transaction {
    number: u64,
    xid: u64,
    key: Key,
    stand: Stand,
}

#[derive(Default)]
pub struct Server {
    pub known: Vec<Known>,
    numbers: [FastMap<String, Key>; TABLES.len()],
    pub ledger: FastMap<OperationId, Decision>,
    pub incarnation: u32,
    /// Its rows do not say which operation wrote them.
    pub is_anonymous: bool,
    /// It forgets at once what it has done. The ledger is then what the oracle knows of it.
    pub keeps_no_ledger: bool,
    /// Nobody may change or make an order.
    pub refuses_orders: bool,
    /// What temporary keys turned out to be.
    pub given: FastMap<String, Key>,
    last_order: u64,
    /// What the stream has to tell, in the order of commits.
    pub news: Vec<Key>,
    /// How many records ended in one go.
    pub ended: usize,
    /// How many rows a page of a pull has; without it, all come in one.
    pub page_rows: Option<usize>,
    pub pagings: Vec<Paging>,
    open: Vec<Transaction>,
    version: u64,
    xid: u64,
}

pub fn version(number: u64) -> Version {
    // An exact float up to 2^53; versions here are small.
    #[expect(clippy::cast_precision_loss)]
    Version::from_number(number as f64).expect("a small number is a version")
}

/// Reads a version that this server gave.
pub fn number(version: &Version) -> u64 {
    let Version::Integer(number) = version else { panic!("law 4: {version} is no version of this server's") };
    *number
}

impl Server {
    /// Returns a record's number, giving it one when it is new.
    pub fn key(&mut self, table: &str, key: &str) -> Key {
        let table = TABLES.iter().position(|name| *name == table).expect("only declared tables are asked for");
        if let Some(number) = self.numbers[table].get(key) {
            return *number;
        }
        self.numbers[table].insert(key.to_owned(), self.known.len());
        self.known.push(Known { table, key: key.to_owned(), ..Known::default() });
        self.known.len() - 1
    }

    pub fn name(&self, key: Key) -> (&'static str, &str) {
        (TABLES[self.known[key].table], &self.known[key].key)
    }

    fn begin(&mut self) -> u64 {
        self.xid += 1;
        self.xid
    }

    fn draw(&mut self, xid: u64, record: Option<JsonRecord>, op: Option<OperationId>) -> Stand {
        self.version += 1;
        Stand { version: self.version, xid, record, op }
    }

    fn write(&mut self, key: Key, record: Option<JsonRecord>, op: Option<OperationId>) {
        let xid = self.begin();
        let stand = self.draw(xid, record, op);
        self.known[key].history.push(stand);
        self.news.push(key);
    }

    // ---- other people, behind everyone's back

    pub fn blank(&self, key: Key) -> Fields {
        let known = &self.known[key];
        if TABLES[known.table] == ORDERS {
            return Fields::from([("id".to_owned(), key_value(&known.key)), ("title".to_owned(), "Harbour".into())]);
        }
        let mut fields =
            Fields::from([("id".to_owned(), known.key.as_str().into()), ("name".to_owned(), "Harbour".into())]);
        if known.table == 0 {
            fields.extend([
                (LARGE.to_owned(), "Bremen".into()),
                (OWNER.to_owned(), Value::Null),
                ("visits".to_owned(), Value::Number(0.0)),
                ("tags".to_owned(), Value::List(vec![])),
                ("weight".to_owned(), Value::Null),
            ]);
        }
        fields
    }

    fn changed(&self, key: Key, field: &str, value: Value) -> JsonRecord {
        let mut fields = self.known[key].record().map_or_else(|| self.blank(key), |record| record.fields().clone());
        fields.insert(field.to_owned(), value);
        JsonRecord::create(&fields)
    }

    /// Changes a record, or makes it. Someone else's lock makes it wait for another time.
    pub fn sql_set(&mut self, key: Key, field: &str, value: Value) {
        if !self.known[key].is_locked {
            let record = self.changed(key, field, value);
            self.write(key, Some(record), None);
        }
    }

    pub fn sql_delete(&mut self, key: Key) {
        if !self.known[key].is_locked && self.known[key].record().is_some() {
            self.write(key, None, None);
        }
    }

    /// Makes and ends many records, of which the stream does not tell.
    pub fn end_many(&mut self, count: usize) {
        for n in 0..count {
            let key = self.key(TABLES[1], &format!("e-{n}"));
            self.sql_set(key, "name", "x".into());
            self.sql_delete(key);
        }
        self.news.clear();
    }

    /// Changes a record in a transaction that stays open. Returns its number.
    pub fn sql_open(&mut self, key: Key, field: &str, value: Value) -> Option<u64> {
        if self.known[key].is_locked {
            return None;
        }
        let xid = self.begin();
        let record = self.changed(key, field, value);
        let stand = self.draw(xid, Some(record), None);
        self.known[key].is_locked = true;
        self.open.push(Transaction { number: xid, xid, key, stand });
        Some(xid)
    }

    pub fn sql_commit(&mut self, number: u64) {
        if let Some(at) = self.open.iter().position(|open| open.number == number) {
            let Transaction { key, stand, .. } = self.open.remove(at);
            self.known[key].is_locked = false;
            self.known[key].history.push(stand);
            self.news.push(key);
        }
    }

    pub fn commit_all(&mut self) {
        while let Some(open) = self.open.first() {
            let number = open.number;
            self.sql_commit(number);
        }
    }

    /// Changes who may see a record. With `touch`, the record gets a new version, as when its team changes.
    pub fn set_hidden(&mut self, key: Key, user: usize, hidden: bool, touch: bool) {
        if self.known[key].is_locked {
            return;
        }
        let bit = 1 << user;
        let known = &mut self.known[key];
        known.hidden = if hidden { known.hidden | bit } else { known.hidden & !bit };
        known.ever_hidden |= bit;
        if touch && let Some(record) = self.known[key].record().cloned() {
            self.write(key, Some(record), None);
        }
    }

    // ---- pulls

    /// Answers a pull that names keys.
    pub fn pull(&mut self, call: &PullCall, user: usize) -> Pulled<JsonRecord> {
        let request = &call.request;
        let mut pulled = Pulled {
            id: call.id,
            cursor: None,
            whole: false,
            records: Vec::new(),
            gone: Vec::new(),
            settled: Vec::new(),
            covers: Vec::new(),
            next: None,
            at_ms: None,
            unread: Vec::new(),
        };
        for (table, keys) in request.keys.iter().flat_map(rota_engine::Named::iter) {
            for key in keys {
                let key = self.key(table, key);
                self.tell(key, user, &mut pulled);
            }
        }
        self.tell_settled(call, user, &mut pulled);
        pulled
    }

    /// Tells what became of the operations that a pull asks about.
    pub fn tell_settled(&self, call: &PullCall, user: usize, pulled: &mut Pulled<JsonRecord>) {
        let request = &call.request;
        let decided = request.pending.iter().filter_map(|id| self.recorded(id)).filter(|known| known.actor == user);
        pulled.settled = decided.map(|known| Answer { replayed: true, ..known.answer.clone() }).collect();
    }

    pub const fn last_version(&self) -> u64 {
        self.version
    }

    /// Reads a cursor of this incarnation.
    pub fn position(&self, cursor: &str) -> Option<u64> {
        let (incarnation, xid) = cursor.split_once(':')?;
        if incarnation.parse() == Ok(self.incarnation) { xid.parse().ok() } else { None }
    }

    pub fn watermark(&self) -> u64 {
        self.open.iter().map(|open| open.xid).min().unwrap_or(self.xid + 1)
    }

    pub fn tell(&self, key: Key, user: usize, pulled: &mut Pulled<JsonRecord>) {
        let known = &self.known[key];
        let (table, name) = (TABLES[known.table].to_owned(), known.key.clone());
        let Some(stand) = known.stand() else {
            pulled.gone.push(Gone { table, key: name, version: version(0) });
            return;
        };
        match stand.record.clone().filter(|_| known.is_seen_by(user)) {
            Some(record) => pulled.records.push(Row {
                table,
                key: name,
                version: version(stand.version),
                op: stand.op.filter(|_| !self.is_anonymous),
                record: Some(record),
            }),
            None if !pulled.whole => pulled.gone.push(Gone { table, key: name, version: version(stand.version) }),
            None => {}
        }
    }
}
