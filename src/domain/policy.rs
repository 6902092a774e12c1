//! Who may do what, declared once: by role, by department, by ownership. The client answers from the declaration, with a reason; the
//! server's guards and policies are written from the same one (`sql.rs`), so that the two can't drift apart.

mod sql;

use super::given::{key, text};
use crate::engine::error::Error;
use crate::engine::operation::{Step, name};
use crate::engine::record::Record;
use crate::engine::rules::{Context, FACT_BYTES_MAX};
use crate::engine::value::{Fields, Value};

pub use sql::policy_sql;

/// What the name of a fact begins with that says a table's policy.
const POLICY: &str = "policy:";

/// The operation that hands a record on.
const ASSIGN: &str = "assign";

/// How many characters of somebody's id a message repeats.
const ID_CHARS_MAX: usize = 80;

/// The action that is no operation: to see a record at all.
pub(crate) const READ: &str = "read";

const RULES_MAX: usize = 256;
const NAMES_MAX: usize = 64;

/// Which records a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Any,
    /// The person's own.
    Own,
    /// Nobody's.
    Unowned,
    /// Those of the person's department.
    Department,
}

/// To whom something may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Anyone,
    /// Oneself.
    Oneself,
    /// People of the record's department.
    Department,
}

impl Scope {
    const ALL: [(&str, Self); 4] =
        [("any", Self::Any), ("own", Self::Own), ("unowned", Self::Unowned), ("department", Self::Department)];

    const fn words(self) -> &'static str {
        match self {
            Self::Any => "anybody's",
            Self::Own => "one's own",
            Self::Unowned => "nobody's",
            Self::Department => "one's department's",
        }
    }
}

impl To {
    const ALL: [(&str, Self); 3] =
        [("anyone", Self::Anyone), ("oneself", Self::Oneself), ("department", Self::Department)];

    const fn words(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Oneself => "oneself",
            Self::Department => "people of the record's department",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    actions: Vec<String>,
    /// None: whatever the role.
    roles: Option<Vec<String>>,
    scope: Scope,
    to: To,
}

/// The table in which people are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct People {
    table: String,
    key: String,
    role: String,
    department: Option<String>,
    /// Whether somebody still may do anything, and be given anything; everybody, where no field says.
    active: Option<String>,
}

/// What is declared of one table. Nothing is allowed that no rule allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    table: String,
    owner: Option<String>,
    department: Option<String>,
    people: People,
    rules: Vec<Rule>,
}

/// Somebody, as far as is known who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Person {
    id: String,
    role: Option<String>,
    department: Option<String>,
    is_active: bool,
}

impl Person {
    fn require_active(&self) -> Result<(), Error> {
        if self.is_active {
            return Ok(());
        }
        let shown: String = self.id.chars().take(ID_CHARS_MAX).collect();
        Err(Error::NotAllowed { code: "inactive", message: text(&[&shown, " is not active"]) })
    }
}

impl Policy {
    /// Reads a declaration that nobody has looked at yet.
    ///
    /// # Errors
    /// [`Error::InvalidConfiguration`], which says what can't work; [`Error::InvalidOperation`] for one that is too long to be told.
    fn declared(declaration: &Value) -> Result<Self, Error> {
        let policy = Self::read(declaration)?;
        if declaration.bytes() > FACT_BYTES_MAX {
            return Err(Error::InvalidOperation(text(&[
                "a policy has at most ",
                &FACT_BYTES_MAX.to_string(),
                " bytes",
            ])));
        }
        Ok(policy)
    }

    /// Reads a declaration.
    ///
    /// # Errors
    /// [`Error::InvalidConfiguration`], which says what can't work.
    pub(crate) fn read(declaration: &Value) -> Result<Self, Error> {
        let Value::Map(fields) = declaration else { return wrong("is an object") };
        only(fields, &["table", "owner", "department", "people", "rules"])?;
        let Some(Value::Map(people)) = fields.get("people") else {
            return wrong("says in \"people\", an object, where they are");
        };
        let people = People::read(people).map_err(|error| placed(&error, "people"))?;
        let Some(Value::List(rules)) = fields.get("rules") else { return wrong("has a list of rules") };
        if rules.len() > RULES_MAX {
            return wrong("has at most 256 rules");
        }
        let policy = Self {
            table: named(fields, "table")?,
            owner: optional(fields, "owner")?,
            department: optional(fields, "department")?,
            people,
            rules: rules.iter().enumerate().map(Rule::read_at).collect::<Result<_, _>>()?,
        };
        let needs_owner = |rule: &Rule| matches!(rule.scope, Scope::Own | Scope::Unowned);
        if policy.owner.is_none() && policy.rules.iter().any(needs_owner) {
            return wrong("needs an owner for its rules of own and unowned records");
        }
        let needs_department = |rule: &Rule| rule.scope == Scope::Department || rule.to == To::Department;
        let has_departments = policy.department.is_some() && policy.people.department.is_some();
        if !has_departments && policy.rules.iter().any(needs_department) {
            return wrong("needs the department of records and of people for its rules of departments");
        }
        Ok(policy)
    }

