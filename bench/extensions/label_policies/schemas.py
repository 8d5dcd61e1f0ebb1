"""The columns of the table of this extension."""

SCORE_TABLES = SHOWN = DETAILS = ()
SCHEMAS: dict[str, tuple[str, ...]] = {
    # value: macro AUROC, averaged over the num_runs recipes with a policy, on each labeled split
    # policy: rule for training labels, such as the treatment of uncertain labels; reference: source of the test labels
    # The table is empty if all recipes have the same policy.
    "policies": ("policy", "dataset", "split", "reference", "value", "low", "high", "num_runs"),
}
