//! Logins with faults about the roll-out, set-up, sessions and bypasses.

use super::rollout::{
    Case, GRACE, REASON, alphabet_of_rollout, begun, bypass_code, explore_rollout, in_session,
    in_session_unlisted, nameless, with_default_address, with_processes,
};
use super::set_up::NUMBER;
use super::{Broken, Letter, Machine, Scene};
use crate::common::{self, MASKED, NOW};
use twofa::account::{Change, Conflict, Enrolment, NewApp, Proof, Source};
use twofa::code::Answer;
use twofa::contact::Number;
use twofa::login::{self, Admission, AppToScan, Event, Login, Notice, Prompt, Refusal, Reply, Step, Verdict};
use twofa::policy::{Method, Mode};

use Method::{App, Email, Sms};

/// One login in which a mistake was made.
#[derive(Clone, Debug)]
struct FaultyRollout<'a> {
    login: Login<'a>,
    scene: &'a Scene,
    last: Option<Step>,
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    LetsInWhoHadAFactor,
    LetsInAnotherUid,
    GraceForEver,
    GraceForAName,
    GraceUnwritten,
    GraceInSpiteOfAConflict,
    GraceProlonged,
    ForgetsTheDate,
    AccountPhaseAsks,
    AccountPhaseTakesBypasses,
    ObserveCountsTwice,
    ObserveForgetsToCount,
    ObserveCountsNames,
    ObserveBeginsGrace,
    ObserveSetsUp,
    WrongNewCodeProves,
    UnsavedAppCounts,
    AnythingSaves,
    AnotherSecretIsKept,
    OtherCodesAreKept,
    OtherCodesAreShown,
    AnotherStepIsSpent,
    SecondSecret,
    SendsAnywhere,
    SendsUncounted,
    CountsFromTheBegin,
    CountsForNobody,
    AnyCodeConfirms,
    ForgetsTheApp,
    FakeIsLetIn,
    TriesForEver,
    WishesForEver,
    FailureRefuses,
    StrayEventSetsUp,
    SessionUnlisted,
    SessionUnstored,
    SessionConflictAdmits,
    SessionConflictRefuses,
    OpensForTheUnproven,
    OpensForABypass,
    OpensUnproven,
    ForgetsToOpen,
    UnopenedIsRefused,
    BypassTwice,
    BypassUnstored,
    BypassIsNoCode,
    BypassStoppedByALock,
    BypassClosesTheDays,
    RegistersForAName,
    RegistersForEver,
}

impl Machine for FaultyRollout<'_> {
    fn next(&mut self, event: Event, now: u64) -> Step {
        let honest = self.login.next(event.clone(), now);
        let step = self.distort(&event, honest);
        self.last = Some(step.clone());
        step
    }
}

fn admit(admission: Admission) -> Step {
    Step::Finish { notice: None, verdict: Verdict::Admit(admission) }
}

fn is_refusal(step: &Step) -> bool {
    matches!(step, Step::Finish { verdict: Verdict::Refuse(_), .. })
}

