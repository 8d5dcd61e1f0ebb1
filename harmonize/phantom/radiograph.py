"""Draw a radiograph, or its counterfactual twin: the same patient with another finding, tag, view or hospital.

The tag (a white tag with text; `token` in names) is in the corner of some images. A network may use the tag as a
shortcut in place of a finding.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from harmonize.phantom.compose import Anatomy, compose, turn_sideways
from harmonize.phantom.drawing import Map
from harmonize.phantom.patient import Patient, Study, draw_patient, draw_study, rng_of
from harmonize.phantom.scanner import Mask, expose
from harmonize.phantom.settings import PhantomSettings
from harmonize.phantom.sites import DRAWN, SITES


@dataclass(frozen=True, slots=True, eq=False)
class Radiograph:
    """An image and its ground truth.

    image  float32 [H, W], 0 to 1, bright = dense; the settings give the long side
    masks  bool [H, W], aligned with the image: each present finding, "lungs", "heart", "devices", "token" (the tag)
    """

    image: Map
    masks: dict[str, Mask]
    patient: Patient
    study: Study
    token: bool  # whether the image has the tag
    heart_ratio: float  # width of the heart / width of the thorax, before projection


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
    """Return a frontal radiograph of a patient in which only the given properties are changed.

    Without changes, the radiograph is the image that `write_cohorts` stores. `patient` and `study` are the numbers in
    the columns patient and study of the truth tables. None for a property means that the property is not changed.

    findings  finding -> True (with the severity of the study), False, or a severity in 0..1; other findings stay
    scanner   the hospital whose scanner takes the image

    Raises ValueError for an unknown name or value.
    """
    person = draw_patient(settings.seed, site, patient)
    exam = _changed(draw_study(person, study), findings or {}, view, devices)
    if scanner is not None and scanner not in SITES:
        raise ValueError(f"no hospital {scanner!r}; use one of {', '.join(SITES)}")
    with_token = has_token(settings, person, draw_study(person, study)) if token is None else token
    anatomy = compose(person, exam, settings.canvas)
    return _expose(settings, person, exam, anatomy, with_token, scanner or site)


def render(settings: PhantomSettings, patient: Patient, study: Study) -> Radiograph:
    """Draw the frontal radiograph of a study of a patient, with the scanner of the patient's hospital."""
    return next(views(settings, patient, study, lateral=False))


def views(settings: PhantomSettings, patient: Patient, study: Study, *, lateral: bool) -> Iterator[Radiograph]:
    """Yield the result of `render`; if `lateral`, then a simple lateral view, without the tag and without masks of findings."""
    anatomy = compose(patient, study, settings.canvas)
    yield _expose(settings, patient, study, anatomy, has_token(settings, patient, study), patient.site)
    if lateral:
        sideways = Anatomy(turn_sideways(anatomy.thickness), {}, anatomy.heart_ratio)
        yield _expose(settings, patient, study, sideways, token=False, scanner=patient.site)


def has_token(settings: PhantomSettings, patient: Patient, study: Study) -> bool:
    """Return whether the image gets the tag.

    At the hospital `settings.source`, the probability of the tag depends on the finding `settings.finding`. At other
    hospitals, the probability is 0.5.
    """
    chance = 0.5
    if patient.site == settings.source:
        chance += settings.shortcut / 2 if settings.finding in study.present else -settings.shortcut / 2
    return bool(rng_of("shortcut", patient, study.index).random() < chance)


def _expose(
    settings: PhantomSettings, person: Patient, exam: Study, anatomy: Anatomy, token: bool, scanner: str
) -> Radiograph:
    """Return the radiograph that a hospital's scanner makes of an anatomy."""
    exposure = expose(person, exam, anatomy.thickness, anatomy.masks, scanner=scanner, size=settings.size, token=token)
    return Radiograph(exposure.image, exposure.masks, person, exam, token, anatomy.heart_ratio)


def _changed(study: Study, findings: Mapping[str, bool | float], view: str | None, devices: bool | None) -> Study:
    """Return the study with these properties changed; None means no change."""
    present, severity = set(study.present), dict(study.severity)
    for name, value in findings.items():
        if name not in DRAWN:
            raise ValueError(f"no finding {name!r} in the phantom; use one of {', '.join(DRAWN)}")
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be True, False or a severity in 0..1, not {value}")
        if value:
            present.add(name)
        else:
            present.discard(name)
        if value and not isinstance(value, bool):
            severity[name] = float(value)
    if view not in (None, "PA", "AP"):
        raise ValueError(f"view must be PA or AP, not {view!r}")
    return replace(
        study,
        present=frozenset(present),
        severity=severity,
        view=view or study.view,
        devices=study.devices if devices is None else devices,
    )
