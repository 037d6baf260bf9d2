"""What the agent does in its threads: one method for each kind of step that `decide` chooses, and what their results mean."""

from boot.aws import AwsError
from boot.bootstrap import BadRelease
from boot.validate import in_words
from logs.masking import secrets_in
from orders import decide, references, secrets, tasks
from orders.report import error_code
from processes import one_off
from processes.command import CommandFailed
from processes.release_commands import owed, with_data


class Steps:
    def __init__(self, agent):
        self.agent = agent
        self.paths, self.state, self.generations, self.clock = agent.paths, agent.state, agent.generations, agent.clock

    def do(self, step, *args):
        """In a thread: does a step, and puts the result into the inbox."""
        try:
            result = getattr(self, step[0])(*args)
            self.agent.inbox.put((self.done, step, result))
        except Exception as problem:  # noqa: BLE001 (every step must end with a result)
            self.agent.inbox.put((self.failed, step, problem))

    def token(self):
        return tasks.read_token(self.agent.aws, self.agent.name())

    def secrets(self, *order):
        # Only the first read for an order waits until SSM shows the ordered secrets. After a reboot, the last healthy release
        # does not wait for it.
        known = self.state.secrets
        ordered = order[0] if known and not known.answered else None

        def wanted():
            return decide.read_secrets(self.state) == ("secrets", *order)

        return secrets.read_secrets(self.agent.aws, self.agent.name(), ordered, wanted, self.clock)

    def references(self, release, *order):
        # After a reboot, the last healthy release does not wait until AWS shows the ordered versions.
        named = self.paths.manifest(release).get("references") or {}
        waits = release in self.state.references or release != self.state.healthy

        def wanted():
            return decide.read_references(self.state, release) == ("references", release, *order)

        return references.read_references(self.agent.aws, named, order[0] if waits else None, wanted, self.clock)

    def prepare(self, release):
        tasks.prepare(self.agent.aws, self.agent.name(), release, self.paths, lambda: self.wants(release), self.clock)
        self.agent.static_files.lay(release)

    def release(self, grant, release, *ordered):
        orders = dict(zip(self.state.orders.answered(), ordered))
        return self.agent.release_commands.run(
            self.agent.name(), release, orders, self.state, lambda: self.wants(release), grant
        )

    def mount(self, volume):
        self.agent.runner.volumes.mount(volume)

    def grow(self, volume):
        self.agent.runner.volumes.grow(volume)

    def unmount(self, volume):
        if self.agent.runner.outlived:
            one_off.end(self.paths)
        self.agent.runner.volumes.unmount(volume)

    def wants(self, release):
        return release in decide.candidates(self.state)

    def owe(self, releases):
        """Notes which of these releases' commands must run, and masks what they could print; and which of them have data."""
        self.state.keeping |= with_data(self.paths, releases)
        for release in owed(self.paths, releases):
            self.state.owing.add(release)
            self.generations.hide(secrets_in(self.paths.manifest(release).get("env", {})))

    def done(self, step, result):
        self.state.under_way.discard(step)
        if step == decide.TOKEN:
            self.got_token(result)
        elif step[0] == "secrets":
            self.generations.hide(result.values.values())
            decide.take_secrets(self.state, step, result, self.clock.monotonic())
        elif step[0] == "references":
            self.generations.hide(result.values.values())
            decide.take_references(self.state, step, result)
        else:
            self.state.failures.pop(step, None)
            if step[0] == "prepare":
                self.state.ready.add(step[1])
                self.owe({step[1]})
            elif result:  # The commands of a release have ended well.
                self.state.owing.discard(step[1])

    def got_token(self, token):
        """Refuses a version older than the newest one known or served: a revoked token must not return."""
        known = max(self.state.token.version if self.state.token else 0, self.generations.newest_token)
        ordered = self.state.orders.token or 0
        if token.version < known:
            error = f"SSM has version {token.version} of the token, older than version {known}, known on this instance"
            decide.failed(self.state, decide.TOKEN, error, steady=self.clock.monotonic(), least=1, most=60)
            return
        self.state.token = token
        self.generations.hide(filter(None, (token.current, token.previous)))
        if token.version < ordered:
            error = f"SSM has version {token.version} of the token, the tag devopsctl:token names {ordered}"
            decide.failed(self.state, decide.TOKEN, error, steady=self.clock.monotonic(), least=0.3, most=30)
        else:
            self.state.failures.pop(decide.TOKEN, None)

    def failed(self, step, problem):
        self.state.under_way.discard(step)
        error = decide.one_line(self.generations.mask(in_words(problem)))
        print(f"agent: {step[0]}: {error}", flush=True)
        early = isinstance(problem, AwsError) and problem.status in (400, 403, 404) and problem.may_pass()
        tail = self.generations.mask(getattr(problem, "tail", ""))
        if step[0] in ("token", "secrets", "references", "release", "mount", "grow", "unmount"):
            missing = getattr(problem, "code", "") == "ParameterNotFound"
            least, most = (0.5, 2) if early or missing else (1, 60)
        else:
            least, most = 15, 300
        permanent, code = isinstance(problem, (BadRelease, CommandFailed)), error_code(problem)
        decide.failed(self.state, step, error, tail, self.clock.monotonic(), least, most, permanent, code)
