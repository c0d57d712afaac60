//! `oxim ocsp-fetch`, also called `ocsp_fetch.pl`: fetches OCSP proofs for `tls_ocsp_file` before they expire; and the daemon's timer that does
//! the same (`tls_ocsp_fetch_interval`).
//!
//! A proof that is there and has more than half of its time left is not fetched again. Exit codes: 0 if there is a good proof in the
//! end, 1 if not, 2 for wrong arguments.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oxim_base::clock::{Stamp, Zone};
use oxim_base::errno::error_text;
use oxim_lang::context::Context;
use oxim_lang::list::split;
use oxim_net::dns::{Family, Lookup};
use oxim_net::tls::ocsp::{self, Validity, Wish};
use oxim_net::tls::{CaSource, TlsFacts};
use oxim_receive::tls::{NotReady, TlsOptions};

use crate::args::CommandLine;

const USAGE: &str =
    "usage: oxim ocsp-fetch [-C FILE] [--force] [--issuer FILE] [--url URL] [--pem] [CERTIFICATE PROOF]";

/// The arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    configuration: Option<Vec<u8>>,
    is_forced: bool,
    issuer: Option<PathBuf>,
    url: Option<String>,
    as_pem: bool,
    /// The certificate's file and the proof's; those of the configuration when unset.
    files: Option<(PathBuf, PathBuf)>,
}

impl Order {
    /// Reads the words. None: they make no sense.
    pub(crate) fn read(words: &[Vec<u8>]) -> Option<Order> {
        let path = |word: &Vec<u8>| PathBuf::from(OsStr::from_bytes(word));
        let mut order = Order::default();
        let mut files = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_slice() {
                b"-C" => order.configuration = Some(words.next()?.clone()),
                b"--force" => order.is_forced = true,
                b"--pem" => order.as_pem = true,
                b"--issuer" => order.issuer = Some(path(words.next()?)),
                b"--url" => order.url = Some(String::from_utf8(words.next()?.clone()).ok()?),
                option if option.starts_with(b"-") => return None,
                _ => files.push(path(word)),
            }
        }
        order.files = match <[PathBuf; 2]>::try_from(files) {
            Ok([certificate, proof]) => Some((certificate, proof)),
            Err(files) if files.is_empty() => None,
            Err(_) => return None,
        };
        let is_of_files = order.issuer.is_some() || order.url.is_some() || order.as_pem;
        (order.files.is_some() || !is_of_files).then_some(order)
    }

    /// The command line for the configuration that is read.
    pub(crate) fn line(&self) -> CommandLine {
        CommandLine::of_configuration(self.configuration.as_deref())
    }
}

/// Tells how it is called.
pub(crate) fn usage() -> u8 {
    complain!("{USAGE}");
    2
}

/// One proof that is wanted, and its file.
struct Job {
    wish: Wish,
    proof: PathBuf,
    as_pem: bool,
}

/// Fetches what the order wants.
pub(crate) fn run(context: &mut Context, order: &Order) -> u8 {
    let jobs = match &order.files {
        Some((certificate, proof)) => Ok(vec![Job {
            wish: Wish {
                certificate: certificate.clone(),
                ca: order.issuer.clone().map_or(CaSource::System, CaSource::Path),
                url: order.url.clone(),
            },
            proof: proof.clone(),
            as_pem: order.as_pem,
        }]),
        None => jobs(context),
    };
    let jobs = match jobs {
        Ok(jobs) => jobs,
        Err(text) => {
            complain!("{text}");
            return 1;
        }
    };
    if jobs.is_empty() {
        complain!("tls_ocsp_file names no file");
        return 1;
    }
    let mut code = 0;
    for job in &jobs {
        match settle(job, context, order.is_forced) {
            Ok(Settled::Kept(validity)) => {
                say!("{}: still good until {}", job.proof.display(), time(validity));
            }
            Ok(Settled::Fetched(validity)) => {
                say!("{}: fetched, good until {}", job.proof.display(), time(validity));
            }
            Err(text) => {
                complain!("{}: {text}", job.proof.display());
                code = 1;
            }
        }
    }
    code
}

/// What the daemon does each time. It tells the log what it did, nothing if there was nothing to do.
pub(crate) fn refresh(context: &mut Context) {
    let services = std::sync::Arc::clone(&context.services);
    let log = services.log();
    match jobs(context) {
        Ok(jobs) => {
            for job in jobs {
                let file = job.proof.display();
                match settle(&job, context, false) {
                    Ok(Settled::Kept(_)) => {}
                    Ok(Settled::Fetched(validity)) => {
                        log.main(format!(
                            "OCSP response for \"{file}\" fetched: good until {}",
                            time(validity)
                        ));
                    }
                    Err(text) => log.main(format!("OCSP response for \"{file}\" cannot be fetched: {text}")),
                }
            }
        }
        Err(text) => log.main(format!("OCSP responses cannot be fetched: {text}")),
    }
}

