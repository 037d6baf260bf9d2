"""The log, shown to who looks: through the real agent, and its parts with a clock of the test's own."""

import json
import time
from types import SimpleNamespace

import logs
import pytest
from machine import release, until

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


def test_it_is_shown_while_somebody_looks_and_without_the_token(aws, machine):
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
    """`Logs`, with lines and a bucket of the test's own; a turn at a time."""

    def __init__(self):
        self.clock, self.lines, self.puts, self.fails, self.open = Clock(), [], [], False, 0
        runner = SimpleNamespace(sources=("app", "access"), follow=self.follow)
        self.logs = logs.Logs(self, runner, lambda source: "logs/" + source, lambda texts, before: texts, self.clock)

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
            self.logs.ask(*self.logs.inbox.get())

    def prints(self, *texts):
        self.lines += [(1, text) for text in texts]
        self.logs.turn()

    def last(self):
        return [text for _, _, text in self.puts[-1]["lines"]]


@pytest.fixture
def looked():
    return Looked()


def test_a_word_without_a_time_is_as_good_once_the_agent_has_heard_another(looked):
    looked.asks("app/a")
    assert not looked.open
    looked.asks("app/b")
    assert looked.open == 1


def test_nothing_is_put_there_when_there_is_nothing_new(looked):
    looked.asks("app/1700000000-a")
    looked.prints()
    assert len(looked.puts) == 1 and looked.puts[0]["lines"] == [], "that there is nothing is an answer"
    looked.prints()
    looked.prints("one")
    looked.prints()
    assert len(looked.puts) == 2 and looked.last() == ["one"]


def test_it_ends_by_itself_and_goes_on_for_who_asks_again(looked):
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


def test_who_asked_before_the_agent_was_there_is_not_answered_long_after(looked):
    looked.clock.now = 1000
    looked.asks("app/1700000000-a")
    assert not looked.open
    looked.asks("app/1700001000-b")
    assert looked.open == 1


def test_what_is_no_question_is_passed_over(looked):
    for tag in (None, "", "app", "/", "secrets/1700000000-a", "../../x/1700000000-a"):
        looked.asks(tag)
        looked.prints("one")
    assert not looked.puts and not looked.open


def test_what_can_not_be_put_there_now_is_put_there_later(looked):
    looked.asks("app/1700000000-a")
    looked.fails = True
    looked.prints("one")
    looked.fails = False
    looked.prints()
    assert looked.last() == ["one"]


def test_it_is_bounded(looked):
    looked.asks("app/1700000000-a")
    looked.prints(*(f"line {number}" for number in range(3000)))
    assert looked.last() == [f"line {number}" for number in range(2000, 3000)]
    assert looked.puts[-1]["lines"][0][0] == 2001
    looked.prints(*("x" * 100_000 for _ in range(100)))
    assert len(looked.puts[-1]["lines"]) == logs.BYTES // logs.LINE


def test_a_file_is_followed_also_where_it_is_cut_or_not_there_yet(tmp_path):
    path = tmp_path / "log"
    file = logs.File(str(path))
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
def test_what_the_journal_says(line, text):
    assert logs.entry(logs.fields(json.dumps({"__REALTIME_TIMESTAMP": "17", **line}))) == [(17, text)]
