//! Tests of the tables and of the engine as a whole.

use std::collections::HashSet;

use super::condition::CONDITIONS;
use super::item::ITEMS;
use super::operator::OPERATORS;
use super::variable::VARIABLES;
use super::*;

const TABLE: &str = include_str!("../../tests-data/expansions.txt");

fn context() -> Context {
    Context::default()
}

fn shown(source: &str) -> String {
    match Template::compile(source).expand(&mut context()) {
        Ok(text) => printable(text.as_bytes()),
        Err(error) => printable(format!("Failed: {error}").as_bytes()),
    }
}

/// A result as the table writes it.
fn printable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\\' => out.push_str("\\\\"),
            0x20..=0x7e => out.push(char::from(*byte)),
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    out
}

fn table() -> Vec<(&'static str, &'static str)> {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let mut rows = Vec::new();
    while let (Some(source), Some(expected)) = (lines.next(), lines.next()) {
        rows.push((source.strip_prefix("> ").unwrap(), expected.strip_prefix("= ").unwrap()));
    }
    rows
}

#[test]
fn examples_of_all_rows_hold() {
    let items = ITEMS.iter().copied().flatten().flat_map(|row| row.examples);
    let operators = OPERATORS.iter().copied().flatten().flat_map(|row| row.examples);
    let conditions = CONDITIONS.iter().copied().flatten().flat_map(|row| row.examples);
    for (source, expected) in items.chain(operators).chain(conditions) {
        assert_eq!(shown(source), printable(expected.as_bytes()), "{source}");
    }
}

#[test]
fn names_are_unique() {
    let mut seen = HashSet::new();
    let operators = OPERATORS.iter().copied().flatten();
    for name in operators.flat_map(|row| std::iter::once(row.name).chain(row.alias)) {
        assert!(seen.insert(name), "operator {name}");
    }
    seen.clear();
    for name in ITEMS.iter().copied().flatten().map(|row| row.name) {
        assert!(seen.insert(name), "item {name}");
    }
    seen.clear();
    for name in CONDITIONS.iter().copied().flatten().map(|row| row.name) {
        assert!(seen.insert(name), "condition {name}");
    }
    seen.clear();
    for name in VARIABLES.iter().copied().flatten().map(|row| row.name) {
        assert!(seen.insert(name), "variable {name}");
    }
}