    fn rules_of<'a>(&'a self, action: &'a str) -> impl Iterator<Item = &'a Rule> + Clone {
        self.rules.iter().filter(move |rule| rule.actions.iter().any(|named| named == action))
    }

    /// Says why an action is refused that fails at a step: 0 the role, 1 the record, 2 whom it is given to.
    fn reason(&self, action: &str, step: usize) -> String {
        let rules = self.rules_of(action);
        let mut words: Vec<&str> = match step {
            0 => rules.flat_map(|rule| rule.roles.iter().flatten()).map(String::as_str).collect(),
            1 => rules.map(|rule| rule.scope.words()).collect(),
            _ => rules.map(|rule| rule.to.words()).collect(),
        };
        let mut seen: Vec<&str> = Vec::new();
        words.retain(|word| {
            let is_new = !seen.contains(word);
            seen.push(word);
            is_new
        });
        let list = words.join(" or ");
        if list.is_empty() {
            return text(&["nobody may ", action, " in ", &self.table]);
        }
        let takes = [" takes the role ", " is for records that are ", " is to "][step.min(2)];
        text(&[action, " in ", &self.table, takes, &list, " only"])
    }

    /// Decides. `target`: whom something is given to, if to anybody; the inner none where nothing is known of them here.
    fn judge(
        &self,
        person: &Person,
        action: &str,
        field: &dyn Fn(&str) -> Value,
        target: Option<(&str, Option<&Person>)>,
    ) -> Result<(), String> {
        let owner = self.owner.as_deref().and_then(|owner| key(&field(owner)));
        let department = self.department.as_deref().and_then(|department| key(&field(department)));
        let in_department = |person: &Person| department.is_some() && person.department == department;
        let mut furthest = 0;
        for rule in self.rules_of(action) {
            let is_of_role =
                rule.roles.as_ref().is_none_or(|roles| person.role.as_ref().is_some_and(|role| roles.contains(role)));
            if !is_of_role {
                continue;
            }
            let is_of_scope = match rule.scope {
                Scope::Any => true,
                Scope::Own => owner.as_ref() == Some(&person.id),
                Scope::Unowned => owner.is_none(),
                Scope::Department => in_department(person),
            };
            if !is_of_scope {
                furthest = furthest.max(1);
                continue;
            }
            let may_get = match (rule.to, target) {
                (To::Anyone, _) | (_, None) => true,
                (To::Oneself, Some((id, _))) => id == person.id,
                // Whom this tab does not know, the server does.
                (To::Department, Some((_, known))) => known.is_none_or(in_department),
            };
            if may_get {
                return Ok(());
            }
            furthest = 2;
        }
        Err(self.reason(action, furthest))
    }
}

impl People {
    fn read(fields: &Fields) -> Result<Self, Error> {
        only(fields, &["table", "key", "role", "department", "active"])?;
        Ok(Self {
            table: named(fields, "table")?,
            key: optional(fields, "key")?.unwrap_or_else(|| "id".to_owned()),
            role: optional(fields, "role")?.unwrap_or_else(|| "role".to_owned()),
            department: optional(fields, "department")?,
            active: optional(fields, "active")?,
        })
    }
}

impl Rule {
    fn read_at((at, value): (usize, &Value)) -> Result<Self, Error> {
        Self::read(value).map_err(|error| placed(&error, &text(&["rules[", &at.to_string(), "]"])))
    }

    fn read(value: &Value) -> Result<Self, Error> {
        let Value::Map(fields) = value else { return wrong("has rules that are objects") };
        only(fields, &["actions", "roles", "scope", "to"])?;
        let Some(actions) = names(fields, "actions")? else { return wrong("has rules that name their actions") };
        let scope = one_of(fields, "scope", &Scope::ALL, Scope::Any)?;
        let to = one_of(fields, "to", &To::ALL, To::Anyone)?;
        Ok(Self { actions, roles: names(fields, "roles")?, scope, to })
    }
}

fn one_of<T: Copy>(fields: &Fields, name: &str, all: &[(&str, T)], default: T) -> Result<T, Error> {
    let Some(word) = optional(fields, name)? else { return Ok(default) };
    match all.iter().find(|(known, _)| *known == word) {
        Some((_, found)) => Ok(*found),
        None => {
            let known: Vec<&str> = all.iter().map(|(known, _)| *known).collect();
            wrong(&text(&["has a rule with \"", name, "\" that is none of ", &known.join(", ")]))
        }
    }
}

