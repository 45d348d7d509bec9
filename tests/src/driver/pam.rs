//! libpam as an application sees it, and a conversation that answers from a list.

use super::post::{self, Post};
use super::{clock, code};
use libc::{c_char, c_int, c_uint, c_void};
use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::ptr;

pub const SUCCESS: c_int = 0;
pub const CONV_ERR: c_int = 19;
pub const SILENT: c_int = 0x8000;
pub const DISALLOW_NULL_AUTHTOK: c_int = 1;

const PROMPT_ECHO_OFF: c_int = 1;
const PROMPT_ECHO_ON: c_int = 2;
const ERROR_MSG: c_int = 3;
const TEXT_INFO: c_int = 4;
const ESTABLISH_CRED: c_int = 2;
const ITEM_USER: c_int = 2;
const ITEM_FAIL_DELAY: c_int = 10;

#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

#[repr(C)]
struct Response {
    text: *mut c_char,
    /// Unused, zero (pam_conv(3)).
    code: c_int,
}

type Converse = unsafe extern "C" fn(c_int, *const *const Message, *mut *mut Response, *mut c_void) -> c_int;

#[repr(C)]
struct Conv {
    converse: Option<Converse>,
    data: *mut c_void,
}

#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_start_confdir(
        service: *const c_char,
        user: *const c_char,
        conv: *const Conv,
        confdir: *const c_char,
        handle: *mut *mut Opaque,
    ) -> c_int;
    fn pam_end(handle: *mut Opaque, status: c_int) -> c_int;
    fn pam_authenticate(handle: *mut Opaque, flags: c_int) -> c_int;
    fn pam_acct_mgmt(handle: *mut Opaque, flags: c_int) -> c_int;
    fn pam_setcred(handle: *mut Opaque, flags: c_int) -> c_int;
    fn pam_open_session(handle: *mut Opaque, flags: c_int) -> c_int;
    fn pam_close_session(handle: *mut Opaque, flags: c_int) -> c_int;
    fn pam_chauthtok(handle: *mut Opaque, flags: c_int) -> c_int;
    fn pam_set_item(handle: *mut Opaque, item: c_int, value: *const c_void) -> c_int;
    fn pam_putenv(handle: *mut Opaque, pair: *const c_char) -> c_int;
}

/// What the application does when it is asked.
#[derive(Clone, Debug)]
pub enum Answer {
    Text(Vec<u8>),
    /// PAM_SUCCESS, with an array whose only answer is a null pointer.
    Null,
    /// PAM_SUCCESS, without an array.
    Nothing,
    /// The conversation function fails with this code.
    Fail(c_int),
    /// The code of the app with this secret, so many steps from the module's present.
    Code(String, i64),
    /// The code of a message to this user: of the last one (0), of the one before it (1). It is waited for.
    Sent(usize),
    /// Six digits that no message had so far.
    WrongSent,
    /// The content of this file, which is waited for.
    TextOf(PathBuf),
    /// Not an answer: first, wait until this file is there.
    Await(PathBuf),
    /// Not an answer: first, the application changes PAM_USER.
    User(Vec<u8>),
    /// Not an answer: first, these seconds pass; or the clock is set back by them.
    Advance(i64),
    /// Not an answer: first, all processes of a race wait for each other.
    Gate,
}

/// What was seen during a transaction, in order.
pub type Event = (String, Vec<u8>);

/// The application's side of the conversation.
pub struct Conversation {
    pub answers: VecDeque<Answer>,
    pub events: Vec<Event>,
    /// Where the processes of a race wait; called at [`Answer::Gate`].
    pub gate: fn(),
    /// Where the codes are that were sent.
    pub post: Option<Post>,
    handle: *mut Opaque,
}

impl Conversation {
    fn saw(&mut self, word: &str, value: impl Into<Vec<u8>>) {
        self.events.push((word.into(), value.into()));
    }

    /// The next answer; what is no answer happens on the way. `None`: the list is at its end.
    fn next(&mut self) -> Option<Answer> {
        loop {
            match self.answers.pop_front()? {
                Answer::User(name) => set_text(self.handle, ITEM_USER, &name),
                Answer::Advance(seconds) => clock::advance(seconds),
                Answer::Gate => (self.gate)(),
                Answer::Await(path) => post::wait_for(|| path.exists().then_some(())),
                answer => return Some(answer),
            }
        }
    }

