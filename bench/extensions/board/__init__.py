"""A public leaderboard that several laboratories share: submissions, rules, decisions, and the static site."""

NEEDS = ("bundles", "reproduction")
