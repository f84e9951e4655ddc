"""A canary for each private name: it fails when the name stops working, and shows the fallback."""

# ---- the step ----


# ---- loading ----


# ---- resuming ----


# ---- the command line ----
