"""One radiograph and its counterfactual twins: the same patient with a finding, a token or another hospital changed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from harmonize.phantom.compose import Anatomy, compose, turn_sideways
from harmonize.phantom.drawing import Map
from harmonize.phantom.patient import Patient, Study, draw_patient, draw_study, rng_of
from harmonize.phantom.scanner import Mask, expose
from harmonize.phantom.settings import PhantomSettings
from harmonize.phantom.sites import DRAWN, SITES

MIN_CANVAS = 128  # below, thin structures would break up; the scanner shrinks


@dataclass(frozen=True, slots=True, eq=False)
class Radiograph:
    """A picture and its truth.

    image: float32 [H, W], 0 to 1, bright = dense, the long side as in the settings.
    masks: bool [H, W] for each finding present, "lungs", "heart", "devices" and "token", moved with the picture.
    """

    image: Map
    masks: dict[str, Mask]
    patient: Patient
    study: Study
    token: bool
    heart_ratio: float  # width of the heart over width of the thorax, before projection


def twin(
    settings: PhantomSettings,
    site: str,
    patient: int,
    study: int = 0,
    *,
    findings: Mapping[str, bool | float] | None = None,
    token: bool | None = None,
    view: str | None = None,
    devices: bool | None = None,
    scanner: str | None = None,
) -> Radiograph:
    """Return a frontal radiograph of a patient by number, changed only in what is named.

    Without changes it is the picture that `write_cohorts` stores. `findings` maps names to True (with the severity
    that the patient would have), False, or a severity in 0..1; others stay. `scanner` takes the picture elsewhere.
    Patient and study numbers are in the truth tables. Raises ValueError for an unknown name or value.
    """
    person = draw_patient(settings.seed, site, patient)
    exam = _changed(draw_study(person, study), findings or {}, view, devices)
    if scanner is not None and scanner not in SITES:
        raise ValueError(f"no hospital {scanner!r}; known: {', '.join(SITES)}")
    tagged = has_token(settings, person, draw_study(person, study)) if token is None else token
    anatomy = compose(person, exam, max(MIN_CANVAS, settings.size))
    return _take(settings, person, exam, anatomy, tagged, scanner or site)


def render(settings: PhantomSettings, patient: Patient, study: Study) -> Radiograph:
    """Return the frontal radiograph of an examination."""
    anatomy = compose(patient, study, max(MIN_CANVAS, settings.size))
    return _take(settings, patient, study, anatomy, has_token(settings, patient, study), patient.site)


def render_lateral(settings: PhantomSettings, patient: Patient, study: Study) -> Radiograph:
    """Return a crude lateral view, without token and without masks of findings."""
    anatomy = compose(patient, study, max(MIN_CANVAS, settings.size))
    return _take(
        settings,
        patient,
        study,
        Anatomy(turn_sideways(anatomy.thickness), {}, anatomy.heart_ratio),
        False,
        patient.site,
    )


def has_token(settings: PhantomSettings, patient: Patient, study: Study) -> bool:
    """Return whether the picture carries the token: with the true finding at the source, by a fair coin elsewhere."""
    chance = 0.5
    if patient.site == settings.source:
        chance += settings.shortcut / 2 if settings.finding in study.present else -settings.shortcut / 2
    return bool(rng_of("shortcut", patient, study.index).random() < chance)


def _take(
    settings: PhantomSettings, person: Patient, exam: Study, anatomy: Anatomy, token: bool, scanner: str
) -> Radiograph:
    exposure = expose(person, exam, anatomy.thickness, anatomy.masks, scanner=scanner, size=settings.size, token=token)
    return Radiograph(exposure.image, exposure.masks, person, exam, token, anatomy.heart_ratio)


def _changed(study: Study, findings: Mapping[str, bool | float], view: str | None, devices: bool | None) -> Study:
    present, severity = set(study.present), dict(study.severity)
    for name, value in findings.items():
        if name not in DRAWN:
            raise ValueError(f"no painted finding {name!r}; known: {', '.join(DRAWN)}")
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is True, False or a severity in 0..1, not {value}")
        (present.add if value else present.discard)(name)
        if not isinstance(value, bool) and value:
            severity[name] = float(value)
    if view not in (None, "PA", "AP"):
        raise ValueError(f"view is PA or AP, not {view!r}")
    return replace(
        study,
        present=frozenset(present),
        severity=severity,
        view=view or study.view,
        devices=study.devices if devices is None else devices,
    )
