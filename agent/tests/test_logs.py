"""Publishing a log: with the real agent, and its parts with a simulated clock."""

import json
import time
from types import SimpleNamespace

import pytest
from machine import release, until

from logs import publisher

TOKEN = "the-token-of-this-test-0123"
TALKS = """
import os
def app(environ, start_response):
    if environ.get("HTTP_AUTHORIZATION") != "Token " + os.environ["APP_SECRET_TOKEN"]:
        start_response("401 Unauthorized", [])
        return [b""]
    print("seen", environ["PATH_INFO"], os.environ["APP_SECRET_TOKEN"], flush=True)
    start_response("200 OK", [])
    return [b"here"]
"""


def shown(aws, source="app"):
    document = aws.objects.get(f"{aws.name}/logs/i-0123456789abcdef0/{source}.json")
    return document and json.loads(document)


def texts(aws):
    return [text for _, _, text in (shown(aws) or {"lines": []})["lines"]]


def test_a_log_is_published_while_requested_and_without_the_token(aws, machine):
    aws.tags["devopsctl:release"] = aws.put_release(release(app=TALKS))
    aws.put_token(TOKEN)
    machine.boot()
    aws.wait_report(lambda report: report["healthy"])
    assert machine.get(TOKEN, path="/before")[0] == 200
    assert not any("/logs/" in what for service, what in aws.calls if service == "s3"), "nobody has looked"
    aws.tags["devopsctl:logs"] = f"app/{int(time.time())}-one"
    until(lambda: "seen /before ***" in texts(aws), what="what was printed before")
    assert shown(aws)["asked"] == [aws.tags["devopsctl:logs"].partition("/")[2]]
    assert machine.get(TOKEN, path="/after")[0] == 200
    until(lambda: "seen /after ***" in texts(aws), what="what is printed while somebody looks")
    numbers = [number for number, _, _ in shown(aws)["lines"]]
    assert numbers == list(range(1, len(numbers) + 1))
    aws.tags["devopsctl:logs"] = f"agent/{int(time.time())}-two"
    until(lambda: shown(aws, "agent"), what="another source")
    assert any("generation 1 serves" in text for _, _, text in shown(aws, "agent")["lines"])
    assert not any(
        TOKEN in document.decode(errors="replace") for key, document in aws.objects.items() if "/logs/" in key
    )


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now

    def time(self):
        return 1.7e9 + self.now


class Looked:
    """`Logs`, with the test's own lines and bucket; turn by turn."""

    def __init__(self):
        self.clock, self.lines, self.puts, self.fails, self.open = Clock(), [], [], False, 0
        runner, known = SimpleNamespace(follow=self.follow), {"app": "app", "access": "access"}
        self.logs = publisher.Logs(
            self, runner, lambda source: "logs/" + source, lambda texts, before: texts, lambda: known, self.clock
        )

    def follow(self, source):
        self.open += 1

        def read():
            found, self.lines = self.lines, []
            return found

        def close():
            self.open -= 1

        return SimpleNamespace(read=read, close=close)

    def upload(self, key, body, kind):
        if self.fails:
            raise OSError("away")
        self.puts.append(json.loads(body))

    def asks(self, tag):
        self.logs.heard(tag)
        while not self.logs.inbox.empty():
            handle, *args = self.logs.inbox.get()
            handle(*args)

    def prints(self, *texts):
        self.lines += [(1, text) for text in texts]
        self.logs.turn()

    def last(self):
        return [text for _, _, text in self.puts[-1]["lines"]]


@pytest.fixture
def looked():
    return Looked()


def test_a_request_without_a_time_counts_after_the_first_one(looked):
    looked.asks("app/a")
    assert not looked.open
    looked.asks("app/b")
    assert looked.open == 1


def test_nothing_is_written_without_new_lines(looked):
    looked.asks("app/1700000000-a")
    looked.prints()
    assert len(looked.puts) == 1 and looked.puts[0]["lines"] == [], "that there is nothing is an answer"
    looked.prints()
    looked.prints("one")
    looked.prints()
    assert len(looked.puts) == 2 and looked.last() == ["one"]


def test_a_request_ends_by_itself_and_can_be_renewed(looked):
    looked.asks("app/1700000000-a")
    looked.prints("one")
    looked.clock.now += 50
    looked.asks("app/1700000050-b")
    looked.clock.now += 50
    looked.prints("two")
    assert looked.last() == ["one", "two"] and looked.puts[-1]["asked"] == ["1700000000-a", "1700000050-b"]
    looked.clock.now += 11
    looked.prints("three")
    assert looked.last() == ["one", "two"] and looked.open == 0
    looked.asks("app/1700000111-c")
    looked.prints()
    assert looked.last() == ["three"] and looked.puts[-1]["session"] == "1700000111-c"


def test_an_old_request_is_ignored_when_the_agent_starts(looked):
    looked.clock.now = 1000
    looked.asks("app/1700000000-a")
    assert not looked.open
    looked.asks("app/1700001000-b")
    assert looked.open == 1


def test_an_invalid_request_is_ignored(looked):
    for tag in (None, "", "app", "/", "secrets/1700000000-a", "../../x/1700000000-a"):
        looked.asks(tag)
        looked.prints("one")
    assert not looked.puts and not looked.open


def test_a_failed_upload_is_retried(looked):
    looked.asks("app/1700000000-a")
    looked.fails = True
    looked.prints("one")
    looked.fails = False
    looked.prints()
    assert looked.last() == ["one"]


def test_a_published_log_is_bounded(looked):
    looked.asks("app/1700000000-a")
    looked.prints(*(f"line {number}" for number in range(3000)))
    assert looked.last() == [f"line {number}" for number in range(2000, 3000)]
    assert looked.puts[-1]["lines"][0][0] == 2001
    looked.prints(*("x" * 100_000 for _ in range(100)))
    assert len(looked.puts[-1]["lines"]) == publisher.BYTES // publisher.LINE


def test_a_file_is_followed_also_if_truncated_or_missing(tmp_path):
    path = tmp_path / "log"
    file = publisher.File(str(path))
    assert file.read() == []
    path.write_bytes(b"one\ntw")
    assert [text for _, text in file.read()] == ["one"]
    with path.open("ab") as more:
        more.write(b"o\n\xff\n")
    assert [text for _, text in file.read()] == ["two", "\N{REPLACEMENT CHARACTER}"]
    path.write_bytes(b"new\n")
    assert [text for _, text in file.read()] == ["new"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ({"MESSAGE": "plain"}, "plain"),
        ({"MESSAGE": [104, 105, 255]}, "hi\N{REPLACEMENT CHARACTER}"),
        ({"MESSAGE": None}, ""),
        ({}, ""),
    ],
)
def test_a_journal_entry_becomes_a_line(line, text):
    assert publisher.entry(publisher.fields(json.dumps({"__REALTIME_TIMESTAMP": "17", **line}))) == [(17, text)]
