"""A ferry client written from PROTOCOL.md alone, as a check that the page is enough.

It asks every request of the table, provokes failures, and pipelines 2,000 requests. Usage:

    python3 conformance.py PORT

against a server that takes changes and whose root is empty. It prints what it did and ends with status 0, or
stops at the first thing that is not as the page says.
"""

import os
import re
import socket
import sys
import threading
import time
import zlib

BLOCK = 1 << 20
LINE = 4096
DEPTH = 2000
HANG_GUARD_SECONDS = 60

INTEGER = re.compile(r"0|[1-9][0-9]{0,18}")
TIME = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]{1,9})?|-")
TAG = re.compile(r"[0-9A-Za-z_-]{1,64}")
CRC = re.compile(r"[0-9a-f]{8}")
CODES = set(
    "not-found exists not-a-file not-a-directory not-empty bad-name bad-request bad-range unknown-command"
    " unsupported denied read-only too-large no-space checksum incomplete changed stopped busy timeout"
    " shutting-down io".split()
)
# The words behind the verb of each reply, and what each must look like.
REPLIES = {
    "FILE": [INTEGER, TIME, TAG],
    "DIR": [TIME],
    "LISTING": [],
    "SAVED": [INTEGER, CRC, TAG],
    "GO": [INTEGER],
    "SUM": [INTEGER, CRC, TAG],
    "DONE": [],
    "BYE": [],
}


def crc(data):
    return f"{zlib.crc32(data):08x}"


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


class Answer:
    def __init__(self, words, body=None):
        self.verb, self.words, self.body = words[0], words[1:], body

    def failure(self):
        return self.words[0] if self.verb == "FAIL" else None


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=HANG_GUARD_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb")
        words = self.line().split(" ")
        expect(words[:2] == ["FERRY", "1"] and "/" in words[2], f"a greeting, not {words}")
        expect("read-only" not in words[3:], "this check needs a server that takes changes")

    def line(self):
        line = self.input.readline(LINE)
        if not line.endswith(b"\n"):
            raise ConnectionError(f"the input ended, or a line is too long: {line!r}")
        return line[:-1].removesuffix(b"\r").decode("utf-8")

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def reply(self):
        """One reply line, checked word by word."""
        line = self.line()
        words = line.split(" ")
        if words[0] == "FAIL":
            expect(len(words) > 2 and words[1] in CODES, f"a known code and a message: {line!r}")
            expect(line.isprintable(), f"a message without control characters: {line!r}")
            return words
        expect(words[0] in REPLIES, f"a reply of version 1: {line!r}")
        forms = REPLIES[words[0]]
        expect(len(words) > len(forms), f"all words of the reply: {line!r}")
        for word, form in zip(words[1:], forms):
            expect(form.fullmatch(word), f"{word!r} in {line!r}")
        return words

    def answer(self, body=False):
        """One final reply, or GO; with its body where one follows."""
        words = self.reply()
        if not body or words[0] == "FAIL":
            return Answer(words)
        data = bytearray()
        while True:
            line = self.line()
            verb, _, rest = line.partition(" ")
            if verb == "DATA":
                expect(INTEGER.fullmatch(rest) and 1 <= int(rest) <= BLOCK, f"a block: {line!r}")
                block = self.input.read(int(rest))
                expect(len(block) == int(rest), "a block of the announced length")
                data += block
            elif verb == "FAIL":
                return Answer(line.split(" "))
            else:
                expect(line == f"END {crc(data)}", f"{line!r} for a body of CRC {crc(data)}")
                return Answer(words, bytes(data))

    def ask(self, request):
        self.send(request + "\n")
        return self.answer(body=request.split(" ")[0].upper() in ("GET", "READ", "LIST"))

    def fails(self, request, code):
        answer = self.ask(request)
        expect(answer.failure() == code, f"{code} for {request!r}, not {answer.verb} {answer.words}")

    def done(self, request):
        answer = self.ask(request)
        expect(answer.verb == "DONE", f"DONE for {request!r}, not {answer.verb} {answer.words}")

    def at_end(self):
        rest = self.input.read()
        expect(rest == b"", f"the end of input, not {rest[:80]!r}")


def body(data, whole=None, block=BLOCK):
    """The body of `data`; `whole` is what its END covers, where that is more."""
    out = bytearray()
    for start in range(0, len(data), block):
        piece = data[start : start + block]
        out += b"DATA %d\n" % len(piece) + piece
    return bytes(out) + f"END {crc(data if whole is None else whole)}\n".encode()


def put(name, data, mtime="-", size=None):
    return f"PUT {len(data) if size is None else size} {mtime} {name}\n".encode() + body(data)


def check_get_and_put(port):
    client = Client(port)
    for size in (0, 1, BLOCK - 1, BLOCK, BLOCK + 1):
        data = os.urandom(size)
        client.send(put("py sized", data, "1700000000.125"))
        saved = client.answer()
        expect((saved.verb, saved.words[:2]) == ("SAVED", [str(size), crc(data)]), f"{saved.words}")
        got = client.ask("GET py sized")
        expect(got.body == data, f"{size} bytes come back")
        expect(got.words == [str(size), "1700000000.125", saved.words[2]], f"{got.words}")
    client.send(put("py sized", b"any length", size="-"))
    expect(client.answer().words[0] == "10", "a PUT of unknown size")
    client.fails("GET py missing", "not-found")
    client.fails("GET ../x", "bad-name")
    client.done("DELETE py sized")


