//! Conditions that ask a service about a password: saslauthd, pam (through saslauthd) and pwcheck over their unix
//! sockets, radius over UDP.
//!
//! A service that cannot be asked is a failure of the expansion, never "wrong password". Nothing of a password gets into
//! an error text. Manual section 11.7; RFC 2865 for radius.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use oxim_base::Text;

use super::radius;
use super::{Condition, ConditionRow, strings};
use crate::config::Status;
use crate::context::Context;
use crate::expand::{Body, ExpandError, Fault, Parser, elements};

/// How long a service may take.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(30);
/// Where saslauthd listens; the second is its place inside the directory of Postfix, the third that of Cyrus.
const SASLAUTHD_SOCKETS: [&str; 3] =
    ["/run/saslauthd/mux", "/var/spool/postfix/var/run/saslauthd/mux", "/var/state/saslauthd/mux"];
/// Where pwcheck listens.
const PWCHECK_SOCKET: &str = "/var/pwcheck/pwcheck";
/// The longest string of saslauthd's protocol.
const ANSWER_BYTES_MAX: usize = 1024;
/// The service name by which saslauthd's PAM knows this program.
const PAM_SERVICE: &str = "exim";

pub(super) static ROWS: &[&ConditionRow] = &[
    &row(
        "pam",
        "PAM accepts user and password, a list; saslauthd (`-a pam`) asks it, as service exim.",
        |p| one(p, "pam", pam),
    ),
    &row("pwcheck", "The pwcheck daemon accepts `user:password`.", |p| one(p, "pwcheck", pwcheck)),
    &row("radius", "A RADIUS server accepts user and password, a list.", |p| one(p, "radius", ask_radius)),
    &row("saslauthd", "The saslauthd daemon accepts user, password, service, realm.", |p| {
        Ok(Box::new(Saslauthd { strings: grouped(p)? }))
    }),
];

const fn row(
    name: &'static str,
    doc: &'static str,
    parse: fn(&mut Parser<'_>) -> Result<Box<dyn Condition>, Fault>,
) -> ConditionRow {
    ConditionRow {
        name,
        doc,
        examples: &[],
        status: Status::Works,
        may_block: true,
        sets_captures: false,
        parse,
    }
}

type Ask = fn(&Text) -> Result<bool, String>;

struct One {
    string: Body,
    name: &'static str,
    ask: Ask,
}

fn one(parser: &mut Parser<'_>, name: &'static str, ask: Ask) -> Result<Box<dyn Condition>, Fault> {
    Ok(Box::new(One { string: strings(parser, name, 1)?.pop().unwrap_or_default(), name, ask }))
}

impl Condition for One {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        need_own_rights(context, self.name)?;
        let string = self.string.expand(context)?;
        (self.ask)(&string).map_err(|reason| ExpandError::Failed(format!("{}: {reason}", self.name)))
    }
}

struct Saslauthd {
    strings: Vec<Body>,
}

/// A filter of a user must not try passwords with the rights of this process.
fn need_own_rights(context: &Context, name: &str) -> Result<(), ExpandError> {
    let what = format!("the condition \"{name}\"");
    crate::restrict::need_own_rights(context, &what).map_err(ExpandError::Failed)
}

/// Two to four strings in braces of their own.
fn grouped(parser: &mut Parser<'_>) -> Result<Vec<Body>, Fault> {
    if !parser.space_eat(b'{') {
        return parser.fault("missing { after \"saslauthd\"");
    }
    let mut bodies = Vec::new();
    while bodies.len() < 4 && parser.space_eat(b'{') {
        bodies.push(parser.body()?);
    }
    if bodies.len() < 2 || !parser.space_eat(b'}') {
        return parser.fault("too few arguments or bracketing error for saslauthd");
    }
    Ok(bodies)
}

impl Condition for Saslauthd {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        need_own_rights(context, "saslauthd")?;
        let mut texts = Vec::new();
        for body in &self.strings {
            texts.push(body.expand(context)?.into_bytes());
        }
        texts.resize(4, Vec::new());
        saslauthd(&SASLAUTHD_SOCKETS, &texts)
            .map_err(|reason| ExpandError::Failed(format!("saslauthd: {reason}")))
    }
}

/// Whether saslauthd accepts a user and a password. May block.
///
/// # Errors
/// It cannot be asked, or gives no answer; the text has nothing of the password.
pub fn saslauthd_accepts(user: &[u8], password: &[u8], service: &[u8], realm: &[u8]) -> Result<bool, String> {
    saslauthd(&SASLAUTHD_SOCKETS, &[user, password, service, realm].map(<[u8]>::to_vec))
}

