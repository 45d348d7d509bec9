//! The database of accounts. SQLite without a write-ahead log: its shared-memory file is denied to sshd
//! under SELinux, and one file is what a backup copies.

use super::Error;
use super::seal::Sealer;
use crate::account::{Account, Factors};
use crate::trusted::{self, Readers};
use rusqlite::config::DbConfig;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

const SCHEMA: &str = include_str!("schema.sql");
const SCHEMA_VERSION: i64 = 1;
/// Marks the file as ours, `2FA1`: another application's database is not mistaken for an empty store.
const APPLICATION_ID: i64 = 0x3246_4131;
/// How long an administrator's commit may hold up a login: it takes a few synchronous writes.
const WAIT: Duration = Duration::from_secs(5);
/// Rows read at once; between two portions other processes can write.
const PORTION: i64 = 500;
/// The encoding of `Factors` inside the seal.
const ENCODING: u8 = 1;

pub(super) struct Accounts {
    connection: Connection,
    path: PathBuf,
}

impl Accounts {
    /// Opens the database. Also a login opens it for writing, and then forbids itself to: so the journal
    /// of a killed administrator's command is rolled back instead of keeping everybody out.
    pub(super) fn open(path: &Path, change: bool) -> Result<Self, Error> {
        trusted::check(path, Readers::Owner).map_err(|error| match error {
            error if error.is_missing() => Error::NoDatabase(path.into()),
            error => Error::File(error),
        })?;
        // SQLite follows no link; every folder on the way was checked.
        let real = std::fs::canonicalize(path).map_err(|error| trusted::Error::Io(path.into(), error))?;
        let accounts = Self { connection: connect(&real)?, path: path.into() };
        accounts.refuse_foreign()?;
        let pragmas = match change {
            // Spilling an unfinished change to the file would lock out logins until it is finished.
            true => "PRAGMA synchronous = EXTRA; PRAGMA cache_spill = OFF",
            false => "PRAGMA query_only = ON",
        };
        accounts.connection.execute_batch(pragmas).map_err(|error| accounts.fault(error))?;
        Ok(accounts)
    }

    /// Makes an empty database: in full, or not at all.
    pub(super) fn create(path: &Path) -> Result<(), Error> {
        let new = trusted::scratch(path);
        let _ = std::fs::remove_file(&new);
        trusted::create(&new, b"", 0o600)?;
        let real = std::fs::canonicalize(&new).map_err(|error| trusted::Error::Io(new.clone(), error))?;
        let connection = connect(&real)?;
        let made = connection.execute_batch(&format!(
            "PRAGMA synchronous = EXTRA; BEGIN IMMEDIATE; {SCHEMA}
             PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        ));
        made.and_then(|()| connection.close().map_err(|(_, error)| error)).map_err(Error::Database)?;
        Ok(trusted::publish(&new, path)?)
    }

    fn refuse_foreign(&self) -> Result<(), Error> {
        let read = |pragma: &str| {
            let number = self.connection.query_row(pragma, [], |row| row.get(0));
            number.map_err(|error| self.fault(error))
        };
        match (read("PRAGMA application_id")?, read("PRAGMA user_version")?) {
            (APPLICATION_ID, SCHEMA_VERSION) => Ok(()),
            (APPLICATION_ID, newer) if newer > SCHEMA_VERSION => {
                Err(Error::Newer(self.path.clone(), newer, SCHEMA_VERSION))
            }
            _ => Err(Error::Corrupt(self.path.clone(), "it is not a store of twofa".into())),
        }
    }

    pub(super) fn find(&self, user: &str, sealer: &Sealer) -> Result<Option<Account>, Error> {
        find(&self.connection, user, sealer).map_err(|error| self.locate(error))
    }

    /// The name of the account with `uid`.
    pub(super) fn name(&self, uid: u32) -> Result<Option<String>, Error> {
        let row =
            self.connection.query_row("SELECT name FROM account WHERE uid = ?1", [uid], |row| row.get(0));
        row.optional().map_err(|error| self.fault(error))
    }

