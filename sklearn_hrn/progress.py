"""Progress of a fit: a bar through tqdm if it is installed, else a line of text an epoch."""

import sys
import time


class Progress:
    """Epoch, loss and rows per second of a training run, on standard error.

    Parameters
    ----------
    n_epochs : int
        Epochs to come.
    verbose : int
        0 is silent; 1 shows a bar, or a line of text at most every five seconds and at the end;
        2 or more, a line an epoch.
    """

    def __init__(self, n_epochs, verbose):
        self.n_epochs, self.verbose = n_epochs, verbose
        self.epoch, self.n_rows = 0, 0
        self.start = self.shown = time.monotonic()
        self.bar = _bar(n_epochs) if verbose == 1 else None

    def update(self, loss, n_rows):
        """One more epoch, of mean loss `loss` over `n_rows` rows."""
        if not self.verbose:
            return
        self.epoch += 1
        self.n_rows += n_rows
        now = time.monotonic()
        speed = self.n_rows / max(now - self.start, 1e-9)
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {loss:.4f}, {speed:,.0f} rows/s", refresh=False)
            self.bar.update()
        elif self.verbose > 1 or self.epoch == self.n_epochs or now - self.shown > 5:
            self.shown = now
            print(
                f"[HRN] epoch {self.epoch}/{self.n_epochs}, loss {loss:.4f}, {speed:,.0f} rows/s",
                file=sys.stderr,
            )

    def close(self):
        """Leave the last state on the screen."""
        if self.bar is not None:
            self.bar.close()


def _bar(n_epochs):
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(total=n_epochs, desc="HRN", unit="epoch", leave=True)
