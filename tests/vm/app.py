"""An app that tries everything that it must not be able to do. It requires the token for every request."""

import glob
import hmac
import json
import os
import socket
import sys
import urllib.request

from flask import Flask, jsonify, request

TOKENS = [os.environ[name] for name in ("APP_SECRET_TOKEN", "APP_SECRET_TOKEN_PREVIOUS") if name in os.environ]
app = Flask(__name__, static_folder=None)


@app.before_request
def require_token():
    sent = request.headers.get("Authorization", "")
    if not any(hmac.compare_digest(sent, f"Token {token}") for token in TOKENS):
        return "who are you?", 401
    return None


@app.get("/")
def index():
    return "VERSION"


@app.get("/tries")
def tries():
    """The attempts that succeeded; and a control that must succeed, to show that the attempts work."""
    return jsonify(could=[what for what, done in attempts() if done], control=read("/etc/hostname"))


@app.get("/secret")
def secret():
    return os.environ.get("DATABASE_URL", "is not set")


@app.get("/rows")
def rows():
    """Adds a row on the data volume -> how many there are."""
    with open(os.path.join(os.environ["DATA_DIR"], "rows"), "a+") as file:
        print("row", file=file, flush=True)
        file.seek(0)
        return str(len(file.read().split()))


@app.get("/aws")
def aws():
    """The status of calls to AWS with the app's credentials. The agent's module signs them: boto3 is slow on an emulated machine."""
    sys.path.append("/opt/devopsctl/release/agent")
    from boot.aws import send, sign

    token, region = os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"], os.environ["AWS_REGION"]
    asked = urllib.request.Request(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"], headers={"Authorization": token})
    with urllib.request.urlopen(asked, timeout=5) as answer:
        credentials = json.load(answer)

    def status(service, method, path, body=b"", **headers):
        url = os.environ["AWS_ENDPOINT_URL"] + path
        return send(method, url, sign(credentials, service, region, method, url, headers, body), body)[0]

    name = json.dumps({"Name": "/devopsctl/hello/token"}).encode()
    target = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.GetParameter"}
    ours = f"/devopsctl-123456789012-{region}-an/hello/certificates.json"
    return jsonify(
        own=[status("s3", "PUT", "/shop-data/a", b"x"), status("s3", "GET", "/shop-data/a")],
        agents=[status("s3", "GET", ours), status("ssm", "POST", "/", name, **target)],
        token=token,
    )


def attempts():
    for address in "169.254.169.254", "fd00:ec2::254":
        yield f"reach {address}", connect(address)
    own = os.path.realpath(os.path.dirname(os.path.dirname(__file__)))
    yield "see other releases", [path for path in glob.glob("/opt/devopsctl/*/*") if not path.startswith(own)]
    secret = [
        "/run/devopsctl",
        "/run/devopsctl/generations",
        "/run/devopsctl/running.json",
        "/var/lib/devopsctl/state.json",
    ]
    secret += [
        "/var/lib/cloud/instance/user-data.txt",
        "/etc/shadow",
        "/proc/1/environ",
        "/var/log/cloud-init-output.log",
    ]
    secret += glob.glob("/etc/ssh/ssh_host_*_key") + glob.glob("/run/credentials/*/*") + glob.glob("/root/*")
    # It may read its own token.
    for path in (path for path in secret if not path.startswith(os.environ.get("CREDENTIALS_DIRECTORY", "/none"))):
        yield f"read {path}", read(path)
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and os.stat(f"/proc/{pid}").st_uid != os.getuid()]
    yield f"see processes {others}", others
    for pid in (pid for pid in os.listdir("/proc") if pid.isdigit()):
        with open(f"/proc/{pid}/environ") as file:
            text = file.read()
        yield f"find a token in the environment that {pid} was started with", any(token in text for token in TOKENS)
    for path in "/opt/devopsctl/x", "/etc/x", "/run/x", "/var/lib/x", own + "/x":
        yield f"write {path}", write(path)
    yield "become root", os.system("sudo -n true 2>/dev/null") == 0


def connect(address):
    try:
        socket.create_connection((address, 80), 2).close()
    except OSError:
        return False
    return True


def read(path):
    try:
        if os.path.isdir(path):
            return bool(os.listdir(path))
        with open(path, "rb") as file:
            return bool(file.read(1))
    except OSError:
        return False


def write(path):
    try:
        with open(path, "w"):
            return True
    except OSError:
        return False
