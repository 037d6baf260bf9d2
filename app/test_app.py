"""Which requests are accepted, and when the application refuses to start."""

import importlib
import sys

import pytest

TOKEN = "SomeSecretToken"
RIGHT = {"Authorization": f"Token {TOKEN}"}


@pytest.fixture
def start(monkeypatch):
    """Starts the application with only these variables, and returns a client."""

    def start(**variables):
        for name in ("APP_SECRET_TOKEN", "APP_SECRET_TOKEN_PREVIOUS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delitem(sys.modules, "app", raising=False)
        return importlib.import_module("app").app.test_client()

    return start


@pytest.fixture
def client(start):
    return start(APP_SECRET_TOKEN=TOKEN)


def test_the_right_token_is_accepted(client):
    answer = client.get("/", headers=RIGHT)
    assert answer.status_code == 200
    assert answer.text.startswith("Hello!")


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="no header"),
        pytest.param("", id="empty header"),
        pytest.param(f"Bearer {TOKEN}", id="wrong scheme"),
        pytest.param(TOKEN, id="no scheme"),
        pytest.param("Token SomeOtherToken", id="wrong token"),
        pytest.param("Token ", id="empty token"),
        pytest.param("Token", id="no token"),
        pytest.param(f"Token {TOKEN[:-1]}", id="truncated token"),
        pytest.param(f"Token {TOKEN} ", id="trailing space"),
        pytest.param(f"Token  {TOKEN}", id="two spaces"),
        pytest.param("Token Sóme€Token".encode().decode("latin-1"), id="non-ASCII token"),
    ],
)
def test_other_headers_are_refused(client, header):
    answer = client.get("/", headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Token"
    assert answer.json["error"] == "unauthorized"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/nowhere", "/static/app.py"])
def test_every_method_and_path_needs_the_token(client, method, path):
    assert client.open(path, method=method).status_code == 401


def test_unknown_pages_and_methods_need_the_token(client):
    assert client.get("/nowhere", headers=RIGHT).status_code == 404
    assert client.post("/", headers=RIGHT).status_code == 405


def test_the_previous_token_is_accepted_while_it_is_set(start):
    client = start(APP_SECRET_TOKEN="new-token", APP_SECRET_TOKEN_PREVIOUS=TOKEN)
    assert client.get("/", headers=RIGHT).status_code == 200
    assert client.get("/", headers={"Authorization": "Token new-token"}).status_code == 200
    assert client.get("/", headers={"Authorization": "Token "}).status_code == 401


def test_an_empty_previous_token_is_refused(start):
    client = start(APP_SECRET_TOKEN="new-token", APP_SECRET_TOKEN_PREVIOUS="")
    assert client.get("/", headers=RIGHT).status_code == 401
    assert client.get("/", headers={"Authorization": "Token "}).status_code == 401


def test_a_token_can_contain_any_character(start):
    client = start(APP_SECRET_TOKEN="Sóme€Token")
    as_sent = "Token Sóme€Token".encode().decode("latin-1")
    assert client.get("/", headers={"Authorization": as_sent}).status_code == 200


@pytest.mark.parametrize("variables", [{}, {"APP_SECRET_TOKEN": ""}, {"APP_SECRET_TOKEN_PREVIOUS": TOKEN}])
def test_without_a_token_it_refuses_to_start(start, variables):
    with pytest.raises(RuntimeError, match="APP_SECRET_TOKEN is not set or empty"):
        start(**variables)
