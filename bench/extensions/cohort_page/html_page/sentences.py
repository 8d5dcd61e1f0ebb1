"""Titles and sentences of the cohort page, computed from the numbers."""

from collections.abc import Mapping, Sequence

from reports import formatting as text
from reports.formatting import integer, is_number, listing, plural, sentence_case

FEWEST = 10  # minimum number of images for a share in a sentence
_SAME_GRAY = 8.0  # gray levels (0 to 255); smaller differences between medians are not reported


def percent(part: float, total: float) -> str:
    """Format `part` / `total` in percent, with a no-break space before the percent sign."""
    return text.percent(part, total).replace(" ", "\N{NO-BREAK SPACE}")


def headline(num_cohorts: int, used: int, patients: int, num_findings: int) -> str:
    """Return the headline of the page: the numbers of cohorts, used images, patients and findings.

    >>> headline(1, 593, 575, 9)
    'One cohort, 593 images of 575 patients, nine findings'
    """
    cohorts = f"{num_cohorts} cohort{'' if num_cohorts == 1 else 's'}"
    images, people = plural(used, "image"), plural(patients, "patient")
    findings = f"{num_findings} finding{'' if num_findings == 1 else 's'}"
    return sentence_case(f"{cohorts}, {images} of {people}, {findings}")


def loss(listed: int, used: int, losses: Mapping[str, int]) -> str:
    """State how many listed images are used, and the most frequent reason for exclusion.

    `losses`: reason -> number of images that are excluded for this reason.

    >>> loss(100, 70, {"not frontal": 25, "absent": 5})
    '70 of 100 listed images are used; the most frequent reason for exclusion is “not frontal” (25)'
    """
    if not listed:
        return "No image is listed"
    if listed == used:
        return f"All {plural(listed, 'listed image')} are used" if listed != 1 else "The one listed image is used"
    exclusions = {reason: number for reason, number in losses.items() if number > 0}
    start = f"{integer(used)} of {plural(listed, 'listed image')} {'is' if used == 1 else 'are'} used"
    if not exclusions:
        return start
    worst = max(exclusions, key=lambda reason: exclusions[reason])
    adjective = "only" if len(exclusions) == 1 else "most frequent"
    return f"{start}; the {adjective} reason for exclusion is “{worst}” ({integer(exclusions[worst])})"


def used_images(numbers: Mapping[str, tuple[int, int]]) -> str:
    """State the smallest and the largest share of used images over cohorts.

    `numbers`: cohort -> two numbers of images: used, and listed.

    >>> used_images({"A": (5, 10), "B": (10, 10)}).replace("\N{NO-BREAK SPACE}", " ")
    'Between 50 % (A) and 100 % (B) of the listed images are used'
    """
    shares = {name: used / listed for name, (used, listed) in numbers.items() if listed}
    if not shares:
        return "No image is listed"
    low, high = min(shares, key=lambda n: shares[n]), max(shares, key=lambda n: shares[n])
    smallest, largest = percent(*numbers[low]), percent(*numbers[high])
    if smallest == largest:
        return f"{smallest} of the listed images are used{'' if len(shares) == 1 else ' in every cohort'}"
    return f"Between {smallest} ({low}) and {largest} ({high}) of the listed images are used"


def uncertain_labels(cells: Sequence[tuple[str, str, Mapping[str, int]]]) -> str:
    """Name the finding with the largest share of uncertain labels in a cohort.

    Each cell is (finding, cohort, label state -> number of images).
    """
    best, share = None, 0.0
    for finding, cohort, counts in cells:
        total = sum(counts[s] for s in ("present", "absent", "uncertain", "not_mentioned", "unmapped"))
        if counts["uncertain"] >= FEWEST and counts["uncertain"] / total > share:
            best, share = (finding, cohort, counts, total), counts["uncertain"] / total
    if best is None:
        num_uncertain = sum(counts["uncertain"] for _, _, counts in cells)
        return (
            f"Only {plural(num_uncertain, 'label')} {'is' if num_uncertain == 1 else 'are'} uncertain"
            if num_uncertain
            else "No label is uncertain"
        )
    finding, cohort, counts, total = best
    than = "more often than present" if counts["uncertain"] > counts["present"] else "the highest share of any finding"
    return f"{finding} is uncertain in {percent(counts['uncertain'], total)} of {cohort} images, {than}"


