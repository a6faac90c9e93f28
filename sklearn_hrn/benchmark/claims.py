"""The paper's claims, each beside what is measured here, with a verdict by a rule set beforehand.

Some claims are read off the records of other tables. The others are small experiments on digits of
MNIST: one network a digit, trained as in table 1 but for what the claim is about.
"""

from itertools import pairwise

import numpy as np
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from ..one_class import HRNOneClassClassifier
from ..preprocessing import InstanceL2Normalizer
from . import announced, data, reproduced
from .images import DATASETS, means_over
from .published import MEANS
from .records import rst_table, spread, with_marks
from .search import curves

H = {"regularizer": "h", "reg_lambda": 0.1, "activation": "leaky_relu", "epochs": 100}
SHORT = {**H, "epochs": 30}
EXPERIMENTS = {
    "H": H,
    "L2, lambda = 0.1": {**H, "regularizer": "l2"},
    "L2, lambda = 0.001": {**H, "regularizer": "l2", "reg_lambda": 0.001},
    "NLL alone": {**H, "regularizer": None},
    # A module goes through torch's own differentiation, so that these are shorter.
    "H, leaky ReLU": SHORT,
    "H, tanh": {**SHORT, "activation": "tanh"},
    "H, sigmoid": {**SHORT, "activation": "sigmoid"},
    **{name: {"epochs": announced.EPOCHS} for name in announced.EXPERIMENTS},
}
CLASSES = (0, 1, 2, 3)
# Values whose AUC is within so many points of the best are as good, and a search in which half of
# all values are determines none.
FLAT = 0.5
# Half-width of the initialisation: the authors' for 784-100-1.
INIT = 2000**-0.5


def add_arguments(parser):
    parser.add_argument("--classes", nargs="+", type=int, default=list(CLASSES), metavar="N")
    parser.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="default: 1")


def settings(args):
    return [
        {"experiment": name, "normal": normal, "seed": seed, **EXPERIMENTS[name]}
        | ({"epochs": 2} if args.fast else {})
        for name in args.experiments
        for seed in range(1 if args.fast else args.seeds)
        for normal in (args.classes[:1] if args.fast else args.classes)
    ]


