# Asks the programs that others wrote: dkimpy, libopendkim, libopendmarc, authres. One question on each line of standard
# input, in JSON, one answer on each line of standard output. Everything stays in this process and in memory.
import base64, ctypes, json, os, sys, tempfile

KEYS = {}
KEY_FILE = tempfile.NamedTemporaryFile("w", delete=False)


def text(value):
    return base64.b64encode(value).decode()


def data(value):
    return base64.b64decode(value)


def record(name, timeout=5):
    return KEYS.get(name.decode().rstrip("."))


class OpenDkim:
    SETOPT, QUERYMETHOD, QUERYINFO, FILE = 1, 6, 7, 1
    CANON = {"simple": 0, "relaxed": 1}

    def __init__(self):
        self.so = ctypes.CDLL("libopendkim.so.11")
        for name in ("dkim_init", "dkim_sign", "dkim_verify"):
            getattr(self.so, name).restype = ctypes.c_void_p
        self.lib = ctypes.c_void_p(self.so.dkim_init(None, None))
        method = ctypes.c_int(self.FILE)
        path = ctypes.create_string_buffer(KEY_FILE.name.encode())
        done = self.so.dkim_options(self.lib, self.SETOPT, self.QUERYMETHOD, ctypes.byref(method), ctypes.sizeof(method))
        assert done == 0, done
        done = self.so.dkim_options(self.lib, self.SETOPT, self.QUERYINFO, path, len(KEY_FILE.name))
        assert done == 0, done

    def feed(self, handle, message):
        header, _, body = message.partition(b"\r\n\r\n")
        lines = []
        for line in header.split(b"\r\n"):
            if line[:1] in (b" ", b"\t"):
                lines[-1] += b"\r\n" + line
            else:
                lines.append(line)
        for line in lines:
            self.so.dkim_header(handle, line, ctypes.c_size_t(len(line)))
        self.so.dkim_eoh(handle)
        for start in range(0, len(body), 1000):
            part = body[start:start + 1000]
            self.so.dkim_body(handle, part, ctypes.c_size_t(len(part)))
        return self.so.dkim_eom(handle, None)

    def verify(self, message):
        status = ctypes.c_int(0)
        handle = ctypes.c_void_p(self.so.dkim_verify(self.lib, b"id", None, ctypes.byref(status)))
        result = self.feed(handle, message)
        self.so.dkim_free(handle)
        return result

    def sign(self, message, selector, domain, key, canon):
        status = ctypes.c_int(0)
        handle = self.so.dkim_sign(
            self.lib, b"id", None, key, selector, domain, self.CANON[canon[0]], self.CANON[canon[1]], 1,
            ctypes.c_ssize_t(-1), ctypes.byref(status))
        assert handle, status.value
        handle = ctypes.c_void_p(handle)
        result = self.feed(handle, message)
        assert result == 0, result
        line, length = ctypes.c_char_p(), ctypes.c_size_t(0)
        assert self.so.dkim_getsighdr_d(handle, ctypes.c_size_t(len("DKIM-Signature: ")), ctypes.byref(line), ctypes.byref(length)) == 0
        signature = b"DKIM-Signature: " + line.value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n"
        self.so.dkim_free(handle)
        return signature


class OpenDmarc:
    class Library(ctypes.Structure):
        _fields_ = [("kind", ctypes.c_int), ("file", ctypes.c_char * 4096), ("count", ctypes.c_int),
                    ("servers", ctypes.c_char * 1024)]

    RESULT = {"pass": 1, "fail": 2, "later": 3}

    def __init__(self, suffixes):
        self.so = ctypes.CDLL("libopendmarc.so.2")
        self.so.opendmarc_policy_connect_init.restype = ctypes.c_void_p
        self.library = self.Library()
        self.library.kind, self.library.file = 1, suffixes.encode()
        assert self.so.opendmarc_policy_library_init(ctypes.byref(self.library)) == 0
        assert self.so.opendmarc_tld_read_file(suffixes.encode(), b"//", b"*.", b"!") == 0

    def judge(self, question):
        so = self.so
        context = ctypes.c_void_p(so.opendmarc_policy_connect_init(b"10.1.1.1", 4))
        so.opendmarc_policy_store_from_domain(context, question["from"].encode())
        if question["spf"]:
            result, domain = question["spf"]
            so.opendmarc_policy_store_spf(context, domain.encode(), self.RESULT[result], 0, None)
        for result, domain in question["dkim"]:
            so.opendmarc_policy_store_dkim(context, domain.encode(), b"sel", self.RESULT[result], None)
        owner, organization = question["owner"].encode(), question["organization"]
        stored = so.opendmarc_policy_store_dmarc(
            context, question["record"].encode(), owner, organization.encode() if organization else None)
        policy = so.opendmarc_get_policy_to_enforce(context)
        dkim, spf = ctypes.c_int(0), ctypes.c_int(0)
        so.opendmarc_policy_fetch_alignment(context, ctypes.byref(dkim), ctypes.byref(spf))
        so.opendmarc_policy_connect_shutdown(context)
        return {"stored": stored, "policy": policy, "dkim": dkim.value == 4, "spf": spf.value == 4}


def answer(question, made={}):
    operation = question["op"]
    if operation == "keys":
        KEYS.update({name: value.encode() for name, value in question["keys"].items()})
        with open(KEY_FILE.name, "w") as file:
            file.writelines(f"{name} {value}\n" for name, value in question["keys"].items())
        return {}
    if operation == "authres":
        import authres
        parsed = authres.AuthenticationResultsHeader.parse(question["line"])
        return {"name": parsed.authserv_id,
                "results": [f"{one.method}={one.result}" for one in parsed.results]}
    if operation == "dmarc":
        if "dmarc" not in made:
            made["dmarc"] = OpenDmarc(question["suffixes"])
        return made["dmarc"].judge(question)
    import dkim
    if operation == "dkimpy_verify":
        try:
            return {"good": dkim.DKIM(data(question["message"])).verify(dnsfunc=record)}
        except dkim.ValidationError as error:
            return {"good": False, "reason": str(error)}
    if operation == "dkimpy_sign":
        canon = tuple(word.encode() for word in question["canon"])
        line = dkim.sign(
            data(question["message"]), question["selector"].encode(), question["domain"].encode(),
            question["key"].encode(), canonicalize=canon, signature_algorithm=question["method"].encode())
        return {"line": text(line)}
    if operation == "arc_verify":
        state, _, reason = dkim.arc_verify(data(question["message"]), dnsfunc=record)
        return {"state": state.decode(), "reason": str(reason)}
    if operation == "arc_sign":
        lines = dkim.arc_sign(
            data(question["message"]), question["selector"].encode(), question["domain"].encode(),
            question["key"].encode(), question["domain"].encode(),
            include_headers=[b"from", b"to", b"subject"])
        return {"line": text(b"".join(lines))}
    if "opendkim" not in made:
        made["opendkim"] = OpenDkim()
    if operation == "opendkim_verify":
        return {"status": made["opendkim"].verify(data(question["message"]))}
    if operation == "opendkim_sign":
        line = made["opendkim"].sign(
            data(question["message"]), question["selector"].encode(), question["domain"].encode(),
            question["key"].encode(), question["canon"])
        return {"line": text(line)}
    raise ValueError(operation)


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
os.unlink(KEY_FILE.name)