    /// The current generation of the account with `uid`.
    pub(super) fn generation(&self, uid: u32) -> Result<Option<u64>, Error> {
        let sql = "SELECT generation FROM account WHERE uid = ?1";
        let row = self.connection.query_row(sql, [uid], |row| row.get(0));
        row.optional().map_err(|error| self.fault(error))
    }

    /// The uid of a user whose factors may be unreadable.
    pub(super) fn uid(&self, user: &str) -> Result<Option<u32>, Error> {
        let row =
            self.connection.query_row("SELECT uid FROM account WHERE name = ?1", [user], |row| row.get(0));
        row.optional().map_err(|error| self.fault(error))
    }

    pub(super) fn for_each(
        &self,
        sealer: &Sealer,
        mut visit: impl FnMut(Result<Account, Error>),
    ) -> Result<(), Error> {
        let mut after = -1i64;
        loop {
            let portion = self.portion(after).map_err(|error| self.fault(error))?;
            let Some(last) = portion.last() else {
                return Ok(());
            };
            after = last.uid.into();
            portion.into_iter().for_each(|sealed| visit(sealed.open(sealer)));
        }
    }

    fn portion(&self, after: i64) -> rusqlite::Result<Vec<Sealed>> {
        let mut statement = self.connection.prepare(
            "SELECT uid, name, generation, factors FROM account WHERE uid > ?1 ORDER BY uid LIMIT ?2",
        )?;
        statement.query_map(params![after, PORTION], Sealed::read)?.collect()
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let found: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| self.fault(error))?;
        if found == "ok" { Ok(()) } else { Err(Error::Corrupt(self.path.clone(), found)) }
    }

    /// Begins a change, alone: other administrators wait, logins go on reading.
    pub(super) fn begin(&mut self) -> Result<Edit<'_>, Error> {
        let path = self.path.clone();
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        match begun {
            Ok(transaction) => Ok(Edit { transaction, path }),
            Err(error) => Err(fault(&path, error)),
        }
    }

    fn fault(&self, error: rusqlite::Error) -> Error {
        fault(&self.path, error)
    }

    fn locate(&self, error: Error) -> Error {
        locate(&self.path, error)
    }
}

/// A change of the database that is made by `commit`, and undone by anything else.
pub(super) struct Edit<'a> {
    transaction: Transaction<'a>,
    path: PathBuf,
}

impl Edit<'_> {
    pub(super) fn find(&self, user: &str, sealer: &Sealer) -> Result<Option<Account>, Error> {
        find(&self.transaction, user, sealer).map_err(|error| locate(&self.path, error))
    }

    /// The generation of `user`, if the account still has the uid that it had when its record was locked.
    pub(super) fn generation_of(&self, user: &str, uid: u32) -> Result<u64, Error> {
        let sql = "SELECT generation FROM account WHERE name = ?1 AND uid = ?2";
        let row = self.transaction.query_row(sql, params![user, uid], |row| row.get(0));
        row.optional().map_err(|error| self.fault(error))?.ok_or_else(|| Error::NoUser(user.into()))
    }

    pub(super) fn refuse_taken(&self, user: &str, uid: u32) -> Result<(), Error> {
        let taken = "SELECT name FROM account WHERE name = ?1 OR uid = ?2 ORDER BY name = ?1 DESC LIMIT 1";
        let taken = self.transaction.query_row(taken, params![user, uid], |row| row.get::<_, String>(0));
        match taken.optional().map_err(|error| self.fault(error))? {
            None => Ok(()),
            Some(name) if name == user => Err(Error::Exists { user: name }),
            Some(name) => Err(Error::UidTaken { uid, user: name }),
        }
    }

    pub(super) fn insert(&self, account: &Account, sealer: &Sealer) -> Result<(), Error> {
        let sql = "INSERT INTO account (uid, name, generation, factors) VALUES (?1, ?2, ?3, ?4)";
        self.write(sql, account, sealer)
    }

    pub(super) fn update(&self, account: &Account, sealer: &Sealer) -> Result<(), Error> {
        let sql = "UPDATE account SET name = ?2, generation = ?3, factors = ?4 WHERE uid = ?1";
        self.write(sql, account, sealer)
    }

    fn write(&self, sql: &str, account: &Account, sealer: &Sealer) -> Result<(), Error> {
        let factors = seal(account, sealer)?;
        let row = params![account.uid, account.user, account.generation, factors];
        self.expect_one(self.transaction.execute(sql, row))
    }

    pub(super) fn delete(&self, uid: u32) -> Result<(), Error> {
        self.expect_one(self.transaction.execute("DELETE FROM account WHERE uid = ?1", [uid]))
    }

    pub(super) fn commit(self) -> Result<(), Error> {
        self.transaction.commit().map_err(|error| fault(&self.path, error))
    }

    fn expect_one(&self, changed: rusqlite::Result<usize>) -> Result<(), Error> {
        match changed.map_err(|error| self.fault(error))? {
            1 => Ok(()),
            other => Err(Error::Corrupt(self.path.clone(), format!("{other} rows changed in place of one"))),
        }
    }

    fn fault(&self, error: rusqlite::Error) -> Error {
        fault(&self.path, error)
    }
}

