"""The mathematics of ketchup: pure functions of tensors, in one flat namespace.

    from ketchup_cli import functional as F

Nothing is imported, torch included, until a name is used. Nothing here reads a file, draws a
random number, or knows of models and objectives.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ketchup_cli.functional.adaptive import adaptive_kl, head_entries
    from ketchup_cli.functional.advantages import (
        batch_mean,
        clip,
        leave_one_out,
        likeliest_reverse_kl,
        rms_normalise,
        root_mean_square,
        step_mean,
        whiten,
    )
    from ketchup_cli.functional.agreement import PairDistances, pair_distances, same_choice
    from ketchup_cli.functional.calibration import (
        CALIBRATION_BINS,
        brier_scores,
        calibration_bins,
        calibration_error,
        confidence,
    )
    from ketchup_cli.functional.checks import at_least_float32, check_shapes, row_blocks
    from ketchup_cli.functional.covariance import (
        covariance_trace,
        group_products,
        jackknife_error,
        left_out,
        left_out_products,
        mean_cosine,
        mean_product,
        signal_to_noise,
        squared_bias,
    )
    from ketchup_cli.functional.distances import kept_l1_costs, l1_costs
    from ketchup_cli.functional.divergences import engine, js, kl, reverse_kl, tvd
    from ketchup_cli.functional.estimators import Estimator, sampled_kl, tangent_exp
    from ketchup_cli.functional.filling import drawn_places, hidden_counts, least_certain
    from ketchup_cli.functional.forced import SomeRows, own_mask, own_steps
    from ketchup_cli.functional.groups import (
        KdMask,
        Mixer,
        Spread,
        any_right,
        group_advantages,
        linear_decay,
        mixed_weights,
        modulated,
    )
    from ketchup_cli.functional.layers import (
        HiddenNorm,
        LayerMap,
        layer_angles,
        layer_distances,
        layer_map,
    )
    from ketchup_cli.functional.logprobs import (
        LOGIT_FLOOR,
        Statistics,
        choose_by_inverse_cdf,
        draw_by_inverse_cdf,
        entropy,
        expectation,
        log_mixture,
        log_probs_of,
        mean_log_prob,
        teacher_statistics,
        tempered,
        top_entries,
    )
    from ketchup_cli.functional.masking import (
        lengths,
        masked_mean,
        masked_sum,
        reduce,
        reduce_metrics,
        row_means,
        zero_padding,
    )
    from ketchup_cli.functional.matching import greedy_match
    from ketchup_cli.functional.mixtures import (
        Weighting,
        generalised_js,
        kl_to_mixture,
        prefix_log_odds,
        skew_kl,
        skew_reverse_kl,
    )
    from ketchup_cli.functional.online import (
        Between,
        Coupling,
        Gate,
        balanced,
        entropy_gate,
        mutual,
    )
    from ketchup_cli.functional.pairs import at_pairs
    from ketchup_cli.functional.policy_gradients import (
        clipped_surrogate,
        expected_logit,
        importance_ratio,
        policy_gradient,
    )
    from ketchup_cli.functional.pooling import comet_features, mean_state, mixed_layers, sparsemax
    from ketchup_cli.functional.preference import (
        Length,
        by_pair,
        per_text,
        preference_loss,
        token_margins,
    )
    from ketchup_cli.functional.rehearsal import Rehearsed, rehearsal_divergence
    from ketchup_cli.functional.returns import (
        Ending,
        discounted_means,
        discounted_returns,
        induced_rewards,
        k_step_advantages,
        k_step_futures,
        k_step_returns,
        of_next_step,
    )
    from ketchup_cli.functional.sampled import kl_sampled, sampled_entries
    from ketchup_cli.functional.steps import (
        Measure,
        View,
        at_steps,
        at_top,
        read_blocks,
        step_blocks,
    )
    from ketchup_cli.functional.transport import (
        Transport,
        point_groups,
        transport_cost,
        transport_loss,
        transport_plan,
    )
    from ketchup_cli.functional.truncated import Tail, bucketed, kept_log_probs, kl_truncated

__all__ = [
    "CALIBRATION_BINS",
    "LOGIT_FLOOR",
    "Between",
    "Coupling",
    "Ending",
    "Estimator",
    "Gate",
    "HiddenNorm",
    "KdMask",
    "LayerMap",
    "Length",
    "Measure",
    "Mixer",
    "PairDistances",
    "Rehearsed",
    "SomeRows",
    "Spread",
    "Statistics",
    "Tail",
    "Transport",
    "View",
    "Weighting",
    "adaptive_kl",
    "any_right",
    "at_least_float32",
    "at_pairs",
    "at_steps",
    "at_top",
    "balanced",
    "batch_mean",
    "brier_scores",
    "bucketed",
    "by_pair",
    "calibration_bins",
    "calibration_error",
    "check_shapes",
    "choose_by_inverse_cdf",
    "clip",
    "clipped_surrogate",
    "comet_features",
    "confidence",
    "covariance_trace",
    "discounted_means",
    "discounted_returns",
    "draw_by_inverse_cdf",
    "drawn_places",
    "engine",
    "entropy",
    "entropy_gate",
    "expectation",
    "expected_logit",
    "generalised_js",
    "greedy_match",
    "group_advantages",
    "group_products",
    "head_entries",
    "hidden_counts",
    "importance_ratio",
    "induced_rewards",
    "jackknife_error",
    "js",
    "k_step_advantages",
    "k_step_futures",
    "k_step_returns",
    "kept_l1_costs",
    "kept_log_probs",
    "kl",
    "kl_sampled",
    "kl_to_mixture",
    "kl_truncated",
    "l1_costs",
    "layer_angles",
    "layer_distances",
    "layer_map",
    "least_certain",
    "leave_one_out",
    "left_out",
    "left_out_products",
    "lengths",
    "likeliest_reverse_kl",
    "linear_decay",
    "log_mixture",
    "log_probs_of",
    "masked_mean",
    "masked_sum",
    "mean_cosine",
    "mean_log_prob",
    "mean_product",
    "mean_state",
    "mixed_layers",
    "mixed_weights",
    "modulated",
    "mutual",
    "of_next_step",
    "own_mask",
    "own_steps",
    "pair_distances",
    "per_text",
    "point_groups",
    "policy_gradient",
    "preference_loss",
    "prefix_log_odds",
    "read_blocks",
    "reduce",
    "reduce_metrics",
    "rehearsal_divergence",
    "reverse_kl",
    "rms_normalise",
    "root_mean_square",
    "row_blocks",
    "row_means",
    "same_choice",
    "sampled_entries",
    "sampled_kl",
    "signal_to_noise",
    "skew_kl",
    "skew_reverse_kl",
    "sparsemax",
    "squared_bias",
    "step_blocks",
    "step_mean",
    "tangent_exp",
    "teacher_statistics",
    "tempered",
    "token_margins",
    "top_entries",
    "transport_cost",
    "transport_loss",
    "transport_plan",
    "tvd",
    "whiten",
    "zero_padding",
]

_MODULES = (
    "adaptive",
    "advantages",
    "agreement",
    "calibration",
    "checks",
    "covariance",
    "distances",
    "divergences",
    "estimators",
    "groups",
    "filling",
    "forced",
    "layers",
    "logprobs",
    "masking",
    "matching",
    "mixtures",
    "online",
    "pairs",
    "policy_gradients",
    "pooling",
    "preference",
    "rehearsal",
    "returns",
    "sampled",
    "steps",
    "transport",
    "truncated",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            home = import_module(f"{__name__}.{module}")
            if name in vars(home):
                # some names are asked for in every pass of a decoder
                globals()[name] = vars(home)[name]
                return vars(home)[name]
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")


def __dir__() -> list[str]:
    return sorted(__all__)
