"""Import shap without keeping the variables of the functions that import it."""

import sys
from types import ModuleType


def import_shap() -> ModuleType:
    """Return the module shap. The import takes seconds, so it is not at the top of a module.

    shap keeps the errors of optional packages that cannot be imported. An error keeps its traceback, and a traceback keeps all
    variables of all calling functions: in a study of 2,000 runs, this is a gigabyte. So the tracebacks are deleted.
    """
    import shap

    errors = getattr(sys.modules.get("shap.utils._general"), "import_errors", {})
    for _, error in errors.values():
        error.__traceback__ = None
    module: ModuleType = shap
    return module
