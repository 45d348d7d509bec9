//! `pam_twofa.so`: PAM items in, verdict out. Policy, login and store are the library `twofa`; here is only
//! what speaks PAM. No hook returns success but through a `Verdict`.

mod arguments;
mod conversation;
mod courier;
mod ffi;
mod handle;
mod keys;
mod store;

use arguments::Arguments;
use conversation::PamConversation;
use courier::HookCourier;
use handle::Proven;
use keys::PluggedKeys;
use pam::constants::{PamFlag, PamResultCode};
use pam::module::{PamHandle, PamHooks};
use std::ffi::CStr;
use std::sync::Once;
use store::LoggedStore;
use twofa::account::Enrolment;
use twofa::code::Seed;
use twofa::config::{self, Config, Loaded};
use twofa::log::{Level, Log, Who};
use twofa::login::{self, Admission, Login, Notice, Refusal, Step, Verdict};
use twofa::policy::{Decision, Mode, Policy, Request};
use twofa::ports::Conversation;
use twofa::store::{LoginStore, trail};
use twofa::trial::Trial;
use twofa::{drive, system};

/// Which version this file is: `twofa-admin doctor` looks for these words in it.
const VERSION: &str = concat!("pam_twofa module version ", env!("CARGO_PKG_VERSION"), ";");

struct PamTwofa;
pam::pam_hooks!(PamTwofa);

/// Microseconds that libpam waits, about, before it tells of a failure. The module itself never sleeps for that.
const FAIL_DELAY: u32 = 2_000_000;

impl PamHooks for PamTwofa {
    fn sm_authenticate(pamh: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        // What an earlier attempt in this handle proved, it proved for an earlier attempt.
        Proven::forget(pamh);
        let call = match Call::begin(pamh, &args, "auth") {
            Ok(call) => call,
            Err(code) => return code,
        };
        if call.arguments.pubkey_is_first_factor {
            return first_factor(pamh, &call);
        }
        let verdict = call.authenticate(pamh, flags);
        call.log.verdict(&verdict, &handle::who(pamh, &call.request));
        if let Verdict::Refuse(_) = verdict {
            ffi::fail_delay(pamh, FAIL_DELAY);
        }
        let code = code(&verdict);
        if code == PamResultCode::PAM_SUCCESS && !Proven::remember(pamh, &call.request.user, verdict) {
            return PamResultCode::PAM_SYSTEM_ERR;
        }
        code
    }

    fn acct_mgmt(pamh: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        let call = match Call::begin(pamh, &args, "account") {
            Ok(call) => call,
            Err(code) => return code,
        };
        let proven = Proven::is(pamh, &call.request.user);
        let verdict = call.account(pamh, proven, flags);
        if matches!(verdict, Verdict::Admit(Admission::Proven))
            && Proven::is_by_factor(pamh, &call.request.user)
        {
            call.confirm(&handle::who(pamh, &call.request));
        }
        if let (Verdict::Admit(_), Some(enrolment)) =
            (&verdict, Proven::take_enrolment(pamh, &call.request.user))
        {
            call.keep(pamh, enrolment, flags);
        }
        // What the auth phase of this handle was waived for, it told already.
        let told = proven && matches!(verdict, Verdict::Admit(Admission::Exempt { .. } | Admission::Off));
        if !told {
            call.log.verdict(&verdict, &handle::who(pamh, &call.request));
        }
        match verdict {
            Verdict::Refuse(Refusal::NoFactor) => PamResultCode::PAM_PERM_DENIED,
            verdict => code(&verdict),
        }
    }

    fn sm_setcred(_: &mut PamHandle, args: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        panic_on_demand(&args, "setcred");
        // Where libpam walks the stack anew, a success of this line would jump over the password module's
        // credentials as it jumped over the password.
        if args.iter().any(|arg| arg.to_bytes() == Arguments::PUBKEY) {
            return PamResultCode::PAM_IGNORE;
        }
        PamResultCode::PAM_SUCCESS
    }

    fn sm_open_session(_: &mut PamHandle, args: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        panic_on_demand(&args, "session");
        PamResultCode::PAM_SUCCESS
    }

    fn sm_close_session(_: &mut PamHandle, _: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        PamResultCode::PAM_SUCCESS
    }

