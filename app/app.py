"""A very simple web application that answers only requests with its token.

Run it without devopsctl, with any token:

    APP_SECRET_TOKEN=SomeSecretToken python app.py
    curl -H "Authorization: Token SomeSecretToken" http://localhost:8000/
"""

import hmac
import os

from flask import Flask, jsonify, request


def accepted_headers():
    """The accepted `Authorization` headers, as the bytes that a client sends.

    The application does not start without a token, because it could not refuse any request.
    """
    token = os.environ.get("APP_SECRET_TOKEN")
    if not token:
        raise RuntimeError("APP_SECRET_TOKEN is not set or empty: set it to the token that clients have to send")
    # During a rotation the previous token can stay valid for a while.
    previous = os.environ.get("APP_SECRET_TOKEN_PREVIOUS")
    return [b"Token " + os.fsencode(each) for each in (token, previous) if each]


ACCEPTED = accepted_headers()
app = Flask(__name__, static_folder=None)


@app.before_request
def require_token():
    """Runs before every request, also for unknown pages, so clients without the token learn nothing."""
    sent = request.headers.get("Authorization", "").encode("latin-1")
    # Compared in constant time, so that the duration reveals nothing about the token.
    if any(hmac.compare_digest(sent, accepted) for accepted in ACCEPTED):
        return None
    answer = jsonify(error="unauthorized", hint="send the header 'Authorization: Token <your token>'")
    return answer, 401, {"WWW-Authenticate": "Token"}


@app.get("/")
def index():
    return "Hello! You hold the token, so you may come in.\n"


if __name__ == "__main__":
    app.run(port=8000)
