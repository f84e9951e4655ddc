"""From a data set to batches: where samples come from, in which order, checked and changed how.

`SourceData` is the base of the data module: it reads a `Source` once and gives `LazyLoader`s, whose
order and random numbers are functions of (seed, epoch, batch, rank), so that a run resumes to the
bit. `augment`, `normalize` and `split` are plain functions on tensors, to be changed and added to
freely; `loader` is not to be touched without `tests/engine/runs/resume`.
"""