def cooccurrence(pairs: Sequence[tuple[str, str, str, int, int]]) -> str:
    """Name the pair of findings with the largest share of images with both, among the images with the first finding.

    Each pair is (cohort, finding, other finding, number of images with the finding, number of images with both).
    """
    enough = [p for p in pairs if p[3] >= FEWEST and p[4] > 0]
    if not enough:
        return "Too few images show two findings"
    cohort, finding, second, has, num_both = max(enough, key=lambda p: (p[4] / p[3], p[4]))
    return f"{percent(num_both, has)} of the {cohort} images with {finding} ({integer(num_both)} of {integer(has)}) also show {second}: the most frequent pair"


def age(medians: Mapping[str, float]) -> str:
    """State the lowest and the highest median age over cohorts. `medians`: cohort -> years, NaN if not recorded.

    >>> age({"A": 40.0, "B": 61.0, "C": float("nan")})
    'The median age is between 40 years in A and 61 in B'
    """
    stated = {name: value for name, value in medians.items() if is_number(value)}
    if not stated:
        return "No cohort records age"
    low, high = min(stated, key=lambda n: stated[n]), max(stated, key=lambda n: stated[n])
    if len(stated) == 1:
        return f"The median age in {low} is {stated[low]:.0f} years"
    if round(stated[low]) == round(stated[high]):
        return f"The median age is {stated[low]:.0f} years in each of the {len(stated)} cohorts that record age"
    return f"The median age is between {stated[low]:.0f} years in {low} and {stated[high]:.0f} in {high}"


def sex(women: Mapping[str, tuple[int, int]], silent: Sequence[str]) -> str:
    """State the smallest and the largest share of women over cohorts.

    `women`: cohort -> two numbers of images: of women, and of women and men together. `silent`: the cohorts that do not
    record sex.
    """
    shares = {name: num_women / total for name, (num_women, total) in women.items() if total}
    if not shares:
        return "No cohort records the sex of its patients."
    low, high = min(shares, key=lambda n: shares[n]), max(shares, key=lambda n: shares[n])
    if len(shares) == 1:
        text = f"{percent(*women[low])} of the images with recorded sex are of women."
    else:
        text = f"Women account for {percent(*women[low])} of the images in {low} and {percent(*women[high])} in {high}."
    return f"{text} {listing(silent)} {'does' if len(silent) == 1 else 'do'} not record sex." if silent else text


def splits(shared: int, patients: int, num_cohorts: int) -> str:
    """State how many patients are in two splits. shared: number of patients in two splits; patients: number of all.

    >>> splits(0, 575, 1).replace("\N{NARROW NO-BREAK SPACE}", " ")
    'No patient is in two splits (575 of 575 patients are in one split)'
    """
    in_cohorts = "" if num_cohorts == 1 else f" in {num_cohorts} cohorts"
    start = f"{plural(shared, 'patient')} {'is' if shared == 1 else 'are'}" if shared else "No patient is"
    return f"{start} in two splits ({integer(patients - shared)} of {integer(patients)} patients{in_cohorts} are in one split)"


def aged_80(shares: Mapping[str, tuple[int, int]]) -> str:
    """State the smallest and the largest share of images of patients aged 80 and above, over cohorts.

    `shares`: cohort -> two numbers of images: of patients aged 80 and above, and of patients with a recorded age.
    """
    shares_80 = {name: num_old / total for name, (num_old, total) in shares.items() if total}
    if not shares_80:
        return "No cohort records age"
    low, high = min(shares_80, key=lambda n: shares_80[n]), max(shares_80, key=lambda n: shares_80[n])
    start = "Patients aged 80 and above account for"
    if low == high:
        return f"{start} {percent(*shares[low])} of the images in {low}"
    return f"{start} {percent(*shares[low])} of the images in {low} and {percent(*shares[high])} in {high}"


