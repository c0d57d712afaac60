"""Messages with many recipients, end to end, until the queue is empty: 20 recipients relayed to one domain and into a Maildir, and a
list message to 1,000 recipients in 50 domains that each have a host of their own. COUNT is the number of deliveries of a cell,
CELLS chooses among relay20, local20 and list1000. All may open 20 connections for a message."""
import socket
import threading
from benchlib import *

COUNT = n(int(os.environ.get("COUNT", "20000")))
CELLS = {"relay20": ("relay", 20), "local20": ("local", 20), "list1000": ("relay", 1000)}
SESSIONS = 4
TRASH = f"{BENCH_DIR}/home-of-before"
DOMAINS = [f"d{k}.sink.test" for k in range(50)]
# The name server of the benchmarks gives an absence without the record that says how long it may be kept: no IPv6 addresses are asked for.
# A router for the domains of the list, by their own names: what goes to one relay for all would be one domain.
ROUTER = "lists:\n  driver = manualroute\n  domains = *.sink.test\n  route_list = * $domain bydns\n  self = send\n  transport = smtp_out\n"
POSTFIX = "transport_maps = regexp:{etc}/transport\nrecipient_delimiter = +\nsmtp_host_lookup = dns\n"
MESSAGE = (b"From: <src@source.test>\r\nTo: list@sink.test\r\nSubject: bench message\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n\r\n"
           + b"some words to fill a line of the message that goes to everybody\r\n" * 60 + b".\r\n")


def start(mta, mode):
    """Starts one with the routes of the list."""
    configure = type(mta).configure
    def with_routes(mode, **words):
        configure(mta, mode, **words)
        if mta.name == "postfix":
            etc = f"{mta.dir}/etc"
            mta.write("etc/transport", "".join(f"/@{d}$/ smtp:[{d}]:{SINK_PORT}\n" for d in DOMAINS))
            with open(f"{etc}/main.cf", "a") as file: file.write(POSTFIX.format(etc=etc))
    mta.configure = with_routes
    mta.start(mode, router_pre=ROUTER, global_extra="remote_max_parallel = 20\ndns_ipv4_lookup = *\n")


def recipients(cell, count):
    if cell == "list1000": return [f"reader{k}@{DOMAINS[k % len(DOMAINS)]}" for k in range(count)]
    if cell == "relay20": return [f"reader{k}@sink.test" for k in range(count)]
    return [f"benchuser+{k}@local.test" for k in range(count)]


def session(port, to, messages, failures):
    """Sends over one connection, with pipelining."""
    try:
        connection = socket.create_connection(("127.0.0.1", port), 60)
        connection.settimeout(120)
        answers = connection.makefile("rb")
        def expect(digit):
            while True:
                line = answers.readline()
                if line[3:4] != b"-": break
            if not line.startswith(digit): raise RuntimeError(line.decode() or "connection closed")
        expect(b"2")
        connection.sendall(b"EHLO load.test\r\n"); expect(b"2")
        envelope = ("MAIL FROM:<src@source.test>\r\n" + "".join(f"RCPT TO:<{a}>\r\n" for a in to) + "DATA\r\n").encode()
        for _ in range(messages):
            connection.sendall(envelope)
            for _ in range(len(to) + 1): expect(b"2")
            expect(b"3")
            connection.sendall(MESSAGE); expect(b"2")
        connection.sendall(b"QUIT\r\n"); expect(b"2")
    except (OSError, RuntimeError) as error:
        failures.append(str(error))


def submit(port, to, messages):
    failures = []
    shares = [messages // SESSIONS + (k < messages % SESSIONS) for k in range(SESSIONS)]
    threads = [threading.Thread(target=session, args=(port, to, share, failures)) for share in shares if share]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    if failures: raise RuntimeError(failures[0])


def put_away():
    """Makes room for a new Maildir. Nothing is removed before the end: a file system that has just lost many files makes new ones slowly."""
    if os.path.exists(f"{BENCH_DIR}/home/Maildir"):
        os.makedirs(TRASH, exist_ok=True)
        os.rename(f"{BENCH_DIR}/home/Maildir", f"{TRASH}/{len(os.listdir(TRASH))}")


def in_maildir():
    try: return sum(1 for _ in os.scandir(f"{BENCH_DIR}/home/Maildir/new"))
    except FileNotFoundError: return 0


dns = Dns(extra="".join(f"{domain} A 127.0.0.1\n" for domain in DOMAINS))
sink = Sink()
found = {}
for _ in range(ROUNDS):
    for cell in os.environ.get("CELLS", " ".join(CELLS)).split():
        mode, each = CELLS[cell]
        to = recipients(cell, each)
        for mta in adapters():
            put_away()
            start(mta, mode)
            submit(mta.port, to[:1], 1)
            mta.drain(30)
            # A slow one may be given less (W_exim=0.2).
            messages = max(2, int(COUNT * float(os.environ.get("W_" + mta.name, "1"))) // each)
            before, stored = sink.stat()[0], in_maildir()
            cpu, began = mta.group.cpu(), time.time()
            submit(mta.port, to, messages)
            taken = time.time() - began
            drained = mta.drain(300)
            if mode == "local":
                while in_maildir() - stored < messages * each and time.time() - began < 300: time.sleep(0.02)
            took = time.time() - began
            time.sleep(0.3)
            spent = sum(b - a for a, b in zip(cpu, mta.group.cpu()))
            out = in_maildir() - stored if mode == "local" else sink.stat()[0] - before
            if not drained or (out != messages * each if mode == "local" else out < messages):
                sys.exit(f"b15_recipients: {mta.name} {cell}: {out} came out of {messages} messages, queue {mta.queue_len()}")
            found.setdefault((cell, mta.name), []).append((messages, messages * each / took, messages * each / taken, spent * 1e3 / messages,
                                                           spent * 1e3 / messages / each, messages * each / out))
            mta.stop()
            mta.wipe()
put_away()
shutil.rmtree(TRASH, ignore_errors=True)
rows = []
for (cell, name), values in found.items():
    middle = [med(column) for column in zip(*values)]
    first = med([v[1] for v in found[(cell, MTAS[0])]])
    rows.append([cell, name, int(middle[0]), middle[1], middle[1] / first, *middle[2:]])
table(f"15 many recipients, end to end; median of {ROUNDS}", ["cell", "MTA", "messages", "deliveries/s", f"x {MTAS[0]}", "accepted rcpt/s",
      "CPU ms/msg", "CPU ms/delivery", "rcpt per transaction"], rows)
