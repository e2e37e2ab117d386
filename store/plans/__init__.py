"""Plans: changes of many rows, shown before they are made, and undone in one go.

    plan.py         a plan as it is stored, its kinds and states
    selections.py   which rows a plan means: how many, and the next of them after a position
    rule_matches.py which rows the plan of a rule means: by the model's own values
    as_of.py        which rows a plan had meant when it was made, by the logs
    kinds.py        what each kind of plan does to its rows, and how it undoes that
    requests.py     what clients do with a plan: make, look up, apply, undo
    walks.py        what the worker does with it: the next step, the end

A plan is applied in a walk along its selection, in transactions of some rows each. The position of
the walk, the rows' changes and what undoing needs are one transaction, so that a kill repeats and
omits nothing.
"""
