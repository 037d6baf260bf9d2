"""No eight characters of a secret leave the machine, in any spelling and with any cut."""

import base64
import html
import json
import shlex
import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logs.masking import MASK, RUN, Mask, is_random, secrets_in, tail
from logs.publisher import LINE, Part, Show


def inside_base64(alphabet):
    """The secret as the password of `user:secret`; the user's length shifts it."""

    def spelled(secret, user="ab"):
        return alphabet((user + ":" + secret + "!").encode()).decode()

    return spelled


PLAIN = {
    "as it is": lambda text: text,
    "upper case": str.upper,
    "lower case": str.lower,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with \\/": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON twice": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "repr": lambda text: repr(text)[1:-1],
    "percent": lambda text: urllib.parse.quote(text, safe=""),
    "percent in lower case": lambda text: urllib.parse.quote(text, safe="").lower(),
    "form": urllib.parse.quote_plus,
    "HTML": html.escape,
    "shell": lambda text: shlex.quote("'" + text)[6:-1],  # With a quote before it, it is always quoted.
    "shell with \\": lambda text: text.replace("'", "'\\''"),
    "hex": lambda text: text.encode().hex(),
    "hex in upper case": lambda text: text.encode().hex().upper(),
}
ESCAPED = {
    "each character percent": lambda text: "".join(f"%{ord(each):02X}" for each in text),
    "each character HTML": lambda text: "".join(f"&#{ord(each)};" for each in text),
    "each character HTML in hex": lambda text: "".join(f"&#x{ord(each):x};" for each in text),
    "each character JSON": lambda text: "".join(f"\\u{ord(each):04x}" for each in text),
    "each character JSON, twice": lambda text: "".join(f"\\\\u{ord(each):04x}" for each in text),
}
tokens = st.text("abcXYZ0123456789_-", min_size=16, max_size=43) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=43
)
often = settings(max_examples=12, derandomize=True, deadline=None)


def survives(spelled, masked):
    """Eight consecutive characters that were not masked."""
    masked = masked.replace(MASK, "\n")
    return [spelled[at : at + RUN] for at in range(len(spelled) - RUN + 1) if spelled[at : at + RUN] in masked]


@pytest.mark.parametrize("spelling", PLAIN)
@often
@given(token=tokens, data=st.data())
def test_no_part_of_a_secret_survives_at_any_border(spelling, token, data):
    spelled = PLAIN[spelling](token)
    text = "<" + spelled + ">"
    mask = Mask({token})
    assert not survives(spelled, mask(text))
    for border in range(len(text) + 1):
        pieces = mask.lines([text[:border], text[border:]], "")
        assert not survives(spelled, "".join(pieces)), border
    size = data.draw(st.integers(1, 20))
    before, shown = "", []
    for at in range(0, len(text), size):  # In chunks.
        chunk = [text[at : at + size]]
        shown += mask.lines(chunk, before)
        before = tail(chunk, before)
    assert not survives(spelled, "".join(shown))


@pytest.mark.parametrize("spelling", ESCAPED)
@often
@given(token=tokens)
def test_a_secret_with_every_character_escaped_is_masked(spelling, token):
    assert Mask({token})("<" + ESCAPED[spelling](token) + ">") == f"<{MASK}>"


@pytest.mark.parametrize("alphabet", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("user", ["", "a", "ab", "abc"])
@often
@given(token=tokens)
def test_base64_of_user_and_token_is_masked_at_any_alignment(alphabet, user, token):
    spelled = inside_base64(alphabet)(token, user)
    masked = Mask({token})(spelled)
    assert MASK in masked
    # The rest hardly depends on the token: the user, and the bits that its last byte shares.
    left = "".join(masked.split(MASK))
    assert len(left) <= len(spelled) - len(token) * 8 // 6 + 3
    assert MASK in Mask({token})(json.dumps(spelled)) and MASK in Mask({token})(urllib.parse.quote(spelled, safe=""))


def test_a_line_is_masked_before_it_is_cut():
    """The attack: a cut line ended with 31 of the token's 43 characters."""
    token = "Zm9vYmFyLWJhei1xdXV4X2NvcmdlLWdyYXVsdDEyMzQ"
    lines = [(1, "x" * (LINE - 31) + token)]
    source = type("Source", (), {"read": lambda self: lines})()
    show = Show({None: Part(source)}, "word")
    show.look(Mask({token}).lines)
    assert not survives(token, show.lines[0][2])


def test_a_setting_that_is_no_secret_is_not_masked():
    env = {"DEBUG": "true", "LOG_LEVEL": "info", "DJANGO_SETTINGS_MODULE": "shop.settings.production"}
    env |= {"URL": "https://shop.example.com/products/overview", "AUTH_MODE": "none", "KEY_ID": "short"}
    assert secrets_in(env) == set()
    assert Mask(secrets_in(env))("level=info debug=true") == "level=info debug=true"


def test_a_setting_that_is_a_secret_by_its_name_its_form_or_its_place_in_a_url_is_masked():
    env = {"API_KEY": "correct horse", "DATABASE_URL": "postgres://shop:pa%2Fss@db/shop", "X": "f3Kq9vT2xLw8ZbN4"}
    assert secrets_in(env) == {"correct horse", "pa%2Fss", "pa/ss", "f3Kq9vT2xLw8ZbN4"}
    assert is_random("f3Kq9vT2xLw8ZbN4") and not is_random("aaaaaaaaaaaaaaa1") and not is_random("production-settings")


def test_text_without_secrets_stays_as_it_is():
    text = '\u0130 caf\u00e9 100% &amp; \\n {"a": "b"} \ud83d\ude00'
    assert Mask({"f3Kq9vT2xLw8ZbN4", "pass"})(text) == text
    assert Mask()(text) == text


def test_the_indentation_of_a_secret_document_is_not_masked():
    document = json.dumps({"a": {"b": {"key": "wq-3-xyz-not-a-key"}}}, indent=8)
    mask = Mask({document})
    assert mask(f"{' ' * 24}File") == f"{' ' * 24}File"
    assert "wq-3-xyz" not in mask(document) and "***" in mask("key=wq-3-xyz-not-a-key")
