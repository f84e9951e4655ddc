"""The error that is the user's to mend."""


class UserError(Exception):
    """One to four lines: what was seen, what was expected, which key to change.

    `train.py` prints it as `error: …` without a traceback and exits with 2.
    """
