"""Listing a queue of COUNT messages (100,000) that lie in one spool directory: Exim's programs and Oxim's under the same names read the
same files, one after the other, with no daemon running. Says seconds and CPU seconds of the second of two runs, and that the outputs are equal."""
import os
os.environ.setdefault("MTAS", "exim oxim")
import resource
from benchlib import *

COUNT = n(int(os.environ.get("COUNT", "100000")))
OXIM = os.environ["OXIM_BINARY"]
TOP = f"{BENCH_DIR}/listing"
CONFIG = f"""spool_directory = {TOP}/spool
log_file_path = {TOP}/log/%slog
exim_user = Debian-exim
exim_group = Debian-exim
split_spool_directory
keep_environment =
begin routers
all:
  driver = accept
  transport = none
begin transports
none:
  driver = appendfile
  file = /dev/null
"""
LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def base62(number, width):
    out = ""
    for _ in range(width): number, digit = divmod(number, 62); out = LETTERS[digit] + out
    return out


def fill():
    """One message by Exim, then copies of its files under other names, a tenth of them frozen."""
    shutil.rmtree(TOP, ignore_errors=True)
    for name in ("spool", "log", "tools"): os.makedirs(f"{TOP}/{name}"); shutil.chown(f"{TOP}/{name}", "Debian-exim", "Debian-exim")
    with open(f"{TOP}/exim.conf", "w") as file: file.write(CONFIG)
    made = subprocess.run(["/usr/sbin/exim4", "-C", f"{TOP}/exim.conf", "-odq", "-f", "src@source.test", "one@sink.test", "two@far.test"],
                          input="Subject: bench\n\ntext\n", text=True, capture_output=True)
    files = [os.path.join(d, f) for d, _, names in os.walk(f"{TOP}/spool/input") for f in names]
    if made.returncode or len(files) != 2: sys.exit(f"b17_listing: {made.stderr}")
    head, data = sorted(files, key=lambda f: f.endswith("-D"))
    text, body = open(head).read(), open(data).read()
    id = os.path.basename(head)[:-2]
    now = int(time.time())
    for number in range(1, COUNT):
        new = f"{base62(now - number // 1000, 6)}-{base62(number % 1000, 6)}-{base62(number % 62, 2)}"
        folder = f"{TOP}/spool/input/{new[5]}"
        os.makedirs(folder, exist_ok=True)
        frozen = f"-frozen {now}\n" if number % 10 == 0 else ""
        with open(f"{folder}/{new}-D", "w") as file: file.write(body.replace(id, new))
        with open(f"{folder}/{new}-H", "w") as file: file.write(text.replace(id, new).replace("-received_time", frozen + "-received_time", 1))
    sh(["chown", "-R", "Debian-exim:Debian-exim", f"{TOP}/spool"])
    for name in ("exim", "exiqgrep", "exipick"): os.symlink(OXIM, f"{TOP}/tools/{name}")


def timed(words):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.time()
    out = subprocess.run(words, capture_output=True).stdout
    took, after = time.time() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, out


fill()
rows = []
for name, words in [("exim -bp", ["exim", "-C", f"{TOP}/exim.conf", "-bp"]), ("exim -bpc", ["exim", "-C", f"{TOP}/exim.conf", "-bpc"]),
                    ("exiqgrep -i -f src", ["exiqgrep", "-C", f"{TOP}/exim.conf", "-i", "-f", "src@"]),
                    ("exipick -z -i", ["exipick", "--spool", f"{TOP}/spool", "-z", "-i"])]:
    found = {}
    for mta, folder in (("exim", "/usr/sbin"), ("oxim", f"{TOP}/tools")):
        program = [f"{folder}/exim4" if (mta, words[0]) == ("exim", "exim") else f"{folder}/{words[0]}", *words[1:]]
        timed(program)
        found[mta] = timed(program)
    same = "yes" if sorted(found["exim"][2].splitlines()) == sorted(found["oxim"][2].splitlines()) else "no"
    for mta, (took, cpu, out) in found.items():
        rows.append([name, mta, took, cpu, found["exim"][0] / took, len(out.splitlines()), same])
shutil.rmtree(TOP, ignore_errors=True)
table(f"17 a queue of {COUNT} messages", ["command", "program", "seconds", "CPU seconds", "x exim", "lines", "equal"], rows)