def check_read_and_sum(port):
    client = Client(port)
    data = os.urandom(10_000)
    client.send(put("py ranges", data))
    tag = client.answer().words[2]
    for offset, length in ((0, "*"), (1, 1), (9_999, 1), (9_999, 50), (10_000, "*"), (5_000, 0), (123, 4_567)):
        end = len(data) if length == "*" else offset + length
        for wanted in ("*", tag):
            got = client.ask(f"READ {offset} {length} {wanted} py ranges")
            expect(got.body == data[offset:end] and got.words[0] == "10000", f"READ {offset} {length}")
    client.fails("READ 10001 * * py ranges", "bad-range")
    client.fails("READ 0 * other py ranges", "changed")
    # A download that was cut after 3,000 bytes, as section 9 says.
    kept = data[:3_000]
    rest = client.ask(f"READ {len(kept)} * {tag} py ranges")
    expect(rest.words[2] == tag, "the same version")
    total = client.ask("SUM py ranges")
    expect(total.words == ["10000", crc(kept + rest.body), tag], f"{total.words}")
    client.done("DELETE py ranges")


def check_directories(port):
    client = Client(port)
    client.done("MKDIR py dir")
    client.done("MKDIR py dir/Größe")
    client.fails("MKDIR py dir", "exists")
    client.fails("MKDIR py missing/x", "not-found")
    names = {"a", "b c", " d ", "日本"}
    for name in names:
        client.send(put(f"py dir/{name}", name.encode()))
        expect(client.answer().verb == "SAVED", name)
    listing = client.ask("LIST py dir").body.decode().splitlines()
    seen = set()
    for line in listing:
        kind, size, mtime, tag, name = line.split(" ", 4)
        expect(TIME.fullmatch(mtime), line)
        if kind == "d":
            expect((size, tag, name) == ("-", "-", "Größe"), line)
            expect(client.ask(f"STAT py dir/{name}").words == [mtime], line)
        else:
            expect(kind == "f" and client.ask(f"STAT py dir/{name}").words == [size, mtime, tag], line)
            seen.add(name)
    expect(seen == names and len(listing) == len(names) + 1, f"{listing}")
    expect(any(line.endswith(" py dir") for line in client.ask("LIST").body.decode().splitlines()), "LIST")
    client.fails("LIST py dir/a", "not-a-directory")
    client.fails("GET py dir", "not-a-file")
    client.fails("DELETE py dir", "not-empty")
    client.fails("RENAME py dir/a//py dir/b c", "exists")
    client.done("RENAME py dir/a//py dir/Größe/moved")
    client.fails("STAT py dir/a", "not-found")
    expect(client.ask("GET py dir/Größe/moved").body == b"a", "a moved file")
    for name in ("Größe/moved", "Größe", "b c", " d ", "日本"):
        client.done(f"DELETE py dir/{name}")
    expect(client.ask("LIST py dir").body == b"", "an empty directory")
    client.done("DELETE py dir")


def check_refused_bodies(port):
    client = Client(port)
    data = b"some bytes"
    client.send(put("py missing/x", data))
    client.send(put("../x", data))
    client.send(b"PUT\nSTOP\n")
    client.send(b"PUT 10 - py x\nDATA 4\nsomeSTOP\n")
    client.send(b"PUT 11 - py x\n" + body(data))
    client.send(b"PUT 10 - py x\nDATA 10\n" + data + b"END 00000000\n")
    client.send(b"WITH color=blue\n" + put("py x", data))
    client.send(b"STAT py x\nFROB\n")
    codes = [client.answer().failure() for _ in range(9)]
    expect(
        codes
        == ["not-found", "bad-name", "bad-request", "stopped", "incomplete", "checksum", "unsupported", "not-found"]
        + ["unknown-command"],
        f"{codes}",
    )


def check_resume(port):
    data = os.urandom(3 * BLOCK + 5)
    request = f"RESUME {os.urandom(16).hex()} {len(data)} 1700000000 py resumed"
    offset = 0
    # Each time a little more arrives before the client breaks off.
    for cut in (100, BLOCK, BLOCK + 100):
        client = Client(port)
        go = client.ask(request)
        expect(go.verb == "GO" and offset <= int(go.words[0]) <= len(data), f"{go.words}")
        offset = int(go.words[0])
        client.send(body(data[offset:], data)[:cut])
        client.socket.shutdown(socket.SHUT_WR)
        expect(client.answer().failure() == "incomplete", "a body that the end of input cuts")
        client.at_end()
    client = Client(port)
    client.fails("STAT py resumed", "not-found")
    client.fails(request + " too", "exists")
    offset = int(client.ask(request).words[0])
    newer = Client(port)
    go = newer.ask(request)
    expect(client.answer().failure() == "changed", "the newest connection wins")
    expect(int(go.words[0]) >= offset, "nothing is lost")
    newer.send(body(data[int(go.words[0]) :], data))
    saved = newer.answer()
    expect((saved.verb, saved.words[:2]) == ("SAVED", [str(len(data)), crc(data)]), f"{saved.words}")
    expect(newer.ask(request).words == saved.words, "what is published already is SAVED")
    got = newer.ask("GET py resumed")
    expect(got.body == data and got.words[1] == "1700000000", "the resumed file")
    newer.done("DELETE py resumed")


