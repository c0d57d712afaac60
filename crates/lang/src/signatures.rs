//! DKIM as the language sees it: what verification found, and the signature that the DKIM ACL is looking at.
//!
//! The words are those of Exim's variables and of its Authentication-Results: lines. Manual chapter 58.

use oxim_base::Text;
use oxim_mailauth::dkim::key::KeyRecord;
use oxim_mailauth::dkim::signature::Signature;
use oxim_mailauth::dkim::verify::{Checked, Status};

/// One signature, with the words that an ACL may have changed.
#[derive(Clone, Debug)]
pub struct DkimResult {
    /// What verification found.
    pub checked: Checked,
    /// `$dkim_verify_status`.
    pub status: Text,
    /// `$dkim_verify_reason`.
    pub reason: Text,
}

impl DkimResult {
    /// The result as verification left it.
    #[must_use]
    pub fn new(checked: Checked) -> DkimResult {
        let (status, reason) = (Text::from(checked.status.word()), Text::from(checked.status.reason()));
        DkimResult { checked, status, reason }
    }

    /// Whether it counts as good, after what an ACL may have said.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status.as_bytes() == b"pass"
    }

    /// Whether an ACL has changed what verification found.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.status.as_bytes() != self.checked.status.word().as_bytes()
            || self.reason.as_bytes() != self.checked.status.reason().as_bytes()
    }

    /// Its part of an Authentication-Results: line.
    #[must_use]
    pub fn authentication_result(&self) -> Vec<u8> {
        let signature = &self.checked.signature;
        let mut out = b"dkim=".to_vec();
        if self.is_changed() {
            let why = [self.status.as_bytes(), b" - ", self.reason.as_bytes()].concat();
            out.extend_from_slice(b"policy ");
            out.extend_from_slice(&crate::expand::authresults_comment(&why));
        } else {
            out.extend_from_slice(self.result_text().as_bytes());
        }
        let identity = signature.identity.as_deref().unwrap_or_default();
        for (name, value) in [
            ("d", signature.domain.as_slice()),
            ("i", identity),
            ("s", &signature.selector),
            ("a", &signature.algorithm),
        ] {
            if !value.is_empty() {
                let value = crate::expand::authresults_value(value);
                out.extend_from_slice(&[b" header.", name.as_bytes(), b"=", &value].concat());
            }
        }
        out
    }

    fn result_text(&self) -> String {
        let (word, comment) = match self.checked.status {
            Status::Pass => return "pass".to_owned(),
            Status::NotVerified => return "none".to_owned(),
            Status::BodyHash => ("fail", "body hash mismatch; body probably modified in transit"),
            Status::Wrong => ("fail", "signature did not verify; headers probably modified in transit"),
            Status::ShortKey => {
                let bits = self.checked.key.as_ref().and_then(KeyRecord::bits).unwrap_or_default();
                return format!("fail (public key too short: {bits} bits)\n\t\t");
            }
            Status::NotAllowed => ("fail", "unspecified reason"),
            Status::NoKey | Status::KeyLater => ("tmperror", "pubkey unavailable"),
            Status::KeyRecord | Status::KeyData => ("neutral", "public key record import problem"),
            Status::Version => ("neutral", "unsupported DKIM version"),
            Status::Syntax => ("neutral", "signature tag missing or invalid"),
        };
        format!("{word} ({comment})\n\t\t")
    }
}

/// What is known of the signatures of the message in hand.
#[derive(Clone, Debug, Default)]
pub struct DkimFacts {
    /// All signatures that were looked at, in the order of their lines.
    pub results: Vec<DkimResult>,
    /// `$dkim_signers`, a list.
    pub signers: Vec<u8>,
    /// `$dkim_cur_signer`.
    pub current_signer: Vec<u8>,
    /// The signature in hand.
    pub current: Option<usize>,
    /// `$dkim_verify_status`; after the last run of the DKIM ACL, those of all runs.
    pub status: Text,
    /// `$dkim_verify_reason`.
    pub reason: Text,
}

impl DkimFacts {
    /// The facts about these signatures, before any ACL has run.
    #[must_use]
    pub fn new(checked: Vec<Checked>) -> DkimFacts {
        let mut signers: Vec<Vec<u8>> = Vec::new();
        for found in &checked {
            let signature = &found.signature;
            for signer in [Some(&signature.domain), signature.identity.as_ref()].into_iter().flatten() {
                if !signer.is_empty() {
                    signers.push(signer.clone());
                }
            }
        }
        DkimFacts {
            results: checked.into_iter().map(DkimResult::new).collect(),
            signers: signers.join(b":".as_slice()),
            ..DkimFacts::default()
        }
    }

    /// The signature in hand.
    #[must_use]
    pub fn signature(&self) -> Option<&Signature> {
        self.checked().map(|checked| &checked.signature)
    }

    /// What verification found about the signature in hand.
    #[must_use]
    pub fn checked(&self) -> Option<&Checked> {
        self.results.get(self.current?).map(|result| &result.checked)
    }

    /// The signatures of a domain or identity.
    #[must_use]
    pub fn of_signer(&self, signer: &[u8]) -> Vec<usize> {
        let is_of = |result: &DkimResult| {
            let signature = &result.checked.signature;
            signature.domain.eq_ignore_ascii_case(signer)
                || signature.identity.as_ref().is_some_and(|identity| identity.eq_ignore_ascii_case(signer))
        };
        self.results.iter().enumerate().filter(|(_, result)| is_of(result)).map(|(index, _)| index).collect()
    }

    /// Turns to a signer, and to one of its signatures if it has any.
    pub fn turn_to(&mut self, signer: &[u8], index: Option<usize>) {
        self.current_signer = signer.to_vec();
        self.current = index;
        let result = index.and_then(|index| self.results.get(index));
        self.status = result.map_or_else(|| Text::from("none"), |result| result.status.clone());
        self.reason = result.map_or_else(Text::new, |result| result.reason.clone());
    }

    /// Keeps what the ACL has made of the signature in hand.
    pub fn keep(&mut self) {
        if let Some(result) = self.current.and_then(|index| self.results.get_mut(index)) {
            result.status = self.status.clone();
            result.reason = self.reason.clone();
        }
    }
}