impl FaultyRollout<'_> {
    fn source(&self) -> Source {
        Source::new(self.scene.request.address)
    }

    fn committed(&self, is_meant: impl Fn(&Change) -> bool, event: &Event) -> bool {
        let last = matches!(&self.last, Some(Step::Commit(change)) if is_meant(change));
        last && matches!(event, Event::Conflict(_))
    }

    fn distort(&mut self, event: &Event, honest: Step) -> Step {
        let grace = |until| Admission::Grace { until };
        let not_yet = Admission::NotYet { from: self.scene.policy.rollout.from };
        let read = matches!(self.last, Some(Step::Read));
        let grants = matches!(honest, Step::Commit(Change::Grace));
        match (self.fault, event, honest) {
            (Fault::LetsInWhoHadAFactor | Fault::LetsInAnotherUid, Event::Account(..), Step::Ask { .. }) => {
                admit(not_yet)
            }
            (Fault::GraceForEver | Fault::GraceForAName, Event::Account(..), Step::Ask { .. }) => {
                Step::Commit(Change::Grace)
            }
            (Fault::GraceUnwritten, ..) if grants => admit(grace(NOW + GRACE)),
            (Fault::GraceInSpiteOfAConflict, event, _)
                if self.committed(|change| *change == Change::Grace, event) =>
            {
                admit(grace(NOW + GRACE))
            }
            (
                Fault::GraceProlonged,
                _,
                Step::Finish { notice, verdict: Verdict::Admit(Admission::Grace { until }) },
            ) => Step::Finish { notice, verdict: Verdict::Admit(grace(until + 1)) },
            (
                Fault::ForgetsTheDate,
                _,
                Step::Finish { verdict: Verdict::Admit(admission @ Admission::NotYet { .. }), .. },
            ) => admit(admission),
            (Fault::AccountPhaseAsks, Event::Account(..), step) if is_refusal(&step) => {
                Step::Ask { notice: None, prompt: Prompt::App { or: None } }
            }
            (Fault::AccountPhaseTakesBypasses, Event::Account(..), step) if is_refusal(&step) => {
                let prompt = Prompt::Recovery { or: vec![], resend: false };
                Step::Ask { notice: None, prompt }
            }
            (Fault::ObserveCountsTwice, _, step @ Step::Finish { .. })
                if matches!(self.last, Some(Step::Commit(Change::Observe))) =>
            {
                drop(step);
                Step::Commit(Change::Observe)
            }
            (Fault::ObserveForgetsToCount, Event::Account(..), Step::Commit(Change::Observe)) if read => {
                login::refused(Mode::Observe, Refusal::NotEnrolled)
            }
            (
                Fault::ObserveCountsNames,
                Event::Account(..),
                Step::Finish { verdict: Verdict::Admit(Admission::Observed(_)), .. },
            ) if read => Step::Commit(Change::Observe),
            (
                Fault::ObserveBeginsGrace,
                Event::Account(..),
                Step::Finish { verdict: Verdict::Admit(Admission::Grace { .. }), .. },
            ) => Step::Commit(Change::Grace),
            (
                Fault::ObserveSetsUp,
                Event::Account(..),
                Step::Finish { verdict: Verdict::Admit(Admission::NotYet { from }), .. },
            ) => {
                let why = Box::new(Notice::NotYet { from, grace: GRACE });
                let app = Some(self.app(true));
                let notice = Some(Notice::SetUp { why, app });
                Step::Ask { notice, prompt: Prompt::NewApp { or: None } }
            }
            (_, event, honest) => self.distort_set_up(event, honest, not_yet),
        }
    }

    fn app(&self, qr: bool) -> AppToScan {
        let Scene { policy, request, seed } = self.scene;
        let (issuer, user) = (request.host.clone(), request.user.clone());
        AppToScan { issuer, user, secret: seed.app_secret(), shape: policy.app.shape, qr }
    }

    fn new_app(&self) -> NewApp {
        let (_, recovery) = self.scene.seed.recovery_codes();
        let (secret, shape) = (self.scene.seed.app_secret(), self.scene.policy.app.shape);
        NewApp { secret, shape, step: NOW / common::STEP, recovery }
    }

    fn distort_set_up(&self, event: &Event, honest: Step, not_yet: Admission) -> Step {
        let setting_up = || {
            let enrolment = Box::new(Enrolment { app: Some(self.new_app()), phone: None });
            admit(Admission::SettingUp { enrolment, admission: Box::new(not_yet.clone()) })
        };
        let other = common::seed(2);
        let asked = match &self.last {
            Some(Step::Ask { prompt, .. }) => Some(prompt.clone()),
            _ => None,
        };
        let saving = asked == Some(Prompt::Saved);
        match (self.fault, event, honest) {
            (
                Fault::WrongNewCodeProves,
                Event::Replied(Reply::Typed(_)),
                Step::Ask { notice: Some(Notice::NewCodeWrong), .. },
            ) => {
                let (codes, _) = self.scene.seed.recovery_codes();
                Step::Ask { notice: Some(Notice::RecoveryCodes(codes)), prompt: Prompt::Saved }
            }
            (Fault::UnsavedAppCounts, Event::Gone, Step::Finish { .. }) if saving => setting_up(),
            (Fault::AnythingSaves, Event::Replied(Reply::Typed(_)), Step::Ask { .. }) if saving => {
                setting_up()
            }
            (Fault::OtherCodesAreShown, _, Step::Ask { notice: Some(Notice::RecoveryCodes(_)), prompt }) => {
                let notice = Some(Notice::RecoveryCodes(other.recovery_codes().0));
                Step::Ask { notice, prompt }
            }
            (Fault::SecondSecret, _, Step::Ask { notice: Some(Notice::App(app)), prompt }) => {
                let notice = Some(Notice::App(AppToScan { secret: other.app_secret(), ..app }));
                Step::Ask { notice, prompt }
            }
            (Fault::FakeIsLetIn, Event::Replied(Reply::Fake), Step::Finish { .. }) if asked.is_some() => {
                admit(not_yet)
            }
            (Fault::TriesForEver, _, Step::Finish { notice: Some(Notice::NotSetUp), .. })
            | (Fault::WishesForEver, Event::Replied(Reply::Text), Step::Finish { .. })
                if asked.is_some() =>
            {
                Step::Ask { notice: Some(Notice::App(self.app(false))), prompt: Prompt::NewApp { or: None } }
            }
            (Fault::FailureRefuses, Event::Failed, Step::Finish { verdict: Verdict::Admit(_), .. }) => {
                login::refused(Mode::Enforce, Refusal::Unavailable)
            }
            (Fault::StrayEventSetsUp, Event::Delivered, step) if is_refusal(&step) && asked.is_some() => {
                setting_up()
            }
            (
                fault,
                event,
                Step::Finish {
                    verdict: Verdict::Admit(Admission::SettingUp { mut enrolment, admission }),
                    ..
                },
            ) => {
                let honest = Enrolment::clone(&enrolment);
                *enrolment = match (fault, honest.app.clone()) {
                    (Fault::AnotherSecretIsKept, Some(app)) => {
                        let app = Some(NewApp { secret: other.app_secret(), ..app });
                        Enrolment { app, ..honest }
                    }
                    (Fault::OtherCodesAreKept, Some(app)) => {
                        let app = Some(NewApp { recovery: other.recovery_codes().1, ..app });
                        Enrolment { app, ..honest }
                    }
                    (Fault::AnotherStepIsSpent, Some(app)) => {
                        Enrolment { app: Some(NewApp { step: app.step - 1, ..app }), ..honest }
                    }
                    _ => honest,
                };
                match (fault, event) {
                    (Fault::ForgetsTheApp, Event::Gone) => admit(*admission),
                    _ => admit(Admission::SettingUp { enrolment, admission }),
                }
            }
            (_, event, honest) => self.distort_numbers(event, honest, asked.as_ref()),
        }
    }

    fn distort_numbers(&self, event: &Event, honest: Step, asked: Option<&Prompt>) -> Step {
        let number = Number::parse(NUMBER, None).unwrap();
        match (self.fault, event, honest) {
            (
                Fault::SendsAnywhere,
                Event::Replied(Reply::Typed(typed)),
                Step::Ask { notice: Some(Notice::BadNumber(_)), .. },
            ) if Number::parse(typed, None).is_ok() => Step::Commit(Change::Send {
                tag: self.scene.tag(0),
                valid_for: super::VALID_FOR,
                source: self.source(),
                number: Number::parse(typed, None).ok(),
                earlier: 0,
            }),
            (Fault::SendsUncounted, Event::Replied(_), Step::Commit(Change::Send { .. })) => {
                let to = MASKED.into();
                Step::Ask { notice: None, prompt: Prompt::NewPhoneCode { to } }
            }
            (
                Fault::CountsFromTheBegin,
                _,
                Step::Commit(Change::Send { tag, valid_for, source, number, .. }),
            ) => Step::Commit(Change::Send { tag, valid_for, source, number, earlier: 0 }),
            (
                Fault::CountsForNobody,
                Event::Replied(_),
                Step::Commit(Change::Send { tag, valid_for, source, earlier, .. }),
            ) => Step::Commit(Change::Send { tag, valid_for, source, number: None, earlier }),
            (
                Fault::AnyCodeConfirms,
                Event::Replied(Reply::Typed(_)),
                Step::Ask { notice: Some(Notice::WrongCode), .. },
            ) if matches!(asked, Some(Prompt::NewPhoneCode { .. })) => {
                let phone = Some(twofa::account::NewPhone { number, tag: self.scene.tag(0) });
                let enrolment = Box::new(Enrolment { app: None, phone });
                let admission = Box::new(Admission::NotYet { from: self.scene.policy.rollout.from });
                admit(Admission::SettingUp { enrolment, admission })
            }
            (_, event, honest) => self.distort_the_rest(event, honest),
        }
    }

    fn distort_the_rest(&self, event: &Event, honest: Step) -> Step {
        let processes = || self.scene.request.processes.clone();
        let proves_session =
            |change: &Change| matches!(change, Change::Prove { proof: Proof::Session(_), .. });
        let proves_bypass = |change: &Change| matches!(change, Change::Prove { proof: Proof::Bypass(_), .. });
        let bypass = || admit(Admission::Bypass { reason: REASON.into() });
        let opening = matches!(self.last, Some(Step::Commit(Change::Open(_))));
        match (self.fault, event, honest) {
            (Fault::SessionUnlisted, Event::Begin, Step::Read) => {
                let proof = Proof::Session(self.scene.request.session.clone().unwrap());
                Step::Commit(Change::Prove { proof, source: self.source(), typos: 0 })
            }
            (Fault::SessionUnstored, _, Step::Commit(change)) if proves_session(&change) => {
                admit(Admission::Session)
            }
            (Fault::SessionConflictAdmits, event, _) if self.committed(proves_session, event) => {
                admit(Admission::Session)
            }
            (Fault::SessionConflictRefuses, event, _) if self.committed(proves_session, event) => {
                login::refused(Mode::Enforce, Refusal::Unavailable)
            }
            (
                Fault::OpensForTheUnproven,
                _,
                Step::Finish { verdict: Verdict::Admit(Admission::NotYet { .. }), .. },
            )
            | (
                Fault::OpensForABypass,
                _,
                Step::Finish { verdict: Verdict::Admit(Admission::Bypass { .. }), .. },
            ) => Step::Commit(Change::Open(processes())),
            (Fault::OpensUnproven, Event::Answer(Answer::Code(_)), Step::Commit(Change::Prove { .. })) => {
                Step::Commit(Change::Open(processes()))
            }
            (Fault::ForgetsToOpen, _, Step::Commit(Change::Open(_))) => {
                admit(Admission::App { label: common::LABEL.into() })
            }
            (Fault::UnopenedIsRefused, Event::Failed, _) if opening => {
                login::refused(Mode::Enforce, Refusal::Unavailable)
            }
            (Fault::BypassTwice, Event::Conflict(Conflict::Used), _)
                if self.committed(proves_bypass, event) =>
            {
                bypass()
            }
            (Fault::BypassUnstored, _, Step::Commit(change)) if proves_bypass(&change) => bypass(),
            (Fault::BypassIsNoCode, Event::Answer(_), Step::Commit(Change::Fail { .. })) => {
                let proof = Proof::Bypass(bypass_code());
                Step::Commit(Change::Prove { proof, source: self.source(), typos: 0 })
            }
            (
                Fault::BypassStoppedByALock,
                Event::Account(..),
                Step::Ask { notice: Some(Notice::Locked(lock)), .. },
            ) => login::refused(Mode::Enforce, Refusal::Locked(lock)),
            (Fault::BypassClosesTheDays, Event::Account(..), Step::Commit(Change::Grace)) => {
                let prompt = Prompt::Recovery { or: vec![], resend: false };
                Step::Ask { notice: None, prompt }
            }
            (Fault::RegistersForAName, Event::Account(None, _), Step::Ask { .. })
            | (Fault::RegistersForEver, Event::Account(None, _), Step::Commit(Change::Send { .. })) => {
                Step::Commit(Change::Register)
            }
            (_, _, honest) => honest,
        }
    }
}

