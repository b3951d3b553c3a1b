"""A worker that answers in, a table of where its time goes and the stacks that it was seen in out: `omni serve --profile`.

Stages are timed for every answer, and a thread looks every few milliseconds at what all threads are doing. The stacks are
written in the collapsed form that flame graphs are drawn from (one line a stack: frames;from;outside;in, how often).
"""

import logging
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

from serving.timing.stages import STAGES, WAITING, Laps

logger = logging.getLogger(__name__)

PROFILE_DIR: Final = "OMNI_PROFILE"
"""The variable by which the service tells its workers where to write; without it nothing is profiled."""
EVERY_S: Final = 0.005
TOLD_PLACES: Final = 40
_IDLE: Final = (
    *("select", "poll", "wait", "_wait", "_wait_for_end", "run", "run_forever", "_worker", "accept", "acquire"),
)
"""Functions at the end of a stack in which a thread waits for something to do."""


class Profile:
    """Stages and stacks of one worker, from `start` until `stop`, which writes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stages: dict[str, list[float]] = {stage: [0, 0.0, 0.0] for stage in STAGES}
        self._stacks: Counter[str] = Counter()
        self._looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="omni-profile", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._started, self._cpu = time.perf_counter(), time.process_time()
        self._thread.start()

    def add(self, laps: Laps) -> None:
        """Count the stages of one answer."""
        for stage, wall_s, cpu_s in laps.taken:
            sums = self._stages[stage]
            sums[0] += 1
            sums[1] += wall_s
            sums[2] += cpu_s

    def stop(self) -> Path:
        """Look no more, and write what was seen: the path of the table, beside which the stacks lie."""
        self._stop.set()
        self._thread.join()
        self._folder.mkdir(parents=True, exist_ok=True)
        table = self._folder / f"worker-{os.getpid()}.txt"
        table.write_text(self.text(), encoding="utf-8")
        lines = [f"{stack} {n}\n" for stack, n in self._stacks.most_common()]
        table.with_suffix(".collapsed").write_text("".join(lines), encoding="utf-8")
        return table

    def text(self) -> str:
        """The table of stages, and the places in the code that threads were seen in most."""
        wall_s, cpu_s = time.perf_counter() - self._started, time.process_time() - self._cpu
        lines = [f"{wall_s:.1f} s, of which {cpu_s:.1f} s of CPU in this worker", ""]
        lines.append(f"{'stage':<10}{'answers':>9}{'µs each':>10}{'µs of CPU':>11}")
        for stage, (n, wall, cpu) in self._stages.items():
            if n:
                own = "waits" if stage in WAITING else f"{cpu / n * 1e6:.0f}"
                lines.append(f"{stage:<10}{int(n):>9,}{wall / n * 1e6:>10.0f}{own:>11}")
        places: Counter[str] = Counter()
        for stack, n in self._stacks.items():
            places[stack.rpartition(";")[2]] += n
        lines += ["", f"seen busy, of {self._looks:,} looks:"]
        lines += [f"{n / max(self._looks, 1):>7.1%}  {place}" for place, n in places.most_common(TOLD_PLACES)]
        return "\n".join(lines) + "\n"

    def _look(self) -> None:
        me = threading.get_ident()
        while not self._stop.wait(EVERY_S):
            self._looks += 1
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                if ident != me and frame.f_code.co_name not in _IDLE:
                    self._stacks[f"{names.get(ident, 'thread')};{_stack(frame)}"] += 1


def _stack(frame: FrameType | None) -> str:
    places = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        places.append(f"{path.parent.name}/{path.name}:{frame.f_code.co_name}")
        frame = frame.f_back
    return ";".join(reversed(places))