def devices(num_devices: Mapping[str, int]) -> str:
    """Name the cohorts that record devices. `num_devices`: cohort -> number of devices, 0 if not recorded.

    >>> devices({"PadChest": 2, "NIH": 0})
    'One of two cohorts records devices: PadChest (2)'
    """
    recording = [f"{name} ({number})" for name, number in num_devices.items() if number]
    if not recording:
        return "No cohort records the device"
    verb = "records" if len(recording) == 1 else "record"
    return sentence_case(f"{len(recording)} of {len(num_devices)} cohorts {verb} devices: {listing(recording)}")


def per_patient(numbers: Mapping[str, tuple[int, int, int]]) -> str:
    """State the mean and the maximum number of images per patient over all cohorts.

    `numbers`: cohort -> (number of images, number of patients, maximum number of images of a patient).
    """
    all_images, people = (sum(n[k] for n in numbers.values()) for k in (0, 1))
    maximum = max(numbers, key=lambda name: numbers[name][2], default="")
    if not people:
        return "No patients"
    if numbers[maximum][2] == 1:
        return "Each patient has one image"
    return f"A patient has {all_images / people:.2g} images on average and at most {integer(numbers[maximum][2])} ({maximum})"


def picture_count(labels: Sequence[str], num_cohorts: int) -> str:
    """State how many pictures are shown, and how many of them show a finding. labels: the labels of each picture as text."""
    healthy = sum(words in ("No Finding", "none of the findings") for words in labels)
    from_cohorts = "" if num_cohorts == 1 else f" from {num_cohorts} cohorts"
    return f"{plural(len(labels), 'sampled image')}{from_cohorts} with their labels, {integer(len(labels) - healthy)} with a finding"


def kinds(entries: int, columns: int) -> str:
    """State the number of preprocessings (`entries`), and how many of their pictures look different (`columns`)."""
    same = "" if entries == columns else f", {columns} of which look different at this size"
    return sentence_case(f"{entries} preprocessing variants{same}")


def sizes(medians: Mapping[str, tuple[float, float]], aspects: Sequence[float] = ()) -> str:
    """State the smallest and the largest median image size over cohorts, and the range of aspect ratios.

    `medians`: cohort -> (median width, median height) in pixels. `aspects`: width / height of each image.
    """
    if not medians:
        return "No image could be read"
    if aspects:
        low, high = f"{min(aspects):.2f}", f"{max(aspects):.2f}"
        span = (
            f"width / height is {low} for every image" if low == high else f"width / height is between {low} and {high}"
        )
        return f"{sizes(medians)}; {span}"
    areas = {name: w * h for name, (w, h) in medians.items()}
    low, high = min(areas, key=lambda n: areas[n]), max(areas, key=lambda n: areas[n])
    if areas[low] == areas[high]:
        width, height = medians[low]
        return f"The median image size is {width:.0f} × {height:.0f} pixels{'' if len(medians) == 1 else ' in every cohort'}"
    small, large = (f"{medians[n][0]:.0f} × {medians[n][1]:.0f}" for n in (low, high))
    return f"The median image size is {small} pixels in {low} and {large} in {high}"


def gray(medians: Mapping[str, float]) -> str:
    """Name the darkest and the brightest cohort. `medians`: cohort -> median gray value, 0 (black) to 255 (white)."""
    if not medians:
        return "No image could be read"
    low, high = min(medians, key=lambda n: medians[n]), max(medians, key=lambda n: medians[n])
    if len(medians) == 1:
        return f"The median gray value in {low} is {medians[low]:.0f} of 255"
    if medians[high] - medians[low] < _SAME_GRAY:
        return f"The median gray value is about {medians[low]:.0f} of 255 in every cohort"
    return f"Before preprocessing, {low} is darkest (median gray value {medians[low]:.0f} of 255) and {high} is brightest ({medians[high]:.0f})"
