"""Model cards, reporting checklists and lists of errors: `bench card`, `bench checklist`, `bench errors`."""
