"""Publishes a log of this instance in the bucket, only while a reader requests it: no port is open, and nothing is kept.

`devopsctl logs` sets the tag `devopsctl:logs` to `<source>/<word>`, each time with a new word that begins with the time. For a
minute from then on, the last lines of that source are in the bucket, masked, and are written again whenever there are more:

    <name>/logs/<instance>/<source>.json    {"v": 1, "asked": [word...], "session": word, "of": orders,
                                             "lines": [[number, microseconds, text]...]}

`of` is only in the log of a release's commands, which is published without a request while they run. If the app has processes
beside its web server, the source `app` has the lines of all of them, and `from` says for each line whose it is: `web`, or a
process's name. Each of these is a source of its own, too. It is one object, so nothing accumulates, and concurrent readers see the same. Lines are numbered within a session, which lasts
as long as requests follow each other without a break.
"""

import collections
import json
import os
import queue
import subprocess
import threading
import time

from boot.validate import check, clean, in_words, integer, match, parse
from logs.masking import tail
from logs.sources import WEB
from orders.decide import one_line
from system import untrusted

SECONDS = 60  # How long a request lasts.
FINISH_SECONDS = 5
OLD = 300  # The agent starts without a request that is older than this.
PAUSE = 0.5  # Between two checks for more lines.
LINES, BYTES, LINE = 1000, 1 << 18, 1 << 13  # The limits: lines, characters of all lines, of one line.


class Logs:
    """`key(source)`: the key in the bucket; `mask(texts, before)`: `Mask.lines`; `sources()`: the known ones (`logs.sources`);
    `runner.follow(log)`: the lines."""

    def __init__(self, aws, runner, key, mask, sources, clock=time):
        self.aws, self.runner, self.key, self.mask, self.sources, self.clock = aws, runner, key, mask, sources, clock
        self.inbox, self.tag, self.begun = queue.SimpleQueue(), "", False
        self.shows = {}

    def heard(self, tag):
        """Takes the current value of the tag."""
        first, self.begun = not self.begun, True
        if tag and tag != self.tag:
            self.tag = tag
            said = match("log request", tag)
            if said and said["source"] in self.sources() and not (first and self.late(said["word"])):
                self.ask_for(said["source"], said["word"])

    def show(self, source, lines_of, word, orders):
        """Publishes these lines of a source from now on, for as long as a request lasts, without a reader's request. `orders`: what
        they belong to."""
        self.inbox.put((self.begin, source, lines_of, word, orders))

    def ask_for(self, source, word):
        """Extends that by another request."""
        self.inbox.put((self.ask, source, word))

    def finish(self):
        """Publishes what was printed until now, before it returns. If that takes longer, it goes on without waiting."""
        done = threading.Event()
        self.inbox.put((self.publish, done))
        done.wait(FINISH_SECONDS)

    def late(self, word):
        begun = word.partition("-")[0]
        return not match("number", begun) or int(begun) < self.clock.time() - OLD

    def run(self):
        while True:
            try:
                handle, *args = self.inbox.get(timeout=PAUSE if self.shows else None)
                handle(*args)
            except queue.Empty:
                pass
            self.turn()

    def begin(self, source, lines_of, word, orders):
        if source in self.shows:
            self.shows.pop(source).close()
        self.shows[source] = Show({None: Part(lines_of)}, word, orders)
        self.ask(source, word)

    def publish(self, done):
        self.turn()
        done.set()

    def ask(self, source, word):
        show = self.shows.get(source) or Show({}, word)
        # An app's processes may have changed since the last request.
        for origin, log in self.parts(source).items():
            try:
                if None not in show.parts and origin not in show.parts:
                    show.parts[origin] = Part(self.runner.follow(log))
            except (OSError, subprocess.SubprocessError) as problem:
                print(f"agent: cannot publish the log {source}: {in_words(problem)}", flush=True)
                return
        self.shows[source] = show
        show.asked(word, self.clock.monotonic() + SECONDS)

    def parts(self, source):
        """The logs that a source consists of, by the origin of their lines; None: they need no name."""
        known = self.sources()
        if source == "app" and WEB in known:
            return {name: log for name, log in known.items() if name == WEB or log.startswith("process-")}
        return {None: known.get(source, source)}

    def turn(self):
        for source, show in list(self.shows.items()):
            if self.clock.monotonic() > show.until:
                show.close()
                del self.shows[source]
                continue
            show.look(self.mask)
            if show.changed:
                try:
                    self.aws.upload(self.key(source), show.document(), "application/json")
                    show.changed = False
                except Exception as problem:  # noqa: BLE001 (the next turn retries, while the request lasts)
                    print(f"agent: cannot publish the log: {one_line(in_words(problem))}", flush=True)


class Part:
    """One of the logs that a source consists of. `before`: what it printed last, because a secret may have several lines."""

    def __init__(self, lines_of):
        self.lines_of, self.before, self.skipped = lines_of, "", 0

    def read(self, mask):
        """The new lines, masked: (microseconds, text)."""
        found = self.lines_of.read()
        shown = newest(found)
        self.skipped = len(found) - len(shown)
        # Masked first, then cut. Only the part of a very long line that can be published is masked.
        raw = [text[: LINE * 2] for _, text in shown]
        texts = mask(raw, self.before)
        self.before = tail(raw, self.before)
        return [(at, text[:LINE]) for (at, _), text in zip(shown, texts)]