/// Explores a login with a fault, of this user only, so that it is soon found.
fn find(case: &Case, user: &str, fault: Fault, broken: Broken) {
    let faulty = FaultyRollout { login: case.login(), scene: &case.scene, last: None, fault };
    let is_kept = |letter: &Letter| !matches!(letter.event, Event::Account(..)) || letter.name == user;
    let letters = alphabet_of_rollout(&case.scene).into_iter().filter(is_kept).collect();
    let wishes = if matches!(fault, Fault::WishesForEver) { 9 } else { 1 };
    let violation = explore_rollout(case, faulty, letters, wishes).expect_err(broken);
    assert_eq!(violation.broken, broken, "{fault:?}: {:?}", violation.sequence);
}

#[test]
fn faults_about_who_is_let_in_are_found() {
    let nothing = |_: &mut Scene| {};
    let (plain, written) = ("as without a roll-out", "days are granted in writing");
    let let_in = "who never had a factor is let in, for as long as is said";
    let lost = "what was lost refuses, at once";
    let without_set_up = |scene: &mut Scene| scene.policy.rollout.enroll = false;
    let begun_without = |scene: &mut Scene| {
        begun(scene);
        without_set_up(scene);
    };
    type Row<'a> = (Fault, &'a str, &'a dyn Fn(&mut Scene), Broken);
    let table: [Row<'_>; 8] = [
        (Fault::LetsInWhoHadAFactor, "security key", &nothing, plain),
        (Fault::LetsInAnotherUid, "other uid", &nothing, plain),
        (Fault::GraceForEver, "grace over", &begun, plain),
        (Fault::GraceForAName, "bare", &nameless, plain),
        (Fault::GraceUnwritten, "in grace", &begun, written),
        (Fault::GraceInSpiteOfAConflict, "bare", &begun, lost),
        (Fault::GraceProlonged, "bare", &begun_without, let_in),
        (Fault::ForgetsTheDate, "bare", &without_set_up, let_in),
    ];
    for (fault, user, change, broken) in table {
        find(&Case::new(Mode::Enforce, &[App], change), user, fault, broken);
    }
    let account = || Case::new(Mode::Enforce, &[App], &begun).of_account_phase();
    find(&account(), "app", Fault::AccountPhaseAsks, "the account phase asks nothing");
    find(&account(), "bypass over", Fault::GraceInSpiteOfAConflict, lost);
    let bypass = "the account phase asks nothing";
    find(&account(), "app and phone, bypass", Fault::AccountPhaseTakesBypasses, bypass);
    let counted = "what would be refused is counted once";
    let observed = |change: &dyn Fn(&mut Scene)| Case::new(Mode::Observe, &[App], change);
    find(&observed(&begun), "security key", Fault::ObserveCountsTwice, counted);
    find(&observed(&begun), "security key", Fault::ObserveForgetsToCount, plain);
    find(&observed(&nameless), "bare", Fault::ObserveCountsNames, plain);
    find(&observed(&begun), "bare", Fault::ObserveBeginsGrace, let_in);
    find(&observed(&nothing), "bare", Fault::ObserveSetsUp, let_in);
}

