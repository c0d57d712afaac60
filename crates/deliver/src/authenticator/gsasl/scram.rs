//! SCRAM, the messages and the arithmetic of both sides (RFC 5802, RFC 7677; channel binding `tls-exporter`, RFC 9266).
//!
//! Nothing here talks or expands: the driver does. User names and passwords are taken as they are, without the preparation of
//! characters beyond ASCII that RFC 4013 asks for. Failure mode of reading: [`Malformed`], whatever is wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::super::is_equal;

/// The least number of iterations that the standards allow.
pub const ITERATIONS_MIN: u32 = 4096;
/// The greatest that is computed: about a second's work.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// Longest message of the other side.
const MESSAGE_BYTES_MAX: usize = 8192;

/// What the other side sent makes no sense, or must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The digest of a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digests {
    /// SCRAM-SHA-1.
    Sha1,
    /// SCRAM-SHA-256.
    Sha256,
}

fn mac<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
    // Keys of this kind have any length.
    let Ok(mut mac) = <M as Mac>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn iterated<M: Mac + KeyInit + Clone>(password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
    let Ok(keyed) = <M as Mac>::new_from_slice(password) else { return Vec::new() };
    let mut step = keyed.clone();
    step.update(salt);
    step.update(&1_u32.to_be_bytes());
    let mut last = step.finalize().into_bytes();
    let mut sum = last.to_vec();
    for _ in 1..iterations {
        let mut step = keyed.clone();
        step.update(&last);
        last = step.finalize().into_bytes();
        for (total, byte) in sum.iter_mut().zip(&last) {
            *total ^= byte;
        }
    }
    sum
}

impl Digests {
    /// Bytes of a digest, and of each key.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Digests::Sha1 => 20,
            Digests::Sha256 => 32,
        }
    }

    /// Never.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }

    fn mac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        match self {
            Digests::Sha1 => mac::<Hmac<Sha1>>(key, text),
            Digests::Sha256 => mac::<Hmac<Sha256>>(key, text),
        }
    }

    fn hash(self, text: &[u8]) -> Vec<u8> {
        match self {
            Digests::Sha1 => Sha1::digest(text).to_vec(),
            Digests::Sha256 => Sha256::digest(text).to_vec(),
        }
    }

    /// The salted password.
    #[must_use]
    pub fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        match self {
            Digests::Sha1 => iterated::<Hmac<Sha1>>(password, salt, iterations),
            Digests::Sha256 => iterated::<Hmac<Sha256>>(password, salt, iterations),
        }
    }
}

/// What a server knows of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// With which the client's proof is checked.
    pub stored: Vec<u8>,
    /// With which the server proves itself.
    pub server: Vec<u8>,
}

impl Keys {
    /// The keys of a salted password.
    #[must_use]
    pub fn of(digests: Digests, salted: &[u8]) -> Keys {
        Keys {
            stored: digests.hash(&digests.mac(salted, b"Client Key")),
            server: digests.mac(salted, b"Server Key"),
        }
    }
}

/// What a client says of channel binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// It cannot.
    Unsupported,
    /// It could, and thinks that the server cannot.
    Unoffered,
    /// It binds, with a method of this name.
    Named(Vec<u8>),
}

/// A client's first message, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFirst {
    /// What it says of channel binding.
    pub binding: Binding,
    /// Whom it wants to act as; empty if as itself.
    pub authorization: Vec<u8>,
    /// Who it is.
    pub user: Vec<u8>,
    /// Its nonce.
    pub nonce: Vec<u8>,
    /// The part before the bare message.
    pub header: Vec<u8>,
    /// The rest.
    pub bare: Vec<u8>,
}

/// A name in which comma and equals sign stand for themselves again.
fn decoded_name(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'=' {
            name.push(byte);
        } else if let Some(tail) = rest.strip_prefix(b"2C") {
            name.push(b',');
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix(b"3D") {
            name.push(b'=');
            rest = tail;
        } else {
            return Err(Malformed);
        }
    }
    Ok(name)
}

/// A name as it stands in a message.
#[must_use]
pub fn encoded_name(name: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b',' => text.extend_from_slice(b"=2C"),
            b'=' => text.extend_from_slice(b"=3D"),
            other => text.push(*other),
        }
    }
    text
}

/// The value of an attribute if the text is that attribute.
fn attribute(text: Option<&[u8]>, letter: u8) -> Result<&[u8], Malformed> {
    match text {
        Some([first, b'=', value @ ..]) if *first == letter => Ok(value),
        Some(_) | None => Err(Malformed),
    }
}

