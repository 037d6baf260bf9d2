"""The variables of the app: its settings, its secrets and its token."""

import json
import os


def path():
    """The file with the secrets and the token."""
    if "CREDENTIALS_DIRECTORY" in os.environ:  # systemd's LoadCredential=
        return os.path.join(os.environ["CREDENTIALS_DIRECTORY"], "token")
    return os.environ["DEVOPSCTL_SECRETS"]


def read():
    """The secrets and the token, by the names of their variables."""
    with open(path()) as file:
        return json.load(file)


def of_app(manifest, given):
    """The app's variables. `given`: the secrets and the token, which the app does not get if the proxy checks it."""
    token = manifest["token"]
    hidden = (token["env"], token["env"] + "_PREVIOUS") if token["check"] == "proxy" else ()
    return {**manifest["env"], **{name: value for name, value in given.items() if name not in hidden}}
