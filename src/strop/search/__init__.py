"""Spending inference compute: methods that write many programs and choose one, on one budget.

A method is a generator function over a `State` (`strop.search.state`); each has its own file. `strop.search.schedule`
runs many searches at once, `strop.search.compare` grades what they chose, `strop.search.summary` says what it means.
"""