    /// Passwords are other modules' business.
    fn sm_chauthtok(_: &mut PamHandle, _: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        PamResultCode::PAM_IGNORE
    }
}

/// One call of a hook: what was asked, under which policy.
struct Call {
    arguments: Arguments,
    log: Log,
    loaded: Option<Loaded>,
    request: Request,
    /// NSS could not say who the user is.
    unknowable: bool,
}

impl Call {
    /// Gathers the request. An error is the code to return.
    fn begin(pamh: &mut PamHandle, args: &[&CStr], hook: &'static str) -> Result<Self, PamResultCode> {
        silence_panics();
        let service = handle::service(pamh);
        let mut log = Log::new(&service, hook);
        let arguments = Arguments::parse(args, &log)?;
        panic_on_demand(args, hook);
        let user = pamh.get_user(None).inspect_err(|_| log.write(Level::Notice, "no user name"))?;
        let mut loaded = load(&arguments, &log);
        if let Some(Loaded { config, .. }) = loaded.as_mut().filter(|l| l.config.policy.concerns(&service)) {
            log.keep(trail(config));
            end_trial(config, &log);
        }
        let address = handle::address(pamh, &service);
        let trust = loaded.as_ref().filter(|loaded| loaded.config.policy.concerns(&service));
        let knows_sessions = trust.is_some_and(|l| !l.config.policy.trust.session_services.is_empty());
        let knows_sessions = knows_sessions && hook == "auth";
        let begins = knows_sessions && Policy::is_login(&service);
        let joins = trust.is_some_and(|loaded| loaded.config.policy.joins(&service));
        // Only where a code may be asked for does it matter where somebody comes from.
        let asks = hook == "auth" && !arguments.pubkey_is_first_factor;
        let policy = loaded.as_ref().filter(|_| asks).map(|loaded| &loaded.config.policy);
        let duration =
            policy.filter(|policy| policy.concerns(&service)).and_then(|policy| policy.trust.duration);
        let request = Request {
            known: None,
            address,
            first_factor: handle::first_factor(pamh, &service),
            local: handle::is_local(pamh, &service),
            ssh_keys: handle::ssh_keys(pamh, &service),
            claim: duration.and_then(|duration| handle::claim(pamh, &service, &user, duration)),
            processes: if begins { system::login_processes() } else { Vec::new() },
            session: if knows_sessions && joins { system::session() } else { None },
            host: system::host(),
            service,
            user,
        };
        Ok(Self { arguments, log, loaded, request, unknowable: false }.look_up())
    }

    /// Asks NSS who the user is.
    fn look_up(mut self) -> Self {
        let Some(Loaded { config, .. }) = &self.loaded else {
            return self;
        };
        // Nothing is asked about users of services that are none of our business.
        if !config.policy.concerns(&self.request.service) {
            return self;
        }
        let groups = config.policy.groups(self.request.address, system::now());
        match system::user(&self.request.user, groups) {
            Ok(known) => self.request.known = known,
            Err(error) => {
                self.log.write(Level::Error, &error.to_string());
                self.unknowable = true;
            }
        }
        self
    }

    fn authenticate(&self, pamh: &PamHandle, flags: PamFlag) -> Verdict {
        let Some(Loaded { config, .. }) = &self.loaded else {
            return self.unavailable(pamh, flags);
        };
        let policy = &config.policy;
        let mut talk = PamConversation::new(pamh, policy.support.as_deref(), flags);
        if self.unknowable {
            return finish(login::refused(policy.mode, Refusal::Unavailable), &mut talk);
        }
        let Ok(seed) = system::random().map(Seed::new) else {
            return finish(login::refused(policy.mode, Refusal::Unavailable), &mut talk);
        };
        let who = handle::who(pamh, &self.request);
        let asks = policy.decide(&self.request, system::now()) == Decision::Require;
        if asks && !self.request.first_factor && policy.methods.iter().any(|method| method.is_sent()) {
            self.log.no_first_factor(&who);
        }
        let login = Login::new(policy, &self.request, &seed);
        let verdict = self.run(pamh, config, login, &mut talk);
        if handle::user(pamh).as_deref() == Some(self.request.user.as_str()) {
            verdict
        } else {
            // Another module, or the application, made it another user's login meanwhile.
            finish(login::refused(Mode::Enforce, Refusal::UserChanged), &mut talk)
        }
    }

