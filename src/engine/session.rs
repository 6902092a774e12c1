//! Whose data this is: application and user are in every name that storage, channels and locks know.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::operation::OperationId;
use super::sabotage::sabotaged;
use super::time::Hlc;

/// The number of the stored forms and of the tab messages, in every name.
pub const FORMAT: u32 = 1;

/// An application and one of its users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The application's name.
    pub app: String,
    /// The user's id.
    pub user: String,
}

/// How long the name of an application or the id of a user may be, in bytes.
const NAME_BYTES_MAX: usize = 256;

impl Session {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        for (what, name) in [("app", &self.app), ("user", &self.user)] {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(Error::InvalidConfiguration(format!("{what} must be text of 1 to {NAME_BYTES_MAX} bytes")));
            }
        }
        Ok(())
    }

    /// Returns the name under which channel, lock and database of this session are known.
    #[must_use]
    pub fn name(&self) -> String {
        format!("rota:{FORMAT}:{}:{}", escape(&self.app), escape(&self.user))
    }

    /// Returns what everything in storage begins with that is of this session.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{}:", self.name())
    }

    /// Returns what the marks of logouts begin with.
    #[must_use]
    pub fn marks_prefix(&self) -> String {
        format!("{}:out:", self.name())
    }

    /// Returns the storage key of the mark that a logout leaves for tabs that are asleep.
    #[must_use]
    pub fn mark_key(&self, at_ms: u64, tab: &str) -> String {
        format!("{}{at_ms:012x}-{tab}", self.marks_prefix())
    }

    /// Returns when the logout was whose mark this is; `None` when it is none of this session's.
    pub(crate) fn mark_at_ms(&self, key: &str) -> Option<u64> {
        let (at_ms, _) = key.strip_prefix(&self.marks_prefix())?.split_once('-')?;
        u64::from_str_radix(at_ms, 16).ok()
    }

    /// Returns what the storage keys begin with that the shell looks for.
    #[must_use]
    pub fn looked_for(&self) -> [String; 4] {
        [self.operations_prefix(), self.aliases_prefix(), self.marks_prefix(), self.dead_prefix()]
    }

    /// Returns what the storage keys begin with that say of operations that they were given up.
    #[must_use]
    pub fn dead_prefix(&self) -> String {
        format!("{}:dead:", self.name())
    }

    /// Returns the storage key that says of an operation that it was given up.
    #[must_use]
    pub fn dead_key(&self, id: OperationId) -> String {
        format!("{}{id}", self.dead_prefix())
    }

    /// Returns which operation a storage key says to be given up; `None` when it says nothing of that kind.
    pub(crate) fn dead_id(&self, key: &str) -> Option<OperationId> {
        OperationId::parse(key.strip_prefix(&self.dead_prefix())?)
    }

    /// Returns what the storage keys of all operations begin with.
    #[must_use]
    pub fn operations_prefix(&self) -> String {
        if sabotaged!(LeakOtherUser) {
            return format!("rota:{FORMAT}:{}:", escape(&self.app));
        }
        format!("{}:op:", self.name())
    }

    /// Returns the storage key of an operation.
    #[must_use]
    pub fn operation_key(&self, hlc: Hlc, id: OperationId) -> String {
        format!("{}{hlc}-{id}", self.operations_prefix())
    }

    /// Returns what the storage keys of all aliases begin with.
    #[must_use]
    pub fn aliases_prefix(&self) -> String {
        format!("{}:id:", self.name())
    }

    /// Returns the storage key of what a temporary key turned out to be.
    #[must_use]
    pub fn alias_key(&self, temporary: &str) -> String {
        format!("{}{}", self.aliases_prefix(), escape(temporary))
    }

    /// Returns where an entry that can't be read is moved to; `None` when the key is not of this session.
    #[must_use]
    pub fn quarantine_key(&self, key: &str) -> Option<String> {
        let rest = key.strip_prefix(&self.operations_prefix()).or_else(|| key.strip_prefix(&self.aliases_prefix()))?;
        Some(format!("{}{rest}", self.quarantine_prefix()))
    }

    /// Returns what the keys of entries begin with that could not be read.
    #[must_use]
    pub fn quarantine_prefix(&self) -> String {
        format!("{}:bad:", self.name())
    }
}

/// Keeps `:` for separating the parts of a name.
fn escape(name: &str) -> String {
    name.replace('%', "%25").replace(':', "%3A")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(app: &str, user: &str) -> Session {
        Session { app: app.into(), user: user.into() }
    }

    #[test]
    fn no_two_sessions_share_a_name() {
        let names = [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c"), ("a%3A", "b:c"), ("a", "b%3Ac")];
        let mut all: Vec<String> = names.iter().map(|(app, user)| session(app, user).name()).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), names.len());
    }

    #[test]
    fn the_prefix_of_one_user_does_not_cover_another_whose_name_begins_alike() {
        let longer = session("crm", "anna2").operation_key(Hlc::default(), OperationId::new(Hlc::default(), [0; 10]));
        assert!(!longer.starts_with(&session("crm", "anna").operations_prefix()));
        assert_eq!(session("crm", "anna").quarantine_key(&longer), None);
    }

    #[test]
    fn an_application_or_user_without_a_name_is_refused() {
        for (app, user) in [("", "u"), ("a", ""), (&*"x".repeat(257), "u")] {
            assert_eq!(session(app, user).validate().unwrap_err().code(), "invalid-configuration");
        }
    }
}
