"""Relay to one host that wants TLS, end to end, until the queue is empty: with connections that are used again, and with a new one for each
message (sessions are resumed where a program does that by default). COUNT messages of 4 KiB from 20 sessions. Wanted: twice Postfix's rate."""
import os
from benchlib import *
from tls_sink import TlsSink

COUNT = n(int(os.environ.get("COUNT", "3000")))
EXIM = "  port = {port}\n  hosts_require_tls = *\n  tls_verify_certificates =\n  hosts_request_ocsp =\n"
POSTFIX = "smtp_tls_security_level = encrypt\nsmtp_tls_loglevel = 0\n"
# How each is told to do so. Postfix keeps TLS connections by way of tlsproxy only.
WAYS = {
    "connections used again": (EXIM, POSTFIX + "smtp_tls_connection_reuse = yes\nsmtp_connection_cache_destinations = 127.0.0.1\n"),
    "new connections": (EXIM + "  connection_max_messages = 1\n", POSTFIX + "smtp_connection_cache_on_demand = no\n"),
}
TLSPROXY = "tlsproxy unix - - n - 0 tlsproxy\n"


def tell(mta, way, port):
    """Makes a configured program deliver by TLS to the port."""
    exim, postfix = WAYS[way]
    if mta.name == "postfix":
        with open(f"{mta.dir}/etc/main.cf", "a") as file: file.write(postfix + f"relayhost = [127.0.0.1]:{port}\n")
        with open(f"{mta.dir}/etc/master.cf", "a") as file: file.write(TLSPROXY)
        return
    path = f"{mta.dir}/etc/exim4.conf"
    with open(path) as file: text = file.read()
    head, options = text.split("smtp_out:\n  driver = smtp\n")
    kept = [line for line in options.split("\n") if not line.strip().startswith(("port =", "hosts_avoid_tls"))]
    mta.write(path, head + "smtp_out:\n  driver = smtp\n" + exim.format(port=port) + "\n".join(kept))


def configured(mta, way, port):
    configure = type(mta).configure
    mta.configure = lambda mode, **options: (configure(mta, mode, **options), tell(mta, way, port))


dns, found, port = Dns(), {}, SINK_PORT + 1
sink = TlsSink(port, f"{BENCH_DIR}/tls/cert.pem", f"{BENCH_DIR}/tls/key.pem")
atexit.register(sink.close)
programs = adapters()
for _ in range(ROUNDS):
    for way in WAYS:
        for mta in programs:
            count = max(50, int(COUNT * float(os.environ.get("W_" + mta.name, "1"))))
            configured(mta, way, port)
            mta.start("relay")
            load("send", mta.port, count=10, sessions=2, to=mta.to_relay)
            mta.drain(30)
            first, cpu, began = sink.stat(), mta.group.cpu(), time.time()
            sent = load("send", mta.port, count=count, sessions=20, per_conn=20, to=mta.to_relay)
            while sink.stat()[0] - first[0] < count and time.time() - began < 280: time.sleep(0.02)
            took = time.time() - began
            is_whole = mta.drain(60)
            last, after = sink.stat(), mta.group.cpu()
            messages, connections, resumed = (b - a for a, b in zip(first, last))
            used = sum(b - a for a, b in zip(cpu, after)) * 1e3 / count
            bad = sent["failed"] + (messages != count) + (not is_whole)
            found.setdefault((way, mta.name), []).append((count / took, used, messages / max(1, connections), resumed / max(1, connections), bad))
            mta.stop()
rows = []
for way in WAYS:
    middle = {name: [med(values) for values in zip(*all_)] for (w, name), all_ in found.items() if w == way}
    base = middle.get("postfix", [float("nan")])[0]
    for name, (rate, cpu, each, resumed, _) in middle.items():
        bad = sum(value[4] for value in found[(way, name)])
        rows.append([way, name, rate, rate / base, cpu, each, f"{resumed * 100:.0f} %", bad])
table(f"16 relay to one host by TLS; median of {ROUNDS}", ["way", "MTA", "msg/s", "x postfix", "CPU ms/msg", "msgs per connection", "resumed", "failed"], rows)