    fn account(&self, pamh: &PamHandle, proven: bool, flags: PamFlag) -> Verdict {
        let Some(Loaded { config, .. }) = &self.loaded else {
            return self.unavailable(pamh, flags);
        };
        let policy: &Policy = &config.policy;
        let mut talk = PamConversation::new(pamh, policy.support.as_deref(), flags);
        if self.unknowable {
            return finish(login::refused(policy.mode, Refusal::Unavailable), &mut talk);
        }
        let step = login::account_phase(policy, &self.request, proven, system::now());
        // Whether it is somebody without a factor yet, and whom observe mode lets in, is to be looked up.
        let looks_up = match &step {
            Step::Finish { verdict: Verdict::Refuse(Refusal::NoFactor), .. } => {
                policy.bears_missing_factors()
            }
            Step::Finish { verdict: Verdict::Admit(Admission::Observed(Refusal::NoFactor)), .. } => true,
            _ => false,
        };
        match system::random().map(Seed::new) {
            Ok(seed) if looks_up => {
                self.run(pamh, config, Login::of_account_phase(policy, &self.request, &seed), &mut talk)
            }
            _ => finish(step, &mut talk),
        }
    }

    /// An administrator came through with a second factor: so can others.
    fn confirm(&self, who: &Who<'_>) {
        let (Some(Loaded { config, .. }), Some(known)) = (&self.loaded, &self.request.known) else {
            return;
        };
        let confirms = |trial: Trial| trial.is_confirmed_by(known.uid, system::now());
        if !Trial::read(&config.store).ok().flatten().is_some_and(confirms) {
            return;
        }
        match Trial::end(&config.store) {
            Ok(()) => {
                self.log.write(Level::Notice, "policy: enforcement is confirmed by this login");
                self.log.record("policy-confirmed", who, vec![]);
            }
            Err(fault) => self.log.write(Level::Alert, &format!("policy: {fault}. {}", fault.hint())),
        }
    }

    /// The whole stack let the user in, so what was set up on the way counts.
    fn keep(&self, pamh: &PamHandle, enrolment: Enrolment, flags: PamFlag) {
        let Some(Loaded { config, .. }) = &self.loaded else {
            return;
        };
        let who = handle::who(pamh, &self.request);
        let store = LoginStore::new(&config.store, &config.policy, &self.request);
        let store = LoggedStore { config, store, log: &self.log, who: who.clone() };
        let kept = store.enroll(&enrolment, system::now());
        self.log.enrolled(kept.as_ref().unwrap_or(&enrolment), kept.is_some(), &who);
        let notice = kept.map_or(Notice::NotKept, |kept| Notice::Enrolled(Box::new(kept)));
        PamConversation::new(pamh, config.policy.support.as_deref(), flags).tell(&notice);
    }

    /// Carries a login from its begin to its verdict.
    fn run(
        &self,
        pamh: &PamHandle,
        config: &Config,
        login: Login<'_>,
        talk: &mut PamConversation<'_>,
    ) -> Verdict {
        let policy = &config.policy;
        let who = handle::who(pamh, &self.request);
        let store = LoginStore::new(&config.store, policy, &self.request);
        let mut store = LoggedStore { config, store, log: &self.log, who: who.clone() };
        let mut keys = PluggedKeys { policy, log: &self.log, who: who.clone() };
        let mut courier = HookCourier { policy, request: &self.request, log: &self.log, who };
        let clock = system::Clock::start();
        drive::run(login, &mut store, talk, &mut courier, &mut keys, &|| clock.now())
    }

    /// Without a policy there is nothing that could admit.
    fn unavailable(&self, pamh: &PamHandle, flags: PamFlag) -> Verdict {
        let mut talk = PamConversation::new(pamh, None, flags);
        finish(login::refused(Mode::Enforce, Refusal::Unavailable), &mut talk)
    }
}

