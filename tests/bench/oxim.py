"""Oxim, by the same configuration as Exim's adapter. The binary is OXIM_BINARY (scripts/bench: target/release/oxim).

The daemon reads the file by -C: Oxim's daemon keeps its privilege then, so that no private mount is needed for it, but the
namespace is kept because it brings the name server of the benchmark."""
import os
import exim
from benchlib import sh

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class ADAPTER(exim.ADAPTER):
    name = "oxim"
    port = 2606
    exim_cli = True
    binary = os.environ.get("OXIM_BINARY", f"{ROOT}/target/release/oxim")

    def version(self): return sh([self.binary, "-bV"]).stdout.split("\n")[0]
    def configure(self, mode, global_extra="", **opt):
        # Exim's user is what the spool's folders belong to; Oxim has no compiled-in one that would be right everywhere.
        super().configure(mode, global_extra=global_extra + "exim_user = Debian-exim\nexim_group = Debian-exim\n", **opt)
        log = f"{self.dir}/log/mainlog"
        self.log_read = os.path.getsize(log) if os.path.exists(log) else 0
        self.arrived = self.completed = 0
    def config(self): return f"{self.dir}/etc/exim4.conf"
    def command(self): return self.ns(self.binary, "-C", self.config(), "-bdf", *([f"-q{self.runner}"] if self.runner else []))
    def mailq(self): return self.ns(self.binary, "-C", self.config(), "-bp")
    def queue_run(self): return self.ns(self.binary, "-C", self.config(), "-q")
    def config_check(self): return self.ns(self.binary, "-C", self.config(), "-bV")
    def queue_len(self):
        # Messages in the journal are no files yet: the program counts them. To ask it costs more than to look into a folder, as for the
        # others, and takes from what is measured: it is asked once the log says that all are through.
        waiting = self.unfinished()
        if waiting > 0: return waiting
        out = sh([self.binary, "-C", self.config(), "-bpc"]).stdout.strip()
        return int(out) if out.isdigit() else 1 << 30
    def unfinished(self):
        """Messages that have come and not gone, by what was logged since the configuration was written."""
        try:
            with open(f"{self.dir}/log/mainlog", "rb") as log:
                log.seek(self.log_read)
                lines = log.read().rpartition(b"\n")[0]
        except FileNotFoundError: return 0
        self.log_read += len(lines) + bool(lines)
        self.arrived += lines.count(b" <= ")
        self.completed += lines.count(b" Completed")
        return self.arrived - self.completed
