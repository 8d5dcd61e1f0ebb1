"""What the demographics of patients add to the plan of a grid."""

from bench.extensions.demographics.stored import KEY, read_people, write_people
from bench.planning.plan import Plan


def remarks(plan: Plan) -> list[str]:
    """Return a line for each cohort with a file: which attributes are known of how many patients."""
    lines = []
    for cohort, (table, paths) in read_people(plan).items():
        num = plan.cohorts[cohort].table["patient_id"].nunique()
        known = [f"{name} of {(table[name] != '').sum():,}" for name in table if (table[name] != "").any()]
        lines.append(f"{cohort}: {', '.join(known)} of {num:,} patients ({', '.join(p.name for p in paths)})")
    return lines


def facts(plan: Plan) -> dict[str, dict[str, str]]:
    """Write the attributes of each cohort into the store; return the hash of each file, {} without such files."""
    hashes = {cohort: write_people(plan.store, table) for cohort, (table, _) in read_people(plan).items()}
    return {KEY: hashes} if hashes else {}
