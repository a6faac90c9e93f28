"""Deliberate one-line errors in the package, and which of them the tests do not see.

    python tests/mutate.py [--module core/batches ...] [--sample N] [--seed S]

Each error (another comparison, operator, constant, a dropped "not", a swapped branch) is written
into a copy of the package, and the test file of its module runs there. What survives is printed;
the exit status is 1 if more than a tenth does.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
# The tests that speak for a module.
TESTS = {
    "core/batches": ["test_training.py"],
    "core/channels": ["test_channels.py"],
    "core/gradients": ["test_gradients.py"],
    "core/modules": ["test_modules.py"],
    "core/objective": ["test_objective.py"],
    "core/perceptrons": ["test_perceptrons.py"],
    "core/scoring": ["test_scoring.py"],
    "core/threads": ["test_threads.py"],
    "core/training": ["test_training.py"],
    "core/preconditioning": ["test_preconditioning.py"],
    "_base": ["test_contract.py"],
    "_calibration": ["test_calibration.py", "test_conformal.py"],
    "_copies": ["test_calibration.py"],
    "_folds": ["test_calibration.py", "test_conformal.py"],
    "_group_calibration": ["test_conformal.py"],
    "_likelihood_ratios": ["test_conformal.py"],
    "_continued": ["test_streams.py", "test_feedback.py"],
    "_streams": ["test_streams.py"],
    "_verdicts": ["test_feedback.py"],
    "_drift": ["test_streams.py"],
    "_outlier_share": ["test_calibration.py"],
    "_joint_fit": ["test_joint_fit.py", "test_search.py"],
    "_lengths": ["test_one_class.py"],
    "_labels": ["test_contract.py"],
    "_arrow": ["test_frames.py"],
    "_training": ["test_one_class.py", "test_joint_fit.py"],
    "_refusals": ["test_contract.py", "test_tables.py"],
    "_threads": ["test_joint_fit.py"],
    "_steps": ["test_pipelines.py", "test_contract.py"],
    "_reference": ["test_streams.py", "test_inspection.py"],
    "_validation": ["test_visual_words.py", "test_one_class.py"],
    "__main__": ["test_command_line.py"],
    "conformal": ["test_conformal.py"],
    "continual": ["test_continual.py"],
    "grouped": ["test_grouped.py"],
    "kernel_approximation": [
        *("test_normal_scores.py", "test_kernel_approximation.py", "test_sparse.py"),
    ],
    "networks": ["test_channels.py", "test_visual_words.py", "test_inspection.py"],
    "one_class": ["test_one_class.py", "test_joint_fit.py"],
    "pipelines": [
        *("test_pipelines.py", "test_calibration.py", "test_streams.py"),
        *("test_feedback.py", "test_recipes.py"),
    ],
    "benchmark/attribution": ["test_benchmark_attribution.py"],
    "benchmark/data": ["test_benchmark.py"],
    "benchmark/decisions": ["test_benchmark_decisions.py"],
    "benchmark/images": ["test_benchmark.py", "test_benchmark_protocols.py"],
    "benchmark/protocol": ["test_benchmark.py", "test_benchmark_protocols.py"],
    "benchmark/records": ["test_benchmark.py"],
    "benchmark/speed": ["test_benchmark_speed.py"],
    "benchmark/speed_core": ["test_benchmark_speed.py"],
    "benchmark/speed_recipes": ["test_benchmark_speed.py"],
    "benchmark/tables": ["test_benchmark_tables.py"],
    "datasets/_images": ["test_datasets.py"],
    "datasets/_local": ["test_datasets.py", "test_faults.py"],
    "datasets/_tables": ["test_datasets.py"],
    "image/_rotation": ["test_rotation.py"],
    "image/_visual_words": ["test_visual_words.py"],
    "inspection/_attribution": ["test_inspection.py"],
    "inspection/_attribution_display": ["test_displays.py"],
    "inspection/_columns": ["test_inspection.py"],
    "inspection/_displays": ["test_displays.py"],
    "inspection/_slopes": ["test_inspection.py", "test_sparse.py"],
    "inspection/_training_display": ["test_displays.py"],
    "interop/_onnx": ["test_onnx.py"],
    "interop/_onnx_steps": ["test_onnx.py"],
    "interop/_pyod": ["test_pyod.py"],
    "interop/_skops": ["test_persistence.py"],
    "model_selection/_search": ["test_search.py"],
    "model_selection/_split": ["test_split.py"],
    "preprocessing/_instance": ["test_instance.py"],
    "preprocessing/_normal_scores": ["test_normal_scores.py"],
    "preprocessing/_columns": ["test_tables.py"],
    "preprocessing/_tables": ["test_tables.py"],
    "preprocessing/_whitening": ["test_kernel_approximation.py", "test_sparse.py"],
}
COMPARISONS = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


def mutants_of(node):
    """Replacements of one node."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        ops = [COMPARISONS[type(node.ops[0])](), *node.ops[1:]]
        yield ast.Compare(node.left, ops, node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        yield ast.Constant(not node.value if node.value is True else node.value + 1)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)


def mutations(source):
    """(line, source) of every mutant; docstrings, messages and annotations stay."""
    tree = ast.parse(source)
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.arg | ast.AnnAssign):
            skipped.update(map(id, ast.walk(node)))
    sites = []
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            for place, node in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(node, ast.expr) and id(node) not in skipped:
                    for mutant in mutants_of(node):
                        sites.append((parent, field, place, node, mutant))
    for parent, field, place, node, mutant in sites:
        value = getattr(parent, field)
        if isinstance(value, list):
            value[place] = mutant
        else:
            setattr(parent, field, mutant)
        yield node.lineno, ast.unparse(node), ast.unparse(mutant), ast.unparse(tree)
        if isinstance(value, list):
            value[place] = node
        else:
            setattr(parent, field, node)


def survives(module, source, seconds):
    """Whether the tests of a module pass with this source in its place."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("sklearn_hrn", "tests"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, Path(folder, name), ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", folder)
        Path(folder, "sklearn_hrn", f"{module}.py").write_text(source, encoding="utf-8")
        tests = [f"tests/{name}" for name in TESTS[module]]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        try:
            run = subprocess.run(
                command, cwd=folder, capture_output=True, timeout=seconds,
                env={**os.environ, "PYTHONPATH": folder},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        return run.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--module", nargs="+", choices=TESTS, default=list(TESTS))
    parser.add_argument("--sample", type=int, help="errors a module; all if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600, help="after which a run has failed")
    arguments = parser.parse_args()
    n_tried = n_survived = 0
    for module in arguments.module:
        source = (ROOT / "sklearn_hrn" / f"{module}.py").read_text(encoding="utf-8")
        found = list(mutations(source))
        if arguments.sample and len(found) > arguments.sample:
            found = random.Random(arguments.seed).sample(found, arguments.sample)
        survivors = []
        for line, before, after, mutant in found:
            if survives(module, mutant, arguments.seconds):
                survivors.append(f"  line {line}: {before}  ->  {after}")
        n_tried, n_survived = n_tried + len(found), n_survived + len(survivors)
        caught = len(found) - len(survivors)
        print(f"{module}: {caught} of {len(found)} caught", *survivors, sep="\n", flush=True)
    print(f"{n_tried - n_survived} of {n_tried} caught")
    return int(n_survived > n_tried / 10)


if __name__ == "__main__":
    sys.exit(main())
