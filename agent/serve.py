"""Runs one generation: checks that the app cannot get the instance's credentials, and becomes gunicorn.

Agents of other releases start this file by its path: see `src/release/agent.rs`.
"""

import gc
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def refuse(why):
    reason = f"the app is not started: {why}"
    print(reason, flush=True)
    with open(os.environ["DEVOPSCTL_VERDICT"], "a") as file:
        file.write(json.dumps({"failed": reason}) + "\n")
    sys.exit(3)


def become_gunicorn():
    # Not earlier: a dependency could contain a `sitecustomize`.
    sys.path[0] = os.environ["PYTHONPATH"] = os.path.join(os.environ["DEVOPSCTL_RELEASE"], "site")
    gc.disable()  # Nothing that is imported from here on is garbage; gunicorn.conf.py enables it again.
    try:
        from gunicorn.app.wsgiapp import run
    except ModuleNotFoundError as missing:
        if missing.name != "pkg_resources":
            raise
        # gunicorn 20.1 imports it for worker classes named `egg:`, which ours is not; setuptools 82 removed it.
        sys.modules["pkg_resources"] = type(sys)("pkg_resources")
        from gunicorn.app.wsgiapp import run

        del sys.modules["pkg_resources"]  # The app must not find it.
    from gunicorn.errors import HaltServer

    sys.argv = ["gunicorn", "-c", os.path.join(HERE, "workers/gunicorn.conf.py")]
    try:
        sys.exit(run())
    except HaltServer as end:  # From a worker that could not start, while gunicorn is ending.
        sys.exit(end.exit_status)


if __name__ == "__main__":
    sys.path[0] = HERE + "/workers"  # Not as a package: the app may have one of the name `workers`.
    import confinement

    why = confinement.confine()
    if why:
        refuse(why)
    for name in ("confinement", "landlock"):  # The app must find its own modules of these names.
        sys.modules.pop(name, None)
    if "LISTEN_FDS" not in os.environ:  # gunicorn would open a port of its own.
        refuse("it got no listening socket, because app.socket could not be opened")
    become_gunicorn()
