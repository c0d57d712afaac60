//! Proofs made by OpenSSL, judged here.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

/// An authority, a certificate of it, and somebody whom it lets sign proofs; OpenSSL's index says what has become of the certificate.
struct Ground {
    folder: tempfile::TempDir,
}

fn sh(folder: &Path, script: &str) {
    let status = Command::new("sh")
        .args(["-ec", script])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
}

const MAKE: &str = r#"
printf 'basicConstraints=critical,CA:TRUE\n' > ca.ext
printf 'extendedKeyUsage=OCSPSigning\n' > signer.ext
printf 'subjectAltName=DNS:mx.example\n' > leaf.ext
key() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; }
for n in ca other; do
  key $n
  openssl req -new -key $n.key -subj "/CN=Authority" -out $n.csr
  openssl x509 -req -in $n.csr -signkey $n.key -days 30 -set_serial 1 -extfile ca.ext -out $n.pem
done
for n in signer leaf plain; do
  key $n
  openssl req -new -key $n.key -subj "/CN=$n" -out $n.csr
done
openssl x509 -req -in signer.csr -CA ca.pem -CAkey ca.key -days 30 -set_serial 2 -extfile signer.ext -out signer.pem
openssl x509 -req -in plain.csr -CA ca.pem -CAkey ca.key -days 30 -set_serial 3 -out plain.pem
openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -days 30 -set_serial 0x80a1 -extfile leaf.ext -out leaf.pem
for n in ca other leaf; do openssl x509 -in $n.pem -outform DER -out $n.der; done
line() { printf "$1\t991231235959Z\t$2\t80A1\tunknown\t/CN=leaf\n" > index.$3; }
line V "" good
line R 260101000000Z,keyCompromise revoked
sed 's/80A1/80A2/' index.good > index.unknown
openssl ocsp -issuer ca.pem -cert leaf.pem -no_nonce -reqout request.der
"#;

impl Ground {
    fn new() -> Ground {
        let folder = tempfile::tempdir().unwrap();
        sh(folder.path(), MAKE);
        Ground { folder }
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap()
    }

    fn proof(&self, index: &str, signer: &str, more: &str) -> Vec<u8> {
        let script = format!(
            "openssl ocsp -index index.{index} -CA ca.pem -rsigner {signer}.pem -rkey {signer}.key -reqin request.der -respout proof.der {more}"
        );
        sh(self.folder.path(), &script);
        self.read("proof.der")
    }

    fn judge(&self, proof: &[u8], issuer: &str, later: i64) -> Result<Validity, Fault> {
        let now = UnixTime::now().as_secs().saturating_add_signed(later);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let issuer = self.read(issuer);
        Proof::parse(proof)?.judge(&self.read("leaf.der"), &[&issuer], now)
    }
}

#[test]
fn proofs_of_openssl() {
    let ground = Ground::new();
    let good = ground.proof("good", "signer", "-ndays 2");
    let validity = ground.judge(&good, "ca.der", 0).unwrap();
    assert_eq!(validity.until - validity.since, 2 * 86_400 + 2 * SKEW_SECONDS);
    assert!(validity.contains(UnixTime::now()));
    assert_eq!(ground.judge(&good, "ca.der", 3 * 86_400), Err(Fault::Dates));
    // Another authority of the same name has not issued the certificate.
    assert_eq!(ground.judge(&good, "other.der", 0), Err(Fault::Unverifiable));
    let by_the_issuer = ground.proof("good", "ca", "-ndays 2 -resp_no_certs");
    assert!(ground.judge(&by_the_issuer, "ca.der", 0).is_ok());
    assert_eq!(ground.judge(&by_the_issuer, "ca.der", -86_400), Err(Fault::Dates));
    // Yesterday the signer had no certificate yet.
    assert_eq!(ground.judge(&good, "ca.der", -86_400), Err(Fault::Unverifiable));
    let by_key = ground.proof("good", "signer", "-ndays 2 -resp_key_id");
    assert!(ground.judge(&by_key, "ca.der", 0).is_ok());
    let revoked = ground.proof("revoked", "signer", "-ndays 2");
    let fault = Fault::Revoked { reason: Some("keyCompromise") };
    assert_eq!(ground.judge(&revoked, "ca.der", 0), Err(fault.clone()));
    assert_eq!(fault.client_log_line(), "Server certificate revoked; reason: keyCompromise");
    let unknown = ground.proof("unknown", "signer", "-ndays 2");
    assert_eq!(ground.judge(&unknown, "ca.der", 0), Err(Fault::Unknown));
    let endless = ground.proof("good", "signer", "");
    assert_eq!(ground.judge(&endless, "ca.der", 0), Err(Fault::NoNextUpdate));
    let unauthorized = ground.proof("good", "plain", "-ndays 2");
    assert_eq!(ground.judge(&unauthorized, "ca.der", 0), Err(Fault::Unverifiable));
    let without_signer = ground.proof("good", "signer", "-ndays 2 -resp_no_certs");
    assert_eq!(ground.judge(&without_signer, "ca.der", 0), Err(Fault::Unverifiable));
}

#[test]
fn chains_and_trust_decide_who_counts_as_issuer() {
    let ground = Ground::new();
    let good = ground.proof("good", "signer", "-ndays 2");
    let der = |name: &str| CertificateDer::from(ground.read(name));
    let chain = [der("leaf.der"), der("ca.der")];
    let ca = |name: &str| CaSource::Path(ground.folder.path().join(name));
    let judge = |chain: &[CertificateDer<'_>], trusted, name: &str| {
        judge_staple(&good, chain, trusted, &ca(name), UnixTime::now())
    };
    assert!(judge(&chain[..1], false, "ca.pem").is_ok());
    assert!(judge(&chain, true, "other.pem").is_ok());
    assert_eq!(judge(&chain, false, "other.pem"), Err(Fault::Unverifiable));
    assert_eq!(judge(&chain, false, "nothing.pem"), Err(Fault::Unverifiable));
    assert_eq!(judge(&chain[1..], true, "ca.pem"), Err(Fault::OtherCertificate));
    assert_eq!(judge(&[], true, "ca.pem"), Err(Fault::OtherCertificate));
}

#[test]
fn spoilt_proofs_prove_nothing() {
    let ground = Ground::new();
    let good = ground.proof("good", "signer", "-ndays 2");
    assert!(ground.judge(&good, "ca.der", 0).is_ok());
    for at in 0..good.len() {
        let mut spoilt = good.clone();
        spoilt[at] ^= 0x40;
        // Only bytes that nobody signs may change: those of the certificates' own signatures cannot, either.
        assert!(ground.judge(&spoilt, "ca.der", 0).is_err(), "byte {at}");
        assert_eq!(Proof::parse(&good[..at]), Err(Fault::Malformed));
    }
    // RFC 6960 section 4.2.1: tryLater.
    assert_eq!(Proof::parse(&[0x30, 3, 0x0a, 1, 3]), Err(Fault::Unsuccessful(3)));
    assert_eq!(Proof::parse(b"nonsense"), Err(Fault::Malformed));
}

#[test]
fn pem_files() {
    let ground = Ground::new();
    let good = ground.proof("good", "signer", "-ndays 2");
    sh(
        ground.folder.path(),
        "(echo '-----BEGIN OCSP RESPONSE-----'; openssl base64 -in proof.der; echo '-----END OCSP RESPONSE-----') > proof.pem",
    );
    assert_eq!(from_pem(&ground.read("proof.pem")), Some(good));
    assert_eq!(from_pem(b"-----BEGIN OCSP RESPONSE-----\n"), None);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = Proof::parse(&bytes);
    }
}
