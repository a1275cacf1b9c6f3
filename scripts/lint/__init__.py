"""Our own rules on the source: mistakes that types cannot exclude. `python -m scripts.lint` checks the whole tree.

A rule is a module with `PACKAGES` (where it holds) and `check(tree)`. Add one when the same mistake was made twice;
its docstring tells the incident, and its test shows what it finds and what it lets pass.
"""
