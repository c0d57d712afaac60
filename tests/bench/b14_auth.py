"""CPU per accepted message of 100 KB: an SPF check and the verification of a DKIM signature (rsa-sha256, 2048 bits), beside the same
message accepted without either. Wanted: at most half of Exim's. Needs dkimpy (python3-dkim) to sign."""
import os
os.environ.setdefault("MTAS", "exim oxim")
from benchlib import *
try:
    import dkim
except ImportError:
    sys.exit("b14_auth: no dkimpy (python3-dkim)")

PER = int(os.environ.get("PER", "1"))
key = f"{BENCH_DIR}/auth.pem"
if not os.path.exists(key):
    sh(f"openssl genrsa -traditional -out {key} 2048; openssl rsa -in {key} -pubout -outform DER 2>/dev/null | base64 -w0 > {key}.pub")
dns = Dns(extra="sel._domainkey.source.test TXT v=DKIM1; k=rsa; p=" + open(key + ".pub").read() + "\n")
body = b"".join(b"line %05d of the message body, some words to fill it up to the end.\r\n" % i for i in range(1430))
# The load generator puts a number before the @ of the Message-ID.
head = (b"From: <src@source.test>\r\nTo: <dst@sink.test>\r\nSubject: bench message\r\n"
        b"Date: Mon, 02 Nov 2026 10:00:00 +0000\r\nMessage-ID: <@source.test>\r\n\r\n")
signature = dkim.sign(head + body, b"sel", b"source.test", open(key, "rb").read(), include_headers=[b"from", b"to", b"subject", b"date"],
                      canonicalize=(b"relaxed", b"relaxed"))
message = f"{BENCH_DIR}/signed-100k.msg"
with open(message, "wb") as file: file.write(signature + head + body + b".\r\n")

SPF = "  deny spf = fail\n  warn condition = ${if eq{$spf_result}{pass}}\n       set acl_m1 = spf\n"
OFF = dict(acl_global="acl_smtp_connect = acl_c", acl_extra="acl_c:\n  accept control = dkim_disable_verify\n")
BOTH = dict(rcpt=SPF, acl_global="acl_smtp_dkim = acl_dkim",
            acl_extra="acl_dkim:\n  deny dkim_status = fail:invalid\n  accept\n")
ways = [("neither", OFF), ("SPF and DKIM", BOTH)]
found = {}
for _ in range(ROUNDS):
    for mta in (a for a in adapters() if a.name != "postfix"):
        for name, words in ways:
            mta.start("accept", **words)
            load("send", mta.port, count=4, sessions=1, file=message, to=mta.to_relay)
            count = n(400)
            before = mta.group.cpu()
            sent = load("send", mta.port, count=count, sessions=4, per_conn=PER, file=message, to=mta.to_relay)
            time.sleep(0.1)
            after = mta.group.cpu()
            cpu = sum(b - a for a, b in zip(before, after)) * 1e3 / count
            found.setdefault((mta.name, name), []).append((cpu, sent["rate"], sent["failed"]))
            mta.stop()
middle = {key: (med([v[0] for v in values]), med([v[1] for v in values]), sum(v[2] for v in values)) for key, values in found.items()}
rows = [[mta, name, cpu, cpu / middle[("exim", name)][0] if ("exim", name) in middle else 0.0, rate, failed]
        for (mta, name), (cpu, rate, failed) in middle.items()]
table(f"14 a message of 100 KB, {PER} a connection, 4 sessions; median of {ROUNDS}", ["MTA", "checks", "CPU ms/msg", "x exim", "msg/s", "failed"], rows)