fn load(arguments: &Arguments, log: &Log) -> Option<Loaded> {
    match config::load(&arguments.conf) {
        Ok(loaded) => {
            if let Some(fault) = &loaded.fault {
                let hint = fault.hint();
                log.write(Level::Alert, &format!("policy: {fault}; the last valid copy is in force. {hint}"));
            }
            if arguments.debug {
                log.write(Level::Debug, &format!("{VERSION} policy {} in force", arguments.conf.display()));
            }
            Some(loaded)
        }
        Err(fault) => {
            log.write(Level::Alert, &format!("policy: {fault}. {}", fault.hint()));
            None
        }
    }
}

/// Enforcement that no administrator confirmed in time is none.
fn end_trial(config: &mut Config, log: &Log) {
    if config.policy.mode != Mode::Enforce {
        return;
    }
    match Trial::read(&config.store) {
        Ok(None) => {}
        Ok(Some(trial)) => {
            let mode = trial.mode(config.policy.mode, system::now());
            if mode != config.policy.mode {
                config.policy.mode = mode;
                log.write(Level::Alert, "policy: enforcement was not confirmed in time: nobody is refused");
            }
        }
        Err(fault) => {
            log.write(Level::Alert, &format!("policy: {fault}; enforcement stands. {}", fault.hint()));
        }
    }
}

fn finish(step: Step, talk: &mut PamConversation<'_>) -> Verdict {
    match step {
        Step::Finish { notice, verdict } => {
            notice.iter().for_each(|notice| talk.tell(notice));
            verdict
        }
        _ => Verdict::Refuse(Refusal::Unavailable),
    }
}

/// `pubkey_is_first_factor`: success lets the stack jump over the password; it proves no second factor.
/// Otherwise an error, which the line's control has to ignore for the password to be asked.
fn first_factor(pamh: &PamHandle, call: &Call) -> PamResultCode {
    let concerned = call.loaded.as_ref().is_some_and(|l| l.config.policy.concerns(&call.request.service));
    if concerned && handle::key_was_used(pamh, &call.request.service) {
        if call.arguments.debug {
            call.log.write(Level::Debug, "a key was the first factor");
        }
        return PamResultCode::PAM_SUCCESS;
    }
    PamResultCode::PAM_AUTH_ERR
}

/// The one place where a verdict becomes a return code.
fn code(verdict: &Verdict) -> PamResultCode {
    match verdict {
        Verdict::Admit(
            Admission::App { .. }
            | Admission::Recovery { .. }
            | Admission::Sent { .. }
            | Admission::Key { .. }
            | Admission::SshKey { .. }
            | Admission::Trusted { .. }
            | Admission::Bypass { .. }
            | Admission::Session
            | Admission::SettingUp { .. }
            | Admission::NotYet { .. }
            | Admission::Grace { .. }
            | Admission::Proven
            | Admission::Inside
            | Admission::Exempt { .. }
            | Admission::Off
            | Admission::Observed(_),
        ) => PamResultCode::PAM_SUCCESS,
        Verdict::NotConcerned => PamResultCode::PAM_IGNORE,
        Verdict::Refuse(Refusal::UnknownUser) => PamResultCode::PAM_USER_UNKNOWN,
        Verdict::Refuse(Refusal::Locked(_)) => PamResultCode::PAM_MAXTRIES,
        Verdict::Refuse(Refusal::NoConversation) => PamResultCode::PAM_CONV_ERR,
        Verdict::Refuse(Refusal::Unavailable) => PamResultCode::PAM_AUTHINFO_UNAVAIL,
        Verdict::Refuse(_) => PamResultCode::PAM_AUTH_ERR,
    }
}

/// A panic is a bug, and refuses. Its message must not reach the terminal of who logs in: it goes to the log,
/// without the message, which may hold what the code was working on.
fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            Log::new("?", "panic")
                .write(Level::Critical, &format!("internal error at {place}; the login is refused"));
        }));
    });
}

/// For the tests of the line above: `panic=auth` makes the auth hook panic. Not in what is shipped.
#[cfg(feature = "test-panic")]
#[allow(clippy::panic)]
fn panic_on_demand(args: &[&CStr], hook: &str) {
    silence_panics();
    if args.iter().any(|arg| arg.to_bytes() == format!("panic={hook}").as_bytes()) {
        panic!("asked to, in {hook}");
    }
}

#[cfg(not(feature = "test-panic"))]
fn panic_on_demand(_: &[&CStr], _: &str) {}
