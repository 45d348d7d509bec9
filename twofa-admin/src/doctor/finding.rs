//! What the doctor has to say: how bad it is, whom it meets and what becomes of them, what to type.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Ok,
    Note,
    /// It could not be looked at.
    Unknown,
    Warning,
    Critical,
}

/// What becomes of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fate {
    /// Refused, whatever the user knows and has.
    LockedOut,
    /// Admitted without a second factor.
    LetPast,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Whom {
    Users(Vec<String>),
    /// In words.
    All(String),
}

impl Whom {
    pub(crate) fn everybody() -> Self {
        Self::All("everybody".into())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// What was looked at.
    pub(crate) check: &'static str,
    pub(crate) what: String,
    pub(crate) affected: Option<Whom>,
    pub(crate) outcome: Option<Fate>,
    pub(crate) advice: String,
}

impl Finding {
    pub(crate) fn new(
        severity: Severity,
        check: &'static str,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { severity, check, what: what.into(), affected: None, outcome: None, advice: advice.into() }
    }

    pub(crate) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(Severity::Ok, check, what, "")
    }

    pub(crate) fn note(check: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Severity::Note, check, what, advice)
    }

    pub(crate) fn warning(check: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Severity::Warning, check, what, advice)
    }

    pub(crate) fn critical(check: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Severity::Critical, check, what, advice)
    }

    /// Whom it meets, and what becomes of them.
    pub(crate) fn meets(mut self, whom: Whom, fate: Fate) -> Self {
        (self.affected, self.outcome) = (Some(whom), Some(fate));
        self
    }

    pub(crate) fn of(mut self, users: Vec<String>) -> Self {
        self.affected = Some(Whom::Users(users));
        self
    }
}
