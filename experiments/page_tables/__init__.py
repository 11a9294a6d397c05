"""The tables of the pages, by their names: each function writes one from experiments/results."""

from collections.abc import Callable

from page_tables.conditions import (
    autoencoder,
    class_conditional,
    emoji,
    other_kinds,
    portraits,
)
from page_tables.costs import (
    codec,
    codec_speed,
    models,
    passes,
    profile,
    seconds,
    speed,
    steps,
    textbook,
)
from page_tables.likelihoods import (
    budgets,
    cifar_compared,
    eight_orders,
    four_models,
    four_models_rates,
    kinds_of_values,
    multi_scale,
    optimisers,
    published_shapes,
    reproduced,
    study,
    test_evaluations,
    variational,
)
from page_tables.scores import (
    defect_variants,
    defects,
    one_class,
    surprise_cost,
    traps,
)

__all__ = ["TABLES"]

TABLES: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        reproduced,
        study,
        cifar_compared,
        four_models,
        four_models_rates,
        autoencoder,
        variational,
        class_conditional,
        portraits,
        published_shapes,
        other_kinds,
        emoji,
        models,
        passes,
        seconds,
        test_evaluations,
        codec,
        codec_speed,
        eight_orders,
        speed,
        steps,
        textbook,
        profile,
        optimisers,
        multi_scale,
        defects,
        defect_variants,
        traps,
        one_class,
        surprise_cost,
        kinds_of_values,
        budgets,
    )
}
