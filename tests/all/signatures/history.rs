//! The history of DMARC results, as a scenario shows it, imported by `opendmarc-import` into a MariaDB of the trial's own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::is_root;

const IMPORT: &str = "/usr/sbin/opendmarc-import";
const SCHEMA: &str = "/usr/share/dbconfig-common/data/opendmarc/install/mysql";
const PATIENCE: Duration = Duration::from_secs(60);

/// The history that the scenario expects, with something in place of what varies.
fn history() -> String {
    let text = include_str!("../../scenarios/dmarc/results.txt");
    let (_, history) = text.split_once("== expect file log/history\n").unwrap();
    let history = history.split("\n== ").next().unwrap();
    history.replace("received <any>", "received 1790000000").replace("<id", "1xUi00-00000").replace('>', "")
}

fn unprivileged(program: &str, folder: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--", program]);
    if !is_root() {
        command = Command::new(program);
    }
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A server that is killed when it is dropped.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn query(socket: &str, sql: &str) -> Result<String, String> {
    let output = Command::new("mariadb")
        .args(["--no-defaults", "--skip-column-names", "--batch", "-uroot"])
        .arg(format!("--socket={socket}"))
        .arg(format!("--execute={sql}"))
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

pub(super) fn imported() -> Result<(), libtest_mimic::Failed> {
    let programs = [IMPORT, SCHEMA, "/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db"];
    if let Some(absent) = programs.iter().find(|path| !Path::new(path).exists()) {
        if is_root() {
            return Err(format!("{absent} is not installed: run scripts/test-packages").into());
        }
        eprintln!("skipped: {absent} is not installed");
        return Ok(());
    }
    let folder = tempfile::Builder::new().prefix("oxim-history").tempdir()?;
    let folder = folder.path();
    if is_root() {
        assert!(Command::new("chown").arg("nobody:nogroup").arg(folder).status()?.success());
    }
    let data = format!("--datadir={}", folder.join("data").display());
    let mut install = unprivileged("/usr/bin/mariadb-install-db", folder);
    install.args(["--no-defaults", &data, "--auth-root-authentication-method=normal", "--skip-test-db"]);
    assert!(install.status()?.success());
    let socket = folder.join("s").display().to_string();
    let mut server = unprivileged("/usr/sbin/mariadbd", folder);
    server.args(["--no-defaults", &data, "--skip-networking", "--skip-log-bin"]);
    let server = Server(server.arg(format!("--socket={socket}")).spawn()?);
    let until = Instant::now() + PATIENCE;
    while let Err(error) = query(&socket, "select 1") {
        assert!(Instant::now() < until, "no server: {error}");
        std::thread::sleep(Duration::from_millis(50));
    }
    query(&socket, &std::fs::read_to_string(SCHEMA)?).unwrap();
    let user = "create user opendmarc@localhost identified by 'opendmarc'; grant all on opendmarc.* to opendmarc@localhost";
    query(&socket, user).unwrap();
    let history = history();
    let blocks = history.lines().filter(|line| line.starts_with("job ")).count();
    let file = folder.join("history");
    std::fs::write(&file, &history)?;
    let output = Command::new(IMPORT)
        .args([
            &format!("--dbhost=localhost;mysql_socket={socket}"),
            "--dbname=opendmarc",
            "--dbuser=opendmarc",
        ])
        .args(["--dbpasswd=opendmarc", &format!("--input={}", file.display())])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("failed") && !said.contains("unknown key"), "{said}");
    let count = query(&socket, "select count(*) from opendmarc.messages").unwrap();
    assert_eq!(count.trim(), blocks.to_string(), "{said}");
    let sql = "select d.name, m.policy, m.disp, m.spf, m.align_spf, m.align_dkim from opendmarc.messages m \
        join opendmarc.domains d on d.id = m.policy_domain order by m.id limit 3";
    let rows = query(&socket, sql).unwrap();
    assert_eq!(rows, "pa.ex\t15\t2\t0\t4\t5\nsx.ex\t16\t0\t0\t5\t5\nq.ex\t17\t4\t0\t5\t5\n");
    let sql = "select repuri, adkim, aspf, policy from opendmarc.requests r join opendmarc.domains d \
        on d.id = r.domain where d.name = 'sx.ex'";
    assert_eq!(query(&socket, sql).unwrap(), "mailto:a@sx.ex,mailto:b@sx.ex\t115\t115\t114\n");
    drop(server);
    Ok(())
}
