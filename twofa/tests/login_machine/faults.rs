//! Logins with faults: the rules are worth what they catch.

use super::history::History;
use super::{
    Broken, Letter, Machine, RIGHT, Scene, VALID_FOR, alphabet, alphabet_of_sending, explore, is_account,
};
use crate::common::{self, MASKED, SENDS};
use twofa::account::{Change, Conflict, Guess, Proof, Source, Spent};
use twofa::code::{Answer, Tag};
use twofa::login::{self, Admission, Delivery, Event, Login, Notice, Prompt, Refusal, Step, Verdict};
use twofa::policy::{Method, Mode, Recipient};

use Method::{App, Sms};

/// One login in which a mistake was made.
#[derive(Clone, Debug)]
struct Faulty<'a> {
    login: Login<'a>,
    scene: &'a Scene,
    last: Option<Step>,
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    ConflictAdmits,
    FailureAdmits,
    UnforeseenAdmits,
    SilenceAdmits,
    AdmitsBeforeTheCommit,
    DecoyAdmits,
    DecoyProves,
    WrongCodeProves,
    ToldBeforeStored,
    NeverTired,
    BlankForEver,
    OpenAgainAfterTheEnd,
    ObservesInEnforceMode,
    SendsForNobody,
    SendsForAName,
    SendsUncounted,
    SendsInSpiteOfAConflict,
    SendsWhenNothingIsTyped,
    SendsAtOnce,
    CountsFromTheBegin,
    SaysWhatIsNotOffered,
    SendsAnEarlierCode,
    CountsAnEarlierCode,
    NamesAnEarlierMessage,
    SendsElsewhere,
    SendsAfterTheHardStop,
    CountsForNoNumber,
    IsGoodForLonger,
    EarlierCodeProves,
    AnotherLoginsCodeProves,
    VoidCodeProves,
    OffersWhatIsNotThere,
    AsksForWhatWasNotSent,
    AsksForCodesAfterTheHardStop,
    WishesForEver,
    CounterBackOfACode,
}

impl Machine for Faulty<'_> {
    fn next(&mut self, event: Event, now: u64) -> Step {
        let hurried = matches!((self.fault, &event), (Fault::SendsAtOnce, Event::Answer(Answer::Word(_))));
        let honest = self.login.next(event.clone(), if hurried { now + SENDS.pause } else { now });
        let step = self.distort(&event, honest, now);
        self.last = Some(step.clone());
        step
    }
}

