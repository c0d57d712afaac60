"""Ten expressions, as configurations hold them: CPU of each compiled once and evaluated as the daemon does, and through `-be`, beside exim4's
`-be`; and whether memory grows over ten million evaluations. The three must give the same text.

CPU is user and system time of the whole process (getrusage), less that of the same program with one line. Needs the program of
`cargo bench --package oxim-tests --bench expressions --no-run`, which is built when it is not there."""
import glob, os, shutil, subprocess, sys, tempfile

BINARY = os.environ.get("OXIM_BINARY", "target/release/oxim")
EXIM = os.environ.get("EXIM_BINARY", "/usr/sbin/exim4")
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SCALE = float(os.environ.get("SCALE", "1"))
LINES = max(1000, int(50_000 * SCALE))
EACH = max(1000, int(200_000 * SCALE))
ALL = max(10_000, int(10_000_000 * SCALE))
HERE = os.path.dirname(os.path.abspath(__file__))
COMPILED_WANTED, LINE_WANTED, GROWTH_KIB_MAX = 10, 3, 256


def measuring_program():
    named = os.environ.get("EXPRESSIONS_BENCH")
    if named: return named
    root = os.path.join(HERE, "..", "..")
    subprocess.run(["cargo", "bench", "--offline", "--quiet", "--package", "oxim-tests", "--bench", "expressions", "--no-run"], cwd=root, check=True)
    found = [f for f in glob.glob(os.path.join(root, "target/release/deps/expressions-*")) if os.access(f, os.X_OK)]
    return max(found, key=os.path.getmtime)


def lines_of(program, folder, file):
    words = [program, "-C", f"{folder}/conf", "-f", "Ann.Example@News.Bench.EX", "-bem", f"{folder}/message"]
    out = subprocess.Popen(words, stdin=open(file), stdout=open(f"{folder}/out", "wb"), stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(out.pid, 0)
    out.returncode = status
    text = open(f"{folder}/out", errors="surrogateescape").read()
    return usage.ru_utime + usage.ru_stime, text


def per_line(program, folder, expression):
    def cpu(count):
        with open(f"{folder}/lines", "w") as file: file.write((expression + "\n") * count)
        rows = [lines_of(program, folder, f"{folder}/lines") for _ in range(ROUNDS)]
        return sorted(row[0] for row in rows)[ROUNDS // 2], rows[0][1]
    one, text = cpu(1)
    many, _ = cpu(LINES)
    return (many - one) * 1e6 / (LINES - 1), text.removeprefix("> ").removesuffix("\n> \n")


def main():
    if not os.path.exists(EXIM):
        return print("b13_expressions: exim4 is not installed: skipped", file=sys.stderr)
    program = measuring_program()
    folder = tempfile.mkdtemp(prefix="oxim-bench-expressions")
    os.chmod(folder, 0o755)
    try:
        with open(f"{folder}/conf", "w") as file:
            file.write(f"""spool_directory = {folder}
log_file_path = {folder}/%slog
primary_hostname = mail.bench.ex
keep_environment =
domainlist local_domains = @ : bench.ex : *.bench.ex : lsearch;{folder}/domains
hostlist relay_hosts = 127.0.0.1 : 10.0.0.0/8 : 192.168.0.0/16
""")
        with open(f"{folder}/message", "w") as file:
            file.write("From: Ann <ann@bench.ex>\nTo: bob@bench.ex\nSubject: Re: the plan, for (next) week!\nDate: Sat, 21 Nov 2026 10:00:00 +0000\nMessage-Id: <a@bench.ex>\n\nHello\n")
        with open(f"{folder}/aliases", "w") as file: file.write("".join(f"user{i}: box{i}@bench.ex\n" for i in range(50)) + "ann.example: ann@store.bench.ex\n")
        with open(f"{folder}/domains", "w") as file: file.write("other.ex\n")
        expressions = [line.replace("@FOLDER@", folder) for line in open(f"{HERE}/expressions.txt").read().splitlines()]
        with open(f"{folder}/expressions", "w") as file: file.write("\n".join(expressions) + "\n")
        words = [program, f"{folder}/conf", f"{folder}/message", f"{folder}/expressions", str(EACH), str(ALL)]
        compiled = [line.split("\t") for line in subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()]
        rows, sums = [], [0.0, 0.0, 0.0]
        for i, expression in enumerate(expressions):
            theirs, expected = per_line(EXIM, folder, expression)
            ours, text = per_line(BINARY, folder, expression)
            escaped = expected.replace("\n", "\\n").replace("\t", "\\t")
            if text != expected or compiled[i][1] != escaped:
                sys.exit(f"{expression}\nexim4 gives {expected!r}\n-be gives {text!r}\ncompiled {compiled[i][1]!r}")
            once = int(compiled[i][0]) / 1000
            sums = [a + b for a, b in zip(sums, (theirs, ours, once))]
            rows.append((expression.replace(folder, "").replace("|", "\\|")[:60], theirs, ours, theirs / max(ours, 0.001), once, theirs / max(once, 0.001)))
        rows.append(("all ten", sums[0], sums[1], sums[0] / sums[1], sums[2], sums[0] / sums[2]))
        before, after = int(compiled[-1][1]), int(compiled[-1][2])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = ["CPU microseconds per evaluation", "", "| expression | exim4 -be | oxim -be | times less | compiled | times less |", "|---|---|---|---|---|---|"]
    for name, theirs, ours, less, once, once_less in rows:
        table.append(f"| `{name}` | {theirs:.2f} | {ours:.2f} | {less:.1f} | {once:.2f} | {once_less:.1f} |")
    table += ["", f"Resident memory before and after {ALL:,} evaluations: {before} and {after} KiB."]
    met = sums[0] / sums[1] >= LINE_WANTED and sums[0] / sums[2] >= COMPILED_WANTED and after - before <= GROWTH_KIB_MAX
    table.append(f"Wanted: {LINE_WANTED} times less through -be, {COMPILED_WANTED} times less compiled, no growth: {'met' if met else 'NOT MET'}.")
    print("\n".join(table))
    results = os.path.join(os.environ.get("BENCH_DIR", "/var/tmp/oxim-bench"), "results")
    os.makedirs(results, exist_ok=True)
    with open(f"{results}/b13_expressions.md", "w") as file: file.write("\n".join(table) + "\n")


main()
