"""Figures: test rows with labels and scores in, seaborn's calibration, lift, importance, values and shares out."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from features.arrays import Float32Array, FloatArray
from features.evaluation.resampling import Metric
from training.evaluation.metrics import CONTACT_COST, CUSTOMER_VALUE, OFFER_COST, probability_bins


def of_evaluation(evaluation: pd.DataFrame | None) -> Iterator[tuple[str, Figure]]:
    """(file name, figure) of the calibration and the lift of every part of an evaluation (see TrainedModel)."""
    if evaluation is None or evaluation["label"].isna().all():
        return
    yield "plots/calibration.png", calibration(evaluation)
    yield "plots/lift.png", lift_curve(evaluation)


def calibration(evaluation: pd.DataFrame) -> Figure:
    """Mean label over mean probability in bins of equal mass, a line per part."""
    figure, axes = _figure("predicted probability", "share that happened", "Calibration on the test period")
    top = 0.0
    for part, rows in evaluation.groupby("part"):
        scores = rows["score"].to_numpy(float)
        bins = probability_bins(scores)
        means = rows.groupby(bins)[["score", "label"]].mean()
        top = max(top, float(means.to_numpy().max()))
        _line(axes, means["score"].to_numpy(), means["label"].to_numpy(), str(part), marker="o")
    axes.plot([0, top], [0, top], color="grey", linewidth=1, linestyle="--", label="perfect")
    axes.legend()
    return figure


def lift_curve(evaluation: pd.DataFrame) -> Figure:
    """Share of all positives among the rows with the highest scores, a line per part."""
    figure, axes = _figure("share of rows, highest score first", "share of positives found", "Gain on the test period")
    for part, rows in evaluation.groupby("part"):
        reached, found = _gains(rows["label"].to_numpy(float), rows["score"].to_numpy(float))
        if found[-1] > 0:
            _line(axes, reached / reached[-1], found / found[-1], str(part))
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--", label="random")
    axes.legend()
    return figure


def profit_curve(labels: FloatArray, scores: FloatArray) -> Figure:
    """Profit per customer of a retention campaign over the share of customers it reaches, and of reaching them at random.

    A churner who is reached stays in three cases of ten, the mean of the expected maximum profit's assumptions.
    """
    figure, axes = _figure(
        "share of customers reached, highest risk first", "profit per customer", "Profit on the test period"
    )
    reached, churned = _gains(labels, scores)
    profit = churned * (0.3 * (CUSTOMER_VALUE - OFFER_COST) - CONTACT_COST)
    profit = (profit - (reached - churned) * (OFFER_COST + CONTACT_COST)) / len(labels)
    _line(axes, reached / len(labels), profit, "by risk")
    axes.plot([0, 1], [0, profit[-1]], color="grey", linewidth=1, linestyle="--", label="random")
    axes.legend()
    return figure


def importance(names: Sequence[str], gains: FloatArray, title: str, top: int = 20) -> Figure:
    """The signals that a booster gained most from."""
    figure, axes = _figure("share of the gain", "", title)
    order = np.argsort(gains)[-top:]
    total = float(gains.sum()) or 1.0
    sns.barplot(
        x=gains[order][::-1] / total, y=[names[i] for i in order[::-1]], ax=axes, errorbar=None, orient="h", color="C0"
    )
    figure.set_size_inches(7, 6)
    return figure


def shap_summary(names: Sequence[str], shap: FloatArray, values: Float32Array, title: str, top: int = 15) -> Figure:
    """What each signal did to each prediction: a dot per row, to the right where it raised it, coloured by its value.

    `shap` (n, signals) are exact contributions in log-odds (TreeSHAP, Lundberg et al. 2020, which LightGBM computes),
    `values` (n, signals) the signals; grey where there is none. The signals that move predictions most come first.
    """
    figure, axes = _figure("contribution to the log-odds", "", title)
    order = np.argsort(np.abs(shap).mean(axis=0))[-top:]
    for row, signal in enumerate(order):
        known = np.isfinite(values[:, signal])
        ranks = np.argsort(np.argsort(values[known, signal])) / max(1, known.sum() - 1)
        jitter = 0.35 * np.sin(np.arange(len(shap)) * 2.399963)  # a golden angle spreads dots without a random draw
        axes.scatter(shap[~known, signal], row + jitter[~known], s=3, color="lightgrey")
        axes.scatter(shap[known, signal], row + jitter[known], s=3, c=ranks, cmap="coolwarm")
    axes.axvline(0.0, color="grey", linewidth=1)
    axes.set_yticks(range(len(order)), [names[i] for i in order])
    figure.set_size_inches(8, 6)
    return figure


def policy_values(values: Mapping[str, Metric], title: str) -> Figure:
    """Estimated values of policies with their 95 % intervals, a line per policy."""
    figure, axes = _figure("reward per decision, doubly robust, 95 % interval", "", title)
    for row, metric in enumerate(values.values()):
        axes.plot([metric.low, metric.high], [row, row], color=f"C{row}")
        axes.plot([metric.value], [row], marker="o", color=f"C{row}")
    axes.set_yticks(range(len(values)), list(values))
    return figure


def intervals(names: Sequence[str], rows: ArrayLike, x: str, title: str) -> Figure:
    """Values with their intervals, `rows` (n, 3) of value, low and high, one under the other."""
    figure, axes = _figure(x, "", title)
    for row, (value, low, high) in enumerate(np.asarray(rows, dtype=np.float64)):
        axes.plot([low, high], [row, row], color="C0")
        axes.plot([value], [row], marker="o", color="C0")
    axes.axvline(0.0, color="grey", linewidth=1)
    axes.set_yticks(range(len(names)), list(names))
    axes.invert_yaxis()
    return figure


def matrix(shares: pd.DataFrame, x: str, y: str, title: str) -> Figure:
    """Shares as shades, a row and a column per name, with the larger ones written out."""
    figure, axes = _figure(x, y, title)
    written = np.where(shares.to_numpy() >= 0.01, np.char.mod("%.0f%%", 100 * shares.to_numpy()), "")
    sns.heatmap(shares, annot=written, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False, ax=axes)
    axes.set_xticks(axes.get_xticks(), list(shares.columns), rotation=45, ha="right")
    axes.set(xlabel=x, ylabel=y)
    return figure


def _figure(x: str, y: str, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 5), layout="constrained")
    with sns.axes_style("whitegrid"):
        axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y, title=title)
    return figure, axes


def _line(axes: Axes, x: FloatArray, y: FloatArray, label: str, marker: str | None = None) -> None:
    sns.lineplot(x=x, y=y, label=label, marker=marker, ax=axes, errorbar=None, estimator=None, sort=False)


def _gains(labels: FloatArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How many are reached and how many positives among them, from nobody on; rows of equal scores are reached together."""
    _, rank = np.unique(-scores, return_inverse=True)
    sums = [np.concatenate(([0.0], np.cumsum(np.bincount(rank, weights)))) for weights in (None, labels)]
    return sums[0], sums[1]