impl Faulty<'_> {
    fn distort(&mut self, event: &Event, honest: Step, now: u64) -> Step {
        let admit = Step::Finish {
            notice: None,
            verdict: Verdict::Admit(Admission::App { label: common::LABEL.into() }),
        };
        let ask = Step::Ask { notice: None, prompt: Prompt::App { or: None } };
        let refusal = match &honest {
            Step::Finish { verdict: Verdict::Refuse(refusal), .. } => Some(*refusal),
            _ => None,
        };
        let over = matches!(self.last, Some(Step::Finish { .. }));
        let proven = matches!(self.last, Some(Step::Commit(Change::Prove { .. })));
        match (self.fault, event, &honest) {
            (Fault::ConflictAdmits, Event::Conflict(_), _)
            | (Fault::FailureAdmits, Event::Failed, _)
            | (Fault::SilenceAdmits, Event::NoAnswer, _)
            | (Fault::AdmitsBeforeTheCommit, _, Step::Commit(Change::Prove { .. })) => admit,
            (Fault::UnforeseenAdmits, ..) if refusal == Some(Refusal::Unavailable) => admit,
            (Fault::DecoyAdmits, ..) if refusal == Some(Refusal::NotEnrolled) => admit,
            (Fault::OpenAgainAfterTheEnd, ..) if over => admit,
            (Fault::NeverTired, ..) if refusal == Some(Refusal::WrongCode) => ask,
            (Fault::BlankForEver, ..) if refusal == Some(Refusal::Blank) => ask,
            (Fault::ObservesInEnforceMode, ..) if refusal.is_some() => {
                login::refused(Mode::Observe, Refusal::WrongCode)
            }
            (Fault::DecoyProves | Fault::WrongCodeProves, Event::Answer(answer), Step::Commit(fail)) => {
                let wanted = matches!(self.fault, Fault::DecoyProves) == RIGHT.contains(answer);
                let prove = Step::Commit(Change::Prove {
                    proof: Proof::App(vec![Spent { app: 1, step: now / common::STEP }]),
                    source: Source::CONSOLE,
                    typos: 0,
                });
                if matches!(fail, Change::Fail { .. }) && wanted { prove } else { honest }
            }
            (Fault::CounterBackOfACode, Event::Conflict(Conflict::CounterBack(key)), _) if proven => {
                Step::Commit(Change::Suspend(*key))
            }
            (Fault::ToldBeforeStored, Event::Answer(_), Step::Commit(Change::Fail { .. })) => {
                self.login.next(Event::Committed(Box::default()), now)
            }
            _ => self.distort_sending(event, honest, now),
        }
    }

    fn distort_sending(&mut self, event: &Event, honest: Step, now: u64) -> Step {
        let first = self.delivery(now);
        let counted = matches!(self.last, Some(Step::Commit(Change::Send { .. })));
        let prove = |tag: Tag| {
            let proof = Proof::Sent(tag);
            Step::Commit(Change::Prove { proof, source: Source::CONSOLE, typos: 0 })
        };
        let last_tag = match &honest {
            Step::Commit(Change::Fail { guess: Guess::Sent(tag), .. }) => Some(*tag),
            _ => None,
        };
        let ask = |prompt| Step::Ask { notice: None, prompt };
        let for_sent = Prompt::Sent { method: Sms, to: MASKED.into(), or: None };
        let count = Change::Send {
            tag: self.scene.tag(0),
            valid_for: VALID_FOR,
            source: Source::new(self.scene.request.address),
            number: Some(common::phone().to),
            earlier: 0,
        };
        match (self.fault, event, honest) {
            (Fault::SendsForNobody, Event::Committed(_), Step::Ask { .. }) if counted => Step::Deliver(first),
            (Fault::SendsForAName, Event::Account(..), Step::Ask { .. }) => Step::Commit(count),
            (Fault::SendsUncounted, _, Step::Commit(Change::Send { .. })) => Step::Deliver(first),
            (Fault::SendsInSpiteOfAConflict, Event::Conflict(_), Step::Ask { .. }) if counted => {
                Step::Deliver(first)
            }
            (Fault::SendsWhenNothingIsTyped, Event::Answer(Answer::Blank), Step::Ask { .. })
            | (Fault::SendsAfterTheHardStop, Event::Account(..), Step::Ask { .. }) => Step::Commit(count),
            (Fault::SendsAnEarlierCode, _, Step::Deliver(honest)) => {
                Step::Deliver(Delivery { code: first.code, ..honest })
            }
            (Fault::NamesAnEarlierMessage, _, Step::Deliver(honest)) => {
                Step::Deliver(Delivery { id: first.id, ..honest })
            }
            (Fault::SendsElsewhere, _, Step::Deliver(honest)) => {
                Step::Deliver(Delivery { to: Recipient::Mail(vec![]), ..honest })
            }
            (fault, _, Step::Commit(Change::Send { tag, valid_for, source, number, earlier })) => {
                let honest = (tag, valid_for, number, earlier);
                let (tag, valid_for, number, earlier) = match (fault, honest) {
                    (Fault::CountsAnEarlierCode, (_, time, to, n)) => (self.scene.tag(0), time, to, n),
                    (Fault::IsGoodForLonger, (tag, time, to, n)) => (tag, 2 * time, to, n),
                    (Fault::CountsForNoNumber, (tag, time, _, n)) => (tag, time, None, n),
                    (Fault::CountsFromTheBegin, (tag, time, to, _)) => (tag, time, to, 0),
                    (_, honest) => honest,
                };
                Step::Commit(Change::Send { tag, valid_for, source, number, earlier })
            }
            (Fault::EarlierCodeProves, Event::Answer(answer), Step::Commit(fail)) => match last_tag {
                Some(tag) if tag != self.scene.tag(0) && *answer == self.scene.code(0) => prove(tag),
                _ => Step::Commit(fail),
            },
            (Fault::AnotherLoginsCodeProves, Event::Answer(answer), Step::Commit(fail)) => match last_tag {
                Some(tag) if *answer == common::sent_code(&common::seed(2), 0) => prove(tag),
                _ => Step::Commit(fail),
            },
            (Fault::VoidCodeProves, Event::Answer(answer), Step::Commit(Change::Fail { guess, source })) => {
                let void = guess == Guess::Code && *answer == self.scene.code(0);
                let fail = Step::Commit(Change::Fail { guess, source });
                if void { prove(self.scene.tag(0)) } else { fail }
            }
            (Fault::OffersWhatIsNotThere, _, Step::Ask { prompt: Prompt::App { or: None }, .. }) => {
                ask(Prompt::App { or: Some(Sms) })
            }
            (Fault::AsksForWhatWasNotSent, Event::Undelivered, Step::Ask { .. }) => ask(for_sent),
            (Fault::AsksForCodesAfterTheHardStop, Event::Account(..), Step::Ask { .. }) => {
                ask(Prompt::App { or: None })
            }
            (
                Fault::SaysWhatIsNotOffered,
                _,
                Step::Ask { notice: Some(Notice::TooSoon { seconds, elsewhere, .. }), prompt },
            ) => {
                let notice = Some(Notice::TooSoon { seconds, elsewhere, word: "app" });
                Step::Ask { notice, prompt }
            }
            (
                Fault::WishesForEver,
                Event::Answer(Answer::Word(_)),
                Step::Finish { verdict: Verdict::Refuse(Refusal::Blank), .. },
            ) => ask(for_sent),
            (_, _, honest) => honest,
        }
    }

    /// The first code, as it would be sent.
    fn delivery(&self, now: u64) -> Delivery {
        let seed = &self.scene.seed;
        let to = Recipient::Phone(common::phone().to);
        let until = now + VALID_FOR;
        Delivery { method: Sms, to, code: seed.sent_code(0), enrolls: false, until, id: seed.message_id(0) }
    }
}

