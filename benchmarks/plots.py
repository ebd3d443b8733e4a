"""The figures as plots."""

from pathlib import Path
from typing import Any


def draw(figures: dict[str, Any], folder: Path) -> None:
    """Write performance-cpu.svg, performance-latency.svg and performance-growth.svg."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "referral-fn"

    def save(figure: Any, name: str) -> None:
        figure.savefig(folder / f"performance-{name}.svg", metadata={"Date": None})

    at_32 = figures["against the floor"]["32"]
    figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    names = list(reversed(at_32))
    medians = [at_32[name]["cpu"]["median"] for name in names]
    lows = [at_32[name]["cpu"]["median"] - at_32[name]["cpu"]["least"] for name in names]
    highs = [at_32[name]["cpu"]["greatest"] - at_32[name]["cpu"]["median"] for name in names]
    axes.barh(names, medians, xerr=[lows, highs], color="#1f77b4", ecolor="#555555")
    axes.set(xscale="log", xlabel="CPU of one referral, µs, 32 at once (median and spread)")
    save(figure, "cpu")

    points = figures["hidden latency"]
    figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
    concurrency = [point["concurrency"] for point in points]
    axes.plot(concurrency, [point["possible"] for point in points], "--", label="possible")
    axes.plot(concurrency, [point["possible"] * point["spread"] for point in points], "o-", label="app")
    axes.set(xlabel="referrals in flight", ylabel="referrals a second", title="Partner Center takes 200 ms")
    axes.legend()
    save(figure, "latency")

    marks = figures["growth"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    referrals = [mark["referrals"] for mark in marks]
    left.plot(referrals, [mark["cpu"] for mark in marks], "o-")
    left.set(ylim=(0, None), xlabel="referrals", ylabel="CPU of one, µs")
    right.plot(referrals, [mark["memory"] / 2**20 for mark in marks], "o-")
    right.set(ylim=(0, None), xlabel="referrals", ylabel="memory, MiB")
    save(figure, "growth")