def check_closing(port):
    for sent, expected in (
        (b"STAT py x\nCLOSE\nMKDIR py y\n", ["FAIL", "BYE"]),
        (b"STAT py x\nEND -\nMKDIR py y\n", ["FAIL", "FAIL"]),
        (b"GET / HTTP/1.1\r\n\r\n", ["FAIL"]),
        (b"x" * (LINE + 1), ["FAIL"]),
        (b"PUT 1 - py y\nDATA 2\nxx", ["FAIL"]),
        (b"PUT 1 - py y\nDATA 0\n", ["FAIL"]),
    ):
        client = Client(port)
        client.send(sent)
        verbs = [client.answer().verb for _ in expected]
        expect(verbs == expected, f"{verbs} for {sent[:40]!r}")
        client.at_end()
    client = Client(port)
    client.send(b"STAT py y\n")
    client.socket.shutdown(socket.SHUT_WR)
    expect([client.answer().verb, client.answer().verb] == ["FAIL", "BYE"], "the end of input is a CLOSE")
    client.at_end()


def pipeline():
    """DEPTH requests, each with a check of its answer."""
    steps = []
    number = 0
    while len(steps) < DEPTH:
        data = f"content of {number}".encode()
        name, other = f"py p{number}", f"py q{number}"
        saved = [str(len(data)), crc(data)]

        def file_of(data):
            return lambda answer: answer.body == data

        def words_of(verb, words):
            return lambda answer: answer.verb == verb and answer.words[: len(words)] == words

        def code(code):
            return lambda answer: answer.failure() == code

        steps += [
            (put(name, data), False, words_of("SAVED", saved)),
            (f"GET {name}\n", True, file_of(data)),
            (f"RENAME {name}//{other}\n", False, words_of("DONE", [])),
            (f"GET {name}\n", True, code("not-found")),
            (f"READ 3 4 * {other}\n", True, file_of(data[3:7])),
            (f"SUM {other}\n", False, words_of("SUM", saved)),
            (f"STAT {other}\n", False, words_of("FILE", saved[:1])),
            (f"DELETE {other}\n", False, words_of("DONE", [])),
            (f"MKDIR {name}\n", False, words_of("DONE", [])),
            (f"LIST {name}\n", True, file_of(b"")),
            (f"DELETE {name}\n", False, words_of("DONE", [])),
            (put("py nowhere/x", data), False, code("not-found")),
        ]
        number += 1
    steps = steps[:DEPTH]
    sent = b"".join(step[0] if isinstance(step[0], bytes) else step[0].encode() for step in steps)
    return sent, steps


def check_answers(client, steps):
    for number, (request, has_body, fits) in enumerate(steps):
        answer = client.answer(body=has_body)
        expect(fits(answer), f"answer {number}, to {request!r}: {answer.verb} {answer.words}")


def check_pipeline_unread(port):
    """All requests first; the answers, small enough for the sockets to hold, only at the end."""
    client = Client(port)
    sent, steps = pipeline()
    begin = time.monotonic()
    client.send(sent + b"CLOSE\n")
    check_answers(client, steps)
    expect(client.answer().verb == "BYE", "BYE")
    client.at_end()
    return len(steps), time.monotonic() - begin


def check_pipeline_of_files(port):
    """More bytes than any buffer holds, both ways, so the client reads while it writes."""
    client = Client(port)
    data = os.urandom(20_000)
    sent = (put("py piece", data) + b"GET py piece\n") * (DEPTH // 2)
    begin = time.monotonic()
    writing = threading.Thread(target=client.send, args=(sent,))
    writing.start()
    for number in range(DEPTH // 2):
        expect(client.answer().verb == "SAVED", f"PUT {number}")
        expect(client.answer(body=True).body == data, f"GET {number}")
    writing.join()
    seconds = time.monotonic() - begin
    client.done("DELETE py piece")
    return DEPTH, seconds, DEPTH * len(data)


def main():
    port = int(sys.argv[1])
    for check in (
        check_get_and_put,
        check_read_and_sum,
        check_directories,
        check_refused_bodies,
        check_resume,
        check_closing,
    ):
        check(port)
        print(f"{check.__name__}: as the page says")
    requests, seconds = check_pipeline_unread(port)
    print(f"{requests} mixed requests, nothing read until all were sent: {requests / seconds:.0f} requests/s")
    requests, seconds, size = check_pipeline_of_files(port)
    print(f"{requests} files there and back, read while written: {size / seconds / 1e6:.0f} MB/s")
    print(f"left in the root: {len(Client(port).ask('LIST').body.splitlines())} entries")


main()
