"""The data volume of this instance: what the agent sees of it, for its decisions (orders/decide.py) and its report."""

import time

from processes.generations import HALT_SECONDS
from processes.release_commands import WHAT as RELEASE

LOOK_SECONDS = 0.5  # Between two looks at the devices.
USED_SECONDS = 60  # Between two looks at how full it is: each change is a report.


class DataVolume:
    """`commands()`: the commands that run, of releases and schedules, also those of an earlier agent."""

    def __init__(self, runner, state, generations, commands, clock=time):
        self.runner, self.volumes, self.state, self.generations = runner, runner.volumes, state, generations
        self.commands, self.clock = commands, clock
        self.giving_up = None  # Since when the volume is to be given up.
        self.looked = self.counted = float("-inf")
        self.used = None

    def look(self):
        """Updates the state. Where there is no data, this costs one look at an empty folder."""
        state, now = self.state, self.clock.monotonic()
        before, state.volume = state.volume, self.volumes.held()
        if state.gives_up_volume():
            # Read from the processes themselves: a volume that is used cannot be given back.
            users = [each for each in self.commands() if each.volume]
            self.generations.end_with_data()
            state.data_used = self.generations.use_data() or bool(users)
            self.end([each for each in users if each.what != RELEASE])
        else:
            self.giving_up = None
        if not state.wants_volume():
            state.device = None
        elif now >= self.looked + LOOK_SECONDS or state.volume != before:
            self.looked, state.device = now, self.volumes.device(state.orders.data)

    def end(self, runs):
        """Ends the runs of schedules. The commands of a release come to their end, because a migration may not be interrupted."""
        now = self.clock.monotonic()
        if self.giving_up is None:
            self.giving_up = now
            for each in runs:
                self.runner.retire(each)
        elif now >= self.giving_up + HALT_SECONDS:
            for each in runs:
                self.runner.kill(each)

    def said(self):
        """The part of the report; None where there is no data."""
        state, held = self.state, self.state.volume
        if not held and not state.orders.data and not state.keeping:
            return None
        mounted = held and held.mounted
        return {
            "volume": held and held.volume,
            "error": state.volume_error(),
            "gib": held.gib if mounted else None,
            "used": self.percent(held.volume) if mounted else None,
        }

    def percent(self, volume):
        now = self.clock.monotonic()
        if now >= self.counted + USED_SECONDS or self.used is None or self.used[0] != volume:
            self.counted = now
            try:
                self.used = volume, self.volumes.used(volume)
            except OSError:
                self.used = volume, None
        return self.used[1]
