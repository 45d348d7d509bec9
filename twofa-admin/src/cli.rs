//! The command line. What is typed here is also the help, and what man page and completions are made of.

use crate::import::GoogleSource;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::net::{AddrParseError, IpAddr};
use std::path::PathBuf;
use twofa::code::Algorithm;
use twofa::config::DEFAULT_PATH;

const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  failed, and nothing was changed unless the message says so
  2  wrong usage
  3  the report found something";

const DOCTOR_STATUS: &str = "\
Exit status:
  0  all is well
  1  a warning
  2  somebody is locked out or let past
  3  it could not be looked at, or wrong usage";

const REPORT_STATUS: &str = "\
Exit status:
  0  nothing to do
  1  failed
  3  the report found something";

const CHANGE_STATUS: &str = "\
Exit status:
  0  done
  1  failed, and nothing was changed
  3  nothing was changed, as users named by the report could not log in then; --force does it";

const SET_HELP: &str = "\
Examples:
  twofa-admin policy set limits.failures=3
  twofa-admin policy set 'methods=[\"app\", \"sms\"]' sms.hook=/etc/twofa/hooks/sms 'sms.prefixes=[\"+48\"]'

Exit status:
  0  done
  1  failed, and nothing was changed
  3  nothing was changed, as users named by the report could not log in then; --force does it";

const IMPORT_STATUS: &str = "\
Exit status:
  0  all of it is in the store
  1  failed, and nothing was changed
  3  something was left out, as the report says";

const AUDIT_HELP: &str = "\
Examples:
  twofa-admin audit --user alice --since 7d
  twofa-admin audit --event refused --since 2026-11-01 --until 2026-11-30 --last 200
  twofa-admin audit export --since 1d | ssh loghost 'cat >>twofa.jsonl'";

const VERIFY_STATUS: &str = "\
Exit status:
  0  every line is as it was written
  1  failed: it could not be read
  3  lines were changed, put in or taken out, or were lost in a power cut";

const EXPLAIN_HELP: &str = "\
Nothing is asked, sent or stored. The password is taken to be right.

Examples:
  twofa-admin explain
  twofa-admin explain --user alice --rhost 198.51.100.7
  twofa-admin explain --user alice --rhost 198.51.100.7 --key SHA256:iiB5QdpM+Ifc6ePi2fOknbtoEAhmkEMKDokmMKfVcD4
  twofa-admin explain --user alice --service login";

const METRICS_HELP: &str = "\
A timer runs this. What cannot be looked at has no figures; `twofa_policy_valid` and `twofa_store_sound` say so.

Example:
  twofa-admin metrics --textfile /var/lib/prometheus/node-exporter/twofa.prom";

const COMPLETIONS_HELP: &str = "\
Examples:
  twofa-admin completions bash >/usr/share/bash-completion/completions/twofa-admin
  twofa-admin completions zsh >/usr/share/zsh/vendor-completions/_twofa-admin
  twofa-admin completions fish >/usr/share/fish/vendor_completions.d/twofa-admin.fish";

const BYPASS_HELP: &str = "\
Example:
  twofa-admin user bypass alice --for 1h --reason \"lost phone, ticket 4711\"";

const EXEMPT_HELP: &str = "\
Example:
  twofa-admin exempt add --user backup --from 192.0.2.0/24 --reason \"nightly copy\" --until 2027-06-30";

const TRUST_HELP: &str = "\
Examples:
  twofa-admin trust revoke alice 198.51.100.7
  twofa-admin trust revoke --all";

/// Manage the second factors and the policy of this host
#[derive(Parser)]
#[command(name = "twofa-admin", version, after_help = EXIT_STATUS, propagate_version = true)]
#[command(disable_help_subcommand = true, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// The policy file
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_PATH)]
    pub(crate) conf: PathBuf,
    /// Print reports as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Set up this host: key, store, policy, a first user, and the lines of PAM and sshd, each shown before it is written
    Init(InitArguments),
    /// What holds now: policy, store, and who has no factor
    #[command(after_help = REPORT_STATUS)]
    Status,
    /// Whom this host locks out or lets past, told beforehand; fit for monitoring
    #[command(after_help = DOCTOR_STATUS)]
    Doctor,
    /// Show, check and change the policy
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Manage the users who have an account here
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Set up a factor for a user
    Enroll {
        #[command(subcommand)]
        command: EnrollCommand,
    },
    /// Recovery codes
    Recovery {
        #[command(subcommand)]
        command: RecoveryCommand,
    },
    /// Take over the factors that users have with another module
    Import {
        #[command(subcommand)]
        command: ImportCommand,
    },
    /// The way of all users to a second factor
    Rollout {
        #[command(subcommand)]
        command: RolloutCommand,
    },
    /// Exceptions to the policy, each with a reason and an end
    Exempt {
        #[command(subcommand)]
        command: ExemptCommand,
    },
    /// Devices that need no code each time
    Trust {
        #[command(subcommand)]
        command: TrustCommand,
    },
    /// What happened: logins, refusals, messages, enrolments, and what administrators changed
    #[command(args_conflicts_with_subcommands = true, after_help = AUDIT_HELP)]
    Audit {
        #[command(subcommand)]
        command: Option<AuditCommand>,
        #[command(flatten)]
        filter: AuditFilter,
    },
    /// What would happen to a login now, and by which rule; without a user: who could log in how
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArguments),
    /// Figures for Prometheus
    #[command(after_help = METRICS_HELP)]
    Metrics {
        /// Into this file (node exporter's textfile collector), in one step; to stdout when absent
        #[arg(long, value_name = "FILE")]
        textfile: Option<PathBuf>,
    },
    /// What makes a shell complete these commands, on stdout
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// The manual page of these commands, as mdoc(7)
    #[command(hide = true)]
    Manual,
    /// Send a real message and see what the gateway says
    Test {
        #[command(subcommand)]
        command: TestCommand,
    },
}

