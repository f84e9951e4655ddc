"""All that resuming needs, so that a run which was killed ends as if it never had been.

Lightning restores weights, optimizer and loops; the callbacks here restore the rest:
`training_state` the running scores, the curves and ReduceLROnPlateau, `changed_hyperparameters`
what the user gives anew. `signals` saves and stops a run at SIGTERM and Ctrl-C. The tests in
tests/engine/runs/resume compare bit for bit.
"""
