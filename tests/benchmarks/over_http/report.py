"""Samples of builds in, a Markdown table and JSON out: medians over the rounds, and ratios to the build compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from over_http.load import Sample
from over_http.processes import Memory

Row = tuple[str, str, int, int]
"""Engines, what was asked, connections, workers."""


@dataclass
class Report:
    """What was measured, and how."""

    how: dict[str, Any]
    samples: dict[Row, dict[str, list[Sample]]] = field(default_factory=dict)
    starts: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: Row, build: str, sample: Sample) -> None:
        """One more round."""
        self.samples.setdefault(row, {}).setdefault(build, []).append(sample)

    def add_start(
        self,
        build: str,
        engines: str,
        workers: int,
        ready_s: float,
        first_ms: Mapping[str, float],
        parts: Sequence[Memory],
    ) -> None:
        """How a build came up, and what it holds after the load."""
        memory = [asdict(part) for part in parts]
        more = {"ready_s": ready_s, "first_ms": dict(first_ms), "memory": memory}
        self.starts.append({"build": build, "engines": engines, "workers": workers, **more})

    def as_json(self) -> dict[str, Any]:
        """Everything, each round by itself."""
        rows = [
            {
                "engines": engines,
                "asked": asked,
                "connections": c,
                "workers": w,
                "rounds": {b: [asdict(s) for s in found]},
            }
            for (engines, asked, c, w), builds in self.samples.items()
            for b, found in builds.items()
        ]
        return {"how": self.how, "rows": rows, "starts": self.starts}

    def as_markdown(self, new: str) -> str:
        """Tables; the last column says how many times as many a second `new` answers."""
        lines = [f"{name}: {value}  " for name, value in self.how.items()]
        lines += ["", "| asked | engines, workers | c | build | per s | p50 ms | p99 ms | CPU ms | refused | new is |"]
        lines.append("|---|---|---|---|---|---|---|---|---|---|")
        for (engines, asked, c, workers), builds in self.samples.items():
            mid = {name: _medians(found) for name, found in builds.items()}
            for name, one in mid.items():
                times = f"× {_ratio(builds, new, name):.2f}" if new in builds and name != new else ""
                figures = f"{one.per_s:,.0f} | {one.p50_ms:.2f} | {one.p99_ms:.2f} | {one.cpu_ms:.2f} | {one.refused}"
                lines.append(f"| {asked} | {engines}, {workers} | {c or 'paced'} | {name} | {figures} | {times} |")
        lines += ["", "| build | engines, workers | ready s | first request of each kind, ms |", "|---|---|---|---|"]
        for one in self.starts:
            first = ", ".join(f"{kind} {ms:.0f}" for kind, ms in one["first_ms"].items())
            lines.append(f"| {one['build']} | {one['engines']}, {one['workers']} | {one['ready_s']:.1f} | {first} |")
        lines += ["", "| build | engines, workers | process | PSS MiB | RSS MiB |", "|---|---|---|---|---|"]
        for one in self.starts:
            where = f"{one['build']} | {one['engines']}, {one['workers']}"
            for part in one["memory"]:
                lines.append(f"| {where} | {part['role']} | {part['pss_mib']:,.0f} | {part['rss_mib']:,.0f} |")
            whole = [sum(part[key] for part in one["memory"]) for key in ("pss_mib", "rss_mib")]
            lines.append(f"| {where} | together | {whole[0]:,.0f} | {whole[1]:,.0f} |")
        return "\n".join(lines)


def _medians(found: Sequence[Sample]) -> Sample:
    of = [asdict(one) for one in found]
    figures = {name: median(one[name] for one in of) for name in ("per_s", "p50_ms", "p99_ms", "cpu_ms")}
    return Sample(**figures, refused=sum(one.refused for one in found))


def _ratio(builds: Mapping[str, Sequence[Sample]], new: str, other: str) -> float:
    """The median of what the rounds say, each by itself: what else the machine did changes between rounds."""
    pairs = zip(builds[new], builds[other], strict=False)
    return median(one.per_s / max(two.per_s, 1e-9) for one, two in pairs)
