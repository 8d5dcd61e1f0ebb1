"""Check the auxiliary heads of a run: further targets of a network besides its findings (abnormality, device, projection, sex).

An auxiliary head is an additional output of the last linear layer with its own cross-entropy. The logits of an auxiliary
head are stored (column `head:NAME`) but not scored.

There is one exception. In a label space with the finding "Abnormal", the head `abnormal` uses the output of this finding
and adds no output. The loss of the head then replaces the loss of the finding, and the output is scored like every
finding.
"""

from bench.config.run_config import HEADS, RunConfig
from harmonize.errors import ConfigError
from harmonize.labels.findings import ABNORMAL, NO_FINDING, space


def check_heads(config: RunConfig, where: str) -> None:
    """Raise ConfigError if the task or the heads do not fit the label space."""
    findings = space(config.space)
    if config.task == "binary" and config.finding not in findings:
        fix = f"{ConfigError.hint(config.finding, findings)}choose one of {', '.join(findings)}, or another `space`"
        raise ConfigError(f"the label space {config.space} has no finding {config.finding!r}", f"{where}.finding", fix)
    if "abnormal" not in HEADS[config.heads]:
        return
    if config.task == "binary":
        fix = "use `task: multilabel`, or `heads: auxiliary`"
        raise ConfigError(
            f"a binary task cannot have the additional head of `heads: {config.heads}`", f"{where}.heads", fix
        )
    if not {NO_FINDING, ABNORMAL} & set(findings):
        fix = f"choose a label space with {NO_FINDING!r} or {ABNORMAL!r}: chexpert-14, shared-9, nih-14-abnormal"
        raise ConfigError(f"the label space {config.space} does not define normal and abnormal", f"{where}.heads", fix)