    fn post(&self) -> &Post {
        self.post.as_ref().expect("a plan with `mail` and `user`")
    }

    /// One message in, its answer out: the text to hand over, or the code to fail with.
    fn hear(&mut self, style: c_int, text: &[u8]) -> Result<Option<Vec<u8>>, c_int> {
        match style {
            PROMPT_ECHO_OFF => self.saw("prompt", text),
            PROMPT_ECHO_ON => self.saw("prompt-echo", text),
            ERROR_MSG => self.saw("error", text),
            TEXT_INFO => self.saw("info", text),
            other => self.saw("message", other.to_string()),
        }
        if ![PROMPT_ECHO_OFF, PROMPT_ECHO_ON].contains(&style) {
            return Ok(None);
        }
        match self.next() {
            Some(Answer::Text(text)) => Ok(Some(text)),
            Some(Answer::Code(secret, steps)) => Ok(Some(code::at(&secret, clock::now(), steps).into())),
            Some(Answer::Sent(back)) => Ok(Some(self.post().code(back).into())),
            Some(Answer::WrongSent) => Ok(Some(self.post().wrong_code().into())),
            Some(Answer::TextOf(path)) => Ok(Some(post::wait_for(|| std::fs::read(&path).ok()))),
            Some(Answer::Fail(code)) => Err(code),
            Some(Answer::Nothing) => Err(SUCCESS),
            Some(_) => Ok(None),
            None => {
                self.saw("exhausted", text);
                Err(CONV_ERR)
            }
        }
    }
}

/// The conversation function: called by modules.
unsafe extern "C" fn converse(
    count: c_int,
    messages: *const *const Message,
    responses: *mut *mut Response,
    data: *mut c_void,
) -> c_int {
    // SAFETY: `data` is the Conversation of the transaction, which outlives every call of libpam.
    let conversation = unsafe { &mut *data.cast::<Conversation>() };
    conversation.saw("messages", count.to_string());
    let length = usize::try_from(count).unwrap_or(0);
    // SAFETY: calloc has no preconditions; the module frees the array and its texts (pam_conv(3)).
    let array = unsafe { libc::calloc(length.max(1), size_of::<Response>()) }.cast::<Response>();
    for index in 0..length {
        // SAFETY: the module passes `count` valid messages.
        let message = unsafe { &**messages.add(index) };
        // SAFETY: a message's text is a C string.
        let text = unsafe { CStr::from_ptr(message.text) }.to_bytes();
        match conversation.hear(message.style, text) {
            // SAFETY: `index` is below the length of the array.
            Ok(Some(answer)) => unsafe { (*array.add(index)).text = c_copy(&answer) },
            Ok(None) => {}
            Err(code) => {
                // SAFETY: the array is ours until it is handed over.
                unsafe { libc::free(array.cast()) };
                return code;
            }
        }
    }
    // SAFETY: the module gives room for one pointer.
    unsafe { *responses = array };
    SUCCESS
}

/// A C string that free(3) takes.
fn c_copy(text: &[u8]) -> *mut c_char {
    // SAFETY: calloc has no preconditions, and its memory has room for the text and a NUL byte.
    unsafe {
        let copy = libc::calloc(text.len() + 1, 1).cast::<c_char>();
        ptr::copy_nonoverlapping(text.as_ptr().cast(), copy, text.len());
        copy
    }
}

fn c_string(bytes: &[u8]) -> CString {
    CString::new(bytes).expect("no NUL byte in it")
}

fn set_text(handle: *mut Opaque, item: c_int, value: &[u8]) {
    let value = c_string(value);
    // SAFETY: a live handle; libpam copies the text.
    let result = unsafe { pam_set_item(handle, item, value.as_ptr().cast()) };
    assert_eq!(result, SUCCESS, "pam_set_item({item})");
}

/// Called by pam_authenticate instead of sleeping: the longest delay a module asked for.
unsafe extern "C" fn no_delay(result: c_int, microseconds: c_uint, data: *mut c_void) {
    // SAFETY: libpam passes the data pointer of the conversation.
    let conversation = unsafe { &mut *data.cast::<Conversation>() };
    // libpam calls after every pam_authenticate, and varies the length by up to a quarter.
    conversation.saw("delay", format!("{result} {microseconds}"));
}

