"""Removes secrets from text before it leaves the machine.

Text is masked first and cut afterwards. Every run of `RUN` or more characters of a secret, except white space, is replaced, in each
spelling below, so the place where a line or chunk was split does not matter. Spellings that escape each character are decoded
first. Case is ignored.

The time of a search does not depend on the number of secrets: a run of `RUN` characters contains one whole block of `BLOCK`
characters, so only blocks are looked up, and the text around a hit is compared.
"""

import base64
import functools
import html
import json
import math
import re
import urllib.parse

RUN, BLOCK = 8, 4
MASK = "***"
SHORTEST = 4  # Masking shorter secrets would make all text unreadable.
LEVELS = 3  # How many times text may be escaped.

# The names of environment variables whose values are secrets.
NAMED = re.compile(
    r"KEYS?(_|$)|TOKEN|SECRET|PASSWORD|PASS(WD|PHRASE)?(_|$)|PWD|CREDENTIAL|PRIVATE|AUTH(_|$)|SALT|DSN|WEBHOOK",
    re.ASCII,
)
NAMED_LENGTH, RANDOM_LENGTH, RANDOM_BITS = 8, 16, 3.0
ESCAPES = re.compile(
    r"%(?P<percent>[0-9a-fA-F]{2})"
    r"|\\u(?P<unicode>[0-9a-fA-F]{4})|\\x(?P<byte>[0-9a-fA-F]{2})|\\(?P<octal>[0-7]{3})|\\(?P<plain>[^\w\n])"
    r"|&(?:#(?P<decimal>[0-9]{1,7})|#[xX](?P<hex>[0-9a-fA-F]{1,6})|(?P<name>quot|amp|apos|lt|gt));",
    re.ASCII,
)
ENTITIES = {"quot": '"', "amp": "&", "apos": "'", "lt": "<", "gt": ">"}


class Mask:
    """Masks a fixed set of secrets."""

    def __init__(self, secrets=()):
        pieces = {piece for secret in secrets for piece in lines_of(secret) if len(piece) >= SHORTEST}
        needles = {needle for piece in pieces for needle in spellings(piece)}
        runs = {needle[at : at + RUN] for needle in needles for at in range(len(needle) - RUN + 1)}
        self.runs = {run for run in runs if not run.isspace()}  # The indentation of a document is no secret.
        self.blocks = {run[at : at + BLOCK] for run in self.runs for at in range(RUN - BLOCK + 1)}
        short = sorted(
            (re.escape(needle) for needle in needles if SHORTEST <= len(needle) < RUN), key=len, reverse=True
        )
        self.short = re.compile("|".join(short)) if short else None

    def __call__(self, text):
        """`text` without the secrets."""
        return self.replace(text, self.spans(text))

    def lines(self, texts, before=""):
        """Consecutive lines without the secrets, also if a secret spans several lines.

        `before` is the end of the earlier lines, as `tail` returned it.
        """
        whole = before + "".join(texts)
        spans, found, start = self.spans(whole), [], len(before)
        for text in texts:
            end = start + len(text)
            inside = [(max(a, start) - start, min(b, end) - start) for a, b in spans if a < end and b > start]
            found.append(self.replace(text, inside))
            start = end
        return found

    def spans(self, text):
        """The secrets' spans: (start, end) in order, without overlap."""
        if not self.blocks and not self.short:
            return []
        level, found, escapes = fold(text), [], []
        while True:
            spans = self.find(level)
            for texts in reversed(escapes):
                spans = spans and original(texts, spans)
            found += spans
            if len(escapes) == LEVELS or not ESCAPES.search(level):
                return merge(found)
            escapes.append(level)
            level = fold(ESCAPES.sub(character, level))

    def find(self, text):
        """Runs of secrets in folded text."""
        blocks, runs, found = self.blocks, self.runs, []
        hits = [at for at in range(0, len(text), BLOCK) if text[at : at + BLOCK] in blocks] if blocks else ()
        for hit in hits:
            for at in range(max(0, hit - RUN + BLOCK), hit + 1):
                if text[at : at + RUN] in runs:
                    found.append((at, at + RUN))
        if self.short:
            found += [match.span() for match in self.short.finditer(text)]
        return found

    @staticmethod
    def replace(text, spans):
        parts, done = [], 0
        for start, end in spans:
            parts += [text[done:start], MASK]
            done = end
        return "".join([*parts, text[done:]])


def tail(texts, before=""):
    """The part of these lines that `Mask.lines` needs for the next ones."""
    return (before + "".join(texts[-RUN:]))[-(RUN - 1) * 12 :]


def merge(spans):
    merged = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def fold(text):
    """In lower case, with as many characters as before."""
    lower = text.lower()
    return (
        lower if len(lower) == len(text) else "".join(each.lower() if len(each.lower()) == 1 else each for each in text)
    )