#[test]
fn faults_made_by_hand_are_found() {
    let scene = Scene::new(Mode::Enforce, &[App]);
    let table = [
        (Fault::ConflictAdmits, "only a stored proof admits"),
        (Fault::FailureAdmits, "only a stored proof admits"),
        (Fault::UnforeseenAdmits, "only a stored proof admits"),
        (Fault::SilenceAdmits, "only a stored proof admits"),
        (Fault::AdmitsBeforeTheCommit, "only a stored proof admits"),
        (Fault::DecoyAdmits, "only a stored proof admits"),
        (Fault::OpenAgainAfterTheEnd, "only a stored proof admits"),
        (Fault::DecoyProves, "a decoy proves nothing"),
        (Fault::WrongCodeProves, "only a right code proves"),
        (Fault::ToldBeforeStored, "a guess is stored before it is answered"),
        (Fault::NeverTired, "no guess is left"),
        (Fault::BlankForEver, "three blanks end a login"),
        (Fault::ObservesInEnforceMode, "only observe mode lets pass what it would refuse"),
        (Fault::CounterBackOfACode, "only an answer is stored"),
    ];
    for (fault, broken) in table {
        let faulty = Faulty { login: scene.login(), scene: &scene, last: None, fault };
        let violation = explore(faulty, &History::new(&scene), alphabet(), 0).expect_err(broken);
        assert_eq!(violation.broken, broken, "{fault:?}: {:?}", violation.sequence);
    }
}

