"""Which experiments run, as far as the features tell."""

from collections.abc import Collection

from service.decoding import arms_of
from service.rules import VARIANT, Rule, Rules
from service.schemas import Namespace, RunningExperiment


def running_experiments(rules: Rules, loaded: Collection[str]) -> list[RunningExperiment]:
    """Every rule that divides callers up or interleaves, in the order in which they are asked.

    Args:
        rules: in force.
        loaded: names of the variants that are.
    """
    return [
        _described(feature, rule, loaded)
        for feature, rule in rules.rules()
        if rule.variations is not None or (feature == VARIANT and len(arms_of(rule.force)) > 1)
    ]


def _described(feature: str, rule: Rule, loaded: Collection[str]) -> RunningExperiment:
    named = [arm.variant for value in rule.values for arm in arms_of(value)] if feature == VARIANT else []
    key = rule.key if rule.variations is not None else rule.id
    return RunningExperiment(
        key=key or feature,
        feature=feature,
        variations=rule.values,
        shares=rule.weights or [1 / len(rule.values)] * len(rule.values),
        coverage=1.0 if rule.coverage is None else rule.coverage,
        namespaces=_namespaces(rule),
        condition=rule.condition,
        hash_attribute=rule.hash_attribute or "id",
        not_loaded=sorted({name for name in named if name is not None and name not in loaded}),
    )


def _namespaces(rule: Rule) -> list[Namespace]:
    """GrowthBook writes them in two ways, of which filters go first."""
    if rule.filters:
        return [Namespace(name=each.seed, ranges=each.ranges) for each in rule.filters]
    if rule.namespace:
        name, start, end = rule.namespace
        return [Namespace(name=name, ranges=[(start, end)])]
    return []