/// A row as it is stored.
struct Sealed {
    uid: u32,
    user: String,
    generation: u64,
    factors: Vec<u8>,
}

impl Sealed {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { uid: row.get(0)?, user: row.get(1)?, generation: row.get(2)?, factors: row.get(3)? })
    }

    fn open(self, sealer: &Sealer) -> Result<Account, Error> {
        let place = place(self.uid, &self.user, self.generation);
        let factors = sealer.open(&place, &self.factors).and_then(|text| decode(&text));
        let Some(factors) = factors else {
            return Err(Error::BrokenAccount(self.user));
        };
        Ok(Account { user: self.user, uid: self.uid, generation: self.generation, factors })
    }
}

fn find(connection: &Connection, user: &str, sealer: &Sealer) -> Result<Option<Account>, Error> {
    let mut statement = connection
        .prepare("SELECT uid, name, generation, factors FROM account WHERE name = ?1")
        .map_err(Error::Database)?;
    let row = statement.query_row([user], Sealed::read).optional().map_err(Error::Database)?;
    row.map(|sealed| sealed.open(sealer)).transpose()
}

fn seal(account: &Account, sealer: &Sealer) -> Result<Vec<u8>, Error> {
    let mut text = Zeroizing::new(vec![ENCODING]);
    text.extend(Zeroizing::new(postcard::to_allocvec(&account.factors).map_err(|_| Error::TooLarge)?).iter());
    let place = place(account.uid, &account.user, account.generation);
    sealer.seal(&place, &text).ok_or(Error::NoRandom)
}

fn decode(text: &[u8]) -> Option<Factors> {
    let (encoding, text) = text.split_first()?;
    // Fields are only ever added at the end of `Factors`, and such that zeros mean none.
    let padded = Zeroizing::new([text, &[0; 16]].concat());
    let (factors, _): (Factors, _) = postcard::take_from_bytes(&padded).ok()?;
    let valid = factors.apps.iter().all(|app| app.shape.is_valid());
    (*encoding == ENCODING && valid).then_some(factors)
}

/// Where a sealed text belongs; it opens nowhere else.
fn place(uid: u32, user: &str, generation: u64) -> Vec<u8> {
    [&b"account"[..], &uid.to_le_bytes(), &generation.to_le_bytes(), user.as_bytes()].concat()
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| fault(path, error))?;
    let set = connection.busy_timeout(WAIT).and_then(|()| {
        // A database brings no code of its own.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)
    });
    set.map_err(|error| fault(path, error))?;
    Ok(connection)
}

fn locate(path: &Path, error: Error) -> Error {
    match error {
        Error::Database(error) => fault(path, error),
        error => error,
    }
}

fn fault(path: &Path, error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Corrupt(path.into(), error.to_string())
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy(path.into()),
        _ => Error::Database(error),
    }
}
