"""A run's folder and its files: configuration, curves, scores, checkpoints, and how runs resume.

`folder` names runs/NAME and lets one process at a time work in it; everything is written through
`atomic_file`, so that a kill at any moment leaves whole files. To write one more file a run, add a
function like `scores.save_scores`. `resume/` holds all that resuming needs.
"""
