"""Authorizes SSH keys that tags request, each until the end that its tag names.

    devopsctl:ssh:<id>    <end, in seconds since 1970> <CIDR block> ssh-ed25519 <public key>

`devopsctl ssh` creates a key for each session, and extends its end while it is connected. Each session has its own tag, so that
sessions cannot overwrite each other. The block is for the security group, not for the agent. sshd enforces the end of each key
itself, so it holds even if the agent does not run any more.
"""

import subprocess
import time

from boot.validate import in_words, match
from orders.decide import one_line

LONGEST = 3600  # devopsctl sets no end that is further away.


def authorised(tags, now):
    """The keys that are valid now, of leases by id: id -> (end, key)."""
    found = {}
    for word, value in sorted(tags.items()):
        said = match("ssh key", value) if match("lease", word) else None
        if said and now < int(said["end"]) <= now + LONGEST:
            found[word] = int(said["end"]), said["key"]
    return found


def line(word, end, key):
    """A line of authorized_keys. The end is in the machine's own time zone: OpenSSH 8 accepts no other."""
    return f'expiry-time="{time.strftime("%Y%m%d%H%M%S", time.localtime(end))}" {key} devopsctl:{word}\n'


class Ssh:
    """`sshd`: the server to configure. `said`: the part of the report, while a session is requested."""

    def __init__(self, sshd, clock=time):
        self.sshd, self.clock = sshd, clock
        self.told = None  # At first unknown: the keys of an earlier agent do not count.
        self.said = None

    def heard(self, tags):
        """Takes the current leases by id."""
        keys = authorised(tags, self.clock.time())
        lines = [line(word, *key) for word, key in keys.items()]
        if lines == self.told:
            return
        try:
            facts = self.sshd.allow(lines)
            self.told = lines
            said = {"keys": list(keys), **facts, "run": True, "error": None}
        except (OSError, KeyError, subprocess.SubprocessError) as problem:
            error = one_line(in_words(problem))
            if not self.said or self.said["error"] != error:
                print(f"agent: cannot authorize SSH keys: {error}", flush=True)
            said = {"keys": [], "error": error}
        self.said = said if keys else None