#[derive(Args)]
pub(crate) struct InitArguments {
    /// Ask nothing: make what is missing and leave the rest for later
    #[arg(long)]
    pub(crate) yes: bool,
    /// With --yes: write the lines of PAM and sshd too, without asking
    #[arg(long, requires = "yes")]
    pub(crate) write: bool,
    /// Take the lines that were written out of PAM and sshd again; policy and enrolments stay
    #[arg(long, conflicts_with = "write")]
    pub(crate) undo: bool,
}

#[derive(Subcommand)]
pub(crate) enum ImportCommand {
    /// State files of google-authenticator, ~/.google_authenticator
    #[command(after_help = IMPORT_STATUS)]
    GoogleAuthenticator {
        #[command(flatten)]
        from: GoogleSource,
        /// Whose FILE is
        #[arg(long, value_name = "NAME", requires = "file", conflicts_with_all = ["dir", "homes"])]
        user: Option<String>,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        removal: Removal,
    },
    /// The users' file of pam_oath
    #[command(after_help = IMPORT_STATUS)]
    Oath {
        /// Such as /etc/users.oath
        file: PathBuf,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        removal: Removal,
    },
    /// A mapping of pam_u2f
    #[command(after_help = IMPORT_STATUS)]
    U2f {
        /// Such as /etc/u2f_mappings
        file: PathBuf,
        /// What pam_u2f's origin= said; pam:// and this host's name when absent
        #[arg(long, value_name = "ORIGIN")]
        origin: Option<String>,
        /// What pam_u2f's appid= said; the origin when absent
        #[arg(long, value_name = "APPID")]
        appid: Option<String>,
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        removal: Removal,
    },
}

impl ImportCommand {
    pub(crate) fn how(&self) -> &How {
        match self {
            Self::GoogleAuthenticator { how, .. } | Self::Oath { how, .. } | Self::U2f { how, .. } => how,
        }
    }
}

/// How much is done of what the report says.
#[derive(Args)]
pub(crate) struct How {
    /// Only say what would be done
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args)]
pub(crate) struct Removal {
    /// Then remove from the files what was taken over
    #[arg(long)]
    pub(crate) remove_source: bool,
}

#[derive(Subcommand)]
pub(crate) enum RolloutCommand {
    /// Who is enrolled, who is let in without a factor and until when, who would be refused today
    #[command(after_help = REPORT_STATUS)]
    Status,
}

#[derive(Args)]
pub(crate) struct ExplainArguments {
    /// Who logs in
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The PAM service
    #[arg(long, default_value = "sshd", requires = "user")]
    pub(crate) service: String,
    /// The client's address; none at the console
    #[arg(long, value_name = "ADDRESS", requires = "user")]
    pub(crate) rhost: Option<IpAddr>,
    /// The SSH key that is used, as `ssh-keygen -l` prints it: SHA256:...
    #[arg(long, value_name = "FINGERPRINT", requires = "user")]
    pub(crate) key: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Whether every line is as it was written, and none is missing
    #[command(after_help = VERIFY_STATUS)]
    Verify,
    /// The lines as they are kept, one JSON object each
    Export {
        #[command(flatten)]
        filter: AuditFilter,
    },
}

#[derive(Args)]
pub(crate) struct AuditFilter {
    /// Only of this user
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Only this event, such as accepted, refused, sent, enrolled, policy-changed
    #[arg(long, value_name = "EVENT")]
    pub(crate) event: Option<String>,
    /// Not before: a day or moment in this host's time (in UTC with a Z behind it), or how long ago, as in 2h or 7d
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Not after; a day includes all of it
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Only the last so many; 50 when absent, and in an export all
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<usize>,
}

