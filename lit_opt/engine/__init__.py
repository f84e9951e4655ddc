"""What runs a training: nothing here has to be opened to put in a net, a loss or a data set.

The rooms, from the ground up: `lightning_private` (all private names of other libraries), `base`,
`optim`, `tasks`, `loading`, `callbacks`, `runs` with `resume`, `reports`, `project`, `cli`. A room
imports those before it, and nothing of the files beside `engine/`, which `train.py` names.
`python train.py update` replaces the whole folder when a newer lit-opt comes, so changes belong
outside of it.
"""
