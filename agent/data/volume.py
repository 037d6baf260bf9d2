"""The data volume of this instance: what the agent sees of it, for its decisions (orders/decide.py) and its report."""

import time

LOOK_SECONDS = 0.5  # Between two looks at the devices.
USED_SECONDS = 60  # Between two looks at how full it is: each change is a report.


class DataVolume:
    """`volumes`: the runner's. `commands()`: the commands of releases that run, also those of an earlier agent."""

    def __init__(self, volumes, state, generations, commands, clock=time):
        self.volumes, self.state, self.generations, self.commands = volumes, state, generations, commands
        self.clock = clock
        self.looked = self.counted = float("-inf")
        self.used = None

    def look(self):
        """Updates the state. Where there is no data, this costs one look at an empty folder."""
        state, now = self.state, self.clock.monotonic()
        before, state.volume = state.volume, self.volumes.held()
        ordered = state.orders.data
        if state.volume and ordered not in (None, state.volume.volume):
            # Read from the processes themselves: a volume that is used cannot be given back.
            state.data_used = self.generations.use_data() or any(each.volume for each in self.commands())
        if not state.wants_volume():
            state.device = None
        elif now >= self.looked + LOOK_SECONDS or state.volume != before:
            self.looked, state.device = now, self.volumes.device(ordered)

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
