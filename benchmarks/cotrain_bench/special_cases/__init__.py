"""Prior methods are special cases: each recipe beside the formula it was published as, and how closely they agree.

    draws    inputs of unequal sizes               case     what one comparison is, and its errors
    kernels, transports, games, guided, weighted, sampled, estimators
             cases: a recipe's expression, and an oracle written without the library
    steps    one training step of a small policy, and the same written sample by sample
    edges    settings that turn one method into another, each checked: term_edges, step_edges
    page     results as Markdown and HTML          study    the run

`cotrain bench special-cases --help` runs it.
"""
