"""What an event action costs: relayed messages with the action of Exim's manual, which calls a function of a real PostgreSQL for each
delivery, and with a cheap one, beside the same without any. Wanted: 80 % of the rate, with a row for each message. PostgreSQL runs as
Debian installs it, fsync included. ACTIONS="none cheap pgsql", COUNT=2000, CELLS=20x50 (sessions x messages a connection)."""
import os
os.environ.setdefault("MTAS", "oxim")
from benchlib import *

BIN = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
if not BIN: sys.exit("b15_events: no PostgreSQL (Debian's package postgresql)")
COUNT = n(int(os.environ.get("COUNT", "2000")))
SESSIONS, PER = map(int, os.environ.get("CELLS", "20x50").split("x"))
PORT = 5499
HOME = f"{BENCH_DIR}/pgsql"
AS = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]

class Postgres:
    def __init__(self):
        shutil.rmtree(HOME, ignore_errors=True); os.makedirs(HOME); shutil.chown(HOME, "nobody", "nogroup")
        made = sh(AS + [f"{BIN[-1]}/initdb", "-D", f"{HOME}/data", "-U", "post", "--auth=trust", "--no-locale", "-E", "UTF8"])
        if made.returncode: raise RuntimeError(made.stderr)
        self.p = subprocess.Popen(AS + [f"{BIN[-1]}/postgres", "-D", f"{HOME}/data", "-k", HOME, "-h", "127.0.0.1", "-p", str(PORT)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        atexit.register(self.close)
        while sh([f"{BIN[-1]}/pg_isready", "-h", "127.0.0.1", "-p", str(PORT)]).returncode: time.sleep(0.1)
        self.ask("create table d(sd text, sl text, rd text, rl text, ip text, fqdn text, id text)")
        self.ask("create function record_Delivery(text,text,text,text,text,text,text) returns void as 'insert into d values ($1,$2,$3,$4,$5,$6,$7)' language sql")
    def ask(self, query):
        return sh([f"{BIN[-1]}/psql", "-h", "127.0.0.1", "-p", str(PORT), "-U", "post", "-d", "postgres", "-qtAc", query]).stdout.strip()
    def close(self):
        if self.p.poll() is None: self.p.terminate(); self.p.wait()

SEED = r"""  event_action = ${if eq {msg:delivery}{$event_name} \
{${lookup pgsql {SELECT * FROM record_Delivery( \
    '${quote_pgsql:$sender_address_domain}',\
    '${quote_pgsql:${lc:$sender_address_local_part}}', \
    '${quote_pgsql:$domain}', \
    '${quote_pgsql:${lc:$local_part}}', \
    '${quote_pgsql:$host_address}', \
    '${quote_pgsql:${lc:$host}}', \
    '${quote_pgsql:$message_exim_id}')}} \
} {}}
"""
ACTIONS = {"none": "", "cheap": "  event_action = ${if eq {msg:delivery}{$event_name} {${lc:$local_part@$domain}}}\n", "pgsql": SEED}

def acting(mta, action):
    """The adapter's transport gets the action."""
    plain = type(mta).configure
    def configure(mode, **opt):
        plain(mta, mode, global_extra=f"hide pgsql_servers = 127.0.0.1::{PORT}/postgres/post/x\n", **opt)
        with open(mta.config()) as f: text = f.read()
        at = "  hosts_avoid_tls = *\n"
        assert at in text
        mta.write(mta.config(), text.replace(at, at + action))
    mta.configure = configure

dns, sink, server, found = Dns(), Sink(), Postgres(), {}
for _ in range(ROUNDS):
    for mta in adapters():
        for name in os.environ.get("ACTIONS", "none cheap pgsql").split():
            acting(mta, ACTIONS[name])
            mta.start("relay")
            load("send", mta.port, count=40, sessions=SESSIONS, to=mta.to_relay); mta.drain(30)
            server.ask("delete from d"); taken, cpu, began = sink.stat()[0], mta.group.cpu(), time.time()
            sent = load("send", mta.port, count=COUNT, sessions=SESSIONS, per_conn=PER, to=mta.to_relay)
            while sink.stat()[0] - taken < COUNT and time.time() - began < 280: time.sleep(0.02)
            # The last of the work is the last row.
            while name == "pgsql" and int(server.ask("select count(*) from d")) < COUNT and time.time() - began < 290: time.sleep(0.02)
            took = time.time() - began; mta.drain(30); time.sleep(0.3)
            used = sum(after - before for before, after in zip(cpu, mta.group.cpu()))
            rows = int(server.ask("select count(*) from d"))
            found.setdefault((mta.name, name), []).append((COUNT / took, used * 1e3 / COUNT, rows, sent["failed"]))
            mta.stop()
rows = []
for (mta, name), values in found.items():
    rate, plain = med([v[0] for v in values]), med([v[0] for v in found.get((mta, "none"), values)])
    rows.append([mta, name, COUNT, rate, rate / plain, med([v[1] for v in values]), "/".join(str(v[2]) for v in values), sum(v[3] for v in values)])
table(f"15 relayed messages with an event action, {SESSIONS} sessions, {PER} a connection; median of {ROUNDS}",
      ["MTA", "action", "msgs", "msg/s", "x none", "CPU ms/msg", "rows", "failed"], rows)