#[derive(Subcommand)]
pub(crate) enum ExemptCommand {
    /// List them all, ended ones too
    List,
    /// Ask a user, or the users of a group, for no second factor until a day is over
    #[command(after_help = EXEMPT_HELP)]
    Add {
        #[command(flatten)]
        who: Exempted,
        /// Only from this network, as in 192.0.2.0/24; may be given several times
        #[arg(long, value_name = "NETWORK")]
        from: Vec<String>,
        /// Why: who looks at the list next year wants to know
        #[arg(long)]
        reason: String,
        /// The last day, or the moment with its offset
        #[arg(long, value_name = "DATE")]
        until: String,
    },
    /// End all exemptions of a user or group
    Remove {
        #[command(flatten)]
        who: Exempted,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Exempted {
    /// A user of this host
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A group of this host: all who are in it
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
}

impl Exempted {
    /// As the policy calls it.
    pub(crate) fn name(&self) -> (&'static str, &str) {
        match (&self.user, &self.group) {
            (Some(user), _) => ("user", user),
            (None, group) => ("group", group.as_deref().unwrap_or_default()),
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum TrustCommand {
    /// List trusted devices, of one user or of all
    List { user: Option<String> },
    /// End the trust in the devices of a user
    #[command(after_help = TRUST_HELP)]
    Revoke {
        #[arg(required_unless_present = "all")]
        user: Option<String>,
        /// Only in those that connect from this address or its network
        #[arg(value_name = "ADDRESS", value_parser = address)]
        from: Option<IpAddr>,
        /// In all devices of all users
        #[arg(long, conflicts_with = "user")]
        all: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum TestCommand {
    /// By the hook of `[sms]`
    Sms {
        /// The telephone number, as in "+48 600 000 123"
        #[arg(long, value_name = "NUMBER")]
        to: String,
    },
    /// By the hook of `[email]`
    Email {
        /// The address
        #[arg(long, value_name = "ADDRESS")]
        to: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Print the policy in force, every value spelled out
    Show,
    /// Check a policy file
    #[command(after_help = REPORT_STATUS)]
    Check {
        /// Another file than the one in force
        file: Option<PathBuf>,
    },
    /// Open it in an editor ($VISUAL, $EDITOR); what is no valid policy does not replace the old one
    #[command(after_help = CHANGE_STATUS)]
    Edit {
        /// Also when users without a factor would be refused then
        #[arg(long)]
        force: bool,
    },
    /// Change values; comments stay
    #[command(after_help = SET_HELP)]
    Set {
        /// A key as `policy show` has it, and its value as TOML; quotes around text may be left out
        #[arg(required = true, value_name = "KEY=VALUE")]
        values: Vec<String>,
        /// Also when users without a factor would be refused then
        #[arg(long)]
        force: bool,
    },
    /// Switch enforcement on
    #[command(after_help = CHANGE_STATUS)]
    Enable {
        /// Off again by itself, unless an administrator logs in with a second factor in that time, as in 10m
        #[arg(long, value_name = "TIME", value_parser = duration)]
        confirm_within: Option<u64>,
        /// Also when users without a factor would be refused then
        #[arg(long)]
        force: bool,
    },
    /// Switch enforcement off: nobody is asked for a second factor
    Disable {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Give a user of this host an account
    Add {
        user: String,
        #[command(flatten)]
        contacts: ContactArguments,
    },
    /// Change where a user's codes are sent to
    Set {
        user: String,
        #[command(flatten)]
        contacts: ContactArguments,
        /// Forget the telephone number
        #[arg(long, conflicts_with = "phone")]
        no_phone: bool,
        /// Forget all e-mail addresses
        #[arg(long, conflicts_with = "email")]
        no_email: bool,
    },
    /// Give many users accounts, numbers and addresses, all of one list; factors stay as they are
    ///
    /// The list is CSV with a header (user,phone,email; several addresses with blanks between) or JSON as `user export`
    /// makes it. Users with an account are given the number and addresses of the list; what it leaves out stays.
    #[command(after_help = IMPORT_STATUS)]
    Import {
        /// The list, or - for stdin
        file: PathBuf,
        /// What it is, when its name does not end in .csv or .json
        #[arg(long, value_name = "FORMAT")]
        format: Option<ListFormat>,
        /// Also when two users have one number
        #[arg(long)]
        shared_ok: bool,
        #[command(flatten)]
        how: How,
    },
    /// Print all users with numbers and addresses, as `user import` reads them
    Export {
        /// CSV when absent
        #[arg(long, value_name = "FORMAT")]
        format: Option<ListFormat>,
    },
    /// List all accounts
    List,
    /// Show one account
    Show { user: String },
    /// Remove all apps and recovery codes of a user; number and addresses stay
    Reset {
        user: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Forgive a user's failures: ends all locks
    Unlock { user: String },
    /// Open one login of a user for a time, by a code that is shown to you; for who lost everything else
    #[command(after_help = BYPASS_HELP)]
    Bypass {
        user: String,
        /// How long the code can be used, as in 1h
        #[arg(long = "for", value_name = "TIME", value_parser = duration, required_unless_present = "revoke")]
        duration: Option<u64>,
        /// Why: it is logged, and shown by `status` while it can be used
        #[arg(long, required_unless_present = "revoke")]
        reason: Option<String>,
        /// Take it back
        #[arg(long, conflicts_with_all = ["duration", "reason"])]
        revoke: bool,
    },
    /// Remove an account
    Remove {
        user: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Remove one authenticator app or security key, say of a lost phone
    Forget {
        user: String,
        /// The app or key, as `user show` names it
        label: String,
        /// Do not ask, also not for the last one
        #[arg(long)]
        yes: bool,
    },
    /// Make a missing or damaged state record anew
    Repair { user: String },
}

#[derive(Args)]
pub(crate) struct ContactArguments {
    /// The telephone number for codes by SMS, as in "+48 600 000 123"
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) phone: Option<String>,
    /// An address for codes by e-mail; several get each code
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    pub(crate) email: Vec<String>,
    /// Also when another user has this number
    #[arg(long)]
    pub(crate) shared_ok: bool,
}

#[derive(Subcommand)]
pub(crate) enum EnrollCommand {
    /// An authenticator app, by a QR code or a secret to type in
    App {
        user: String,
        /// What the user calls it: phone, tablet
        #[arg(long, value_name = "NAME")]
        label: Option<String>,
        /// Take an existing base32 secret from stdin in place of making one; no code is asked for
        #[arg(long)]
        secret_stdin: bool,
        /// Digits of its codes; the policy's when absent
        #[arg(long, value_name = "6-8", value_parser = clap::value_parser!(u8).range(6..=8))]
        digits: Option<u8>,
        /// Seconds a code is valid for; the policy's when absent
        #[arg(long, value_name = "15-60", value_parser = clap::value_parser!(u8).range(15..=60))]
        step: Option<u8>,
        /// The policy's when absent
        #[arg(long)]
        algorithm: Option<AlgorithmName>,
    },
    /// A security key that is plugged into this host, for logins at its console
    Key {
        user: String,
        /// What the user calls it: yubikey, backup
        #[arg(long, value_name = "NAME")]
        label: Option<String>,
        /// Ask for the key's PIN at every login, whatever the policy says
        #[arg(long)]
        pin: bool,
    },
    /// A security key of the user's own machine, by its SSH key (type sk-)
    SshKey {
        user: String,
        /// A public key file; the user's own authorized_keys when absent
        file: Option<PathBuf>,
        /// What the user calls it
        #[arg(long, value_name = "NAME")]
        label: Option<String>,
    },
    /// A telephone number, confirmed by a code sent to it
    Phone {
        user: String,
        /// The number the user has already when absent
        number: Option<String>,
        /// Also when another user has this number
        #[arg(long)]
        shared_ok: bool,
    },
    /// An e-mail address, confirmed by a code sent to it
    Email {
        user: String,
        /// The one address the user has already when absent
        address: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    Csv,
    Json,
}

#[derive(Subcommand)]
pub(crate) enum RecoveryCommand {
    /// Make ten new recovery codes; the old ones are void
    New { user: String },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum AlgorithmName {
    #[value(name = "SHA1", alias = "sha1")]
    Sha1,
    #[value(name = "SHA256", alias = "sha256")]
    Sha256,
    #[value(name = "SHA512", alias = "sha512")]
    Sha512,
}

impl From<AlgorithmName> for Algorithm {
    fn from(name: AlgorithmName) -> Self {
        match name {
            AlgorithmName::Sha1 => Self::Sha1,
            AlgorithmName::Sha256 => Self::Sha256,
            AlgorithmName::Sha512 => Self::Sha512,
        }
    }
}

/// From a minute to a day, in seconds.
fn duration(text: &str) -> Result<u64, String> {
    let seconds = twofa::config::seconds(text).filter(|seconds| (60..=86_400).contains(seconds));
    seconds.ok_or_else(|| "must be a time from 1m to 24h, as in 30m".into())
}

/// An address, or the network of one as `trust list` shows it.
fn address(text: &str) -> Result<IpAddr, AddrParseError> {
    match text.strip_suffix("/64") {
        Some(network) => network.parse().map(IpAddr::V6),
        None => text.parse(),
    }
}
