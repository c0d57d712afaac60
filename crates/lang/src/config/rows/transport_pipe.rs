//! Options of the pipe transport (manual chapter 29).

use crate::config::options::OptionKind::{Bool, Int, Kint, Octal, Str, StringList, Time};
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of pipe.
pub static TRANSPORT_PIPE: &[OptionRow] = &[
    row("allow_commands", StringList, "", Works, "commands that may be run"),
    row("batch_id", Str, "", Works, "text that must be equal within a batch"),
    row("batch_max", Int, "1", Works, "addresses in a batch"),
    row("check_string", Str, "", Works, "text at the start of a line that is escaped"),
    row("command", Str, "", Works, "command that is run"),
    row("environment", Str, "", Works, "variables for the command"),
    row("escape_string", Str, "", Works, "what is put in place of check_string"),
    row("force_command", Bool, "false", Works, "run the transport's command for addresses too"),
    row("freeze_exec_fail", Bool, "false", Works, "freeze when the command cannot be run"),
    row("freeze_signal", Bool, "false", Works, "freeze when the command is killed"),
    row("ignore_status", Bool, "false", Works, "take any exit status as success"),
    row("log_defer_output", Bool, "false", Works, "log the output of a deferral"),
    row("log_fail_output", Bool, "false", Works, "log the output of a failure"),
    row("log_output", Bool, "false", Works, "log the output always"),
    row("max_output", Kint, "20K", Works, "most output of the command"),
    row(
        "message_prefix",
        Str,
        "From ${if def:return_path{$return_path}{MAILER-DAEMON}} ${tod_bsdinbox}\\n",
        Works,
        "text before the message",
    ),
    row("message_suffix", Str, "\\n", Works, "text after the message"),
    row("path", Str, "/bin:/usr/bin", Works, "where commands are looked for"),
    row("permit_coredump", Bool, "false", Works, "let the command dump core"),
    row("pipe_as_creator", Bool, "false", Works, "run as the user who submitted the message"),
    row("restrict_to_path", Bool, "false", Works, "commands must be in the path"),
    row("return_fail_output", Bool, "false", Works, "return the output of a failure"),
    row("return_output", Bool, "false", Works, "return the output always"),
    row("temp_errors", StringList, "75:73", Works, "exit statuses that mean a deferral"),
    row("timeout", Time, "1h", Works, "time allowed"),
    row("timeout_defer", Bool, "false", Works, "a timeout is a deferral"),
    row("umask", Octal, "022", Works, "umask of the command"),
    row("use_bsmtp", Bool, "false", Works, "write batch SMTP"),
    row("use_crlf", Bool, "false", Works, "end lines with CR LF"),
    row("use_shell", Bool, "false", Works, "run the command by a shell"),
];
