"""The commands of a release (`app.release`), such as the migration of its database: they run once for a release, before its first
generation starts.

The record in the bucket (`orders/record.py`) says whether they ran, for other instances and for the next one. A mark on the disk
says so for this instance. A run that was interrupted, with the agent or the machine, is taken over or repeated.
"""

import os

from app_role.credentials import NOTHING, TOKEN
from boot.aws import AwsError
from orders.record import RENEW_SECONDS, Record, State
from orders.report import ErrorCode
from processes.command import Command, CommandFailed, attend
from processes.generation import variables
from system.paths import read_json

WHAT = "release"  # Their name in the manifest, and of their log.
MARK = "/.released"


def owed(paths, releases):
    """Those of these releases whose commands have not ended well yet, as far as this disk tells."""

    def commands(release):
        return read_json(paths.release(release) + "/manifest.json", {}).get(WHAT)

    return [name for name in releases if commands(name) and not os.path.exists(paths.release(name) + MARK)]


def with_data(paths, releases):
    """Those of these releases that have a data volume."""
    return {name for name in releases if read_json(paths.release(name) + "/manifest.json", {}).get("data")}


class ReleaseCommands:
    """Runs in a thread of the agent, for one release at a time."""

    def __init__(self, paths, aws, runner, logs, clock):
        self.paths, self.aws, self.runner, self.logs, self.clock = paths, aws, runner, logs, clock
        self.grants = {}  # By token: what they have of the app's role. The main loop and a thread use it.
        self.leaving = False  # Whether the machine stops.

    def adopt(self):
        """Learns what the commands of an earlier agent have of the app's role."""
        for command in Command.left(self.paths, WHAT):
            self.allow(command.grant)

    def allow(self, grant):
        self.grants.update({grant.variables[TOKEN]: grant} if grant.port else {})

    def withdraw(self, grant):
        self.grants.pop(grant.variables.get(TOKEN), None)

    def secrets(self):
        """The secrets that commands of an earlier agent have, to mask them."""
        return [value for each in Command.left(self.paths) for value in read_json(each.variables, {}).values()]

    def running(self):
        """The commands that run, also those of an earlier agent."""
        return [each for each in Command.left(self.paths) if self.runner.members(each)]

    def run(self, name, release, orders, state, wanted, grant=NOTHING):
        """Whether the commands have ended well, here or before. False: they are no longer wanted, which `wanted` says. `grant`: what
        they have of the app's role, which ends with them.

        `CommandFailed` if they failed, also on another instance for the same orders."""
        try:
            return self.run_with(grant, name, release, orders, state, wanted)
        finally:
            self.withdraw(grant)

    def run_with(self, grant, name, release, orders, state, wanted):
        record = Record(self.aws, name, release, orders)
        held = record.claim(wanted, self.clock)
        if held is None:
            if not self.finish(record, self.of(release, orders, state, grant)):
                return False
        elif held.state is State.FAILED:
            raise CommandFailed(failure(held.error), "", ErrorCode.RELEASE_FAILED)
        elif held.state is State.RUNNING:
            return False
        with open(self.paths.release(release) + MARK, "w"):
            pass
        return True

    def of(self, release, orders, state, grant):
        """This release's commands, which run now or have ended. Those of another release come to their end before."""
        for command in Command.left(self.paths, WHAT):
            if command.release != release:
                command.settle(attend(command, self.runner, self.clock, RENEW_SECONDS, lambda: None))
                self.withdraw(command.grant)
            elif command.outcome() is not None or self.runner.members(command):
                self.show(command, orders)
                return command
        grace = state.in_grace(self.clock.time())
        given = variables(self.paths.manifest(release), state.token, grace, state.given(release), grant.variables)
        volume = state.volume_of(release)
        command = Command.create(self.paths, WHAT, release, given, int(self.clock.time()), grant, volume)
        print(f"agent: runs app.release of {release[:12]}", flush=True)
        self.runner.run(command)
        self.show(command, orders)
        return command

    def finish(self, record, command):
        """Waits for the end of the commands, and records it. False: they were ended, because the machine stops."""

        def renew():
            self.logs.ask_for(WHAT, self.word())
            try:
                record.renew()
            except (AwsError, ValueError) as problem:
                print(f"agent: {problem}", flush=True)

        error = attend(command, self.runner, self.clock, RENEW_SECONDS, renew)
        if self.leaving:
            return False
        command.settle(error)
        tail = self.runner.output(command) if error else ""
        self.logs.finish()  # Before the report of the end: `up` reads the rest then.
        record.end(error)
        self.withdraw(command.grant)
        command.forget(self.runner)
        print(f"agent: app.release of {command.release[:12]}: {error or 'done'}", flush=True)
        if error:
            raise CommandFailed(failure(error), tail, ErrorCode.RELEASE_FAILED)
        return True

    def show(self, command, orders):
        """Publishes the output as long as it runs: the command line that ordered the release shows it."""
        self.logs.show(WHAT, self.runner.follow_command(command), self.word(), orders)

    def word(self):
        return f"{int(self.clock.time())}-agent"

    def end(self):
        """The machine stops."""
        self.leaving = True
        for command in Command.left(self.paths):
            while self.runner.members(command):
                self.runner.kill(command)
                self.clock.sleep(0.02)


def failure(error):
    return f"app.release failed: {error}"