/// And those of sending.
#[test]
fn faults_of_sending_are_found() {
    let found = |methods: &[Method], account: &[&str], fault, broken: Broken| {
        let scene = Scene::new(Mode::Enforce, methods).with_prompts(2);
        find(&scene, &scene, &History::new(&scene), account, fault, broken);
    };
    let (alice, both, nobody) = (&["phone and mailbox"], &["app, phone and mailbox"], &["nobody"]);
    let table = [
        (Fault::SendsForNobody, nobody, "nothing is sent for nobody"),
        (Fault::SendsUncounted, alice, "only a counted code is sent"),
        (Fault::SendsInSpiteOfAConflict, alice, "only a counted code is sent"),
        (Fault::SendsWhenNothingIsTyped, alice, "only a begin or a wish sends"),
        (Fault::SendsAtOnce, alice, "there is a pause between two codes"),
        (Fault::SendsAnEarlierCode, alice, "what is counted is sent"),
        (Fault::CountsAnEarlierCode, alice, "every code is a new one"),
        (Fault::NamesAnEarlierMessage, alice, "no code is sent twice"),
        (Fault::SendsElsewhere, alice, "a code goes to its user"),
        (Fault::SendsAfterTheHardStop, &["app, phone and mailbox, hard stop"], "a lock stops messages"),
        (Fault::CountsForNoNumber, alice, "a message counts for its number"),
        (Fault::IsGoodForLonger, alice, "a code is good for as long as the policy says"),
        (Fault::EarlierCodeProves, alice, "only a right code proves"),
        (Fault::AnotherLoginsCodeProves, alice, "only a right code proves"),
        (Fault::VoidCodeProves, alice, "only a right code proves"),
        (Fault::AsksForWhatWasNotSent, alice, "another prompt is due"),
        (Fault::CounterBackOfACode, alice, "only an answer is stored"),
        (Fault::CountsFromTheBegin, alice, "a login says how many codes it had"),
        (Fault::SaysWhatIsNotOffered, alice, "what is to be typed later is offered"),
    ];
    for (fault, account, broken) in table {
        found(&[Sms], account, fault, broken);
    }
    found(&[App, Sms], &["enrolled"], Fault::OffersWhatIsNotThere, "a prompt offers what this user can use");
    let hard = &["app, phone and mailbox, hard stop"];
    let broken = "the hard stop asks for a recovery code only";
    found(&[App, Sms], hard, Fault::AsksForCodesAfterTheHardStop, broken);
    found(&[Sms, App], both, Fault::AsksForWhatWasNotSent, "another prompt is due");
}

/// Those that take another scene to be seen.
#[test]
fn faults_of_limits_are_found() {
    let alice = &["phone and mailbox"];
    let scene = || Scene::new(Mode::Enforce, &[Sms]);
    let mut name = scene();
    name.request.first_factor = false;
    let broken = "nothing is sent for a mere name";
    find(&name, &name, &History::new(&name), alice, Fault::SendsForAName, broken);
    // Three wrong answers, as the store counts them.
    let five = scene().with_prompts(5);
    let history = History::new(&five).with_store();
    find(&five, &five, &history, alice, Fault::VoidCodeProves, "only a right code proves");
    let scene = scene();
    let fault = Fault::WishesForEver;
    let faulty = Faulty { login: scene.login(), scene: &scene, last: None, fault };
    let is_kept = |letter: &Letter| {
        ["begin", "phone and mailbox", "committed", "delivered", "resend"].contains(&letter.name)
    };
    let letters = alphabet_of_sending(&scene).into_iter().filter(is_kept).collect();
    let violation = explore(faulty, &History::new(&scene), letters, u8::MAX).unwrap_err();
    assert_eq!(violation.broken, "a login ends, whatever is wished");
}

/// Explores a login with a fault: only of these accounts, so that it is soon found.
fn find(
    scene: &Scene,
    of_the_login: &Scene,
    history: &History<'_>,
    accounts: &[&str],
    fault: Fault,
    broken: Broken,
) {
    let faulty = Faulty { login: of_the_login.login(), scene, last: None, fault };
    let is_kept = |letter: &Letter| !is_account(&letter.event) || accounts.contains(&letter.name);
    let letters = alphabet_of_sending(scene).into_iter().filter(is_kept).collect();
    let violation = explore(faulty, history, letters, 1).expect_err(broken);
    assert_eq!(violation.broken, broken, "{fault:?}: {:?}", violation.sequence);
}
