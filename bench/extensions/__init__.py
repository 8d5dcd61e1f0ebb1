"""Optional features, one package each. The rest of the program finds them through `reports.extensions` and imports none of them."""
