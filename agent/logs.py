"""Shows its log to whoever looks, and only for as long as somebody does: no port is open for that, and nothing kept.

`devopsctl logs` sets the tag `devopsctl:logs` to `<source>/<word>`, each time with another word, which begins with the time.
For a minute from then the last lines of that source lie in the bucket, masked, and are put there anew whenever there are more:

    <name>/logs/<instance>/<source>.json    {"v": 1, "asked": [word...], "session": word, "lines": [[number, microseconds, text]...]}

It is one object, so nothing piles up, and all who look at once see the same. Lines are numbered for as long as anybody looks
without a break, which is the session.
"""

import collections
import contextlib
import json
import os
import queue
import subprocess
import time

from decide import in_words, one_line

SECONDS = 60  # How long one who has asked is shown more.
OLD = 120  # A word that is older when the agent starts was asked by somebody who has gone.
PAUSE = 0.5  # Between two looks whether there is more.
LINES, BYTES, LINE = 1000, 1 << 18, 1 << 13  # What is shown at most: lines, characters of all, of one.


class Logs:
    """`key(source)`: where in the bucket; `mask(text)`: without the secrets; `runner.follow(source)`: the lines."""

    def __init__(self, aws, runner, key, mask, clock=time):
        self.aws, self.runner, self.key, self.mask, self.clock = aws, runner, key, mask, clock
        self.inbox, self.tag = queue.SimpleQueue(), ""
        self.shows = {}

    def heard(self, tag):
        """The tag, as it is now."""
        if tag and tag != self.tag:
            first, self.tag = not self.tag, tag
            source, _, word = tag.partition("/")
            begun = word.partition("-")[0]
            late = first and (not begun.isdigit() or int(begun) < self.clock.time() - OLD)
            if source in self.runner.sources and word and not late:
                self.inbox.put((source, word))

    def run(self):
        while True:
            try:
                source, word = self.inbox.get(timeout=PAUSE if self.shows else None)
                self.ask(source, word)
            except queue.Empty:
                pass
            self.turn()

    def ask(self, source, word):
        if source not in self.shows:
            try:
                self.shows[source] = Show(self.runner.follow(source), word)
            except (OSError, subprocess.SubprocessError) as problem:
                print(f"agent: can't show the log of {source}: {problem}", flush=True)
                return
        self.shows[source].asked(word, self.clock.monotonic() + SECONDS)

    def turn(self):
        for source, show in list(self.shows.items()):
            if self.clock.monotonic() > show.until:
                show.lines_of.close()
                del self.shows[source]
                continue
            show.look(self.mask)
            if show.changed:
                try:
                    self.aws.upload(self.key(source), show.document(), "application/json")
                    show.changed = False
                except Exception as problem:  # noqa: BLE001 (it is tried again, for as long as somebody looks)
                    print(f"agent: can't show the log: {one_line(in_words(problem))}", flush=True)


class Show:
    """What is shown of one source."""

    def __init__(self, lines_of, session):
        self.lines_of, self.session = lines_of, session
        self.words, self.until = collections.deque(maxlen=20), 0.0
        self.lines, self.number, self.size = collections.deque(), 0, 0
        self.changed = False

    def asked(self, word, until):
        self.words.append(word)
        self.until, self.changed = until, True

    def look(self, mask):
        found = self.lines_of.read()
        # All at once, because to mask takes its time.
        texts = mask("\n".join(text[:LINE] for _, text in found)).split("\n")
        for (at, _), text in zip(found, texts):
            self.number += 1
            self.lines.append([self.number, at, text])
            self.size += len(text)
            self.changed = True
        while len(self.lines) > LINES or self.size > BYTES:
            self.size -= len(self.lines.popleft()[2])

    def document(self):
        said = {"v": 1, "asked": list(self.words), "session": self.session, "lines": list(self.lines)}
        return json.dumps(said).encode()


class Journal:
    """The journal's lines that match: the last ones, then those that come."""

    def __init__(self, matches):
        command = ["journalctl", "--no-pager", "--quiet", "--output=json", "--output-fields=MESSAGE", *matches]
        ran = subprocess.run([*command, f"--lines={LINES}"], capture_output=True, timeout=30, check=True)
        self.rest, self.found, cursor = b"", [], None
        for line in ran.stdout.splitlines():
            self.found.append(entry(line))
            cursor = json.loads(line)["__CURSOR"]
        follow = [f"--after-cursor={cursor}", "--no-tail"] if cursor else ["--lines=0"]
        quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([*command, "--follow", *follow], stdout=subprocess.PIPE, **quiet)
        os.set_blocking(self.process.stdout.fileno(), False)

    def read(self):
        """What has come since the last time: (microseconds, text) of each line."""
        found, self.found = self.found, []
        *whole, self.rest = (self.rest + (self.process.stdout.read(BYTES * 4) or b"")).split(b"\n")
        return found + [entry(line) for line in whole]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def entry(line):
    """A line of the journal's JSON. What is no text it writes as a list of bytes; what is too long, as nothing."""
    said = json.loads(line)
    text = said.get("MESSAGE") or ""
    if isinstance(text, list):
        text = bytes(text).decode(errors="replace")
    return int(said["__REALTIME_TIMESTAMP"]), text.replace("\n", "\\n")


class File:
    """A file's lines. They carry no time, so they have the one at which they were seen."""

    def __init__(self, path):
        self.path, self.place = path, 0
        with contextlib.suppress(OSError):  # It comes with the first line.
            self.place = max(0, os.path.getsize(path) - BYTES)

    def read(self):
        try:
            with open(self.path, "rb") as file:
                if file.seek(0, os.SEEK_END) < self.place:
                    self.place = 0  # It was cut.
                file.seek(self.place)
                text = file.read(BYTES * 4)
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self.place += len(whole)
        now = time.time_ns() // 1000
        return [(now, line.decode(errors="replace")) for line in whole.splitlines()]

    def close(self):
        pass
