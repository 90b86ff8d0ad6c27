"""Prior methods are special cases: each recipe beside the formula it was published as, and how closely they agree.

    drawn    inputs of unequal sizes               case     what one comparison is, and its errors
    kernels, transports, games, seams, samplers, estimators
             cases: a recipe's expression, and an oracle written without the library
    lattice  settings that turn one method into another, each checked
    page     results as Markdown and HTML          study    the run

`cotrain bench special-cases --help` runs it.
"""