/// User, password, service and realm go as counted strings; `OK` or `NO` comes back in the same way.
fn saslauthd<P: AsRef<Path>>(sockets: &[P], strings: &[Vec<u8>]) -> Result<bool, String> {
    let mut request = Vec::new();
    for string in strings {
        let length = u16::try_from(string.len()).ok().filter(|n| usize::from(*n) < ANSWER_BYTES_MAX);
        let length = length.ok_or("a string is too long")?;
        request.extend(length.to_be_bytes());
        request.extend_from_slice(string);
    }
    let mut stream = connect(sockets)?;
    let mut ask = || -> io::Result<Vec<u8>> {
        stream.write_all(&request)?;
        let mut length = [0_u8; 2];
        stream.read_exact(&mut length)?;
        let length = usize::from(u16::from_be_bytes(length)).min(ANSWER_BYTES_MAX);
        let mut answer = vec![0_u8; length];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    verdict(&ask().map_err(|error| oxim_base::errno::error_text(&error))?)
}

fn verdict(answer: &[u8]) -> Result<bool, String> {
    match answer.get(..2) {
        Some(b"OK") => Ok(true),
        Some(b"NO") => Ok(false),
        _ => Err("the answer is neither OK nor NO".to_owned()),
    }
}

/// The first of the sockets that accepts a connection.
fn connect<P: AsRef<Path>>(sockets: &[P]) -> Result<UnixStream, String> {
    let mut problem = "no socket".to_owned();
    for path in sockets {
        match UnixStream::connect(path) {
            Ok(stream) => {
                let timeouts = stream
                    .set_read_timeout(Some(SERVICE_TIMEOUT))
                    .and_then(|()| stream.set_write_timeout(Some(SERVICE_TIMEOUT)));
                return timeouts.map(|()| stream).map_err(|error| oxim_base::errno::error_text(&error));
            }
            Err(error) => {
                problem = format!(
                    "cannot connect to {}: {}",
                    path.as_ref().display(),
                    oxim_base::errno::error_text(&error)
                );
            }
        }
    }
    Err(problem)
}

/// User and password out of a list with colons.
fn user_and_password(list: &Text) -> Result<[Vec<u8>; 2], String> {
    let mut items = elements::split(list).items.into_iter().map(Text::into_bytes);
    match (items.next(), items.next(), items.next()) {
        (Some(user), Some(password), None) => Ok([user, password]),
        _ => Err("user and password are expected, separated by a colon".to_owned()),
    }
}

fn pam(list: &Text) -> Result<bool, String> {
    let [user, password] = user_and_password(list)?;
    if user.is_empty() {
        return Ok(false);
    }
    saslauthd(&SASLAUTHD_SOCKETS, &[user, password, PAM_SERVICE.into(), Vec::new()])
}

fn ask_radius(list: &Text) -> Result<bool, String> {
    let [user, password] = user_and_password(list)?;
    radius::Client::configured()?.accepts(&user, &password)
}

fn pwcheck(pair: &Text) -> Result<bool, String> {
    pwcheck_at(Path::new(PWCHECK_SOCKET), pair.as_bytes())
}

/// User and password, each ended by a zero byte; `OK` comes back, or the reason why not.
fn pwcheck_at(socket: &Path, pair: &[u8]) -> Result<bool, String> {
    let colon = memchr::memchr(b':', pair).ok_or("user and password are expected, separated by a colon")?;
    let (user, password) = pair.split_at_checked(colon).unwrap_or_default();
    let request = [user, b"\0", password.get(1..).unwrap_or_default(), b"\0"].concat();
    let mut stream = connect(&[socket])?;
    let mut answer = Vec::new();
    let mut ask = || -> io::Result<()> {
        stream.write_all(&request)?;
        (&mut stream).take(ANSWER_BYTES_MAX as u64).read_to_end(&mut answer).map(|_| ())
    };
    ask().map_err(|error| oxim_base::errno::error_text(&error))?;
    if answer.is_empty() {
        return Err("no answer".to_owned());
    }
    Ok(answer.starts_with(b"OK"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A service that takes one request and gives one answer.
    fn service(
        answer: &'static [u8],
        request_bytes: usize,
    ) -> (tempfile::TempDir, std::thread::JoinHandle<Vec<u8>>) {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("mux")).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; request_bytes];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            request
        });
        (folder, server)
    }

    #[test]
    fn saslauthd_is_asked_with_counted_strings() {
        let strings = [b"bob".to_vec(), b"secret".to_vec(), b"smtp".to_vec(), Vec::new()];
        for (answer, expected) in [
            (&b"\0\x02OK"[..], Ok(true)),
            (b"\0\x09NO nothing", Ok(false)),
            (b"\0\x02ER", Err("the answer is neither OK nor NO".to_owned())),
        ] {
            let (folder, server) = service(answer, 21);
            assert_eq!(saslauthd(&[folder.path().join("mux")], &strings), expected);
            assert_eq!(server.join().unwrap(), b"\0\x03bob\0\x06secret\0\x04smtp\0\0");
        }
        assert!(saslauthd(&["/no/such/socket"], &strings).unwrap_err().contains("No such file"));
    }

    #[test]
    fn pwcheck_is_asked_with_two_strings() {
        let (folder, server) = service(b"OK", 9);
        assert_eq!(pwcheck_at(&folder.path().join("mux"), b"bob:pa:s"), Ok(true));
        assert_eq!(server.join().unwrap(), b"bob\0pa:s\0");
        assert!(pwcheck_at(Path::new("/no/such/socket"), b"bob:x").is_err());
    }
}