#[test]
fn faults_about_what_is_set_up_are_found() {
    let nothing = |_: &mut Scene| {};
    let (complete, elsewhere) =
        ("only what is complete is kept", "nothing is sent to other numbers than the policy's");
    let let_in = "whatever comes of it, the login is let in as without";
    let table = [
        (Fault::WrongNewCodeProves, &[App][..], "another prompt is due"),
        (Fault::UnsavedAppCounts, &[App], complete),
        (Fault::AnythingSaves, &[App], "another prompt is due"),
        (Fault::AnotherSecretIsKept, &[App], "the secret that was shown is kept"),
        (Fault::OtherCodesAreKept, &[App], "the recovery codes that were shown are kept"),
        (Fault::OtherCodesAreShown, &[App], "the recovery codes that were shown are kept"),
        (Fault::AnotherStepIsSpent, &[App], "the code that proved the app opens no login"),
        (Fault::SecondSecret, &[App], "one secret is shown"),
        (Fault::FakeIsLetIn, &[App], "sshd's junk is refused"),
        (Fault::TriesForEver, &[App], "three wrong codes end it"),
        (Fault::WishesForEver, &[App], "a login ends, whatever is wished"),
        (Fault::FailureRefuses, &[Sms], let_in),
        (Fault::StrayEventSetsUp, &[App], complete),
        (Fault::ForgetsTheApp, &[App, Sms], "what is complete is kept"),
        (Fault::SendsAnywhere, &[Sms], elsewhere),
        (Fault::SendsUncounted, &[Sms], "a message is counted before it is sent"),
        (Fault::CountsFromTheBegin, &[Sms], "a login says how many codes it had"),
        (Fault::CountsForNobody, &[Sms], elsewhere),
        (Fault::AnyCodeConfirms, &[Sms], "another prompt is due"),
    ];
    for (fault, methods, broken) in table {
        find(&Case::new(Mode::Enforce, methods, &nothing), "bare", fault, broken);
    }
}

