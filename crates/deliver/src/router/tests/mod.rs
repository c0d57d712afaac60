//! Routing as a whole: a configuration and what is observed with it, and what only a delivery shows.

mod dns;

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use oxim_base::Text;
use oxim_lang::config::{self, Catalogue, Config, ConfigError, Drivers, rows};
use oxim_lang::context::{Context, Services};
use oxim_lang::interfaces::Interfaces;
use oxim_lang::list::{ListKind, NamedLists, Surroundings};
use oxim_net::dns::BlockingResolver;

use super::worklist::{Decided, RouteRequest, Routed};
use super::{Problem, Purpose, ROUTERS};
use crate::address::Address;
use crate::delivery::Delivery;
use crate::route_test::{TestMode, TestResult};
use crate::transport::TRANSPORTS;

fn catalogue() -> Catalogue {
    Catalogue {
        routers: Drivers {
            generic: rows::ROUTER_GENERIC,
            drivers: ROUTERS.iter().map(|kind| kind.row).collect(),
        },
        transports: Drivers {
            generic: rows::TRANSPORT_GENERIC,
            drivers: TRANSPORTS.iter().map(|kind| &kind.row).collect(),
        },
        authenticators: Drivers { generic: rows::AUTH_GENERIC, drivers: Vec::new() },
        ..Catalogue::default()
    }
}

fn services(config: &Config, resolver: Option<BlockingResolver>) -> Arc<Services> {
    let mut named = NamedLists::default();
    for list in config.lists.iter() {
        let kind = match list.kind {
            config::ListKind::Address => ListKind::Address,
            config::ListKind::Domain => ListKind::Domain,
            config::ListKind::Host => ListKind::Host,
            config::ListKind::LocalPart => ListKind::LocalPart,
        };
        named.define(kind, &list.name, &list.source, list.is_cached, list.is_hidden);
    }
    let services = Services::default();
    let surroundings = Surroundings {
        named: Arc::new(named),
        interfaces: Interfaces::new("127.0.0.1", ""),
        resolver,
        ..Surroundings::default()
    };
    assert!(services.surroundings.set(Arc::new(surroundings)).is_ok());
    Arc::new(services)
}

/// What a configuration builds, and a context to route in.
pub(crate) fn delivery(text: &str) -> (Delivery, Context) {
    delivery_with(text, None)
}

fn delivery_with(text: &str, resolver: Option<BlockingResolver>) -> (Delivery, Context) {
    let config =
        config::read_bytes("/test", text.as_bytes(), &[], &catalogue()).expect("a good configuration");
    let services = services(&config, resolver);
    let config = Arc::new(config);
    let Ok(delivery) = Delivery::build(Arc::clone(&config), Arc::clone(&services)) else {
        panic!("drivers that cannot be built");
    };
    (delivery, Context::new(config, services))
}

fn build_errors(text: &str) -> Vec<String> {
    let config =
        config::read_bytes("/test", text.as_bytes(), &[], &catalogue()).expect("a good configuration");
    let services = services(&config, None);
    let errors = Delivery::build(Arc::new(config), services).err().unwrap_or_default();
    errors.iter().map(ConfigError::exim_text).collect()
}

