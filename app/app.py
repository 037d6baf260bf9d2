"""A very simple web application that speaks only to those who hold its token.

Try it by itself, with any token you like:

    APP_SECRET_TOKEN=SomeSecretToken python app.py
    curl -H "Authorization: Token SomeSecretToken" http://localhost:8000/
"""

import hmac
import os

from flask import Flask, jsonify, request


def accepted_headers():
    """The `Authorization` headers that open the door, as the bytes that a client sends.

    Without a token nobody could be kept out, so without one the application does not start.
    """
    token = os.environ.get("APP_SECRET_TOKEN")
    if not token:
        raise RuntimeError("APP_SECRET_TOKEN is not set or empty: set it to the token that clients have to send")
    # While a token is being changed, the one before it may stay good for a time.
    previous = os.environ.get("APP_SECRET_TOKEN_PREVIOUS")
    return [b"Token " + os.fsencode(each) for each in (token, previous) if each]


ACCEPTED = accepted_headers()
app = Flask(__name__, static_folder=None)


@app.before_request
def require_token():
    """Runs before every request, even one for a page that does not exist: strangers learn nothing."""
    sent = request.headers.get("Authorization", "").encode("latin-1")
    # Compared so that the time it takes does not tell how close a guess was.
    if any(hmac.compare_digest(sent, accepted) for accepted in ACCEPTED):
        return None
    answer = jsonify(error="unauthorized", hint="send the header 'Authorization: Token <your token>'")
    return answer, 401, {"WWW-Authenticate": "Token"}


@app.get("/")
def index():
    return "Hello! You hold the token, so you may come in.\n"


if __name__ == "__main__":
    app.run(port=8000)