fn is_nonce(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_graphic)
}

impl ClientFirst {
    /// Reads it.
    ///
    /// # Errors
    /// It is none, or asks for an extension.
    pub fn read(message: &[u8]) -> Result<ClientFirst, Malformed> {
        if message.len() > MESSAGE_BYTES_MAX || message.contains(&0) {
            return Err(Malformed);
        }
        let mut parts = message.split(|byte| *byte == b',');
        let binding = parts.next().ok_or(Malformed)?;
        let authorization = parts.next().ok_or(Malformed)?;
        let header_length = binding.len().checked_add(authorization.len()).and_then(|n| n.checked_add(2));
        let (header, bare) =
            header_length.and_then(|length| message.split_at_checked(length)).ok_or(Malformed)?;
        let binding = match binding {
            b"n" => Binding::Unsupported,
            b"y" => Binding::Unoffered,
            other => Binding::Named(attribute(Some(other), b'p')?.to_vec()),
        };
        let authorization = match authorization {
            b"" => Vec::new(),
            other => decoded_name(attribute(Some(other), b'a')?)?,
        };
        let user = decoded_name(attribute(parts.next(), b'n')?)?;
        let nonce = attribute(parts.next(), b'r')?;
        if user.is_empty() || !is_nonce(nonce) {
            return Err(Malformed);
        }
        let (nonce, header, bare) = (nonce.to_vec(), header.to_vec(), bare.to_vec());
        Ok(ClientFirst { binding, authorization, user, nonce, header, bare })
    }
}

/// A server's first message, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFirst {
    /// Both nonces.
    pub nonce: Vec<u8>,
    /// The salt.
    pub salt: Vec<u8>,
    /// How often the digest is computed.
    pub iterations: u32,
}

impl ServerFirst {
    /// Reads the answer to a client's nonce.
    ///
    /// # Errors
    /// It is none, does not go on from the client's nonce, or asks for too little or too much work.
    pub fn read(message: &[u8], client_nonce: &[u8]) -> Result<ServerFirst, Malformed> {
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(Malformed);
        }
        let mut parts = message.split(|byte| *byte == b',');
        let nonce = attribute(parts.next(), b'r')?;
        let salt = STANDARD.decode(attribute(parts.next(), b's')?).map_err(|_| Malformed)?;
        let iterations = attribute(parts.next(), b'i')?;
        let iterations = std::str::from_utf8(iterations).ok().and_then(|text| text.parse().ok());
        let iterations =
            iterations.filter(|count| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(count)).ok_or(Malformed)?;
        if !nonce.starts_with(client_nonce) || nonce.len() <= client_nonce.len() || !is_nonce(nonce) {
            return Err(Malformed);
        }
        Ok(ServerFirst { nonce: nonce.to_vec(), salt, iterations })
    }

    /// Writes it.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let salt = STANDARD.encode(&self.salt);
        [b"r=", self.nonce.as_slice(), format!(",s={salt},i={}", self.iterations).as_bytes()].concat()
    }
}

/// What both sides sign.
fn signed(client_first_bare: &[u8], server_first: &[u8], without_proof: &[u8]) -> Vec<u8> {
    [client_first_bare, server_first, without_proof].join(&b',')
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// Judges the client's last message. Gives the server's last one if the proof is right, None if it is wrong.
///
/// # Errors
/// The message is none, or is not of this exchange.
pub fn judge(
    digests: Digests,
    keys: &Keys,
    first: &ClientFirst,
    server_first: &ServerFirst,
    bound: &[u8],
    message: &[u8],
) -> Result<Option<Vec<u8>>, Malformed> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Malformed);
    }
    let at = memchr::memmem::rfind(message, b",p=").ok_or(Malformed)?;
    let (without_proof, proof) = message.split_at_checked(at).ok_or(Malformed)?;
    let proof = proof.strip_prefix(b",p=").and_then(|text| STANDARD.decode(text).ok()).ok_or(Malformed)?;
    let mut parts = without_proof.split(|byte| *byte == b',');
    let binding = STANDARD.decode(attribute(parts.next(), b'c')?).map_err(|_| Malformed)?;
    let nonce = attribute(parts.next(), b'r')?;
    if !is_equal(nonce, &server_first.nonce) || proof.len() != digests.len() {
        return Err(Malformed);
    }
    if !is_equal(&binding, &[first.header.as_slice(), bound].concat()) {
        return Ok(None);
    }
    let text = signed(&first.bare, &server_first.write(), without_proof);
    let client_key = xor(&proof, &digests.mac(&keys.stored, &text));
    if !is_equal(&digests.hash(&client_key), &keys.stored) {
        return Ok(None);
    }
    let signature = STANDARD.encode(digests.mac(&keys.server, &text));
    Ok(Some(format!("v={signature}").into_bytes()))
}

