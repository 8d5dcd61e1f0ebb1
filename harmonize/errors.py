"""Errors a reader can act on.

    CxrError            what went wrong, where, and the mend; shown without traceback
    |- ConfigError      a grid, option or mapping file asks for something impossible
    |- RegistryError    registry.yaml names something that cannot be found or loaded
    |- DatasetError     a dataset on disk is not what its layout promises
    |- StoreError       the run store is damaged, locked or of another version
    `- SetupError       the machine lacks something: a package, a device, a file of weights

They are raised where the user's input enters; further inside, a plain exception means a bug.
"""


class CxrError(Exception):
    """A problem its reader can fix. Any other exception is a bug in this project."""

    def __init__(self, what: str, where: str, fix: str) -> None:
        super().__init__(what, where, fix)  # all three: worker processes pickle `args`
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        return f"{self.what}\nwhere: {self.where}\n  fix: {self.fix}"


class ConfigError(CxrError):
    """A grid, an option or a mapping file asks for something impossible."""


class RegistryError(CxrError):
    """registry.yaml names something that cannot be found or loaded."""


class DatasetError(CxrError):
    """A dataset on disk is not what its layout promises."""


class StoreError(CxrError):
    """The run store is damaged, locked or written by another version."""


class SetupError(CxrError):
    """The machine lacks something: a package, a device, a file of weights."""
