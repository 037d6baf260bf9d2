"""Lets in by SSH who asks for it by a tag, and only until the end that the tag names.

    devopsctl:ssh:<word>    <end, in seconds since 1970> <block of addresses> ssh-ed25519 <public key>

`devopsctl ssh` makes a key each time, and moves its end on for as long as it is connected. Each has a tag of its own, so
that nobody can overwrite another's. The block is what the security group lets in: not our business. sshd itself is told
when each key ends, so that holds where nothing of ours runs any more.
"""

import subprocess
import time

from decide import one_line
from validate import in_words, match

PREFIX = "ssh:"  # Of the tags' names, behind `devopsctl:`.
LONGEST = 3600  # An end that is further away was not set by devopsctl.


def authorised(tags, now):
    """Of tags by word, the keys that count now: word -> (end, key)."""
    found = {}
    for word, value in sorted(tags.items()):
        said = match("ssh key", value) if match("lease", word) else None
        if said and now < int(said["end"]) <= now + LONGEST:
            found[word] = int(said["end"]), said["key"]
    return found


def line(word, end, key):
    """As sshd reads it: by the machine's own clock and zone, which OpenSSH 8 takes alone."""
    return f'expiry-time="{time.strftime("%Y%m%d%H%M%S", time.localtime(end))}" {key} devopsctl:{word}\n'


class Ssh:
    """`sshd`: who is told. `said`: what the report says of it, while somebody asks."""

    def __init__(self, sshd, clock=time):
        self.sshd, self.clock = sshd, clock
        self.told = None  # The first time, what an agent before this one told counts no more.
        self.said = None

    def heard(self, tags):
        """The tags by word, as they are now."""
        keys = authorised(tags, self.clock.time())
        lines = [line(word, *key) for word, key in keys.items()]
        if lines == self.told:
            return
        try:
            facts = self.sshd.allow(lines)
            self.told = lines
            said = {"keys": list(keys), **facts, "error": None}
        except (OSError, KeyError, subprocess.SubprocessError) as problem:
            error = one_line(in_words(problem))
            if not self.said or self.said["error"] != error:
                print(f"agent: nobody can be let in by SSH: {error}", flush=True)
            said = {"keys": [], "error": error}
        self.said = said if keys else None
