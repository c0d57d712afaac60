"""A mail server with STARTTLS that takes every message as fast as Python can: the far end of b16_tls_delivery. It offers PIPELINING and
gives session tickets; a process for each core, a thread for each connection."""
import multiprocessing, os, socket, ssl, threading

MESSAGES, CONNECTIONS, RESUMED = range(3)


class TlsSink:
    def __init__(self, port, certificate, key, processes=2):
        # Tickets of one process must be good for the others: they are made before the fork.
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.counts = multiprocessing.Array("q", 3)
        self.listener = socket.create_server(("127.0.0.1", port), backlog=512)
        context = multiprocessing.get_context("fork")
        self.workers = [context.Process(target=self.work, daemon=True) for _ in range(processes)]
        for worker in self.workers: worker.start()

    def stat(self): return list(self.counts[:])

    def close(self):
        for worker in self.workers: worker.terminate()
        self.listener.close()

    def add(self, which):
        with self.counts.get_lock(): self.counts[which] += 1

    def work(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, plain):
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.sendall(b"220 sink ESMTP\r\n")
            if not self.talk(plain, b"250-sink\r\n250-PIPELINING\r\n250 STARTTLS\r\n"): return
            with self.context.wrap_socket(plain, server_side=True) as secure:
                self.add(CONNECTIONS)
                if secure.session_reused: self.add(RESUMED)
                self.talk(secure, b"250-sink\r\n250 PIPELINING\r\n")
        except OSError:
            pass  # whoever goes away has gone
        finally:
            plain.close()

    def talk(self, stream, greeting):
        """Answers commands, several at once if they come so. True: the client wants TLS."""
        waiting = b""
        while True:
            more = stream.recv(65536)
            if not more: return False
            waiting += more
            answers = []
            while b"\n" in waiting:
                line, waiting = waiting.split(b"\n", 1)
                verb = line[:4].upper()
                if verb == b"EHLO": answers.append(greeting)
                elif verb == b"STAR":
                    stream.sendall(b"220 go\r\n")
                    return True
                elif verb == b"QUIT":
                    stream.sendall(b"".join(answers) + b"221 bye\r\n")
                    return False
                elif verb == b"DATA":
                    stream.sendall(b"".join(answers) + b"354 go\r\n")
                    waiting = self.data(stream, waiting)
                    if waiting is None: return False
                    self.add(MESSAGES)
                    answers = [b"250 stored\r\n"]
                else: answers.append(b"250 ok\r\n")
            if answers: stream.sendall(b"".join(answers))

    @staticmethod
    def data(stream, waiting):
        """Reads up to the dot; what comes behind it."""
        text = b"\r\n" + waiting
        while True:
            at = text.find(b"\r\n.\r\n")
            if at >= 0: return text[at + 5:]
            more = stream.recv(65536)
            if not more: return None
            text = text[-4:] + more
