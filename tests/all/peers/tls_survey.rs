//! testssl.sh looks at our TLS from outside: no finding above low. It takes a minute, so only the full proof runs it.

use super::ground::Ground;
use super::oxim::{Oxim, main_options};

/// STARTTLS and TLS at once, with a certificate whose authority testssl.sh is told.
pub(super) fn testssl(ground: &Ground) {
    if std::env::var("OXIM_PROOF").as_deref() != Ok("full") {
        return;
    }
    ground.make_certificates();
    let oxim = Oxim::start(
        ground,
        &format!(
            "{}smtp_accept_max = 0\ntls_advertise_hosts = *\ntls_certificate = /mnt/tls/server.pem\ntls_privatekey = /mnt/tls/server.key\n",
            main_options(ground)
        ),
        &[],
    );
    let words = [
        "testssl",
        "--quiet",
        "--color",
        "0",
        "--warnings",
        "batch",
        "--nodns",
        "none",
        "--add-ca",
        "/mnt/tls/ca.pem",
    ];
    for (more, port) in [(&["--starttls", "smtp"][..], "2525"), (&[][..], "2465")] {
        let findings = format!("/mnt/findings.{port}");
        let place = format!("mta.test.ex:{port}");
        let all = [&words[..], &["--csvfile", &findings, "--ip", "127.0.0.1"], more, &[&place]].concat();
        ground.run(&all, b"");
        let table = ground.read(&format!("findings.{port}"));
        assert!(table.contains("TLS1_3"), "{table}");
        let grave = |line: &&str| {
            ["\"MEDIUM\"", "\"HIGH\"", "\"CRITICAL\"", "\"FATAL\"", "\"WARN\""]
                .iter()
                .any(|word| line.contains(word))
        };
        // The certificate is the test's: its age, its missing revocation and transparency say nothing of the server.
        let of_test = [
            "cert_",
            "OCSP",
            "CRL",
            "DNS_CAA",
            "certificate_transparency",
            "scanTime",
            "engine_problem",
            "OLD",
            "cert",
        ];
        let findings: Vec<&str> = table
            .lines()
            .filter(grave)
            .filter(|line| !of_test.iter().any(|id| line.starts_with(&format!("\"{id}"))))
            .collect();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }
    oxim.stop();
}
