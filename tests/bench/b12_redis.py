"""Redis lookups per second within the daemon, by 1 and 100 sessions, beside redis-benchmark's GET with as many connections.

Each HELO runs an ACL that looks up 200 keys one after the other, so that the lookups are what is measured, not SMTP. Wanted: at
least 70 % of redis-benchmark's rate. Needs redis-server and redis-benchmark (Debian's redis-tools)."""
import os, shutil, socket, subprocess, sys, tempfile, threading, time

BINARY = os.environ.get("OXIM_BINARY", "target/release/oxim")
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SCALE = float(os.environ.get("SCALE", "1"))
KEYS = 200
WANTED = 0.7


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    end = time.time() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.time() > end:
                sys.exit(f"nothing listens on port {port}")
            time.sleep(0.05)


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")
        self.reply()

    def reply(self):
        while True:
            line = self.file.readline()
            if line[3:4] != b"-":
                return line

    def ask(self, line):
        self.socket.sendall(line.encode() + b"\r\n")
        return self.reply()


def lookups(port, sessions, commands):
    clients = [Client(port) for _ in range(sessions)]
    faults = []

    def work(client):
        for _ in range(commands):
            reply = client.ask("HELO bench.test")
            if not reply.startswith(b"250 " + b"v" * 8):
                faults.append(reply)

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    begin = time.time()
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    taken = time.time() - begin
    if faults:
        sys.exit(f"not what was expected: {faults[0]}")
    return sessions * commands * KEYS / taken


def benchmark(port, sessions, requests):
    words = ["redis-benchmark", "-p", str(port), "-c", str(sessions), "-n", str(requests), "-t", "get", "-d", "8", "--csv"]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    row = [line for line in out.splitlines() if line.startswith('"GET')][0]
    return float(row.split(",")[1].strip('"'))


def main():
    if not (shutil.which("redis-server") and shutil.which("redis-benchmark")):
        return print("b12_redis: redis-server or redis-benchmark is not installed: skipped", file=sys.stderr)
    folder = tempfile.mkdtemp(prefix="oxim-bench-redis")
    os.chmod(folder, 0o777)
    redis_port, port = free_port(), free_port()
    redis = subprocess.Popen(["redis-server", "--port", str(redis_port), "--save", "", "--dir", folder], stdout=subprocess.DEVNULL)
    text = f"""spool_directory = {folder}/spool
log_file_path = {folder}/%slog
primary_hostname = bench.test
pid_file_path = {folder}/pid
exim_user = mail
exim_group = mail
keep_environment =
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
smtp_accept_max = 0
smtp_accept_max_nonmail = 100000
smtp_accept_queue = 0
redis_servers = 127.0.0.1::{redis_port}//
acl_smtp_helo = helo
begin acl
helo:
  accept message = ${{reduce{{<; {"; ".join(str(i) for i in range(KEYS))}}}{{}}{{${{lookup redis,cache=no{{GET k$item}}}}}}}}
begin routers
none:
  driver = redirect
  data = :blackhole:
"""
    with open(f"{folder}/conf", "w") as file: file.write(text)
    oxim = subprocess.Popen([BINARY, "-C", f"{folder}/conf", "-bdf"])
    rows = []
    try:
        wait_for(redis_port)
        for i in range(KEYS):
            subprocess.run(["redis-cli", "-p", str(redis_port), "set", f"k{i}", "v" * 8], check=True, stdout=subprocess.DEVNULL)
        wait_for(port)
        for sessions in (1, 100):
            commands = max(2, int((100 if sessions == 1 else 10) * SCALE))
            lookups(port, sessions, 2)
            pairs = []
            for _ in range(ROUNDS):
                theirs = benchmark(redis_port, sessions, sessions * commands * KEYS)
                pairs.append((lookups(port, sessions, commands), theirs))
            ours, theirs = (sorted(values)[len(values) // 2] for values in zip(*pairs))
            rows.append((sessions, ours, theirs, ours / theirs))
    finally:
        for child in (oxim, redis):
            child.terminate()
            child.wait()
        shutil.rmtree(folder, ignore_errors=True)
    table = [f"Redis lookups per second; median of {ROUNDS}", "", "| sessions | lookups/s | redis-benchmark GET/s | share | |", "|---|---|---|---|---|"]
    for sessions, ours, theirs, share in rows:
        table.append(f"| {sessions} | {ours:.0f} | {theirs:.0f} | {share:.2f} | {'' if share >= WANTED else 'below what is wanted'} |")
    print("\n".join(table))
    results = os.path.join(os.environ.get("BENCH_DIR", "/var/tmp/oxim-bench"), "results")
    os.makedirs(results, exist_ok=True)
    with open(f"{results}/b12_redis.md", "w") as file: file.write("\n".join(table) + "\n")


main()
