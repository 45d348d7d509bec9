//! A gateway for text messages and a mail server, on loopback: they show what they were sent and answer as they are told.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::PATIENCE;

/// Speaks HTTP. A request waits until the test has told the answer to it, before or after.
pub struct Gateway {
    pub address: SocketAddr,
    requests: Receiver<Request>,
    answers: Sender<String>,
}

/// Speaks SMTP. A mail waits at its end until the test has told the answer to it, before or after.
pub struct MailServer {
    pub address: SocketAddr,
    mails: Receiver<Mail>,
    answers: Sender<String>,
}

/// What came by HTTP.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    query: String,
    headers: Vec<(String, String)>,
    pub body: String,
}

/// What came by SMTP.
#[derive(Debug, Default)]
pub struct Mail {
    /// What the client logged in with, in base64.
    pub login: Option<String>,
    pub from: String,
    pub to: Vec<String>,
    headers: Vec<(String, String)>,
    pub body: String,
}

/// An address on loopback where nobody listens.
pub fn nobody_there() -> SocketAddr {
    listen().1
}

impl Gateway {
    pub fn start() -> Self {
        let (listener, address) = listen();
        let (seen, requests) = channel();
        let (answers, told) = channel::<String>();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(&stream);
                let Some(request) = Request::read(&mut reader) else { continue };
                let Ok(()) = seen.send(request) else { break };
                let Ok(answer) = told.recv() else { break };
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        Self { address, requests, answers }
    }

    /// Answers the next request.
    pub fn answer(&self, status: u16, body: &str) {
        self.answer_with(status, "", body);
    }

    /// Answers the next request, with these header lines too.
    pub fn answer_with(&self, status: u16, headers: &str, body: &str) {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
        self.answers.send(head + body).expect("the gateway's thread");
    }

    /// The next request.
    pub fn request(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).expect("a request to the gateway")
    }

    /// Whether there was one more request.
    pub fn has_request(&self) -> bool {
        self.requests.try_recv().is_ok()
    }
}

impl MailServer {
    pub fn start() -> Self {
        Self::refusing("nothing", "")
    }

    /// A server that gives this reply to one of the commands.
    pub fn refusing(command: &'static str, reply: &'static str) -> Self {
        let (listener, address) = listen();
        let (seen, mails) = channel();
        let (answers, told) = channel::<String>();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = talk(&stream, (command, reply), &seen, &told);
            }
        });
        Self { address, mails, answers }
    }

    /// Takes the next mail.
    pub fn accept(&self) {
        self.answers.send("250 2.0.0 queued\r\n".to_owned()).expect("the mail server's thread");
    }

    /// The next mail.
    pub fn mail(&self) -> Mail {
        self.mails.recv_timeout(PATIENCE).expect("a mail")
    }
}

impl Request {
    fn read(reader: &mut impl BufRead) -> Option<Self> {
        let line = read_line(reader)?;
        let mut words = line.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let headers = read_headers(reader)?;
        let length = named(&headers, "content-length").map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).expect("UTF-8");
        Some(Self { method, path, query, headers, body })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        named(&self.headers, name)
    }

    /// A field of the form, decoded: in the body of a POST, in the address of a GET.
    #[track_caller]
    pub fn field(&self, name: &str) -> String {
        let form = if self.method == "GET" { &self.query } else { &self.body };
        let mut values =
            form.split('&').filter_map(|field| field.split_once('=')).filter(|field| field.0 == name);
        let value = values.next().unwrap_or_else(|| panic!("no field {name}: {self:?}")).1;
        assert!(values.next().is_none(), "two fields {name}: {self:?}");
        percent_decoded(value)
    }

    /// The body as a JSON object of strings, sorted by name.
    pub fn json(&self) -> Vec<(String, String)> {
        let mut fields = object_of_strings(&self.body).unwrap_or_else(|| panic!("unlike JSON: {self:?}"));
        fields.sort();
        fields
    }
}

impl Mail {
    /// All headers of this name, in their order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|header| header.0.eq_ignore_ascii_case(name))
            .map(|header| header.1.as_str())
            .collect()
    }

    fn receive(&mut self, reader: &mut impl BufRead) -> Option<()> {
        self.headers = read_headers(reader)?;
        loop {
            let line = read_line(reader)?;
            if line == "." {
                return Some(());
            }
            self.body += line.strip_prefix('.').unwrap_or(&line);
            self.body.push('\n');
        }
    }
}

/// One session of a mail client.
fn talk(
    mut stream: &TcpStream,
    (refused, reply): (&str, &str),
    seen: &Sender<Mail>,
    told: &Receiver<String>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut mail = Mail::default();
    stream.write_all(b"220 test ESMTP\r\n").ok()?;
    loop {
        let line = read_line(&mut reader)?;
        let command = line.split(' ').next()?;
        let path = || line[line.find('<')? + 1..].split('>').next().map(str::to_owned);
        if command == refused {
            stream.write_all(format!("{reply}\r\n").as_bytes()).ok()?;
            continue;
        }
        let reply = match command {
            "EHLO" => "250-test\r\n250-AUTH PLAIN\r\n250 8BITMIME\r\n",
            "QUIT" => "221 bye\r\n",
            "AUTH" => {
                stream.write_all(b"334 \r\n").ok()?;
                mail.login = Some(read_line(&mut reader)?);
                "235 welcome\r\n"
            }
            "MAIL" => {
                mail.from = path()?;
                "250 ok\r\n"
            }
            "RCPT" => {
                mail.to.push(path()?);
                "250 ok\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go\r\n").ok()?;
                mail.receive(&mut reader)?;
                seen.send(std::mem::take(&mut mail)).ok()?;
                &told.recv().ok()?
            }
            _ => "500 what?\r\n",
        };
        stream.write_all(reply.as_bytes()).ok()?;
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

/// A line that ends as both protocols demand. Whoever ends it otherwise is to be seen.
fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.strip_suffix("\r\n").map(str::to_owned)
}

/// Up to the empty line. The second line of a long header would be seen as a header without a name.
fn read_headers(reader: &mut impl BufRead) -> Option<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Some(headers);
        }
        let (name, value) = line.split_once(':').unwrap_or(("", &line));
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn named<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1.as_str())
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let plain = |part: &str| part.replace('+', " ").into_bytes();
    let mut bytes = parts.next().map(plain).unwrap_or_default();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("two hexadecimal digits"));
        bytes.extend(plain(&part[2..]));
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// `{"name":"value",…}`, without spaces, as jq -c writes it.
fn object_of_strings(text: &str) -> Option<Vec<(String, String)>> {
    let mut rest = text.trim_end().strip_prefix('{')?;
    let mut fields = Vec::new();
    loop {
        let (name, after) = string(rest)?;
        let (value, after) = string(after.strip_prefix(':')?)?;
        fields.push((name, value));
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None => return (after == "}").then_some(fields),
        }
    }
}

/// A JSON string at the start of `text`, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let mut characters = text.strip_prefix('"')?.chars();
    let mut value = String::new();
    loop {
        value.push(match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => match characters.next()? {
                'n' => '\n',
                't' => '\t',
                'u' => {
                    let (digits, after) = characters.as_str().split_at_checked(4)?;
                    characters = after.chars();
                    char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
                }
                escaped @ ('"' | '\\' | '/') => escaped,
                _ => return None,
            },
            character => character,
        });
    }
}
