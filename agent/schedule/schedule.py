"""The schedules of the serving release (`schedule` in deploy.yaml): the agent starts each run as a command in the app's environment.

Runs belong to the agent's main loop; its threads ask S3 and wait for the end of a run. A run outlives the agent and the release
that it belongs to. At most one run is started for a due time: without a claim in the bucket (`record.py`), none is.
"""

import subprocess

from boot.aws import backoff
from boot.validate import Invalid, in_words
from orders.decide import one_line
from processes.command import Command, Interrupted, attend
from schedule.entry import LOST, Entry, entries_in
from schedule.record import ERROR, Record
from system.paths import read_json

KIND = "schedule."  # Where the manifest has them; see `Command`.
NEVER = 1 << 31  # Seconds: the claim of a run is not renewed.
SLACK_SECONDS = 60  # How long another instance waits after the time limit of a run that has no recorded end.


class Schedule:
    def __init__(self, agent):
        self.agent, self.paths, self.runner, self.clock = agent, agent.paths, agent.runner, agent.clock
        self.entries = {}
        self.release = None  # The release whose manifest the entries have.

    def adopt(self):
        """Takes over the runs that an earlier agent started."""
        for command in Command.left(self.paths, KIND):
            entry = self.entry(command.what[len(KIND) :])
            entry.take(command.settings)
            entry.wanted = False
            entry.begin(command.began, command)
            self.agent.in_thread(self.attend, entry, command)

    def entry(self, name):
        if name not in self.entries:
            self.entries[name] = Entry(name, Record(self.agent.aws, self.agent.name, name))
        return self.entries[name]

    # For the agent's main loop

    def turn(self):
        serving = self.agent.generations.serving
        if serving and serving.target.release != self.release:
            self.take(serving)
        for entry in list(self.entries.values()):
            if not entry.busy and self.clock.monotonic() >= entry.retry_at:
                self.look(entry, serving)

    def take(self, serving):
        """The serving release is another one: from now on its schedules count."""
        self.release = serving.target.release
        for entry in self.entries.values():
            entry.wanted = False
        try:
            for name, settings in entries_in(serving.manifest):
                self.entry(name).take(settings)
        except (Invalid, KeyError, TypeError) as problem:
            print(f"agent: {in_words(problem)}", flush=True)
        self.entries = {name: each for name, each in self.entries.items() if each.wanted or each.works()}

    def look(self, entry, serving):
        now = self.clock.time()
        if entry.settled is None:
            self.ask(entry, self.opened, entry.record.open, entry.cron, now)
        elif entry.outcome:
            self.ask(entry, self.recorded, self.record, entry, now, *entry.outcome)
        elif entry.wanted and serving:
            due = entry.due(now)
            grant = due and self.grant(entry, serving)
            if grant:
                self.ask(entry, self.claimed, self.claim, entry, due, then=(due, grant))

    def grant(self, entry, serving):
        """What the run gets of the app's role; None while it waits for the first credentials."""
        try:
            return self.agent.app_role.grant(serving.manifest)
        except OSError as problem:
            self.failed(entry, problem)
            return None

    def ask(self, entry, handle, work, *args, then=()):
        """Uses the record in a thread; `handle` gets the result in the main loop."""
        entry.busy = True

        def schedule_record():
            try:
                result = work(*args)
            except Exception as problem:  # noqa: BLE001 (it must end with a result)
                self.agent.inbox.put((self.failed, entry, problem))
            else:
                self.agent.inbox.put((self.done, entry, handle, result, then))

        self.agent.in_thread(schedule_record)

    def done(self, entry, handle, result, then):
        entry.busy, entry.failures, entry.trouble = False, 0, None
        handle(entry, result, *then)

    def failed(self, entry, problem):
        entry.busy = False
        entry.retry_at = self.clock.monotonic() + backoff(entry.failures, 1, 30)
        entry.failures += 1
        entry.trouble = one_line(in_words(problem), ERROR)
        print(f"agent: {entry.name}: {entry.trouble}", flush=True)

    def opened(self, entry, held):
        entry.opened(held, entry.record.instance())

    def recorded(self, entry, _):
        entry.outcome = None

    def claimed(self, entry, began, due, grant):
        entry.settle(due)
        serving = self.agent.generations.serving
        if began is None:
            print(f"agent: {entry.name} runs on another instance", flush=True)
            return
        entry.begin(began)
        if self.clock.time() >= began + entry.timeout:  # Another instance may run it by now.
            entry.end(None, None, "the instance was too slow to begin it")
            return
        if not serving or not entry.wanted:
            entry.end(None, None, "the release with it does not serve any more")
            return
        try:
            entry.run = self.start(entry, serving, began, grant)
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as problem:
            entry.end(None, None, one_line(f"it could not be started: {in_words(problem)}", ERROR))
            return
        print(f"agent: runs {entry.name} of {serving.target.release[:12]}", flush=True)
        self.agent.in_thread(self.attend, entry, entry.run)

    def start(self, entry, serving, began, grant):
        """Starts a run with what the serving generation has, but its own credentials: it may outlive the generation."""
        given = {**read_json(serving.variables), **grant.variables}
        command = Command.create(
            self.paths, KIND + entry.name, serving.target.release, given, began, grant, serving.volume
        )
        self.agent.generations.hide(grant.variables.values())
        try:
            self.runner.run(command)
        except (OSError, subprocess.SubprocessError):
            self.runner.kill(command)  # It may have started partly.
            command.forget(self.runner)
            raise
        return command

    def ended(self, entry, command, code, error):
        print(f"agent: {entry.name}: {error or 'done'}", flush=True)
        entry.end(command, code, None if code is not None else one_line(error, ERROR))

    # In threads

    def claim(self, entry, due):
        """When the run began, if it is this instance's; else None."""
        now = int(self.clock.time())
        ours = entry.record.claim(entry.cron, due, now, now + entry.timeout + SLACK_SECONDS)
        return now if ours else None

    def attend(self, entry, command):
        """Waits for the end of a run."""
        code = None
        try:
            error = attend(command, self.runner, self.clock, NEVER, lambda: None)
            said = command.outcome() or {"error": "", "code": None}
            code = 0 if error is None else said["code"] if said["error"] == error else None
        except Interrupted:
            error = LOST
        except Exception as problem:  # noqa: BLE001 (it must end with a result)
            error = in_words(problem)
        self.agent.inbox.put((self.ended, entry, command, code, error))

    def record(self, entry, now, command, code, error):
        """Records how a run ended. Until then its folder stays, for the next agent."""
        entry.record.end(entry.settled, now, code, error)
        if command:
            command.forget(self.runner)

    # For other parts of the agent

    def runs(self):
        return [entry.run for entry in self.entries.values() if entry.run]

    def releases(self):
        return {run.release for run in self.runs()}

    def grants(self):
        return [run.grant for run in self.runs() if run.grant.port]

    def is_claiming(self):
        """Whether a due time may be claimed whose run has not started yet."""
        return any(entry.busy for entry in self.entries.values())

    def said(self):
        """The part of the report: by schedule of the serving release."""
        shown = {name: entry.said() for name, entry in sorted(self.entries.items()) if entry.wanted}
        mask = self.agent.generations.mask
        return {name: {**each, "error": each["error"] and mask(each["error"])} for name, each in shown.items()} or None