#[test]
fn faults_about_sessions_and_bypasses_are_found() {
    let at_every_prompt = "a bypass is taken at every prompt, and under every lock";
    let plain = "as without a roll-out";
    let read = "the ordinary login begins by reading";
    let open = |scene: &mut Scene| {
        scene.policy.rollout.enroll = false;
        with_processes(scene);
    };
    let named = |scene: &mut Scene| {
        nameless(scene);
        with_default_address(scene);
    };
    let first = |scene: &mut Scene| {
        begun(scene);
        with_default_address(scene);
    };
    let known_later = "who proved a factor is let in, whatever is known of it later";
    type Row<'a> = (Fault, &'a str, &'a [Method], &'a dyn Fn(&mut Scene), Broken);
    let table: [Row<'_>; 16] = [
        (Fault::SessionUnlisted, "app", &[App], &in_session_unlisted, read),
        (Fault::SessionUnstored, "app", &[App], &in_session, "a listed service asks what session it is in"),
        (Fault::SessionConflictAdmits, "app", &[App], &in_session, read),
        (Fault::SessionConflictRefuses, "app", &[App], &in_session, read),
        (
            Fault::OpensForTheUnproven,
            "bare",
            &[App],
            &open,
            "who never had a factor is let in, for as long as is said",
        ),
        (
            Fault::OpensForABypass,
            "app and phone, bypass",
            &[App],
            &open,
            "a bypass admits, and is known by its reason",
        ),
        (Fault::OpensUnproven, "app", &[App], &open, plain),
        (Fault::ForgetsToOpen, "app", &[App], &open, "what a proven login hangs on is known from then on"),
        (Fault::UnopenedIsRefused, "app", &[App], &open, known_later),
        (Fault::BypassTwice, "app and phone, bypass", &[App], &begun, "a bypass is taken once"),
        (Fault::BypassUnstored, "hard stop, bypass", &[App], &begun, at_every_prompt),
        (Fault::BypassIsNoCode, "grace over", &[App], &begun, plain),
        (Fault::BypassStoppedByALock, "address locked, bypass", &[App], &begun, plain),
        (Fault::BypassClosesTheDays, "bypass, in grace", &[App], &begun, "days are granted in writing"),
        (Fault::RegistersForAName, "nobody", &[Email], &named, plain),
        (Fault::RegistersForEver, "nobody", &[Email], &first, plain),
    ];
    for (fault, user, methods, change, broken) in table {
        find(&Case::new(Mode::Enforce, methods, change), user, fault, broken);
    }
}