#[test]
fn addresses_are_routed_as_observed() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().to_str().unwrap();
    let text = include_str!("observed.txt").replace("DIR", folder);
    let mut made = None;
    let (mut tested, mut wrong) = (0, String::new());
    for section in text.split("==== ").skip(1) {
        let (title, body) = section.split_once('\n').unwrap();
        let (word, rest) = title.split_once(' ').unwrap_or((title, ""));
        let mode = match word {
            "config" => {
                made = Some(delivery(body));
                continue;
            }
            "file" => {
                let path = format!("{folder}/{rest}");
                std::fs::write(&path, body).unwrap();
                let mode = if rest == "mode" { 0o666 } else { 0o644 };
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
                continue;
            }
            "-bt" => (TestMode::Route, false),
            "-bv" => (TestMode::VerifyRecipient, false),
            "-vbv" => (TestMode::VerifyRecipient, true),
            "-bvs" => (TestMode::VerifySender, false),
            other => panic!("unknown section {other}"),
        };
        let (delivery, context) = made.as_mut().unwrap();
        let mut result = TestResult::new(true);
        delivery.test_addresses(context, rest.as_bytes(), mode.0, mode.1, &mut result);
        let shown = format!("{}exit {}\n", result.text, result.status as i32);
        tested += 1;
        if shown != body {
            let _ = write!(wrong, "==== {title}\nobserved:\n{body}ours:\n{shown}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(tested > 80);
}

const LISTS: &str = "
qualify_domain = test.ex
begin routers
copy:
  driver = accept
  local_parts = kept
  unseen
  transport = l
refused:
  driver = redirect
  local_parts = refused
  data = \"|x, /tmp/y\"
  pipe_transport = p
  forbid_pipe
aliases:
  driver = redirect
  local_parts = list : other
  errors_to = owner@test.ex
  headers_add = X-List: $local_part
  headers_remove = subject : ${if eq{a}{b}{x}fail}
  set = r_list = $local_part
  address_data = data of $local_part
  data = bob, list, bob@TEST.ex, /dev/null
  file_transport = l
  hide_child_in_errmsg
local:
  driver = accept
  local_parts = bob : list : kept : owner
  transport = l
  user = 12
  group = 34
begin transports
l:
  driver = appendfile
  file = /dev/null
p:
  driver = pipe
";

fn route(text: &str, recipients: &[&str], done: &[&str]) -> Routed {
    let (delivery, mut context) = delivery(text);
    let is_done = |unique: &[u8]| done.iter().any(|d| d.as_bytes() == unique);
    let request = RouteRequest { is_done: &is_done, ..RouteRequest::new(Purpose::Deliver) };
    let addresses = recipients.iter().enumerate().map(|(i, r)| Address::recipient(*r, i)).collect();
    delivery.route_all(&mut context, addresses, &request)
}

fn unique(routed: &Routed) -> Vec<String> {
    routed.deliveries().map(|a| String::from_utf8_lossy(&a.unique).into_owned()).collect()
}

#[test]
fn duplicates_are_delivered_once_and_a_list_may_name_itself() {
    let routed = route(LISTS, &["list@test.ex", "bob@test.ex", "other@test.ex"], &[]);
    assert_eq!(
        unique(&routed),
        ["/dev/null:other@test.ex", "/dev/null:list@test.ex", "\\0\\list@test.ex", "bob@test.ex"]
    );
    let bob = routed.deliveries().last().unwrap();
    let shared: Vec<&[u8]> = bob.shares_with.iter().map(Vec::as_slice).collect();
    assert_eq!(shared, [&b"bob@test.ex"[..], b"list@test.ex", b"other@test.ex"]);
    assert_eq!(bob.top().address, b"other@test.ex");
    assert!(routed.deliveries().filter(|a| a.is_bypassed()).count() == 2);
}

#[test]
fn what_was_done_before_is_not_done_again() {
    let done = ["bob@test.ex", "/dev/null:list@test.ex"];
    assert_eq!(unique(&route(LISTS, &["list@test.ex"], &done)), ["\\0\\list@test.ex"]);
}

#[test]
fn children_carry_what_the_redirection_set() {
    let routed = route(LISTS, &["list@test.ex"], &[]);
    let bob = routed.deliveries().find(|a| a.unique == b"bob@test.ex").unwrap();
    assert_eq!(bob.propagated.errors_to.as_deref(), Some(&b"owner@test.ex"[..]));
    assert_eq!(bob.propagated.headers_add, [Text::tainted("X-List: list\n")]);
    assert_eq!(bob.propagated.headers_remove, [b"subject".to_vec()]);
    assert_eq!(bob.propagated.variables[&b"list"[..]].as_bytes(), b"list");
    assert_eq!(bob.propagated.address_data.as_ref().map(Text::as_bytes), Some(&b"data of list"[..]));
    assert!(bob.is_hidden_in_bounces && bob.is_logged_as_local);
    assert_eq!((bob.run_as.uid, bob.run_as.gid), (Some(12), Some(34)));
    assert_eq!(bob.top().address, b"list@test.ex");
}

#[test]
fn an_unseen_router_delivers_a_copy() {
    let routed = route(LISTS, &["kept@test.ex"], &[]);
    assert_eq!(unique(&routed), ["kept@test.ex/copy", "\\0\\kept@test.ex"]);
    assert_eq!(unique(&route(LISTS, &["kept@test.ex"], &["kept@test.ex/copy"])), ["\\0\\kept@test.ex"]);
}

#[test]
fn a_refused_pipe_fails_and_a_missing_transport_waits() {
    let routed = route(LISTS, &["refused@test.ex"], &[]);
    let texts: Vec<&str> = routed
        .decided
        .iter()
        .map(|decided| match decided {
            Decided::Failed(_, problem) | Decided::Deferred(_, problem) => problem.text(),
            Decided::Deliver(_) | Decided::Discarded(_) => "",
        })
        .collect();
    assert_eq!(texts, ["delivery to pipe forbidden", "file_transport unset in refused router"]);
    assert!(
        matches!(routed.decided[0], Decided::Failed(..))
            && matches!(routed.decided[1], Decided::Deferred(..))
    );
}

#[test]
fn what_is_held_is_not_routed() {
    let (delivery, mut context) = delivery(LISTS);
    let hold = |_: &mut Context, address: &Address| {
        (address.domain == b"held.ex").then(|| Problem::new(-1, "domain is held"))
    };
    let request = RouteRequest { hold: &hold, ..RouteRequest::new(Purpose::Deliver) };
    let addresses = vec![Address::recipient("a@held.ex", 0), Address::recipient("bob@test.ex", 1)];
    let routed = delivery.route_all(&mut context, addresses, &request);
    assert!(
        matches!(&routed.decided[0], Decided::Deferred(_, problem) if problem.text() == "domain is held")
    );
    assert!(matches!(routed.decided[1], Decided::Deliver(_)));
}

#[test]
fn equal_domains_may_share_one_route() {
    let text = "qualify_domain = test.ex\nbegin routers\nsmart:\n driver = manualroute\n route_list = * 127.0.0.9\n \
                same_domain_copy_routing\n self = send\n transport = s\nbegin transports\ns:\n driver = smtp\n";
    let routed = route(text, &["a@x.ex", "b@x.ex", "c@y.ex"], &[]);
    let hosts: Vec<usize> = routed.deliveries().map(|a| a.hosts.len()).collect();
    assert_eq!(hosts, [1, 1, 1]);
    assert!(routed.deliveries().all(|a| a.router.is_some() && a.transport.is_some()));
}

#[test]
fn another_domain_may_be_put_in_its_place() {
    let text = "qualify_domain = test.ex\nbegin routers\nsmart:\n driver = manualroute\n domains = old.ex\n \
                route_list = * 127.0.0.1\n self = reroute: rewrite: New.EX\n transport = s\n\
                end:\n driver = accept\n transport = l\n\
                begin transports\ns:\n driver = smtp\nl:\n driver = appendfile\n file = /x\n";
    let routed = route(text, &["Bob@old.ex"], &[]);
    assert_eq!(unique(&routed), ["Bob@new.ex"]);
    assert_eq!(routed.domain_changes.len(), 1);
}

#[test]
fn faulty_routers_are_all_reported() {
    let text = "begin routers\na:\n driver = accept\nb:\n driver = redirect\nc:\n driver = redirect\n data = x\n \
                transport = t\nd:\n driver = manualroute\n transport = t\n pass_router = a\n route_data = x\n\
                e:\n driver = redirect\n data = x\n one_time\n unseen\nf:\n driver = accept\n transport = t\n \
                redirect_router = zz\ng:\n driver = accept\n transport = t\n self = maybe\n\
                begin transports\nt:\n driver = smtp\n";
    assert_eq!(
        build_errors(text),
        [
            "Exim configuration error:\n  a router:\n  a transport is required for this router",
            "Exim configuration error for b router:\n  one of \"file\" or \"data\" must be specified",
            "Exim configuration error:\n  c router:\n  a transport must not be defined for this router",
            "Exim configuration error:\n  new_router \"a\" does not follow \"d\" router",
            "Exim configuration error for e router:\n  \"unseen\" may not be used with \"one_time\"",
            "Exim configuration error:\n  new_router \"zz\" not found for \"f\" router",
            "Exim configuration error for g router:\n  maybe is not valid for the self option",
        ]
    );
}