/// The client's last message, and the server's last one as it must be.
#[must_use]
pub fn prove(
    digests: Digests,
    salted: &[u8],
    header: &[u8],
    bound: &[u8],
    client_first_bare: &[u8],
    server_first: (&[u8], &[u8]),
) -> (Vec<u8>, Vec<u8>) {
    let (server_first, nonce) = server_first;
    let binding = STANDARD.encode([header, bound].concat());
    let without_proof = [b"c=", binding.as_bytes(), b",r=", nonce].concat();
    let text = signed(client_first_bare, server_first, &without_proof);
    let client_key = digests.mac(salted, b"Client Key");
    let signature = digests.mac(&digests.hash(&client_key), &text);
    let proof = STANDARD.encode(xor(&client_key, &signature));
    let server = STANDARD.encode(digests.mac(&digests.mac(salted, b"Server Key"), &text));
    ([without_proof.as_slice(), b",p=", proof.as_bytes()].concat(), format!("v={server}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Example {
        digests: Digests,
        client_first: &'static [u8],
        server_first: &'static [u8],
        client_final: &'static [u8],
        server_final: &'static [u8],
    }

    // RFC 5802 section 5, RFC 7677 section 3: user "user", password "pencil".
    const EXAMPLES: [Example; 2] = [
        Example {
            digests: Digests::Sha1,
            client_first: b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            server_first: b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            client_final: b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            server_final: b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        },
        Example {
            digests: Digests::Sha256,
            client_first: b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            server_first: b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            client_final: b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            server_final: b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        },
    ];

    #[test]
    fn the_examples_of_the_rfcs() {
        for example in EXAMPLES {
            let first = ClientFirst::read(example.client_first).unwrap();
            let server = ServerFirst::read(example.server_first, &first.nonce).unwrap();
            assert_eq!(server.write(), example.server_first);
            let salted = example.digests.salted(b"pencil", &server.salt, server.iterations);
            let (client_final, expected) = prove(
                example.digests,
                &salted,
                &first.header,
                b"",
                &first.bare,
                (example.server_first, &server.nonce),
            );
            assert_eq!(client_final, example.client_final);
            assert_eq!(expected, example.server_final);
            let keys = Keys::of(example.digests, &salted);
            let judged = |keys: &Keys, bound: &[u8], text: &[u8]| {
                judge(example.digests, keys, &first, &server, bound, text)
            };
            assert_eq!(judged(&keys, b"", example.client_final), Ok(Some(example.server_final.to_vec())));
            let wrong = Keys::of(example.digests, b"x");
            assert_eq!(judged(&wrong, b"", example.client_final), Ok(None));
            assert_eq!(judged(&keys, b"other channel", example.client_final), Ok(None));
            assert_eq!(judged(&keys, b"", b"c=biws,r=other,p=AAAA"), Err(Malformed));
        }
    }

    #[test]
    fn first_messages_are_read_strictly() {
        let read = ClientFirst::read(b"p=tls-exporter,a=b=2Cc,n=a=3Db,r=x,ext=1").unwrap();
        assert_eq!(read.binding, Binding::Named(b"tls-exporter".to_vec()));
        assert_eq!((read.authorization, read.user), (b"b,c".to_vec(), b"a=b".to_vec()));
        assert_eq!(encoded_name(b"a=b,c"), b"a=3Db=2Cc");
        for bad in
            ["", "n,,", "n,,n=,r=x", "n,,n=a,r=", "z,,n=a,r=b", "n,,m=1,n=a,r=b", "n,,n=a=,r=b", "n,n=a,r=b"]
        {
            assert_eq!(ClientFirst::read(bad.as_bytes()), Err(Malformed), "{bad}");
        }
        for bad in
            ["r=x,s=AAAA,i=4096", "r=xy,s=?,i=4096", "r=xy,s=AAAA,i=1", "r=xy,s=AAAA,i=9999999999", "e=no"]
        {
            assert_eq!(ServerFirst::read(bad.as_bytes(), b"x"), Err(Malformed), "{bad}");
        }
    }
}