def original(text, spans):
    """Converts spans of an unescaped text to spans of `text`, from which it was unescaped."""
    starts, done = [], 0
    for match in ESCAPES.finditer(text):
        starts.extend(range(done, match.start() + 1))
        done = match.end()
    starts.extend(range(done, len(text) + 1))
    return [(starts[a], starts[b]) for a, b in spans]


def character(match):
    return meaning(match[0])


@functools.lru_cache(4096)
def meaning(escape):
    """The character of an escape."""
    match = ESCAPES.fullmatch(escape)
    kind, value = match.lastgroup, match[match.lastgroup]
    if kind in ("decimal", "octal"):
        code = int(value, 10 if kind == "decimal" else 8)
    elif kind in ("name", "plain"):
        return ENTITIES.get(value, value) if kind == "name" else value
    else:
        code = int(value, 16)
    return chr(code) if code < 0x110000 else "\0"


def lines_of(secret):
    """The secret, its lines, and its lines joined."""
    lines = secret.splitlines()
    return {secret, *lines, "".join(lines)}


@functools.lru_cache(512)
def spellings(piece):
    """The spellings in which programs print a secret, folded: of one level and of two, base64 and hexadecimal."""
    once = {spell(piece) for spell in SPELLINGS} | {piece}
    twice = {spell(text) for text in once for spell in SPELLINGS}
    raw = piece.encode("utf-8", "surrogateescape")
    # Unescaped bytes become Latin-1 characters.
    packed = {raw.hex(), raw.decode("latin-1"), *encoded(raw)}
    packed |= {text for form in once - {piece} for text in encoded(form.encode("utf-8", "surrogateescape"))}
    packed |= {spell(text) for text in packed for spell in SPELLINGS}
    return frozenset(fold(text) for text in once | twice | packed if len(text) >= SHORTEST)


SPELLINGS = (
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    lambda text: text.replace("/", "\\/"),
    lambda text: repr(text)[1:-1],
    lambda text: repr(text.encode("utf-8", "surrogateescape"))[2:-1],
    lambda text: quote(text, "/"),
    lambda text: quote(text, ""),
    lambda text: quote(text, "").replace("%20", "+"),
    lambda text: quote(text, "!~*'()"),
    lambda text: quote(text, ";,/?:@&=+$!*'()#"),
    lambda text: quote(text, "").replace("-", "%2d").replace("_", "%5f").replace(".", "%2e").replace("~", "%7e"),
    html.escape,
    lambda text: html.escape(text, quote=False),
    lambda text: html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    lambda text: text.replace("'", "'\"'\"'"),
    lambda text: text.replace("'", "'\\''"),
    lambda text: re.sub(r'(["\\$`])', r"\\\1", text),
    lambda text: re.sub(r"([^\w@%+=:,./-])", r"\\\1", text),
)


def quote(text, safe):
    return urllib.parse.quote(text.encode("utf-8", "surrogateescape"), safe=safe)


def encoded(raw):
    """Base64 of the secret inside a longer text, for each of its three alignments.

    Characters that depend on the text before or after it are left out.
    """
    found = set()
    for before, unknown in ((0, 0), (1, 2), (2, 3)):
        known = (before + len(raw)) * 8 // 6
        text = base64.b64encode(bytes(before) + raw).decode()[unknown:known]
        found |= {text, text.replace("+", "-").replace("/", "_")}
    return found


def secrets_in(environment):
    """The values of an app's environment that are secrets or look like one. docs/SECURITY.md has the rule."""
    found = set()
    for name, value in environment.items():
        if NAMED.search(name.upper()) and len(value) >= NAMED_LENGTH:
            found.add(value)
        found.update(passwords(value))
        found.update(piece for piece in re.split(r"[\s/:@?&=,;\"'|]+", value) if is_random(piece))
    return found


def passwords(value):
    """The passwords in URLs, as written and decoded."""
    written = re.findall(r"[a-z][a-z0-9+.-]*://[^\s/@:]*:([^\s/@]+)@", value, re.ASCII | re.IGNORECASE)
    return {
        form for password in written for form in (password, urllib.parse.unquote(password)) if len(form) >= SHORTEST
    }


def is_random(text):
    """Whether a text is long and mixed enough to be a key: digits among letters, and many different characters."""
    mixed = re.search("[0-9]", text) and re.search("[A-Za-z]", text)
    return len(text) >= RANDOM_LENGTH and bool(mixed) and entropy(text) >= RANDOM_BITS


def entropy(text):
    """Bits for each character, by the frequency of each in the text."""
    return -sum(text.count(each) / len(text) * math.log2(text.count(each) / len(text)) for each in set(text))
