"""Progress of long work: a bar through tqdm if it is installed, else lines of text."""

import sys
import time


class Progress:
    """Steps done, a note and rows per second, on standard error.

    Parameters
    ----------
    n_steps : int
        Steps to come.
    verbose : int
        0 is silent; 1 shows a bar, or a line of text at most every five seconds and at the end;
        2 or more, a line a step.
    unit : str, default="epoch"
        What a step is.
    """

    def __init__(self, n_steps, verbose, unit="epoch"):
        self.n_steps, self.verbose, self.unit = n_steps, verbose, unit
        self.step, self.n_rows = 0, 0
        self.start = self.shown = time.monotonic()
        self.bar = _bar(n_steps, unit) if verbose == 1 else None

    def update(self, note="", n_rows=0, n_steps=1):
        """One more step, or several, which worked on `n_rows` rows."""
        if not self.verbose:
            return
        self.step += n_steps
        self.n_rows += n_rows
        now = time.monotonic()
        if self.n_rows:
            note += f", {self.n_rows / max(now - self.start, 1e-9):,.0f} rows/s"
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(n_steps)
        elif self.verbose > 1 or self.step == self.n_steps or now - self.shown > 5:
            self.shown = now
            text = f"[HRN] {self.unit} {self.step}/{self.n_steps}"
            print(f"{text}, {note}" if note else text, file=sys.stderr)

    def close(self):
        """Leave the last state on the screen."""
        if self.bar is not None:
            self.bar.close()


def _bar(n_steps, unit):
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(total=n_steps, desc="HRN", unit=unit, leave=True)
