"""The table of figures: which rows it shows, and which baseline it calls the best."""

from rich.console import Console

from features.evaluation.resampling import Metric
from features.vocabulary import Task
from training.evaluation.tables import gain_line, metric_table, nearest_baseline


def lines(table) -> list[str]:
    """The table as plain lines."""
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def of(value: float) -> Metric:
    return Metric(value, value - 0.1, value + 0.1)


METRICS = {"auc": of(0.8), "auc/mail": of(0.7), "log_loss": of(0.3), "brier": of(0.2)}
BASELINES = {"recency": {"auc": of(0.6), "log_loss": of(0.4)}, "rfm": {"auc": of(0.7), "log_loss": of(0.5)}}


def test_the_best_baseline_is_the_largest_or_for_a_loss_the_smallest() -> None:
    shown = lines(metric_table([("churn", METRICS, BASELINES)]))
    assert "churn auc 0.8000 0.7000 to 0.9000 rfm 0.7000" in shown
    assert "churn log_loss 0.3000 0.2000 to 0.4000 recency 0.4000" in shown
    assert "churn brier 0.2000 0.1000 to 0.3000" in shown


def test_named_metrics_come_with_their_parts() -> None:
    shown = lines(metric_table([("churn", METRICS, BASELINES)], names={"churn": ("auc",)}))
    assert [line.split()[1] for line in shown[1:]] == ["auc", "auc/mail"]


def test_the_gain_told_is_the_one_over_the_strongest_baseline() -> None:
    told = gain_line(Task.NEXT_PRODUCT, {"popularity": of(0.2), "item_knn": Metric(0.01, 0.002, 0.02)})
    assert told == "ndcg@10: better than item_knn by 0.0100 (0.0020 to 0.0200), in pairs"
    assert gain_line(Task.CHURN, {}) == ""


def test_a_loss_is_told_as_one_and_parts_do_not_stand_for_the_whole() -> None:
    gains = {"rate": Metric(0.02, 0.01, 0.03), "rate/mailer": Metric(-0.5, -0.6, -0.4)}
    assert gain_line(Task.BEST_CHANNEL, gains) == "log_loss: better than rate by 0.0200 (0.0100 to 0.0300), in pairs"
    lost = gain_line(Task.CHURN, {"bg_nbd": Metric(-0.02, -0.03, 0.01)})
    assert lost == "log_loss: no different from bg_nbd, -0.0200 (-0.0300 to +0.0100), in pairs"
    assert (
        gain_line(Task.CHURN, {"bg_nbd": Metric(-0.02, -0.03, -0.01)})
        == "log_loss: worse than bg_nbd by 0.0200 (0.0100 to 0.0300), in pairs"
    )


def test_the_nearest_baseline_is_one_of_the_whole() -> None:
    gains = {"popularity": of(0.2), "item_knn": of(0.1), "item_knn/mailer": of(-0.5)}
    assert nearest_baseline(gains) == ("item_knn", of(0.1))
    assert nearest_baseline({"item_knn/mailer": of(-0.5)}) == ("item_knn/mailer", of(-0.5))
    assert nearest_baseline({}) is None