/// Refuses what has no meaning there.
fn only(fields: &Fields, known: &[&str]) -> Result<(), Error> {
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => wrong(&text(&["does not know \"", name, "\", only ", &known.join(", ")])),
        None => Ok(()),
    }
}

fn optional(fields: &Fields, name: &str) -> Result<Option<String>, Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(words)) if is_name(words) => Ok(Some(words.clone())),
        Some(_) => wrong(&text(&["has \"", name, "\" that is no name of 1 to 63 bytes"])),
    }
}

fn named(fields: &Fields, name: &str) -> Result<String, Error> {
    optional(fields, name)?.map_or_else(|| wrong(&text(&["lacks \"", name, "\""])), Ok)
}

fn names(fields: &Fields, name: &str) -> Result<Option<Vec<String>>, Error> {
    let Some(value) = fields.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    let Value::List(items) = value else { return wrong(&text(&["has \"", name, "\" that is no list"])) };
    let item = |item: &Value| item.as_str().filter(|words| is_name(words)).map(str::to_owned);
    match items.iter().map(item).collect::<Option<Vec<String>>>() {
        Some(names) if (1..=NAMES_MAX).contains(&names.len()) => Ok(Some(names)),
        _ => wrong(&text(&["has \"", name, "\" that is not 1 to 64 names of 1 to 63 bytes"])),
    }
}

/// As long as the server's names may be, and without what no database takes.
fn is_name(words: &str) -> bool {
    (1..=63).contains(&words.len()) && !words.contains('\0')
}

fn wrong<T>(what: &str) -> Result<T, Error> {
    Err(Error::InvalidConfiguration(text(&["a policy ", what])))
}

/// Says in which part of a declaration something is wrong.
fn placed(error: &Error, place: &str) -> Error {
    Error::InvalidConfiguration(text(&[&error.to_string(), " (", place, ")"]))
}

/// Checks a policy; `None` for what is none of these facts.
pub(crate) fn check_fact(name: &str, fact: &Value) -> Option<Result<(), Error>> {
    let table = name.strip_prefix(POLICY)?;
    Some(match Policy::declared(fact) {
        Ok(policy) if policy.table != table => wrong("is told under the name of its table"),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    })
}

/// Says whether the person may do something to a record: yes, or no and why. What is not known here — no policy, no row of the person's
/// own — is left to the server.
///
/// # Errors
/// `forbidden`.
pub(crate) fn can<R: Record>(step: &Step<'_>, record: Option<&R>, context: &Context<'_, R>) -> Result<(), Error> {
    let Some(fact) = context.facts.get(&text(&[POLICY, step.table])) else { return Ok(()) };
    let policy = Policy::read(fact)?;
    let person = |id: &str| {
        let row = context.look.record(&policy.people.table, id)?;
        let field = |name: &str| row.field(name).as_ref().and_then(key);
        let department = policy.people.department.as_deref().and_then(field);
        let is_active = policy.people.active.as_ref().is_none_or(|active| row.field(active) == Some(Value::Bool(true)));
        Some(Person { id: id.to_owned(), role: field(&policy.people.role), department, is_active })
    };
    let Some(me) = person(context.user) else { return Ok(()) };
    me.require_active()?;
    let field = |field: &str| match record {
        Some(record) => record.field(field).unwrap_or_default(),
        // One that is being made is judged by what it will be.
        None if step.name == name::INSERT => step.set.get(field).cloned().unwrap_or_default(),
        None => Value::Null,
    };
    let owner = policy.owner.as_deref().and_then(|owner| key(&field(owner)));
    let wanted = policy.owner.as_ref().and_then(|owner| step.set.get(owner)).map(key);
    // Whoever changes the owner hands the record on, whatever that is called.
    let hands_on = step.name == name::PATCH && wanted.as_ref().is_some_and(|wanted| *wanted != owner);
    let named = step.args.get("to").or_else(|| step.args.get("operator")).and_then(key);
    let target = named.or_else(|| wanted.flatten().filter(|_| hands_on || step.name == name::INSERT));
    let known = target.as_deref().and_then(person);
    let given = target.as_deref().map(|id| (id, known.as_ref()));
    for action in [step.name, ASSIGN].into_iter().take(1 + usize::from(hands_on)) {
        policy.judge(&me, action, &field, given).map_err(|message| Error::NotAllowed { code: "forbidden", message })?;
    }
    // Whom this tab does not know, the server does.
    match known.filter(|_| step.name == name::INSERT || target != owner) {
        Some(known) => known.require_active(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
