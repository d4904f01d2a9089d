"""What so many users can show, and how many are needed."""

from dataclasses import dataclass

from tea_tasting.aggr import Aggregates

from experiments.metrics import Metric, ratio_of_means, variance


@dataclass(frozen=True)
class Plan:
    """What was decided before anyone looked.

    Attributes:
        alpha: share of false alarms over everything that is tested.
        effect: relative difference that would matter.
        power: share of such differences that shall be found.
    """

    alpha: float = 0.05
    effect: float = 0.05
    power: float = 0.8


@dataclass(frozen=True)
class Power:
    """What a comparison of two variations can show for one metric.

    Attributes:
        detectable: smallest relative difference that is found with the plan's power.
        power: to find the plan's effect.
        users_needed: in both together, to find the plan's effect with the plan's power.
        days_needed: at the rate at which users came so far.
    """

    detectable: float
    power: float
    users_needed: int
    days_needed: float


def power_of(
    metric: Metric, control: Aggregates, n_treatment: int, plan: Plan, n_days: float, *, covaried: bool
) -> Power | None:
    """Work out the power of a two-sided test.

    Args:
        metric: that is tested.
        control: its users, whose mean and variance no effect has touched.
        n_treatment: users of the other variation.
        plan: level (of this one test), effect, power.
        n_days: in which the users came.
        covaried: whether CUPED is used.

    Returns:
        None where the control's users do not differ, or have nothing of the metric.
    """
    if control.mean(metric.numerator) <= 0 or variance(metric, control) == 0:
        return None
    n_users = control.count() + n_treatment
    # Normal, not t: with the users of an experiment they agree, and the noncentral t of many users is NaN.
    common = {"alpha": plan.alpha, "ratio": n_treatment / control.count(), "use_t": False}

    def solved(parameter: str, **given: float) -> float:
        asked = ratio_of_means(metric, covaried=covaried, **common, **given)
        return float(getattr(asked.solve_power_from_aggregates(control, parameter)[0], parameter))

    users_needed = solved("n_obs", rel_effect_size=plan.effect, power=plan.power)
    return Power(
        solved("rel_effect_size", n_obs=n_users, power=plan.power),
        solved("power", n_obs=n_users, rel_effect_size=plan.effect),
        int(users_needed),
        users_needed / n_users * n_days,
    )