#[test]
fn results_are_those_of_exim() {
    let wrong: Vec<String> = table()
        .into_iter()
        .filter_map(|(source, expected)| {
            let found = shown(source);
            (found != expected).then(|| format!("{source}\n  exim {expected}\n  ours {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table().len(), wrong.join("\n"));
}

/// The names of sections 11.5 to 11.9 of the manual, and those of later versions.
const MANUAL_ITEMS: &str = "acl authresults certextract dlfunc env extract filter hash hmac if imapfolder length \
    listextract listquote lookup map nhash perl prvs prvscheck readfile readsocket reduce run sg sort srs_encode \
    substr tr";
const MANUAL_OPERATORS: &str = "address addresses base32 base32d base62 base62d base64 base64d domain escape \
    escape8bit eval eval10 expand from_utf8 h hash headerwrap hex2b64 hexquote ipv6denorm ipv6norm l lc length \
    listcount listnamed local_part mask md5 nhash quote quote_local_part randint reverse_ip rfc2047 rfc2047d rxquote \
    s sha1 sha2 sha256 sha3 stat str2b64 strlen substr time_eval time_interval uc utf8_domain_from_alabel \
    utf8_domain_to_alabel utf8_localpart_from_alabel utf8_localpart_to_alabel utf8clean xtextd";
const MANUAL_CONDITIONS: &str = "< <= = == > >= acl and bool bool_lax crypteq def eq eqi exists first_delivery forall \
    forall_json forall_jsons forany forany_json forany_jsons ge gei gt gti inbound_srs inlist inlisti isip isip4 isip6 \
    ldapauth le lei lt lti match match_address match_domain match_ip match_local_part or pam pwcheck queue_running \
    radius saslauthd";
const MANUAL_VARIABLES: &str = "acl_arg1 acl_c0 acl_c_x acl_m0 acl_narg acl_verify_message address_data address_file \
    address_pipe auth1 authenticated_fail_id authenticated_id authenticated_sender authentication_failed av_failed \
    body_linecount body_zerocount bounce_recipient bounce_return_size_limit caller_gid caller_uid callout_address \
    compile_date compile_number config_dir config_file connection_id dkim_cur_signer dkim_signers dkim_verify_status \
    dmarc_alignment_dkim dmarc_status dnslist_domain dnslist_matched dnslist_text dnslist_value domain domain_data \
    event_name exim_gid exim_path exim_uid exim_version headers_added home host host_address host_data \
    host_lookup_deferred host_lookup_failed host_port initial_cwd inode interface_address interface_port item ldap_dn \
    load_average local_part local_part_data local_part_prefix local_part_prefix_v local_part_suffix \
    local_part_suffix_v local_scan_data local_user_gid local_user_uid localhost_number log_inodes log_space \
    lookup_dnssec_authenticated mailstore_basename malware_name max_received_linelength message_age message_body \
    message_body_end message_body_size message_exim_id message_headers message_headers_raw message_id \
    message_linecount message_size message_smtputf8 mime_filename mime_part_count n0 n9 original_domain \
    original_local_part originator_gid originator_uid parent_domain parent_local_part pid prdr_requested \
    primary_hostname proxy_session prvscheck_address prvscheck_keynum prvscheck_result qualify_domain \
    qualify_recipient queue_name queue_size r_x rcpt_count rcpt_defer_count rcpt_fail_count received_count received_for \
    received_ip_address received_port received_protocol received_time recipient_data recipient_verify_failure \
    recipients recipients_count recipients_list regex1 regex_match_string reply_address return_path return_size_limit \
    router_name runrc self_hostname sender_address sender_address_data sender_address_domain \
    sender_address_local_part sender_data sender_fullhost sender_helo_dnssec sender_helo_name sender_helo_verified \
    sender_host_address sender_host_authenticated sender_host_dnssec sender_host_name sender_host_port sender_ident \
    sender_rate sender_rate_limit sender_rate_period sender_rcvhost sender_verify_failure sending_ip_address \
    sending_port smtp_active_hostname smtp_command smtp_command_argument smtp_command_history \
    smtp_count_at_connection_start smtp_notquit_reason sn0 spam_action spam_bar spam_report spam_score spam_score_int \
    spf_received spf_result spool_directory spool_inodes spool_space srs_recipient thisaddress tls_bits \
    tls_certificate_verified tls_cipher tls_in_bits tls_in_certificate_verified tls_in_cipher tls_in_cipher_std \
    tls_in_ocsp tls_in_ourcert tls_in_peercert tls_in_peerdn tls_in_resumption tls_in_sni tls_in_ver tls_out_bits \
    tls_out_certificate_verified tls_out_cipher tls_out_cipher_std tls_out_dane tls_out_ocsp tls_out_ourcert \
    tls_out_peercert tls_out_peerdn tls_out_resumption tls_out_sni tls_out_tlsa_usage tls_out_ver tls_peerdn tls_sni \
    tod_bsdinbox tod_epoch tod_epoch_l tod_full tod_log tod_logfile tod_zone tod_zulu transport_name value verify_mode \
    version_number warn_message_delay warn_message_recipients";

#[test]
fn every_name_of_the_manual_is_a_row() {
    for name in MANUAL_ITEMS.split_whitespace() {
        assert!(item::find(name).is_some(), "item {name}");
    }
    for name in MANUAL_OPERATORS.split_whitespace() {
        assert!(operator::find(name).is_some_and(|(_, arguments)| arguments.is_none()), "operator {name}");
    }
    for name in MANUAL_CONDITIONS.split_whitespace() {
        assert!(condition::find(name).is_some(), "condition {name}");
    }
    for name in MANUAL_VARIABLES.split_whitespace() {
        assert!(variable::VariableReference::find(name).is_some(), "variable {name}");
    }
    for name in ["pipe_addresses", "auth5", "n10", "acl_mx", "nosuch"] {
        assert!(variable::VariableReference::find(name).is_none(), "variable {name}");
    }
}

/// Data that would leave a file behind if it were ever expanded.
fn trap(marker: &std::path::Path) -> String {
    format!("${{run{{/bin/touch {}}}}}:$pid:\\$1", marker.display())
}

#[test]
fn what_data_holds_never_runs() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    let operators = OPERATORS.iter().copied().flatten().filter(|row| row.name != "expand");
    let mut sources: Vec<String> = operators
        .map(|row| {
            let arguments = if row.arguments == operator::Arguments::Numbers { "_9" } else { "" };
            format!("${{{}{arguments}:$item}}", row.name)
        })
        .collect();
    for item in [
        "${if eq{$item}{$item}{$item}{$item}}",
        "${if match{$item}{(.*)}{$1$0}}",
        "${if match{x}{$item}}",
        "${if inlist{$item}{$item}{$value}}",
        "${if forany{$item}{eq{$item}{$item}}}",
        "${if bool_lax{$item}}",
        "${extract{1}{:}{$item}}",
        "${extract{$item}{$item}}",
        "${extract{2}{}{$item}{$value}}",
        "${listextract{1}{$item}}",
        "${listquote{:}{$item}}",
        "${filter{$item}{!eq{$item}{}}}",
        "${map{$item}{$item}}",
        "${reduce{$item}{$item}{$value$item}}",
        "${sort{$item}{lt}{$item}}",
        "${sg{$item}{.}{$item}}",
        "${sg{abc}{b}{$item}}",
        "${sg{$item}{\\N(.+)\\N}{\\$1}}",
        "${tr{$item}{a}{$item}}",
        "${hash{3}{$item}}",
        "${hmac{md5}{$item}{$item}}",
        "${substr{0}{400}{$item}}",
        "${run{/bin/echo $item}}",
        "${env{$item}{$value}{$item}}",
        "${lookup{$item}lsearch{/etc/passwd}{$value}{$item}}",
        "${prvscheck{$item}{$item}{$item}}",
        "$item",
    ] {
        sources.push(item.to_owned());
    }
    // Every item and condition, with any number of strings.
    for count in 1..=5 {
        let strings = "{$item}".repeat(count);
        let items = ITEMS.iter().copied().flatten().filter(|row| !matches!(row.name, "if"));
        sources.extend(items.map(|row| format!("${{{}{strings}}}", row.name)));
        let conditions = CONDITIONS.iter().copied().flatten();
        sources.extend(conditions.clone().map(|row| format!("${{if {}{strings}{{$value}}}}", row.name)));
        sources.extend(conditions.map(|row| format!("${{if {}{{{strings}}}{{$value}}}}", row.name)));
    }
    for taint in [oxim_base::Taint::Clean, oxim_base::Taint::Tainted] {
        for source in &sources {
            let mut context = context();
            context.local.item = Some(oxim_base::Text::with_taint(trap(&marker), taint));
            let _ = Template::compile(source).expand(&mut context);
            assert!(!marker.exists(), "{source}");
        }
    }
    // The one operator that expands again does not do so with what came from outside.
    let mut context = context();
    context.local.item = Some(oxim_base::Text::tainted(trap(&marker)));
    let error = Template::compile("${expand:$item}").expand(&mut context).unwrap_err();
    assert!(error.message().contains("attempt to expand tainted string") && !marker.exists());
    context.local.item = Some(oxim_base::Text::from(trap(&marker)));
    assert!(Template::compile("${expand:$item}").expand(&mut context).is_ok() && marker.exists());
}

#[test]
fn taint_follows_a_value_through_every_operator() {
    for row in
        OPERATORS.iter().copied().flatten().filter(|row| !matches!(row.name, "expand" | "stat" | "listnamed"))
    {
        let arguments = if row.arguments == operator::Arguments::Numbers { "_9" } else { "" };
        for data in ["a", "1", "1s", "1.2.3.4", "1.2.3.4/8", "a@b.c", "aaaa", "xn--b-eha", "616263"] {
            let mut context = context();
            context.local.item = Some(oxim_base::Text::tainted(data));
            let source = format!("${{{}{arguments}:$item}}", row.name);
            if let Ok(result) = Template::compile(&source).expand(&mut context) {
                assert!(result.is_foreign() || result.is_empty(), "{source} of {data}");
            }
        }
    }
}

#[test]
fn nesting_has_a_limit_before_the_stack_has() {
    let nested = |depth: usize| format!("{}x{}", "${if eq{a}{a}{".repeat(depth), "}}".repeat(depth));
    // Half the smallest stack that a worker thread has.
    let worker = std::thread::Builder::new().stack_size(1024 * 1024).spawn(move || {
        assert_eq!(shown(&nested(60)), "x");
        assert!(shown(&nested(5_000)).starts_with("Failed: expansions are nested too deep"));
        let mut context = context();
        context.local.value = Some("${expand:$value}".into());
        let error = Template::compile("${expand:$value}").expand(&mut context).unwrap_err();
        assert!(error.message().contains("nested too deep"), "{error}");
    });
    worker.unwrap().join().unwrap();
}

#[test]
fn a_template_knows_whether_it_may_block() {
    for (source, blocks) in [
        ("abc", false),
        ("${lc:$local_part}", false),
        ("$sender_host_name", true),
        ("${if eq{a}{b}{${lookup{a}lsearch{/etc/passwd}}}}", true),
        ("${if def:sender_host_name{y}}", true),
        ("${if exists{/x}{y}}", true),
        ("${run{/bin/true}}", true),
        ("${expand:$value}", true),
        ("${if match_domain{a}{b:c}}", false),
        ("${if match_domain{a}{lsearch;/x}}", true),
        ("${sg{a}{b}{\\${run{/bin/true\\}\\}}}", true),
    ] {
        assert_eq!(Template::compile(source).may_block(), blocks, "{source}");
    }
}

#[test]
fn constants_are_known_and_faults_have_a_place() {
    let template = Template::compile("a\\x41\\N$x\\N");
    assert_eq!(template.constant().map(oxim_base::Text::to_string_lossy).as_deref(), Some("aA$x"));
    assert!(Template::compile("$pid").constant().is_none());
    assert_eq!(Template::literal("$pid").expand(&mut context()).unwrap(), "$pid");
    let template = Template::compile("ab${nosuch:x}");
    assert_eq!(template.syntax_error().unwrap().span, 10..13);
    assert!(template.constant().is_none());
}

#[test]
fn state_is_restored_after_success_and_failure() {
    let mut context = context();
    context.local.value = Some("outer".into());
    context.local.item = Some("thing".into());
    context.local.captures = vec!["zero".into()];
    for source in [
        "${map{a:b}{${if match{$item}{.}{$0}}}}",
        "${reduce{a:b}{x}{${nosuchfield}}}",
        "${filter{a:b}{>{$item}{1}}}",
        "${extract{a}{a=1}{${if bool{maybe}}}}",
        "${sg{abc}{b}{\\$0\\$item}}",
        "${if match{abc}{b}{${lookup{x}lsearch{relative}}}}",
    ] {
        let _ = Template::compile(source).expand(&mut context);
        assert_eq!(context.local.value.as_ref().unwrap(), &"outer", "{source}");
        assert_eq!(context.local.item.as_ref().unwrap(), &"thing", "{source}");
        assert_eq!(context.local.captures.len(), 1, "{source}");
        assert_eq!(context.local.depth, 0, "{source}");
    }
}

/// The table against the program that it was taken from, where that is installed; a process each, so in a full run only.
#[test]
fn the_table_is_what_exim_gives() {
    let exim = std::path::Path::new("/usr/sbin/exim4");
    if !exim.exists() || std::env::var_os("OXIM_PROOF").is_none() {
        return;
    }
    for (source, expected) in table() {
        let output = std::process::Command::new(exim).arg("-be").arg(source).output().unwrap();
        let text = output.stdout.strip_suffix(b"\n").unwrap_or(&output.stdout);
        assert_eq!(printable(text), expected, "{source}");
    }
}

/// A name, what it gives, and examples: a source and its result.
type PageRow<'a> = (String, &'a str, &'a [(&'a str, &'a str)]);

/// One table of the page: names in the first column.
fn section(page: &mut String, title: &str, rows: &mut [PageRow<'_>]) {
    rows.sort();
    page.push_str(&format!("\n## {title}\n\n| name | what it gives | example |\n|---|---|---|\n"));
    for (name, doc, examples) in rows {
        let example = examples.first().map_or_else(String::new, |(source, result)| {
            let shown = |text: &str| text.replace('|', "\\|").replace('\n', "⏎");
            format!(
                "`` {} `` → `` {} ``",
                shown(source),
                if result.is_empty() { " ".into() } else { shown(result) }
            )
        });
        page.push_str(&format!("| `{name}` | {} | {example} |\n", doc.replace('|', "\\|")));
    }
}

fn page() -> String {
    let mut page = String::from(
        "# Expansions\n\nEverything a string of the configuration may hold, generated from the tables \
         (`UPDATE=1 cargo test -p oxim-lang the_page`). How it works: docs/features/expansion.md.\n",
    );
    let mut items: Vec<_> =
        ITEMS.iter().copied().flatten().map(|row| (row.name.to_owned(), row.doc, row.examples)).collect();
    section(&mut page, "Items", &mut items);
    let mut operators: Vec<_> =
        OPERATORS.iter().copied().flatten().map(|row| (row.name.to_owned(), row.doc, row.examples)).collect();
    section(&mut page, "Operators", &mut operators);
    let mut conditions: Vec<_> = CONDITIONS
        .iter()
        .copied()
        .flatten()
        .map(|row| (row.name.to_owned(), row.doc, row.examples))
        .collect();
    section(&mut page, "Conditions", &mut conditions);
    page.push_str(
        "\n## Variables\n\n| name | lives as long as | from outside | what it holds |\n|---|---|---|---|\n",
    );
    let mut variables: Vec<_> = VARIABLES.iter().copied().flatten().collect();
    variables.sort_by_key(|row| row.name);
    for row in variables {
        let family = if row.family { "…" } else { "" };
        let foreign = if row.taint.is_foreign() { "yes" } else { "" };
        let scope = format!("{:?}", row.scope).to_lowercase();
        page.push_str(&format!("| `${}{family}` | {scope} | {foreign} | {} |\n", row.name, row.doc));
    }
    page
}

#[test]
fn the_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/expansions.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap_or_default() == page(), "run it again with UPDATE=1");
}

#[test]
fn no_piece_of_an_expression_breaks_the_parser() {
    for (source, _) in table() {
        let bytes = source.as_bytes();
        for cut in 0..bytes.len() {
            let _ = Template::compile_bytes(&bytes[..cut]);
            let _ = Template::compile_bytes(&bytes[cut..]);
            let without = [&bytes[..cut], &bytes[cut + 1..]].concat();
            let template = Template::compile_bytes(&without);
            if !template.may_block() {
                let mut context = context();
                let _ = template.expand(&mut context);
                assert_eq!(context.local.depth, 0, "{}", String::from_utf8_lossy(&without));
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_compile(data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
        let template = Template::compile_bytes(&data);
        if !template.may_block() {
            let _ = template.expand(&mut context());
        }
    }

    #[test]
    fn literal_text_is_its_own_expansion(text in "[^$\\\\]{0,60}") {
        let result = Template::compile(&text).expand(&mut context()).unwrap();
        proptest::prop_assert_eq!(result.as_bytes(), text.as_bytes());
    }

    #[test]
    fn quoting_round_trips(data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
        let mut context = context();
        context.local.item = Some(oxim_base::Text::tainted(data.clone()));
        let round = "${base64d:${base64:$item}}";
        let result = Template::compile(round).expand(&mut context).unwrap();
        proptest::prop_assert_eq!(result.as_bytes(), data.as_slice());
        let literal = Template::compile("${sg{$item}{(?s).+}{\\$0}}").expand(&mut context).unwrap();
        proptest::prop_assert_eq!(literal.as_bytes(), data.as_slice());
    }
}