class Show:
    """The published part of one source. `parts`: its logs, by the origin of their lines."""

    def __init__(self, parts, session, orders=None):
        self.parts, self.session, self.orders = parts, session, orders
        self.words, self.until = collections.deque(maxlen=20), 0.0
        self.lines, self.origins, self.number, self.size = collections.deque(), collections.deque(), 0, 0
        self.changed = False

    def close(self):
        for part in self.parts.values():
            part.lines_of.close()

    def asked(self, word, until):
        self.words.append(word)
        self.until, self.changed = until, True

    def look(self, mask):
        # In the order of their times. A log is read in order, so its own lines stay in it.
        found = [(at, text, origin) for origin, part in list(self.parts.items()) for at, text in part.read(mask)]
        self.number += sum(part.skipped for part in self.parts.values())
        for at, text, origin in sorted(found, key=lambda line: line[0]) if len(self.parts) > 1 else found:
            self.number += 1
            self.lines.append([self.number, at, text])
            self.origins.append(origin)
            self.size += len(text)
            self.changed = True
        while len(self.lines) > LINES or self.size > BYTES:
            self.size -= len(self.lines.popleft()[2])
            self.origins.popleft()

    def document(self):
        said = {
            "v": 1,
            "asked": list(self.words),
            "session": self.session,
            "of": self.orders,
            "lines": list(self.lines),
        }
        if None not in self.parts:
            said["from"] = list(self.origins)
        return json.dumps(said).encode()


def newest(found):
    """The last of these lines, no more than are published: the others need not be masked."""
    size, first = 0, len(found)
    while first and size < BYTES and len(found) - first < LINES:
        first -= 1
        size += min(len(found[first][1]), LINE)
    return found[first:]


class Journal:
    """The journal's matching lines: the last ones, or those since a time in seconds; then new ones."""

    def __init__(self, matches, since=None):
        command = ["journalctl", "--no-pager", "--quiet", "--output=json", "--output-fields=MESSAGE", *matches]
        self.rest, self.found = b"", []
        follow = [f"--since=@{since}", "--no-tail"] if since else self.last(command)
        quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([*command, "--follow", *follow], stdout=subprocess.PIPE, **quiet)
        os.set_blocking(self.process.stdout.fileno(), False)

    def last(self, command):
        """Reads the last lines -> the options that continue after them."""
        ran, cursor = subprocess.run([*command, f"--lines={LINES}"], capture_output=True, timeout=30, check=True), None
        for line in ran.stdout.splitlines():
            said = fields(line)
            self.found += entry(said)
            cursor = said.get("__CURSOR") or cursor
        return [f"--after-cursor={cursor}", "--no-tail"] if isinstance(cursor, str) else ["--lines=0"]

    def read(self):
        """The new lines since the last call: (microseconds, text) of each."""
        found, self.found = self.found, []
        *whole, self.rest = (self.rest + (self.process.stdout.read(BYTES * 4) or b"")).split(b"\n")
        if len(self.rest) > BYTES * 4:
            self.rest = b""  # Longer than any line of journalctl. Its end is not JSON, and is skipped.
        return found + [each for line in whole for each in entry(fields(line))]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def fields(line):
    """A line of the journal's JSON; empty if it is not valid."""
    try:
        return parse(line, kind=dict)
    except ValueError:
        return {}


def entry(said):
    """(microseconds, text) of an entry of the journal, in a list; an empty list for an invalid entry.

    Any process can send its own fields. journalctl writes text that is not UTF-8 as a list of bytes, text that is too long as
    null, and several fields of one name as a list.
    """
    try:
        at = integer(int(check("microseconds", said.get("__REALTIME_TIMESTAMP"))))
        text = said.get("MESSAGE") or ""
        if isinstance(text, list):
            text = one_text(text)
        if not isinstance(text, str):
            return []
        return [(at, clean(text, LINE * 2).replace("\n", "\\n"))]
    except (ValueError, TypeError):
        return []


def one_text(values):
    """A list of bytes as text; a list of texts joined."""
    if all(type(value) is int for value in values):
        return bytes(values).decode(errors="replace")
    return " ".join(value for value in values if isinstance(value, str))


class File:
    """A file's lines. They have no time of their own, so they get the time at which they are read."""

    def __init__(self, path, place=None):
        self.path = path
        self.place = max(0, untrusted.size(path) - BYTES) if place is None else place  # The file may not exist yet.

    def read(self):
        if untrusted.size(self.path) < self.place:
            self.place = 0  # It was truncated.
        try:
            text = untrusted.read(self.path, BYTES * 4, self.place)
        except OSError:
            return []
        end = text.rfind(b"\n") + 1
        if not end and len(text) == BYTES * 4:
            end = len(text)  # A line without end must not block the following ones.
        self.place += end
        now = time.time_ns() // 1000
        return [(now, line.decode(errors="replace")) for line in text[:end].splitlines()]

    def close(self):
        pass
