"""Studies: the paper's questions, each a list of cells written down before any of them is run.

    plans      which cells a study is made of, by preset        findings   what was published, and a verdict on it
    study      runs a study and writes its folder               pictures   figures in the layout of the paper's
    page       the report

`cotrain bench sim2sim --study methods --preset standard` runs one.  Studies share cells: in one folder a cell is
computed once.
"""