/// One handle, from pam_start to pam_end.
pub struct Transaction {
    handle: *mut Opaque,
    /// Also known to libpam, which calls back with it; therefore no reference is kept.
    conversation: *mut Conversation,
    last: c_int,
}

/// What pam_start is given.
pub struct Start<'a> {
    pub confdir: &'a [u8],
    pub service: &'a [u8],
    pub user: Option<&'a [u8]>,
    /// False: the application has no conversation function.
    pub talks: bool,
    pub answers: VecDeque<Answer>,
    pub gate: fn(),
}

impl Transaction {
    /// # Errors
    /// The code of pam_start, when it is not success.
    pub fn start(start: Start<'_>) -> Result<Self, c_int> {
        let conversation = Box::into_raw(Box::new(Conversation {
            answers: start.answers,
            events: Vec::new(),
            gate: start.gate,
            post: None,
            handle: ptr::null_mut(),
        }));
        let conv = Conv { converse: start.talks.then_some(converse as Converse), data: conversation.cast() };
        let (confdir, service) = (c_string(start.confdir), c_string(start.service));
        let user = start.user.map(c_string);
        let user = user.as_ref().map_or(ptr::null(), |name| name.as_ptr());
        let mut handle = ptr::null_mut();
        // SAFETY: C strings, a conversation that lives as long as the handle, room for the handle.
        let result = unsafe {
            pam_start_confdir(service.as_ptr(), user, &raw const conv, confdir.as_ptr(), &raw mut handle)
        };
        if result != SUCCESS {
            // SAFETY: made by Box::into_raw above, and no handle knows it.
            drop(unsafe { Box::from_raw(conversation) });
            return Err(result);
        }
        // SAFETY: alive until the transaction is dropped.
        unsafe { (*conversation).handle = handle };
        // SAFETY: a live handle; the item is the function itself, not a pointer to it.
        unsafe { pam_set_item(handle, ITEM_FAIL_DELAY, no_delay as *const c_void) };
        Ok(Self { handle, conversation, last: SUCCESS })
    }

    /// Calls one of the six functions; `None` for a name that is none of them.
    pub fn call(&mut self, name: &str, flags: c_int) -> Option<c_int> {
        let function: unsafe extern "C" fn(*mut Opaque, c_int) -> c_int = match name {
            "authenticate" => pam_authenticate,
            "account" => pam_acct_mgmt,
            "setcred" => pam_setcred,
            "open" => pam_open_session,
            "close" => pam_close_session,
            "chauthtok" => pam_chauthtok,
            _ => return None,
        };
        let establish = if name == "setcred" { ESTABLISH_CRED } else { 0 };
        // SAFETY: a live handle. libpam calls back into `conversation`, which nothing else borrows now.
        self.last = unsafe { function(self.handle, flags | establish) };
        Some(self.last)
    }

    /// Sets an item that is a text.
    pub fn set(&mut self, item: &str, value: &[u8]) {
        let number = match item {
            "user" => ITEM_USER,
            "tty" => 3,
            "rhost" => 4,
            "ruser" => 8,
            _ => panic!("no item {item}"),
        };
        set_text(self.handle, number, value);
    }

    /// A variable of the PAM environment, `NAME=value`.
    pub fn put_env(&mut self, pair: &[u8]) {
        let pair = c_string(pair);
        // SAFETY: a live handle; libpam copies the text.
        let result = unsafe { pam_putenv(self.handle, pair.as_ptr()) };
        assert_eq!(result, SUCCESS, "pam_putenv");
    }

    /// What was said since the last time it was taken.
    pub fn take_events(&mut self) -> Vec<Event> {
        // SAFETY: alive until the transaction is dropped, and no call of libpam is under way.
        std::mem::take(unsafe { &mut (*self.conversation).events })
    }

    /// Where the codes are that are sent.
    pub fn set_post(&mut self, post: Option<Post>) {
        // SAFETY: as above.
        unsafe { (*self.conversation).post = post };
    }

    /// Answers for the prompts to come, instead of those that are left.
    pub fn set_answers(&mut self, answers: VecDeque<Answer>) {
        // SAFETY: as above.
        unsafe { (*self.conversation).answers = answers };
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and nothing uses it afterwards; then nobody knows the
        // conversation, which Box::into_raw made.
        unsafe {
            pam_end(self.handle, self.last);
            drop(Box::from_raw(self.conversation));
        }
    }
}
