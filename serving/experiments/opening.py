"""Settings in, the home's experiments or the complaint about a new one out."""

import time
from functools import partial

from features.errors import InputError
from features.experiments.experiment import Experiment
from features.log.event_log import EventLog
from features.log.lists.experiment_table import KeptExperiments
from features.settings import Settings
from serving.decision.rules import house_rules
from serving.experiments.in_force import Experiments
from serving.experiments.variants import check_variants
from serving.scorers.registry import load_version
from serving.scorers.vetting import Vetting


def open_experiments(settings: Settings, log: EventLog) -> Experiments:
    """The experiments that the log has; `watch` follows them. Raises StoreError where the log cannot be read."""
    experiments = Experiments(log.experiments(), partial(load_version, settings, Vetting(settings.home)))
    experiments.look()
    return experiments


def check_experiment(settings: Settings, experiment: Experiment) -> None:
    """Whether a home can decide by every variant.

    Raises InputError for rules that it cannot have and a version that the registry has not, ModelError for a version that must
    not serve.
    """
    check_variants(experiment, house_rules(settings))
    vetting = Vetting(settings.home)
    for variant in experiment.variants:
        for task, number in variant.models.items():
            load_version(settings, vetting, task, number)


def overlap(experiment: Experiment, known: KeptExperiments) -> None:
    """Raises InputError where an experiment that is not over changes the same: a customer may be in both."""
    for other in known.experiments:
        same = sorted(experiment.changes & other.experiment.changes)
        if same and not other.is_over(time.time()):
            name = other.experiment.name
            raise InputError(
                f"The experiment {name} changes {same[0]}, too, and a customer may be in both.",
                repair=f"Stop it first (omni experiment stop {name}), or make both one with more variants.",
            )
