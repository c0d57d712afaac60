//! MariaDB: the server of Debian's package `mariadb-server`.

use std::path::Path;

use super::{Server, Talk, check, check_both, config, folder, free_port, program, unprivileged};

fn start(program: &Path, folder: &Path, port: u16) -> Server {
    let mut command = unprivileged(program, folder);
    command.arg("--no-defaults").arg(format!("--datadir={}", folder.join("data").display()));
    command.arg(format!("--socket={}", folder.join("s").display())).arg(format!("--port={port}"));
    command.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin"]);
    command.arg(format!("--pid-file={}", folder.join("pid").display()));
    Server::start(command, port)
}

pub(super) fn lookups() {
    let Some((mariadbd, install)) = program("mariadbd").zip(program("mariadb-install-db")) else { return };
    let folder = folder();
    let folder = folder.path();
    let mut command = unprivileged(&install, folder);
    command.arg("--no-defaults").arg(format!("--datadir={}", folder.join("data").display()));
    command.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
    assert!(command.status().unwrap().success());
    let (port, dead) = (free_port(), free_port());
    let server = start(&mariadbd, folder, port);
    let socket = folder.join("s").display().to_string();
    let config = config(
        folder,
        &format!(
            "hide mysql_servers = 127.0.0.1::{dead}/m/u/secret : 127.0.0.1::{port}/m/u/secret : localhost({socket})/m/root/\n"
        ),
    );
    questions(&config, port, &socket);
    trouble(&mariadbd, folder, &config, port, server);
}

fn questions(config: &Path, port: u16, socket: &str) {
    let root =
        |query: &str| format!("${{lookup mysql,servers=({socket})//root/{{{query}}}{{<$value>}}{{none}}}}");
    let setup = [
        root("create database m"),
        root("create user u@'127.0.0.1' identified by 'secret'"),
        root("grant all on m.* to u@'127.0.0.1'"),
    ];
    let cases: Vec<(&str, &str)> = setup.iter().map(String::as_str).zip(["<1>", "<0>", "<0>"]).collect();
    check(config, &cases);
    check(
        config,
        &[
            ("${lookup mysql{create table t(a int, b text)}{<$value>}{none}}", "<0>"),
            ("${lookup mysql{insert into t values (1,'x y'),(2,null),(3,'q\"r')}{<$value>}{none}}", "<3>"),
            ("${lookup mysql{select b from t where a=1}{$value}{none}}", "x y"),
        ],
    );
    let wrong = format!("${{lookup mysql,servers=127.0.0.1::{port}/m/u/bad{{select 1}}}}");
    check_both(
        config,
        &[
            (
                "${lookup mysql{select * from t order by a}{<$value>}{none}}",
                "<a=1 b=\"x y\" \na=2 b=\"\" \na=3 b=q\"r >",
            ),
            ("${lookup mysql{select b from t order by a}{<$value>}{none}}", "<x y\n\nq\"r>"),
            ("${lookup mysql{select b from t where a=2}{<$value>}{none}}", "none"),
            ("${lookup mysql{select b from t where a=9}{<$value>}{none}}", "none"),
            ("${lookup mysql{update t set b='z' where a>7}{<$value>}{none}}", "<0>"),
            (
                "${lookup mysql{select '${quote_mysql:x'); drop table t; -- \\\\}' as x}}",
                "x'); drop table t; -- \\",
            ),
            ("${lookup mysql{select count(*) from t}}", "3"),
            (
                "${lookup mysql{select bad from t}{x}{y}}",
                "Failed: lookup of \"select bad from t\" gave DEFER: MYSQL: query failed: Unknown column 'bad' in 'SELECT'\n",
            ),
            (
                "${lookup mysql,servers=no.such{select 1}}",
                "Failed: lookup of \"select 1\" gave DEFER: MySQL server \"no.such\" not found in mysql_servers",
            ),
        ],
    );
    // Exim would use the connection that it has, whatever the password.
    check_both(
        config,
        &[(
            &wrong,
            "Failed: lookup of \"select 1\" gave DEFER: MYSQL connection failed: Access denied for user 'u'@'127.0.0.1' (using password: YES)",
        )],
    );
    let several = answers_in_error(config, "${lookup mysql{select 1; drop table t}{x}{y}}");
    assert!(several.contains("gave DEFER: MYSQL: query failed: You have an error"), "{several}");
    // A server that does not know backslashes in strings is told to.
    check(
        config,
        &[
            (&root("set global sql_mode='NO_BACKSLASH_ESCAPES'"), "<0>"),
            ("${lookup mysql{select '${quote_mysql:x' or 1=1 -- }' as x}}", "x' or 1=1 -- "),
            (&root("set global sql_mode=''"), "<0>"),
        ],
    );
}

fn answers_in_error(config: &Path, expression: &str) -> String {
    super::answers(&crate::place::oxim(), config, &[expression]).remove(0)
}

fn trouble(program: &Path, folder: &Path, config: &Path, port: u16, server: Server) {
    let mut talk = Talk::begin(config);
    assert_eq!(talk.ask("${lookup mysql{select 1}{<$value>}{none}}"), "<1>");
    server.pause();
    let paused = talk.ask("${lookup mysql,timeout=1s{select 5}{found}{none}}");
    // The message ends in a newline, as Exim's do.
    assert!(paused.contains("gave DEFER: MYSQL") && paused.contains("timed out"), "{paused}");
    server.signal("CONT");
    let mut answer = talk.ask("${lookup mysql{select 2}{<$value>}{none}}");
    if answer.is_empty() {
        answer = talk.answer();
    }
    assert_eq!(answer, "<2>");
    talk.send("${lookup mysql{select sleep(60)}{found $value}{none}}");
    std::thread::sleep(std::time::Duration::from_millis(300));
    server.end("KILL");
    let died = talk.answer();
    assert!(died.contains("gave DEFER: MYSQL") && !died.contains("secret"), "{died}");
    let _server = start(program, folder, port);
    let until = std::time::Instant::now() + super::PATIENCE;
    while talk.ask("${lookup mysql{select 4}{<$value>}{none}}") != "<4>" {
        assert!(std::time::Instant::now() < until, "no recovery");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