fn time(validity: Validity) -> String {
    Stamp::from_seconds(validity.until).strftime(Zone::Utc, "%Y-%m-%d %H:%M:%S UTC")
}

/// The pairs of `tls_certificate` and `tls_ocsp_file`, as they are for a client that names no server, and for those that ask for
/// one of `tls_ocsp_fetch_names`. A file is wanted once.
fn jobs(context: &mut Context) -> Result<Vec<Job>, String> {
    let options = TlsOptions::build(&context.config);
    let names = context.config.main.tls_ocsp_fetch_names.clone().unwrap_or_default();
    let names = split(names.as_bytes()).filter(|name| !name.is_empty());
    let names = names.map(|name| Some(String::from_utf8_lossy(&name).into_owned()));
    let mut jobs: Vec<Job> = Vec::new();
    for sni in std::iter::once(None).chain(names) {
        context.connection.tls = sni.map(|sni| TlsFacts { sni: Some(sni), ..TlsFacts::default() });
        let (certificates, proofs, ca) = options
            .proofs_wanted(context)
            .map_err(|(NotReady::Expansion(text) | NotReady::Unusable(text))| text)?;
        for (certificate, proof) in certificates.into_iter().zip(proofs) {
            if jobs.iter().all(|job| job.proof != proof.path) {
                let wish = Wish { certificate, ca: ca.clone(), url: None };
                jobs.push(Job { wish, proof: proof.path, as_pem: proof.is_pem });
            }
        }
    }
    context.connection.tls = None;
    Ok(jobs)
}

/// What became of a proof that is good.
enum Settled {
    Kept(Validity),
    Fetched(Validity),
}

fn settle(job: &Job, context: &Context, is_forced: bool) -> Result<Settled, String> {
    // One that is worth nothing is fetched anew, whatever is wrong with it.
    if let (false, Ok(Some(validity))) = (is_forced, ocsp::state_of_file(&job.wish, &job.proof))
        && is_young(validity, Stamp::now())
    {
        return Ok(Settled::Kept(validity));
    }
    let fetched =
        ocsp::fetch(&job.wish, |host| addresses(context, host)).map_err(|fault| fault.to_string())?;
    ocsp::write(&job.proof, &fetched.der, job.as_pem)
        .map_err(|error| format!("cannot write {}: {}", folder(&job.proof).display(), error_text(&error)))?;
    Ok(Settled::Fetched(fetched.validity))
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}

/// More than half of the time is left.
fn is_young(validity: Validity, now: Stamp) -> bool {
    let whole = validity.until.saturating_sub(validity.since);
    validity.until.saturating_sub(now.seconds) > whole / 2
}

fn addresses(context: &Context, host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let surroundings = context.services.surroundings.get();
    let Some(resolver) = surroundings.and_then(|all| all.resolver.as_ref()) else {
        return Err("there is no resolver".to_owned());
    };
    let family = surroundings.map_or(Family::Any, |all| all.family);
    match resolver.addresses_of(host, family) {
        Lookup::Found(answer) => Ok(answer.records),
        Lookup::NotThere(_) => Err(format!("{host} has no address")),
        Lookup::AskAgain(reason) => Err(format!("{host}: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(line: &str) -> Option<Order> {
        let words: Vec<Vec<u8>> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        Order::read(&words)
    }

    #[test]
    fn orders() {
        assert_eq!(order(""), Some(Order::default()));
        let files = Some((PathBuf::from("c"), PathBuf::from("p")));
        assert_eq!(order("c p"), Some(Order { files: files.clone(), ..Order::default() }));
        let all = order("--url http://a/ c --issuer i --force --pem p -C f").unwrap();
        assert_eq!((all.files, all.is_forced, all.as_pem), (files, true, true));
        for wrong in ["c", "c p q", "--url", "--pem", "--issuer i", "--what c p"] {
            assert_eq!(order(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn half_of_the_time_is_enough_warning() {
        let validity = Validity { since: 1_000, until: 2_000 };
        assert!(is_young(validity, Stamp::from_seconds(1_499)));
        assert!(!is_young(validity, Stamp::from_seconds(1_500)));
        assert!(!is_young(validity, Stamp::from_seconds(9_000)));
    }
}