def smooth_perceptron(activation, n_features):
    """784-100-1 without biases, as a torch module, with an activation that is not piecewise linear.

    Parameters
    ----------
    activation : {"tanh", "sigmoid"}
    n_features : int
    """
    from torch import nn

    hidden, out = nn.Linear(n_features, 100, bias=False), nn.Linear(100, 1, bias=False)
    for layer in (hidden, out):
        nn.init.uniform_(layer.weight, -INIT, INIT)
    return nn.Sequential(hidden, {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[activation](), out)


def _tanh(n_features):
    return smooth_perceptron("tanh", n_features)


def _sigmoid(n_features):
    return smooth_perceptron("sigmoid", n_features)


MODULES = {"leaky_relu": None, "tanh": _tanh, "sigmoid": _sigmoid}


def measure(experiment, normal, seed, data_home=None, **details):
    run = announced.EXPERIMENTS.get(experiment, network_of)
    return run(normal, seed, data_home=data_home, **details)


def network_of(normal, seed, epochs, regularizer, reg_lambda, activation, data_home=None):
    """Train a network on a digit, and say what the claims are about."""
    X_train, y_train, X_test, y_test = data.pixels("mnist", data_home)
    norm = InstanceL2Normalizer()
    X, X_test = norm.fit_transform(X_train[y_train == normal]), norm.transform(X_test)
    model = HRNOneClassClassifier(
        regularizer=regularizer,
        reg_lambda=reg_lambda,
        module=MODULES[activation],
        max_iter=epochs,
        random_state=seed,
    ).fit(X)
    scores, is_normal = model.score_samples(X_test), y_test == normal
    figures = {
        "auc": 100 * float(roc_auc_score(is_normal, scores)),
        "gradient_norm": float(model.history_["gradient_norm"][-1, 0]),
        "median_f": float(np.median(model.score_samples(X))),
        # Anomalies that sigma takes for members of the class as good as certainly.
        "saturated": 100 * float((expit(scores[~is_normal]) > 0.999).mean()),
    }
    if MODULES[activation] is None:
        figures["bias"] = feature_bias(model, X)
    return figures


def feature_bias(model, X):
    """Share in per cent of the squared input gradients that is in a tenth of the features."""
    hidden, out = (coef[0].astype(np.float64) for coef in model.coefs_)
    V = np.where(X @ hidden > 0, 1.0, 0.01) * out[:, 0]
    squares = np.sort(((V @ hidden.T) ** 2).mean(axis=0))
    return 100 * float(squares[-len(squares) // 10 :].sum() / squares.sum())


def render(records):
    own = {}
    for r in records:
        own.setdefault(r["settings"].get("experiment"), []).append(r)
    others = own.pop(None, [])
    rows = [row for claim in CLAIMS for row in [claim(own, others)] if row]
    header = ["claim", "paper", "here", "runs", "verdict"]
    published = rst_table(header, reproduced.rows(others))
    table = rst_table(header, rows)
    figures = ("auc", "gradient_norm", "median_f", "saturated", "bias")
    details = [
        [
            with_marks(name, runs),
            len(runs),
            *(spread([r["figures"][f] for r in runs if f in r["figures"]]) for f in figures),
        ]
        for name, runs in own.items()
        if name not in announced.EXPERIMENTS
    ]
    header = ["on digits of MNIST", "runs", "AUC", "norm of the gradient", "median f"]
    header += ["anomalies with sigma(f) > 0.999, %", "share of a tenth of the features, %"]
    text = (
        f"{table}\n\n{rst_table(header, details)}\n\nFigures of HRN as published\n\n{published}\n"
    )
    done = {(name, r["settings"]["normal"]) for name, runs in own.items() for r in runs}
    if not done >= {(name, normal) for name in EXPERIMENTS for normal in CLASSES}:
        text += "\nNot all of it has run: ``python -m sklearn_hrn.benchmark claims``\n"
    return text


def _mean(runs, figure):
    return float(np.mean([r["figures"][figure] for r in runs]))


def _shared(own, *names):
    """The runs of several experiments, of the digits and seeds that all of them have."""
    runs = [own.get(name, []) for name in names]
    places = [{(r["settings"]["normal"], r["settings"]["seed"]) for r in of_one} for of_one in runs]
    common = set.intersection(*places)
    return [
        [r for r in of_one if (r["settings"]["normal"], r["settings"]["seed"]) in common]
        for of_one in runs
    ]


def _verdict(holds, yes="holds", no="does not hold"):
    return yes if holds else no


def _gradient_of_h(own, others):
    runs = own.get("H")
    if runs:
        here = _mean(runs, "gradient_norm")
        values = [r["figures"]["gradient_norm"] for r in runs]
        claim = "mean norm of the gradient under H, MNIST"
        verdict = _verdict(abs(here - 0.872) < 0.01, "reproduced", "not reproduced")
        return [claim, "0.872", spread(values, 3), len(runs), verdict]


def _gradient_of_l2(own, others):
    strong, weak = _shared(own, "L2, lambda = 0.1", "L2, lambda = 0.001")
    if strong:
        values = [[r["figures"]["gradient_norm"] for r in runs] for runs in (strong, weak)]
        here = f"{spread(values[0])} at 0.1, {spread(values[1])} at 0.001"
        reached = [max(v) >= 0.9 * 9.37 for v in values]
        verdict = {
            (True, True): "reproduced",
            (False, True): "at a lambda of 0.001 alone",
            (True, False): "at a lambda of 0.1 alone",
            (False, False): "not reproduced",
        }[tuple(reached)]
        claim = "the same under L2, whose lambda the paper does not give"
        return [claim, "up to 9.37", here, len(strong + weak), verdict]


def _problem_1(own, others):
    alone, h = _shared(own, "NLL alone", "H")
    if alone:
        here = f"f = {_mean(alone, 'median_f'):.1f}, {_mean(alone, 'saturated'):.1f} % saturated"
        here += f"; with H {_mean(h, 'median_f'):.2f} and {_mean(h, 'saturated'):.1f} %"
        holds = _mean(alone, "saturated") > 50 > _mean(h, "saturated")
        claim = "problem I: under NLL alone f grows, and sigma saturates for anomalies"
        return [claim, "", here, len(alone + h), _verdict(holds)]


def _problem_2(own, others):
    alone, h = _shared(own, "NLL alone", "H")
    if alone:
        bias = _mean(alone, "bias"), _mean(h, "bias")
        here = f"{bias[0]:.1f} % of the gradient in a tenth of the pixels; with H {bias[1]:.1f} %"
        claim = "problem II: NLL alone leans on few features, H on more"
        return [claim, "", here, len(alone + h), _verdict(bias[0] > bias[1])]


def _activations(own, others):
    runs = _shared(own, "H, leaky ReLU", "H, tanh", "H, sigmoid")
    if runs[0]:
        auc = [_mean(r, "auc") for r in runs]
        here = "{:.2f}; tanh {:.2f}, sigmoid {:.2f}".format(*auc)
        claim = "piecewise linear activations are better than tanh and sigmoid"
        return [claim, "", here, sum(map(len, runs)), _verdict(auc[0] > max(auc[1:]))]


def _of_images(others, dataset, variant):
    """Means over the ten classes, best test epoch, one a seed."""
    runs = [
        r
        for r in others
        if r["settings"].get("variant") == variant and r["settings"].get("dataset") == dataset
    ]
    return means_over(set(range(10)), runs, "best")


def _h_beats_l2(own, others):
    cells, n, holds = [], 0, True
    for dataset in DATASETS:
        h, l2 = (_of_images(others, dataset, name) for name in ("HRN", "HRN-L2"))
        if h and l2:
            cells.append(f"{dataset} {np.mean(h):.2f} and {np.mean(l2):.2f}")
            n, holds = n + len(h) + len(l2), holds and np.mean(h) > np.mean(l2)
    if cells:
        paper = ", ".join(f"{MEANS[d]['HRN']} and {MEANS[d]['HRN-L2']}" for d in DATASETS)
        return ["H is better than L2", paper, ", ".join(cells), n, _verdict(holds)]


def _steps_of_the_ablation(own, others):
    steps = ("NLL", "NLL + H", "NLL + H + z-score", "HRN")
    cells, n, n_held, n_steps = [], 0, 0, 0
    for dataset in DATASETS:
        means = [_of_images(others, dataset, name) for name in steps]
        if all(means):
            value = [np.mean(mean) for mean in means]
            cells.append(f"{dataset} " + ", ".join(f"{v:.2f}" for v in value))
            n += sum(map(len, means))
            n_held += sum(a < b for a, b in pairwise(value))
            n_steps += len(value) - 1
    if cells:
        verdict = f"{n_held} of {n_steps} steps hold"
        paper = "each is better than the one before"
        claim = "NLL, + H, + z-score, + 2-norm in its place (HRN)"
        return [claim, paper, "; ".join(cells), n, verdict]


def _noise(own, others):
    cells, n, within = [], 0, True
    for dataset in DATASETS[:2]:
        clean = _of_images(others, dataset, "HRN")
        noisy = _of_images(others, dataset, "20% of other classes")
        if clean and noisy:
            cost = np.mean(clean) - np.mean(noisy)
            paper = MEANS[dataset]["HRN"] - MEANS[dataset]["20% of other classes"]
            cells.append(f"{dataset} {cost:.2f} (paper {paper:.2f})")
            n, within = n + len(clean) + len(noisy), within and cost < 1.25 * paper
    if cells:
        claim = "20 % of other classes among the training rows cost little (best test epoch)"
        verdict = _verdict(within, "as in the paper", "costs more here")
        return [claim, "", ", ".join(cells), n, verdict]


def _search(own, others):
    runs = [r for r in others if any(k.startswith("lambda = ") for k in r["figures"])]
    if runs:
        found = curves(runs)
        cells, widths = [], []
        for name in ("lambda", "n"):
            values, means = found[name]
            mean = np.array([np.mean(m) for m in means])
            near = [v for v, m in zip(values, mean, strict=True) if m > mean.max() - FLAT]
            cells.append(
                f"{name} = {values[int(mean.argmax())]:g} is best, {len(near)} of {len(values)} "
                f"from {min(near):g} to {max(near):g} are within {FLAT}"
            )
            widths.append(len(near) >= len(values) / 2)
        verdict = _verdict(all(widths), "flat: neither value is determined", "determined")
        here = "; ".join(cells)
        return ["a search on MNIST finds both values", "0.1 and 12", here, len(runs), verdict]


def _heads_in_an_open_world(own, others):
    runs = own.get("open world")
    if runs:
        heads, classifier = (_mean(runs, name) for name in ("auc", "auc_classifier"))
        here = (
            f"AUC {heads:.2f} by the best head, {classifier:.2f} by the highest probability of a "
        )
        here += f"perceptron; accuracy {_mean(runs, 'accuracy'):.2f} and "
        here += f"{_mean(runs, 'accuracy_classifier'):.2f}"
        claim = "open-world learning (announced): five digits are told from the five not learned"
        return [claim, "no figure", here, len(runs), _verdict(heads > classifier)]


def _positive_unlabelled(own, others):
    runs = own.get("positive-unlabelled")
    if runs:
        alone, below, other = (_mean(runs, f"auc{k}") for k in ("", "_below", "_classifier"))
        here = f"AUC {alone:.2f} from the positive rows alone, {below:.2f} with the others kept "
        here += f"below, {other:.2f} by a perceptron, positive against unlabelled"
        claim = "positive-unlabelled learning (announced): unlabelled rows help HRN, and HRN helps"
        helped = (below > alone) + (max(alone, below) > other)
        verdict = ("does not hold", "in part", "holds")[helped]
        return [claim, "no figure", here, len(runs), verdict]


def _open_world(own, others):
    runs = [
        r for r in others if r["settings"].get("input") == "paper" and "rejected" in r["figures"]
    ]
    if runs:
        letters = [
            float(np.mean([v for c, v in r["figures"]["rejected"].items() if not c.isdigit()]))
            for r in runs
        ]
        digits = [r["figures"]["rejected_digits"] for r in runs]
        here = f"{spread(letters, 1)} % of letters rejected, {spread(digits, 1)} % of digits"
        claim = "open-world learning (announced): heads for digits reject what is none"
        verdict = _verdict(np.mean(letters) > 90, "holds", "in part")
        return [with_marks(claim, runs), "no figure", here, len(runs), verdict]


CLAIMS = (
    *(_gradient_of_h, _gradient_of_l2, _problem_1, _problem_2, _activations),
    *(_h_beats_l2, _steps_of_the_ablation, _noise, _search, _open_world),
    *(_heads_in_an_open_world, _positive_unlabelled),
)
